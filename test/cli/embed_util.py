"""What the tests of interrupted runs share: a collection, the library that makes calls fail, corpora to compare."""
import json
import os
import random
import shutil
import struct
import subprocess
import zlib

from cli_util import DRUMS, ENV, ROOT, SILENT, midi, run, text, tool


def make_songs(folder, n=40, seed=3, notes=60):
    """n different pieces at two depths, two copies of other names, a silent one and one of drums."""
    rng = random.Random(seed)
    for i in range(n):
        path = folder / (f"{i % 5}/{i:04d}.mid" if i % 3 else f"{i:04d}.mid")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(midi([rng.randrange(30, 100) for _ in range(rng.randrange(3, notes))]))
    shutil.copy(folder / "0000.mid", folder / "copy.mid")
    shutil.copy(folder / "1" / "0001.mid", folder / "again.kar")
    (folder / "silent.mid").write_bytes(SILENT)
    (folder / "drums.mid").write_bytes(DRUMS)
    return folder


def embed(model, out, *arguments, **more):
    return run("embed", "-m", model, "-o", out, *arguments, **more)


def corpus(out):
    """Bytes of the corpus and of its description."""
    return out.read_bytes(), (out.parent / (out.name + ".json")).read_bytes()


def about(out):
    return json.loads((out.parent / (out.name + ".json")).read_text())


def left_over(out):
    """Files beside the corpus that belong to it, but for its description."""
    return sorted(n for n in os.listdir(out.parent) if n.startswith(out.name) and n not in (out.name, out.name + ".json"))


def count(done, what):
    """The number in front of a text of the summary, 0 without it."""
    for line in text(done).splitlines():
        if what in line:
            return int(line.split(": ")[1].split()[0].replace(",", ""))
    return 0


def build_faults(folder):
    library = folder / "fail.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", library, ROOT / "test/fault/fail.c", "-ldl"],
                   check=True)
    return library


def fault(library, out, **variables):
    """Environment of a run with that library."""
    return {"LD_PRELOAD": str(library), "FAULT_PATH": out.name,
            **{f"FAULT_{name.upper()}": str(value) for name, value in variables.items()}}


def start(model, out, *arguments, **more):
    return subprocess.Popen([tool("embed"), "-m", model, "-o", out, *arguments], env=ENV, **more)


# ---- The journal, read as docs/FORMATS.md has it --------------------------------------------------------------------


def read_journal(path):
    """(settings, state, records, bytes of whole blocks); a record is a dict."""
    data = path.read_bytes()
    magic, n_text, crc, state = struct.unpack_from("<8sIII", data)
    settings = data[64:64 + n_text]
    assert magic == b"MSIMJNL1" and zlib.crc32(settings) == crc
    settings = json.loads(settings)
    at, number, records = 64 + (n_text + 7) // 8 * 8, 0, []
    dim = settings["model"]["dim"]
    while len(data) - at >= 32:
        magic, crc, n, count_, zero = struct.unpack_from("<4sIQQQ", data, at)
        if magic != b"MBLK" or count_ != number or len(data) < at + 32 + n or zlib.crc32(data[at + 8:at + 32 + n]) != crc:
            break
        end = at + 32 + n
        at += 32
        while at < end:
            kind, reason, n_detail, size, a, b, digest, n_path, name_at = struct.unpack_from("<BBHIqq32sII", data, at)
            body = data[at + 64:at + size]
            vector = body[:4 * dim] if kind == 1 and reason == 0 else b""
            body = body[len(vector):]
            records.append({"kind": kind, "reason": reason, "a": a, "b": b, "hash": digest, "vector": vector,
                            "path": body[:n_path], "name": body[name_at:n_path], "detail": body[n_path:n_path + n_detail]})
            at += size
        assert at == end
        number += 1
    return settings, state, records, at
