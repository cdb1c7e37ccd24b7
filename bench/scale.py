#!/usr/bin/env python3
"""Cost against rows, files and ranks on this machine: the tables of docs/SCALE.md, section 3, in its Markdown.

  bench/scale.py --folder DIR [--rows 1000000] [--files 120] [--links 200000] [--ranks 1,2,4] [--only search,asking,embed,memory]

Needs `make` and `make MPI=1`, Open MPI, NumPy, the small model (weights/fetch.sh) and about 3 KB of DIR a row. Every rank has one
thread; the single process, in column 'one', as many as there are processors. Best of --rounds, the settings in turns. Run it
with nothing else on the machine.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test" / "cli"))
import mpi_util  # noqa: E402  (how to run ranks here)
from cli_util import write_model  # noqa: E402

PASS = 60  # vectors of a pass


def call(ranks, tool, *arguments, limit=3600):
    """Run a tool on ranks of one thread, 0: as a single process on all processors. (seconds, what it said)"""
    if ranks:
        command, env = mpi_util.command(ranks, tool, *arguments), mpi_util.MPI_ENV
    else:
        command = [str(ROOT / "build" / "release" / f"midisim-{tool}"), *map(str, arguments)]
        env = {k: v for k, v in os.environ.items() if k != "MIDISIM_THREADS"}
    began = time.monotonic()
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True, timeout=limit)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return time.monotonic() - began, done.stderr


def searched(said):
    return float(re.search(r"searched in ([\d.]+) s", said)[1])


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def head(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def names(ranks):
    return ["one"] + [f"{n} rank{'s' * (n > 1)}" for n in ranks]


def make_rows(path, n):
    subprocess.run([sys.executable, str(ROOT / "bench" / "make_rows.py"), str(path), "--rows", str(n)], check=True)


def passes(args, corpus, queries, ranks, *more):
    """Milliseconds a pass of 60 vectors, best of the rounds, for one process and each number of ranks."""
    best = {}
    for _ in range(args.rounds):
        for n in (0, *ranks):
            seconds = searched(call(n, "search", "-c", corpus, "--query-vectors", queries, *more)[1])
            best[n] = min(best.get(n, 1e9), seconds)
    return [f"{1000 * best[n] / args.passes:.1f}" for n in (0, *ranks)]


def search(args, folder):
    import numpy as np
    queries = folder / "queries.npy"
    np.save(queries, np.random.default_rng(2).standard_normal((PASS * args.passes, 512)).astype("<f4"))
    print(f"\nMilliseconds a pass of {PASS} vectors, K 16, {args.passes} passes:\n")
    head("rows x 512", "scan", *names(args.ranks))
    for n in (args.rows // 8, args.rows // 4, args.rows // 2, args.rows):
        corpus = folder / f"rows-{n}.npy"
        make_rows(corpus, n)
        call(0, "search", "-c", corpus, "--prepare")
        for scan in ("f32", "int8"):
            row(f"{n:,}", scan, *passes(args, corpus, queries, args.ranks, "--scan", scan))
        corpus.unlink()
        pathlib.Path(f"{corpus}.msim").unlink(missing_ok=True)


def asking(args, folder):
    """So few rows that a pass is little but asking and answering."""
    import numpy as np
    corpus, queries = folder / "few.npy", folder / "queries-few.npy"
    make_rows(corpus, 4096)
    np.save(queries, np.random.default_rng(2).standard_normal((PASS * args.passes, 512)).astype("<f4"))
    print(f"\nMilliseconds a pass of {PASS} vectors over 4,096 rows:\n")
    head("K", *names(args.ranks))
    for k in (16, 1000):
        row(k, *passes(args, corpus, queries, args.ranks, "-k", k, "--scan", "f32"))


def embed(args, folder):
    found = sorted(p for p in (ROOT / "test" / "data" / "midi").rglob("*") if p.suffix in (".mid", ".kar"))[:args.files]
    listed = folder / "list"
    listed.write_text("".join(f"{p}\n" for p in found))
    best = {}
    for _ in range(args.rounds):
        for n in (0, *args.ranks):
            out = folder / f"e{n}.npy"
            for path in folder.glob(out.name + "*"):
                path.unlink()
            said = call(n, "embed", "-o", out, "--files-from", listed)[1]
            best[n] = max(best.get(n, 0), float(re.search(r"([\d.]+) files/s", said)[1]))
    same = all((folder / f"e{n}.npy").read_bytes() == (folder / "e0.npy").read_bytes() for n in args.ranks)
    print(f"\nFiles/s, {len(found)} real files, the small model; corpora {'identical' if same else 'DIFFERENT'}:\n")
    head(*names(args.ranks))
    row(*(f"{best[n]:.1f}" for n in (0, *args.ranks)))


def peak_of_ranks(ranks, *arguments):
    """Most bytes that each rank had, of anonymous and mapped memory together, and the seconds that it took."""
    process = subprocess.Popen(mpi_util.command(ranks, *arguments), env=mpi_util.MPI_ENV, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peaks, began = [0] * ranks, time.monotonic()
    while process.poll() is None:
        for n, pid in enumerate(mpi_util.ranks_of(process.pid)):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                peaks[n] = max(peaks[n], int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024)
            except (OSError, TypeError):
                pass
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"embed {' '.join(map(str, arguments))}: exit code {process.returncode}")
    return peaks, time.monotonic() - began


def memory(args, folder):
    """Links to few files: a list as long as one likes, and little to embed."""
    model, found = write_model(folder / "tiny.safetensors"), sorted((ROOT / "test" / "data" / "midi").rglob("*.mid"))[:20]
    ranks = max(args.ranks)
    print(f"\n{ranks} ranks, links to 20 files, a made model of width 32:\n")
    head("links", "s", "rank 0, MB", "rank 1, MB", "rank 0, bytes a link", "rank 1, bytes a link")
    empty = None
    for n in (1000, args.links // 2, args.links):
        links = folder / f"links-{n}"
        links.mkdir()
        for i in range(n):
            at = links / f"{i // 1000:04d}"
            at.mkdir(exist_ok=True) if i % 1000 == 0 else None
            (at / f"a-name-of-some-length-{i:07d}.mid").symlink_to(found[i % len(found)])
        peaks, seconds = peak_of_ranks(ranks, "embed", "-m", model, "-o", folder / f"links-{n}.npy", links)
        empty = empty or peaks
        each = ["", ""] if n == 1000 else [round((peaks[i] - empty[i]) / (n - 1000)) for i in (0, 1)]
        row(f"{n:,}", f"{seconds:.1f}", *(f"{peaks[i] / 1e6:.0f}" for i in (0, 1)), *each)
        shutil.rmtree(links)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--links", type=int, default=200000)
    parser.add_argument("--ranks", default="1,2,4", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--only", default="search,asking,embed,memory")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="midisim-scale-", dir=args.folder))
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    try:
        for part in args.only.split(","):
            {"search": search, "asking": asking, "embed": embed, "memory": memory}[part](args, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
