"""Models, corpora and MIDI files on disk."""
from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .._corpus import Corpus
from .._model import Tokenizer
from ..errors import EmptyError, FormatError
from ._arrays import is_tensor, to_numpy
from ._tmidix import create_files_list

__all__ = ["copy_corpus_files", "get_corpus_midis", "get_normalized_midi_md5_hash", "get_package_embeddings", "get_package_models",
           "load_embeddings", "normalize_midi_file", "save_embeddings"]


def load_embeddings(
        embeddings_path: str = "./midisim-embeddings/discover_midi_dataset_37292_genres_midis_embeddings_cc_by_nc_sa.npy",
        midi_names_key: str = "midi_names", midi_embeddings_key: str = "midi_embeddings",
        verbose: bool = True) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(names [n], vectors [n, dim]) of a corpus file. Pickled files are read without executing anything in them.

    Raises ValueError when the file has no field of such a name.
    """
    header = _header(embeddings_path)
    for key in (midi_names_key, midi_embeddings_key):
        if header.names is None or key not in header.names:
            raise ValueError(f"{embeddings_path}: no field of name {key}")
    if not header.hasobject:
        data = np.load(embeddings_path, allow_pickle=False)
        names, vectors = data[midi_names_key], data[midi_embeddings_key]
    else:
        with Corpus.open(embeddings_path) as corpus:
            names = corpus.names
            vectors = corpus.read().astype(header[midi_embeddings_key].base, copy=False)
    if verbose:
        print(f"{embeddings_path}: {len(names)} rows")
    return names, vectors


def _header(path: str) -> np.dtype[Any]:
    """The type of a .npy file's elements."""
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return read(file)[2]
        except ValueError as error:
            raise FormatError(f"{path}: not a .npy file: {error}") from None


def save_embeddings(embeddings_name_strings: Sequence[str], embeddings: Any, name_strings_key: str = "midi_names",
                    embeddings_key: str = "midi_embeddings", output_file_name: str = "saved_midi_embeddings.npy",
                    return_merged_array: bool = False, verbose: bool = True) -> npt.NDArray[Any] | None:
    """Put names [n] and vectors [n, dim] into one structured array, and save it, or return it with return_merged_array.

    The file is the original's: names are pickled objects. `Corpus.open` and the tools read it; embed_folder and
    midisim-convert write files that need no pickle.
    """
    vectors = to_numpy(embeddings) if is_tensor(embeddings) else np.asarray(embeddings)
    if vectors.ndim < 2:
        raise IndexError("embeddings: expected an array of two axes")
    merged = np.empty(len(embeddings_name_strings),
                      np.dtype([(name_strings_key, object), (embeddings_key, vectors.dtype, (vectors.shape[1],))]))
    merged[name_strings_key] = embeddings_name_strings
    merged[embeddings_key] = vectors
    if return_merged_array:
        return merged
    np.save(output_file_name, merged)
    if verbose:
        print(f"wrote {output_file_name}: {len(merged)} rows")
    return None


def get_package_models() -> list[dict[str, str]]:
    """The installed model that the tools use, as [{'model': name, 'path': path}]; [] when there is none."""
    from .._model import _default
    try:
        path = os.fsdecode(_default("msim_default_model"))
    except EmptyError:
        return []
    return [{"model": os.path.basename(path), "path": path}]


def get_package_embeddings() -> list[dict[str, str]]:
    """[]: the package carries no corpora, and neither does version 26.1.18 of the original."""
    return []


def _canonical(path: str) -> tuple[bytes, bytes]:
    with open(path, "rb") as file:
        raw = file.read()
    with Tokenizer() as tokenizer:
        return raw, tokenizer.canonical(raw)


def get_normalized_midi_md5_hash(midi_file: str) -> dict[str, str]:
    """{'midi_name', 'original_md5', 'normalized_md5'} of a MIDI file: the MD5 of its bytes and of its canonical form."""
    raw, canonical = _canonical(midi_file)
    return {"midi_name": os.path.splitext(os.path.basename(midi_file))[0], "original_md5": hashlib.md5(raw).hexdigest(),
            "normalized_md5": hashlib.md5(canonical).hexdigest()}


def normalize_midi_file(midi_file: str, output_dir: str = "", output_file_name: str = "") -> str:
    """Write the canonical form of a MIDI file, and return its path. A name that is taken becomes STEM_normalized.mid."""
    name, folder = output_file_name or os.path.basename(midi_file), output_dir or os.getcwd()
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    if os.path.exists(path):
        path = os.path.join(folder, os.path.splitext(name)[0] + "_normalized.mid")
    canonical = _canonical(midi_file)[1]
    with open(path, "wb") as file:
        file.write(canonical)
    return path


@lru_cache(maxsize=1)
def get_corpus_midis(corpus_midis_dirs_tuple: tuple[str, ...], verbose: bool = True) -> dict[str, str]:
    """{stem: path} of the MIDI files below folders. The latest answer is kept: later files are not seen."""
    return {os.path.splitext(os.path.basename(path))[0]: path
            for path in create_files_list(list(corpus_midis_dirs_tuple), verbose=verbose)}


def copy_corpus_files(sorted_idxs_sims_list: Sequence[Sequence[Any]], corpus_midis_dirs: Sequence[str] = ("./Corpus MIDIs Dir/",),
                      main_output_dir: str = "./Corpus Matches Dir/", sub_output_dir: str = "Corpus MIDI Name",
                      copy_original_midi: bool = True, verbose: bool = True) -> str:
    """Copy the files of matches, [number, name, transposition, score] each, to main_output_dir/sub_output_dir.

    A copy is called SCORE_TRANSPOSITION_NAME.mid. With copy_original_midi, the first match is also copied as
    sub_output_dir.mid. What cannot be copied is left out. Returns the folder, or '' when nothing was copied.
    """
    files = get_corpus_midis(tuple(corpus_midis_dirs), verbose=verbose)
    out, is_copied = "", False
    for number, name, transposition, score in sorted_idxs_sims_list:
        try:
            source = files[name]
            folder = os.path.join(main_output_dir, sub_output_dir)
            os.makedirs(folder, exist_ok=True)
            out = folder
            if copy_original_midi and not is_copied:
                shutil.copy2(source, os.path.join(folder, sub_output_dir + ".mid"))
                is_copied = True
            shutil.copy2(source, os.path.join(folder, f"{round(score, 8)}_{transposition}_{name}.mid"))
        except (KeyError, OSError) as error:
            if verbose:
                print(f"not copied: {number}, {name}: {error}")
    return out
