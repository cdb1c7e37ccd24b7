#!/usr/bin/env python3
"""Make a corpus of random rows quickly, in any form, as large as the disk allows. Needs NumPy.

  make_rows.py OUT --rows N [--dim 512] [--form structured|plain|pickled3|pickled4|fvecs|fbin] [--dtype f4|f2|f8|bf16]
               [--name 'row-%09d'] [--seed 1] [--clusters C] [--shards K]

Row i depends on the seed and i alone, so the forms hold the same rows. pickled3 is byte for byte what NumPy 1.26's save
writes for such an array, pickled4 has the opcodes of NumPy 2.x in frames of its own cut; both are written without NumPy's
memory of 5 KB a row. Names are ASCII and must all have one length (the default has, below 10^9 rows). Forms without names get
OUT.names. --clusters: rows lie around C centres. --shards K: OUT is a folder of K files of equal size.
"""
import argparse
import os
import pathlib
import struct

import numpy as np

BLOCK = 1000  # rows made at a time: also what NumPy puts between two marks of a pickle


def rows_of(block, n, args):
    """[n, dim] f32, the rows of one block; a row has the length of none other, and nothing is normalised."""
    rng = np.random.default_rng([args.seed, block])
    rows = rng.standard_normal((BLOCK, args.dim), dtype=np.float32)
    if args.clusters:
        centres = np.random.default_rng([args.seed]).standard_normal((args.clusters, args.dim), dtype=np.float32)
        rows = rows * np.float32(0.3) + centres[rng.integers(args.clusters, size=BLOCK)]
    return rows[:n]


def stored(rows, dtype):
    if dtype == "bf16":
        bits = rows.view("<u4")
        return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2").view("<V2")
    return rows.astype("<" + dtype)


def npy_head(descr, shape):
    """A header of NumPy's own form: blanks to a multiple of 64, room for the rows to grow."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (21 - len(str(shape[0])))
    text += " " * ((-(10 + len(text) + 1)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


# ---- Pickles --------------------------------------------------------------------------------------------------------


class Pickler:
    """The opcodes of one protocol, with the memo's counter."""

    def __init__(self, protocol):
        self.v4, self.slot = protocol == 4, 0

    def put(self):
        slot, self.slot = self.slot, self.slot + 1
        return b"\x94" if self.v4 else b"q" + bytes([slot]) if slot < 256 else b"r" + struct.pack("<I", slot)

    def number(self, v):
        return b"K" + bytes([v]) if v < 256 else b"M" + struct.pack("<H", v) if v < 65536 else b"J" + struct.pack("<i", v)

    def text(self, s):
        short = self.v4 and len(s) < 256
        return (b"\x8c" + bytes([len(s)]) if short else b"X" + struct.pack("<I", len(s))) + s.encode()

    def data(self, n):
        return b"C" + bytes([n]) if n < 256 else b"B" + struct.pack("<I", n)

    def globals_(self, module, name, module_slot=None):
        if not self.v4:
            return f"c{module}\n{name}\n".encode() + self.put()
        head = self.text(module) + self.put() if module_slot is None else b"h" + bytes([module_slot])
        return head + self.text(name) + self.put() + b"\x93" + self.put()


def pickle_prefix(p, n, args, item):
    """Everything before the first row, and the memo slots that rows refer to."""
    names, none = ("midi_names", "midi_embeddings"), b"\xff\xff\xff\xff"
    get = lambda slot: b"h" + bytes([slot])
    out = b"\x80\x04" if p.v4 else b"\x80\x03"
    out += p.globals_("numpy._core.multiarray" if p.v4 else "numpy.core.multiarray", "_reconstruct")
    make = p.slot - 1
    numpy_module = p.slot if p.v4 else None
    out += p.globals_("numpy", "ndarray")
    array = p.slot - 1
    out += b"K\x00\x85" + p.put() + b"C\x01b" + p.put()
    b_slot = p.slot - 1
    out += b"\x87" + p.put() + b"R" + p.put() + b"(K\x01" + p.number(n) + b"\x85" + p.put()
    out += p.globals_("numpy", "dtype", numpy_module)
    dtype = p.slot - 1

    def new(code):
        return p.text(code) + p.put() + b"\x89\x88\x87" + p.put() + b"R" + p.put()

    out += new(f"V{8 + args.dim * item}") + b"(K\x03" + p.text("|") + p.put() + b"N"
    bar = p.slot - 1
    slots = []
    for name in names:
        out += p.text(name) + p.put()
        slots.append(p.slot - 1)
    out += b"\x86" + p.put() + b"}" + p.put() + b"("
    out += get(slots[0]) + get(dtype) + new("O8") + b"(K\x03" + get(bar) + b"NNNJ" + none + b"J" + none + b"K?t" + p.put()
    out += b"bK\x00\x86" + p.put()
    out += get(slots[1]) + get(dtype) + new(f"V{args.dim * item}") + b"(K\x03" + get(bar) + get(dtype) + new(f"f{item}")
    element = p.slot - 1
    out += b"(K\x03" + p.text("<") + p.put() + b"NNNJ" + none + b"J" + none + b"K\x00t" + p.put() + b"b"
    out += p.number(args.dim) + b"\x85" + p.put() + b"\x86" + p.put() + b"NN" + p.number(args.dim * item) + p.number(item)
    out += b"K\x00t" + p.put() + b"bK\x08\x86" + p.put() + b"u" + p.number(8 + args.dim * item) + b"K\x01K\x1bt" + p.put()
    out += b"b\x89]" + p.put()
    return out, (make, array, b_slot, element)


def pickle_row(p, name, slots, args, item):
    """One row as (bytes, offsets of its puts' numbers, offset of the name, offset of the vector)."""
    make, array, b_slot, element = slots
    out, puts = b"", []

    def put():
        nonlocal out
        puts.append(len(out) + 1)
        out += p.put()

    def add(more):
        nonlocal out
        out += more

    add(p.text(name))
    at = len(out) - len(name)
    put()
    add(bytes([0x68, make, 0x68, array]) + b"K\x00\x85"), put()
    add(bytes([0x68, b_slot]) + b"\x87"), put()
    add(b"R"), put()
    add(b"(K\x01" + p.number(args.dim) + b"\x85"), put()
    add(bytes([0x68, element]) + b"\x89" + p.data(args.dim * item))
    vector = len(out)
    add(bytes(args.dim * item)), put()
    add(b"t"), put()
    add(b"b\x86"), put()
    return out, puts, at, vector


def write_pickled(file, first, n, args, protocol):
    item = int(args.dtype[1])
    file.write(npy_head([("midi_names", "|O"), ("midi_embeddings", f"<{args.dtype}", (args.dim,))], (n,)))
    p = Pickler(protocol)
    prefix, slots = pickle_prefix(p, n, args, item)
    file.write(prefix)
    done = 0
    while done < n:
        k = min(BLOCK - (first + done) % BLOCK, BLOCK - done % BLOCK, n - done)
        names, vectors = block(first + done, k, args)
        # One row a time while slots are short, then all rows of a block by one pattern.
        if done % BLOCK == 0 and n > 1:
            file.write(b"(")
        if p.v4 and done % BLOCK == 0:
            one = len(pickle_row(Pickler(4), names[0], slots, args, item)[0])
            file.write(b"\x95" + struct.pack("<Q", one * min(BLOCK, n - done)))
        i = 0
        while i < k and not p.v4 and p.slot < 256:
            row, _, _, at = pickle_row(p, names[i], slots, args, item)
            file.write(row[:at] + vectors[i].tobytes() + row[at + vectors[i].nbytes:])
            i += 1
        if i < k:
            pattern, puts, at, vector = pickle_row(p, names[i], slots, args, item)
            p.slot += 8 * (k - i - 1)
            rows = np.tile(np.frombuffer(pattern, "u1"), (k - i, 1))
            rows[:, at:at + len(names[i])] = np.array([s.encode() for s in names[i:]]).view("u1").reshape(k - i, -1)
            rows[:, vector:vector + vectors[0].nbytes] = np.ascontiguousarray(vectors[i:]).view("u1").reshape(k - i, -1)
            for j, place in enumerate(puts if not p.v4 else ()):
                slot = p.slot - 8 * (k - i) + j + 8 * np.arange(k - i)
                rows[:, place:place + 4] = slot.astype("<u4").view("u1").reshape(-1, 4)
            file.write(rows)
        done += k
        if n == 1:
            file.write(b"a")
        elif done % BLOCK == 0 or done == n:
            file.write(b"e")
    file.write(b"t" + p.put() + b"b.")


# ---- The other forms ------------------------------------------------------------------------------------------------


def block(first, n, args):
    """Names and stored vectors of rows first..first + n - 1, which lie in one block."""
    start = first % BLOCK
    rows = rows_of(first // BLOCK, start + n, args)[start:]
    return [args.name % i for i in range(first, first + n)], stored(rows, args.dtype)


def blocks(first, n, args):
    while n > 0:
        k = min(n, BLOCK - first % BLOCK)
        yield block(first, k, args)
        first, n = first + k, n - k


def write(path, first, n, args):
    form = args.form
    if form in ("fvecs", "fbin") and args.dtype != "f4":
        raise SystemExit(f"make_rows: {form} holds f4")
    with open(path, "wb", buffering=1 << 20) as file:
        if form.startswith("pickled"):
            return write_pickled(file, first, n, args, int(form[-1]))
        width = len(args.name % 0)
        descr = "<V2" if args.dtype == "bf16" else "<" + args.dtype
        if form == "structured":
            file.write(npy_head([("midi_names", f"<U{width}"), ("midi_embeddings", descr, (args.dim,))], (n,)))
        elif form == "plain":
            file.write(npy_head(repr(descr), (n, args.dim)))
        elif form == "fbin":
            file.write(struct.pack("<II", n, args.dim))
        names_file = open(f"{path}.names", "w", encoding="utf-8") if form != "structured" else None
        for names, vectors in blocks(first, n, args):
            if form == "structured":
                out = np.empty(len(names), [("n", f"<U{width}"), ("v", vectors.dtype, (args.dim,))])
                out["n"], out["v"] = names, vectors
            elif form == "fvecs":
                out = np.empty(len(names), [("d", "<i4"), ("v", "<f4", (args.dim,))])
                out["d"], out["v"] = args.dim, vectors
            else:
                out = vectors
            file.write(np.ascontiguousarray(out).view("u1").data)
            if names_file:
                names_file.write("".join(s + "\n" for s in names))
        if names_file:
            names_file.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--form", default="structured",
                        choices=("structured", "plain", "pickled3", "pickled4", "fvecs", "fbin"))
    parser.add_argument("--dtype", default="f4", choices=("f4", "f2", "f8", "bf16"))
    parser.add_argument("--name", default="row-%09d")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clusters", type=int, default=0)
    parser.add_argument("--shards", type=int, default=0)
    args = parser.parse_args()
    if not args.shards:
        return write(args.out, 0, args.rows, args)
    os.makedirs(args.out, exist_ok=True)
    ending = args.form if args.form in ("fvecs", "fbin") else "npy"
    cuts = [args.rows * i // args.shards for i in range(args.shards + 1)]
    for i, (first, end) in enumerate(zip(cuts, cuts[1:])):
        write(args.out / f"shard-{i:04d}.{ending}", first, end - first, args)


if __name__ == "__main__":
    main()
