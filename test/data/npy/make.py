#!/usr/bin/env python3
"""Write the small corpora of this folder: one for each form that a rows file may have. They are what the fuzz driver
starts from; nothing depends on their numbers. Made with NumPy 1.26.4, and pickled_numpy2.npy, run a second time, with
2.4.6."""
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
rows = (np.arange(5 * 8, dtype="<f4").reshape(5, 8) - 19) / 7


def main():
    pickled = np.zeros(5, dtype=[("midi_names", "O"), ("midi_embeddings", "<f4", (8,))])
    pickled["midi_names"] = ["a.mid", "b", "", "\u00e9\u4e16", "a.mid"]  # the last is the first's object
    pickled["midi_embeddings"] = rows
    np.save(HERE / f"pickled_numpy{np.__version__[0]}.npy", pickled)
    if np.__version__[0] != "1":
        return
    for field in ("f4", "f2"):
        named = np.zeros(5, dtype=[("midi_names", "<U6"), ("midi_embeddings", "<" + field, (8,))])
        named["midi_names"] = ["a.mid", "b", "", "\u00e9\u4e16", "\U0001d11e.mid"]
        named["midi_embeddings"] = rows
        np.save(HERE / f"named_{field}.npy", named)
    for kind in ("f4", "f2", "f8"):
        np.save(HERE / f"plain_{kind}.npy", rows.astype("<" + kind))
    np.save(HERE / "columns_first.npy", np.asfortranarray(rows))
    np.save(HERE / "empty.npy", rows[:0])


if __name__ == "__main__":
    main()
