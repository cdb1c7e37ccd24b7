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
from ._library import Handle, Stop, call, callback, call_long, defaults, lib, path_bytes, paths_array, several, sized, text_of
from ._model import Path
from .errors import ArgumentError

__all__ = ["FilePair", "GroupedFile", "Groups", "GroupsInfo"]

KINDS = {"bytes": _abi.MSIM_PAIR_BYTES, "notes": _abi.MSIM_PAIR_NOTES, "key": _abi.MSIM_PAIR_KEY, "piece": _abi.MSIM_PAIR_PIECE,
         "version": _abi.MSIM_PAIR_VERSION, "excerpt": _abi.MSIM_PAIR_EXCERPT, "alike": _abi.MSIM_PAIR_ALIKE}
LINKS = {"verified": _abi.MSIM_LINK_VERIFIED, "complete": _abi.MSIM_LINK_COMPLETE, "single": _abi.MSIM_LINK_SINGLE}
KEEPERS = {"longest": _abi.MSIM_KEEPER_LONGEST, "most-notes": _abi.MSIM_KEEPER_MOST_NOTES,
           "most-tracks": _abi.MSIM_KEEPER_MOST_TRACKS, "earliest-name": _abi.MSIM_KEEPER_EARLIEST_NAME,
           "newest": _abi.MSIM_KEEPER_NEWEST, "preferences": _abi.MSIM_KEEPER_PREFERENCES}


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
    bytes: int  # its size; -1: not known
    collection: int  # 0; 1: of `against`
    is_unread: bool  # it could not be read, and takes no part
    reason: str  # why it has no notes; "ok" when it has some


@dataclass(frozen=True)
class GroupsInfo:
    """Counts of a collection."""

    files: int
    contents: int  # different ones
    pieces: int  # contents with notes
    groups: int  # of two files and more
    singles: int  # files alone
    without_notes: int
    unread: int
    asked: int  # pieces that this run compared
    known: int  # pieces that an earlier run had compared
    compared: int  # pairs that were compared directly
    pairs: dict[str, int]  # by kind


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
    a_from: float  # seconds: where they agree
    a_to: float
    b_from: float
    b_to: float


def _pair(p: Any) -> FilePair:
    kind = lib.msim_pair_kind_name(p.kind).decode()
    return FilePair(p.a, p.b, kind, p.direction, p.n_matched, p.of_a, p.of_b, p.transpose, p.tempo, p.identity, p.score, p.evalue,
                    p.a_from, p.a_to, p.b_from, p.b_to)


class Groups(Handle):
    """What was found in a collection."""

    _close = "msim_groups_close"

    @classmethod
    def find(cls, paths: Path | Sequence[Path], work: Path, *, against: Path | Sequence[Path] = (),
             kinds: str | Sequence[str] = ("bytes", "notes", "key", "piece"), link: str = "verified", keep: str = "longest",
             alike: float = 0.0, preferences: str | Sequence[str] = (), evalue: float | None = None, threads: int = 0,
             progress: Progress = None) -> Groups:
        """Find what is there more than once in folders, files, note indexes or corpora (docs/guide/duplicates.md).

        work: files beside this path keep what was found, so that the next run compares new contents alone. against: a second
        collection; then only pairs between the two are looked for. kinds: what joins groups. alike: rows of the given corpora
        with at least this cosine are a pair, too. preferences: for keep="preferences", names or patterns as in a shell, best
        first. evalue: pairs of which chance gives more are none.
        """
        given, against = several(paths), several(against)
        kinds, preferences = several(kinds), several(preferences)
        for name, value, among in (("link", link, LINKS), ("keep", keep, KEEPERS), *(("kinds", kind, KINDS) for kind in kinds)):
            if value not in among:
                raise ArgumentError(f"{name}: expected {', '.join(among)}, got '{value}'")
        self, stop, report = cls(), Stop(), progress_function(progress)

        def on_progress(_user: Any, unit: int, done: int, total: int) -> int:
            return stop.guard(report, text_of(ctypes.string_at(unit)), done, total) if report else int(stop.is_set)

        one, two = paths_array([path_bytes(p) for p in given]), paths_array([path_bytes(p) for p in against])
        wanted = paths_array([path_bytes(p) for p in preferences])
        options = defaults(_abi.msim_groups_options, paths=ctypes.addressof(one), n_paths=len(given), work=path_bytes(work),
                           against=ctypes.addressof(two) if against else None, n_against=len(against),
                           kinds=sum(1 << KINDS[kind] for kind in set(kinds)), link=LINKS[link], keep=KEEPERS[keep], alike=alike,
                           threads=threads, evalue=evalue, n_preferences=len(preferences),
                           preferences=ctypes.addressof(wanted) if preferences else None,
                           progress=callback(_abi.msim_groups_options, "progress", on_progress))
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
        reason = lib.msim_skip_reason_name(found.reason).decode()
        return GroupedFile(index, name, path, found.group, found.keeper, found.n_notes, found.seconds, found.bytes,
                           found.collection, bool(found.is_unread), reason)

    def members(self, group: int) -> list[int]:
        """The files of a group, in order of name."""
        found = ctypes.c_void_p()
        n = lib.msim_groups_get_members(self._handle, group, ctypes.byref(found))
        if n < 0:
            raise IndexError(f"group {group}")
        return list(ctypes.cast(found, ctypes.POINTER(ctypes.c_int64))[:n])

    @property
    def info(self) -> GroupsInfo:
        """Counts of the collection."""
        found = self._info()
        return GroupsInfo(found.files, found.contents, found.pieces, found.groups, found.singles, found.without_notes,
                          found.unread, found.asked, found.known, found.compared,
                          {name: found.pairs[kind] for name, kind in KINDS.items()})

    def relate(self, a: int, b: int) -> FilePair | None:
        """How two files relate; None when no pair of them was seen. Raises ArgumentError for a number that no file has."""
        found = _abi.msim_file_pair()
        kind = int(lib.msim_groups_relate(self._handle, a, b, ctypes.byref(found)))
        if kind < 0 or not (0 <= a < self._info().files and 0 <= b < self._info().files):
            raise ArgumentError(f"a and b: expected two of {self._info().files} files, got {a} and {b}")
        return _pair(found) if kind else None

    @property
    def pairs(self) -> list[FilePair]:
        """All pairs, in order of a and b."""
        stop, out = Stop(), []

        def collect(at: int) -> None:
            out.append(_pair(_abi.msim_file_pair.from_address(at)))

        sink = _abi.FUNCTIONS["msim_groups_pairs"][1][1](lambda _user, at: stop.guard(collect, at))
        call_long(stop, "msim_groups_pairs", self._handle, sink, None)
        return out

    def split(self, shares: Sequence[float], *, seed: int = 1, by_folder: bool = False,
              by_notes: bool = False) -> npt.NDArray[np.int32]:
        """Deal all files to len(shares) sides so that no pair is on two: the side [files] of each (docs/guide/splits.md).

        by_folder: each first folder of the names is dealt by itself, as far as its pairs allow. by_notes: shares are of the notes.
        """
        wanted = (ctypes.c_double * len(shares))(*shares)
        how = _abi.MSIM_SPLIT_FOLDERS * by_folder | _abi.MSIM_SPLIT_NOTES * by_notes
        sides = np.empty(self._info().files, np.int32)
        call("msim_groups_split", self._handle, wanted, len(shares), seed, how, sides.ctypes.data, None, None)
        return sides
