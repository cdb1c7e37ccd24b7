"""What the tests of the tools share: where the tools, data and models are, MIDI files and a small model made here."""
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("MIDISIM_BUILD", "build/release")
SHIPPED = ROOT / "test" / "data" / "midi"
CI = os.environ.get("CI", "") not in ("", "0", "false")
TOOLS = ("tokens", "embed", "search", "index", "find", "groups", "report", "serve", "eval", "convert", "bench", "fetch")
# Under the sanitizers: a leak or an overflow ends a tool with a code that no test expects.
ENV = dict(os.environ, ASAN_OPTIONS="exitcode=99:allocator_may_return_null=1", UBSAN_OPTIONS="print_stacktrace=1",
           LC_ALL="C.UTF-8", CUDA_VISIBLE_DEVICES="")  # the same on machines with a GPU; test_device.py has its own
for _name in ("MIDISIM_MODEL", "MIDISIM_THREADS", "NO_COLOR", "COLUMNS"):
    ENV.pop(_name, None)


def tool(name):
    path = BUILD / f"midisim-{name}"
    if not path.exists():
        pytest.fail(f"{path} is not built")
    return str(path)


def run(name, *arguments, cwd=None, stdin=b"", env=None, limit=120, program=None, before=None):
    """Run a tool; arguments may be bytes. The result has returncode, stdout and stderr (bytes). `before` is called in the
    new process."""
    command = [program or tool(name), *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    return subprocess.run(command, cwd=cwd, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(ENV, **(env or {})), timeout=limit, preexec_fn=before)


# A process is charged with the memory of the one that started it, until it has become the new program: so a small one
# starts it, not the tests.
STARTER = """import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))"""


def run_measured(name, *arguments, limit=600):
    """(the finished process, the most memory in bytes that the tool had resident). The tool prints nothing on stdout."""
    done = subprocess.run([sys.executable, "-S", "-c", STARTER, tool(name), *map(str, arguments)], env=ENV, timeout=limit,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done, int(done.stdout)


def lines(done):
    """JSON objects of standard output; bytes that are not UTF-8 come as Python's surrogateescape has them."""
    return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]


def text(done):
    return done.stderr.decode("utf-8", "surrogateescape")


def build_clock(folder, rate=1000):
    """The environment of a run whose clock goes `rate` times as fast."""
    library = folder / "clock.so"
    subprocess.run([*os.environ.get("CC", "cc").split(), "-shared", "-fPIC", f"-DRATE={rate}", "-o", library,
                    ROOT / "test/fault/clock.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": ENV["ASAN_OPTIONS"] + ":verify_asan_link_order=0"}


# ---- MIDI files -----------------------------------------------------------------------------------------------------


def vlq(n):
    out = [n & 127]
    while n := n >> 7:
        out.append(n & 127 | 128)
    return bytes(reversed(out))


def midi(pitches=(60, 64, 67), channel=0, ticks=480):
    """A MIDI file with one track, the notes one after the other."""
    track = b""
    for pitch in pitches:
        track += vlq(0) + bytes([0x90 | channel, pitch, 90]) + vlq(ticks) + bytes([0x80 | channel, pitch, 0])
    track += b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track)) + track


SILENT = midi(())
DRUMS = midi((36, 38), channel=9)

# ---- A small model --------------------------------------------------------------------------------------------------


def write_model(path, dim=32, heads=1, depth=1, vocab=386, seed=1):
    """A checkpoint of this family with random weights, as safetensors."""
    rng = np.random.default_rng(seed)
    inner, ff = 64 * heads, 4 * dim
    shapes = {"token_emb.emb.weight": (vocab, dim)}
    for i in range(depth):
        a, f = f"attn_layers.layers.{2 * i}.", f"attn_layers.layers.{2 * i + 1}."
        shapes |= {a + "0.0.gamma": (dim,), a + "1.to_q.weight": (inner, dim), a + "1.to_k.weight": (inner, dim),
                   a + "1.to_v.weight": (inner, dim), a + "1.to_out.weight": (dim, inner), f + "0.0.gamma": (dim,),
                   f + "1.ff.0.0.weight": (ff, dim), f + "1.ff.0.0.bias": (ff,), f + "1.ff.2.weight": (dim, ff),
                   f + "1.ff.2.bias": (dim,)}
    shapes |= {"attn_layers.final_norm.gamma": (dim,), "attn_layers.rotary_pos_emb.inv_freq": (16,)}
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("gamma"):
            value = np.ones(shape)
        elif name.endswith("inv_freq"):
            value = 10000.0 ** (-np.arange(0, 32, 2) / 32)
        else:
            value = rng.standard_normal(shape) / np.sqrt(shape[-1])
        tensors[name] = value.astype("<f4")
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        head[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    head = json.dumps(head).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(v.tobytes() for v in tensors.values()))
    return path
