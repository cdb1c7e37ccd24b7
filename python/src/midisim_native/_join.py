"""Joins: all pairs of rows that are alike, exactly."""
from __future__ import annotations

import array
import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _abi
from ._library import Stop, callback, call_long, defaults
from ._model import options_of
from .errors import ArgumentError

if TYPE_CHECKING:
    from ._corpus import Corpus

SCANS = {"auto": _abi.MSIM_SCAN_AUTO, "int8": _abi.MSIM_SCAN_INT8, "f64": _abi.MSIM_SCAN_F64}
Pairs = tuple["npt.NDArray[np.int64]", "npt.NDArray[np.int64]", "npt.NDArray[np.float64]"]


def join(a: Corpus, b: Corpus | None, threshold: float, scan: str, device: str, threads: int, shard: tuple[int, int] | None,
         progress: Callable[[int, int], Any] | None) -> Pairs:
    """Corpus.join."""
    if scan not in SCANS:
        raise ArgumentError(f"scan: expected {', '.join(SCANS)}, got '{scan}'")
    stop = Stop()
    left, right, scores = array.array("q"), array.array("q"), array.array("d")

    def take(_user: Any, row: int, other: int, score: float) -> int:
        left.append(row)
        right.append(other)
        scores.append(score)
        return 0

    def on_progress(_user: Any, done: int, total: int) -> int:
        return stop.guard(progress, done, total) if progress else int(stop.is_set)

    settings = options_of(device, "bf16", threads)
    options = defaults(_abi.msim_join_options, options=ctypes.addressof(settings), scan=SCANS[scan],
                       shard=shard[0] if shard else None, n_shards=shard[1] if shard else None,
                       progress=callback(_abi.msim_join_options, "progress", on_progress),
                       should_stop=callback(_abi.msim_join_options, "should_stop", stop.asked))
    sink = _abi.msim_join_sink(take)
    call_long(stop, "msim_join", a._handle, b._handle if b is not None else None, threshold, ctypes.byref(options), sink, None, None)
    return (np.frombuffer(left, np.int64) if left else np.empty(0, np.int64),
            np.frombuffer(right, np.int64) if right else np.empty(0, np.int64),
            np.frombuffer(scores, np.float64) if scores else np.empty(0, np.float64))
