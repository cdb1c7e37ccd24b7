"""Models, corpora and MIDI files of midisimx on disk."""
from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from ..compat import _files, _hub, _search
from ..compat._files import get_corpus_midis
from ..errors import EmptyError

__all__ = ["copy_corpus_files", "download_all_embeddings", "download_embeddings", "download_model", "get_md5_hash",
           "get_package_embeddings", "get_package_models", "get_sha256_hash", "load_embeddings", "load_model",
           "load_tiny_embeddings", "load_tiny_model", "sort_aligned_lists"]

EMBEDDINGS, MODELS = "projectlosangeles/midisimx-embeddings", "projectlosangeles/midisimx"
LAKH = "lakh_midi_dataset_17203_clean_midis_embeddings_1_2_1_2_weighted_cc_by_nc_sa.npy"
TINY_LAKH = "lakh_midi_dataset_17209_clean_midis_embeddings_1_2_1_2_weighted_cc_by_nc_sa.npy"
BASE = "midisimx_trained_model_14391_steps_0.255_loss_0.9036_acc.pth"


# ---- What `midisim fetch midisimx-tiny` has put on this machine, which the original carries in its package -----------


def _folders() -> list[str]:
    """Where models and corpora are looked for, those of this user first."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    folders = [os.path.join(data, "midisim")]
    models = _files.get_package_models()
    if models:
        folders.append(os.path.dirname(models[0]["path"]))
    folders += [os.path.join(prefix, "share", "midisim") for prefix in (sys.prefix, "/usr/local", "/usr")]
    return [*folders, "midisim-embeddings"]


def _find(is_wanted: Any, kind: str) -> list[dict[str, str]]:
    found: dict[str, str] = {}
    for folder in _folders():
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in filter(is_wanted, names):
            found.setdefault(name, os.path.join(folder, name))
    return [{kind: name, "path": found[name]} for name in sorted(found)]


def get_package_models() -> list[dict[str, str]]:
    """The tiny model where `midisim fetch midisimx-tiny` has put it, as [{'model': name, 'path': path}]; [] when it is nowhere."""
    return _find(lambda name: name.startswith(("midisimx-tiny.", "midisimx_tiny")) and name.endswith((".safetensors", ".pth")),
                 "model")


def get_package_embeddings() -> list[dict[str, str]]:
    """The corpus of 17,209 songs, as [{'embeddings': name, 'path': path}]: where models are, or in the folder
    midisim-embeddings of the current one."""
    return _find(lambda name: name == TINY_LAKH, "embeddings")


def _first(found: list[dict[str, str]], what: str) -> str:
    if not found:
        raise EmptyError(f"no {what} of midisimx: 'midisim fetch midisimx-tiny' fetches it (in the source tree: "
                         "weights/fetch.sh midisimx-tiny)")
    return found[0]["path"]


def load_tiny_model(dim: int = 128, depth: int = 24, heads: int = 4, max_seq_len: int = 3072, pad_idx: int = 719,
                    dtype: Any = None, device: Any = "cuda", compile_model: bool = False, dynamic_compile: bool = True,
                    verbose: bool = True) -> tuple[_search.NativeModel, Any, Any]:
    """load_model of the tiny model. Raises EmptyError when it has not been fetched."""
    return load_model(_first(get_package_models(), "tiny model"), dim, depth, heads, max_seq_len, pad_idx, dtype, device,
                      compile_model, dynamic_compile, verbose)


def load_tiny_embeddings(midi_names_key: str = "midi_names", midi_embeddings_key: str = "midi_embeddings",
                         verbose: bool = True) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """load_embeddings of the corpus of 17,209 songs. Raises EmptyError when it has not been fetched."""
    path = _first(get_package_embeddings(), "corpus")
    return _files.load_embeddings(path, midi_names_key, midi_embeddings_key, verbose)


def load_model(model_path: str = f"./midisimx-models/{BASE}", dim: int = 768, depth: int = 16, heads: int = 12,
               max_seq_len: int = 3072, pad_idx: int = 719, dtype: Any = None, device: Any = "cuda", compile_model: bool = False,
               dynamic_compile: bool = True, verbose: bool = True) -> tuple[_search.NativeModel, Any, Any]:
    """As midisim_native.compat.load_model, with the sizes of the base model. compile_model has no effect: there is nothing to
    compile."""
    return _search.load_model(model_path, dim, depth, heads, max_seq_len, pad_idx, dtype, device, verbose)


def load_embeddings(embeddings_path: str = f"./midisimx-embeddings/{LAKH}", midi_names_key: str = "midi_names",
                    midi_embeddings_key: str = "midi_embeddings",
                    verbose: bool = True) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """As midisim_native.compat.load_embeddings."""
    return _files.load_embeddings(embeddings_path, midi_names_key, midi_embeddings_key, verbose)


# ---- Downloads ------------------------------------------------------------------------------------------------------


def download_model(repo_id: str = MODELS, filename: str = BASE, local_dir: str = "./midisimx-models/", verbose: bool = True,
                   **kwargs: Any) -> str:
    """Download a model, and return its path. kwargs are those of huggingface_hub.hf_hub_download."""
    return _hub.download_model(repo_id, filename, local_dir, verbose, **kwargs)


def download_embeddings(repo_id: str = EMBEDDINGS, filename: str = LAKH, local_dir: str = "./midisimx-embeddings/",
                        verbose: bool = True, **kwargs: Any) -> str:
    """Download a corpus, and return its path."""
    return _hub.download_embeddings(repo_id, filename, local_dir, verbose, **kwargs)


def download_all_embeddings(repo_id: str = EMBEDDINGS, revision: str = "main", local_dir: str = "./midisimx-embeddings/",
                            verbose: bool = True, **kwargs: Any) -> str:
    """Download all corpora, and return the folder."""
    return _hub.download_all_embeddings(repo_id, revision, local_dir, verbose, **kwargs)


# ---- Files ----------------------------------------------------------------------------------------------------------


def copy_corpus_files(sorted_idxs_sims_list: Sequence[Sequence[Any]], corpus_midis_dirs: Sequence[str] = ("./Corpus MIDIs Dir/",),
                      main_output_dir: str = "./Corpus Matches Dir/", sub_output_dir: str = "", copy_original_midi: bool = True,
                      original_midi_path: str = "", verbose: bool = True) -> str:
    """Copy the files of matches, [number, name, transposition, score] each, to main_output_dir/sub_output_dir.

    A copy is called SCORE_TRANSPOSITION_NAME.mid. The query, original_midi_path, is copied too, as sub_output_dir.mid, unless
    copy_original_midi is False. sub_output_dir "" is the query's stem where it is given. What cannot be copied is left out.
    Returns the folder, or '' when nothing was found.
    """
    files = get_corpus_midis(tuple(corpus_midis_dirs), verbose=verbose)
    stem = sub_output_dir or os.path.splitext(os.path.basename(original_midi_path))[0]
    folder, out, is_copied = os.path.join(main_output_dir, stem), "", not (copy_original_midi and original_midi_path)

    def copy(source: str, name: str) -> bool:
        try:
            shutil.copy2(source, os.path.join(folder, name))
        except OSError as error:
            if verbose:
                print(f"not copied: {source}: {error}")
            return False
        return True

    for number, name, transposition, score in sorted_idxs_sims_list:
        if name not in files:
            if verbose:
                print(f"not copied: {number}, {name}: no such file")
            continue
        os.makedirs(folder, exist_ok=True)
        out = folder
        is_copied = is_copied or copy(original_midi_path, stem + ".mid")
        copy(files[name], f"{round(score, 8)}_{transposition}_{name}.mid")
    return out


def sort_aligned_lists(midi_names: list[str], midi_sequences: list[list[int]], reverse: bool = False) -> None:
    """Sort both lists in place by the lengths of the sequences; of equal ones the order stays."""
    order = sorted(range(len(midi_sequences)), key=lambda at: len(midi_sequences[at]), reverse=reverse)
    midi_names[:], midi_sequences[:] = [midi_names[at] for at in order], [midi_sequences[at] for at in order]


def _hash(path: str, digest: Any, chunk_size: int) -> str:
    with open(path, "rb") as file:
        while data := file.read(chunk_size):
            digest.update(data)
    text: str = digest.hexdigest()
    return text


def get_md5_hash(path: str, chunk_size: int = 8 * 1024 * 1024, verbose: bool = True) -> str:
    """The MD5 of a file's bytes, in hexadecimal."""
    return _hash(path, hashlib.md5(), chunk_size)


def get_sha256_hash(path: str, chunk_size: int = 8 * 1024 * 1024, verbose: bool = True) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    return _hash(path, hashlib.sha256(), chunk_size)
