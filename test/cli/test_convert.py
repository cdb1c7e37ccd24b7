"""midisim-convert: conversion, --info, --verify, exit codes. NumPy reads what it writes."""
import json
import os
import struct
import subprocess

import golden_util as g
import numpy as np
import pytest

DATA = g.ROOT / "test" / "data" / "checkpoints"
DAMAGED = {"cut.pth": lambda b: b[:len(b) // 2], "flipped.pth": lambda b: b[:2000] + bytes([b[2000] ^ 1]) + b[2001:],
           "empty.pth": lambda b: b"", "long.pth": lambda b: b + b"x"}


def run(*arguments, ok=(0,), **more):
    done = subprocess.run([g.tool("convert"), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, **more)
    assert done.returncode in ok, done.stderr
    return done


def read(path):
    """{name: (type, f32 values)}, metadata and data offset of a safetensors file."""
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        part = raw[8 + n + begin:8 + n + end]
        if entry["dtype"] == "F32":
            values = np.frombuffer(part, "<f4")
        else:
            values = (np.frombuffer(part, "<u2").astype("<u4") << 16).view("<f4")
        tensors[name] = entry["dtype"], values.reshape(entry["shape"])
    return tensors, metadata, 8 + n


def to_bf16(x):
    bits = np.ascontiguousarray(x).view("<u4").astype("u8")
    return ((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000).astype("<u4").view("<f4")


@pytest.mark.parametrize("source", ["tiny-zip.pth", "tiny-legacy.pth", "tiny.safetensors"])
def test_converts(tmp_path, source):
    expected, _, _ = read(DATA / "tiny.safetensors")
    run(DATA / source, tmp_path / "f32.safetensors")
    run("--dtype", "bf16", tmp_path / "f32.safetensors", tmp_path / "bf16.safetensors")
    f32, metadata, at = read(tmp_path / "f32.safetensors")
    bf16, metadata2, at2 = read(tmp_path / "bf16.safetensors")
    assert at % 64 == at2 % 64 == 0
    assert metadata == metadata2 and metadata["dim"] == "32" and len(metadata["source_sha256"]) == 64
    assert list(f32) == list(bf16) == list(expected)
    for name, (_, values) in expected.items():
        assert f32[name][0] == "F32" and f32[name][1].tobytes() == values.tobytes()
        kept = name.startswith("token_emb") or name.endswith((".gamma", "inv_freq"))
        assert bf16[name][0] == ("F32" if kept else "BF16")
        assert bf16[name][1].tobytes() == (values if kept else to_bf16(values)).tobytes()
    assert sorted(os.listdir(tmp_path)) == ["bf16.safetensors", "f32.safetensors"]


def test_existing_output(tmp_path):
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    assert "--force" in run(DATA / "tiny-zip.pth", out, ok=(2,)).stderr
    assert out.read_text() == "mine"
    run("--force", DATA / "tiny-zip.pth", out)
    assert read(out)[1]["depth"] == "2"


def test_info(tmp_path):
    done = run("--info", "--json", DATA / "wide.pth", DATA / "tiny.safetensors")
    wide, tiny = map(json.loads, done.stdout.splitlines())
    assert (wide["container"], wide["dim"], wide["heads"], wide["depth"], wide["vocab"]) == ("pth-zip", 128, 4, 2, 386)
    assert (tiny["container"], tiny["sha256"]) == ("safetensors", "0" * 63 + "1")
    assert "pth-legacy" in run("--info", DATA / "tiny-legacy.pth").stdout
    np.save(tmp_path / "plain.npy", np.ones((3, 5), "f2"))
    done = run("--info", "--json", tmp_path / "plain.npy")
    expected = {"path": str(tmp_path / "plain.npy"), "kind": "corpus", "form": "plain", "rows": 3, "dim": 5, "dtype": "f16",
                "names": False, "parts": 1}
    assert json.loads(done.stdout) == expected


def test_verify(tmp_path):
    rows = np.zeros(3, [("midi_names", "<U4"), ("midi_embeddings", "<f4", (2,))])
    rows["midi_names"] = ["a", "\udc80", "c"]
    rows["midi_embeddings"][0] = 1
    np.save(tmp_path / "c.npy", rows)
    found = json.loads(run("--verify", "--json", tmp_path / "c.npy").stdout)
    assert (found["ok"], found["rows"], found["zero_rows"], found["names_not_utf8"]) == (True, 3, 2, 1)
    rows["midi_embeddings"][1, 1] = np.nan
    np.save(tmp_path / "c.npy", rows)
    done = run("--verify", "--json", tmp_path / "c.npy", DATA / "tiny-bf16.pth", ok=(1,))
    assert [json.loads(line)["ok"] for line in done.stdout.splitlines()] == [False, True]
    assert "row 1" in done.stderr


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("source", ["tiny-zip.pth", "tiny-legacy.pth"])
def test_damaged(tmp_path, source, name):
    (tmp_path / name).write_bytes(DAMAGED[name]((DATA / source).read_bytes()))
    for arguments in (["--info"], ["--verify"], []):
        out = [] if arguments else [tmp_path / "out.safetensors"]
        done = run(*arguments, tmp_path / name, *out, ok=(0, 1) if "flipped" in name else (1,))
        assert done.returncode == 0 or (done.stderr.count("\n") == 1 and done.stderr.startswith("midisim-convert: "))
        assert done.returncode == 0 or os.listdir(tmp_path) == [name]
        for path in out:
            path.unlink(missing_ok=True)


def test_not_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "none", tmp_path / "fifo", g.ROOT / "LICENSE"):
        assert run("--info", path, ok=(1,), timeout=20).stderr.count("\n") == 1
    assert run(DATA / "tiny-zip.pth", "/dev/full/x", ok=(1,)).stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b", "c"], ["--info"], ["--json", "a", "b"], ["--dtype", "f16", "a", "b"],
                                       ["--info", "--force", "a"], ["--info", "--dtype", "f32", "a"], ["--merge", "a"]])
def test_usage(arguments):
    assert run(*arguments, ok=(2,)).stderr.count("\n") == 1
