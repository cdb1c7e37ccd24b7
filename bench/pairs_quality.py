#!/usr/bin/env python3
"""How well midisim-find --pairs finds altered copies, excerpts and versions: one row for each kind.

usage: pairs_quality.py [--build build/release] [--collection DIR] [--files 60] [--seed 1] [--songs DIR] [--strangers LIST]

Altered copies of pieces of DIR lie with DIR in one collection. The maker beside it (truth/make_queries.py) alters
pieces; this script adds kinds: 30 and 60 seconds of a piece, a piece behind half of another one, and several changes at
once. A pair is one copy and one piece of DIR. Recall: copies that are paired with their source. Precision: pairs of
copies whose piece is the source or another version of it (truth/versions.tsv). Words: the commonest relations.

--songs DIR has a folder for each song with its versions: every two files of a folder should be a pair, and no others.
--strangers LIST names files that are different works, one per line: every pair is shown. Times are processor seconds."""
import argparse
import collections
import importlib.util
import json
import pathlib
import random
import resource
import subprocess
import sys
import tempfile

from notes_quality import work_of

HERE = pathlib.Path(__file__).resolve().parent.parent


def load_maker(path):
    spec = importlib.util.spec_from_file_location("maker", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def excerpt(notes, seconds, rng):
    """Notes of so many seconds from anywhere in the piece; None when it is shorter than one and a half times that."""
    end = notes[-1][0]
    if end < 1.5 * seconds:
        return None
    begin = rng.uniform(0, end - seconds)
    part = [[n[0] - begin, n[1] - begin] + n[2:] for n in notes if begin <= n[0] < begin + seconds]
    return part if len(part) >= 30 else None


def joined(notes, before):
    """A piece behind the first half of another one."""
    half = before[: len(before) // 2]
    at = half[-1][1] + 1
    return half + [[n[0] + at, n[1] + at] + n[2:] for n in notes]


def changed(notes, rng):
    """Another key and tempo, a tenth of the notes left out, onsets moved."""
    key, speed = rng.choice([-5, -3, -2, 2, 3, 5]), rng.choice([0.85, 1.2])
    part = [n for n in notes if rng.random() >= 0.1 and 0 <= n[2] + key < 128]
    moved = [[max(0, n[0] * speed + rng.gauss(0, 0.015)), n[1] * speed, n[2] + key] + n[3:] for n in part]
    return sorted(moved, key=lambda n: (n[0], -n[2]))


def more_copies(maker, root, folder, names, rng):
    """Kinds that the maker does not have."""
    truths = []
    for number, name in enumerate(names):
        notes, programs = maker.read(root / name)
        before, _ = maker.read(root / rng.choice([n for n in names if work_of(n) != work_of(name)] or names))
        for kind, part in (("30 s", excerpt(notes, 30, rng)), ("60 s", excerpt(notes, 60, rng)),
                           ("joined", joined(notes, before)), ("changed", changed(notes, rng))):
            if part:
                query = f"more{number}_{kind.replace(' ', '')}.mid"
                maker.write(folder / query, part, programs)
                truths.append({"query": query, "kind": kind, "name": name})
    return truths


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def find_pairs(args, files, folder):
    """Pairs (a, b, row) of the files, once each way, and the processor time without reading them."""
    index = pathlib.Path(folder) / "all.notes"
    subprocess.run([f"{args.build}/midisim-index", "-q", "-o", index, "--files-from", "-"], input="\n".join(files),
                   text=True, stderr=subprocess.DEVNULL)
    before = processor_seconds()
    done = subprocess.run([f"{args.build}/midisim-find", "-q", "-i", index, "--pairs", "--threads", "1"],
                          stdout=subprocess.PIPE, text=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    rows = [dict(zip(lines[0], line)) for line in lines[1:]] if lines else []
    return [(row["query"], row["name"], row) for row in rows], processor_seconds() - before


def show_copies(args):
    root, maker, rng = pathlib.Path(args.collection), load_maker(args.maker), random.Random(args.seed)
    same = collections.defaultdict(set)
    for line in open(pathlib.Path(args.maker).parent / "versions.tsv"):
        if line.startswith("#"):
            continue
        a, b = line.rstrip("\n").split("\t")[1:3]
        same[a].add(b)
        same[b].add(a)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        subprocess.run([sys.executable, args.maker, root, folder, "--files", str(args.files), "--seed", str(args.seed)],
                       check=True)
        truths = [json.loads(line) for line in open(folder / "truth.jsonl")]
        truths += more_copies(maker, root, folder, sorted({t["name"] for t in truths}), rng)
        source = {str(folder / t["query"]): t for t in truths}
        originals = {str(p): str(p.relative_to(root)) for p in root.rglob("*") if p.suffix.lower() in (".mid", ".midi")}
        pairs, seconds = find_pairs(args, [*originals, *source], folder)
    found = collections.defaultdict(lambda: {"hit": set(), "right": 0, "wrong": [], "words": collections.Counter()})
    counts = collections.Counter(t["kind"] for t in truths)
    for a, b, row in pairs:
        if a not in source or b not in originals:
            continue
        truth, name = source[a], originals[b]
        kind = found[truth["kind"]]
        if name == truth["name"]:
            kind["hit"].add(a)
            kind["words"][row["relation"]] += 1
        if work_of(name) == work_of(truth["name"]) or name in same[truth["name"]]:
            kind["right"] += 1
        elif truth["kind"] != "joined":
            kind["wrong"].append((truth["name"], name, row["relation"], row["score"]))
    print(f"{len(source)} copies among {len(originals)} files: {seconds:.1f} s")
    print(f"{'kind':9} {'n':>4} {'recall':>6} {'prec.':>6}  words")
    for kind, n in counts.items():
        f = found[kind]
        words = ", ".join(f"{word} {count / n:.2f}" for word, count in f["words"].most_common(3))
        print(f"{kind:9} {n:4} {len(f['hit']) / n:6.3f} {f['right'] / max(1, f['right'] + len(f['wrong'])):6.3f}  {words}")
    missed = collections.Counter(t["name"] for q, t in source.items() if q not in found[t["kind"]]["hit"])
    for name, count in missed.most_common(args.show):
        print(f"missed: {count} copies of {name}")
    for kind in counts:
        for wrong in found[kind]["wrong"][: args.show]:
            print(f"wrong {kind}: " + "  ".join(wrong))


def show_songs(args):
    root = pathlib.Path(args.songs)
    files = sorted(str(p) for p in root.rglob("*.mid"))

    def song(name):
        parts = pathlib.Path(name).parts
        return parts[-3] if parts[-2] == "versions" else parts[-2]

    with tempfile.TemporaryDirectory() as folder:
        pairs, seconds = find_pairs(args, files, folder)
    sizes = collections.Counter(map(song, files))
    expected = {half: sum(n * (n - 1) for s, n in sizes.items() if hash_half(s) == half) for half in (0, 1)}
    print(f"{len(files)} files of {len(sizes)} songs: {seconds:.1f} s")
    strangers = collections.Counter()
    for half in (0, 1):
        mine = [(song(a), song(b)) for a, b, _ in pairs if hash_half(song(a)) == half]
        right = sum(a == b for a, b in mine)
        print(f"half {half}: recall {right / expected[half]:.4f} ({right} of {expected[half]}), "
              f"precision {right / max(1, len(mine)):.4f}")
        strangers.update(tuple(sorted(p)) for p in mine if p[0] != p[1])
    for (a, b), count in strangers.most_common():
        print(f"songs {a} and {b}: {count} pairs")


def hash_half(song):
    """Songs in two halves: one to choose constants on, one to report."""
    return sum(map(ord, song)) % 2


def show_strangers(args):
    files = [line.strip() for line in open(args.strangers) if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        pairs, seconds = find_pairs(args, files, folder)
    print(f"{len(files)} different works: {len(pairs) // 2} pairs, {seconds:.1f} s")
    for a, b, row in pairs:
        if a < b:
            print("\t".join((row["relation"], row["evalue"], row["score"], row["notes"], row["of_query"], row["of_piece"], a, b)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=str(HERE / "build/release"))
    parser.add_argument("--collection", default=str(HERE.parent / "shared/midi"))
    parser.add_argument("--maker", default=str(HERE.parent / "shared/truth/make_queries.py"),
                        help="the program that alters pieces")
    parser.add_argument("--files", type=int, default=60, help="pieces that are altered; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="wrong pairs of each kind to show")
    parser.add_argument("--songs", help="a folder of songs, each a folder of versions")
    parser.add_argument("--strangers", help="a list of files that are different works")
    args = parser.parse_args()
    if args.files:
        show_copies(args)
    if args.songs:
        show_songs(args)
    if args.strangers:
        show_strangers(args)


if __name__ == "__main__":
    main()
