#!/usr/bin/env python3
"""How well midisim-find finds altered copies and excerpts: one row for each kind of query.

usage: notes_quality.py [--build build/release] [--collection DIR] [--list FILE] [--queries DIR] [--files 60] [--seed 1]
                        [--answers FILE] [--strangers DIR]... [--pairs FILE]...

QUERIES is a folder with truth.jsonl and the queries it names; by default make_queries.py, beside the collection in
truth/, writes it anew. Columns: queries, R@1 and R@5, the share of first matches that are right and have E < 1e-3,
transposition right, place within 2 s (any place where the passage recurs counts; excerpts alone), wrong first matches
with E < 1e-3 (queries whose source is found nowhere else), median share of the notes that agree, the commonest word.

--list names files of the collection, one per line; the others are left out. --strangers DIR asks with excerpts of DIR,
whose music is not in the collection: how often E is below a limit is how often chance looks like more. --pairs FILE has
two columns, path of a query and path of what it should find, from FILE's folder on: whole pieces and excerpts of the
first are searched among the second."""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent.parent


def work_of(name):
    """What counts as the same work: the folder of a pop909 song, the name of a Nottingham tune, else the file."""
    parts = name.split("/")
    if parts[0] == "pop909":
        return "/".join(parts[:2])
    if parts[0] == "nottingham":
        return "nottingham/" + parts[-1]
    return name


def is_placed(truth, match):
    """The start of a match against any place where the passage recurs."""
    starts = [truth["from"], *truth["also"]]
    shift = (match["query_from"] - truth["at"]) / truth["speed"]
    return any(abs(match["from"] - (start + shift)) <= 2 for start in starts)


def score(truth, answer):
    matches = answer["matches"]
    right = [i for i, m in enumerate(matches) if work_of(m["name"]) == work_of(truth["name"])]
    first = matches[0] if matches else None
    found = bool(right and right[0] == 0)
    own = next((m for m in matches if m["name"] == truth["name"]), first if found else None)
    return {"r1": found, "r5": bool(right and right[0] < 5), "sure": found and first["evalue"] < 1e-3,
            "key": own["transpose"] == truth["transpose"] if found else None,
            "place": is_placed(truth, own) if found else False,
            "false": bool(first and not found and first["evalue"] < 1e-3),
            "share": own["notes"] / max(1, own["of"][0]) if found else 0.0, "word": own["relation"] if found else "-"}


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else 0.0


def show(rows):
    print(f"{'kind':9} {'n':>4} {'R@1':>5} {'R@5':>5} {'sure':>5} {'key':>5} {'place':>5} {'false':>5} {'share':>5}  word")
    for kind, found in rows.items():
        words = collections.Counter(f["word"] for f in found).most_common(2)
        place = f"{mean([f['place'] for f in found]):5.2f}" if kind[:3] in ("cut", "phr") else "    -"
        print(f"{kind:9} {len(found):4} {mean([f['r1'] for f in found]):5.2f} {mean([f['r5'] for f in found]):5.2f} "
              f"{mean([f['sure'] for f in found]):5.2f} {mean([f['key'] for f in found]):5.2f} {place} "
              f"{sum(f['false'] for f in found):5} {statistics.median(f['share'] for f in found):5.2f}  "
              + ", ".join(f"{word} {count / len(found):.2f}" for word, count in words))


def find(args, index, queries):
    """The answers of midisim-find to every query, as JSON lines."""
    return subprocess.run([f"{args.build}/midisim-find", "-q", "-i", index, "--json", "--files-from", "-"],
                          input="\n".join(queries), stdout=subprocess.PIPE, text=True).stdout


def make_index(args, index, paths):
    subprocess.run([f"{args.build}/midisim-index", "-q", "-o", index, "--files-from", "-"], input="\n".join(paths),
                   text=True, stderr=subprocess.DEVNULL)


def make_queries(args, source, folder, names=None, kinds=None, files=None):
    maker = pathlib.Path(args.maker)
    more = ["--kinds", kinds] if kinds else []
    if names is not None:
        listing = pathlib.Path(folder) / "list"
        listing.write_text("\n".join(names) + "\n")
        more += ["--list", listing]
    more += ["--files", str(files or args.files), "--seed", args.seed]
    subprocess.run([sys.executable, maker, source, folder, *more], check=True)
    return [json.loads(line) for line in open(f"{folder}/truth.jsonl")]


def files_of(args):
    """Paths of the collection, and their names."""
    root = pathlib.Path(args.collection)
    names = (open(args.list).read().splitlines() if args.list else
             sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.suffix.lower() in (".mid", ".midi")))
    return [str(root / name) for name in names], names


def show_chance(args, source):
    """How often E is below each limit for excerpts of pieces that are not in the collection."""
    limits = (1, 0.1, 0.01, 1e-3, 1e-4)
    with tempfile.TemporaryDirectory() as folder:
        truths = make_queries(args, source, folder,
                              kinds="cut12,cut20,cut30,cut60,cut120,cut300,phrase12,phrase24,melody,track,copy")
        index = pathlib.Path(folder) / "collection.notes"
        make_index(args, index, files_of(args)[0])
        lines = find(args, index, [f"{folder}/{t['query']}" for t in truths]).splitlines()
    rows = collections.defaultdict(list)
    for answer in map(json.loads, lines):
        matches = answer["matches"]
        best = min((m["evalue"] for m in matches), default=float("inf"))
        for kind in (pathlib.Path(answer["query"]).stem.split("_", 1)[1], "all"):
            rows[kind].append(best)
    print(f"\n{'strangers':9} {'n':>4} " + " ".join(f"E<{limit:<5g}" for limit in limits) + f"  {source}")
    for kind, found in sorted(rows.items()):
        print(f"{kind:9} {len(found):4} " + " ".join(f"{mean([e < limit for e in found]):7.4f}" for limit in limits))


def show_pairs(args, listing):
    """Queries among their partners: each first column among all second ones."""
    root = pathlib.Path(listing).resolve().parent
    pairs = [line.split("\t")[:2] for line in open(listing).read().splitlines() if line and line[0] != "#"]
    partner = dict(pairs)
    with tempfile.TemporaryDirectory() as folder:
        truths = make_queries(args, str(root), folder, names=list(partner), files=len(pairs),
                              kinds="copy,cut8,cut12,cut20,cut30,cut60,cut120,cut300")
        index = pathlib.Path(folder) / "collection.notes"
        make_index(args, index, sorted({str(root / other) for other in partner.values()}))
        lines = find(args, index, [f"{folder}/{t['query']}" for t in truths]).splitlines()
    answers = {pathlib.Path(a["query"]).name: a["matches"] for a in map(json.loads, lines)}
    rows = collections.defaultdict(list)
    for truth in truths:
        matches = answers.get(truth["query"], [])
        right = [m["name"] == str(root / partner[truth["name"]]) for m in matches]
        rows[truth["kind"]].append((any(right[:1]), any(right[:5]), any(right[:1]) and matches[0]["evalue"] < 1e-3))
    print(f"\n{'pairs':9} {'n':>4} {'R@1':>6} {'R@5':>6} {'sure':>6}  {listing}")
    for kind, found in rows.items():
        print(f"{kind:9} {len(found):4} " + " ".join(f"{mean([f[i] for f in found]):6.3f}" for i in range(3)))


def ask(args, folder):
    """The answers of midisim-find to every query, by the query's name."""
    queries = sorted(str(p) for p in pathlib.Path(folder).glob("*.mid"))
    index = pathlib.Path(folder) / "collection.notes"
    root = pathlib.Path(args.collection)
    make_index(args, index, files_of(args)[0])
    answers = find(args, index, queries).replace(f'"name":"{root}/', '"name":"')
    if args.answers:
        pathlib.Path(args.answers).write_text(answers)
    return {pathlib.Path(a["query"]).name: a for a in map(json.loads, answers.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=str(HERE / "build/release"))
    parser.add_argument("--collection", default=str(HERE.parent / "shared/midi"))
    parser.add_argument("--list", help="files of the collection, one per line")
    parser.add_argument("--queries")
    parser.add_argument("--strangers", action="append", default=[], help="a folder of music that the collection lacks")
    parser.add_argument("--pairs", action="append", default=[], help="a file of queries and what they should find")
    parser.add_argument("--files", default="60")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--answers", help="keep the JSON lines in this file")
    parser.add_argument("--read", help="read the JSON lines from this file instead of asking")
    parser.add_argument("--maker", default=str(HERE.parent / "shared/truth/make_queries.py"),
                        help="the program that alters pieces")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.queries or temporary
        if not args.queries:
            make_queries(args, args.collection, folder, names=files_of(args)[1] if args.list else None)
        if args.read:
            answers = {pathlib.Path(a["query"]).name: a for a in map(json.loads, open(args.read))}
        else:
            answers = ask(args, folder)
        rows = {}
        for line in open(f"{folder}/truth.jsonl"):
            truth = json.loads(line)
            rows.setdefault(truth["kind"], []).append(score(truth, answers.get(truth["query"], {"matches": []})))
    show(rows)
    for source in args.strangers:
        show_chance(args, source)
    for listing in args.pairs:
        show_pairs(args, listing)


if __name__ == "__main__":
    main()
