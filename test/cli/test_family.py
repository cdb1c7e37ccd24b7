"""A model's family decides what its token ids mean: MIDI files are not given to a model of another vocabulary."""
import json

import pytest
from cli_util import run, text, write_model

VOCAB = 800


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "stranger.safetensors", vocab=VOCAB)


def refused(done):
    said = text(done)
    return done.returncode in (1, 2) and str(VOCAB) in said and "386" in said and "token ids" in said


def test_embed_refuses_midi(stranger, songs, tmp_path):
    done = run("embed", "-m", stranger, "-o", tmp_path / "c.npy", songs / "a.MID")
    assert refused(done), text(done)
    assert not list(tmp_path.glob("c.npy*"))


def test_per_token_refuses_midi(stranger, songs, tmp_path):
    done = run("embed", "-m", stranger, "--per-token", tmp_path / "vectors", songs / "a.MID")
    assert refused(done), text(done)


def test_search_refuses_midi(stranger, songs, tmp_path):
    (tmp_path / "t").write_text(json.dumps({"path": "x", "tokens": [0, 500, 719]}) + "\n")
    done = run("embed", "-m", stranger, "-o", tmp_path / "c.npy", "--from-tokens", tmp_path / "t")
    assert done.returncode == 0, text(done)  # its own ids are welcome
    done = run("search", "-m", stranger, "-c", tmp_path / "c.npy", songs / "a.MID")
    assert refused(done), text(done)
