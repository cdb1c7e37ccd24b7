"""Models: MIDI files, their bytes or token ids to vectors."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _abi
from ._library import Handle, call, defaults, lib, midi_bytes, path_bytes, sized
from .errors import ArgumentError, MidisimError

__all__ = ["Model", "ModelInfo", "Piece", "Tokenizer", "load_model", "read_midi"]

Path = Union[str, "os.PathLike[str]"]
Piece = Union[str, "os.PathLike[str]", bytes, "npt.NDArray[np.int32]", Sequence[int]]
"""A piece of music: the path of a MIDI file, the bytes of one, or its token ids."""

PRECISIONS = {"bf16": _abi.MSIM_PRECISION_BF16, "f32": _abi.MSIM_PRECISION_F32, "int8": _abi.MSIM_PRECISION_INT8}
DEVICES = {"auto": _abi.MSIM_DEVICE_AUTO, "cpu": _abi.MSIM_DEVICE_CPU, "cuda": _abi.MSIM_DEVICE_CUDA}
ORDERS = {"time-first": _abi.MSIM_ORDER_TIME_FIRST, "chord-first": _abi.MSIM_ORDER_CHORD_FIRST}
FAMILIES = {"midisim": _abi.MSIM_FAMILY_MIDISIM, "midisimx": _abi.MSIM_FAMILY_MIDISIMX}
BATCH = 4096  # tokens in one call of the encoder: between two calls, Ctrl-C is noticed


def options_of(device: str, precision: str, threads: int, **more: Any) -> Any:
    """An msim_options. device: "auto", "cpu", "cuda", "cuda:N" or "cuda:all"."""
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and (kind != "cuda" or not (number == "all" or number.isdigit()))):
        raise ArgumentError(f"device: expected auto, cpu, cuda, cuda:N or cuda:all, got '{device}'")
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision: expected bf16, f32 or int8, got '{precision}'")
    gpu = None if not number else _abi.MSIM_GPU_ALL if number == "all" else int(number)
    return defaults(_abi.msim_options, device=DEVICES[kind], gpu=gpu, threads=threads, precision=PRECISIONS[precision], **more)


def order_of(token_order: str) -> int:
    if token_order not in ORDERS:
        raise ArgumentError(f"token_order: expected {' or '.join(ORDERS)}, got '{token_order}'")
    return ORDERS[token_order]


@dataclass(frozen=True)
class ModelInfo:
    """What a model is and how it runs."""

    family: str  # "midisim-small", "midisimx-base", "midisim-custom" and others
    dim: int  # width of a vector
    depth: int
    heads: int
    vocab: int  # token ids are 0..vocab-1
    max_tokens: int  # the longest sequence that such models were trained on
    device: str
    precision: str
    sha256: str  # of the checkpoint
    token_family: str | None  # whose tokens it reads: "midisim", "midisimx"; None: not known
    token_order: str  # in which MIDI files become its tokens: "time-first" or "chord-first"


def read_midi(path: Path) -> bytes:
    """The bytes of a MIDI file, gzip and RMID undone.

    Raises FileError (not readable), FormatError (damaged gzip) or LimitError (over 256 MiB).
    """
    name, room = path_bytes(path), 1 << 16
    while True:
        buffer = ctypes.create_string_buffer(room)
        n = call("msim_midi_read", name, buffer, room)
        if n <= room:
            return buffer.raw[:n]
        room = n


class Tokenizer(Handle):
    """Turns MIDI files into token ids, the same as the original's. Threads take turns."""

    _close = "msim_tokenizer_close"

    def __init__(self, model: Model | None = None, *, family: str = "midisim", token_order: str = "time-first",
                 unclean: bool = False, center_pitch: int = 0) -> None:
        """Open a tokeniser for a model, or without one for a family: "midisim" or "midisimx".

        The other arguments are midisimx's. token_order and unclean are those of Model; center_pitch, 1..127, moves every piece
        to this mean pitch. With a model, they are the model's and stay out.
        """
        super().__init__()
        if family not in FAMILIES:
            raise ArgumentError(f"family: expected {' or '.join(FAMILIES)}, got '{family}'")
        order, given = order_of(token_order), (family, token_order, unclean, center_pitch)
        if model is not None:
            if given != ("midisim", "time-first", False, 0):
                raise ArgumentError("family, token_order, unclean and center_pitch: a tokeniser of a model takes the model's")
            self._open_on(model)
            call("msim_tokenizer_open", model._handle, ctypes.byref(self._pointer))
            return
        options = defaults(_abi.msim_tokenizer_options, family=FAMILIES[family], token_order=order, is_unclean=int(unclean),
                           center_pitch=center_pitch)
        call("msim_tokenizer_open_family", ctypes.byref(options), ctypes.byref(self._pointer))

    def encode(self, midi: bytes, transpose: int = 0, max_tokens: int = -1) -> npt.NDArray[np.int32]:
        """The token ids [n] of a file's bytes, moved by `transpose` semitones, at most max_tokens of them (-1: all).

        Raises FormatError (not MIDI, or damaged) or EmptyError (no notes, or only drums).
        """
        midi = midi_bytes(midi)
        with self._alone():
            room = int(lib.msim_tokenizer_bound(len(midi), 0, 0x7FFFFFFF))
            ids = np.empty(room, np.int32)
            n = call("msim_tokenizer_encode_at", self._handle, midi, len(midi), transpose,
                     max_tokens if max_tokens >= 0 else 0x7FFFFFFF, ids.ctypes.data, room)
            kept: npt.NDArray[np.int32] = ids[:n].copy()
            return kept

    def encode_variants(self, midi: bytes, transpose_factor: int, max_seq_len: int) -> list[npt.NDArray[np.int32]]:
        """The original's variants: moved by -transpose_factor .. transpose_factor - 1 semitones; 0: the piece as it is.

        A negative max_seq_len drops ids from the end, as a slice does.
        """
        midi = midi_bytes(midi)
        with self._alone():
            variants = int(lib.msim_tokenizer_variants(transpose_factor))
            room = int(lib.msim_tokenizer_bound(len(midi), transpose_factor, max_seq_len))
            ids, starts = np.empty(max(room, 1), np.int32), np.empty(variants + 1, np.int64)
            n = call("msim_tokenizer_encode", self._handle, midi, len(midi), transpose_factor, max_seq_len, ids.ctypes.data, room,
                     starts.ctypes.data)
            return [ids[starts[i]:starts[i + 1]].copy() for i in range(n)]

    def canonical(self, midi: bytes) -> bytes:
        """The canonical form of a file's bytes (docs/CANONICAL.md). Raises FormatError where the original gives up."""
        midi = midi_bytes(midi)
        with self._alone():
            room = int(lib.msim_midi_canonical_bound(len(midi)))
            buffer = ctypes.create_string_buffer(max(room, 1))
            n = call("msim_midi_canonical", self._handle, midi, len(midi), buffer, room)
            return buffer.raw[:n]


class _Context(Handle):
    """The encoder's working memory, for sequences of at most `room` tokens."""

    _close = "msim_context_close"

    def __init__(self, model: Model, room: int) -> None:
        super().__init__()
        self.room = room
        options = model._options(max_batch_tokens=room)
        self._open_on(model)
        call("msim_context_open", model._handle, ctypes.byref(options), ctypes.byref(self._pointer))


class Model(Handle):
    """A pre-trained model, on a CPU or a GPU. Threads may share it; they take turns in embedding."""

    _close = "msim_model_close"

    def __init__(self, path: Path | None = None, *, device: str = "auto", precision: str = "bf16", threads: int = 0,
                 token_order: str = "time-first", unclean: bool = False) -> None:
        """Open a checkpoint: .safetensors or the original's .pth. Nothing in the file is executed.

        path: None takes the model that the tools take: $MIDISIM_MODEL, else what `midisim fetch small` has downloaded.
        device: "auto", "cpu", "cuda", "cuda:N" or "cuda:all". precision: "bf16", "f32" or "int8".
        threads: 0 is one per processor. Of models of midisimx alone: token_order "time-first", as published models were trained,
        or "chord-first"; unclean: notes of all instruments but drums become tokens.

        Raises EmptyError (no model is installed), FileError, FormatError, DeviceError.
        """
        super().__init__()
        self._settings = (device, precision, threads)
        self._context: _Context | None = None
        self._tokenizer: Tokenizer | None = None
        options = self._options(token_order=order_of(token_order), is_unclean=int(unclean))
        name = path_bytes(path) if path is not None else _default("msim_default_model")
        call("msim_model_open", name, ctypes.byref(options), ctypes.byref(self._pointer))
        self.info = self._get_info()

    @classmethod
    def load(cls, path: Path | None = None, **options: Any) -> Model:
        """The same as Model(path, **options)."""
        return cls(path, **options)

    def __repr__(self) -> str:
        return f"<Model {self.info.family}, {self.info.dim} wide, {self.info.precision} on {self.info.device}>"

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.info.dim

    def _options(self, **more: Any) -> Any:
        return options_of(*self._settings, **more)

    def _get_info(self) -> ModelInfo:
        found = sized(_abi.msim_model_info)
        lib.msim_model_get_info(self._handle, ctypes.byref(found))
        names = {value: word for word, value in DEVICES.items()}
        return ModelInfo(found.family.decode(), found.dim, found.depth, found.heads, found.vocab, found.max_tokens,
                         names[found.device], {v: k for k, v in PRECISIONS.items()}[found.precision], found.sha256.decode(),
                         lib.msim_family_name(found.token_family).decode() if found.token_family >= 0 else None,
                         {v: k for k, v in ORDERS.items()}[found.token_order])

    def close(self) -> None:
        for part in (getattr(self, "_context", None), getattr(self, "_tokenizer", None)):
            if part:
                part.close()
        super().close()

    def tokens(self, piece: Piece, *, transpose: int = 0, max_tokens: int | None = None) -> npt.NDArray[np.int32]:
        """The token ids [n] of a piece. max_tokens: None is what the model was trained with, 0 is all."""
        limit = self.info.max_tokens if max_tokens is None else max_tokens
        if isinstance(piece, (str, os.PathLike, bytes)):
            midi = piece if isinstance(piece, bytes) else read_midi(piece)
            with self._alone():
                if self._tokenizer is None:
                    self._tokenizer = Tokenizer(self)
                return self._tokenizer.encode(midi, transpose, limit or -1)
        if transpose:
            raise ArgumentError("transpose: token ids are taken as they are")
        given = np.asarray(piece)
        if given.ndim != 1:
            raise ArgumentError(f"a piece: expected a path, bytes, or token ids [n], got {type(piece).__name__}")
        if given.size and given.dtype.kind not in "iuO":
            raise ArgumentError(f"token ids: expected integers, got {given.dtype}")
        try:
            ids = np.ascontiguousarray(given, dtype=np.int32)
        except OverflowError:  # numbers of Python that NumPy has no type for
            ids = np.empty(0, np.int32)
        if not np.array_equal(ids, given):
            raise ArgumentError("token ids: expected 32-bit integers, got others")
        return ids[:limit] if limit else ids

    def embed(self, pieces: Piece | Iterable[Piece], *, transpose: int = 0, max_tokens: int | None = None,
              class_weights: Sequence[float] | None = None, normalize: bool = False) -> npt.NDArray[np.float32]:
        """Embed one piece as a vector [dim], or several as an array [n, dim] of f32.

        pieces: a path, the bytes of a MIDI file, an int32 array of token ids, or an iterable of these (a list of ints is
        token ids, too). transpose: semitones by which MIDI files are moved. max_tokens: only so many first tokens of each;
        None is what the model was trained with, 0 is all. class_weights: of start-time, duration and pitch tokens, of midisimx
        start time, pitch, duration and chord; None is the plain mean. normalize: scale vectors to length 1.

        Raises what `tokens` raises; the text names the file.
        """
        is_one = _is_piece(pieces)
        several: Any = [pieces] if is_one else pieces
        sequences = (self._named(piece, transpose, max_tokens) for piece in several)
        rows = [self._embed_batch(batch, class_weights) for batch in _batches(sequences)]
        out = np.concatenate(rows) if rows else np.empty((0, self.dim), np.float32)
        if normalize:
            lib.msim_l2_normalize(out.ctypes.data, len(out), self.dim)
        one: npt.NDArray[np.float32] = out[0] if is_one else out
        return one

    def _named(self, piece: Piece, transpose: int, max_tokens: int | None) -> npt.NDArray[np.int32]:
        try:
            return self.tokens(piece, transpose=transpose, max_tokens=max_tokens)
        except MidisimError as error:
            if isinstance(piece, (str, os.PathLike)) and os.fspath(piece) not in str(error):
                raise type(error)(f"{os.fspath(piece)}: {error}") from None
            raise

    def _embed_batch(self, batch: list[npt.NDArray[np.int32]], weights: Sequence[float] | None) -> npt.NDArray[np.float32]:
        ids = np.concatenate(batch) if batch else np.empty(0, np.int32)
        starts = np.zeros(len(batch) + 1, np.int64)
        np.cumsum([len(sequence) for sequence in batch], out=starts[1:])
        out = np.empty((len(batch), self.dim), np.float32)
        pooled = (ctypes.c_float * len(weights))(*weights) if weights is not None else None
        if pooled is not None:
            classes = sized(_abi.msim_model_info)
            lib.msim_model_get_info(self._handle, ctypes.byref(classes))
            if len(pooled) != classes.n_classes:
                raise ArgumentError(f"class_weights: expected {classes.n_classes} numbers, got {len(pooled)}")
        with self._alone():
            call("msim_context_embed", self._context_for(len(ids)), ids.ctypes.data, starts.ctypes.data, len(batch), pooled,
                 out.ctypes.data)
        return out

    def embed_tokens(self, piece: Piece, *, transpose: int = 0, max_tokens: int | None = None) -> npt.NDArray[np.float32]:
        """The vectors [n, dim] of a piece's n tokens, before pooling, f32: what midisim-embed --per-token writes.

        Arguments and exceptions are those of `embed`, for one piece.
        """
        ids = self._named(piece, transpose, max_tokens)
        out = np.empty((len(ids), self.dim), np.float32)
        starts = np.array([0, len(ids)], np.int64)
        with self._alone():
            call("msim_context_embed_tokens", self._context_for(len(ids)), ids.ctypes.data, starts.ctypes.data, 1, out.ctypes.data)
        return out

    def _context_for(self, n_ids: int) -> Any:
        """A context for so many tokens, a larger one than before where that is too small."""
        self._handle  # noqa: B018: says so when the model is closed
        if self._context is None or self._context.room < n_ids:
            old, self._context = self._context, None  # also when the next one cannot be opened
            if old is not None:
                old.close()
            self._context = _Context(self, max(BATCH, n_ids))
        return self._context._handle


def load_model(path: Path | None = None, *, device: str = "auto", precision: str = "bf16", threads: int = 0,
               token_order: str = "time-first", unclean: bool = False) -> Model:
    """The same as Model(path, ...)."""
    return Model(path, device=device, precision=precision, threads=threads, token_order=token_order, unclean=unclean)


def _default(function: str) -> bytes:
    buffer = ctypes.create_string_buffer(4096)
    call(function, buffer, len(buffer))
    return buffer.value


def _is_piece(value: Any) -> bool:
    """True for one piece, False for an iterable of them."""
    if isinstance(value, (str, os.PathLike, bytes)):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], (int, np.integer))


def _batches(sequences: Iterator[npt.NDArray[np.int32]]) -> Iterator[list[npt.NDArray[np.int32]]]:
    """Sequences in turn, as many at a time as BATCH tokens hold, at most 256."""
    batch: list[npt.NDArray[np.int32]] = []
    held = 0
    for sequence in sequences:
        if batch and (held + len(sequence) > BATCH or len(batch) == 256):
            yield batch
            batch, held = [], 0
        batch.append(sequence)
        held += len(sequence)
    if batch:
        yield batch


