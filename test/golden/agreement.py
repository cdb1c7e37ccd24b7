#!/usr/bin/env python3
"""Print how far this build is from the original, level by level: the figures in README.md.

  build/venv/bin/python test/golden/agreement.py [--all]

Over the 24 fixed files, or with --all the 350 of MIDISIM_TEST_DATA. The tests hold the bounds; this prints distances.
"""
import pathlib
import sys
import tempfile

import golden_util as g
import numpy as np


def main(everything):
    golden = g.golden_vectors(everything)
    names, root = (list(golden["f32"]), g.all_data()) if everything else (g.FIXED, g.SHIPPED)
    own = [g.distance(golden["bf16"][n], golden["f32"][n]) for n in names]
    print(f"{len(names)} files; the original's own bf16: 1-cosine median {np.median(own):.2g}, largest {max(own):.2g}")
    with tempfile.TemporaryDirectory() as folder:
        for level in filter(g.has_level, g.FAST_LEVELS):
            for precision in ("f32", "bf16"):
                ours = g.embed(pathlib.Path(folder) / "c.npy", names, root=root, isa=level, precision=precision)
                largest = max(np.max(np.abs(row - golden["f32"][n])) for n, row in ours.items())
                apart = [g.distance(row, golden["f32"][n]) for n, row in ours.items()]
                print(f"{level} {precision}: largest component difference {largest:.2g}; 1-cosine median "
                      f"{np.median(apart):.2g}, largest {max(apart):.2g}", flush=True)


if __name__ == "__main__":
    main("--all" in sys.argv[1:])
