#!/usr/bin/env python3
"""How well midisim-find finds altered copies and excerpts: one row for each kind of query.

usage: notes_quality.py [--build build/release] [--collection DIR] [--queries DIR] [--files 60] [--seed 1] [--answers FILE]

QUERIES is a folder with truth.jsonl and the queries it names; by default make_queries.py, beside the collection in
truth/, writes it anew. Columns: queries, R@1 and R@5, the share of first matches that are right and have E < 1e-3,
transposition right, place within 2 s (any place where the passage recurs counts; excerpts alone), wrong first matches
with E < 1e-3 (queries whose source is found nowhere else), median share of the notes that agree, the commonest word."""
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


def ask(args, folder):
    """The answers of midisim-find to every query, by the query's name."""
    queries = sorted(str(p) for p in pathlib.Path(folder).glob("*.mid"))
    index = pathlib.Path(folder) / "collection.notes"
    subprocess.run([f"{args.build}/midisim-index", "-q", "-o", index, args.collection], stderr=subprocess.DEVNULL)
    answers = subprocess.run([f"{args.build}/midisim-find", "-q", "-i", index, "--json", "--files-from", "-"],
                             input="\n".join(queries), stdout=subprocess.PIPE, text=True).stdout
    if args.answers:
        pathlib.Path(args.answers).write_text(answers)
    return {pathlib.Path(a["query"]).name: a for a in map(json.loads, answers.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=str(HERE / "build/release"))
    parser.add_argument("--collection", default=str(HERE.parent / "shared/midi"))
    parser.add_argument("--queries")
    parser.add_argument("--files", default="60")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--answers", help="keep the JSON lines in this file")
    parser.add_argument("--read", help="read the JSON lines from this file instead of asking")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.queries or temporary
        if not args.queries:
            maker = pathlib.Path(args.collection).parent / "truth/make_queries.py"
            subprocess.run([sys.executable, maker, args.collection, folder, "--files", args.files, "--seed", args.seed],
                           check=True)
        if args.read:
            answers = {pathlib.Path(a["query"]).name: a for a in map(json.loads, open(args.read))}
        else:
            answers = ask(args, folder)
        rows = {}
        for line in open(f"{folder}/truth.jsonl"):
            truth = json.loads(line)
            rows.setdefault(truth["kind"], []).append(score(truth, answers.get(truth["query"], {"matches": []})))
    show(rows)


if __name__ == "__main__":
    main()
