#!/usr/bin/env python3
"""The note index at its worst: pieces of one repeated note, scales, huge queries, a thousand versions of one piece.

usage: notes_worst.py [--tools build/release] [--notes 200000] [--versions 1000] [--seed 1] [FOLDER of MIDI files...]

An index is made of the files of FOLDER and of made pieces; then queries are asked of it. Prints, for each step, the processor time
and the most memory of the tool that did it, mapped files included. Needs NumPy (build/venv has it).
"""
import argparse
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test/cli"))
from cli_util import midi  # noqa: E402


def melody(rng, n):
    pitch, out = 64, []
    for _ in range(n):
        pitch = min(96, max(36, pitch + rng.choice((-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, -7))))
        out.append(pitch)
    return out


def version(rng, theme):
    """Another key, another tempo, one note of twenty wrong."""
    up, ticks = rng.randrange(-12, 13), rng.randrange(400, 560)
    return midi([p + up + (rng.randrange(-7, 8) if rng.random() < 0.05 else 0) for p in theme], ticks=ticks)


def measure(what, command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["/usr/bin/time", "-f", "%M", *map(str, command)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    *said, kib = done.stderr.decode().split("\n")[:-1]
    if done.returncode not in (0, 1):
        raise SystemExit("\n".join([f"{command[0]} ended with {done.returncode}", *said]))
    print(f"| {what} | {seconds:.2f} s | {int(kib) / 1024:.0f} MB | {len(done.stdout.splitlines()) or ''} |", flush=True)


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--notes", type=int, default=200_000)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    theme = melody(rng, 2000)
    with tempfile.TemporaryDirectory() as name:
        folder, queries = pathlib.Path(name, "made"), pathlib.Path(name, "queries")
        folder.mkdir()
        queries.mkdir()
        same = write(folder, "one-note.mid", midi([60] * args.notes, ticks=120))
        scales = write(folder, "scales.mid", midi([48 + min(i % 48, 48 - i % 48) for i in range(args.notes)], ticks=120))
        for i in range(args.versions):
            write(folder, f"version-{i:05}.mid", version(rng, theme))
        asked = [
            ("60 notes of one pitch", write(queries, "a.mid", midi([60] * 60, ticks=120))),
            ("60 notes of a scale", write(queries, "b.mid", midi([48 + i % 24 for i in range(60)], ticks=120))),
            (f"{args.notes:,} notes of one pitch", same),
            (f"{args.notes:,} notes of scales", scales),
            (f"{args.notes:,} notes at random", write(queries, "c.mid", midi(melody(rng, args.notes), ticks=120))),
            (f"the {args.versions:,} versions' tune, 60 notes", write(queries, "d.mid", midi(theme[700:760]))),
            (f"the {args.versions:,} versions' tune, whole", write(queries, "e.mid", midi(theme))),
        ]
        print("| step | processor time | most memory | lines |\n|---|---|---|---|")
        index = pathlib.Path(name, "worst.notes")
        os.environ["XDG_CACHE_HOME"] = name
        measure("index", [args.tools / "midisim-index", "-q", "-o", index, folder, *args.folders])
        for what, path in asked:
            measure(what, [args.tools / "midisim-find", "--format", "tsv", "--threads", 1, "-i", index, path])
        measure("groups of all", [args.tools / "midisim-groups", "--tsv", "-q", index])


if __name__ == "__main__":
    main()
