#!/usr/bin/env python3
"""A note index of many pieces: what building it takes, how the time of a query grows, and whether E stays honest.

usage: notes_scale.py --music INDEX --strangers INDEX --folder DIR [--pieces 400,5000,200000] [--queries 400] [--seed 1]
                      [--library build/release/libmidisim.so.1]

INDEX is a file of midisim-index. Pieces are made of those of --music: each joins stretches of 12 to 40 notes of one piece in
another order, in another key, at another tempo, so that they have the words of real music and no piece twice. The index of so many pieces
is written to DIR/scale.notes and removed. Queries are excerpts and whole pieces of --strangers, whose music must not be in --music:
how often their best match has an E below a limit says how often chance looks like more. Needs NumPy. Seconds are processor
time of this process, with one thread.
"""
import argparse
import ctypes
import os
import pathlib
import resource
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTE = np.dtype([("start", "<u4"), ("duration", "<u4"), ("voice", "<u2"), ("pitch", "u1"), ("velocity", "u1")])
LENGTHS = (12, 30, 60, 120, 300, 3000)


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 500)]


class PieceNotes(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("notes", ctypes.c_void_p), ("n_notes", ctypes.c_size_t), ("voices", ctypes.c_void_p),
                ("n_voices", ctypes.c_size_t), ("bars", ctypes.c_void_p), ("n_bars", ctypes.c_size_t)]


class Info(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("pieces", ctypes.c_int64), ("notes", ctypes.c_int64), ("postings", ctypes.c_int64),
                ("file_bytes", ctypes.c_int64), ("density", ctypes.c_int), ("has_bottom", ctypes.c_int),
                ("note_bytes", ctypes.c_int64), ("posting_bytes", ctypes.c_int64)]


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("density", ctypes.c_int), ("leaves_out_bottom", ctypes.c_int),
                ("memory_bytes", ctypes.c_int64)]


class MatchHead(ctypes.Structure):  # the first members of msim_note_match
    _fields_ = [("piece", ctypes.c_int64), ("relation", ctypes.c_int), ("is_significant", ctypes.c_int),
                ("evalue", ctypes.c_double), ("score", ctypes.c_double)]


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.error = Error()

    def check(self, status):
        if status < 0:
            raise SystemExit(self.error.text.decode())
        return status

    def open(self, path):
        handle = ctypes.c_void_p()
        self.check(self.c.msim_notes_open(os.fsencode(path), ctypes.byref(handle), ctypes.byref(self.error)))
        return handle

    def info(self, handle):
        info = Info(size=ctypes.sizeof(Info))
        self.check(self.c.msim_notes_get_info(handle, ctypes.byref(info)))
        return info

    def piece(self, handle, i):
        """Notes of piece i, and its voices as the library has them; free() when done."""
        loaded, piece = ctypes.c_void_p(), PieceNotes(size=ctypes.sizeof(PieceNotes))
        self.check(self.c.msim_notes_load_piece(handle, ctypes.c_int64(i), ctypes.byref(loaded), ctypes.byref(piece),
                                                ctypes.byref(self.error)))
        notes = np.frombuffer((ctypes.c_char * (piece.n_notes * NOTE.itemsize)).from_address(piece.notes or 0), NOTE) \
            if piece.n_notes else np.empty(0, NOTE)
        return loaded, piece, notes

    def free(self, loaded):
        self.c.msim_notes_free_piece(loaded)


def varied(notes, rng):
    """The notes in another order: stretches shuffled, each where the last one ends."""
    cuts = np.cumsum(rng.integers(12, 41, size=len(notes) // 12 + 1))
    parts = np.split(notes, cuts[cuts < len(notes)])
    shift, speed, at, out = int(rng.integers(-5, 7)), float(rng.uniform(0.8, 1.25)), 0, []
    for i in rng.permutation(len(parts)):
        part = parts[i].copy()
        first = int(part["start"][0])
        length = int(part["start"][-1]) - first + 200
        part["start"] = at + ((part["start"] - first) * speed).astype("<u4")
        at += int(length * speed)
        out.append(part)
    out = np.concatenate(out)
    out["pitch"] = np.clip(out["pitch"].astype(int) + shift, 0, 127)
    return out[np.lexsort((out["voice"], -out["pitch"].astype(int), out["start"]))]


def build(lib, music, n, path, seed):
    """Seconds of processor time that the library took, without making the pieces."""
    builder, options = ctypes.c_void_p(), Options(size=ctypes.sizeof(Options))
    lib.c.msim_notes_options_init(ctypes.byref(options))
    options.memory_bytes = 512 << 20
    lib.check(lib.c.msim_notes_builder_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(builder),
                                            ctypes.byref(lib.error)))
    pieces, spent = lib.info(music).pieces, 0.0
    for i in range(n):
        loaded, piece, notes = lib.piece(music, i * pieces // n if n < pieces else i % pieces)
        if len(notes) >= 24:
            rows = varied(notes, np.random.default_rng([seed, i]))
            piece.notes, piece.n_notes, piece.n_bars = rows.ctypes.data, len(rows), 0
            start, name = time.process_time(), f"{i:07d}".encode()
            lib.check(lib.c.msim_notes_builder_add(builder, name, ctypes.c_size_t(len(name)), None, ctypes.byref(piece),
                                                   ctypes.byref(lib.error)))
            spent += time.process_time() - start
        lib.free(loaded)
    start = time.process_time()
    lib.check(lib.c.msim_notes_builder_finish(builder, ctypes.byref(lib.error)))
    spent += time.process_time() - start
    lib.c.msim_notes_builder_close(builder)
    return spent


def queries(lib, strangers, length, count, seed):
    rng, pieces = np.random.default_rng([seed, length]), lib.info(strangers).pieces
    for i in range(count):
        loaded, _, notes = lib.piece(strangers, i % pieces)
        notes = notes.copy()
        lib.free(loaded)
        if length < 3000 and len(notes) > length:
            first = int(rng.integers(0, len(notes) - length))
            notes = notes[first:first + length].copy()
        yield notes[:3000]


def ask(lib, index, strangers, length, args):
    """(seconds for each query, E of each best match)"""
    finder, matches, seconds, chances = ctypes.c_void_p(), ctypes.POINTER(MatchHead)(), 0.0, []
    lib.check(lib.c.msim_finder_open(index, None, ctypes.byref(finder), ctypes.byref(lib.error)))
    for notes in queries(lib, strangers, length, args.queries, args.seed):
        start = time.process_time()
        n = lib.check(lib.c.msim_finder_find(finder, ctypes.c_void_p(notes.ctypes.data), ctypes.c_size_t(len(notes)),
                                             ctypes.byref(matches), ctypes.byref(lib.error)))
        seconds += time.process_time() - start
        chances.append(matches[0].evalue if n else np.inf)
    lib.c.msim_finder_close(finder)
    return seconds / args.queries, np.array(chances)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", required=True)
    parser.add_argument("--strangers", required=True)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--pieces", default="400,5000,200000", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--queries", default=400, type=int)
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--library", default=ROOT / "build/release/libmidisim.so.1")
    args = parser.parse_args()
    lib = Library(args.library)
    lib.c.msim_finder_find.restype = ctypes.c_int64
    music, strangers = lib.open(args.music), lib.open(args.strangers)
    path = args.folder / "scale.notes"
    print("| pieces | notes | bytes a note | build, s | notes/s | most memory, MB |\n|---|---|---|---|---|---|")
    rows = []
    for n in args.pieces:
        try:
            spent = build(lib, music, n, path, args.seed)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            index = lib.open(path)
            info = lib.info(index)
            print(f"| {info.pieces:,} | {info.notes:,} | {info.file_bytes / info.notes:.1f} | {spent:.1f} | "
                  f"{info.notes / spent:,.0f} | {memory:,.0f} |", flush=True)
            for length in LENGTHS:
                seconds, chances = ask(lib, index, strangers, length, args)
                rows.append((info.pieces, length, 1000 * seconds, *((chances < limit).mean() for limit in (0.1, 0.01, 0.001))))
            lib.c.msim_notes_close(index)
        finally:
            path.unlink(missing_ok=True)
    print("\n| pieces | notes of the query | ms | E < 0.1 | E < 0.01 | E < 0.001 |\n|---|---|---|---|---|---|")
    for pieces, length, ms, *shares in rows:
        print(f"| {pieces:,} | {'up to 3,000' if length == 3000 else length} | {ms:.1f} | " +
              " | ".join(f"{share:.4f}" for share in shares) + " |")


if __name__ == "__main__":
    main()
