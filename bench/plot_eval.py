#!/usr/bin/env python3
"""Draw the curves of midisim-eval --csv: bench/plot_eval.py EVAL.csv -o OUT.png   (needs matplotlib)

Left: R@K by K, with the 95 % intervals. Right: precision by recall of pairs. One line for each corpus. The ending of OUT
decides about the format: .png, .svg, .pdf.
"""
import argparse
import csv
import pathlib
import sys


def load(path):
    """{corpus: {measure: [(at, value, low, high)]}} in the order of the file."""
    corpora = {}
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                numbers = tuple(float(row[name]) for name in ("at", "value", "low", "high"))
                corpora.setdefault(row["corpus"], {}).setdefault(row["measure"], []).append(numbers)
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"plot_eval: {path}: expected what midisim-eval --csv writes: {error}")
    if not corpora:
        sys.exit(f"plot_eval: {path}: expected rows, got none")
    return corpora


def curve(measures):
    """[(recall, precision)] of pairs, by rising recall; thresholds that stand twice count once."""
    precision = {at: value for at, value, _, _ in measures.get("precision", [])}
    recall = {at: value for at, value, _, _ in measures.get("recall", [])}
    return sorted((recall[at], precision[at]) for at in recall if at in precision)


def draw(axes, corpora):
    for corpus, measures in corpora.items():
        label = pathlib.PurePath(corpus).name.encode("utf-8", "replace").decode()
        ranks = measures.get("recall_at", [])
        line, = axes[0].plot([r[0] for r in ranks], [r[1] for r in ranks], marker="o", markersize=3, label=label)
        axes[0].fill_between([r[0] for r in ranks], [r[2] for r in ranks], [r[3] for r in ranks], alpha=0.15,
                             color=line.get_color())
        points = curve(measures)
        axes[1].plot([p[0] for p in points], [p[1] for p in points], color=line.get_color(), label=label)
    axes[0].set_xscale("log")
    axes[0].set_xlabel("K")
    axes[0].set_ylabel("R@K: a relative among the first K")
    axes[1].set_xlabel("recall of pairs")
    axes[1].set_ylabel("precision of pairs")
    for one in axes:
        one.set_ylim(0, 1.02)
        one.grid(alpha=0.3)
        one.legend(fontsize=8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    corpora = load(args.csv)
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        sys.exit("plot_eval: needs matplotlib: python3 -m pip install matplotlib, in an environment of its own")
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5))
    draw(axes, corpora)
    figure.tight_layout()
    figure.savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()
