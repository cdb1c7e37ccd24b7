"""A description beside rows that it was not written for, rows that the model could not make, and inputs that fail each time."""
import json
import shutil
import struct

import numpy as np
import pytest
from cli_util import ROOT, midi, run, text
from embed_util import build_faults

TINY = ROOT / "test/data/checkpoints/tiny.safetensors"
N = 6


@pytest.fixture
def made(tmp_path):
    for i in range(N):
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / f"m/{i}.mid").write_bytes(midi(range(40 + i, 52 + 2 * i)))
    done = embed(tmp_path)
    assert done.returncode == 0, text(done)
    return tmp_path


def embed(folder, *arguments, model=TINY, source="m", out="c.npy"):
    return run("embed", "-m", model, "-o", out, *arguments, source, cwd=folder)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def spoil(folder, how):
    rows = np.load(folder / "c.npy")
    if how == "copied":
        (folder / "o").mkdir()
        for i in range(N):
            (folder / f"o/{i}.mid").write_bytes(midi(range(60, 62 + i)))
        assert embed(folder, source="o", out="other.npy").returncode == 0
        shutil.copy(folder / "other.npy", folder / "c.npy")
    elif how == "renamed":
        rows["midi_names"][2] = "9.mid"
        np.save(folder / "c.npy", rows)
    elif how == "value":
        rows["midi_embeddings"][3, 5] += 1e-6
        np.save(folder / "c.npy", rows)
    else:
        np.save(folder / "c.npy", {"reversed": rows[::-1], "shuffled": rows[np.random.default_rng(1).permutation(N)],
                                   "exchanged": rows[[0, 1, 3, 2, 4, 5]]}[how])


@pytest.mark.parametrize("how", ["reversed", "shuffled", "exchanged", "copied", "renamed", "value"])
def test_description_of_other_rows(made, how):
    spoil(made, how)
    before = files(made)
    for arguments in ((), ("--update",)):
        done = embed(made, *arguments)
        assert done.returncode == 2 and "description of another corpus" in text(done), text(done)
        assert files(made) == before
    search = ("search", "-c", "c.npy", "--like", "0.mid", "-k", "2")
    done = run(*search, cwd=made)
    assert done.returncode == 2 and "description of another corpus" in text(done)
    assert done.stdout == b""
    done = run(*search, "--force", cwd=made)
    assert done.returncode == 0 and "warning: description of another corpus" in text(done)
    for arguments in (("--form", "plain", "c.npy", "out.npy"),):
        done = run("convert", *arguments, cwd=made)
        assert done.returncode == 2 and not (made / "out.npy").exists(), text(done)
    assert embed(made, "--force").returncode == 0
    assert run(*search, cwd=made).returncode == 0


def test_fingerprint_does_not_depend_on_the_format(made):
    wanted = json.loads((made / "c.npy.json").read_bytes())["fingerprint"]
    assert len(wanted) == 32
    for form in ("plain", "pickled", "fvecs", "fbin", "structured"):
        out = f"out.{form}" if form[0] == "f" else f"{form}.npy"
        assert run("convert", "--form", form, "c.npy", out, cwd=made).returncode == 0
        assert json.loads((made / f"{out}.json").read_bytes())["fingerprint"] == wanted
        assert run("search", "-c", out, "--like", "0.mid", cwd=made).returncode == 0


def test_older_descriptions_have_no_fingerprint(made):
    d = json.loads((made / "c.npy.json").read_bytes())
    del d["fingerprint"]
    (made / "c.npy.json").write_text(json.dumps(d, separators=(",", ":")))
    assert run("search", "-c", "c.npy", "--like", "0.mid", cwd=made).returncode == 0
    assert embed(made, "--update").returncode == 0
    assert "fingerprint" in json.loads((made / "c.npy.json").read_bytes())


@pytest.mark.parametrize("key, value", [("max_tokens", -1), ("max_tokens", 1.5), ("rows", -6), ("pool_weights", [1e30, 1, 1]),
                                        ("pool_weights", [float("inf"), 1, 1]), ("fingerprint", "abc"), ("failed", "x")])
def test_absurd_descriptions(made, key, value):
    d = json.loads((made / "c.npy.json").read_bytes())
    d.pop(key, None)
    d = {key: value, **d}  # before the sources, where readers of the settings stop
    if key == "pool_weights":
        d["pooling"] = "weighted"
    (made / "c.npy.json").write_text(json.dumps(d))
    for done in (run("search", "-c", "c.npy", "--like", "0.mid", cwd=made), embed(made, "--update")):
        assert done.returncode in (1, 2) and "description" in text(done), text(done)


# ---- Rows that are no numbers ---------------------------------------------------------------------------------------


def overflowing(path, which="attn_layers.layers.1.1.ff.2.weight"):
    raw = bytearray(TINY.read_bytes())
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    begin, end = header[which]["data_offsets"]
    raw[8 + n + begin:8 + n + end] = np.full((end - begin) // 4, 3e38, "<f4").tobytes()
    path.write_bytes(raw)


def test_weights_that_overflow(made):
    overflowing(made / "big.safetensors")
    done = embed(made, model="big.safetensors", out="big.npy")
    assert done.returncode == 1 and "not-finite" in text(done), text(done)
    assert text(done).count("the model gave") == N and not (made / "big.npy").exists()
    done = run("search", "-m", "big.safetensors", "-c", "c.npy", "--force", "m/0.mid", cwd=made)
    assert done.returncode == 1, text(done)


# ---- Failures that repeat -------------------------------------------------------------------------------------------


def test_a_damaged_input_fails_each_time(made):
    (made / "m/bad.mid").write_bytes(b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\2\x90")
    (made / "m/zero.mid").write_bytes(b"")
    first = embed(made, "--update")
    assert first.returncode == 1 and "2 skipped" in text(first), text(first)
    assert json.loads((made / "c.npy.json").read_bytes())["failed"] == 2
    for _ in range(2):
        before = files(made)
        again = embed(made)
        assert again.returncode == 1 and "2 inputs gave no row" in text(again) and "nothing to do" in text(again)
        assert files(made) == before
    assert embed(made, "--update").returncode == 1
    (made / "m/bad.mid").unlink()
    (made / "m/zero.mid").unlink()
    assert embed(made, "--update").returncode == 0
    assert "failed" not in json.loads((made / "c.npy.json").read_bytes())
    assert embed(made).returncode == 0


def test_copy_to_with_a_folder_that_cannot_be_read(made):
    library = build_faults(made)
    (made / "m/deep").mkdir()
    (made / "m/0.mid").rename(made / "m/deep/0.mid")
    command = ("search", "-c", "c.npy", "--like", "1.mid", "--copy-to", "k", "--midi-root", "m")
    for denied in ("m", "deep"):
        done = run(*command, cwd=made, env={"LD_PRELOAD": str(library), "FAULT_DENY": denied})
        assert done.returncode == 1 and "not searched for files" in text(done), text(done)
        assert "Permission denied" in text(done)
