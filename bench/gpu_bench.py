#!/usr/bin/env python3
"""How fast the GPU is here, part by part, beside what the card can do: `make gpu-bench`. Needs python3 with numpy.

  bench/gpu_bench.py [--make] [--build build/gpu] [--only PART,...] [--product own|library|auto|all] [--model FILE]
                     [--limit SECONDS] [--out DIR] [--csv FILE|DIR] [--no-csv]

Parts, the most telling first: bandwidth, gemm, attention, encoder, scan, search, prepare, rows (bench/gpu_bench.c: kernels
timed by events, encoder and searches of 3,480,123 rows whole; prepare: what a search does beside its scans, and the same on
the host), peers (bench/gpu_peers.py, where torch is), files (midisim-bench: MIDI
files to vectors). A part that fails or runs past its limit is said, the others go on; the exit code is then 1. --limit is
for all parts together: what no time is left for is 'left out', which is no success. Each case says who computed it.

Rows are appended to the file of this card in bench/results (--csv: elsewhere), and tables in Markdown for docs/SPEED.md are
printed at the end. --out DIR (default: $OUT, where it is set) gets both too, and each case as it ends: bench.jsonl,
bench.md, bench.csv.

--emulated tries all this at tiny sizes on a build whose GPU is the emulator: it has no times, and nothing is recorded.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "test/gpu")]
import gpu_check  # noqa: E402
import rows as results  # noqa: E402

KERNELS = ("bandwidth", "gemm", "attention", "encoder", "scan", "search", "prepare", "rows")
PARTS = (*KERNELS, "peers", "files")
CORPUS = 3480123
LIMIT = 280  # seconds of a part


def say(*words):
    print("gpu-bench:", *words, file=sys.stderr, flush=True)


class Runs:
    def __init__(self, args, folder):
        self.args, self.folder, self.failed, self.cases, self.card = args, folder, [], [], {}
        self.env = gpu_check.environment()
        shared = pathlib.Path("/dev/shm")  # the searches' codes are gigabytes, and a disk would be all that is waited for
        if "TMPDIR" not in self.env and shared.is_dir() and shutil.disk_usage(shared).free > 8 << 30:
            self.env["TMPDIR"] = str(shared)
        self.model = next((str(pathlib.Path(p).resolve()) for p in [args.model] if p), None) or next(
            (str(p) for p in (ROOT / "weights/midisim-small.safetensors", gpu_check.BUNDLE / "weights/midisim-small.safetensors")
             if p.is_file()), None)
        self.ends = time.monotonic() + args.limit
        self.cases_file = args.out / "bench.jsonl" if args.out else folder / "bench.jsonl"
        self.cases_file.parent.mkdir(parents=True, exist_ok=True)
        self.began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def lines(self, part, command):
        """JSON objects that a program prints into the file of all cases; what it printed before it failed counts too."""
        limit = min(LIMIT, self.ends - time.monotonic())
        with open(self.cases_file, "ab") as out:
            start = out.tell()
            try:
                code = subprocess.run([str(c) for c in command], stdout=out, env=self.env, cwd=ROOT,
                                      timeout=max(limit, 1)).returncode
            except subprocess.TimeoutExpired:
                code = f"stopped after {limit:.0f} s"
            except OSError as error:
                code = error
        if code != 0:
            self.failed.append(part)
            say(f"{part}: {' '.join(map(str, command))[:300]}: {code if not isinstance(code, int) else f'exit code {code}'}")
        objects = []
        with open(self.cases_file, "rb") as file:
            file.seek(start)
            for line in file.read().decode("utf-8", "replace").splitlines():
                try:
                    objects.append(json.loads(line))
                except ValueError:
                    pass  # cut off
        return objects

    def kernels(self, part):
        command = [self.args.build / "bench/gpu_bench"]
        if self.args.emulated:
            command.append("--tiny")
        else:
            command += ["--rounds", self.args.rounds]
        if part == "encoder":
            if not self.model:
                self.failed.append(part)
                return say("encoder: no weights: weights/fetch.sh, make gpu-bundle or --model FILE")
            command += ["--model", self.model, "--mixed", self.mixed()]
        if part in ("gemm", "encoder") and self.args.product:
            command += ["--product", self.args.product]
        for o in self.lines(part, [*command, part]):
            if o["section"] == "card":
                self.card = o
            else:
                self.cases.append(o)

    def mixed(self):
        """Lengths of the shipped files that the original gives tokens for, cut at 3,072."""
        import numpy as np
        starts = np.load(ROOT / "test/golden/shipped_tokens.npz")["offsets"]
        lengths = [min(int(n), 3072) for n in np.diff(starts.astype(np.int64)) if n]
        lengths = [min(n, 60) for n in lengths[:12]] if self.args.emulated else lengths * 16
        path = self.folder / "lengths"
        path.write_text("".join(f"{n}\n" for n in lengths))
        return path

    def bench(self, part, *arguments):
        for o in self.lines(part, [self.args.build / "midisim-bench", *arguments, "--device", "cuda", "--json", "-q"]):
            o |= {"section": part, "bytes": 0, "flops": 0}
            if self.args.emulated:
                o["seconds"] = o["seconds_median"] = None
            elif o.get("gb_per_s"):
                o["bytes"] = o["gb_per_s"] * 1e9 * o["seconds"]
            o["median"] = o["seconds_median"]
            self.cases.append(o)

    def files(self, part):
        """MIDI bytes to vectors: copies of the shipped files under names of their own."""
        if not self.model:
            self.failed.append(part)
            return say("files: no weights")
        folder, n = self.folder / "midi", 1 if self.args.emulated else self.args.copies
        files = sorted(p for p in (ROOT / "test/data/midi").rglob("*") if p.suffix.lower() in (".mid", ".midi"))
        if self.args.emulated:
            files = files[:6]
        for copy in range(n):
            (folder / str(copy)).mkdir(parents=True)
            for i, path in enumerate(files):
                shutil.copyfile(path, folder / str(copy) / f"{i}.mid")
        self.bench(part, "embed", "-m", self.model, folder, "--rounds", "1" if self.args.emulated else "5", "--max-tokens",
                   "40" if self.args.emulated else "3072")

    def peers(self, part):
        if importlib.util.find_spec("torch") is None:
            return say(f"peers: {sys.executable} has no torch")
        if self.args.emulated:
            return say("peers: not beside the emulator")
        more = ["--model", self.model] if self.model else []
        self.cases += self.lines(part, [sys.executable, ROOT / "bench/gpu_peers.py", *more, "--rounds", self.args.rounds])
        return None


# ---- Figures --------------------------------------------------------------------------------------------------------


def rate(work, seconds):
    return work / seconds if work and seconds else None


def figures(cases):
    """Rates and shares, best and median, into each case."""
    def seconds(section, name):
        return next((c for c in cases if c["section"] == section and c["case"].startswith(name) and c["seconds"]), None)

    copy, read = seconds("bandwidth", "copy"), seconds("bandwidth", "read")
    squares = [c for c in cases if c["section"] in ("gemm", "torch-square") and c["seconds"] and
               (c["section"] == "torch-square" or c["case"].startswith("square"))]
    peak = max((c["flops"] / c["seconds"] for c in squares), default=None)
    for c in cases:
        c.setdefault("by", "")
        by = read if c["section"] in ("scan", "search") else copy
        tokens = re.search(r"(\d+) tokens$", c["case"])
        c["figures"] = {}
        for kind, s in (("best", c["seconds"]), ("median", c["median"])):
            made = {"seconds": s, "gb_per_s": rate(c["bytes"] / 1e9, s), "tflop_per_s": rate(c["flops"] / 1e12, s),
                    "bandwidth_share": rate(c["bytes"], s) and by and rate(c["bytes"], s) / rate(by["bytes"], by["seconds"]),
                    "peak_share": rate(c["flops"], s) and peak and rate(c["flops"], s) / peak,
                    "tokens_per_s": rate(float(tokens[1]) if tokens else 0, s),
                    "files_per_s": c.get("files_per_s" if kind == "best" else "files_per_s_median") if s else None}
            for name, value in made.items():
                c["figures"].setdefault(name, {})[kind] = value


UNITS = {"seconds": "seconds", "gb_per_s": "GB/s", "tflop_per_s": "TFLOP/s", "bandwidth_share": "of bandwidth",
         "peak_share": "of square product", "tokens_per_s": "tokens/s", "files_per_s": "files/s"}


def csv_rows(runs, machine, commit):
    for c in runs.cases:
        for metric, f in c["figures"].items():
            if f["best"] is not None:
                yield {"date": runs.began, "machine": machine, "commit": commit, "bench": "gpu", "device": "cuda",
                       "command": " ".join(["gpu_bench.py", *sys.argv[1:]])[:400], "case": f"{c['section']} {c['case']}",
                       "precision": "bf16", "metric": metric, "unit": UNITS[metric], "best": f"{f['best']:.9g}",
                       "median": "" if f["median"] is None else f"{f['median']:.9g}", "rounds": c["rounds"]}


def number(value, digits=3):
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}"


def markdown(runs, machine, commit):
    yield f"{machine}; {runs.began[:10]}, commit {commit}. Best (median) of the rounds; shares are of the bests."
    for part in dict.fromkeys(c["section"] for c in runs.cases):
        if part == "stage":
            continue
        yield f"\n| {part} | seconds | GB/s (share) | TFLOP/s (share of the square product) | tokens/s, files/s | by |"
        yield "|---|---|---|---|---|---|"
        for c in (c for c in runs.cases if c["section"] == part):
            f = {k: v["best"] for k, v in c["figures"].items()}
            seconds = "emulated" if runs.args.emulated else f"{number(c['seconds'], 4)} ({number(c['median'], 4)})"
            if c.get("refused"):
                seconds = f"refused: {c['refused']}"
            share = [f" ({f[k]:.2f})" if f[k] else "" for k in ("bandwidth_share", "peak_share")]
            who = c["by"] or "-"
            yield (f"| {c['case']} | {seconds} | {number(f['gb_per_s'], 4)}{share[0]} | {number(f['tflop_per_s'], 4)}{share[1]} | "
                   f"{number(f['tokens_per_s'] or f['files_per_s'])} | {who} |")


# ---- Running --------------------------------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", action="store_true", help="look for a GPU and build first")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/gpu")
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(PARTS))
    parser.add_argument("--model", help="weights (default: weights/, then the bundle's)")
    parser.add_argument("--product", choices=("own", "library", "auto", "all"), help="who computes products: all of them, or one")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds for all parts together")
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT"), help="folder for tables and cases")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--copies", type=int, default=40, help="of the shipped MIDI files, for the part files")
    parser.add_argument("--csv", type=pathlib.Path, default=results.RESULTS, help="file, or folder with one for each card")
    parser.add_argument("--no-csv", action="store_true")
    parser.add_argument("--emulated", action="store_true", help="tiny sizes, on a build with the emulator")
    args = parser.parse_args()
    args.build = (ROOT / args.build).resolve()
    args.out = args.out and pathlib.Path(args.out).resolve()
    if set(args.only) - set(PARTS) or args.rounds < 1 or args.copies < 1:
        parser.error(f"expected --only of {', '.join(PARTS)}, --rounds and --copies of 1 or more")
    return args


def record(runs, machine, commit):
    if runs.args.emulated or runs.card.get("emulated"):
        return say("emulated: nothing is recorded")
    if runs.args.no_csv or not runs.cases:
        return None
    path = runs.args.csv
    if path.is_dir():
        path = path / results.machine_file(machine).name
    results.append(path, list(csv_rows(runs, machine, commit)))
    return say(f"appended to {path}")


def tables(runs):
    figures(runs.cases)
    return "\n".join(markdown(runs, runs.card.get("case", "unknown GPU"), gpu_check.commit()))


def keep(runs):
    """What there is so far, into the folder for results."""
    if not runs.args.out:
        return
    gpu_check.write_whole(runs.args.out / "bench.md", tables(runs) + "\n")
    if not (runs.args.emulated or runs.card.get("emulated")) and runs.cases:
        path = runs.args.out / "bench.csv"
        path.unlink(missing_ok=True)
        results.append(path, list(csv_rows(runs, runs.card.get("case", "unknown GPU"), gpu_check.commit())))


def main():
    args = parse()
    if args.make:
        why = gpu_check.why_no_gpu()
        if why:
            sys.exit(f"gpu-bench: no GPU here: {why}")
        say(f"built in {gpu_check.build_all(args.build):.0f} s")
    with tempfile.TemporaryDirectory(prefix="midisim-gpu-bench-") as folder:
        runs = Runs(args, pathlib.Path(folder))
        for part in args.only:
            began = time.monotonic()
            if runs.ends - began < 5:
                runs.failed.append(part)
                say(f"{part}: left out: no time is left")
                continue
            (runs.kernels if part in KERNELS else getattr(runs, part))(part)
            say(f"{part}: {time.monotonic() - began:.0f} s")
            keep(runs)
        if not runs.card:
            runs.kernels("card")
    keep(runs)
    text = tables(runs)
    record(runs, runs.card.get("case", "unknown GPU"), gpu_check.commit())
    print(text)
    if runs.failed:
        say(f"failed: {', '.join(dict.fromkeys(runs.failed))}")
    return 1 if runs.failed or not runs.cases else 0


if __name__ == "__main__":
    sys.exit(main())
