#!/usr/bin/env python3
"""Cut the shipped goldens out of the full recording.

  subset.py GOLDEN_DIR

GOLDEN_DIR holds tokens.npz, embeddings.npz and queries.npz, what the original gave on 375 files (README.md beside
this script). Kept are the files under test/data/midi, with the same paths; numbers are copied, not computed.
"""
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "midi"


def save(path, **arrays):
    """savez_compressed stamps the time into the archive's members; NumPy uses a fixed one, so reruns give equal bytes."""
    np.savez_compressed(path, **arrays)
    print(path.name, path.stat().st_size, "bytes", {k: v.shape for k, v in arrays.items()})


def main(golden):
    golden = pathlib.Path(golden)
    shipped = {line.split("\t")[0] for line in (DATA / "MANIFEST.tsv").read_text().splitlines()[1:]}

    z = np.load(golden / "tokens.npz")
    keep = [i for i, p in enumerate(z["paths"]) if str(p) in shipped]
    assert len(keep) == len(shipped)
    parts = [z["tokens"][z["offsets"][i]:z["offsets"][i + 1]] for i in keep]
    save(HERE / "shipped_tokens.npz", paths=z["paths"][keep], tokens=np.concatenate(parts),
         offsets=np.concatenate([[0], np.cumsum([len(p) for p in parts])]))

    z = np.load(golden / "embeddings.npz")
    keep = [i for i, p in enumerate(z["paths"]) if str(p) in shipped]
    save(HERE / "shipped_embeddings.npz", paths=z["paths"][keep],
         **{k: z[k][keep] for k in ("f32", "f32_weighted_1_1_2", "bf16")})

    z = np.load(golden / "queries.npz")
    keep = [n for n, q in enumerate(z["queries"]) if str(q) in shipped]
    save(HERE / "shipped_queries.npz", queries=z["queries"][keep],
         **{f"q{m}_f32": z[f"q{n}_f32"] for m, n in enumerate(keep)})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
