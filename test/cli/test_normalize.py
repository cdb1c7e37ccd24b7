"""midisim-tokens --md5 and --normalize-midi: objects, where files go, what is never written over. The bytes are compared
with the original's in test/golden and test/unit/midi/test_canonical.c."""
import gzip
import hashlib
import os
import signal
import subprocess
import time

import pytest
from cli_util import ENV, SILENT, lines, midi, run, text, tool

SONG = midi()
NORMAL = bytes.fromhex("4d546864000000060000000101e04d54726b0000001f"
                       "00903c5a8360803c5a0090405a836080405a0090435a836080435a00ff2f00")
EMPTY = bytes.fromhex("4d546864000000060000000103e84d54726b0000000400ff2f00")


def md5(data):
    return hashlib.md5(data).hexdigest()


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def two(tmp_path):
    """b/x.y.mid.gz and c.KAR below in/."""
    (tmp_path / "in/b").mkdir(parents=True)
    (tmp_path / "in/b/x.y.mid.gz").write_bytes(gzip.compress(SONG))
    (tmp_path / "in/c.KAR").write_bytes(SILENT)
    return tmp_path


def test_md5(two):
    done = run("tokens", "--md5", "in", cwd=two)
    assert done.returncode == 0 and "2 of 2 files" in text(done)
    assert lines(done) == [
        {"path": "b/x.y.mid.gz", "midi_name": "x.y", "original_md5": md5(SONG), "normalized_md5": md5(NORMAL)},
        {"path": "c.KAR", "midi_name": "c", "original_md5": md5(SILENT), "normalized_md5": md5(SILENT)}]
    assert lines(run("tokens", "--md5", "-", stdin=SONG))[0]["normalized_md5"] == md5(NORMAL)


def test_what_is_no_midi(tmp_path):
    (tmp_path / "text.mid").write_bytes(b"This is text, and no MIDI file.")
    (tmp_path / "short.mid").write_bytes(b"MThd\0\0")
    (tmp_path / "bad.mid").write_bytes(SONG[:14] + b"MTrk\0\0\0\2\0\x90")
    done = run("tokens", "--md5", "bad.mid", "short.mid", "text.mid", "absent.mid", cwd=tmp_path)
    objects = lines(done)
    assert done.returncode == 1
    assert [o.get("error") for o in objects] == ["bad-midi", "not-midi", None, "unreadable"]
    assert "byte 24" in objects[0]["detail"] and "14 bytes, got 6" in objects[1]["detail"]
    assert objects[2]["normalized_md5"] == md5(EMPTY)  # as the original


def test_one_file(tmp_path):
    (tmp_path / "a.mid").write_bytes(SONG)
    done = run("tokens", "--normalize-midi", "new/out.mid", "a.mid", cwd=tmp_path)
    assert done.returncode == 0 and lines(done) == [{"path": "a.mid", "normalized": "new/out.mid"}]
    assert files_of(tmp_path) == {"a.mid": SONG, "new/out.mid": NORMAL}
    assert run("tokens", "--normalize-midi", "new/out.mid", "a.mid", cwd=tmp_path).returncode == 0  # the same bytes
    (tmp_path / "new/out.mid").write_bytes(b"mine")
    done = run("tokens", "--normalize-midi", "new/out.mid", "a.mid", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == b"" and "new/out.mid: is there already" in text(done)
    assert (tmp_path / "new/out.mid").read_bytes() == b"mine"
    assert run("tokens", "--force", "--normalize-midi", "new/out.mid", "a.mid", cwd=tmp_path).returncode == 0
    assert (tmp_path / "new/out.mid").read_bytes() == NORMAL
    assert run("tokens", "--force", "--normalize-midi", "a.mid", "a.mid", cwd=tmp_path).returncode == 0
    assert files_of(tmp_path) == {"a.mid": NORMAL, "new/out.mid": NORMAL}


def test_stream(tmp_path):
    (tmp_path / "a.mid").write_bytes(SONG)
    assert run("tokens", "--normalize-midi", "-", "a.mid", cwd=tmp_path).stdout == NORMAL
    assert run("tokens", "--normalize-midi", "-", "-", stdin=SONG).stdout == NORMAL
    done = run("tokens", "--normalize-midi", "-", "-", stdin=b"short")
    assert (done.returncode, done.stdout) == (1, b"")
    done = run("tokens", "--normalize-midi", "out", "-", cwd=tmp_path, stdin=SONG)
    assert done.returncode == 0 and (tmp_path / "out").read_bytes() == NORMAL


def test_folder(two):
    expected = {"b/x.y.mid": NORMAL, "c.KAR": SILENT}
    for _ in range(2):  # the second time the files are there, as they should be
        done = run("tokens", "--md5", "--normalize-midi", "out", "in", cwd=two)
        assert done.returncode == 0 and files_of(two / "out") == expected
        assert [(o["normalized"], o["normalized_md5"]) for o in lines(done)] == \
            [("out/b/x.y.mid", md5(NORMAL)), ("out/c.KAR", md5(SILENT))]
    (two / "out/c.KAR").write_bytes(b"mine")
    done = run("tokens", "--normalize-midi", "out/", "in", cwd=two)
    assert done.returncode == 0 and lines(done)[1]["normalized"] == "out/c_normalized.mid"
    assert files_of(two / "out") == {**expected, "c.KAR": b"mine", "c_normalized.mid": SILENT}
    (two / "out/c_normalized.mid").write_bytes(b"mine too")
    done = run("tokens", "--normalize-midi", "out", "in", cwd=two)
    assert done.returncode == 1 and len(lines(done)) == 1 and "c_normalized.mid: is there already" in text(done)
    assert run("tokens", "--force", "--normalize-midi", "out", "in", cwd=two).returncode == 0
    assert files_of(two / "out") == {**expected, "c_normalized.mid": b"mine too"}


def test_names_by_stem(two):
    (two / "in/x.y.mid").write_bytes(SILENT)
    done = run("tokens", "--names", "stem", "--normalize-midi", "out", "in", cwd=two)
    assert done.returncode == 0
    assert files_of(two / "out") == {"x.y.mid": NORMAL, "x.y~2.mid": SILENT, "c.mid": SILENT}


def test_hostile_names(tmp_path):
    deep = tmp_path / "top/in"
    deep.mkdir(parents=True)
    long = "l" * 240 + ".mid"
    for path in (tmp_path / "top/up.mid", deep / ".hidden.mid", deep / "...mid", deep / long, deep / "new\nline.mid"):
        path.write_bytes(SONG)
    os.symlink(tmp_path, tmp_path / "elsewhere")
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "top", tmp_path / "out/link")
    (deep / "link").mkdir()
    (deep / "link/stolen.mid").write_bytes(SONG)
    before = files_of(tmp_path / "top")
    names = ["../up.mid", f"{deep}/.hidden.mid", "./...mid", long, "new\nline.mid", "../in/../up.mid", "//" + str(deep) + "/.hidden.mid"]
    done = run("tokens", "--normalize-midi", "../../out", *names, cwd=deep)
    assert done.returncode == 0, text(done)
    inside = str(deep).lstrip("/")
    got = files_of(tmp_path / "out")
    assert set(got.values()) == {NORMAL} and len(got) == len(names)
    assert {"__/up.mid", "__/in/__/up.mid", "new\nline.mid", f"{inside}/_hidden.mid", f"{inside}/_hidden~2.mid"} <= set(got)
    assert sum(len(name) == 204 and name.startswith("lll") for name in got) == 1
    done = run("tokens", "--normalize-midi", "../../out", "link/stolen.mid", "...mid", cwd=deep)
    assert done.returncode == 1 and "a part of this path is no folder" in text(done)
    assert files_of(tmp_path / "top") == before and not list(tmp_path.rglob(".midisim*"))


@pytest.mark.parametrize("wrong", (["--md5", "--transpose", "1", "x"], ["--md5", "--max-tokens", "3", "x"], ["--force", "x"],
                                   ["--normalize-midi", "-", "x", "y"], ["--normalize-midi", "-", "."],
                                   ["--normalize-midi", "-", "--md5", "x"], ["--md5"], ["--normalize-midi", "", "x"]))
def test_wrong_use(wrong):
    assert run("tokens", *wrong).returncode == 2


def test_out_is_no_folder(two):
    (two / "file").write_bytes(b"")
    done = run("tokens", "--normalize-midi", "file", "in", cwd=two)
    assert done.returncode == 1 and "cannot open the folder: file" in text(done)
    assert run("tokens", "--normalize-midi", "/dev/full", "in/c.KAR", cwd=two).returncode == 1


def test_stop_while_waiting_for_standard_input():
    process = subprocess.Popen([tool("tokens"), "--md5", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=ENV)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(30) == 130 and process.stdout.read() == b""
    finally:
        process.kill()
        process.communicate()
