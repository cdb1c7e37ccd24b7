"""Files that another program changes while they are in use: never a wrong answer with exit code 0, never a silent death,
nothing left behind."""
import os
import shutil
import subprocess

import numpy as np
import pytest
from cli_util import ENV, ROOT, midi, run, text, tool
from embed_util import build_faults
from search_util import named

N, DIM = 3000, 48


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return build_faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def corpus(tmp_path):
    rows = np.random.default_rng(1).standard_normal((N, DIM)).astype("f4")
    return named(tmp_path / "c.npy", [f"n{i}" for i in range(N)], rows)


def cut(faults, name, to):
    return {"LD_PRELOAD": str(faults), "FAULT_CUT": name, "FAULT_CUT_TO": str(to)}


def within_last_page(path):
    size = os.path.getsize(path)
    return size - (size % 4096) // 2


def check_loud(done, *says):
    lines = text(done).splitlines()
    assert done.returncode == 1 and sum("cut short" in line or "changed while" in line for line in lines) == 1, lines
    assert all(word in text(done) for word in says), text(done)


@pytest.mark.parametrize("scan", ["f64", "f32"])
def test_search_in_a_cut_corpus(faults, corpus, scan):
    """A cut within the last page reads as zeros; a larger one raises SIGBUS."""
    whole = open(corpus, "rb").read()
    done = run("search", "-c", corpus, "--like", "n7", "--scan", scan, env=cut(faults, "c.npy", within_last_page(corpus)))
    check_loud(done, "changed while it was in use", "c.npy")
    assert done.stdout.count(b"\n") <= 1  # a header at most
    open(corpus, "wb").write(whole)
    done = run("search", "-c", corpus, "--like", "n7", "--scan", scan, env=cut(faults, "c.npy", 4096))
    check_loud(done, "cut short by another program")


def test_search_in_cut_codes(faults, corpus):
    assert run("search", "-c", corpus, "--prepare").returncode == 0
    for to in (within_last_page(f"{corpus}.msim"), 4096):
        before = open(f"{corpus}.msim", "rb").read()
        done = run("search", "-c", corpus, "--like", "n7", env=cut(faults, "c.npy.msim", to))
        # Codes may be found unfit before they are used; then the search goes on without them.
        assert done.returncode == 1 or done.stdout == run("search", "-c", corpus, "--like", "n7", "--scan", "f64").stdout
        open(f"{corpus}.msim", "wb").write(before)


@pytest.mark.parametrize("is_small", [True, False])
def test_convert_of_a_cut_corpus(faults, corpus, tmp_path, is_small):
    to = within_last_page(corpus) if is_small else 4096
    done = run("convert", "--form", "plain", corpus, tmp_path / "out.npy", env=cut(faults, "c.npy", to))
    check_loud(done)
    assert sorted(os.listdir(tmp_path)) == ["c.npy"]


@pytest.mark.parametrize("is_small", [True, False])
def test_prepare_of_a_cut_corpus(faults, corpus, tmp_path, is_small):
    to = within_last_page(corpus) if is_small else 4096
    done = run("search", "-c", corpus, "--prepare", env=cut(faults, "c.npy", to))
    check_loud(done)
    assert sorted(os.listdir(tmp_path)) == ["c.npy"]


@pytest.mark.parametrize("is_small", [True, False])
def test_embed_with_a_cut_model(faults, tmp_path, is_small):
    shutil.copy(ROOT / "test/data/checkpoints/tiny.safetensors", tmp_path / "m.safetensors")
    (tmp_path / "a.mid").write_bytes(midi())
    to = within_last_page(tmp_path / "m.safetensors") if is_small else 4096
    done = run("embed", "-m", "m.safetensors", "-o", "c.npy", "a.mid", cwd=tmp_path, env=cut(faults, "m.safetensors", to))
    check_loud(done)
    assert not (tmp_path / "c.npy").exists()


def test_a_renamed_corpus_is_no_change(faults, corpus, tmp_path):
    """What replaces a file whole does not touch those who read the old one."""
    expected = run("search", "-c", corpus, "--like", "n7").stdout
    os.link(corpus, tmp_path / "kept.npy")
    assert run("search", "-c", tmp_path / "kept.npy", "--like", "n7").stdout == expected


def test_closed_standard_output(corpus):
    done = subprocess.run(["sh", "-c", '"$0" "$@" >&-', tool("search"), "-c", corpus, "--like", "n7"], env=ENV,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"write error: standard output" in done.stderr
