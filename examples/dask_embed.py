#!/usr/bin/env python3
"""Embed a folder with the workers of a Dask cluster: each task embeds one part, and the parts are merged.

  dask_embed.py FOLDER OUTPUT.npy [--model MODEL] [--parts 8] [--scheduler ADDRESS | --workers 2]

The output has the bytes that one process would write. FOLDER and OUTPUT lie where all workers see them. A part that is there is
kept: started again with the same number of parts, the program goes on where it was.
"""
import argparse
import os
import pathlib

import midisim_native as mn
from dask.distributed import Client, LocalCluster


def embed_part(folder, part, number, of, model, threads):
    """One part of the folder; None when no file of it gives a row."""
    try:
        mn.embed_folder(folder, part, model=mn.load_model(model, threads=threads), shard=(number, of), update=os.path.exists(part))
    except mn.EmptyError:
        return None
    return part


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--model")
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--scheduler", help="of a cluster that runs already")
    parser.add_argument("--workers", type=int, default=2, help="of a cluster on this machine")
    parser.add_argument("--threads", type=int, default=1, help="of each task")
    options = parser.parse_args()
    parts = options.output.with_suffix(".parts")
    parts.mkdir(exist_ok=True)
    place = options.scheduler or LocalCluster(n_workers=options.workers, threads_per_worker=1, dashboard_address=None)
    with Client(place) as client:
        tasks = [client.submit(embed_part, options.folder, str(parts / f"{number}-{options.parts}.npy"), number, options.parts,
                               options.model, options.threads, pure=False) for number in range(1, options.parts + 1)]
        made = [part for part in client.gather(tasks) if part]
        if not options.scheduler:
            place.close()
    print(mn.merge_corpora(made, options.output))


if __name__ == "__main__":
    main()
