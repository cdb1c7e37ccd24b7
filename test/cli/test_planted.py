"""Symbolic links under the names that temporary files will have: they are not followed, and the output is made all the same.
The shell plants them under its own process number, which the tool then has."""
import subprocess

import numpy as np
import pytest

from cli_util import ENV, midi, text, tool, write_model
from embed_util import about, embed

PLANT = 'victim=$1; shift; for name in "$1" "$1.json" "$1.names" "$1.npy"; do ' \
        'for end in "part-$$" "part-$$-1" "$$.tmp" "$$-0.tmp"; do ln -sf "$victim" "$name.$end"; done; done; ' \
        'ln -sf "$victim" "$(dirname "$1")/.midisim-$$.tmp"; shift; exec "$@"'


def planted(victim, out, *command):
    """Run a command that writes `out`, with links to the victim beside it."""
    return subprocess.run(["sh", "-c", PLANT, "sh", victim, out, *map(str, command)], env=ENV, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(5):
        (folder / f"{i}.mid").write_bytes(midi([40 + i, 50 + 2 * i]))
    model = write_model(folder / "m.safetensors")
    assert embed(model, folder / "c.npy", folder).returncode == 0
    return folder


@pytest.mark.parametrize("form", ("structured", "plain", "fbin"))
def test_convert(corpus, victim, tmp_path, form):
    out = tmp_path / "out"
    for _ in range(2):  # new, then in place of another
        done = planted(victim, out, tool("convert"), "--form", form, "--force", corpus / "c.npy", out)
        assert done.returncode == 0, text(done)
        assert victim.read_bytes() == b"precious"
        assert about(out)["rows"] == 5 and not out.is_symlink()


def test_checkpoint(corpus, victim, tmp_path):
    out = tmp_path / "m.safetensors"
    done = planted(victim, out, tool("convert"), "--dtype", "bf16", corpus / "m.safetensors", out)
    assert done.returncode == 0, text(done)
    assert victim.read_bytes() == b"precious" and out.stat().st_size > 1000


def test_embed_and_per_token(corpus, victim, tmp_path):
    out = tmp_path / "c.npy"
    done = planted(victim, out, tool("embed"), "-m", corpus / "m.safetensors", "-o", out, corpus)
    assert done.returncode == 0, text(done)
    assert victim.read_bytes() == b"precious" and len(np.load(out)) == 5
    (tmp_path / "t").mkdir()
    done = planted(victim, tmp_path / "t/1.mid", tool("embed"), "-m", corpus / "m.safetensors", "--per-token", tmp_path / "t", corpus)
    assert done.returncode == 0, text(done)
    assert victim.read_bytes() == b"precious" and np.load(tmp_path / "t/1.mid.npy").shape[1] == 32
