#!/usr/bin/env python3
"""A corpus too large to copy: how long until it can be searched, how much memory that takes, how fast a search is.

  bench/large.py --folder DIR [--rows 3480123] [--dim 512] [--form structured] [--build build/release] [--keep]

Has make_rows.py write a structured .npy (7.3 GB unless told otherwise) into DIR, runs midisim-bench search on it for 1 and 12
queries, prints its figures as JSON lines and removes the file. Needs NumPy. The first round reads the file from the disk if the
system has forgotten it; figures are the best of the rounds.
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=3480123)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--form", default="structured", choices=("structured", "plain", "fvecs", "fbin"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--keep", action="store_true", help="do not remove the file")
    args = parser.parse_args()
    path = args.folder / f"midisim-large-{os.getpid()}.npy"
    try:
        subprocess.run([sys.executable, str(ROOT / "bench" / "make_rows.py"), str(path), "--rows", str(args.rows), "--dim",
                        str(args.dim), "--form", args.form], check=True)
        return subprocess.run([str(args.build / "midisim-bench"), "search", str(path), "--no-roof", "--json", "--queries", "1,12",
                               "--rounds", str(args.rounds)]).returncode
    finally:
        if not args.keep:
            for made in (path, path.with_name(path.name + ".names")):
                made.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
