"""Shards to one corpus."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _abi
from ._corpus import Corpus
from ._library import Handle, Stop, call, call_long, check_replaced, lib, path_bytes, several, sized
from ._model import Path
from .errors import ArgumentError

__all__ = ["merge_corpora"]


class _Merge(Handle):
    _close = "msim_corpus_merge_close"


class _Writer(Handle):
    _close = "msim_corpus_writer_close"


def _is_same(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def merge_corpora(parts: Sequence[Path], output: Path) -> Corpus:
    """Write the rows of all parts in bytewise order of name as one corpus (.npy), and open it. Of the shards of embed_folder that
    are all there, it has the bytes of a run that embedded the whole folder. The description beside a corpus is not written;
    `midisim-convert --merge` writes one.

    Raises FileError and FormatError as Corpus.open does, and ArgumentError for a corpus of windows.
    """
    given = several(parts)
    if any(_is_same(output, part) for part in given):
        raise ArgumentError(f"output: {os.fsdecode(output)} is one of the parts")
    check_replaced(output)
    with Corpus.open(given) as corpus, _Merge() as merge, _Writer() as writer:
        if call("msim_corpus_has_spans", corpus._handle):
            raise ArgumentError("parts: rows are windows; midisim-convert --merge keeps where they lie")
        stop = Stop()
        progress = _abi.FUNCTIONS["msim_corpus_merge_open"][1][1](lambda *_: int(stop.is_set))
        call_long(stop, "msim_corpus_merge_open", corpus._handle, progress, None, ctypes.byref(merge._pointer))
        layout = sized(_abi.msim_corpus_layout, rows=len(corpus), dim=corpus.dim, dtype=_abi.MSIM_DTYPE_F32,
                       format=_abi.MSIM_FORMAT_STRUCTURED, name_chars=lib.msim_corpus_merge_name_chars(merge._handle))
        call("msim_corpus_writer_open", path_bytes(output), ctypes.byref(layout), ctypes.byref(writer._pointer))
        _copy(corpus, merge, writer)
        call("msim_corpus_check", corpus._handle)
        call("msim_corpus_writer_finish", writer._handle)
    return Corpus.open(output)


def _copy(corpus: Corpus, merge: Any, writer: Any) -> None:
    vector = np.empty(corpus.dim, np.float32)
    row, name, n = ctypes.c_int64(), ctypes.c_void_p(), ctypes.c_size_t()
    given = ctypes.byref(row), ctypes.byref(name), ctypes.byref(n)
    while call("msim_corpus_merge_next", merge._handle, *given):
        call("msim_corpus_vectors", corpus._handle, row.value, 1, vector.ctypes.data)
        text = ctypes.cast(name, ctypes.c_char_p)
        call("msim_corpus_writer_add", writer._handle, text, n.value, vector.ctypes.data)
