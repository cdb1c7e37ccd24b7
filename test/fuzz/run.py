#!/usr/bin/env python3
"""Runs the fuzz targets of test/fuzz under libFuzzer, or the inputs that are kept of them.

  run.py [--build build/fuzz] [--seconds N] [--only NAME,...] [--corpus FOLDER] [--replay] [--list]

Each target gets N seconds, the same number for each; two run at a time. Inputs that reach new code are kept in FOLDER
(build/fuzz-corpus) and are the seeds of the next run, beside the committed ones. An input that fails is written to
build/fuzz-failures; mended, it becomes test/fuzz/data/NAME/found-WHAT. With --replay the programs replay_NAME of a build run all
committed inputs once: this needs no clang. One line per target; the last line is 'N passed, N failed'. Exits with 1 when
something failed.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "test/fuzz"
FAILURES = ROOT / "build/fuzz-failures"
KB = 1 << 10

# Target: the longest input, the dictionary, and data of other tests that are seeds too.
TARGETS = {
    "midi": (4 * KB, "midi", ["test/data/midi"]),
    "gzip": (4 * KB, "midi", []),
    "npy": (8 * KB, "npy", ["test/data/npy"]),
    "corpus": (8 * KB, "npy", ["test/data/npy"]),
    "search": (4 * KB, "npy", ["test/data/npy"]),
    "convert": (4 * KB, "npy", ["test/data/npy"]),
    "checkpoint": (8 * KB, "checkpoint", ["test/data/checkpoints/fixture-zip.pth", "test/data/checkpoints/fixture-legacy.pth"]),
    "model": (32 * KB, "checkpoint", []),
    "names": (4 * KB, None, []),
    "codes": (8 * KB, None, []),
    "whiten": (4 * KB, "description", []),
    "journal": (8 * KB, "description", []),
    "description": (8 * KB, "description", []),
    "lines": (8 * KB, "lines", []),
    "paths": (1 * KB, "paths", []),
    "text": (1 * KB, "lines", []),
    "notes": (8 * KB, None, []),
    "pairs": (4 * KB, None, []),
}
OPTIONS = ["-timeout=20", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-print_final_stats=1", "-close_fd_mask=0"]


def environment(folder):
    # Memory that is refused is an ordinary error for the library, and a failure for the targets.
    return dict(os.environ, FUZZ_FOLDER=str(folder), ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=1",
                UBSAN_OPTIONS="print_stacktrace=1")


def seeds(name):
    places = [HERE / "data" / name, *(ROOT / path for path in TARGETS[name][2])]
    return [str(path) for path in places if path.exists()]


def replay(build, name, folder):
    """(passed, what to print)"""
    done = subprocess.run([build / f"test/fuzz/replay_{name}", *seeds(name)], env=environment(folder), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = done.stdout.decode("utf-8", "replace").splitlines() or [""]
    n = re.fullmatch(r"replay: (\d+) inputs", out[-1])
    if done.returncode == 0 and n and int(n[1]) > 0:
        return True, f"{int(n[1]):,} kept inputs"
    return False, "\n".join(["a kept input fails:", *out[-40:]])


def fuzz(build, name, folder, corpus, seconds):
    length, words, _ = TARGETS[name]
    kept = corpus / name
    kept.mkdir(parents=True, exist_ok=True)
    FAILURES.mkdir(parents=True, exist_ok=True)
    files = [path for path in seeds(name) if os.path.isfile(path)]
    command = [build / f"test/fuzz/fuzz_{name}", *OPTIONS, f"-max_len={length}", f"-max_total_time={seconds}",
               f"-artifact_prefix={FAILURES}/{name}-", *([f"-dict={HERE / 'dict' / words}"] if words else []),
               *([f"-seed_inputs={','.join(files)}"] if files else []),
               kept, *(path for path in seeds(name) if os.path.isdir(path))]
    done = subprocess.run(command, env=environment(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    out = done.stdout.decode("utf-8", "replace")
    n = re.search(r"stat::number_of_executed_units:\s+(\d+)", out)
    covered = re.findall(r"cov: (\d+)", out)
    if done.returncode == 0 and n:
        return True, f"{int(n[1]):,} inputs, {int(covered[-1]) if covered else 0:,} edges reached"
    return False, "\n".join([f"failed; inputs are in {FAILURES.relative_to(ROOT)}:", *out.splitlines()[-60:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--corpus", type=pathlib.Path, default=ROOT / "build/fuzz-corpus")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print("\n".join(TARGETS))
        return 0
    unknown = [name for name in args.only if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]}: {' '.join(TARGETS)}")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

    def run(name):
        build, folder = args.build.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="midisim-fuzz-", dir=memory))
        try:
            return (replay(build, name, folder) if args.replay else
                    fuzz(build, name, folder, args.corpus.resolve(), args.seconds))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as two:  # two targets at a time
        for name, (good, text) in zip(args.only, two.map(run, args.only)):
            print(f"fuzz {name}: {text}", flush=True)
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
