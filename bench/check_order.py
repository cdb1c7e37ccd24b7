#!/usr/bin/env python3
"""Which order of tokens was a model of midisimx trained on? It predicts masked tokens better in that order.

  check_order.py [--model FILE.safetensors] [--tokens N] [--seed N] [--build DIR] MIDI...

Of each file's first N tokens (default 1,024) 15 % are masked, in each order. The rows of the masked tokens, as
midisim-embed --per-token gives them, are multiplied with the checkpoint's to_logits.weight; the best id is the prediction.
Prints for each order how many are right: of all, of start times and of chords. docs/MODEL.md has what the tiny model gives.
Needs NumPy.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
MASK, MASKED, CHORDS = 718, 0.15, 384


def read_tensor(path, name):
    """One f32 tensor of a safetensors file."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:8 + n]).get(name)
    if entry is None or entry["dtype"] != "F32":
        sys.exit(f"{path}: no tensor {name} in f32: give the safetensors file that midisim-convert wrote of the checkpoint")
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + n + begin:8 + n + end], "<f4").reshape(entry["shape"])


def tokens_of(build, files, order, limit):
    """{file: ids} of the files that give tokens."""
    done = subprocess.run([build / "midisim-tokens", "--quiet", "--family", "midisimx", "--token-order", order,
                           "--max-tokens", str(limit), "--", *files], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lines = map(json.loads, done.stdout.splitlines())
    return {line["path"]: np.array(line["tokens"]) for line in lines if "tokens" in line}


def rows_of(build, model, order, sequences, folder):
    """The rows of all tokens of the sequences, each [tokens, width]."""
    lines = [json.dumps({"path": f"{i}", "family": "midisimx", "order": order, "tokens": ids.tolist()}) for i, ids in enumerate(sequences)]
    (folder / "lines").write_text("\n".join(lines) + "\n")
    subprocess.run([build / "midisim-embed", "--quiet", "-m", model, "--precision", "f32", "--max-tokens", "0", "--token-order", order,
                    "--per-token", folder / "rows", "--from-tokens", folder / "lines"], check=True)
    return [np.load(folder / "rows" / f"{i}.npy") for i in range(len(sequences))]


def measure(settings, order, to_logits):
    random = np.random.default_rng(settings.seed)
    truth = list(tokens_of(settings.build, settings.files, order, settings.tokens).values())
    if not truth:
        sys.exit("no file gives tokens of midisimx")
    places = [np.flatnonzero(random.random(len(ids)) < MASKED) for ids in truth]
    masked = [ids.copy() for ids in truth]
    for ids, at in zip(masked, places):
        ids[at] = MASK
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(settings.build, settings.model, order, masked, pathlib.Path(folder))
    wanted = np.concatenate([ids[at] for ids, at in zip(truth, places)])
    scores = np.concatenate([r[at] for r, at in zip(rows, places)]) @ to_logits.T
    right = scores.argmax(1) == wanted
    for what, is_of in (("all", wanted >= 0), ("start times", wanted < 128), ("chords", wanted >= CHORDS)):
        print(order, what, int(is_of.sum()), f"{right[is_of].mean():.3f}", sep="\t")
    return right.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "weights/midisimx-tiny.safetensors")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("files", nargs="+")
    settings = parser.parse_args()
    to_logits = read_tensor(settings.model, "to_logits.weight")
    print("order", "tokens", "masked", "right", sep="\t")
    best = max(("time-first", "chord-first"), key=lambda order: measure(settings, order, to_logits))
    print(f"the model was trained on {best}")


if __name__ == "__main__":
    main()
