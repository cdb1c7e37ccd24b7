#!/usr/bin/env python3
"""Corpora of simple vectors to compare with: bench/quality.py OUT MIDI_FOLDER   (needs NumPy)

midisim-tokens reads the files, so that every corpus is made of the same notes. OUT then holds
  pitch-classes.npy       12 numbers: how much of the sounding time each pitch class has
  pitch-classes-keys/     the same in twelve keys, one file for each: midisim-eval --queries OUT/pitch-classes-keys
  intervals.npy           512 numbers: counts of runs of three intervals between neighbouring notes, hashed; no key matters
and beside each the names of its rows. midisim-eval measures them beside corpora of midisim-embed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import zlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
WIDTH, RUN = 512, 3  # of the vectors of intervals; intervals in a run


def notes_of(tokens):
    """[(duration, pitch)] of a sequence of token ids (docs/TOKENS.md)."""
    duration, notes = 0, []
    for token in tokens:
        if 128 < token < 256:
            duration = token - 128
        elif token > 256:
            notes.append((duration, token - 256))
    return notes


def pitch_classes(notes):
    vector = np.zeros(12)
    for duration, pitch in notes:
        vector[pitch % 12] += duration
    return vector


def intervals(notes):
    """Square roots of counts, so that a figure repeated a hundred times does not drown the others."""
    vector = np.zeros(WIDTH)
    steps = np.diff([pitch for _, pitch in notes])
    for i in range(len(steps) - RUN + 1):
        number = zlib.crc32(" ".join(map(str, steps[i:i + RUN])).encode())
        vector[number % WIDTH] += 1 if number >> 31 else -1
    return np.sign(vector) * np.sqrt(np.abs(vector))


def write(path, names, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(rows, "<f4"))
    path.with_name(path.name + ".names").write_bytes(b"".join(n.encode("utf-8", "surrogateescape") + b"\n" for n in names))


def read(tool, folder, max_tokens):
    """(name, notes) of every file with notes, in bytewise order of name, as in a corpus of midisim-embed."""
    command = [tool, "--quiet", "--max-tokens", str(max_tokens), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        lines = [json.loads(line) for line in run.stdout]
    if not lines:
        sys.exit(f"quality: {folder}: expected MIDI files, got none")
    made = [(line["path"], notes_of(line["tokens"])) for line in lines if "tokens" in line]
    return sorted(made, key=lambda one: one[0].encode("utf-8", "surrogateescape"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--max-tokens", type=int, default=0, help="use the first N tokens of each piece (default: all)")
    parser.add_argument("--tool", default=str(ROOT / "build/release/midisim-tokens"), help="the midisim-tokens to use")
    args = parser.parse_args()
    pieces = read(args.tool, args.folder, args.max_tokens)
    names = [name for name, _ in pieces]
    classes = [pitch_classes(notes) for _, notes in pieces]
    write(args.out / "pitch-classes.npy", names, classes)
    for key in range(12):
        write(args.out / "pitch-classes-keys" / f"{key:02d}.npy", names, [np.roll(row, key) for row in classes])
    write(args.out / "intervals.npy", names, [intervals(notes) for _, notes in pieces])
    print(f"{args.out}: {len(names)} pieces")


if __name__ == "__main__":
    main()
