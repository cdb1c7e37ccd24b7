"""How well rankings find what belongs together: recall, MRR, mAP and thresholds, with intervals (docs/QUALITY.md)."""
from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _abi
from ._library import Handle, call, defaults, sized
from .errors import ArgumentError

__all__ = ["Evaluation", "EvaluationReport", "Measure", "ThresholdPoint"]


@dataclass(frozen=True)
class Measure:
    """A measure and its 95 % interval; without resamples all three are equal."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ThresholdPoint:
    """Pairs of a query and a candidate that score at least the threshold."""

    threshold: float
    precision: Measure
    recall: Measure
    f1: Measure


@dataclass(frozen=True)
class EvaluationReport:
    """All measures of the queries that were added."""

    queries: int
    pairs: int  # of a query and a candidate
    relatives: int  # pairs that belong together
    mrr: Measure  # mean of 1 / rank of the best relative
    map: Measure  # mean over queries of average precision
    median_rank: Measure  # of the best relative, from 1
    best: ThresholdPoint  # where f1 is highest


def _measure(found: Any) -> Measure:
    return Measure(found.value, found.low, found.high)


def _point(found: Any) -> ThresholdPoint:
    return ThresholdPoint(found.threshold, _measure(found.precision), _measure(found.recall), _measure(found.f1))


class Evaluation(Handle):
    """Collects the answers to queries whose relatives are known, and measures them. `Corpus.evaluate` makes one."""

    _close = "msim_eval_close"

    def __init__(self, *, resamples: int = 1000, seed: int = 1) -> None:
        """resamples: random choices of the queries that give the intervals; 0: no intervals."""
        super().__init__()
        self._options = defaults(_abi.msim_eval_options, resamples=resamples, seed=seed)
        call("msim_eval_open", ctypes.byref(self._pointer))

    def add(self, scores: npt.ArrayLike, is_relative: npt.ArrayLike) -> None:
        """Add one query: the scores [n] of all candidates, in any order, and for each whether it belongs to the query [n].

        Of equal scores the one given first ranks first. -inf stands for no score. Raises ArgumentError for NaN and where no
        candidate is a relative.
        """
        given = np.asarray(scores, np.float64)
        marks = np.asarray(is_relative, bool)
        if given.ndim != 1 or given.shape != marks.shape:
            raise ArgumentError(f"scores and is_relative: expected two arrays [n], got {list(given.shape)} and {list(marks.shape)}")
        order = np.argsort(-given, kind="stable")
        ranked, flags = np.ascontiguousarray(given[order]), np.ascontiguousarray(marks[order], np.uint8)
        with self._alone():
            call("msim_eval_add", self._handle, ranked.ctypes.data, flags.ctypes.data, len(ranked))

    def report(self) -> EvaluationReport:
        """All measures. Raises EmptyError when no query was added."""
        found = sized(_abi.msim_eval_report)
        self._get("msim_eval_get_report", ctypes.byref(found))
        return EvaluationReport(found.queries, found.pairs, found.relatives, _measure(found.mrr), _measure(found.map),
                                _measure(found.median_rank), _point(found.best))

    def recall(self, k: int) -> Measure:
        """The share of queries with a relative among their first k candidates."""
        found = _abi.msim_measure()
        self._get("msim_eval_recall", k, ctypes.byref(found))
        return _measure(found)

    def at(self, threshold: float) -> ThresholdPoint:
        """Precision, recall and F1 of the pairs that score at least `threshold`, for scores that are cosines."""
        found = _abi.msim_eval_point()
        self._get("msim_eval_at", threshold, ctypes.byref(found))
        return _point(found)

    def threshold(self, recall: float) -> float:
        """The highest threshold at which at least this share (0..1) of the relatives is found."""
        found = ctypes.c_double()
        with self._alone():
            call("msim_eval_threshold", self._handle, recall, ctypes.byref(found))
        return found.value

    def _get(self, name: str, *arguments: Any) -> None:
        with self._alone():
            call(name, self._handle, ctypes.byref(self._options), *arguments)
