"""The one function of the original's TMIDIX that its own examples use."""
from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from typing import Any

__all__ = ["create_files_list"]


def create_files_list(datasets_paths: Sequence[str] = ("./",),
                      files_exts: Sequence[str] = (".mid", ".midi", ".kar", ".MID", ".MIDI", ".KAR"),
                      max_num_files_per_dir: int = -1, randomize_dir_files: bool = False, max_total_files: int = -1,
                      randomize_files_list: bool = True, check_for_dupes: bool = False, use_md5_hashes: bool = False,
                      return_dupes: bool = False, verbose: bool = True) -> Any:
    """The files below folders whose names end so, in random order unless randomize_files_list is False.

    check_for_dupes keeps one file of each name, or with use_md5_hashes one of each content. With return_dupes the result is
    (files, duplicates), else it is files.
    """
    found: dict[str, str] = {}
    dupes: list[str] = []
    for folder in datasets_paths:
        for at, _, names in os.walk(folder):
            if randomize_dir_files:
                random.shuffle(names)
            for name in names[:max_num_files_per_dir] if max_num_files_per_dir > 0 else names:
                if not name.endswith(tuple(files_exts)):
                    continue
                path = os.path.join(at, name)
                key = path if not check_for_dupes else _md5(path) if use_md5_hashes else name
                if check_for_dupes and key in found:
                    dupes.append(path)
                else:
                    found[key] = path
    files = list(found.values())
    if randomize_files_list:
        random.shuffle(files)
    if verbose:
        print(f"{len(files)} files, {len(dupes)} duplicates left out")
    if max_total_files > 0:
        files = files[:max_total_files]
    return (files, dupes) if return_dupes else files


def _md5(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.md5(file.read()).hexdigest()
