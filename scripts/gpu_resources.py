#!/usr/bin/env python3
"""What the CUDA compiler made of every kernel: one table, and checks of the objects. Standard library and binutils only.

  scripts/gpu_resources.py [--build build/release] [--any-architecture]

Reads what the build keeps beside each object of src/kernels: X.ptxas, the report of `nvcc -Xptxas -v` over all
architectures, and X.o, whose fat binary says what machine code it holds. Prints the table and then 'ok CHECK' or
'FAIL CHECK: what' lines; the exit code is 1 when something failed.

  reports       each .cu has a report, newer than its source
  hot           no hot kernel (HOT) spills or uses local memory on any architecture, and each name of HOT is a kernel's
  holds         each object holds machine code and PTX of every architecture of WANTED (not with --any-architecture,
                for a build for this machine's card alone)
  links         neither tools nor libraries name a CUDA library: it is opened at run time
"""
import argparse
import pathlib
import re
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WANTED = {"sm_80", "sm_86", "sm_89", "sm_90a", "compute_80", "compute_90"}
# Kernels in which a spill is a fault: names begin with one of these.
HOT = ("k_attend", "k_gemm", "k_scan", "k_prepare", "k_thresholds", "k_norm", "k_embed_norm", "k_join")
CUDA_LIBRARIES = re.compile(r"lib(cuda|cublas|nv|cuf|cusp|curand|cusolver)", re.I)


# ---- Reports of the compiler ----------------------------------------------------------------------------------------


def demangle(names):
    for program in ("cu++filt", "c++filt"):
        try:
            done = subprocess.run([program], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        shown = done.stdout.splitlines()
        if len(shown) == len(names):
            return dict(zip(names, shown))
    return {name: name for name in names}


def short(name):
    """Without result, namespaces and parameters: k_scan<2, true>."""
    name = re.sub(r"\((anonymous namespace|unnamed|int|bool|unsigned int|long|[A-Za-z_]\w*)\)", "", name)
    name = re.sub(r"^(static )?void ", "", name)
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            name = name[:i]
            break
    head, angle, rest = name.partition("<")
    return head.split("::")[-1] + angle + rest


def read_report(text):
    """[{mangled, arch, registers, spills, stack, shared}] of one report."""
    rows, entry, about = [], None, None
    for line in text.splitlines():
        found = re.search(r"Compiling entry function '(\S+)' for '(\w+)'", line)
        if found:
            entry = {"mangled": found[1], "arch": found[2], "registers": 0, "spills": 0, "stack": 0, "shared": 0}
            rows.append(entry)
            about = found[1]
            continue
        found = re.search(r"Function properties for (\S+)", line)
        if found:
            about = found[1].strip("'")
            continue
        if entry is None:
            continue
        found = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if found:  # of the kernel, or of a function that it calls
            entry["stack"] = max(entry["stack"], int(found[1]))
            entry["spills"] += int(found[2]) + int(found[3])
        found = re.search(r"Used (\d+) registers", line)
        if found and about:
            entry["registers"] = max(entry["registers"], int(found[1]))
            shared = re.search(r"(\d+) bytes smem", line)
            entry["shared"] = int(shared[1]) if shared else entry["shared"]
    return rows


def table(rows):
    head = ("file", "kernel", "architecture", "registers", "spilled B", "stack B", "static shared B")
    cells = [head] + [(r["file"], r["kernel"], r["arch"], *(str(r[k]) for k in ("registers", "spills", "stack", "shared")))
                      for r in rows]
    widths = [max(len(c[i]) for c in cells) for i in range(len(head))]
    for c in cells:
        yield "  ".join(t.ljust(w) if i < 3 else t.rjust(w) for i, (t, w) in enumerate(zip(c, widths))).rstrip()


# ---- Fat binaries ---------------------------------------------------------------------------------------------------

FAT_MAGIC = 0xBA55ED50
KIND_PTX, KIND_ELF = 1, 2
FLAG_SPECIFIC = 1 << 20  # sm_90a, compute_90a: seen by compiling for sm_90 and sm_90a with nvcc 13.0


def section(path, name):
    """Bytes of a section of an ELF64 object; b'' when it has none."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[4] != 2:
        raise OSError(f"{path}: expected an ELF64 object")
    at, size, n, names = struct.unpack_from("<Q10xHHH", data, 0x28)
    heads = [struct.unpack_from("<IIQQQQ", data, at + i * size) for i in range(n)]
    strings = heads[names][4]
    for head in heads:
        start = strings + head[0]
        if data[start:data.index(b"\0", start)] == name.encode():
            return data[head[4]:head[4] + head[5]]
    return b""


def architectures(fat):
    """{'sm_80', 'compute_90', ..} of a .nv_fatbin section: machine code is sm_, PTX is compute_."""
    found, at = set(), 0
    while at + 16 <= len(fat):
        magic, _version, head, size = struct.unpack_from("<IHHQ", fat, at)
        if magic != FAT_MAGIC:
            at += 8
            continue
        part, end = at + head, at + head + size
        while part + 64 <= end <= len(fat):
            kind, _, part_head, part_size = struct.unpack_from("<HHIQ", fat, part)
            arch, flags = struct.unpack_from("<I", fat, part + 28)[0], struct.unpack_from("<Q", fat, part + 40)[0]
            letter = "a" if flags & FLAG_SPECIFIC else ""
            found.add(f"{'sm' if kind == KIND_ELF else 'compute' if kind == KIND_PTX else 'kind%d' % kind}_{arch}{letter}")
            part += part_head + part_size
        at = end
    return found


# ---- Checks ---------------------------------------------------------------------------------------------------------


def sources():
    return sorted((ROOT / "src/kernels").rglob("*.cu"))


def beside(build, source, suffix):
    """What the build keeps beside the object of a source."""
    return build / source.relative_to(ROOT).with_suffix(suffix)


def shown(path):
    """A path as it is printed: from the root of the tree, if it is in the tree."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def check_reports(build, rows, any_architecture):
    for source in sources():
        report = beside(build, source, ".ptxas")
        if not report.exists():
            yield f"{shown(report)}: missing"
        elif report.stat().st_mtime < source.stat().st_mtime:
            yield f"{shown(report)}: older than its source"
        kernels = re.findall(r"__global__", re.sub(r"//.*|/\*.*?\*/", "", source.read_text(), flags=re.S))
        if kernels and not any(r["file"] == source.stem for r in rows):
            yield f"{source.name}: has kernels, its report has none"


def check_hot(build, rows, any_architecture):
    for r in rows:
        if r["kernel"].startswith(HOT) and (r["spills"] or r["stack"]):
            yield (f"{r['kernel']} on {r['arch']}: {r['registers']} registers, {r['spills']} bytes spilled, "
                   f"{r['stack']} bytes of local memory: expected none")
    for name in HOT:
        if not any(r["kernel"].startswith(name) for r in rows):
            yield f"no kernel's name begins with {name}"


def check_holds(build, rows, any_architecture):
    for source in sources():
        path = beside(build, source, ".o")
        if not path.exists():
            yield f"{shown(path)}: not built"
            continue
        holds = architectures(section(path, ".nv_fatbin"))
        wanted = set() if any_architecture else WANTED
        if not any(r["file"] == source.stem for r in rows):
            continue  # no kernels, no machine code
        if not wanted <= holds or not holds:
            yield f"{path.name}: lacks {', '.join(sorted(wanted - holds)) or 'machine code'}; has {', '.join(sorted(holds))}"


def check_links(build, rows, any_architecture):
    programs = [p for p in [*build.glob("midisim-*"), *build.glob("libmidisim.so.*")] if p.suffix != ".o"]
    if not programs:
        yield f"{shown(build)}: nothing is built"
    for path in sorted(programs):
        out = subprocess.run(["readelf", "-d", str(path)], check=True, stdout=subprocess.PIPE, text=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", out)
        for name in needed:
            if CUDA_LIBRARIES.match(name):
                yield f"{path.name} names {name}"
        if not needed:
            yield f"{path.name} names no library at all"


CHECKS = (check_reports, check_hot, check_holds, check_links)


def load(build):
    rows = []
    for source in sources():
        report = beside(build, source, ".ptxas")
        if report.exists():
            rows += [dict(r, file=source.stem) for r in read_report(report.read_text())]
    names = demangle(sorted({r["mangled"] for r in rows}))
    for r in rows:
        r["kernel"] = short(names[r["mangled"]])
    return sorted(rows, key=lambda r: (r["file"], r["kernel"], r["arch"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--any-architecture", action="store_true")
    args = parser.parse_args()
    build = (ROOT / args.build).resolve()
    rows, bad = load(build), 0
    for line in table(rows):
        print(line)
    for check in CHECKS:
        name = check.__name__[len("check_"):]
        try:
            found = list(check(build, rows, args.any_architecture))
        except (OSError, subprocess.CalledProcessError, struct.error) as error:
            found = [str(error)]
        for line in found:
            print(f"FAIL {name}: {line}")
        if not found:
            print(f"ok {name}")
        bad += len(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
