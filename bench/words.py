"""How often the words of midisim-search are right: unrelated, alike, version, same (docs/WHITENING.md, Measured words).

    bench/words.py --search build/release/midisim-search CORPUS QUERIES [--like] [--first] [--group REGEX]

CORPUS is whitened. QUERIES is a corpus as the model gives it, whose rows are searched one by one; with --like they are rows of
CORPUS itself, and a query does not find itself. Two rows are related when the text that REGEX finds first in their names is
the same; without --group none are. --first takes the first row of each group alone. Prints

    queries     how many
    called      of those without a relative in CORPUS, the share that has 'unrelated' matches alone
    E           the median of the least expected number of chance matches of those, and the shares under 1, 0.1, 0.05, 0.03, 0.01
    WORD        of matches with this word: the share that is related; of relatives: the share that has this word
"""
import argparse
import collections
import json
import re
import subprocess

import numpy as np

WORDS = ("unrelated", "alike", "version", "same")


def names_of(path):
    rows = np.load(path, mmap_mode="r")
    return [str(name) for name in rows[rows.dtype.names[0]]]


def group_of(name, pattern):
    found = re.search(pattern, name) if pattern else None
    return found.group(1) if found else None


def search(args, numbers, names):
    command = [args.search, "-c", args.corpus, "--json", "-k", str(args.k)]
    if args.like:
        command += ["--exclude-self", *(a for i in numbers for a in ("--like", names[i]))]
    else:
        np.save(args.scratch, np.load(args.queries)[numbers])
        command += ["--query-vectors", args.scratch]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [json.loads(line)["matches"] for line in done.stdout.splitlines()]


def report_unrelated(least):
    least = np.array(least)
    called = np.mean([word for _, word in least] == np.array("unrelated"))
    e = np.array([float(x) for x, _ in least])
    shares = " ".join(f"<{t}: {np.mean(e < t):.3f}" for t in (1, 0.1, 0.05, 0.03, 0.01))
    print(f"  without a relative: {len(e)} queries, called unrelated {called:.3f}; E median {np.median(e):.2f}, {shares}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", default="build/release/midisim-search")
    parser.add_argument("--group")
    parser.add_argument("--like", action="store_true")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--scratch", default="words-queries.npy")
    parser.add_argument("corpus")
    parser.add_argument("queries")
    args = parser.parse_args()
    names, rows = names_of(args.queries), names_of(args.corpus)
    group = {name: group_of(name, args.group) for name in {*names, *rows}}
    there = collections.Counter(group[name] for name in rows if group[name] is not None)
    numbers, seen = [], set()
    for i, name in enumerate(names):
        if not args.first or group[name] not in seen:
            numbers.append(i)
        seen.add(group[name])
    right, given, relatives, least = collections.Counter(), collections.Counter(), 0, []
    for i, matches in zip(numbers, search(args, numbers, names)):
        mine = group[names[i]]
        expected = there[mine] - (1 if args.like else 0) if mine is not None else 0
        relatives += expected
        for match in matches:
            given[match["likeness"]] += 1
            right[match["likeness"]] += expected > 0 and group[match["name"]] == mine
        if expected == 0 and matches:
            best = min(matches, key=lambda m: m["chance_matches"])
            least.append((best["chance_matches"], best["likeness"]))
    print(f"{args.corpus}: {len(rows)} rows; {args.queries}: {len(numbers)} queries, {relatives} relatives")
    if least:
        report_unrelated(least)
    for word in WORDS if relatives else ():
        share = f"{right[word] / given[word]:.3f}" if given[word] else "-"
        print(f"  {word}: {given[word]} matches, related {share}; of relatives {right[word] / relatives:.3f}")


if __name__ == "__main__":
    main()
