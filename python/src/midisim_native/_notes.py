"""Note indexes: which pieces share notes, where, in which key, and how surely."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _abi
from ._jobs import Progress, progress_function
from ._library import (Handle, Stop, call, callback, call_long, defaults, lib, name_bytes, path_bytes, paths_array, set_fields, several,
                       sized, text_of, used)
from ._model import Path, read_midi
from .errors import ArgumentError

__all__ = ["NOTE_DTYPE", "NoteMatch", "NotePair", "NotesIndex", "NotesStream", "parse_notes", "read_notes"]

NOTE_DTYPE = np.dtype([("start_ms", np.uint32), ("duration_ms", np.uint32), ("voice", np.uint16), ("pitch", np.uint8),
                       ("velocity", np.uint8)])
"""One note, as the library has it."""

NoteQuery = Union[str, "os.PathLike[str]", bytes, "npt.NDArray[Any]"]
"""What is looked for: the path of a MIDI file, the bytes of one, or notes (an array of NOTE_DTYPE)."""


@dataclass(frozen=True)
class NoteMatch:
    """A piece that shares notes with a query."""

    piece: int
    name: str
    relation: str  # "same notes", "same piece", "part of", "contains", "version", "shares a passage" or "none"
    is_significant: bool
    evalue: float  # hits as good that chance would give
    score: float  # bits
    n_matched: int  # notes that agree
    of_query: int  # notes of the query
    of_piece: int  # notes of the piece
    identity: float  # share of the notes of both regions that agree
    transpose: int  # semitones to add to the query
    tempo: float  # seconds of the match for one second of the query
    query_from: float  # seconds: the best place in the query ...
    query_to: float
    match_from: float  # ... and in the match
    match_to: float


@dataclass(frozen=True)
class NotePair:
    """Two pieces of an index: `piece` is the query of `match`."""

    piece: int
    name: str
    match: NoteMatch


class _Reader(Handle):
    _close = "msim_note_reader_close"

    def __init__(self) -> None:
        super().__init__()
        call("msim_note_reader_open", ctypes.byref(self._pointer))


def read_notes(midi: Path | bytes) -> npt.NDArray[Any]:
    """The notes [n] of a MIDI file or its bytes, as the file has them, an array of NOTE_DTYPE. Drums are left out.

    Raises FormatError (not MIDI, or damaged) or EmptyError (no notes).
    """
    raw = midi if isinstance(midi, bytes) else read_midi(midi)
    piece = sized(_abi.msim_piece_notes)
    with _Reader() as reader:
        call("msim_note_reader_read", reader._handle, raw, len(raw), ctypes.byref(piece))
        return np.frombuffer(ctypes.string_at(piece.notes, piece.n_notes * NOTE_DTYPE.itemsize), NOTE_DTYPE)


def parse_notes(text: str) -> npt.NDArray[Any]:
    """The notes [n] of a typed phrase such as "G4 G4 A4 G4 C5 B4:2" (docs/NOTES.md). Raises ArgumentError."""
    coded = name_bytes(text, "text")
    out = np.zeros(call("msim_notes_parse", coded, None, 0), NOTE_DTYPE)
    call("msim_notes_parse", coded, out.ctypes.data, len(out))
    return out


class NotesIndex(Handle):
    """A file that holds the notes of a collection (NAME.notes). Threads may share it."""

    _close = "msim_notes_close"

    @classmethod
    def open(cls, path: Path) -> NotesIndex:
        """Open an index. Raises FileError, or FormatError when it is damaged or of another version."""
        self = cls()
        call("msim_notes_open", path_bytes(path), ctypes.byref(self._pointer))
        return self

    @classmethod
    def build(cls, paths: Path | Sequence[Path], output: Path, *, update: bool = False, density: int | None = None,
              progress: Progress = None) -> NotesIndex:
        """Write the notes of the MIDI files of folders to an index, and open it. It has the bytes that midisim-index writes.

        update: bring an existing index up to date. density: keep one of so many words, 1..16.
        """
        given = several(paths)
        stop, report = Stop(), progress_function(progress)

        def on_progress(_user: Any, at: int) -> int:
            found = _abi.msim_job_progress.from_address(at)
            if report is None or found.step != _abi.MSIM_STEP_LIST:
                return int(stop.is_set)
            return stop.guard(report, "list", found.done, found.all)

        array = paths_array([path_bytes(path) for path in given])
        options = defaults(_abi.msim_notes_job_options, output=path_bytes(output), update=int(update))
        options.walk.paths, options.walk.n_paths = ctypes.addressof(array), len(given)
        options.walk.progress = callback(_abi.msim_walk_options, "progress", on_progress)
        if density is not None:
            set_fields(options.notes, density=density)
        stats = sized(_abi.msim_notes_job_stats)
        call_long(stop, "msim_notes_build", ctypes.byref(options), ctypes.byref(stats))
        return cls.open(output)

    def __len__(self) -> int:
        info = sized(_abi.msim_notes_info)
        lib.msim_notes_get_info(self._handle, ctypes.byref(info))
        return int(info.pieces)

    def __repr__(self) -> str:
        return f"<NotesIndex of {len(self)} pieces>"

    def check(self) -> None:
        """Read all of it and compare every checksum. Raises FormatError."""
        call("msim_notes_check", self._handle)

    def name(self, piece: int) -> str:
        """The name of piece 0 .. len - 1; pieces are in order of name. Raises IndexError."""
        found = sized(_abi.msim_notes_piece)
        if lib.msim_notes_get_piece(self._handle, piece, ctypes.byref(found)) < 0:
            raise IndexError(f"piece {piece} of {len(self)}")
        return text_of(ctypes.string_at(found.name, found.name_bytes))

    @property
    def names(self) -> list[str]:
        """The names of all pieces, in order."""
        return [self.name(piece) for piece in range(len(self))]

    def find(self, query: NoteQuery, k: int = 16, *, evalue: float | None = None, same_key: bool = False,
             same_tempo: bool = False) -> list[NoteMatch]:
        """The pieces that share notes with a query, at most k, best first.

        query: a MIDI file, its bytes, or notes; for a typed phrase use find(parse_notes(text)). evalue: matches of which
        chance gives more are not significant (default 1e-3). same_key, same_tempo: only such matches.
        """
        notes = _notes(query) if isinstance(query, np.ndarray) else read_notes(query)
        options = defaults(_abi.msim_finder_options, max_matches=k, evalue=evalue, is_same_key=int(same_key),
                           is_same_tempo=int(same_tempo))
        found = ctypes.c_void_p()
        with _Finder(self, options) as finder:
            n = call("msim_finder_find", finder._handle, notes.ctypes.data, len(notes), ctypes.byref(found))
            return self._matches(found, n)

    def stream(self, k: int = 16, *, window: int = 0, evalue: float | None = None, same_key: bool = False,
               same_tempo: bool = False) -> NotesStream:
        """Match notes as they come: see NotesStream. window: how many of the latest notes count, 0 for 256; else as for find."""
        return NotesStream(self, window, defaults(_abi.msim_finder_options, max_matches=k, evalue=evalue,
                                                  is_same_key=int(same_key), is_same_tempo=int(same_tempo)))

    def compare(self, a: int, b: int) -> NoteMatch:
        """The match of piece a as the query with piece b."""
        match = _abi.msim_note_match()
        call("msim_notes_compare", self._handle, a, self._handle, b, ctypes.byref(match))
        return self._match(match)

    def pairs(self, against: NotesIndex | None = None, *, evalue: float | None = None, same_key: bool = False,
              same_tempo: bool = False, threads: int = 0, progress: Progress = None) -> list[NotePair]:
        """All pairs of pieces that share a good part of their notes, of this index, or of this one and another."""
        stop, report = Stop(), progress_function(progress)
        pairs: list[NotePair] = []
        other = self if against is None else against

        def on_progress(_user: Any, stage: int, done: int, total: int) -> int:
            return stop.guard(report, ("ask", "compare")[stage], done, total) if report else int(stop.is_set)

        def collect(a: int, at: int) -> None:
            pairs.append(NotePair(a, self.name(a), other._match(_abi.msim_note_match.from_address(at))))

        options = defaults(_abi.msim_pairs_options, against=against._handle.value if against is not None else None, evalue=evalue,
                           is_same_key=int(same_key), is_same_tempo=int(same_tempo), threads=threads,
                           progress=callback(_abi.msim_pairs_options, "progress", on_progress))
        sink = _abi.msim_pair_sink(lambda _user, a, at: stop.guard(collect, a, at))
        with used([other._handle]):
            call_long(stop, "msim_notes_pairs", self._handle, ctypes.byref(options), sink, None)
        return pairs

    def _matches(self, found: ctypes.c_void_p, n: int) -> list[NoteMatch]:
        matches = ctypes.cast(found, ctypes.POINTER(_abi.msim_note_match))
        return [self._match(matches[i]) for i in range(n)]

    def _match(self, match: Any) -> NoteMatch:
        place = match.place
        return NoteMatch(match.piece, self.name(match.piece), lib.msim_relation_name(match.relation).decode(),
                         bool(match.is_significant), match.evalue, match.score, match.n_matched, match.of_query, match.of_piece,
                         match.identity, match.transpose, match.tempo, place.query_from, place.query_to, getattr(place, "from"),
                         place.to)


class NotesStream(Handle):
    """Finds the pieces that share the notes that someone is playing: push notes as they come, and ask as often as you like.

    NotesIndex.stream opens it; the index must stay open. Threads take turns.
    """

    _close = "msim_notes_stream_close"

    def __init__(self, index: NotesIndex, window: int, options: Any) -> None:
        super().__init__()
        self._index = index
        call("msim_notes_stream_open", index._handle, ctypes.byref(options), window, ctypes.byref(self._pointer))

    def push(self, notes: npt.NDArray[Any]) -> None:
        """Notes [n] of NOTE_DTYPE have come, with onsets in any order. Raises ArgumentError for one that no piece can have;
        then none of them counts."""
        given = _notes(notes)
        with self._alone():
            call("msim_notes_stream_push", self._handle, given.ctypes.data, len(given))

    def answer(self) -> list[NoteMatch]:
        """What NotesIndex.find gives for the latest notes."""
        found = ctypes.c_void_p()
        with self._alone():
            return self._index._matches(found, call("msim_notes_stream_answer", self._handle, ctypes.byref(found)))


def _notes(given: npt.NDArray[Any]) -> npt.NDArray[Any]:
    notes = np.ascontiguousarray(given)
    if notes.dtype != NOTE_DTYPE:
        raise ArgumentError("expected notes, an array of NOTE_DTYPE")
    if notes.ndim != 1:
        raise ArgumentError(f"expected notes [n], got {list(notes.shape)}")
    return notes


class _Finder(Handle):
    _close = "msim_finder_close"

    def __init__(self, index: NotesIndex, options: Any) -> None:
        super().__init__()
        self._open_on(index)
        call("msim_finder_open", index._handle, ctypes.byref(options), ctypes.byref(self._pointer))
