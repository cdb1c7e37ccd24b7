"""Groups: files that are the same music, and which of each group to keep."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _abi
from ._jobs import Progress, progress_function
from ._library import Handle, Stop, call, callback, call_long, defaults, lib, path_bytes, paths_array, sized, text_of
from ._model import Path
from .errors import ArgumentError

__all__ = ["FilePair", "GroupedFile", "Groups"]

KINDS = {"bytes": _abi.MSIM_PAIR_BYTES, "notes": _abi.MSIM_PAIR_NOTES, "key": _abi.MSIM_PAIR_KEY, "piece": _abi.MSIM_PAIR_PIECE,
         "version": _abi.MSIM_PAIR_VERSION, "excerpt": _abi.MSIM_PAIR_EXCERPT, "alike": _abi.MSIM_PAIR_ALIKE}
LINKS = {"verified": _abi.MSIM_LINK_VERIFIED, "complete": _abi.MSIM_LINK_COMPLETE, "single": _abi.MSIM_LINK_SINGLE}
KEEPERS = {"longest": _abi.MSIM_KEEPER_LONGEST, "most-notes": _abi.MSIM_KEEPER_MOST_NOTES,
           "most-tracks": _abi.MSIM_KEEPER_MOST_TRACKS, "earliest-name": _abi.MSIM_KEEPER_EARLIEST_NAME,
           "newest": _abi.MSIM_KEEPER_NEWEST}


@dataclass(frozen=True)
class GroupedFile:
    """A file of the collection."""

    index: int  # in order of name
    name: str
    path: str | None  # None: a piece of an index
    group: int  # from 1
    keeper: int  # the file that is kept of its group: may be itself
    n_notes: int
    seconds: float


@dataclass(frozen=True)
class FilePair:
    """Two files and the evidence."""

    a: int
    b: int
    kind: str
    direction: int  # of an excerpt: 1: a is a part of b, -1: b is a part of a; else 0
    n_matched: int
    of_a: int
    of_b: int
    transpose: int  # semitones to add to a to get b
    tempo: float
    identity: float
    score: float
    evalue: float


class Groups(Handle):
    """What was found in a collection."""

    _close = "msim_groups_close"

    @classmethod
    def find(cls, paths: Path | Sequence[Path], work: Path, *, against: Sequence[Path] = (),
             kinds: Sequence[str] = ("bytes", "notes", "key", "piece"), link: str = "verified", keep: str = "longest",
             alike: float = 0.0, threads: int = 0, progress: Progress = None) -> Groups:
        """Find what is there more than once in folders, files, note indexes or corpora (docs/guide/duplicates.md).

        work: files beside this path keep what was found, so that the next run compares new contents alone. against: a second
        collection; then only pairs between the two are looked for. kinds: what joins groups. alike: rows of the given corpora
        with at least this cosine are a pair, too.
        """
        given = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)
        for name, value, among in (("link", link, LINKS), ("keep", keep, KEEPERS), *(("kinds", kind, KINDS) for kind in kinds)):
            if value not in among:
                raise ArgumentError(f"{name}: expected {', '.join(among)}, got '{value}'")
        self, stop, report = cls(), Stop(), progress_function(progress)

        def on_progress(_user: Any, unit: int, done: int, total: int) -> int:
            return stop.guard(report, text_of(ctypes.string_at(unit)), done, total) if report else int(stop.is_set)

        one, two = paths_array([path_bytes(p) for p in given]), paths_array([path_bytes(p) for p in against])
        options = defaults(_abi.msim_groups_options, paths=ctypes.addressof(one), n_paths=len(given), work=path_bytes(work),
                           against=ctypes.addressof(two) if against else None, n_against=len(against),
                           kinds=sum(1 << KINDS[kind] for kind in set(kinds)), link=LINKS[link], keep=KEEPERS[keep], alike=alike,
                           threads=threads, progress=callback(_abi.msim_groups_options, "progress", on_progress))
        call_long(stop, "msim_groups_find", ctypes.byref(options), ctypes.byref(self._pointer))
        return self

    def _info(self) -> Any:
        found = sized(_abi.msim_groups_info)
        lib.msim_groups_get_info(self._handle, ctypes.byref(found))
        return found

    def __len__(self) -> int:
        """Groups of two files and more: they have the numbers 1 .. len."""
        return int(self._info().groups)

    def __repr__(self) -> str:
        info = self._info()
        return f"<Groups of {info.files} files: {info.groups} groups, {info.singles} files alone>"

    @property
    def files(self) -> list[GroupedFile]:
        """All files, in order of name."""
        return [self.file(index) for index in range(self._info().files)]

    def file(self, index: int) -> GroupedFile:
        """One file. Raises IndexError."""
        found = sized(_abi.msim_groups_file)
        if lib.msim_groups_get_file(self._handle, index, ctypes.byref(found)) < 0:
            raise IndexError(f"file {index} of {self._info().files}")
        path = text_of(found.path) if found.path else None
        name = text_of(ctypes.string_at(found.name, found.name_bytes))
        return GroupedFile(index, name, path, found.group, found.keeper, found.n_notes, found.seconds)

    def members(self, group: int) -> list[int]:
        """The files of a group, in order of name."""
        found = ctypes.c_void_p()
        n = lib.msim_groups_get_members(self._handle, group, ctypes.byref(found))
        if n < 0:
            raise IndexError(f"group {group}")
        return list(ctypes.cast(found, ctypes.POINTER(ctypes.c_int64))[:n])

    @property
    def pairs(self) -> list[FilePair]:
        """All pairs, in order of a and b."""
        stop, out = Stop(), []

        def collect(at: int) -> None:
            p = _abi.msim_file_pair.from_address(at)
            kind = lib.msim_pair_kind_name(p.kind).decode()
            out.append(FilePair(p.a, p.b, kind, p.direction, p.n_matched, p.of_a, p.of_b, p.transpose, p.tempo, p.identity,
                                p.score, p.evalue))

        sink = _abi.FUNCTIONS["msim_groups_pairs"][1][1](lambda _user, at: stop.guard(collect, at))
        call_long(stop, "msim_groups_pairs", self._handle, sink, None)
        return out

    def split(self, shares: Sequence[float], *, seed: int = 1, by_folder: bool = False) -> npt.NDArray[np.int32]:
        """Deal all files to len(shares) sides so that no pair is on two: the side [files] of each (docs/guide/splits.md)."""
        wanted = (ctypes.c_double * len(shares))(*shares)
        sides = np.empty(self._info().files, np.int32)
        call("msim_groups_split", self._handle, wanted, len(shares), seed, int(by_folder), sides.ctypes.data, None, None)
        return sides
