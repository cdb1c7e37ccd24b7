#!/usr/bin/env python3
"""Writes the checkpoints beside this script: PyTorch's two .pth containers and safetensors, by hand, with the standard
library alone. Run it in any folder; the files are the same each time.

    fixture-zip.pth, fixture-legacy.pth   six tensors with views, shared storages, three types and a scalar
    tiny.safetensors       width 32, 2 heads (inner width 128), 2 blocks, 386 ids, f32
    tiny-zip.pth           the same weights: fused, transposed, broadcast and shared storages, parameters
    tiny-legacy.pth        the same weights in the legacy container, other strides
    tiny-f16.pth           the same rounded to f16, with to_logits, pickle protocol 4
    tiny-bf16.pth          the same rounded to bf16, legacy container
    mini-f64.pth           width 16, 1 head, 1 block, f64 with digits that f32 does not hold
    wide.pth               width 128, 4 heads (inner width 256), 2 blocks, all tensors views of one storage

Weights are seeded by their names: docs/FORMATS.md, "Seeded weights". Expected values are those of tiny.safetensors, which
test/unit/test_checkpoint.c checks in turn against the generator.
"""
import collections, hashlib, io, json, os, pickle, struct, sys, types, zlib

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1

# ---- Names that a pickle of PyTorch mentions; nothing here computes ----

torch = types.ModuleType("torch")
utils = types.ModuleType("torch._utils")
sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
for kind in ("FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage"):
    setattr(torch, kind, type(kind, (), {"__module__": "torch", "__qualname__": kind}))


def rebuild(name):
    def call(*args):
        raise NotImplementedError(name)
    call.__module__, call.__qualname__, call.__name__ = "torch._utils", name, name
    setattr(utils, name, call)
    return call


rebuild_tensor, rebuild_parameter = rebuild("_rebuild_tensor_v2"), rebuild("_rebuild_parameter")


def bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)


TYPES = {  # storage class, safetensors name, packer
    "f32": ("FloatStorage", "F32", lambda v: struct.pack("<%df" % len(v), *v)),
    "f16": ("HalfStorage", "F16", lambda v: struct.pack("<%de" % len(v), *v)),
    "bf16": ("BFloat16Storage", "BF16", lambda v: b"".join(map(bf16, v))),
    "f64": ("DoubleStorage", "F64", lambda v: struct.pack("<%dd" % len(v), *v)),
}


class Storage:
    def __init__(self, values, dtype="f32", key=None):
        self.values, self.dtype, self.key = list(values), dtype, key

    def bytes(self):
        return TYPES[self.dtype][2](self.values)


class Tensor:
    def __init__(self, storage, shape, stride=None, offset=0, is_parameter=False):
        self.storage, self.offset, self.is_parameter = storage, offset, is_parameter
        self.shape = tuple(list(shape))  # of its own: a shared object would be pickled as a reference
        self.stride = dense(shape) if stride is None else tuple(list(stride))

    def __reduce_ex__(self, protocol):
        if self.is_parameter:
            plain = Tensor(self.storage, self.shape, self.stride, self.offset)
            return rebuild_parameter, (plain, True, collections.OrderedDict())
        return rebuild_tensor, (self.storage, self.offset, self.shape, self.stride, False, collections.OrderedDict())


def dense(shape):
    stride, n = [], 1
    for size in reversed(shape):
        stride.insert(0, n)
        n *= size
    return tuple(stride)


def state_dict(tensors):
    d = collections.OrderedDict(tensors)
    d._metadata = collections.OrderedDict({"": {"version": 1}})
    return d


def pickled(obj, protocol, persistent_id=lambda obj: None):
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol)
    pickler.persistent_id = persistent_id
    pickler.dump(obj)
    return out.getvalue()


# ---- The containers ----

def write_zip(top, members):
    """Stored members as PyTorch writes them: no sizes in local headers, data descriptors, alignment to 64, zip64 end."""
    out, directory = b"", b""
    for name, data in members:
        name, crc, at = ("%s/%s" % (top, name)).encode(), zlib.crc32(data), len(out)
        pad = -(at + 30 + len(name) + 4) % 64
        out += struct.pack("<IHHHHHIIIHH", 0x04034b50, 0, 0x0808, 0, 0, 0, 0, 0, 0, len(name), pad + 4)
        out += name + b"FB" + struct.pack("<H", pad) + b"Z" * pad + data
        out += struct.pack("<IIII", 0x08074b50, crc, len(data), len(data))
        directory += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 0, 0, 0x0808, 0, 0, 0, crc, len(data), len(data),
                                 len(name), 0, 0, 0, 0, 0, at) + name
    at, end = len(out), len(out) + len(directory)
    out += directory + struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 0x031e, 45, 0, 0, len(members), len(members),
                                   len(directory), at)
    out += struct.pack("<IIQI", 0x07064b50, 0, end, 1)
    return out + struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, len(members), len(members), len(directory), at, 0)


def zip_pth(top, tensors, protocol=2, newer=False, wrap=lambda state: state):
    storages = {}

    def persistent_id(obj):
        if not isinstance(obj, Storage):
            return None
        storage, key = storages.setdefault(id(obj), (obj, str(len(storages))))
        return "storage", getattr(torch, TYPES[obj.dtype][0]), key, "cpu", len(obj.values)
    members = [("data.pkl", pickled(wrap(state_dict(tensors)), protocol, persistent_id))]
    if newer:
        members += [(".format_version", b"1"), (".storage_alignment", b"64"), ("byteorder", b"little")]
    members += [("data/" + key, storage.bytes()) for storage, key in storages.values()]
    members.append(("version", b"3\n"))
    if newer:
        members.append((".data/serialization_id", b"0" * 40))
    return write_zip(top, members)


def legacy_pth(tensors):
    storages, counter = {}, iter(range(94000000000000, 95000000000000, 64))

    def persistent_id(obj):
        if not isinstance(obj, Storage):
            return None
        if id(obj) not in storages:
            storages[id(obj)] = obj
            obj.key = obj.key or next(counter)
        return "storage", getattr(torch, TYPES[obj.dtype][0]), str(obj.key), "cpu", len(obj.values), None
    sizes = {"short": 2, "int": 4, "long": 4}
    out = pickled(0x1950a86a20f9469cfc6c, 2) + pickled(1001, 2)
    out += pickled({"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}, 2)
    out += pickled(state_dict(tensors), 2, persistent_id)
    ordered = sorted(storages.values(), key=lambda s: str(s.key))
    out += pickled([str(s.key) for s in ordered], 2)
    for s in ordered:
        out += struct.pack("<q", len(s.values)) + s.bytes()
    return out


def safetensors(tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, t in tensors:
        raw = t.storage.bytes()
        header[name] = {"dtype": TYPES[t.storage.dtype][1], "shape": list(t.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text + data


# ---- Seeded weights ----

INV_FREQ = """3f800000 3f0ff59a 3ea1e89b 3e361887 3dcccccd 3d6655c2 3d0186e3 3c91ad39
              3c23d70a 3bb8449c 3b4f3e38 3ae91528 3a83126f 3a136a16 39a5cb60 393a7753""".split()
SCALES = (("token_emb", 2), ("gamma", 4), ("to_q", 8), ("to_k", 8), ("to_v", 16), ("to_out", 16), ("ff.0.0.weight", 16),
          ("ff.2.weight", 32), ("bias", 8), ("to_logits", 16))


def seeded(name, n):
    if name.endswith("inv_freq"):
        return [struct.unpack(">f", bytes.fromhex(h))[0] for h in INV_FREQ]
    seed = 0xcbf29ce484222325
    for c in name.encode():
        seed = (seed ^ c) * 0x100000001b3 & MASK
    scale = 8388608 * next(d for part, d in SCALES if part in name)
    values = []
    for i in range(1, n + 1):
        z = seed + i * 0x9e3779b97f4a7c15 & MASK
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & MASK
        z = (z ^ z >> 27) * 0x94d049bb133111eb & MASK
        values.append((((z ^ z >> 31) >> 40) - 8388608) / scale)
    return values


def shapes(dim, heads, depth, vocab=386, logits=False):
    inner, ff = heads * 64, 4 * dim
    yield "token_emb.emb.weight", (vocab, dim)
    for i in range(depth):
        a, f = "attn_layers.layers.%d." % (2 * i), "attn_layers.layers.%d." % (2 * i + 1)
        yield a + "0.0.gamma", (dim,)
        for part in "qkv":
            yield a + "1.to_%s.weight" % part, (inner, dim)
        yield a + "1.to_out.weight", (dim, inner)
        yield f + "0.0.gamma", (dim,)
        yield f + "1.ff.0.0.weight", (ff, dim)
        yield f + "1.ff.0.0.bias", (ff,)
        yield f + "1.ff.2.weight", (dim, ff)
        yield f + "1.ff.2.bias", (dim,)
    yield "attn_layers.rotary_pos_emb.inv_freq", (16,)
    yield "attn_layers.final_norm.gamma", (dim,)
    if logits:
        yield "to_logits.weight", (vocab, dim)


def count(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def plain(dtype, *sizes, **more):
    return [(name, Tensor(Storage(seeded(name, count(shape)), dtype), shape)) for name, shape in shapes(*sizes, **more)]


def transposed(values, rows, cols):
    """Stored column by column."""
    return Tensor(Storage([values[r * cols + c] for c in range(cols) for r in range(rows)]), (rows, cols), (1, rows))


def awkward(sizes):
    """tiny's weights: q, k and v fused in one storage, to_out and ff.2 column-major, gammas every third element of one
    storage, everything a parameter."""
    tensors, gammas, names = [], Storage([]), []
    for name, shape in shapes(*sizes):
        values = seeded(name, count(shape))
        if "to_q" in name:
            fused = Storage(values)
            t = Tensor(fused, shape)
        elif "to_k" in name or "to_v" in name:
            t = Tensor(fused, shape, offset=len(fused.values))
            fused.values += values
        elif "to_out" in name or "ff.2.weight" in name:
            t = transposed(values, *shape)
        elif "gamma" in name:
            t = Tensor(gammas, shape, (3,), len(gammas.values))
            gammas.values += [x for v in values for x in (v, 9.0, 9.0)]
        else:
            t = Tensor(Storage(values), shape)
        t.is_parameter = True
        tensors.append((name, t))
    return tensors


def fixture():
    shared = Storage([0, 1, 2, 3, 4, 5], "f32", 772500960)
    return [("w", Tensor(shared, (2, 3))), ("wt", Tensor(shared, (3, 2), (1, 3))), ("v", Tensor(shared, (3,), (1,), 1)),
            ("h", Tensor(Storage([1.5, -2], "f16", 772977248), (2,))),
            ("b", Tensor(Storage([0.25, -3], "bf16", 772497856), (2,))), ("s", Tensor(Storage([7], "f32", 772498512), ()))]


def wide():
    """Every tensor starts somewhere in one storage; the largest takes all of it."""
    pool = Storage(seeded("to_q", 4 * 128 * 128))
    tensors = []
    for i, (name, shape) in enumerate(shapes(128, 4, 2)):
        if name.endswith("inv_freq"):
            tensors.append((name, Tensor(Storage(seeded(name, 16)), shape)))
        else:
            tensors.append((name, Tensor(pool, shape, None, (i * 4) % (len(pool.values) - count(shape) + 1))))
    return tensors


def main():
    tiny, digest = (32, 2, 2), "0" * 63 + "1"
    meta = {"format": "pt", "family": "midisim-custom", "dim": "32", "depth": "2", "heads": "2", "vocab": "386",
            "source_sha256": digest}
    mini = [(n, Tensor(Storage([v + 1e-12 for v in t.storage.values], "f64"), t.shape)) for n, t in plain("f64", 16, 1, 1)]
    files = {
        "fixture-zip.pth": zip_pth("fx", fixture()),
        "fixture-legacy.pth": legacy_pth(fixture()),
        "tiny.safetensors": safetensors(plain("f32", *tiny), meta),
        "tiny-zip.pth": zip_pth("tiny..model", awkward(tiny), newer=True),
        "tiny-legacy.pth": legacy_pth(awkward(tiny)),
        "tiny-f16.pth": zip_pth("archive", plain("f16", *tiny, logits=True), protocol=4),
        "tiny-bf16.pth": legacy_pth(plain("bf16", *tiny)),
        "mini-f64.pth": zip_pth("mini", mini),
        "wide.pth": zip_pth("wide", wide()),
    }
    for name, data in files.items():
        with open(os.path.join(HERE, name), "wb") as f:
            f.write(data)
        print("%-20s %7d bytes  %s" % (name, len(data), hashlib.sha256(data).hexdigest()))


if __name__ == "__main__":
    main()
