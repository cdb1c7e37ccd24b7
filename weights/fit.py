#!/usr/bin/env python3
"""Makes weights/default.whiten, the fit of a whitening that comes with a model (docs/WHITENING.md).

  weights/fit.py CORPUS... [--altered COPIES]... [--output weights/default.whiten] [--convert build/release/midisim-convert]

CORPUS are corpora of many kinds of music that midisim-embed made with the model: whole pieces, and windows. Small
collections are added to this fit, so it should know no collection better than others. COPIES are corpora of altered copies
of some pieces, as weights/alter.py writes them, with the names of the pieces. Standard library only.
"""
import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--altered", action="append", default=[], metavar="COPIES")
    parser.add_argument("--output", default=ROOT / "weights" / "default.whiten")
    parser.add_argument("--convert", default=ROOT / "build" / "release" / "midisim-convert")
    args = parser.parse_args()
    command = [args.convert, "--fit-only", "--prior-fit", "none", "--force",
               *(word for copies in args.altered for word in ("--altered", copies)), *args.corpus, args.output]
    try:
        return subprocess.run(list(map(str, command)), check=False).returncode
    except OSError as error:
        print(f"fit.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
