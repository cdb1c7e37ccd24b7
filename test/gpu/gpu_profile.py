#!/usr/bin/env python3
"""Where the time of three kernels goes: attention, the products and the bf16 scan, each once, by Nsight Compute.

  test/gpu/gpu_profile.py [--build build/gpu] [--out DIR] [--limit SECONDS] [--emulated]

Runs bench/gpu_bench with our kernels under `ncu` and keeps the sections SpeedOfLight, Occupancy, MemoryWorkloadAnalysis and
WarpStateStats of one launch of each as profile.txt in DIR (default: $OUT, where it is set). Where ncu is missing or may not
read the counters, the file says so and has what needs no tool: registers and shared memory of each kernel from the
compiler's report. The exit code is 1 only when there is nothing at all. Standard library only.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(ROOT / "scripts")]
import gpu_check  # noqa: E402
import gpu_resources  # noqa: E402

SECTIONS = ("SpeedOfLight", "Occupancy", "MemoryWorkloadAnalysis", "WarpStateStats")
# Kernel, part of gpu_bench that runs it, sizes of a card: the products with GELU and with the residual stream on the tiles that
# they take, attention, and the scan of bf16 codes for 12 queries.
GEMM = ("--product", "own", "--square", "512", "--tokens", "49152", "--case")
KERNELS = (("k_gemm_bf16", "gemm", (*GEMM, "ff1 49152x2048x512 own tile 1")),
           ("k_attend_bf16", "attention", ("--lengths", "2048", "--tokens", "49152")),
           ("k_scan_codes", "scan", ("--corpus", "1000000", "--case", "bf16 1000000x512 q12")),
           ("k_gemm_bf16", "gemm", (*GEMM, "ff2 49152x512x2048 own tile 0")))
SKIPPED, KEPT = 2, 2  # launches: those that warm up, those that are kept


def profile(ncu, args, kernel, part, sizes, limit):
    tiny = ("--tiny", "--case", "64" if part == "attention" else "none")
    bench = [args.build / "bench/gpu_bench", "--rounds", "1", *(tiny if args.emulated else sizes), part]
    command = [ncu, "--clock-control", "none", "--kernel-name", f"regex:{kernel}", "--launch-skip", SKIPPED, "--launch-count", KEPT,
               *[word for name in SECTIONS for word in ("--section", name)], *bench]
    try:
        done = subprocess.run([str(c) for c in command], cwd=ROOT, env=gpu_check.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=max(limit, 1))
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"{kernel}: {error}"
    text = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("{"))  # gpu_bench's cases mean nothing here
    return done.returncode == 0 and kernel in text, f"{kernel}: {' '.join(map(str, command))}\n{text}"


def without_tool(build):
    """What the compiler says of the same kernels."""
    rows = [r for r in gpu_resources.load(build) if r["kernel"].startswith(tuple(k[0] for k in KERNELS))]
    return "\n".join(gpu_resources.table(rows)) if rows else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/gpu")
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT"))
    parser.add_argument("--limit", type=float, default=240)
    parser.add_argument("--emulated", action="store_true", help="tiny sizes")
    args = parser.parse_args()
    args.build = (ROOT / args.build).resolve()
    out, ends, any_good = (pathlib.Path(args.out) if args.out else None), time.monotonic() + args.limit, False
    if out:
        out.mkdir(parents=True, exist_ok=True)

    def keep(text):
        print(text, flush=True)
        if out:
            with open(out / "profile.txt", "a", encoding="utf-8") as file:
                print(text, file=file)

    table = without_tool(args.build)
    keep(table or "no report of the compiler in this build")
    ncu = os.environ.get("GPU_PROFILE_NCU") or gpu_check.tool_of_cuda("ncu")
    if not ncu:
        keep("ncu is not installed: no counters")
    for kernel, part, sizes in KERNELS if ncu else ():
        is_good, text = profile(ncu, args, kernel, part, sizes, (ends - time.monotonic()) / 2 + 10)
        any_good |= is_good
        keep(("" if is_good else "no counters of ") + text[:200000])
        if "ERR_NVGPUCTRPERM" in text or "LibraryNotLoaded" in text:
            break  # the others would wait for the same answer
    return 0 if any_good or table else 1


if __name__ == "__main__":
    sys.exit(main())
