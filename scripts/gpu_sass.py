#!/usr/bin/env python3
"""What the machine code of every kernel does with memory and tensor cores: one table, and rules for the hot kernels.

  scripts/gpu_sass.py [--build build/release] [--json]

Reads the instructions themselves out of the objects of src/kernels, for each architecture that they hold machine code of, with
the standard library alone: 16 bytes each, of which bits 0 to 11 say the operation and bits 73 to 75 how wide a load or store
is (as nvdisasm shows them for sm_80 to sm_90a). Prints the counts, then 'ok CHECK' or 'FAIL CHECK: what' lines; exit code 1
when something failed.

  wide      each hot kernel's loads and stores of global memory are 16 bytes a thread, but for those that RULES allows
  local     no hot kernel touches local memory
  tensor    products, attention, scans of codes and joins use tensor cores, and nothing else is said to
  known     each name of RULES is a kernel's, and each kernel whose name begins like a hot one has a rule

A rule says what is allowed beside 16 bytes, and why; a kernel that no longer needs its leave fails as well.
"""
import argparse
import json
import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_resources as resources  # noqa: E402

# Operation: bits 0 to 8, without the three that say where an operand comes from.
OPERATIONS = {0x181: "LDG", 0x186: "STG", 0x180: "LD", 0x185: "ST", 0x183: "LDL", 0x187: "STL", 0x1ae: "LDGSTS", 0x03c: "HMMA",
              0x037: "IMMA", 0x1a8: "ATOMG", 0x18e: "RED", 0x108: "MUFU"}
BYTES = (1, 1, 2, 2, 4, 8, 16, 16)  # by bits 73 to 75: U8, S8, U16, S16, 32, 64, 128, and 128 again

# Kernel's name: (tensor operations or None, {(operation, bytes): why}).
ROW_NUMBERS = {("LDG", 4): "numbers of rows and queries", ("LDG", 8): "the same in double, and where rows lie",
               ("STG", 8): "halves of candidates, which are rare"}
RULES = {
    "k_gemm_bf16": ("HMMA", {("LDG", 4): "positions of rotated rows", ("LDG", 8): "bias of two columns"}),
    "k_attend_bf16": ("HMMA", {("LDG", 4): "where a tile and its sequence lie"}),
    "k_scan_codes": ("HMMA|IMMA", ROW_NUMBERS),
    "k_scan_f32": (None, ROW_NUMBERS | {("LDG", 8): "elements of two bytes, four at a time; constants of queries"}),
    "k_scan_f64": (None, ROW_NUMBERS | {("LDG", 2): "single elements, in the definition's order"}),
    "k_prepare": (None, {("LDG", 4): "single elements, in the definition's order", ("STG", 1): "a weight in its fragment",
                         ("STG", 2): "a weight in its fragment", ("STG", 4): "an element of the f32 scan; constants",
                         ("STG", 8): "an element of the f64 scan; norms and bounds"}),
    "k_thresholds": (None, {("LDG", 4): "numbers of one query, a thread each", ("LDG", 8): "the same in double",
                            ("STG", 4): "constants of one query"}),
    "k_norm_bf16": (None, {("STG", 8): "four columns in bf16 of a lane that holds them in f32"}),
    "k_norm_f32": (None, {}),
    "k_embed_norm_bf16": (None, {("LDG", 4): "the token", ("STG", 8): "four columns in bf16 of a lane that holds them in f32"}),
    "k_gelu_bf16": (None, {("LDG", 2): "what is left behind the last 8", ("STG", 2): "what is left behind the last 8"}),
    "k_rotate_bf16": (None, {("LDG", 4): "the row's position"}),
    "k_join_int8": ("IMMA", {("STG", 4): "pairs that are kept, which are rare"}),
}


def machine_codes(fat):
    """(architecture, cubin) of a .nv_fatbin section."""
    at = 0
    while at + 16 <= len(fat):
        magic, _version, head, size = struct.unpack_from("<IHHQ", fat, at)
        if magic != resources.FAT_MAGIC:
            at += 8
            continue
        part, end = at + head, at + head + size
        while part + 64 <= end <= len(fat):
            kind, _, part_head, part_size = struct.unpack_from("<HHIQ", fat, part)
            arch = struct.unpack_from("<I", fat, part + 28)[0]
            if kind == resources.KIND_ELF:
                code = fat[part + part_head:part + part_head + part_size]
                if code[:4] != b"\x7fELF":
                    raise OSError(f"machine code of sm_{arch} is compressed: build with NVCC_FLAGS=--no-compress")
                yield f"sm_{arch}", code
            part += part_head + part_size
        at = end


def kernels(cubin):
    """(mangled name, machine code) of each kernel."""
    at, size, n, names = struct.unpack_from("<Q10xHHH", cubin, 0x28)
    heads = [struct.unpack_from("<IIQQQQ", cubin, at + i * size) for i in range(n)]
    strings = heads[names][4]
    for head in heads:
        start = strings + head[0]
        name = cubin[start:cubin.index(b"\0", start)].decode()
        if name.startswith(".text."):
            yield name[len(".text."):], cubin[head[4]:head[4] + head[5]]


def count(code):
    """{(operation, bytes): how many} of what OPERATIONS names, and ('all', 0): instructions, without padding behind the end."""
    found = {}
    for low, high in struct.iter_unpack("<QQ", code):
        name = OPERATIONS.get(low & 0x1ff)
        if low & 0xfff == 0x918:  # NOP: padding
            continue
        found["all", 0] = found.get(("all", 0), 0) + 1
        if name:
            key = (name, BYTES[high >> 9 & 7] if name not in ("HMMA", "IMMA", "MUFU") else 0)
            found[key] = found.get(key, 0) + 1
    return found


def load(build):
    """[{file, kernel, arch, counts}]."""
    rows = []
    for source in resources.sources():
        path = resources.beside(build, source, ".o")
        if not path.exists():
            continue
        for arch, cubin in machine_codes(resources.section(path, ".nv_fatbin")):
            rows += [{"file": source.stem, "mangled": name, "arch": arch, "counts": count(code)} for name, code in kernels(cubin)]
    names = resources.demangle(sorted({r["mangled"] for r in rows}))
    for r in rows:
        r["kernel"] = resources.short(names[r["mangled"]])
    return sorted(rows, key=lambda r: (r["file"], r["kernel"], r["arch"]))


def table(rows):
    head = ("file", "kernel", "architecture", "instructions", "tensor", "loads", "stores", "copies", "local")
    cells = [head]
    for r in rows:
        c = r["counts"]

        def shown(*wanted):
            return " ".join(f"{n}x{size}" for (name, size), n in sorted(c.items()) if name in wanted) or "-"
        tensor = c.get(("HMMA", 0), 0) + c.get(("IMMA", 0), 0)
        cells.append((r["file"], r["kernel"], r["arch"], str(c.get(("all", 0), 0)), str(tensor), shown("LDG", "LD"),
                      shown("STG", "ST"), shown("LDGSTS"), shown("LDL", "STL")))
    widths = [max(len(c[i]) for c in cells) for i in range(len(head))]
    for c in cells:
        yield "  ".join(t.ljust(w) for t, w in zip(c, widths)).rstrip()


def rule_of(kernel):
    return RULES.get(kernel.partition("<")[0])


def check_wide(rows):
    used = {}
    for r in (r for r in rows if rule_of(r["kernel"])):
        allowed = rule_of(r["kernel"])[1]
        for (name, size), n in r["counts"].items():
            if name in ("LDG", "STG", "LD", "ST", "LDGSTS") and size != 16:
                used[r["kernel"].partition("<")[0], name, size] = True
                if (name, size) not in allowed:
                    yield f"{r['kernel']} on {r['arch']}: {n} {name} of {size} bytes"
    for kernel, (_, allowed) in RULES.items():
        for name, size in allowed:
            if (kernel, name, size) not in used and any(r["kernel"].partition("<")[0] == kernel for r in rows):
                yield f"{kernel}: needs no leave for {name} of {size} bytes any more"


def check_local(rows):
    for r in (r for r in rows if rule_of(r["kernel"])):
        n = sum(n for (name, _), n in r["counts"].items() if name in ("LDL", "STL"))
        if n:
            yield f"{r['kernel']} on {r['arch']}: {n} loads and stores of local memory"


def check_tensor(rows):
    for r in (r for r in rows if rule_of(r["kernel"])):
        wanted, has = rule_of(r["kernel"])[0], {name for name, _ in r["counts"] if name in ("HMMA", "IMMA")}
        if wanted and not has & set(wanted.split("|")):
            yield f"{r['kernel']} on {r['arch']}: no {wanted}"
        if not wanted and has:
            yield f"{r['kernel']} on {r['arch']}: {', '.join(sorted(has))}, which RULES does not say"


def check_known(rows):
    there = {r["kernel"].partition("<")[0] for r in rows}
    for name in sorted(set(RULES) - there):
        yield f"no kernel is named {name}"
    for name in sorted(there):
        if name.startswith(resources.HOT) and name not in RULES:
            yield f"{name} has no rule"


CHECKS = (check_wide, check_local, check_tensor, check_known)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--json", action="store_true", help="one JSON object a kernel instead of the table")
    args = parser.parse_args()
    bad = 0
    try:
        rows = load((ROOT / args.build).resolve())
    except (OSError, struct.error) as error:
        print(f"FAIL reading: {error}")
        return 1
    if args.json:
        for r in rows:
            counts = {f"{name}{size or ''}": n for (name, size), n in sorted(r["counts"].items())}
            print(json.dumps({k: r[k] for k in ("file", "kernel", "arch")} | counts))
        return 0
    for line in table(rows):
        print(line)
    for check in CHECKS:
        found = list(check(rows))
        for line in found:
            print(f"FAIL {check.__name__[len('check_'):]}: {line}")
        if not found:
            print(f"ok {check.__name__[len('check_'):]}")
        bad += len(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
