#!/usr/bin/env python3
"""Embed a folder with the workers of a Ray cluster: each task embeds one part, and the parts are merged.

  ray_embed.py FOLDER OUTPUT.npy [--model MODEL] [--parts 8] [--address ADDRESS | --workers 2]

The output has the bytes that one process would write. FOLDER and OUTPUT lie where all workers see them. A part that is there is
kept: started again with the same number of parts, the program goes on where it was.
"""
import argparse
import os
import pathlib

import midisim_native as mn
import ray


@ray.remote(num_cpus=1)
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
    parser.add_argument("--address", help="of a cluster that runs already")
    parser.add_argument("--workers", type=int, default=2, help="of a cluster on this machine")
    parser.add_argument("--threads", type=int, default=1, help="of each task")
    options = parser.parse_args()
    parts = options.output.with_suffix(".parts")
    parts.mkdir(exist_ok=True)
    ray.init(address=options.address, include_dashboard=None if options.address else False,
             num_cpus=None if options.address else options.workers)
    folder, model = os.path.abspath(options.folder), options.model and os.path.abspath(options.model)
    tasks = [embed_part.remote(folder, str(parts.resolve() / f"{number}-{options.parts}.npy"), number, options.parts, model,
                               options.threads) for number in range(1, options.parts + 1)]
    made = [part for part in ray.get(tasks) if part]
    ray.shutdown()
    print(mn.merge_corpora(made, options.output))


if __name__ == "__main__":
    main()
