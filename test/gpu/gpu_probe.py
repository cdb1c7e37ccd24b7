#!/usr/bin/env python3
"""What a machine has for the GPU checks and what it lacks, in a few seconds and before anything is built.

  test/gpu/gpu_probe.py [--out DIR] [--json]

One line for each thing: 'has', 'lacks' (with what that costs), or 'LACKS' for what nothing works without; the exit code is 1
when there is such a line. --out DIR (default: $OUT, where it is set) also keeps the lines as probe.txt. Standard library only.
"""
import argparse
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import gpu_check  # noqa: E402

NEEDED_PROGRAMS = {"cc": "compiles", "ar": "makes archives", "ld": "links", "objcopy": "makes libmidisim.a"}
CUDA_PROGRAMS = {"compute-sanitizer": "the sanitizer checks are skipped", "ncu": "profiles have times alone",
                 "cuobjdump": "machine code is read by scripts/gpu_sass.py alone", "nsys": "not used where ncu is"}
MODULES = {"numpy": True, "pytest": True, "torch": False}


def version(command):
    try:
        done = subprocess.run([*command, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return next((line for line in lines if re.search(r"\d+\.\d+", line)), lines[0] if lines else "says nothing").strip()


def release_of_driver():
    """The CUDA release that the driver serves, (13, 0), or None."""
    try:
        driver, number = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
        return divmod(number.value // 10, 100) if driver.cuDriverGetVersion(ctypes.byref(number)) == 0 else None
    except (OSError, AttributeError):
        return None


def probe_card():
    why = gpu_check.why_no_gpu()
    if why:
        yield "LACKS", "card", why
        return
    release = release_of_driver()
    yield "has", "card", f"architecture {gpu_check.card_architecture()}; the driver serves CUDA " + \
        ("of an unknown release" if not release else "{}.{}".format(*release))


def probe_compiler():
    nvcc = gpu_check.tool_of_cuda("nvcc")
    if not nvcc:
        yield "LACKS", "nvcc", "nothing can be compiled for the card"
        return
    said = version([nvcc])
    yield "has", "nvcc", f"{nvcc}: {said}"
    found, release = re.search(r"release (\d+)\.(\d+)", said), release_of_driver()
    if found and release and int(found[1]) > release[0]:
        yield "LACKS", "driver", f"it serves CUDA {release[0]}.{release[1]}, nvcc is of {found[1]}.{found[2]}"
    home = pathlib.Path(nvcc).resolve().parents[1]
    for name, places in (("cublasLt.h", ("include", "targets/*/include")),
                         ("libcudart_static.a", ("lib*", "targets/*/lib"))):
        if any([*home.glob(f"{place}/{name}")] for place in places):
            yield "has", name, "beside nvcc"
        elif (gpu_check.BUNDLE / "needs.tar.xz").exists() or gpu_check.NEEDS.exists():
            yield "has", name, "in the bundle"
        else:
            yield "LACKS", name, f"neither in {home} nor in a bundle"


def probe_programs():
    for name, use in NEEDED_PROGRAMS.items():
        path = shutil.which(os.environ.get("CC", "cc").split()[0] if name == "cc" else name)
        yield ("has", name, version([path])) if path else ("LACKS", name, f"it {use}")
    make = shutil.which("make")
    bundled = (gpu_check.BUNDLE / "needs.tar.xz").exists() or (gpu_check.NEEDS / "bin/make").exists()
    yield ("has", "make", version([make])) if make else ("has", "make", "in the bundle") if bundled else \
        ("LACKS", "make", "and there is no bundle with one")
    if not shutil.which("git"):
        yield "lacks", "git", "the commit is the bundle's" if (gpu_check.BUNDLE / "COMMIT").exists() else "the commit is unknown"
    for name, cost in CUDA_PROGRAMS.items():
        path = gpu_check.tool_of_cuda(name)
        yield ("has", name, version([path])) if path else ("lacks", name, cost)


def probe_libraries():
    for name, needed in MODULES.items():
        if importlib.util.find_spec(name):
            yield "has", f"python's {name}", importlib.metadata.version(name)
        else:
            yield "LACKS" if needed else "lacks", f"python's {name}", "checks need it" if needed else "no comparison with PyTorch"
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).cublasLtGetVersion())"
    said = []
    for name in ("libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"):
        done = subprocess.run([sys.executable, "-c", code, name], env=gpu_check.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        said += [f"{name}, version {done.stdout.strip()}"] if done.returncode == 0 else []
    yield ("has", "cuBLASLt", "; ".join(said)) if said else ("lacks", "cuBLASLt", "our kernels compute all products")


def probe_rest():
    yield ("has" if gpu_check.BUNDLE.is_dir() else "lacks"), "bundle", str(gpu_check.BUNDLE)
    memory = next((int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable")), 0)
    yield "has", "machine", (f"{platform.machine()}, {os.cpu_count()} processors, {memory / 2**20:.0f} GiB of memory, "
                             f"{shutil.disk_usage('/tmp').free / 2**30:.0f} GiB in /tmp, kernel {platform.release()}, "
                             f"python {platform.python_version()}")


def probe():
    for part in (probe_card, probe_compiler, probe_programs, probe_libraries, probe_rest):
        try:
            yield from part()
        except Exception as error:  # a probe that breaks off says nothing about what follows
            yield "lacks", part.__name__, f"{type(error).__name__}: {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT"))
    parser.add_argument("--json", action="store_true", help="one JSON list instead of lines")
    args = parser.parse_args()
    found = []
    for state, name, detail in probe():
        found.append([state, name, detail])
        line = f"{state:<5} {name}: {detail}"
        if not args.json:
            print(line, flush=True)
        if args.out:
            pathlib.Path(args.out).mkdir(parents=True, exist_ok=True)
            with open(pathlib.Path(args.out) / "probe.txt", "a", encoding="utf-8") as file:
                print(line, file=file)
    if args.json:
        print(json.dumps(found))
    return 1 if any(state == "LACKS" for state, _, _ in found) else 0


if __name__ == "__main__":
    sys.exit(main())
