#!/usr/bin/env python3
"""How well midisim-groups finds and groups what belongs together: pairs by kind, and groups by linkage.

usage: groups_quality.py [--build build/release] [--collection DIR] [--maker make_queries.py] [--files 60] [--seed 1]
                         [--songs DIR]

The collection is DIR with altered copies and excerpts of FILES of its files, which make_queries.py (beside the collection, in
truth/) makes: one folder, asked once. --songs DIR instead: a collection whose folders on the first level are songs. Printed:

  pairs       by kind: how many, and the share whose two files are of one work
  groups      by linkage and kinds: pairs of files in one group, of all pairs of one work (recall), and the share of them that
              is right (precision); files that stand in a group with a file of another work
  alterations by linkage: the share of copies of each kind that stand in one group with their source

A work is the folder of a pop909 song, the name of a Nottingham tune, else the file; of a copy, that of its source."""
import argparse
import collections
import itertools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

from notes_quality import work_of

HERE = pathlib.Path(__file__).resolve().parent.parent
DEFAULT = "bytes,notes,key,piece"
SETTINGS = [("verified", DEFAULT), ("complete", DEFAULT), ("single", DEFAULT), ("verified", "all"), ("single", "all")]


def work_in(name, works, is_songs):
    if name in works:
        return works[name]
    return name.split("/")[0] if is_songs else work_of(name)


def ask(args, folder, state, *more):
    done = subprocess.run([f"{args.build}/midisim-groups", "-q", "--tsv", "--all", "--state", state, *more, folder],
                          stdout=subprocess.PIPE, env=dict(os.environ, XDG_CACHE_HOME=str(pathlib.Path(state).parent)))
    return [line.split("\t") for line in done.stdout.decode("utf-8", "surrogateescape").splitlines()[1:]]


def show_pairs(path, work):
    counts = collections.defaultdict(lambda: [0, 0])
    wrong = []
    for row in path.read_text("utf-8", "surrogateescape").splitlines()[1:]:
        kind, a, b = row.split("\t")[:3]
        is_right = work(a) == work(b)
        counts[kind][0] += 1
        counts[kind][1] += is_right
        if not is_right and kind in DEFAULT.split(","):
            wrong.append((kind, a, b))
    print(f"{'pairs':10} {'n':>7} {'right':>7}")
    for kind in ("bytes", "notes", "key", "piece", "version", "excerpt"):
        n, right = counts[kind]
        print(f"{kind:10} {n:7} {right / n if n else 1:7.4f}")
    for kind, a, b in wrong[:40]:
        print(f"  other works: {kind}: {a} = {b}")


def show_groups(rows, work, title):
    """Pairs of files in one group against pairs of files of one work."""
    groups, works = collections.defaultdict(list), collections.Counter()
    for group, _kind, _keep, name, _reason in rows:
        groups[group].append(work(name))
        works[work(name)] += 1
    of_work = sum(n * (n - 1) // 2 for n in works.values())
    found = right = mixed = 0
    for members in groups.values():
        counts = collections.Counter(members)
        found += len(members) * (len(members) - 1) // 2
        right += sum(n * (n - 1) // 2 for n in counts.values())
        mixed += len(members) if len(counts) > 1 else 0
    sizes = sum(len(m) > 1 for m in groups.values())
    print(f"{title:42} {sizes:6} {right / found if found else 1:9.4f} {right / of_work if of_work else 1:7.4f} {mixed:6}")


def show_alterations(results, truths):
    names = list(results)
    print(f"\n{'copies':10} {'n':>5} " + " ".join(f"{name:>13}" for name in names))
    for kind, group in itertools.groupby(sorted(truths, key=lambda t: t["kind"]), key=lambda t: t["kind"]):
        group = list(group)
        shares = [sum(of["copies/" + t["query"]] == of[t["name"]] for t in group) / len(group) for of in results.values()]
        print(f"{kind:10} {len(group):5} " + " ".join(f"{share:13.3f}" for share in shares))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=HERE / "build/release")
    parser.add_argument("--collection", default=HERE.parent / "shared/midi")
    parser.add_argument("--maker")
    parser.add_argument("--files", default=60, type=int)
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--songs")
    args = parser.parse_args()
    source = pathlib.Path(args.songs or args.collection).resolve()
    works, truths = {}, []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "in"
        shutil.copytree(source, root)
        if not args.songs:
            maker = args.maker or source.parent / "truth/make_queries.py"
            subprocess.run([sys.executable, maker, source, root / "copies", "--files", str(args.files), "--seed", str(args.seed)],
                           check=True)
            truths = [json.loads(line) for line in open(root / "copies/truth.jsonl")]
            works = {"copies/" + t["query"]: work_of(t["name"]) for t in truths}

        def work(name):
            return work_in(name, works, bool(args.songs))
        state, results = f"{folder}/state", {}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for number, (link, kinds) in enumerate(SETTINGS):
            more = ("--pairs", f"{folder}/pairs") if number == 0 else ()
            rows = ask(args, root, state, "--link", link, "--kinds", kinds, *more)
            if number == 0:
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                show_pairs(pathlib.Path(folder) / "pairs", work)
                print(f"{len(rows)} files, first run {after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f} s "
                      f"of one processor\n\n{'groups':42} {'n':>6} {'precision':>9} {'recall':>7} {'mixed':>6}")
            show_groups(rows, work, f"--link {link} --kinds {kinds}")
            results[f"{link}{'' if kinds == DEFAULT else ' all'}"] = {name: group for group, _, _, name, _ in rows}
        if truths:
            show_alterations(results, truths)


if __name__ == "__main__":
    main()
