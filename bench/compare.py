#!/usr/bin/env python3
"""What a user would pick instead, run in turns with midisim on the same work: encoder, tokeniser, top k.

  bench/compare.py --python PEERS/bin/python [--peers FOLDER] [--only encoder,tokens,search] [--rounds 5]

Each round runs every peer once and then midisim once, so that whatever else happens to the machine happens to all. The
ratio is their time over ours: above 1 midisim is faster. A peer that fails has no ratio: its row says VOID, and the
exit code is 1. Peers run in one process that loads once (bench/peer.py); midisim runs as midisim-bench with a warm-up
of its own. The table is TSV on standard output; --csv appends to the same files as midisim-bench --csv.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rows as results  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
K = 16
REST = 0.4  # seconds between two programs: threads of the one before may spin for 0.2


def say(*words):
    print("compare:", *words, file=sys.stderr, flush=True)


class Peers:
    """The process that runs them; it is started again when it dies."""

    def __init__(self, python, folder):
        self.command = [python, str(ROOT / "bench/peer.py"), str(folder)]
        self.process = None

    def run(self, engine, arguments):
        """(seconds, None) or (None, why not)."""
        try:
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.process.stdin.write(json.dumps({"engine": engine, "arguments": arguments}) + "\n")
            self.process.stdin.flush()
            reply = self.process.stdout.readline()
        except OSError as error:
            return None, str(error)
        if not reply:
            return None, f"the peers' process ended with code {self.process.wait()}"
        reply = json.loads(reply)
        return reply.get("seconds"), reply.get("error")

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()


class Ours:
    def __init__(self, build, model):
        self.program, self.model, self.about = str(build / "midisim-bench"), model, None

    def run(self, arguments):
        command = [self.program, *arguments, "--rounds", "1", "--no-roof", "--json", "-q"]
        if self.model:
            command += ["-m", self.model]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"compare: {' '.join(command)[:300]}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        self.about = json.loads(done.stdout.splitlines()[0])  # the first object is the whole case
        return self.about["seconds"]


class Case:
    """One piece of work: what we run, and which peers do the same with which arguments."""

    def __init__(self, name, ours, engines, work=None):
        self.name, self.ours, self.engines, self.work = name, ours, engines, work


def midi_files(folder):
    return sorted(os.path.join(d, f) for d, _, fs in os.walk(folder) for f in fs
                  if f.lower().endswith((".mid", ".midi", ".kar")))


def cases(args):
    if "encoder" in args.only:
        for length in args.lengths:
            yield Case(f"encoder {length}", ["encoder", "--lengths", str(length)],
                       {e: [length] for e in ("torch-f32", "torch-bf16", "onnxruntime-f32")})
    if "tokens" in args.only:
        files = midi_files(args.midi)
        if not files:
            sys.exit(f"compare: {args.midi}: expected MIDI files, got none")
        some = files[:: max(1, len(files) // args.original_files)][:args.original_files]
        yield Case(f"tokens {len(files)} files", ["tokens", "--threads", "1", *files],
                   {e: files for e in ("symusic-parse", "symusic-memory")})
        yield Case(f"tokens {len(some)} files", ["tokens", "--threads", "1", *some], {"original-tokens": some})
    if "search" in args.only:
        for queries in (12, 1):
            for scan in ("f32", "int8"):
                yield Case(f"search {args.rows}x{args.dim} q{queries}{'' if scan == 'f32' else ' ' + scan}",
                           ["search", "--rows", str(args.rows), "--dim", str(args.dim), "--queries", str(queries), "-k", str(K),
                            "--scan", scan],
                           {e: [args.rows, args.dim, queries, K]
                            for e in ("numpy", "faiss-flat", "usearch-exact", "original-topk")})


def measure(case, peers, ours, rounds):
    """Times of ours and of each peer, and why a peer has none."""
    mine, theirs, failed = [], {e: [] for e in case.engines}, {}
    for _ in range(rounds):
        for engine, arguments in case.engines.items():
            if engine in failed:
                continue
            seconds, why = peers.run(engine, arguments)
            if why:
                failed[engine] = why
                say(f"VOID: {case.name}: {engine} did not run: {why}")
            else:
                theirs[engine].append(seconds)
            time.sleep(REST)
        mine.append(ours.run(case.ours))
        time.sleep(REST)
    return mine, theirs, failed


def table_rows(case, mine, theirs, failed):
    """(engine, its best, its median, ratio of bests, ratio of medians); None in a void row."""
    best, median = min(mine), statistics.median(mine)
    for engine in case.engines:
        if engine in failed:
            yield engine, None, None, None, None
        else:
            b, m = min(theirs[engine]), statistics.median(theirs[engine])
            yield engine, b, m, b / best, m / median
    if len(case.engines) > 1:
        if failed:
            yield "fastest", None, None, None, None
        else:
            b = min(min(t) for t in theirs.values())
            m = min(statistics.median(t) for t in theirs.values())
            yield "fastest", b, m, b / best, m / median


def csv_rows(case, about, mine, made, rounds):
    common = {k: about.get(k, "") for k in ("machine", "commit", "device", "threads", "level", "precision")}
    common |= {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "bench": "compare", "rounds": rounds,
               "command": " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])[:400]}
    yield common | {"case": f"{case.name} midisim", "metric": "seconds", "unit": "seconds", "best": f"{min(mine):.9g}",
                    "median": f"{statistics.median(mine):.9g}"}
    for engine, best, median, of_best, of_median in made:
        if best is None:
            continue
        yield common | {"case": f"{case.name} {engine}", "metric": "seconds", "unit": "seconds", "best": f"{best:.9g}",
                        "median": f"{median:.9g}"}
        yield common | {"case": f"{case.name} {engine}", "metric": "ratio", "unit": "theirs/ours",
                        "best": f"{of_best:.6g}", "median": f"{of_median:.6g}"}


def parse(argv):
    collection = ROOT.parent / "shared" / "midi"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers' packages")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT.parent / "shared" / "peers", help="folder with common.py")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--model", help="as midisim-bench -m (the peers take the small checkpoint of their package)")
    parser.add_argument("--only", type=lambda t: t.split(","), default=["encoder", "tokens", "search"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=lambda t: [int(x) for x in t.split(",")], default=[512, 1024, 2048, 3072])
    parser.add_argument("--midi", type=pathlib.Path, default=collection if collection.is_dir() else ROOT / "test/data/midi")
    parser.add_argument("--original-files", type=int, default=24, help="files that the original tokenises (default 24)")
    parser.add_argument("--rows", type=int, default=202400)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--csv", help="append to this file; in a folder, to the file of this machine")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.original_files < 1 or set(args.only) - {"encoder", "tokens", "search"}:
        parser.error("expected --rounds and --original-files of 1 or more and --only of encoder, tokens, search")
    if not (args.peers / "common.py").is_file():
        parser.error(f"--peers: {args.peers}: expected a folder with common.py")
    if args.rounds < 5:
        say(f"{args.rounds} rounds: too few for a figure to quote; 5 or more are")
    return args


def main(argv=None):
    args = parse(argv)
    peers, ours, n_void = Peers(args.python, args.peers.resolve()), Ours(args.build, args.model), 0
    print("work\tpeer\ttheirs best s\ttheirs median s\tours best s\tours median s\tratio best\tratio median", flush=True)
    try:
        for case in cases(args):
            mine, theirs, failed = measure(case, peers, ours, args.rounds)
            n_void += len(failed)
            made = list(table_rows(case, mine, theirs, failed))
            for engine, *figures in made:
                a, b, c, d = ("VOID" if f is None else f"{f:.4g}" for f in figures)
                print(f"{case.name}\t{engine}\t{a}\t{b}\t{min(mine):.4g}\t{statistics.median(mine):.4g}\t{c}\t{d}", flush=True)
            if args.csv:
                path = pathlib.Path(args.csv)
                path = path / results.machine_file(ours.about["machine"]).name if path.is_dir() else path
                results.append(path, csv_rows(case, ours.about, mine, made, args.rounds))
    finally:
        peers.close()
    if n_void:
        say(f"{n_void} rows are VOID: their peers did not run (above)")
    return 1 if n_void else 0


if __name__ == "__main__":
    sys.exit(main())
