#!/usr/bin/env python3
"""How long midisim_native takes: import, one file, 100 files, and 1,000 queries beside NumPy, and beside the original where it is.

  bench/python_times.py [--rows 202400] [--queries 1000] [--files 100] [--rounds 3] [--original PYTHON]

--original names a Python with midisim 26.1.18 and torch. Times are processor seconds, user and system, of all threads; the least of
the rounds counts. Rows are made: groups of near rows, as versions of a piece are. The table is Markdown on standard output.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python/src"))
import midisim_native as mn  # noqa: E402

K, DIM, BLOCK = 16, 512, 50
MODEL = ROOT / "weights/midisim-small.safetensors"
ORIGINAL = r'''
import functools, json, os, sys, time
start = os.times()
import midisim, torch
spent = lambda since: round(sum(os.times()[:2]) - sum(since[:2]), 3)
out = {"import": spent(start)}
if not torch.cuda.is_available():
    midisim.load_model = functools.partial(midisim.load_model, device="cpu")
model = midisim.load_model(midisim.get_package_models()[0]["path"], verbose=False)[0]
paths = json.load(sys.stdin)
quiet = dict(verbose=False, show_progress_bar=False)
for name, some in (("warm", paths[:1]), ("one", paths[:1]), ("many", paths)):
    start = os.times()
    tokens = [midisim.midi_to_tokens(path, transpose_factor=0, verbose=False)[0] for path in some]
    midisim.get_embeddings_bf16(model, tokens, batch_size=4, **quiet)
    out[name] = spent(start)
import numpy as np
rows, queries = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])
start = os.times()
midisim.cosine_similarity_topk(torch.from_numpy(queries), torch.from_numpy(np.array(rows)), topk=16, verbose=False)
out["search"] = spent(start)
print("\n" + json.dumps(out))
'''


def spent(function, rounds):
    """(least processor seconds, what it gave at last)"""
    best, given = None, None
    for _ in range(rounds):
        start = time.process_time()
        given = function()
        best = min(best or 1e9, time.process_time() - start)
    return best, given


def import_seconds(rounds):
    """Import of the package beyond NumPy's, in processor seconds: the least of many, of a program with it and one without it."""
    def least(modules):
        best = 1e9
        for _ in range(4 * rounds):
            start = os.times()
            subprocess.run([sys.executable, "-c", f"import {modules}"], env=dict(os.environ, PYTHONPATH=str(ROOT / "python/src")),
                           check=True)
            end = os.times()
            best = min(best, end.children_user - start.children_user + end.children_system - start.children_system)
        return best
    return least("numpy, midisim_native") - least("numpy")


def made(n_rows, n_queries):
    """(rows, queries): each 20 rows are near one center, and queries near some rows."""
    random = np.random.default_rng(1)
    rows = np.repeat(random.standard_normal(((n_rows + 19) // 20, DIM), np.float32), 20, axis=0)[:n_rows]
    rows += 0.5 * random.standard_normal(rows.shape, np.float32)
    chosen = random.choice(n_rows, n_queries, replace=n_queries > n_rows)
    return rows, rows[chosen] + 0.3 * random.standard_normal((n_queries, DIM), np.float32)


def by_numpy(rows, queries):
    """The k best rows of each query as one writes it in NumPy: unit rows, matmul, argpartition, sort."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def search():
        found = np.empty((len(queries), K), np.int64)
        for first in range(0, len(queries), BLOCK):
            block = queries[first:first + BLOCK]
            scores = block / np.linalg.norm(block, axis=1, keepdims=True) @ unit.T
            best = np.argpartition(-scores, K - 1, axis=1)[:, :K]
            order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
            found[first:first + BLOCK] = np.take_along_axis(best, order, 1)
        return found
    return search


def searches(options, folder):
    """[(name, seconds)], and paths of rows and queries."""
    rows, queries = made(options.rows, options.queries)
    np.save(folder / "rows.npy", rows)
    np.save(folder / "queries.npy", queries)
    numpy_seconds, expected = spent(by_numpy(rows, queries), options.rounds)
    print("numpy", numpy_seconds, file=sys.stderr, flush=True)
    out = [("NumPy, matmul and argpartition (f32)", numpy_seconds)]
    corpus = mn.Corpus.open(rows)
    first, _ = spent(lambda: corpus.search_vectors(queries[:1], K), 1)
    plain, found = spent(lambda: corpus.search_vectors(queries, K)[0], options.rounds)
    same = (found == expected).mean()
    out += [("midisim_native, rows in memory (exact)", plain)]
    start = time.process_time()
    prepared = mn.Corpus.open(folder / "rows.npy")
    prepared.prepare()
    prepared.search_vectors(queries[:1], K)
    once = time.process_time() - start
    coded, again = spent(lambda: prepared.search_vectors(queries, K)[0], options.rounds)
    assert (found == again).all()
    out += [("midisim_native, after prepare() (exact)", coded)]
    print(f"first search {first:.2f} s, prepare() {once:.2f} s, ranks equal to NumPy's {same:.5f}", file=sys.stderr, flush=True)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=202400)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--original")
    options = parser.parse_args()
    model, files = mn.load_model(MODEL), []
    for path in sorted(map(str, (ROOT / "test/data/midi").rglob("*.mid"))):
        try:
            model.tokens(path)
            files.append(path)
        except mn.MidisimError:
            pass
    files = files[:options.files]
    model.embed(files[0])
    one, _ = spent(lambda: model.embed(files[0]), options.rounds)
    many, _ = spent(lambda: model.embed(files), options.rounds)
    loading, _ = spent(lambda: mn.load_model(MODEL), options.rounds)
    importing = import_seconds(options.rounds)
    print(f"import {importing:.3f} s, model {loading:.3f}, one {one:.3f} s, {len(files)} files {many:.3f} s",
          file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        table = searches(options, folder)
        theirs = {}
        if options.original:
            done = subprocess.run([options.original, "-c", ORIGINAL, folder / "rows.npy", folder / "queries.npy"],
                                  input=json.dumps(files), capture_output=True, text=True, check=True)
            theirs = json.loads(done.stdout.strip().splitlines()[-1])

    def beside(key, ours):
        return f"{theirs[key]:.2f} | {theirs[key] / ours:.1f}" if key in theirs else "- | -"
    print("| what | midisim_native | the original | ratio |\n|---|---|---|---|")
    print(f"| import (beyond NumPy's) | {importing:.3f} | {beside('import', importing)} |")
    print(f"| one file, embedded | {one:.3f} | {beside('one', one)} |")
    print(f"| {len(files)} files, embedded | {many:.2f} | {beside('many', many)} |")
    for what, seconds in table[1:]:
        print(f"| {options.queries} queries, {options.rows} rows: {what} | {seconds:.2f} | {beside('search', seconds)} |")
        print(f"|   beside {table[0][0]}: {table[0][1]:.2f} | {seconds:.2f} | | {table[0][1] / seconds:.1f} |")


if __name__ == "__main__":
    main()
