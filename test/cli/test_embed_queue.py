"""midisim-embed with two batches under way, on a GPU that test/emu emulates: several batches and windows, what a run that is
interrupted keeps, failures while a batch is under way. The same rows in the same order, whatever happened."""
import json
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_util import CI, ENV, ROOT, run, text, write_model
from embed_util import build_faults, corpus, fault, left_over

PROGRAM = ROOT / "build" / "emu" / "midisim-embed"
GPU = ENV | {"EMU_DEVICES": "2", "EMU_MEMORY": "1G", "EMU_SEED": "1"}
N = 4300  # of 512 to a batch and 4,096 to a window


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Sequences of 3 ids, each its own, and a few longer ones; a model; an undisturbed run, its corpus c.npy, its seconds."""
    if not PROGRAM.exists():
        (pytest.fail if CI else pytest.skip)("no build/emu: make emu")
    root = tmp_path_factory.mktemp("many")
    with open(root / "t.jsonl", "w") as f:
        for i in range(N):
            tokens = [0, i // 384, i % 384] + [(7 * i + 31 * j) % 384 for j in range(i % 97 == 0 and 60)]
            f.write(json.dumps({"path": f"s{i:05d}", "transpose": 0, "tokens": tokens}) + "\n")
    model = write_model(root / "m.safetensors", dim=64, depth=1)
    began = time.monotonic()
    done = embed(model, root / "c.npy", root)
    assert done.returncode == 0, text(done)
    return root, model, done, time.monotonic() - began


def n_tokens(done):
    """Tokens that a run embedded itself."""
    return int(re.search(r"([\d,]+) tokens in", text(done))[1].replace(",", ""))


def command(model, out, root, device="cuda"):
    return [PROGRAM, "-m", model, "-o", out, "--device", device, "--from-tokens", root / "t.jsonl"]


def embed(model, out, root, device="cuda", env=None):
    return subprocess.run(command(model, out, root, device), env=GPU | (env or {}), timeout=300, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_rows_are_the_cpus(many, tmp_path):
    root, model, *_ = many
    done = run("embed", "-m", model, "-o", tmp_path / "c.npy", "--device", "cpu", "--from-tokens", root / "t.jsonl")
    assert done.returncode == 0, text(done)
    cpu, gpu = np.load(tmp_path / "c.npy"), np.load(root / "c.npy")
    assert len(gpu) == N and (cpu["midi_names"] == gpu["midi_names"]).all()
    x, y = (c["midi_embeddings"].astype("f8") for c in (cpu, gpu))
    assert (1 - (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))).max() <= 2e-4


def test_two_devices_give_the_same_bytes(many, tmp_path):
    root, model, *_ = many
    done = embed(model, tmp_path / "c.npy", root, "cuda:all")
    assert done.returncode == 0, text(done)
    assert (tmp_path / "c.npy").read_bytes() == (root / "c.npy").read_bytes()


@pytest.mark.parametrize("how", (signal.SIGINT, signal.SIGKILL))
def test_interrupted_and_resumed(many, tmp_path, how):
    """What was under way at a signal is kept; the same command again gives the same bytes."""
    root, model, whole, seconds = many
    out, n_resumed = tmp_path / "c.npy", 0
    for part in (0.5, 0.8, 0.3, 0.15):  # earlier ones where a run is quicker than the first was
        if n_resumed and part < 0.5:
            break
        process = subprocess.Popen(command(model, out, root), env=GPU, stderr=subprocess.PIPE)
        time.sleep(part * seconds)
        process.send_signal(how)
        said = process.communicate()[1].decode()
        if process.returncode == 0:  # it had finished
            out.unlink()
            continue
        assert process.returncode in (-how, 128 + how), said
        assert not out.exists()
        done = embed(model, out, root)
        assert done.returncode == 0, text(done)
        assert corpus(out)[0] == corpus(root / "c.npy")[0] and left_over(out) == []
        n_resumed += n_tokens(done) < n_tokens(whole)
        out.unlink()
    assert n_resumed > 0


def test_disk_that_fails_while_batches_are_under_way(many, tmp_path):
    root, model, *_ = many
    library, out, log = build_faults(tmp_path), tmp_path / "c.npy", tmp_path / "calls"
    assert embed(model, out, root, env=fault(library, out, log=log)).returncode == 0
    blocks = [i for i, call in enumerate(log.read_text().split(), 1) if call in ("write", "pwrite")]
    out.unlink()
    done = embed(model, out, root, env=fault(library, out, at=blocks[len(blocks) // 2], mode="fail"))
    assert done.returncode == 1 and text(done).count("cannot") == 1, text(done)
    assert "emu:" not in text(done) and not out.exists()
    assert embed(model, out, root).returncode == 0
    assert corpus(out)[0] == corpus(root / "c.npy")[0] and left_over(out) == []
