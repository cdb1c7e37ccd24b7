"""Folders to corpora: what midisim-embed does."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from . import _abi
from ._library import Handle, Stop, call_long, callback, check_not_music, defaults, lib, path_bytes, paths_array, several, sized, text_of
from ._model import Model, Path
from .errors import ArgumentError

__all__ = ["EmbedReport", "Progress", "Skip", "embed_folder"]

Progress = Union[None, bool, Callable[[str, int, int], Any]]
"""None: silent. True: a bar of tqdm, which must be installed. A function gets (step, done, all); all is -1 when it is not
known. When the function returns False, the work stops with StoppedError."""

_STEPS = {_abi.MSIM_STEP_LIST: "list", _abi.MSIM_STEP_JOURNAL: "journal", _abi.MSIM_STEP_EMBED: "embed",
          _abi.MSIM_STEP_WRITE: "write"}


@dataclass(frozen=True)
class Skip:
    """An input that gave no row."""

    path: str
    reason: str  # "not-midi", "no-notes", ...
    detail: str
    is_failure: bool  # False for a file without notes that a folder listed


@dataclass(frozen=True)
class EmbedReport:
    """What embed_folder did."""

    output: str
    files: int
    rows: int
    tokens: int  # embedded by this run
    is_unchanged: bool  # the corpus already was what it should be
    skips: list[Skip] = field(repr=False)


class _Job(Handle):
    _close = "msim_job_close"


def progress_function(progress: Progress) -> Callable[[str, int, int], Any] | None:
    """The function to call, for what a user gave as `progress`."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm, or give a function") from None
    bars: dict[str, Any] = {}

    def show(step: str, done: int, total: int) -> None:
        if step not in bars:
            for bar in bars.values():
                bar.close()
            bars[step] = tqdm(desc=step, total=total if total >= 0 else None)
        bars[step].update(done - bars[step].n)

    return show


def embed_folder(paths: Path | Sequence[Path], output: Path, *, model: Model | Path | None = None, resume: bool = True,
                 update: bool = False, overwrite: bool = False, windows: int | tuple[int, int] = 0, pool_windows: bool = False,
                 transpose: int = 0, max_tokens: int | None = None, class_weights: Sequence[float] | None = None,
                 normalize: bool = False, names: str = "path", shard: tuple[int, int] | None = None, notes: Path | None = None,
                 progress: Progress = None, message: Callable[[str, str], Any] | None = None) -> EmbedReport:
    """Embed the MIDI files of folders, and files, into a corpus file (.npy). It has the bytes that midisim-embed writes.

    paths: one or several. output: the corpus; a run that ended in any way goes on where it was. resume: False refuses to go
    on with an unfinished one. update: bring an existing corpus up to date. overwrite: replace it. windows: tokens of a window,
    or (tokens, step); 0 is one row per piece. pool_windows: one row per piece, the mean of its windows. max_tokens: None is
    what the model was trained with (with windows: all), 0 is all. names: "path" or "stem". shard: (i, n) for part i of n,
    from 1. notes: also write a note index there. message: gets (level, text), level "note", "warning" or "error".

    Raises EmptyError when no input gave a row, ArgumentError when the output exists with other settings, StoppedError.
    """
    given = several(paths)
    if names not in ("path", "stem"):
        raise ArgumentError(f"names: expected path or stem, got '{names}'")
    if not resume and os.path.exists(os.fsdecode(output) + ".journal"):
        raise ArgumentError(f"{os.fsdecode(output)}.journal: an unfinished run is there; remove it, or let resume be True")
    if notes is not None:
        check_not_music(notes)
    opened = model if isinstance(model, Model) else Model(model)
    stop, report = Stop(), progress_function(progress)
    window, step = windows if isinstance(windows, tuple) else (windows, 0)

    def on_progress(_user: Any, at: int) -> int:
        found = _abi.msim_job_progress.from_address(at)
        if report is None or found.step == _abi.MSIM_STEP_NONE:
            return int(stop.is_set)
        return stop.guard(report, _STEPS.get(found.step, "work"), found.done, found.all)

    def on_message(_user: Any, level: int, at: int) -> None:
        if message is not None:
            stop.guard(message, ("note", "warning", "error")[level], text_of(ctypes.string_at(at)))

    array = paths_array([path_bytes(path) for path in given])
    weights = (ctypes.c_float * len(class_weights))(*class_weights) if class_weights is not None else None
    settings = opened._options()
    callbacks = (callback(_abi.msim_job_options, "progress", on_progress), callback(_abi.msim_job_options, "message", on_message))
    options = defaults(
        _abi.msim_job_options, output=path_bytes(output), paths=ctypes.addressof(array), n_paths=len(given),
        names=_abi.MSIM_NAMES_STEM if names == "stem" else _abi.MSIM_NAMES_PATH, transpose=transpose, max_tokens=max_tokens,
        shard=shard[0] if shard else None, n_shards=shard[1] if shard else None,
        class_weights=ctypes.addressof(weights) if weights else None,
        n_class_weights=len(weights) if weights else None, is_l2_normalized=int(normalize), is_update=int(update),
        is_forced=int(overwrite), model=opened._handle.value, options=ctypes.addressof(settings), progress=callbacks[0],
        message=callbacks[1], window_tokens=window, window_step=step, is_pooled=int(pool_windows),
        notes=path_bytes(notes) if notes is not None else None)
    with _Job() as job:
        job._open_on(opened)
        call_long(stop, "msim_job_open", ctypes.byref(options), ctypes.byref(job._pointer))
        outcome = call_long(stop, "msim_job_run", job._handle)
        return _report(job, os.fsdecode(output), outcome)


def _report(job: _Job, output: str, outcome: int) -> EmbedReport:
    stats = sized(_abi.msim_job_stats)
    lib.msim_job_get_stats(job._handle, ctypes.byref(stats))
    skips = []
    for index in range(stats.skips):
        skip = sized(_abi.msim_skip)
        if lib.msim_job_get_skip(job._handle, index, ctypes.byref(skip)) >= 0:
            reason = lib.msim_skip_reason_name(skip.reason).decode()
            skips.append(Skip(text_of(skip.path), reason, text_of(skip.detail or b""), bool(skip.is_failure)))
    return EmbedReport(output, stats.files, stats.rows, stats.tokens, outcome != _abi.MSIM_JOB_WRITTEN, skips)
