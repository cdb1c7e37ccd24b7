"""midisim-embed --per-token: shapes and values, names inside the folder, going on, what is refused."""
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_util import DRUMS, ENV, SILENT, lines, midi, run, text, tool, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "m.safetensors", dim=64)


@pytest.fixture
def songs(tmp_path):
    root = tmp_path / "songs"
    (root / "b").mkdir(parents=True)
    (root / "a.mid").write_bytes(midi((60, 64, 67)))
    (root / "b/c.kar").write_bytes(midi(range(40, 90)))
    (root / "same.mid").write_bytes(midi((60, 64, 67)))
    (root / "silent.mid").write_bytes(SILENT)
    (root / "drums.mid").write_bytes(DRUMS)
    return root


def per_token(model, out, *arguments, **more):
    return run("embed", "-m", model, "--per-token", out, *arguments, **more)


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def load(path):
    with open(path, "rb") as file:
        head = file.read(128)
        assert len(head[:head.index(b"\n") + 1]) % 64 == 0
    return np.load(path)


def test_shapes_and_values(model, songs, tmp_path):
    done = per_token(model, tmp_path / "out", songs)
    assert done.returncode == 0 and done.stdout == b"", text(done)
    assert "3 files written, 0 were there, 2 skipped (no-notes 1, drums-only 1)" in text(done)
    assert set(files_of(tmp_path / "out")) == {"a.mid.npy", "b/c.kar.npy", "same.mid.npy", "per-token.json"}
    tokens = {o["path"]: o.get("tokens") for o in lines(run("tokens", songs))}
    assert run("embed", "-m", model, "-o", tmp_path / "c.npy", songs).returncode == 0
    corpus = np.load(tmp_path / "c.npy")
    assert list(corpus["midi_names"]) == ["a.mid", "b/c.kar", "same.mid"]
    for row in corpus:
        got = load(tmp_path / "out" / (row["midi_names"] + ".npy"))
        n = len(tokens[row["midi_names"]])
        assert got.dtype == np.dtype("<f4") and got.shape == (n, 64) and np.isfinite(got).all()
        # The mean of n terms in f32, in any order, lies within n roundings of the largest partial sum of its own.
        bound = n * 2.0 ** -24 * np.abs(got.astype(float)).mean(axis=0) + 2.0 ** -23 * np.abs(row["midi_embeddings"])
        assert (np.abs(got.astype(float).mean(axis=0) - row["midi_embeddings"]) <= bound).all()
    about = json.loads((tmp_path / "out/per-token.json").read_text())
    assert (about["dim"], about["max_tokens"], about["transpose"]) == (64, 3072, 0)


def test_with_a_corpus(model, songs, tmp_path):
    done = per_token(model, tmp_path / "out", "-o", tmp_path / "c.npy", songs)
    assert done.returncode == 0 and "wrote" in text(done)
    assert run("embed", "-m", model, "-o", tmp_path / "d.npy", songs).returncode == 0
    assert (tmp_path / "c.npy").read_bytes() == (tmp_path / "d.npy").read_bytes()
    assert per_token(model, tmp_path / "alone", songs).returncode == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "alone")


def test_max_tokens_transpose_and_token_lines(model, songs, tmp_path):
    assert "1 file longer than 20 tokens" in text(per_token(model, tmp_path / "cut", "--max-tokens", 20, songs))
    per_token(model, tmp_path / "all", songs)
    assert load(tmp_path / "cut/b/c.kar.npy").shape == (20, 64)
    assert np.array_equal(load(tmp_path / "cut/a.mid.npy"), load(tmp_path / "all/a.mid.npy"))
    assert per_token(model, tmp_path / "up", "--transpose", 2, songs).returncode == 0
    assert not np.array_equal(load(tmp_path / "up/a.mid.npy"), load(tmp_path / "all/a.mid.npy"))
    printed = run("tokens", songs).stdout
    assert per_token(model, tmp_path / "lines", "--from-tokens", "-", stdin=printed).returncode == 0
    assert files_of(tmp_path / "lines") == files_of(tmp_path / "all")


def test_going_on(model, songs, tmp_path):
    out = tmp_path / "out"
    per_token(model, out, songs)
    whole = files_of(out)
    inode = (out / "a.mid.npy").stat().st_ino
    (out / "same.mid.npy").unlink()
    done = per_token(model, out, songs)
    assert done.returncode == 0 and "1 file written, 2 were there" in text(done)
    assert files_of(out) == whole and (out / "a.mid.npy").stat().st_ino == inode
    (out / "a.mid.npy").write_bytes(whole["a.mid.npy"][:-1])  # not one of ours: we rename
    done = per_token(model, out, songs)
    assert done.returncode == 1 and "a.mid.npy: another file is there already" in text(done)
    assert per_token(model, out, "--force", songs).returncode == 0 and files_of(out) == whole
    for other in (["--max-tokens", "9"], ["--transpose", "1"], ["--isa", "ref"]):
        done = per_token(model, out, *other, songs)
        assert done.returncode == 2 and "per-token.json: the vectors there were made with other settings" in text(done)
    assert files_of(out) == whole


def test_killed(model, tmp_path):
    (tmp_path / "songs").mkdir()
    for i in range(300):
        (tmp_path / f"songs/{i:03d}.mid").write_bytes(midi([30 + (i * 7 + j * j) % 60 for j in range(5 + i % 40)]))
    assert per_token(model, tmp_path / "whole", tmp_path / "songs").returncode == 0
    for delay in (0.02, 0.05, 0.1):
        going = subprocess.Popen([tool("embed"), "-m", model, "--per-token", tmp_path / "out", tmp_path / "songs"],
                                 env=ENV, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        going.send_signal(signal.SIGKILL)
        going.wait()
    assert per_token(model, tmp_path / "out", tmp_path / "songs").returncode == 0
    got = {n: b for n, b in files_of(tmp_path / "out").items() if ".part-" not in n}  # of a killed process
    assert got == files_of(tmp_path / "whole")


def test_hostile_names(model, tmp_path):
    names = ["../../up", "/etc/passwd", "a/./b", "a//b", ".", "..", "", "x" * 1000, "new\nline", "nul\0byte", "a/b", "é" * 300]
    printed = "".join(json.dumps({"path": n, "tokens": [0, 129, 300 + i]}) + "\n" for i, n in enumerate(names)).encode()
    before = {p for p in tmp_path.rglob("*")}
    done = per_token(model, tmp_path / "t/out", "--from-tokens", "-", stdin=printed)
    got = files_of(tmp_path / "t/out")
    usable = [n for n in names if 0 < len(n.encode()) <= 1024]
    assert {"__/__/up.npy", "etc/passwd.npy", "a/b.npy", "a/b~2.npy", "a/b~3.npy", "__.npy", "new\nline.npy"} <= set(got), text(done)
    assert len(got) >= len(usable) - 1 and all(len(os.fsencode(part)) <= 255 for n in got for part in n.split("/"))
    assert {p.relative_to(tmp_path).parts[0] for p in set(tmp_path.rglob("*")) - before} == {"t"}
    assert run("embed", "-m", model, "--per-token", tmp_path / "t/out", "--from-tokens", "-", stdin=printed).returncode == \
        done.returncode and files_of(tmp_path / "t/out") == got


def test_equal_stems(model, songs, tmp_path):
    (songs / "b/a.midi").write_bytes(midi((50, 51)))
    assert per_token(model, tmp_path / "out", "--names", "stem", songs).returncode == 0
    got = files_of(tmp_path / "out")
    assert {"a.npy", "a~2.npy", "c.npy", "same.npy"} <= set(got)
    assert got["a.npy"] == got["same.npy"] != got["a~2.npy"]
    assert per_token(model, tmp_path / "out", "--names", "stem", songs).returncode == 0 and files_of(tmp_path / "out") == got


def test_links_are_not_followed(model, songs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "secret").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "out/b")
    done = per_token(model, tmp_path / "out", songs)
    assert done.returncode == 1 and "a part of this path is no folder" in text(done)
    assert not files_of(tmp_path / "secret")


def test_full_disk(model, songs):
    done = per_token(model, "/dev/full/x", songs)
    assert done.returncode == 1 and "cannot open the folder: /dev/full" in text(done)


@pytest.mark.parametrize("wrong", (["--normalize"], ["--pooling", "weighted"], ["--dtype", "f16"], ["--update"],
                                   ["--keep-journal"], ["--vector-field", "v"], ["-o", "c.npy", "--files-from", "-"]))
def test_wrong_use(model, tmp_path, wrong):
    done = per_token(model, tmp_path / "out", *wrong, "x.mid", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == b"" and not (tmp_path / "out").exists()
