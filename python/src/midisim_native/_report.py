"""Reports: matches, groups and a map as one HTML file that shows and plays them (docs/guide/report.md)."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy.typing as npt

from . import _abi
from ._corpus import Corpus, Match
from ._groups import Groups
from ._library import Handle, Stop, call, callback, call_long, defaults, lib, name_bytes, path_bytes, paths_array, reals, several, sized
from ._model import Path
from ._notes import NoteMatch, NotesIndex
from .errors import ArgumentError

__all__ = ["Report", "ReportInfo"]


@dataclass(frozen=True)
class ReportInfo:
    """What a report has."""

    pieces: int
    without_notes: int  # of these: only the name is known
    queries: int
    matches: int
    groups: int
    points: int  # of the map


class Report(Handle):
    """Collects what is to be shown; `write` makes the file, which opens from disk without a network."""

    _close = "msim_report_close"

    def __init__(self, roots: Path | Sequence[Path] = (), *, title: str | None = None, notes: NotesIndex | None = None) -> None:
        """roots: folders in which the names of pieces are paths. notes: has the notes of pieces whose file is not there."""
        super().__init__()
        self._stop = stop = Stop()
        self._progress = callback(_abi.msim_report_options, "progress", lambda *_: stop.asked())
        given = several(roots)
        array = paths_array([path_bytes(root) for root in given])
        self._open_on(notes)
        options = defaults(_abi.msim_report_options, title=name_bytes(title, "title") if title is not None else None,
                           roots=ctypes.addressof(array) if given else None, n_roots=len(given),
                           notes=notes._handle.value if notes is not None else None, progress=self._progress)
        call("msim_report_open", ctypes.byref(options), ctypes.byref(self._pointer))

    def add_piece(self, name: str, source: Path | bytes | None = None) -> int:
        """Add a piece, and read its notes from a file, from the bytes of one, or by its name. Returns its number, which is that of
        before when the piece is known."""
        coded = name_bytes(name, "name")
        with self._alone():
            if isinstance(source, bytes):
                return call("msim_report_add_midi", self._handle, coded, len(coded), source, len(source))
            path = path_bytes(source) if source is not None else None
            return call("msim_report_add_piece", self._handle, coded, len(coded), path)

    def add_query(self, piece: int, from_seconds: float = -1, to_seconds: float = -1) -> int:
        """Add a piece, or a part of it, as a query. Returns the number of the query."""
        with self._alone():
            return call("msim_report_add_query", self._handle, piece, from_seconds, to_seconds)

    def add_match(self, query: int, match: Union[Match, NoteMatch], piece: int | None = None) -> int:
        """Add a match of a query, in the order in which they are to stand. piece: its number; None: the one of its name."""
        found = self.add_piece(match.name) if piece is None else piece
        given = defaults(_abi.msim_report_match, piece=found, transpose=match.transpose)
        if isinstance(match, Match):
            given.has_score, given.score = 1, match.score
            setattr(given, "from", match.from_seconds)
            given.to = match.to_seconds
            given.chance = match.chance if match.chance is not None else -1.0
            if match.likeness is not None:
                given.likeness = _likeness(match.likeness)
        with self._alone():
            return call("msim_report_add_match", self._handle, query, ctypes.byref(given))

    def add_search(self, query: Path, matches: Iterable[Union[Match, NoteMatch]]) -> int:
        """Add a file as a query, and what a search with it found. Returns the number of the query."""
        number = self.add_query(self.add_piece(os.fsdecode(query), os.fsdecode(query)))
        for match in matches:
            self.add_match(number, match)
        return number

    def add_groups(self, groups: Groups) -> None:
        """Add all groups of two files and more."""
        with self._alone():
            self._add("msim_report_add_groups", groups._handle)

    def add_map(self, corpus: Corpus, layout: npt.ArrayLike | None = None) -> None:
        """Add a map of the corpus: a point for each piece, near pieces near each other. A report has at most one.

        layout: places [rows, 2] of the rows of the corpus, in their order, such as umap_layout gives; None: their principal
        components. Raises ArgumentError for a layout of another shape, and where a place is not finite.
        """
        if layout is None:
            with self._alone():
                self._add("msim_report_add_map", corpus._handle)
            return
        places = reals(layout, "layout")
        if places.shape != (len(corpus), 2):
            raise ArgumentError(f"layout: expected [{len(corpus)}, 2], got {list(places.shape)}")
        with self._alone():
            self._add("msim_report_add_layout", corpus._handle, places.ctypes.data, len(places))

    def _add(self, name: str, *arguments: Any) -> None:
        """Something that takes time, which Ctrl-C ends."""
        self._stop.is_set = False
        call_long(self._stop, name, self._handle, *arguments)

    @property
    def info(self) -> ReportInfo:
        """What the report has so far."""
        found = sized(_abi.msim_report_info)
        lib.msim_report_get_info(self._handle, ctypes.byref(found))
        return ReportInfo(found.pieces, found.without_notes, found.queries, found.matches, found.groups, found.points)

    def write(self, path: Path) -> None:
        """Write the report as it is now. More may be added afterwards, and the report written again."""
        with self._alone():
            call("msim_report_write", self._handle, path_bytes(path))


def _likeness(word: str) -> int:
    """The number of a word of msim_likeness_name."""
    number, name = 0, lib.msim_likeness_name(0)
    while name is not None and name.decode() != word:
        number += 1
        name = lib.msim_likeness_name(number)
    return number
