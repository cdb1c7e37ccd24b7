"""MIDI files to tokens of midisimx."""
from __future__ import annotations

from functools import partial

from .._model import Tokenizer, order_of
from ..compat._search import variants_of
from ..errors import UnsupportedError

__all__ = ["midi_to_tokens"]

BAR, CHORDS, UNIT_MS = 717, 384, 32
ALL = 1 << 30  # tokens: more than a file can have


def midi_to_tokens(midi_file_path: str, max_seq_len: int = 3072, transpose_factor: int = 6, clean_midi: bool = True,
                   bar_time_ms: int = 4096, chunk_by_bars: bool = False, emit_bar_token: bool = False,
                   emit_vels_tokens: bool = False, emit_inst_tokens: bool = False, transpose_to_pitch: int = 0,
                   return_drum_track: bool = False, drum_track_style: str = "pop", drum_track_bpm: int = 120,
                   verbose: bool = True, *, token_order: str = "time-first") -> list[list[int]]:
    """The token ids of a MIDI file, in keys from -transpose_factor to transpose_factor - 1 semitones; 0 is only as it is.

    clean_midi: only notes of the 77 instruments that the models were trained on. transpose_to_pitch: 1..127, move the piece to
    this mean pitch first. emit_bar_token: a token 717 in front of the first chord token of each bar of bar_time_ms. chunk_by_bars:
    a sequence for each bar; max_seq_len then has no effect. token_order: "time-first", as the models were trained, or
    "chord-first", as midisimx 26.10.23 to 26.10.26 have it; the original has no such argument.

    A file without notes gives []; so does one that cannot be read, after a printed line. Raises UnsupportedError for
    emit_vels_tokens, emit_inst_tokens and return_drum_track: no published model of vectors knows such tokens.
    """
    for name, is_wanted in (("emit_vels_tokens", emit_vels_tokens), ("emit_inst_tokens", emit_inst_tokens),
                            ("return_drum_track", return_drum_track)):
        if is_wanted:
            raise UnsupportedError(f"{name}: no model of midisimx that gives vectors knows such tokens")
    order_of(token_order)  # raises here what would be a printed line below
    center = transpose_to_pitch if 0 < transpose_to_pitch < 128 else 0
    open_tokenizer = partial(Tokenizer, family="midisimx", token_order=token_order, unclean=not clean_midi, center_pitch=center)
    has_bars = chunk_by_bars or emit_bar_token
    found = variants_of(midi_file_path, open_tokenizer, ALL if has_bars else max_seq_len, transpose_factor, verbose)
    units = max(1, max(1, bar_time_ms) // UNIT_MS)
    is_time_first = token_order == "time-first"
    if emit_bar_token:
        found = [_with_bar_tokens(ids, units, is_time_first) for ids in found]
    if chunk_by_bars:
        return [bar for ids in found for bar in _bars(ids, units, is_time_first)]
    return [ids[:max_seq_len] for ids in found] if has_bars else found


def _with_bar_tokens(ids: list[int], units: int, is_time_first: bool) -> list[int]:
    out: list[int] = []
    elapsed, bar = 0, -1
    for at, token in enumerate(ids):
        if token >= CHORDS:
            elapsed += ids[at - 1 if is_time_first else at + 1]
            if elapsed // units > bar:
                out.append(BAR)
                bar = elapsed // units
        out.append(token)
    return out


def _bars(ids: list[int], units: int, is_time_first: bool) -> list[list[int]]:
    """The pieces of a sequence. parity: chord-first, a chord's own start time counts from the next chord on, so that a
    piece begins one chord late (test_compat_x.py, test_options_of_the_tokeniser)."""
    out: list[list[int]] = []
    piece: list[int] = []
    elapsed, bar = 0, -1
    for token in ids:
        is_time = token < 128
        elapsed += token if is_time else 0
        if (is_time if is_time_first else token >= CHORDS) and elapsed // units > bar:
            if piece:
                out.append(piece)
            piece, bar = [], elapsed // units
        piece.append(token)
    return [*out, piece] if piece else out
