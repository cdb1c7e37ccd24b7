"""Corpora: named vectors on disk or in memory, and exact searches of them."""
from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _abi
from ._join import Pairs, join
from ._library import (Handle, Stop, call, callback, call_long, check_replaced, defaults, integers, lib, name_bytes, path_bytes, reals,
                       several, sized, text_of, used)
from ._measure import Evaluation
from ._model import Model, Path, options_of
from .errors import ArgumentError, EmptyError

__all__ = ["Corpus", "Match", "Query", "Searcher", "Span", "Whitening"]

Query = Union[str, "os.PathLike[str]", bytes, int, np.integer, "npt.NDArray[np.floating[Any]]"]
"""What is searched: the path of a MIDI file, the bytes of one, the number of a row, or a vector [dim]."""

SCANS = {"auto": _abi.MSIM_SCAN_AUTO, "f64": _abi.MSIM_SCAN_F64, "f32": _abi.MSIM_SCAN_F32, "bf16": _abi.MSIM_SCAN_BF16,
         "int8": _abi.MSIM_SCAN_INT8}
METRICS = {"cosine": _abi.MSIM_METRIC_COSINE, "ip": _abi.MSIM_METRIC_IP}
KEEPS = {"best": _abi.MSIM_KEEP_BEST, "all": _abi.MSIM_KEEP_ALL, "each": _abi.MSIM_KEEP_EACH}
PASS = 60  # queries in one pass over the rows


def choice(name: str, value: str, among: dict[str, int]) -> int:
    """The number of a word, or an error that lists the words."""
    if value not in among:
        raise ArgumentError(f"{name}: expected {', '.join(among)}, got '{value}'")
    return among[value]


@dataclass(frozen=True)
class Match:
    """A row that was found. A list of matches becomes a table with pandas.DataFrame(matches)."""

    row: int
    name: str
    score: float  # the cosine; -inf for a row with NaN
    transpose: int  # semitones by which the query was moved
    from_seconds: float  # the stretch of the piece that matches; -1: all of it
    to_seconds: float
    chance: float | None = None  # in a whitened corpus: pieces that would score as high if all were unrelated
    likeness: str | None = None  # in a whitened corpus: "same", "version", "alike", "unrelated" or "unknown"


@dataclass(frozen=True)
class Span:
    """Where a row lies in its piece; -1 stands for all of it."""

    piece: int
    from_token: int
    to_token: int
    from_seconds: float
    to_seconds: float


class Whitening(Handle):
    """A linear map that makes scores rank better and gives them a meaning (docs/WHITENING.md)."""

    _close = "msim_whitening_close"

    @classmethod
    def open(cls, path: Path) -> Whitening:
        """Open a .whiten file. Raises FormatError when it is something else."""
        self = cls()
        call("msim_whitening_open", path_bytes(path), ctypes.byref(self._pointer))
        return self

    @classmethod
    def fit(cls, corpus: Corpus, *, shrink: float | None = None, altered: Corpus | None = None) -> Whitening:
        """Fit a map on the rows of a corpus. Raises EmptyError when it has fewer than 4 * dim distinct rows."""
        self, stop = cls(), Stop()
        progress = callback(_abi.msim_whitening_options, "progress", lambda *_: int(stop.is_set))
        options = defaults(_abi.msim_whitening_options, shrink=shrink, progress=progress,
                           altered=altered._handle.value if altered is not None else None)
        with used([altered._handle] if altered is not None else []):
            call_long(stop, "msim_whitening_fit", corpus._handle, ctypes.byref(options), ctypes.byref(self._pointer))
        return self

    def save(self, path: Path) -> None:
        """Write the map, for `open`."""
        call("msim_whitening_save", self._handle, path_bytes(path))

    def apply(self, rows: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Whiten rows [n, dim]; a new array."""
        given = np.array(rows, np.float32, order="C", ndmin=2)
        info = sized(_abi.msim_whitening_info)
        lib.msim_whitening_get_info(self._handle, ctypes.byref(info))
        if given.ndim != 2 or given.shape[1] != info.dim:
            raise ArgumentError(f"rows: expected [n, {info.dim}], got {list(given.shape)}")
        call("msim_whitening_apply", self._handle, given.ctypes.data, len(given), given.ctypes.data, 0)
        return given


class _Context(Handle):
    """A context that searches one corpus."""

    _close = "msim_context_close"

    def __init__(self, corpus: Corpus, k: int, device: str, threads: int) -> None:
        super().__init__()
        self.key = (device, threads)
        self.max_k = max(k, 1024)
        options = options_of(device, "bf16", threads, max_k=self.max_k, max_queries=PASS)
        self._open_on(corpus)
        call("msim_context_open", None, ctypes.byref(options), ctypes.byref(self._pointer))
        call("msim_context_load_corpus", self._pointer, corpus._handle)


class Corpus(Handle):
    """A set of vectors with names. Threads may share it."""

    _close = "msim_corpus_close"

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[Any, ...] = ()  # arrays that the library borrows
        self._vectors: npt.NDArray[np.float32] | None = None
        self._names: npt.NDArray[np.object_] | None = None
        self._context: _Context | None = None
        self._searchers: weakref.WeakSet[Searcher] = weakref.WeakSet()
        self._latest: tuple[Any, Searcher] | None = None

    @classmethod
    def open(cls, source: Path | Sequence[Path] | npt.NDArray[Any], names: Path | Sequence[str] | None = None) -> Corpus:
        """Open a corpus.

        source: a file of any format, a folder of such files, several of these, or an array [n, dim]. An array of f32 that is
        C-contiguous is borrowed, not copied, and must not change. names: of the rows of an array; or the path of a text file
        with a name per line, for files without names.

        Raises FileError, FormatError, or ArgumentError for an array that does not have two axes.
        """
        self = cls()
        if isinstance(source, np.ndarray):
            self._open_rows(source, names)
            return self
        given = several(source)
        paths = (ctypes.c_char_p * max(len(given), 1))(*(path_bytes(path) for path in given))
        if names is not None and not isinstance(names, (str, bytes, os.PathLike)):
            raise ArgumentError("names: of files, expected the path of a text file")
        listed = path_bytes(names) if names is not None else None
        call("msim_corpus_open_many", paths, len(given), listed, ctypes.byref(self._pointer))
        return self

    def _open_rows(self, rows: npt.NDArray[Any], names: Any) -> None:
        if rows.ndim != 2:
            raise ArgumentError(f"source: expected an array of two axes, got {rows.ndim}")
        rows = reals(rows, "source")
        text, starts = None, None
        if names is not None:
            if isinstance(names, (str, bytes, os.PathLike)):
                raise ArgumentError("names: of the rows of an array, expected a sequence of names, got a text or a path")
            coded = [name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogateescape") for name in names]
            if len(coded) != len(rows):
                raise ArgumentError(f"names: expected {len(rows)}, got {len(coded)}")
            text = b"".join(coded)
            starts = np.zeros(len(coded) + 1, np.int64)
            np.cumsum([len(name) for name in coded], out=starts[1:])
        self._kept, self._vectors = (rows, text, starts), rows
        call("msim_corpus_open_rows", rows.ctypes.data, rows.shape[0], rows.shape[1], text,
             starts.ctypes.data if starts is not None else None, ctypes.byref(self._pointer))

    def close(self) -> None:
        latest = getattr(self, "_latest", None)
        for part in (*getattr(self, "_searchers", ()), latest[1] if latest else None, getattr(self, "_context", None)):
            if part:
                part.close()
        super().close()

    # ---- What is in it ----

    def _info(self) -> Any:
        found = sized(_abi.msim_corpus_info)
        lib.msim_corpus_get_info(self._handle, ctypes.byref(found))
        return found

    def __len__(self) -> int:
        return int(lib.msim_corpus_rows(self._handle))

    def __repr__(self) -> str:
        info = self._info()
        return f"<Corpus of {info.rows} rows of {info.dim}, {info.format.decode()}>"

    @property
    def dim(self) -> int:
        """The width of a row."""
        return int(self._info().dim)

    @property
    def format(self) -> str:
        """"structured", "plain", "pickled", "fvecs", "fbin", "memory", or "mixed"."""
        return str(self._info().format.decode())

    def read(self, first: int = 0, n: int | None = None) -> npt.NDArray[np.float32]:
        """Rows first .. first + n - 1 as a new array [n, dim] of f32, C-contiguous. None: all from first on."""
        count = len(self) - first if n is None else n
        out = np.empty((max(count, 0), self.dim), np.float32)
        call("msim_corpus_vectors", self._handle, first, count, out.ctypes.data)
        return out

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """All rows [n, dim], read once and then kept. Of a corpus that was opened on an array, that array. Read-only."""
        if self._vectors is None:
            self._vectors = self._mapped() if self._info().parts == 1 else None
            if self._vectors is None:
                self._vectors = self.read()
            call("msim_corpus_check", self._handle)
        view: npt.NDArray[np.float32] = self._vectors.view()
        view.flags.writeable = False
        return view

    def _mapped(self) -> npt.NDArray[np.float32] | None:
        """The rows of a plain .npy of f32, without a copy."""
        info = self._info()
        if info.format != b"plain" or info.dtype != _abi.MSIM_DTYPE_F32:
            return None
        path = lib.msim_corpus_part_path(self._handle, 0)
        try:
            mapped: npt.NDArray[Any] = np.load(os.fsdecode(path), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        is_same = mapped.dtype == np.float32 and mapped.flags.c_contiguous and mapped.shape == (info.rows, info.dim)
        return mapped if is_same else None

    @property
    def names(self) -> npt.NDArray[np.object_]:
        """The names of all rows, an array [n] of str. Bytes that are not UTF-8 are escaped as Python does it for paths."""
        if self._names is None:
            n = len(self)
            starts = np.zeros(n + 1, np.int64)
            room = max(lib.msim_corpus_names(self._handle, 0, n, None, 0, starts.ctypes.data), 0) + 1
            buffer = ctypes.create_string_buffer(room)
            lib.msim_corpus_names(self._handle, 0, n, buffer, room, starts.ctypes.data)
            raw, ends = buffer.raw, starts.tolist()
            out = np.empty(n, object)
            out[:] = [text_of(raw[ends[i]:ends[i + 1]]) for i in range(n)]
            call("msim_corpus_check", self._handle)
            self._names = out
        return self._names

    def name(self, row: int) -> str:
        """The name of one row. Raises IndexError."""
        buffer = ctypes.create_string_buffer(1024)
        n = lib.msim_corpus_name(self._handle, row, buffer, len(buffer))
        if n < 0:
            raise IndexError(f"row {row} of {len(self)}")
        if n >= len(buffer):
            buffer = ctypes.create_string_buffer(n + 1)
            lib.msim_corpus_name(self._handle, row, buffer, len(buffer))
        return text_of(buffer.raw[:n])

    def find(self, name: str) -> npt.NDArray[np.int64]:
        """The numbers of the rows with exactly this name, ascending."""
        coded = name_bytes(name, "name")
        n = call("msim_corpus_find", self._handle, coded, None, 0)
        rows = np.empty(n, np.int64)
        call("msim_corpus_find", self._handle, coded, rows.ctypes.data, n)
        return rows

    def span(self, row: int) -> Span:
        """Where a row lies in its piece, in a corpus of windows."""
        found = _abi.msim_span()
        call("msim_corpus_span", self._handle, row, ctypes.byref(found))
        return Span(found.piece, found.from_token, found.to_token, found.from_seconds, found.to_seconds)

    # ---- Derived ----

    def prepare(self, codes: str = "int8", progress: Callable[[int, int], Any] | None = None) -> None:
        """Write quantised rows beside each file (FILE.msim) where they are missing, and use them: searches read less and give
        the same answer. codes: "int8" or "bf16". Call it before the first search."""
        scan = choice("codes", codes, {"int8": SCANS["int8"], "bf16": SCANS["bf16"]})
        if self._context or len(self._searchers):
            raise ArgumentError("prepare: the corpus is being searched; call it before the first search")
        stop = Stop()
        kind = _abi.FUNCTIONS["msim_corpus_write_codes"][1][5]
        report = kind(lambda _user, done, total: stop.guard(progress, done, total) if progress else int(stop.is_set))
        for part in range(lib.msim_corpus_parts(self._handle)):
            path = lib.msim_corpus_part_path(self._handle, part) + b".msim"
            if os.path.exists(path):
                call("msim_corpus_attach_codes", self._handle, part, path, 0)
            if not lib.msim_corpus_has_codes(self._handle, part, scan):
                call_long(stop, "msim_corpus_write_codes", self._handle, part, path, scan, 0, report, None)
                call("msim_corpus_attach_codes", self._handle, part, path, 0)

    def write_whitened(self, output: Path, whitening: Whitening) -> Corpus:
        """Write the whitened rows as a corpus of its own (.npy), and open it. Searches of it whiten their queries."""
        if lib.msim_corpus_parts(self._handle) != 1:
            raise ArgumentError("write_whitened: expected a corpus of one file")
        check_replaced(output)
        stop = Stop()
        progress = callback(_abi.msim_whitened_options, "progress", lambda *_: int(stop.is_set))
        options = sized(_abi.msim_whitened_options, progress=progress)
        call_long(stop, "msim_corpus_write_whitened", self._handle, 0, whitening._handle, path_bytes(output), ctypes.byref(options))
        return Corpus.open(output)

    # ---- Searches ----

    def search_vectors(self, queries: npt.ArrayLike, k: int = 10, *, metric: str = "cosine", scan: str = "auto",
                       device: str = "auto", threads: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The k best rows for each query [n, dim], or one query [dim]: (rows, scores), each [n, min(k, rows)], best first.

        Exact: scores are computed in double, and of equal scores the lower row comes first. metric: "cosine" or "ip", the
        plain dot product. Queries are taken as they are, also in a whitened corpus.
        """
        given = np.atleast_2d(reals(queries, "queries"))
        if given.ndim != 2 or given.shape[1] != self.dim:
            raise ArgumentError(f"queries: expected [n, {self.dim}], got {list(given.shape)}")
        stop = Stop()
        k = min(k, len(self))
        rows, scores = np.empty((len(given), k), np.int64), np.empty((len(given), k), np.float64)
        if k < 1 or not len(given):
            return rows, scores
        should_stop = callback(_abi.msim_search_options, "should_stop", stop.asked)
        options = defaults(_abi.msim_search_options, metric=choice("metric", metric, METRICS), scan=choice("scan", scan, SCANS),
                           should_stop=should_stop)
        with self._alone():
            context = self._searching(k, device, threads)
            for first in range(0, len(given), PASS):
                part = given[first:first + PASS]
                call_long(stop, "msim_context_search_with", context._handle, ctypes.byref(options), part.ctypes.data, len(part), k,
                          rows[first:].ctypes.data, scores[first:].ctypes.data)
        return rows, scores

    def _searching(self, k: int, device: str, threads: int) -> _Context:
        self._handle  # noqa: B018: says so when the corpus is closed
        if self._context is None or self._context.max_k < k or self._context.key != (device, threads):
            old, self._context = self._context, None  # also when the next one cannot be opened
            if old is not None:
                old.close()
            self._context = _Context(self, k, device, threads)
        return self._context

    def searcher(self, model: Model | None = None, **options: Any) -> Searcher:
        """A Searcher of this corpus, for many queries with the same options."""
        return Searcher(self, model, **options)

    def search(self, query: Query, k: int = 10, *, model: Model | None = None, **options: Any) -> list[Match]:
        """The k best matches of one query, best first; options are those of Searcher.

        A MIDI file needs the model that made the corpus; a row or a vector does not.
        """
        with self._alone():
            key = (id(model), k, tuple(sorted((name, repr(value)) for name, value in options.items())))
            if self._latest is None or self._latest[0] != key or not self._latest[1]._pointer:
                if self._latest is not None:
                    self._latest[1].close()
                searcher = Searcher(self, model, k=k, **options)
                searcher._corpus = weakref.proxy(self)  # a cycle would be closed in any order
                self._latest = (key, searcher)
            return self._latest[1].search(query)

    # ---- Pairs, and how good the vectors are ----

    def join(self, threshold: float, other: Corpus | None = None, *, scan: str = "auto", device: str = "auto", threads: int = 0,
             shard: tuple[int, int] | None = None, progress: Callable[[int, int], Any] | None = None) -> Pairs:
        """All pairs of rows whose cosine is at least the threshold: (rows a, rows b, scores), each [pairs], in order of a, then b.

        Exact: rows a < b of this corpus, or each of its rows with each of `other`. scan: "auto" and "int8" leave pairs out by
        proof, "f64" scores each. shard: (1..n, n) joins one of n parts of the rows a. progress gets (done, all).
        """
        return join(self, other, threshold, scan, device, threads, shard, progress)

    def evaluate(self, labels: Sequence[Any] | npt.NDArray[Any], *, resamples: int = 1000, seed: int = 1, device: str = "auto",
                 threads: int = 0) -> Evaluation:
        """How well a search with each row finds the other rows of the same label [rows], for corpora whose rows all fit into one
        answer. Rows whose label no other row has are no queries, but candidates.

        Raises EmptyError when no two rows have the same label.
        """
        kinds = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
        n = len(self)
        if len(kinds) != n:
            raise ArgumentError(f"labels: expected {n}, got {len(kinds)}")
        found = Evaluation(resamples=resamples, seed=seed)
        asked = np.flatnonzero(np.bincount(kinds, minlength=1)[kinds] > 1)
        for first in range(0, len(asked), PASS):
            part = asked[first:first + PASS]
            rows, scores = self.search_vectors(self.vectors[part], n, device=device, threads=threads)
            for row, ranked, score in zip(part, rows, scores):
                others = ranked != row
                found.add(score[others], kinds[ranked[others]] == kinds[row])
        if not len(asked):
            raise EmptyError("labels: no two rows have the same")
        return found


class Searcher(Handle):
    """Searches of one corpus with the same options. One thread at a time."""

    _close = "msim_searcher_close"

    def __init__(self, corpus: Corpus, model: Model | None = None, *, k: int = 10, threshold: float | None = None, keys: int = 6,
                 likely_keys: int = 0, keep: str = "best", metric: str = "cosine", scan: str = "auto",
                 max_tokens: int | None = None, class_weights: Sequence[float] | None = None,
                 windows: int | tuple[int, int] = 0, exclude: Sequence[int] = (), exclude_self: bool = False,
                 device: str = "auto", threads: int = 0) -> None:
        """k: matches per query. threshold: instead, every row with at least this score. keys: a MIDI query is tried moved by
        -keys .. keys - 1 semitones; 0 is only as it is. likely_keys: 1..11 embed all of it in that many keys alone. keep:
        "best" key of each row, "all", or k matches in "each" key. exclude: rows that no query finds. exclude_self: a row that
        is the query does not find its piece.
        """
        super().__init__()
        self._corpus, self._model = corpus, model
        self._stop = Stop()
        self._excluded = integers(exclude, "exclude")
        self._weights = (ctypes.c_float * len(class_weights))(*class_weights) if class_weights is not None else None
        should_stop = callback(_abi.msim_searcher_options, "should_stop", self._stop.asked)
        window, step = windows if isinstance(windows, tuple) else (windows, 0)
        self._options = defaults(
            _abi.msim_searcher_options, k=k, has_threshold=int(threshold is not None), threshold=threshold, transpose=keys,
            metric=choice("metric", metric, METRICS), scan=choice("scan", scan, SCANS), keep=choice("keep", keep, KEEPS),
            max_tokens=max_tokens, class_weights=ctypes.addressof(self._weights) if self._weights else None,
            n_class_weights=len(self._weights) if self._weights else None,
            excluded=self._excluded.ctypes.data if len(self._excluded) else None, n_excluded=len(self._excluded),
            excludes_self=int(exclude_self), should_stop=should_stop, window_tokens=window, window_step=step,
            likely_keys=likely_keys)
        settings = options_of(device, model.info.precision if model else "bf16", threads)
        self._open_on(corpus, model)
        call("msim_searcher_open", model._handle if model else None, corpus._handle, ctypes.byref(settings),
             ctypes.byref(self._options), ctypes.byref(self._pointer))
        corpus._searchers.add(self)

    def search(self, query: Query) -> list[Match]:
        """The matches of one query, best first."""
        return self.search_many([query])[0]

    def search_many(self, queries: Sequence[Query]) -> list[list[Match]]:
        """The matches of several queries, in their order. They share passes over the rows.

        Raises FormatError or EmptyError for a MIDI file that gives no tokens, ArgumentError for a row out of range or a vector
        with NaN.
        """
        found: list[list[Match]] = []
        with self._alone():
            self._stop.is_set = False
            sink = _abi.msim_answer_sink(lambda _user, at: self._stop.guard(self._collect, found, at))
            try:
                for query in queries:
                    self._add(query)
            except BaseException:
                self._forget()
                raise
            call_long(self._stop, "msim_searcher_run", self._handle, sink, None)
        return found

    def _add(self, query: Query) -> None:
        handle = self._handle
        if isinstance(query, (int, np.integer)):
            row, n = int(query), len(self._corpus)
            if not 0 <= row < n:
                raise ArgumentError(f"corpus row: expected 0..{n - 1}, got {row}")
            call("msim_searcher_add_row", handle, row)
        elif isinstance(query, np.ndarray):
            vector = reals(query, "query")
            if vector.shape != (self._corpus.dim,):
                raise ArgumentError(f"query: expected a vector [{self._corpus.dim}], got {list(vector.shape)}")
            call("msim_searcher_add_vector", handle, vector.ctypes.data)
        elif self._model is None:
            raise ArgumentError("query: a MIDI file needs a model; give search(..., model=...)")
        elif isinstance(query, bytes):
            call_long(self._stop, "msim_searcher_add_midi", handle, query, len(query))
        else:
            call_long(self._stop, "msim_searcher_add_file", handle, path_bytes(query))

    def _forget(self) -> None:
        """Queries that were added before one failed do not wait for the next call."""
        pointer = self._pointer
        if pointer and lib.msim_searcher_waiting(pointer):
            lib.msim_searcher_run(pointer, _abi.msim_answer_sink(lambda *_: 1), None, None)

    def _collect(self, found: list[list[Match]], at: int) -> None:
        answer = _abi.msim_answer.from_address(at)
        matches = ctypes.cast(answer.matches, ctypes.POINTER(_abi.msim_match))
        has_meaning = bool(lib.msim_searcher_has_meaning(self._handle))
        found.append([self._match(matches[i], at if has_meaning else None, i) for i in range(answer.n_matches)])

    def _match(self, match: Any, answer: int | None, index: int) -> Match:
        chance, likeness = None, None
        if answer is not None:
            meaning = sized(_abi.msim_meaning)
            if lib.msim_searcher_explain(self._handle, answer, index, ctypes.byref(meaning)) >= 0:
                chance = meaning.matches if meaning.matches >= 0 else None
                likeness = lib.msim_likeness_name(meaning.likeness).decode()
        return Match(match.row, self._corpus.name(match.row), match.score, match.transpose, match.from_seconds, match.to_seconds,
                     chance, likeness)
