#!/usr/bin/env python3
"""What a bare machine with a GPU and nvcc lacks to build and check midisim without a network: `make gpu-bundle`.

  scripts/gpu_bundle.py [--build build/release] [--model weights/midisim-small.safetensors]

Makes build/gpu-bundle, which test/gpu/gpu_check.py uses where it is: needs.tar.xz (headers and libraries of zlib, cJSON,
libcrypto and cmocka as they are on this machine; cuBLASLt's headers and the static CUDA runtime, used where nvcc's own
folder lacks them; make), the small model in bf16, and the commit. And build/midisim-gpu.tar, which holds that folder and
every file of this tree at its place: unpack it anywhere and run `make gpu-check`. Carried or unpacked, both together stay
under 64 MiB, or this fails. Standard library only; the machine must be of the same architecture, its libc as new.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "build/gpu-bundle"
NEEDS = BUNDLE / "needs"  # packed into needs.tar.xz
LIMIT = 64 << 20
HEADERS = ("zlib.h", "cjson/cJSON.h", "openssl/evp.h", "openssl/sha.h", "cmocka.h")
LIBRARIES = ("z", "cjson", "crypto", "cmocka")
CC = os.environ.get("CC", "cc").split()


def output(command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def fail(*words):
    sys.exit("gpu-bundle: " + " ".join(map(str, words)))


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(source.stat().st_mode & 0o777)


def headers_behind(name, flags=()):
    """Files that including a header opens."""
    text = f"#include <stddef.h>\n#include <stdarg.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <{name}>\n"
    made = output([*CC, *flags, "-M", "-E", "-x", "c", "-"], input=text)
    return [pathlib.Path(p) for p in re.split(r"[\s\\]+", made.partition(":")[2]) if p.startswith("/")]


def take_headers():
    for name in HEADERS:
        folder = name.partition("/")[0] if "/" in name else None
        wanted = [p for p in headers_behind(name)
                  if (folder and p.parent.name == folder) or (not folder and p.name in (name, "zconf.h"))]
        if not wanted:
            fail(f"no {name}: scripts/setup.sh test")
        for path in wanted:
            copy(path, NEEDS / "include" / (f"{folder}/{path.name}" if folder else path.name))


def take_libraries():
    """The shared library under its soname and a linker script that names it. An archive, where there is no other: its objects
    need not be fit for libmidisim.so (Debian's libz.a is not)."""
    for name in LIBRARIES:
        shared = pathlib.Path(output([*CC, f"-print-file-name=lib{name}.so"]).strip())
        if shared.is_absolute():
            soname = re.search(r"\(SONAME\).*\[(.+)\]", output(["readelf", "-d", str(shared)]))[1]
            copy(shared.resolve(), NEEDS / "lib" / soname)
            (NEEDS / f"lib/lib{name}.so").write_text(f"INPUT(-l:{soname})\n")
            continue
        archive = pathlib.Path(output([*CC, f"-print-file-name=lib{name}.a"]).strip())
        if not archive.is_absolute():
            fail(f"no lib{name}: scripts/setup.sh test")
        copy(archive, NEEDS / f"lib/lib{name}.a")


def take_cuda():
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if not nvcc:
        fail("no nvcc here: its headers and static runtime are not in the bundle")
    home = pathlib.Path(nvcc).resolve().parents[1]
    include = next((p for p in (home / "include", *home.glob("targets/*/include")) if (p / "cublasLt.h").exists()), None)
    runtime = next(iter([*home.glob("lib*/libcudart_static.a"), *home.glob("targets/*/lib/libcudart_static.a")]), None)
    if not include or not runtime:
        fail(f"{home}: expected cublasLt.h and libcudart_static.a")
    for path in headers_behind("cublasLt.h", [f"-I{include}"]):
        if path.resolve().is_relative_to(include.resolve()):
            copy(path, NEEDS / "cuda" / path.resolve().relative_to(include.resolve()))
    copy(runtime, NEEDS / "cuda/libcudart_static.a")


def take_model(build, model):
    if not model.is_file():
        fail(f"no {model}: weights/fetch.sh")
    out = BUNDLE / "weights/midisim-small.safetensors"
    out.parent.mkdir(parents=True)
    subprocess.run([build / "midisim-convert", "-q", "--dtype", "bf16", model, out], check=True)


def tree_files():
    names = output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT).split("\0")
    return sorted(ROOT / n for n in set(names) if n and (ROOT / n).is_file() and not (ROOT / n).is_symlink())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "weights/midisim-small.safetensors")
    args = parser.parse_args()
    build = (ROOT / args.build).resolve()
    shutil.rmtree(BUNDLE, ignore_errors=True)
    try:
        take_headers()
        take_libraries()
        take_cuda()
        take_model(build, args.model)
        copy(pathlib.Path(shutil.which("make")), NEEDS / "bin/make")
        with tarfile.open(BUNDLE / "needs.tar.xz", "w:xz") as tar:
            tar.add(NEEDS, "needs")
        shutil.rmtree(NEEDS)
        (BUNDLE / "COMMIT").write_text(output(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT))
    except subprocess.CalledProcessError as error:
        fail(f"{' '.join(map(str, error.cmd))[:200]}: exit code {error.returncode}")
    parts = {p.name: sum(f.stat().st_size for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file())
             for p in sorted(BUNDLE.iterdir())}
    files = tree_files()
    parts["the tree"] = sum(f.stat().st_size for f in files)
    total = sum(parts.values())
    for name, size in parts.items():
        print(f"{name:<12} {size / 2**20:7.2f} MiB")
    print(f"{'together':<12} {total / 2**20:7.2f} MiB of {LIMIT / 2**20:.0f}")
    if total > LIMIT:
        fail("larger than a tree may be")
    with tarfile.open(ROOT / "build/midisim-gpu.tar", "w") as tar:
        for path in [*files, *sorted(p for p in BUNDLE.rglob("*") if p.is_file())]:
            tar.add(path, "midisim/" + str(path.relative_to(ROOT)))
    print("build/gpu-bundle, build/midisim-gpu.tar")


if __name__ == "__main__":
    main()
