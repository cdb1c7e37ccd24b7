"""Outputs whose names are as long as a file system takes them: one for which there is no room is refused before any work."""
import os
import shutil

import pytest

from cli_util import ROOT, midi, run, text

MODEL = ROOT / "test/data/checkpoints/tiny.safetensors"
MOST = 255


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one song, and its corpus."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "songs").mkdir()
    (folder / "songs/love.mid").write_bytes(midi([60, 64, 67]))
    done = run("embed", "-m", MODEL, "-o", folder / "c.npy", folder / "songs")
    assert done.returncode == 0, text(done)
    return folder


def refused(done, folder):
    """One line that says so, and nothing written."""
    assert done.returncode in (1, 2) and text(done).count("\n") == 1 and "too long" in text(done), text(done)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("n", (MOST - 10, MOST - 9, MOST, MOST + 1))
def test_embed(made, tmp_path, n):
    out = tmp_path / ("n" * n)
    done = run("embed", "-m", MODEL, "-o", out, made / "songs")
    if n > MOST - len(".json.next"):
        refused(done, tmp_path)
        assert "row" not in text(done) and "token" not in text(done)
        # Before anything else: the model is not opened, nor the input.
        refused(run("embed", "-m", made / "none.safetensors", "-o", out, made / "none"), tmp_path)
    else:
        assert done.returncode == 0, text(done)
        assert sorted(os.listdir(tmp_path)) == [out.name, out.name + ".json"]


@pytest.mark.parametrize("form", ("structured", "plain", "fvecs"))
@pytest.mark.parametrize("n", (230, MOST - 5, MOST, MOST + 1))
def test_convert(made, tmp_path, form, n):
    out = tmp_path / ("n" * n)
    for _ in range(2):  # the second time over what is there
        done = run("convert", "--force", "--form", form, made / "c.npy", out)
        if n > 230:
            refused(done, tmp_path)
        else:
            assert done.returncode == 0, text(done)
            names = [".json"] + [".names"] * (form != "structured")
            assert sorted(os.listdir(tmp_path)) == [out.name + ending for ending in [""] + names]


def test_merge(made, tmp_path):
    refused(run("convert", "--merge", made / "c.npy", "-o", tmp_path / ("n" * MOST)), tmp_path)


@pytest.mark.parametrize("n", (MOST, MOST + 1))
def test_checkpoint(tmp_path, n):
    out = tmp_path / ("n" * n)
    done = run("convert", MODEL, out)
    if n > MOST:
        refused(done, tmp_path)
    else:
        assert done.returncode == 0 and os.listdir(tmp_path) == [out.name], text(done)


@pytest.mark.parametrize("n", (MOST, MOST + 1))
def test_folders(made, tmp_path, n):
    """--per-token and --copy-to take a folder; what they write into it has names of its own, which are cut."""
    out = tmp_path / ("n" * n)
    for name, *arguments in (("embed", "-m", MODEL, "--per-token", out, made / "songs"),
                             ("search", "-m", MODEL, "-c", made / "c.npy", "--copy-to", out, "--midi-root", made / "songs",
                              made / "songs/love.mid")):
        done = run(name, *arguments)
        if n > MOST:
            refused(done, tmp_path)
        else:
            assert done.returncode == 0 and os.listdir(tmp_path) == [out.name], text(done)
            shutil.rmtree(out)
