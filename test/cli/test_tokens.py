"""midisim-tokens: objects, order, names, inputs, exit codes. Values are compared in test/golden."""
import gzip
import os
import signal
import subprocess
import time

import pytest
from cli_util import DRUMS, ENV, SILENT, lines, midi, run, text, tool


def test_objects(songs):
    done = run("tokens", songs)
    objects = lines(done)
    assert done.returncode == 0
    assert [o["path"] for o in objects] == ["a.MID", "b-.kar", "b.mid", "b/z.mid", "c.midi"]  # bytewise: - . /
    for o in objects:
        assert list(o) == ["path", "transpose", "tokens"] and o["transpose"] == 0
        assert o["tokens"][0] == 0 and len(o["tokens"]) > 4
    assert "5 files: 5 sequences" in text(done)


@pytest.mark.parametrize("threads", (1, 2, 7))
def test_same_output_on_any_thread_count(shipped, threads):
    done = run("tokens", "--threads", threads, "--max-tokens", 0, shipped)
    assert done.stdout == run("tokens", "--threads", 3, "--max-tokens", 0, shipped).stdout


def test_transpose(tmp_path):
    (tmp_path / "a.mid").write_bytes(midi())
    plain = lines(run("tokens", tmp_path / "a.mid"))[0]["tokens"]
    for n in (1, 6):
        objects = lines(run("tokens", "--transpose", n, tmp_path / "a.mid"))
        assert [o["transpose"] for o in objects] == list(range(-n, n))
        assert objects[n]["tokens"] == plain
        for o in objects:
            assert [t for t in o["tokens"] if t < 256] == [t for t in plain if t < 256]
            assert [t - o["transpose"] for t in o["tokens"] if t >= 257] == [t for t in plain if t >= 257]
    assert run("tokens", "--transpose", 7, tmp_path / "a.mid").returncode == 2
    assert run("tokens", "--transpose", -1, tmp_path / "a.mid").returncode == 2


def test_max_tokens(tmp_path):
    (tmp_path / "a.mid").write_bytes(midi([60, 62] * 1000))
    everything = lines(run("tokens", "--max-tokens", 0, tmp_path / "a.mid"))[0]["tokens"]
    assert len(everything) > 3072
    done = run("tokens", tmp_path / "a.mid")
    assert lines(done)[0]["tokens"] == everything[:3072]
    assert "1 file longer than 3,072 tokens, only the beginning is used" in text(done)
    assert lines(run("tokens", "--max-tokens", 5, tmp_path / "a.mid"))[0]["tokens"] == everything[:5]


def test_names(songs, tmp_path):
    def paths(*arguments, **more):
        return [o["path"] for o in lines(run("tokens", *arguments, cwd=tmp_path, **more))]
    assert paths("songs/b") == ["z.mid"]
    assert paths("songs/b/") == ["z.mid"]
    assert paths("songs/b", "songs/a.MID") == ["songs/b/z.mid", "songs/a.MID"]
    assert paths("./songs/b/z.mid") == ["./songs/b/z.mid"]
    assert paths("--names", "stem", "songs") == ["a", "b-", "b", "z", "c"]
    assert paths("--files-from", "-", stdin=b"songs/b\nsongs/a.MID\n") == ["songs/b/z.mid", "songs/a.MID"]
    assert paths("--files-from", "-", stdin=b"songs/b") == ["z.mid"]
    assert paths("songs/c.midi", "--files-from", "-", "-0", stdin=b"songs/a.MID\0songs/b/z.mid") == \
        ["songs/c.midi", "songs/a.MID", "songs/b/z.mid"]
    (tmp_path / "x.y.mid.gz").write_bytes(gzip.compress(midi()))
    (tmp_path / ".mid").write_bytes(midi())
    assert paths("--names", "stem", "x.y.mid.gz", ".mid") == ["x.y", ".mid"]


def test_names_that_are_not_utf8(tmp_path):
    names = [b"\xff\x80.mid", "\u00e9\u4e2d\U0001f3b5.mid".encode(), b'quote".mid', b"back\\udc80slash.mid", b"new\nline.mid",
             b"half\xe4\xb8.mid", b"surrogate\xed\xa0\x80.mid"]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(midi())
    done = run("tokens", tmp_path)
    assert [os.fsencode(o["path"]) for o in lines(done)] == sorted(names)
    done = run("tokens", *names, "missing\n.mid", cwd=tmp_path)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 8
    assert text(done).count("\n") == 2  # one line for the missing file, the summary
    assert run("tokens", "-0", "--files-from", "-", cwd=tmp_path, stdin=b"\0".join(names)).returncode == 0


def test_wrong_list(tmp_path):
    assert run("tokens", "--files-from", tmp_path / "none").returncode == 1
    assert run("tokens", "--files-from", "-", stdin=b"a.mid\0b.mid\0").returncode == 2
    assert run("tokens", "-0", "x").returncode == 2
    assert run("tokens", "--files-from", "-", stdin=b"").returncode == 1


def test_walk(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "x.mid").write_bytes(midi())
    (tmp_path / "song.mid").mkdir()
    (tmp_path / "song.mid" / "y.mid").write_bytes(midi())
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "loop.mid").symlink_to(tmp_path)
    (tmp_path / "link.mid").symlink_to(deep / "x.mid")
    (tmp_path / "plain").write_bytes(midi())
    done = run("tokens", tmp_path)
    assert done.returncode == 0
    assert [o["path"] for o in lines(done)] == ["d/" * 40 + "x.mid", "link.mid", "song.mid/y.mid"]
    assert [o["path"] for o in lines(run("tokens", tmp_path / "plain"))] == [str(tmp_path / "plain")]
    assert len(lines(run("tokens", tmp_path / "loop" / "song.mid"))) == 1


def test_name_too_long(tmp_path):
    folder = tmp_path.joinpath(*["d" * 200] * 5)
    folder.mkdir(parents=True)
    (folder / ("n" * 14 + ".mid")).write_bytes(midi())   # 1,005 + 18 = 1,023
    (folder / ("n" * 15 + ".mid")).write_bytes(midi())   # 1,024
    (folder / ("n" * 16 + ".mid")).write_bytes(midi())   # 1,025
    done = run("tokens", tmp_path)
    assert done.returncode == 1
    assert sorted(o.get("error", "") for o in lines(done)) == ["", "", "name-too-long"]


def test_gzip(tmp_path):
    plain = lines_without_path(run_bytes(tmp_path, "a.mid", midi()))
    packed = gzip.compress(midi())
    half = gzip.compress(midi()[:20]) + gzip.compress(midi()[20:])
    for name, data in (("b.mid.gz", packed), ("b.MID.GZ", packed), ("c.mid", packed), ("d.mid.gz", half),
                       ("e.mid.gz", packed + bytes(512))):
        assert lines_without_path(run_bytes(tmp_path, name, data)) == plain
    for name, data in (("f.mid.gz", b"neither"), ("g.mid.gz", packed[:-9]), ("h.mid.gz", packed + b"more"),
                       ("i.mid.gz", b""), ("j.mid.gz", packed[:-1]), ("k.mid", packed[:25])):
        done = run_bytes(tmp_path, name, data)
        assert done.returncode == 1 and lines(done)[0]["error"] == "bad-gzip"
    # The first four bytes of a MIDI file may be anything, even those of gzip.
    assert lines_without_path(run_bytes(tmp_path, "l.mid", b"\x1f\x8b\x08\x00" + midi()[4:])) == plain


def run_bytes(folder, name, data):
    (folder / name).write_bytes(data)
    return run("tokens", folder / name)


def lines_without_path(done):
    assert done.returncode == 0, text(done)
    return [(o["transpose"], o["tokens"]) for o in lines(done)]


def test_standard_input():
    done = run("tokens", "-", stdin=midi())
    assert done.returncode == 0 and lines(done)[0]["path"] == "-" and lines(done)[0]["tokens"][0] == 0
    assert lines(run("tokens", "-", stdin=gzip.compress(midi())))[0]["tokens"] == lines(done)[0]["tokens"]
    assert run("tokens", "-", stdin=b"").returncode == 1


def test_reasons_and_exit_codes(tmp_path):
    (tmp_path / "good.mid").write_bytes(midi())
    (tmp_path / "silent.mid").write_bytes(SILENT)
    (tmp_path / "drums.mid").write_bytes(DRUMS)
    skipped = tmp_path / "skipped.tsv"
    done = run("tokens", "--skipped", skipped, tmp_path)
    assert done.returncode == 0  # files of a folder without notes are counted, not failures
    assert {o["path"]: o.get("error") for o in lines(done)} == \
        {"good.mid": None, "silent.mid": "no-notes", "drums.mid": "drums-only"}
    assert "3 files: 1 sequence," in text(done) and "no-notes 1, drums-only 1" in text(done)
    rows = [line.split("\t") for line in skipped.read_text().splitlines()]
    assert [(os.path.basename(r[0]), r[1]) for r in rows] == [("drums.mid", "drums-only"), ("silent.mid", "no-notes")]
    assert all(len(r) == 3 for r in rows)
    done = run("tokens", tmp_path / "good.mid", tmp_path / "silent.mid")
    assert done.returncode == 1 and "no-notes" in text(done)  # named: it gave nothing
    (tmp_path / "empty").mkdir()
    done = run("tokens", tmp_path / "good.mid", tmp_path / "empty")
    assert done.returncode == 1 and "no MIDI files" in text(done) and len(lines(done)) == 1
    assert run("tokens", "--skipped", "/dev/full", tmp_path).returncode == 1
    assert run("tokens", "--skipped", tmp_path / "no" / "file", tmp_path).returncode == 1


def test_many_failures_are_not_all_shown(tmp_path):
    for i in range(50):
        (tmp_path / f"{i}.mid").write_bytes(b"no")
    (tmp_path / "good.mid").write_bytes(midi())
    done = run("tokens", tmp_path)
    assert done.returncode == 1 and len(lines(done)) == 51
    assert text(done).count("not-midi: ") == 20 and "and 30 more" in text(done)


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_signals(number):
    process = subprocess.Popen([tool("tokens"), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=ENV)
    time.sleep(0.5)
    process.send_signal(number)
    process.wait(20)
    process.stdin.close()
    assert process.returncode == 128 + number


def test_midisimx(tmp_path):
    """The other family: its lines say so, and its options are refused without it."""
    (tmp_path / "a.mid").write_bytes(midi([60, 62]))
    one = lines(run("tokens", "--family", "midisimx", tmp_path / "a.mid"))[0]
    assert list(one) == ["path", "family", "order", "transpose", "tokens"]
    assert (one["family"], one["order"]) == ("midisimx", "time-first") and one["tokens"][0] == 0
    other = lines(run("tokens", "--family", "midisimx", "--token-order", "chord-first", tmp_path / "a.mid"))[0]
    assert other["order"] == "chord-first"
    assert (other["tokens"][1], other["tokens"][0], *other["tokens"][2:4]) == tuple(one["tokens"][:4])
    assert len(lines(run("tokens", "--family", "midisimx", "--transpose", 2, tmp_path / "a.mid"))) == 4
    for options in (["--token-order", "time-first"], ["--clean"], ["--no-clean"], ["--center-pitch", 60],
                    ["--family", "midisimx", "--clean", "--no-clean"], ["--family", "midisimx", "--center-pitch", 128],
                    ["--family", "midisimx", "--md5"], ["--family", "other"]):
        assert run("tokens", *options, tmp_path / "a.mid").returncode == 2, options


def test_no_clean_notes(tmp_path):
    """Strings are left out by cleaning: a reason of its own, and no failure for a file that no one named."""
    strings = midi().replace(b"\x00\x90", b"\x00\xc0\x30\x00\x90", 1)
    at = strings.index(b"MTrk") + 4
    strings = strings[:at] + (len(strings) - at - 4).to_bytes(4, "big") + strings[at + 4:]
    (tmp_path / "strings.mid").write_bytes(strings)
    (tmp_path / "piano.mid").write_bytes(midi())
    done = run("tokens", "--family", "midisimx", tmp_path)
    assert [o.get("error") for o in lines(done)] == [None, "no-clean-notes"] and done.returncode == 0
    assert all("tokens" in o for o in lines(run("tokens", "--family", "midisimx", "--no-clean", tmp_path)))
