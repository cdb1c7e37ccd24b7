#!/usr/bin/env python3
"""The minutes of a borrowed card, in two calls of under ten minutes each: docs/GPU.md, section 7, the minute plan.

  test/gpu/gpu_day.py first [--out DIR] [--limit SECONDS] [--emulated]     does it work, and how fast is it
  test/gpu/gpu_day.py second [--out DIR] [--limit SECONDS] [--emulated]    why is it as fast as it is, and what breaks it

first   probe, build, kernels against the CPU, goldens, batch invariance, search bits, then gpu-bench
second  probe, build where there is none, profiles of three kernels, sanitizer on small cases, memory limits, two contexts

Every step has a share of the limit (default 540 s) and writes its results into DIR (default: $OUT, else build/gpu-day) as
soon as it has them; a step that fails is said, and the next one begins. Nothing needs make, git or a network, where
`make gpu-bundle` has been carried along. The last line counts steps; exit code 0 when none failed. --emulated is for
`make gpu-rehearsal`: the same steps at small sizes.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "test/gpu"
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
import gpu_check  # noqa: E402


LIMIT = 540  # seconds of a call, which lasts ten minutes at most


class Step:
    """What runs, for how many seconds of LIMIT at most, and how many must be left over for the steps behind it."""

    def __init__(self, name, command, seconds, reserve=0):
        self.name, self.command, self.seconds, self.reserve = name, command, seconds, reserve


def python(script, *arguments):
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def steps(args):
    small = ["--emulated"] if args.emulated else []
    # What the emulator takes minutes for is tested elsewhere in full (test/run --only emu).
    programs = ["--programs", "test_gpu_topk,test_norms"] if args.emulated else []
    model = ["--model", args.model] if args.model else []
    probe, build = Step("probe", python("test/gpu/gpu_probe.py"), 30), Step("build", [], 240)
    if args.call == "first":
        checks = "card,kernels,goldens,batches,search,output"
        return [probe, build,
                Step("check", python("test/gpu/gpu_check.py", "--only", checks, *programs, *model, *small), 240, reserve=150),
                Step("bench", python("bench/gpu_bench.py", "--no-csv", *model, *small), 400)]
    # check.json holds one run, so what belongs into it is one run.
    return [probe, build, Step("profile", python("test/gpu/gpu_profile.py", *small), 150, reserve=240),
            Step("check", python("test/gpu/gpu_check.py", "--only", "sanitizer,memory,contexts,processes", *model, *small), 400)]


class Day:
    def __init__(self, args):
        self.args, self.ends, self.results = args, time.monotonic() + args.limit, []
        self.out = args.out
        self.out.mkdir(parents=True, exist_ok=True)

    def say(self, *words):
        line = f"[{self.args.limit - (self.ends - time.monotonic()):4.0f} s] " + " ".join(map(str, words))
        print(line, flush=True)
        with open(self.out / "day.txt", "a", encoding="utf-8") as file:
            print(line, file=file)

    def build(self, limit):
        """Where the programs are there already, in a second call on the same machine, nothing is built."""
        build = ROOT / "build/gpu"
        if (build / "test/gpu/driver").exists() and (build / "bench/gpu_bench").exists():
            return 0, "is there"
        gpu_check.unpack_needs()
        return self.run([*gpu_check.make_command(build), "--silent"], limit, show=40), f"in {build}"

    def run(self, command, limit, show=60):
        """Output goes to the terminal's end and into day.txt; the exit code, or 124."""
        env = dict(os.environ, OUT=str(self.out))
        for name in ("MAKEFLAGS", "MAKELEVEL"):
            env.pop(name, None)
        try:
            done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", timeout=max(limit, 1))
            code, text = done.returncode, done.stdout
        except subprocess.TimeoutExpired as stopped:
            code, text = 124, (stopped.stdout or b"").decode("utf-8", "replace") + f"\nstopped after {limit:.0f} s"
        for line in text.splitlines()[-show:]:
            self.say(" ", line if len(line) <= 600 else line[:600] + " ..")
        return code

    def take(self, step):
        left, scale = self.ends - time.monotonic(), self.args.limit / LIMIT
        seconds, reserve = step.seconds * scale, step.reserve * scale
        limit = min(seconds, left - reserve) if left - reserve > 30 else min(seconds, left)
        if limit < 5:
            return None, "no time is left"
        if step.name == "build":
            return self.build(limit)
        more = [] if step.name == "probe" else ["--limit", f"{limit - 4:.0f}"]
        return self.run([*step.command, *more], limit), f"within {limit:.0f} s"

    def all(self):
        for step in steps(self.args):
            began = time.monotonic()
            code, detail = self.take(step)
            result = "left out" if code is None else "ok" if code == 0 else f"FAIL (exit code {code})"
            self.results.append((step.name, result))
            self.say(f"{result}: {step.name}: {time.monotonic() - began:.0f} s, {detail}")
            if step.name == "build" and result != "ok":
                self.say("nothing can run without a build")
                break
        return self.results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=("first", "second"))
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT") or ROOT / "build/gpu-day")
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--model", help="weights (default: weights/, then the bundle's)")
    parser.add_argument("--emulated", action="store_true", help="small sizes, on a machine whose card is the emulator")
    args = parser.parse_args()
    args.out = pathlib.Path(args.out).resolve()
    results = Day(args).all()
    failed = sum(result != "ok" for _, result in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
