"""midisim-index and midisim-find: an index of made pieces, queries of every kind, formats, exit codes, hostile inputs."""
import json
import random
import struct

import pytest

from cli_util import lines, midi, run, text, vlq

KEYS = ("E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4 E4 D4 D4", 64)


def tune(seed, n=160, transpose=0):
    """A random walk of n pitches."""
    rng = random.Random(seed)
    pitch, out = 64, []
    for _ in range(n):
        pitch += rng.randint(-7, 7)
        pitch = pitch + 12 if pitch < 44 else pitch - 12 if pitch > 84 else pitch
        out.append(pitch + transpose)
    return out


def two_tracks(first, second):
    """Format 1: two tracks with names, on channels 0 and 1, two bars of 4/4 a second each."""
    tracks = []
    for channel, (name, pitches) in enumerate((("Tune", first), ("Bass", second))):
        body = b"\0\xff\x03" + bytes([len(name)]) + name.encode()
        for pitch in pitches:
            body += vlq(0) + bytes([0x90 | channel, pitch, 90]) + vlq(240) + bytes([0x80 | channel, pitch, 0])
        tracks.append(body + b"\0\xff\x2f\0")
    return b"MThd" + struct.pack(">IHHH", 6, 1, 2, 480) + b"".join(b"MTrk" + struct.pack(">I", len(t)) + t for t in tracks)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """40 pieces below a folder, and their index beside it."""
    folder = tmp_path_factory.mktemp("find")
    (folder / "music/b").mkdir(parents=True)
    for i in range(40):
        (folder / f"music/{'b/' if i % 2 else ''}{i:02d}.mid").write_bytes(midi(tune(i), ticks=240))
    (folder / "music/two.mid").write_bytes(two_tracks(tune(100), [p - 24 for p in tune(101)]))
    done = run("index", "-o", "m.notes", "music", cwd=folder)
    assert done.returncode == 0, text(done)
    return folder


def find(music, *arguments, **more):
    return run("find", "-i", "m.notes", *arguments, cwd=music, **more)


def answers(music, *arguments, code=0, **more):
    done = find(music, "--json", *arguments, **more)
    assert done.returncode == code, text(done)
    return lines(done)


# ---- The index ------------------------------------------------------------------------------------------------------


def index(folder, output, *arguments, code=0):
    done = run("index", "-o", output, *arguments, cwd=folder)
    assert done.returncode == code, text(done)
    return (folder / output).read_bytes()


def test_same_bytes_by_shards_memory_and_order(music, tmp_path):
    whole = (music / "m.notes").read_bytes()
    for i in (1, 2, 3):
        index(music, tmp_path / f"{i}.notes", "--shard", f"{i}/3", "music")
    index(tmp_path, "merged.notes", "--merge", "3.notes", "1.notes", "2.notes")
    assert (tmp_path / "merged.notes").read_bytes() == whole
    assert index(music, tmp_path / "t.notes", "--threads", 3, "music") == whole
    paths = sorted((music / "music").rglob("*.mid"), reverse=True)
    by_list = "".join(f"{path}\n" for path in paths)
    done = run("index", "-o", tmp_path / "l.notes", "--names", "stem", "--files-from", "-", stdin=by_list.encode())
    assert done.returncode == 0, text(done)
    assert index(music, tmp_path / "s.notes", "--names", "stem", "music") == (tmp_path / "l.notes").read_bytes()
    assert run("index", "--verify", tmp_path / "merged.notes").returncode == 0


def test_update(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        (tmp_path / f"in/{i}.mid").write_bytes(midi(tune(i)))
    index(tmp_path, "x.notes", "in")
    (tmp_path / "in/2.mid").unlink()
    (tmp_path / "in/3.mid").write_bytes(midi(tune(33)))
    (tmp_path / "in/7.mid").write_bytes(midi(tune(7)))
    done = run("index", "--update", "-o", "x.notes", "in", cwd=tmp_path)
    assert done.returncode == 0 and "2 pieces added, 4 kept, 2 dropped" in text(done)
    assert (tmp_path / "x.notes").read_bytes() == index(tmp_path, "y.notes", "in")
    done = run("index", "--update", "--density", 3, "-o", "x.notes", "in", cwd=tmp_path)
    assert done.returncode == 2 and "density 1" in text(done)


def test_going_on(music, tmp_path):
    """What an interrupted run kept is used, if its files are unchanged, and then removed."""
    whole = (music / "m.notes").read_bytes()
    index(music, tmp_path / "x.notes.kept-0", "--shard", "1/3", "music")
    index(music, tmp_path / "x.notes.kept-1", "--shard", "3/3", "music")
    n = len((music / "m.notes").read_bytes()) and 41
    done = run("index", "-o", tmp_path / "x.notes", "music", cwd=music)
    assert done.returncode == 0 and " kept, 0 dropped" in text(done) and f"{n} pieces added" not in text(done)
    assert [path.name for path in tmp_path.iterdir()] == ["x.notes"] and (tmp_path / "x.notes").read_bytes() == whole
    (tmp_path / "x.notes.kept-0").write_bytes(b"damaged")
    assert index(music, tmp_path / "x.notes", "music") == whole


def test_inputs_that_give_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mid").write_bytes(midi(tune(1)))
    (tmp_path / "in/b.mid").write_bytes(b"none")
    (tmp_path / "in/c.mid").write_bytes(midi(()))
    (tmp_path / "in/d.mid").write_bytes(midi((36, 38), channel=9))
    done = run("index", "-o", "x.notes", "--skipped", "s.tsv", "in", cwd=tmp_path)
    assert done.returncode == 1 and "1 piece," in text(done)
    assert {line.split("\t")[1] for line in (tmp_path / "s.tsv").read_text().splitlines()} >= {"not-midi", "no-notes", "drums-only"}
    (tmp_path / "in/a.mid").unlink()
    done = run("index", "-o", "y.notes", "in", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "y.notes").exists()


@pytest.mark.parametrize("arguments, says", [
    (["x"], "no output"), (["-o", "a"], "no input"), (["-o", "-", "x"], "standard output"),
    (["-o", "a", "--shard", "0/3", "x"], "--shard"), (["-o", "a", "--shard", "4/3", "x"], "--shard"),
    (["--merge", "--update", "-o", "a", "x"], "--merge"), (["--info", "-o", "a", "x"], "only read"),
    (["-o", "a", "--density", "0", "x"], "density")])
def test_wrong_use_of_index(tmp_path, arguments, says):
    done = run("index", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and says in text(done)


# ---- Queries --------------------------------------------------------------------------------------------------------


def test_e_is_never_0(tmp_path):
    """What a double cannot hold any more is a number still, in every format."""
    (tmp_path / "music").mkdir()
    (tmp_path / "music/long.mid").write_bytes(midi(tune(5, 6000), ticks=240))
    index(tmp_path, "m.notes", "music")
    assert answers(tmp_path, "music/long.mid")[0]["matches"][0]["evalue"] == 1e-300
    for form in ("table", "tsv"):
        done = find(tmp_path, "--format", form, "music/long.mid")
        assert b"e-300" in done.stdout, text(done)


def test_files_in_any_key(music, tmp_path):
    (tmp_path / "q.mid").write_bytes(midi(tune(7, transpose=5), ticks=300))
    (tmp_path / "r.mid").write_bytes(midi(tune(12)[40:100], ticks=240))
    (tmp_path / "none.mid").write_bytes(midi(tune(999)))
    q, r, none = answers(music, tmp_path / "q.mid", tmp_path / "r.mid", tmp_path / "none.mid")
    best = q["matches"][0]
    assert best["name"] == "b/07.mid" and best["relation"] == "same notes" and not best["same_key"] and not best["same_tempo"]
    assert best["transpose"] == -5 and abs(best["tempo"] - 0.8) < 0.01 and best["notes"] == 160 and best["evalue"] < 1e-6
    best = r["matches"][0]
    assert best["name"] == "12.mid" and best["relation"] == "part of" and abs(best["from"] - 10) < 0.1
    assert best["bar"] == 6 and best["beat"] == 1 and best["query_bar"] == 1
    assert not any(m["significant"] for m in none["matches"])
    assert find(music, tmp_path / "none.mid").returncode == 1  # nothing like it


def test_parts_of_a_query(music, tmp_path):
    mixed = midi(tune(3)[:60] + tune(4)[:60], ticks=240)  # 15 s of each
    (tmp_path / "q.mid").write_bytes(mixed)

    def names(*part):
        [answer] = answers(music, *part, tmp_path / "q.mid")
        return [m["name"] for m in answer["matches"] if m["significant"]]
    assert names() == ["04.mid", "b/03.mid"] or names() == ["b/03.mid", "04.mid"]
    assert names("--to", "15") == ["b/03.mid"]
    assert names("--from", "0:15") == ["04.mid"]
    assert names("--bars", "8-14") == ["04.mid"] and names("--bars", "1-7") == ["b/03.mid"]
    for part, says in ((["--from", "99"], "no notes in this part"), (["--bars", "99"], "15 bars"), (["--track", "9"], "--track")):
        done = find(music, *part, tmp_path / "q.mid")
        assert done.returncode == 1 and says in text(done)


def test_tracks(music):
    for track, others in (("Tune", "1"), ("bass", "2")):
        [answer] = answers(music, "--track", track, "music/two.mid")
        best = answer["matches"][0]
        assert best["name"] == "two.mid" and best["relation"] == "part of" and best["track"] == int(others)
        assert best["track_name"].lower() == track.lower() and answer["notes"] == 160
    done = find(music, "--track", "Flute", "music/two.mid")
    assert "1 Tune, 2 Bass" in text(done)


def test_phrases(music):
    phrase = " ".join(str(p + 3) for p in tune(21)[30:70])
    [answer] = answers(music, "--notes", phrase)
    best = answer["matches"][0]
    assert best["name"] == "b/21.mid" and best["transpose"] == -3 and abs(best["from"] - 7.5) < 0.1
    short = " ".join(map(str, tune(21)[30:38]))
    [answer] = answers(music, "--notes", short, code=1)  # eight notes prove nothing
    assert answer["matches"][0]["name"] == "b/21.mid" and answer["matches"][0]["relation"] == "none"
    done = find(music, "--notes", "C4 H4")
    assert done.returncode == 2 and "character 4" in text(done)


def test_restrictions(music, tmp_path):
    (tmp_path / "q.mid").write_bytes(midi(tune(8, transpose=2), ticks=288))
    for options in (["--same-key"], ["--same-tempo"], ["--within", "b/*"]):
        [answer] = answers(music, *options, tmp_path / "q.mid", code=1)
        assert "08.mid" not in [m["name"] for m in answer["matches"]]
    [answer] = answers(music, "--within", "b/*", "--within", "0?.mid", tmp_path / "q.mid")
    assert answer["matches"][0]["name"] == "08.mid"
    done = find(music, "--within", "c/*", tmp_path / "q.mid")
    assert done.returncode == 1 and "no piece's name fits" in text(done)


def test_standard_input_and_threads(music):
    [answer] = answers(music, "-", stdin=midi(tune(5)))
    assert answer["matches"][0]["name"] == "b/05.mid"
    one, many = (find(music, "--threads", n, "--json", "music").stdout for n in (1, 5))
    assert one == many and len(one.splitlines()) == 41


def test_formats(music):
    done = find(music, "music/00.mid")
    head, *rows = (line.split("\t") for line in done.stdout.decode().splitlines())
    row = dict(zip(head, rows[0]))
    assert len(head) == len(rows[0]) and row["name"] == "00.mid" and row["relation"] == "same notes"
    assert row["notes"] == row["of_query"] == "160" and row["query_bar"] == "1:1.00"
    table = find(music, "--format", "table", "music/00.mid").stdout.decode()
    assert "same notes" in table and "chance gives such matches too" in table
    assert find(music, "-k", 1, "music/00.mid").stdout.count(b"\n") == 2


def test_folder_as_index(music, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir()
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / f"in/{i}.mid").write_bytes(midi(tune(i)))
    for new in (5, 0, 1):
        if new == 1:
            (tmp_path / "in/9.mid").write_bytes(midi(tune(9)))
        done = run("find", "--json", "-i", tmp_path / "in", music / "music/two.mid", tmp_path / "in/3.mid", env=env)
        assert done.returncode == 0 and f"{new} new" in text(done)
        assert lines(done)[1]["matches"][0]["name"] == "3.mid"
    [kept] = (tmp_path / "cache/midisim").iterdir()
    kept.write_bytes(b"MSIMNOTE" + bytes(1000))  # damaged: made anew
    assert run("find", "-i", tmp_path / "in", tmp_path / "in/3.mid", env=env).returncode == 0


def test_excerpts_and_copies(music, tmp_path):
    (tmp_path / "q.mid").write_bytes(midi(tune(12, transpose=1)[40:100], ticks=240))
    done = find(music, "--excerpts", tmp_path / "e", "--copy-to", tmp_path / "c", "--midi-root", "music", tmp_path / "q.mid")
    assert done.returncode == 0, text(done)
    assert (tmp_path / "c/q/01_12.mid").read_bytes() == (music / "music/12.mid").read_bytes()
    tokens = [lines(run("tokens", tmp_path / "e/q" / name))[0]["tokens"] for name in ("01_12.mid", "01_query.mid")]
    assert len(tokens[0]) == len(tokens[1]) > 100
    pitches = [[t for t in side if t >= 256] for side in tokens]
    assert [a + 1 for a in pitches[0]] == pitches[1]
    again = find(music, "--excerpts", tmp_path / "e", tmp_path / "q.mid")
    assert again.returncode == 0  # the same files are there
    (tmp_path / "e/q/01_12.mid").write_bytes(b"mine")
    again = find(music, "--excerpts", tmp_path / "e", tmp_path / "q.mid")
    assert again.returncode == 1 and "--force" in text(again) and (tmp_path / "e/q/01_12.mid").read_bytes() == b"mine"


@pytest.mark.parametrize("arguments, says", [
    (["q.mid"], "-i INDEX"), (["-i", "m.notes"], "no query"), (["-i", "m.notes", "--from", "x", "q"], "--from"),
    (["-i", "m.notes", "--from", "5", "--to", "4", "q"], "--to"), (["-i", "m.notes", "--bars", "0-3", "q"], "--bars"),
    (["-i", "m.notes", "--bars", "3-2", "q"], "--bars"), (["-i", "m.notes", "--bars", "3", "--from", "2", "q"], "--bars"),
    (["-i", "m.notes", "--midi-root", "x", "q"], "--copy-to"), (["-i", "m.notes", "--force", "q"], "--force"),
    (["-i", "m.notes", "--json", "--format", "tsv", "q"], "contradict"), (["-i", "m.notes", "-0", "q"], "--files-from")])
def test_wrong_use_of_find(tmp_path, arguments, says):
    done = run("find", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and says in text(done)


def test_what_is_no_index(music, tmp_path):
    whole = (music / "m.notes").read_bytes()
    for bad in (b"", b"MSIMNOTE", whole[:-1], whole[:-600], b"x" + whole[1:], whole[:-3] + b"abc", bytes(2000)):
        (tmp_path / "bad.notes").write_bytes(bad)
        for done in (run("find", "-i", tmp_path / "bad.notes", music / "music/00.mid"),
                     run("index", "--info", tmp_path / "bad.notes")):
            assert done.returncode == 1 and len(text(done).splitlines()) == 1
    torn = bytearray(whole)
    torn[len(torn) // 2] ^= 1
    (tmp_path / "torn.notes").write_bytes(torn)
    done = run("index", "--verify", tmp_path / "torn.notes")
    assert done.returncode == 1 and "checksum" in text(done)


def test_pairs(music, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(8):
        (tmp_path / f"in/{i}.mid").write_bytes(midi(tune(i)))
    (tmp_path / "in/2-again.mid").write_bytes(midi(tune(2, transpose=4), ticks=400))
    (tmp_path / "in/5-begin.mid").write_bytes(midi(tune(5)[:80]))
    index(tmp_path, "x.notes", "in")
    done = run("find", "-i", "x.notes", "--pairs", "--json", cwd=tmp_path)
    assert done.returncode == 0, text(done)
    pairs = {(p["query"], p["matches"][0]["name"]): p["matches"][0]["relation"] for p in lines(done)}
    assert pairs == {("2.mid", "2-again.mid"): "same notes", ("2-again.mid", "2.mid"): "same notes",
                     ("5.mid", "5-begin.mid"): "contains", ("5-begin.mid", "5.mid"): "part of"}
    done = run("find", "-i", "x.notes", "--groups", cwd=tmp_path)
    groups = [line.split("\t") for line in done.stdout.decode().splitlines()[1:]]
    assert groups == [["1", "2-again.mid", ""], ["1", "2.mid", ""], ["2", "5-begin.mid", "part of 5.mid"], ["2", "5.mid", ""]]
