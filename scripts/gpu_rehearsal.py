#!/usr/bin/env python3
"""A rehearsal of the day on which a card is at hand: `make gpu-rehearsal`.

  scripts/gpu_rehearsal.py [--build build/release] [--keep DIR]

Unpacks the bundle of scripts/gpu_bundle.py into an empty folder and runs both calls of test/gpu/gpu_day.py there, the very
scripts of a card's machine, with the emulator of test/emu in the card's place: a library that answers for the driver, a
compiler that answers for nvcc (and compiles the kernels as C++), tools that answer for compute-sanitizer and ncu. PATH holds
neither make nor git, and there is no network where this may take it away. The sizes are small; nothing else differs.

Then looks at what came back: every file of the plan is there, in the numbers and sizes that such a machine may return, no
check failed, every part of the bench has cases. The last line counts; exit code 0 when nothing failed. --keep DIR runs in
DIR and leaves it. Needs what the build needs, g++, and python3 with numpy and pytest.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# A model whose widths the card serves, in the weights' place: small, and here without a network. The check goldens is skipped
# with it; test/product/test_gpu_check.py has it on the emulator with the weights.
STAND_IN = "test/data/checkpoints/wide.pth"
# All that PATH offers there, beside the compilers: what make's recipes and the compiler's driver call.
PROGRAMS = ("sh", "ar", "as", "ld", "objcopy", "readelf", "nm", "strip", "mkdir", "cmp", "mv", "rm", "cp", "cat", "sed", "grep",
            "dirname", "basename", "realpath", "nproc", "uname", "true", "test", "[", "touch", "ln", "ls", "head", "tr", "sort",
            "env", "install")
FILES = {"first": {"probe.txt", "day.txt", "check.json", "bench.jsonl", "bench.md"},
         "second": {"probe.txt", "day.txt", "check.json", "profile.txt"}}
MOST_FILES, MOST_BYTES = 8, 16 << 20  # that a lent machine returns of a call; docs/GPU.md, section 7

DRIVER = """\
int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int *value, int what, int device) { *value = what == 75 ? 9 : 0; return device; }
"""

# nvcc's options that mean something to g++ are passed on, the others and their values are not.
NVCC = r"""#!%(python)s
import subprocess, sys
if "--version" in sys.argv:
    print("Cuda compilation tools, release 13.0, V13.0.0 (rehearsal)")
    sys.exit(0)
words, out = iter(sys.argv[1:]), []
for word in words:
    if word in ("-gencode", "-Xptxas", "-cudart", "-Werror"):
        next(words)
    elif word == "-Xcompiler":
        out += next(words).split(",")
    elif not word.startswith(("--fmad", "-arch", "-gencode", "-lineinfo")):
        out.append("-O2" if word == "-O3" else word)
source = next(i for i, word in enumerate(out) if word.endswith(".cu"))
flags = "-fno-lto -fno-strict-aliasing -fno-math-errno -Wno-unknown-pragmas -Itest/emu -Itools".split()
sys.exit(subprocess.run(["g++", *flags, *out[:source], "-x", "c++", *out[source:]]).returncode)
"""

# The emulator is C++, and the make that runs here does not know.
CC = """#!/bin/sh
for word; do case $word in -c|-E|-S|-M|-r|--version|-print*|-dump*) exec %(gcc)s "$@";; esac; done
exec %(gcc)s "$@" -lstdc++
"""

SANITIZER = """#!/bin/sh
case $1 in --version) echo 'compute-sanitizer 0.0 (rehearsal)'; exit 0;; esac
while [ "$1" ] && [ ! -x "$1" ]; do shift; done
exec "$@"
"""

NCU = """#!/bin/sh
case $1 in --version) echo 'ncu 0.0 (rehearsal)'; exit 0;; esac
while [ "$1" ] && [ ! -x "$1" ]; do case $1 in regex:*) echo "  ${1#regex:} (rehearsal)";; esac; shift; done
exec "$@"
"""


def say(*words):
    print("gpu-rehearsal:", *words, flush=True)


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


@contextlib.contextmanager
def bundle_aside():
    """A bundle that is there, with the true model, is put aside and comes back: no card may get the stand-in."""
    places = [ROOT / "build/gpu-bundle", ROOT / "build/midisim-gpu.tar"]
    aside = [p.with_name(p.name + ".aside") for p in places]
    for place, kept in zip(places, aside):
        if place.exists() and not kept.exists():
            place.rename(kept)
    try:
        yield
    finally:
        for place, kept in zip(places, aside):
            if place.is_dir():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
            if kept.exists():
                kept.rename(place)


class Machine:
    """The machine that is made up: folders `cuda`, `bin`, `driver` and the unpacked tree in one place."""

    def __init__(self, place):
        self.place, self.tree = place, place / "midisim"
        for name in ("cuda/bin", "cuda/lib64", "bin", "driver", "home", "tmp"):
            (place / name).mkdir(parents=True)

    def unpack(self):
        with tarfile.open(ROOT / "build/midisim-gpu.tar") as tar:
            tar.extractall(self.place, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))

    def make_programs(self):
        gcc, gxx = (os.path.realpath(shutil.which(name)) for name in ("gcc", "g++"))
        for name in PROGRAMS:
            path = shutil.which(name)
            if path:
                (self.place / "bin" / name).symlink_to(path)
        (self.place / "bin/g++").symlink_to(gxx)
        for name in ("cc", "gcc"):
            write_program(self.place / "bin" / name, CC % {"gcc": gcc})
        write_program(self.place / "cuda/bin/nvcc", NVCC % {"python": sys.executable})
        write_program(self.place / "cuda/bin/compute-sanitizer", SANITIZER)
        write_program(self.place / "cuda/bin/ncu", NCU)

    def make_driver(self):
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", self.place / "driver/libcuda.so.1"], input=DRIVER.encode(),
                       check=True)

    def make_runtime(self):
        """The emulator as the static CUDA runtime."""
        objects = []
        for source in sorted((self.tree / "test/emu").glob("emu_*.cpp")):
            objects.append(self.place / f"tmp/{source.stem}.o")
            subprocess.run(["g++", "-std=c++17", "-O2", "-fPIC", "-fno-lto", "-fno-exceptions", "-fno-strict-aliasing",
                            "-ffp-contract=off", "-fno-math-errno", "-Itest/emu", "-Iinclude", "-Isrc", "-DMSIM_BUILD", "-c", source,
                            "-o", objects[-1]], cwd=self.tree, check=True)
        subprocess.run(["ar", "rcs", self.place / "cuda/lib64/libcudart_static.a", *objects], check=True)

    def environment(self, out):
        bin_folders = f"{self.place}/cuda/bin:{self.place}/bin"
        return {"PATH": bin_folders, "HOME": f"{self.place}/home", "TMPDIR": f"{self.place}/tmp", "LC_ALL": "C.UTF-8",
                "LD_LIBRARY_PATH": f"{self.place}/driver", "OUT": str(out), "EMU_MEMORY": "640M", "CFLAGS": "-O1",
                "GPU_CHECK_SANITIZER": f"{self.place}/cuda/bin/compute-sanitizer", "http_proxy": "http://127.0.0.1:9",
                "https_proxy": "http://127.0.0.1:9"}

    def offline(self):
        """A command's beginning that takes the network away, where one may."""
        command = [shutil.which("unshare") or "unshare", "--net"]
        try:
            if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0:
                return command
        except OSError:
            pass
        say("this machine does not let a program go without the network: only proxies are closed")
        return []

    def run(self, call, limit):
        out = self.place / f"out-{call}"
        command = [*self.offline(), sys.executable, "test/gpu/gpu_day.py", call, "--emulated", "--limit", str(limit)]
        done = subprocess.run(command, cwd=self.tree, env=self.environment(out))
        return done.returncode, out


# ---- What must have come back ---------------------------------------------------------------------------------------


def complaints(call, code, out):
    if code:
        yield f"{call}: exit code {code}"
    there = {p.name: p.stat().st_size for p in out.iterdir()} if out.is_dir() else {}
    for name in sorted(FILES[call] - set(there)):
        yield f"{call}: {name} is missing"
    if len(there) > MOST_FILES or max(there.values(), default=0) > MOST_BYTES:
        yield f"{call}: {len(there)} files, the largest of {max(there.values(), default=0)} bytes: more than comes back"
    if "check.json" in there:
        checks = json.loads((out / "check.json").read_text())["checks"]
        yield from (f"{call}: {c['check']}: {c['result']}: {c['detail']}" for c in checks if c["result"] in ("FAIL", "left out"))
    if "bench.jsonl" in there:
        yield from bench_complaints([json.loads(line) for line in (out / "bench.jsonl").read_text().splitlines()])
    if "profile.txt" in there and (out / "profile.txt").read_text().count("(rehearsal)") < 3:
        yield f"{call}: profile.txt lacks a kernel"


def bench_complaints(cases):
    sections = {c.get("section", "files") for c in cases}
    for wanted in ("card", "bandwidth", "gemm", "attention", "encoder", "scan", "search", "prepare", "rows"):
        if wanted not in sections:
            yield f"first: the bench has no case of {wanted}"
    for c in cases:
        name = f"{c.get('section', 'files')} {c['case']}"
        if c.get("refused") and not c["case"].endswith("library"):
            yield f"first: {name}: refused: {c['refused']}"
        # The part files measures by the host's clock, and gpu_bench.py drops it; what is called host is the CPU's own.
        if c.get("seconds") and "section" in c and not c["case"].startswith("host "):
            yield f"first: {name}: a time, of an emulator"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--keep", type=pathlib.Path, help="run in this folder, which must not exist, and leave it")
    parser.add_argument("--limit", type=int, default=2400, help="seconds of each call, where a card has 540")
    args = parser.parse_args()
    place = args.keep.resolve() if args.keep else pathlib.Path(tempfile.mkdtemp(prefix="midisim-rehearsal-"))
    place.mkdir(parents=True, exist_ok=not args.keep)
    bad, n = [], 0
    try:
        began = time.monotonic()
        machine = Machine(place)
        with bundle_aside():
            subprocess.run([sys.executable, ROOT / "scripts/gpu_bundle.py", "--build", args.build, "--model", ROOT / STAND_IN],
                           check=True)
            machine.unpack()
        machine.make_programs()
        machine.make_driver()
        machine.make_runtime()
        say(f"the machine is made up: {time.monotonic() - began:.0f} s")
        for call in ("first", "second"):
            began = time.monotonic()
            found = list(complaints(call, *machine.run(call, args.limit)))
            for line in found:
                say(line)
            bad += found
            n += 1
            say(f"{call} call: {time.monotonic() - began:.0f} s, {len(found)} complaints")
    finally:
        if not args.keep:
            shutil.rmtree(place, ignore_errors=True)
    print(f"{n if not bad else 0} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
