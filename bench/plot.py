#!/usr/bin/env python3
"""Draw recorded results beside the machine's limits: bench/plot.py RESULTS.csv -o OUT.png   (needs matplotlib)

Left: the encoder at each length with its stages, and the limit of the level it ran at. Right: midisim and its peers on
the same work, as compare.py recorded them last.
"""
import argparse
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rows as results  # noqa: E402

STAGES = ("projections", "attention", "feed-forward")
LIMITS = {"avx2": "fma-f32-256", "avx512": "fma-f32-512", "avx512bf16": "dot-bf16-512", "amxbf16": "dot-bf16-tiles"}


def newest(rows, bench, metric):
    """{case: newest row}; for the encoder of one level and thread count, those of the newest row."""
    rows = [r for r in rows if r["bench"] == bench and r["metric"] == metric]
    if bench == "encoder" and rows:
        top = max(rows, key=lambda r: r["date"])
        rows = [r for r in rows if all(r[k] == top[k] for k in ("level", "precision", "threads", "device"))]
    return {r["case"]: r for r in sorted(rows, key=lambda r: r["date"])}


def draw_encoder(axes, rows):
    made = newest(rows, "encoder", "gflop_per_s")
    lengths = sorted((c for c in made if re.fullmatch(r"\d+", c)), key=int)
    if not lengths:
        axes.set_title("encoder: nothing recorded")
        return
    one = made[lengths[0]]
    for i, stage in enumerate(("", *STAGES)):
        cases = [f"{length} {stage}".strip() for length in lengths]
        heights = [made[c]["best"] if c in made else 0 for c in cases]
        axes.bar([x + (i - 1.5) * 0.2 for x in range(len(lengths))], heights, 0.19, label=stage or "whole pass")
    limit = results.last(rows, bench="roof", case=LIMITS.get(one["level"], ""), threads=one["threads"], metric="gflop_per_s")
    if limit and (one["level"] not in ("avx512bf16", "amxbf16") or one["precision"] == "bf16"):
        axes.axhline(limit["best"], color="black", linestyle="--", label=f"limit ({limit['case']})")
    axes.set_xticks(range(len(lengths)), lengths)
    axes.set_xlabel("tokens in the sequence")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"encoder, {one['level'] or one['device']} {one['precision']}, {one['threads']:.0f} threads")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.35)  # room for the legend above the bars
    axes.legend(fontsize=8, ncols=2, loc="upper left")


def draw_peers(axes, rows):
    ratios = {c: r for c, r in newest(rows, "compare", "ratio").items() if not c.endswith(" fastest")}
    if not ratios:
        axes.set_title("peers: nothing recorded")
        return
    names = list(ratios)
    axes.barh(range(len(names)), [ratios[n]["median"] for n in names])
    axes.axvline(1, color="black", linestyle="--")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("their time / midisim's (medians)")
    axes.set_title("peers on the same work")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        sys.exit("plot: needs matplotlib: python3 -m pip install matplotlib, in an environment of its own")
    rows = results.load(args.results)
    if not rows:
        sys.exit(f"plot: {args.results}: expected recorded rows, got none")
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5))
    draw_encoder(axes[0], rows)
    draw_peers(axes[1], rows)
    figure.suptitle(f"{rows[-1]['machine']}, {rows[-1]['date'][:10]}, commit {rows[-1]['commit']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()
