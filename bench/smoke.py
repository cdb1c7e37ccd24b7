#!/usr/bin/env python3
"""The main figures in under a minute, beside the last ones recorded on this machine (bench/results).

  bench/smoke.py [--build build/release] [--quick]

Nothing is recorded: that is `make bench`. Ratios to peers are against the times that bench/compare.py recorded last.
"""
import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rows as results  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
LENGTHS = ("512", "1024", "3072")


def run(build, *arguments):
    done = subprocess.run([str(build / "midisim-bench"), *arguments, "--json", "-q"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"smoke: midisim-bench {arguments[0]}: exit code {done.returncode}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def shown(value):
    return "-" if value is None else f"{value:.4g}"


class Table:
    def __init__(self):
        self.recorded, self.all = None, []

    def add(self, objects, *metrics):
        for o in objects:
            if self.recorded is None:
                self.recorded = results.load(results.machine_file(o["machine"]))
            for metric in metrics:
                if o.get(metric) is None:
                    continue
                before = results.last(self.recorded, bench=o["bench"], case=o["case"], threads=float(o["threads"]),
                                      level=o.get("level", ""), precision=o.get("precision", ""), metric=metric)
                self.row(f"{o['bench']} {o['case']}, {o['threads']} threads", metric, o[metric], before)

    def row(self, what, metric, now, before):
        self.all.append((what, metric, shown(now), shown(before and before["best"]),
                         shown(now / before["best"]) if before and before["best"] else "-",
                         f"{before['date'][:10]} {before['commit']}" if before else "-"))

    def print(self):
        head = ("what", "figure", "now", "recorded", "now/recorded", "recorded at")
        widths = [max(len(r[i]) for r in [head, *self.all]) for i in range(len(head))]
        for r in [head, *self.all]:
            print("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip())


def peers(table, encoder):
    """Ratio to the fastest peer, from its recorded time and our time now."""
    for o in encoder:
        before = results.last(table.recorded or [], bench="compare", case=f"encoder {o['case']} fastest", metric="ratio")
        peer = results.last(table.recorded or [], bench="compare", case=f"encoder {o['case']} fastest", metric="seconds")
        if peer:
            table.row(f"encoder {o['case']}, fastest peer/ours", "ratio", peer["best"] / o["seconds"], before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--quick", action="store_true", help="the shortest cases alone, once")
    parser.add_argument("--model", help="as midisim-bench -m")
    args = parser.parse_args()
    table, rounds = Table(), ["--rounds", "1" if args.quick else "3"]
    model = ["-m", args.model] if args.model else []
    small = ["--megabytes", "16"] if args.quick else []
    table.add(run(args.build, "roof", *rounds, *small), "gflop_per_s", "gop_per_s", "gb_per_s")
    lengths = ["--lengths", "32" if args.quick else ",".join(LENGTHS)]
    encoder = [o for o in run(args.build, "encoder", *rounds, *lengths, *model) if " " not in o["case"]]
    table.add(encoder, "tokens_per_s", "gflop_per_s", "roof_share")
    tokens = run(args.build, "tokens", *rounds, str(ROOT / "test/data/midi"))
    table.add(tokens, "files_per_s", "mb_per_s")
    if len(tokens) == 2:
        table.row("tokens, all cores/one", "ratio", tokens[1]["files_per_s"] / tokens[0]["files_per_s"], None)
    table.add(run(args.build, "search", *rounds, *small, *(["--rows", "1000"] if args.quick else [])), "gb_per_s",
              "read_share")
    peers(table, encoder)
    table.print()
    return 0 if encoder and tokens else 1


if __name__ == "__main__":
    sys.exit(main())
