"""midisim-groups: kinds of pairs, the three ways to link them, what is kept, lists, moves and links, splits, leaks, and what
is kept from run to run."""
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from cli_util import DRUMS, ENV, SILENT, lines, midi, run, text, tool
from test_find import tune, two_tracks


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setitem(ENV, "XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()


def groups(folder, *arguments, code=0, **more):
    done = run("groups", *arguments, cwd=folder, **more)
    assert done.returncode == code, text(done)
    return done


def rows(done):
    """Rows of TSV without the head and the reason: (group, kind, keep, name)."""
    return [tuple(line.split("\t")[:4]) for line in done.stdout.decode().splitlines()[1:]]


def names_by_group(done):
    found = {}
    for group, _, _, name in rows(done):
        found.setdefault(group, []).append(name)
    return list(found.values())


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else midi(data, ticks=240))


def slower(pitches, ticks):
    return midi(pitches, ticks=ticks)


@pytest.fixture
def music(tmp_path):
    """Every kind of pair, files that are alone, and files without notes."""
    a = tune(1)
    thinned = [p for i, p in enumerate(tune(2)) if i % 12]
    write(tmp_path / "in", {
        "a.mid": a, "b/a again.mid": a, "a.mid.gz": gzip.compress(midi(a, ticks=240)),
        "notes.mid": midi(a, channel=3, ticks=240),
        "key.mid": [p + 3 for p in a], "slow.mid": slower(a, 300),
        "piece.mid": tune(2), "piece thinned.mid": thinned,
        "whole.mid": tune(3, n=300), "part.mid": tune(3, n=300)[100:200],
        "alone.mid": tune(4), "silent.mid": SILENT, "silent2.mid": SILENT, "drums.mid": DRUMS, "none.mid": b"none"})
    return tmp_path


def test_kinds(music):
    done = groups(music, "in")
    kinds = {name: (group, kind, keep) for group, kind, keep, name in rows(done)}
    assert {name: kind for name, (_, kind, _) in kinds.items()} == {
        "a.mid": "key", "a.mid.gz": "key", "b/a again.mid": "key", "notes.mid": "key", "key.mid": "key", "slow.mid": "-",
        "piece.mid": "-", "piece thinned.mid": "piece", "silent.mid": "-", "silent2.mid": "bytes"}
    assert "15 files, 12 contents" in text(done) and "4 without notes, 0 unread" in text(done)
    done = groups(music, "--keep", "earliest-name", "in")
    kinds = {name: kind for _, kind, _, name in rows(done)}
    assert kinds == {"a.mid": "-", "a.mid.gz": "bytes", "b/a again.mid": "bytes", "notes.mid": "notes", "key.mid": "key",
                     "slow.mid": "key", "piece.mid": "piece", "piece thinned.mid": "-", "silent.mid": "-",
                     "silent2.mid": "bytes"}
    reasons = dict(line.split("\t")[3:] for line in done.stdout.decode().splitlines()[1:])
    assert reasons["key.mid"] == "all 160 notes agree, +3 semitones"
    assert reasons["slow.mid"] == "all 160 notes agree, 0.80 times as fast" and reasons["a.mid.gz"] == "same bytes"
    assert names_by_group(groups(music, "--kinds", "bytes", "in")) == [["a.mid", "a.mid.gz", "b/a again.mid"],
                                                                      ["silent.mid", "silent2.mid"]]
    assert names_by_group(groups(music, "--kinds", "bytes,notes", "in"))[0] == ["a.mid", "a.mid.gz", "b/a again.mid", "notes.mid"]
    both = [["part.mid", "whole.mid"]]
    assert [g for g in names_by_group(groups(music, "--kinds", "all", "in")) if "part.mid" in g] == both
    done = groups(music, "--skipped", "s.tsv", "--all", "-o", "all.tsv", "in")
    assert done.stdout == b"" and len((music / "all.tsv").read_text().splitlines()) == 1 + 15
    assert {line.split("\t")[1] for line in (music / "s.tsv").read_text().splitlines()} == {
        "reason", "no-notes", "drums-only", "not-midi"}


def test_formats(music):
    table = groups(music, "--format", "table", "in").stdout.decode().splitlines()
    assert table[0].split() == ["group", "files", "kinds", "saves", "bytes", "keep"]
    assert table[1].split()[:3] == ["1", "6", "key"] and table[1].endswith("slow.mid")
    found = lines(groups(music, "--json", "--keep", "earliest-name", "in"))
    assert [g["group"] for g in found] == [1, 2, 3] and found[0]["keep"] == "a.mid"
    key = next(m for m in found[0]["members"] if m["name"] == "key.mid")
    assert (key["keep"], key["kind"], key["notes"], key["of"], key["transpose"]) == (False, "key", 160, [160, 160], 3)
    groups(music, "--pairs", "p.tsv", "-o", "x.json", "--json", "in")
    pairs = [line.split("\t") for line in (music / "p.tsv").read_text().splitlines()]
    assert pairs[0][:4] == ["kind", "a", "b", "direction"]
    assert ["bytes", "a.mid", "a.mid.gz", ""] in [p[:4] for p in pairs]
    assert ["excerpt", "part.mid", "whole.mid", "part of"] in [p[:4] for p in pairs]
    assert len(pairs) == 1 + 2 + 3 + 1 + 1 + 1  # bytes; notes and key; piece; excerpt; silent
    assert [json.loads(line)["group"] for line in (music / "x.json").read_text().splitlines()] == [1, 2, 3]


def test_same_output_from_any_side(music):
    """Order, threads, an index or a corpus' index instead of the folder: the same bytes."""
    whole = groups(music, "--all", "in").stdout
    paths = sorted((music / "in").rglob("*.*"), reverse=True)
    listed = "".join(f"{path.relative_to(music)}\n" for path in paths).encode()
    forward = groups(music, "--files-from", "-", stdin=b"\n".join(listed.splitlines()[::-1]) + b"\n").stdout
    assert groups(music, "--files-from", "-", stdin=listed).stdout == forward
    assert groups(music, "--all", "--threads", 3, "--state", "s.pairs", "in").stdout == whole
    assert run("index", "-o", "in.notes", "in", cwd=music).returncode == 1
    one = groups(music, "in.notes").stdout
    assert (music / "in.notes.pairs").exists() and not (music / "in.notes.part.notes").exists()
    kept = [row for row in rows(groups(music, "in")) if not row[3].startswith("silent")]
    assert [row[1:] for row in rows(groups(music, "in.notes"))] == [row[1:] for row in kept]
    shutil.copy(music / "in.notes", music / "c.notes")
    (music / "c.npy").write_bytes(b"")
    assert groups(music, "c.npy").stdout == one
    (music / "d.npy").write_bytes(b"")
    assert "midisim-embed --notes" in text(groups(music, "d.npy", code=1))


# ---- Linking ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(tmp_path):
    """a ~ b ~ c, and a and c have only a third in common."""
    p, q, r, s, t = (tune(seed, n=100) for seed in range(20, 25))
    write(tmp_path / "in", {"a.mid": p + q + r, "b.mid": q + r + s, "c.mid": r + s + t})
    (tmp_path / "b first").write_text("b.mid\n")
    return tmp_path


@pytest.mark.parametrize("link, keep, found", [
    ("verified", "earliest-name", [["a.mid", "b.mid"]]), ("verified", "b first", [["a.mid", "b.mid", "c.mid"]]),
    ("complete", "earliest-name", [["a.mid", "b.mid"]]), ("complete", "b first", [["a.mid", "b.mid"]]),
    ("single", "earliest-name", [["a.mid", "b.mid", "c.mid"]])])
def test_chain(chain, link, keep, found):
    done = groups(chain, "--link", link, "--keep", keep, "in")
    assert names_by_group(done) == found or (link == "complete" and names_by_group(done) == [["b.mid", "c.mid"]])
    if link == "single":
        assert [row[1] for row in rows(done)] == ["-", "piece", "version"]
    assert names_by_group(groups(chain, "--kinds", "piece,version", "--link", "complete", "in")) == [["a.mid", "b.mid", "c.mid"]]


def test_excerpts_join_nothing(tmp_path):
    """A medley has its pieces as parts; an excerpt of two pieces goes to one of them."""
    one, two, x = tune(31), tune(32), tune(33, n=120)
    write(tmp_path / "in", {"one.mid": one, "two.mid": two, "medley.mid": one + two})
    assert rows(groups(tmp_path, "in")) == []
    assert rows(groups(tmp_path, "--kinds", "excerpt", "in")) == [
        ("1", "-", "keep", "medley.mid"), ("1", "excerpt", "drop", "one.mid"), ("1", "excerpt", "drop", "two.mid")]
    write(tmp_path / "two", {"x.mid": x, "one.mid": one + x, "two.mid": two + x})
    for link in ("verified", "complete", "single"):
        found = names_by_group(groups(tmp_path, "--kinds", "piece,excerpt", "--link", link, "two"))
        assert found in ([["one.mid", "x.mid"]], [["two.mid", "x.mid"]])


def test_many_copies_are_one_unit(tmp_path):
    """Copies in other keys and tempos, and links, cost one comparison each with nothing."""
    for i in range(60):
        write(tmp_path / "in", {f"{i:03}.mid": midi([p + i % 5 for p in tune(1)], channel=i % 9, ticks=200 + i)})
    for i in range(60):
        (tmp_path / f"in/link{i}.mid").symlink_to(f"{i:03}.mid")
    done = groups(tmp_path, "--link", "complete", "in")
    assert [len(g) for g in names_by_group(done)] == [120] and "1 compared" in text(done)


def test_versions_are_bounded(tmp_path):
    """Many versions of one piece: a group, however many there are, with a bounded number of comparisons."""
    rng = random.Random(1)
    for i in range(300):
        write(tmp_path / "in", {f"{i:03}.mid": [p + (rng.random() < 0.1) for p in tune(1, n=120)]})
    for link in ("verified", "complete", "single"):
        done = groups(tmp_path, "--link", link, "in", "--keep", "earliest-name")
        sizes = [len(g) for g in names_by_group(done)]
        assert (max(sizes) >= 290 if link != "complete" else sum(sizes) >= 250), (link, sizes, text(done))


# ---- What is kept ----------------------------------------------------------------------------------------------------


def test_keep(tmp_path):
    a = tune(1)
    write(tmp_path / "in", {"1.mid": a, "2.mid": slower(a, 250), "3.mid": two_tracks(a, [p - 24 for p in a[:40]]),
                            "4.mid": a + tune(2, n=20)})
    os.utime(tmp_path / "in/2.mid", (4e9, 4e9))

    def kept(*arguments):
        return {name for _, _, keep, name in rows(groups(tmp_path, "--kinds", "all", "--link", "single", *arguments, "in"))
                if keep == "keep"}
    assert kept() == {"4.mid"} and kept("--keep", "most-notes") == {"3.mid"} and kept("--keep", "most-tracks") == {"3.mid"}
    assert kept("--keep", "earliest-name") == {"1.mid"} and kept("--keep", "newest") == {"2.mid"}
    (tmp_path / "list").write_text("none\n[2-3].mid\n4.mid\n")
    assert kept("--keep", "list") == {"2.mid"}
    (tmp_path / "list").write_text("3.mid\n2.mid\n")
    assert kept("--keep", "list") == {"3.mid"}
    assert "--keep: expected longest" in text(groups(tmp_path, "--keep", "best", "in", code=2))


HOSTILE = ("-rf.mid", "it's.mid", "two\nlines.mid", " blank .mid", "$(touch x).mid", "a/b/c.mid", "undo.sh.mid", "\\n.mid")


def test_lists_moves_and_links(tmp_path):
    for i, name in enumerate(HOSTILE):
        write(tmp_path / "in", {name: tune(i), f"keep/{i}.mid": tune(i)})
    (tmp_path / "keepers").write_text("keep/*\n")
    before = {p: p.read_bytes() for p in (tmp_path / "in").rglob("*.mid")}
    common = ("--keep", "keepers", "-q", "-o", "out.tsv")
    done = groups(tmp_path, *common, "--drop-list", "d.txt", "in", code=2)
    assert "newline" in text(done) and not (tmp_path / "d.txt").exists()
    groups(tmp_path, *common, "-0", "--drop-list", "d.txt", "--keep-list", "k.txt", "--files-from", "/dev/null", "in")
    dropped = {p for p in (tmp_path / "d.txt").read_text().split("\0") if p}
    assert dropped == {f"in/{name}" for name in HOSTILE} and len((tmp_path / "k.txt").read_text().split("\0")) == 9
    done = groups(tmp_path, "--keep", "keepers", "-o", "out.tsv", "--move", "away", "--links", "clean", "--dry-run", "in")
    assert "would move" in text(done) and not (tmp_path / "away").exists()
    groups(tmp_path, *common, "--move", "away", "--links", "clean", "in")
    moved = {str(p.relative_to(tmp_path / "away")) for p in (tmp_path / "away").rglob("*.mid")}
    assert moved == set(HOSTILE) and sorted(p.name for p in (tmp_path / "in").rglob("*.mid")) == [f"{i}.mid" for i in range(8)]
    links = sorted((tmp_path / "clean").rglob("*.mid"))
    assert len(links) == 8 and all(p.is_symlink() and p.exists() for p in links)
    assert "not empty" in text(groups(tmp_path, "--move", "away", "in", code=2))
    write(tmp_path / "in", {"it's.mid": b"mine"})
    undo = ["sh", "away/undo.sh"]
    done = subprocess.run(undo, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    assert done.returncode == 1 and b"left alone" in done.stderr and (tmp_path / "in/it's.mid").read_bytes() == b"mine"
    (tmp_path / "in/it's.mid").unlink()
    assert subprocess.run(undo, cwd=tmp_path, env=ENV).returncode == 0
    assert {p: p.read_bytes() for p in (tmp_path / "in").rglob("*.mid")} == before and not (tmp_path / "x").exists()


def test_stopped_move_is_undone(tmp_path):
    """The script is whole before the first move: it takes back what was moved, and leaves the rest."""
    for i in range(4):
        write(tmp_path / "in", {f"{i}.mid": tune(i), f"z{i}.mid": tune(i)})
    groups(tmp_path, "--move", "away", "in")
    (tmp_path / "away/z1.mid").rename(tmp_path / "in/z1.mid")  # as if it had not been moved yet
    assert subprocess.run(["sh", tmp_path / "away/undo.sh"], cwd="/").returncode == 0
    assert sorted(os.listdir(tmp_path / "in")) == sorted(f"{z}{i}.mid" for i in range(4) for z in ("", "z"))


def test_acting_needs_files(music):
    assert run("index", "-o", "in.notes", "in", cwd=music).returncode == 1
    assert "folder instead of an index" in text(groups(music, "--move", "away", "in.notes", code=2))
    assert "times of files" in text(groups(music, "--keep", "newest", "in.notes", code=2))
    assert "--links DIR" in text(groups(music, "--link", "clean", "in", code=2))


# ---- Splits and leaks ------------------------------------------------------------------------------------------------


def test_split(tmp_path):
    for i in range(40):
        a = tune(i, n=80)
        write(tmp_path / "in", {f"{i % 2}/{i}.mid": a, f"{i % 2}/{i}v.mid": [p + 2 for p in a][:70]})
    done = groups(tmp_path, "--split", "80/10/10", "--lists", "L", "in")
    side = {line.split("\t")[2]: line.split("\t")[0] for line in done.stdout.decode().splitlines()[1:]}
    assert "no pair crosses sides: 0 of 40 pairs" in text(done) and len(side) == 80
    assert all(side[f"{i % 2}/{i}.mid"] == side[f"{i % 2}/{i}v.mid"] for i in range(40))
    assert sorted(list(side.values()).count(name) for name in ("train", "valid", "test")) == [8, 8, 64]
    listed = {name: (tmp_path / f"L.{name}.txt").read_text().split("\n")[:-1] for name in ("train", "valid", "test")}
    assert all(side[path[3:]] == name for name, paths in listed.items() for path in paths) and len(listed["train"]) == 64
    assert groups(tmp_path, "--split", "80/10/10", "in").stdout == done.stdout
    assert groups(tmp_path, "--split", "80/10/10", "--seed", 1, "in").stdout != done.stdout
    done = groups(tmp_path, "--split", "1/1", "--stratify", "folders", "--json", "in")
    count = [(r["split"], r["name"][0]) for r in lines(done)]
    assert {count.count((s, f)) for s in ("train", "test") for f in "01"} == {20}
    assert len({(r["split"], r["group"]) for r in lines(done)}) == len({r["group"] for r in lines(done)}) == 40
    assert "expected 2 shares" in text(groups(tmp_path, "--split", "80", "in", code=2))


def test_leaks(tmp_path):
    write(tmp_path / "train", {"a.mid": tune(1), "b.mid": tune(2), "c.mid": tune(3, n=300)})
    write(tmp_path / "test", {"same.mid": tune(1), "key.mid": [p + 2 for p in tune(2)], "part.mid": tune(3, n=300)[50:150],
                              "other.mid": tune(9)})
    done = groups(tmp_path, "--leaks", "train", "test", code=3)
    found = {tuple(line.split("\t")[:3]) for line in done.stdout.decode().splitlines()[1:]}
    assert found == {("bytes", "same.mid", "a.mid"), ("key", "key.mid", "b.mid"), ("excerpt", "part.mid", "c.mid")}
    assert "3 of 4 files of the second collection are in the first: bytes 1, key 1, excerpt 1" in text(done)
    assert groups(tmp_path, "train", "--against", "test").stdout == done.stdout
    for name in ("train", "test"):
        assert run("index", "-o", f"{name}.notes", name, cwd=tmp_path).returncode == 0
    assert groups(tmp_path, "--leaks", "train.notes", "test.notes", code=3).stdout == done.stdout
    groups(tmp_path, "--leaks", "train", "test", "--kinds", "version", "--json", code=3)  # bytes always count
    for name in ("same", "key", "part"):
        (tmp_path / f"test/{name}.mid").unlink()
    assert groups(tmp_path, "--leaks", "train", "test").stdout == b"kind\tname\tin\treason\n"


def test_alike(tmp_path):
    """Vectors pair what shares no notes; notes are the stronger kind."""
    numpy = pytest.importorskip("numpy")
    write(tmp_path / "in", {f"{i}.mid": tune(i) for i in range(5)} | {"0v.mid": tune(0)[:140]})
    assert run("index", "-o", "c.notes", "in", cwd=tmp_path).returncode == 0
    rows = numpy.array([("0.mid", [1, 0, 0, 0] * 16), ("0v.mid", [1, .1, 0, 0] * 16), ("1.mid", [0, 1, 0, 0] * 16),
                        ("2.mid", [0, 1, .1, 0] * 16), ("3.mid", [0, 0, 0, 1] * 16), ("4.mid", [0, 0, 0, 0] * 16)],
                       dtype=[("midi_names", "<U8"), ("midi_embeddings", "<f4", 64)])
    numpy.save(tmp_path / "c.npy", rows)
    assert names_by_group(groups(tmp_path, "c.npy")) == [["0.mid", "0v.mid"]]
    done = groups(tmp_path, "--alike", 0.9, "--tsv", "--keep", "earliest-name", "c.npy")
    assert [row[:2] + row[3:] for row in globals()["rows"](done)] == [
        ("1", "-", "0.mid"), ("1", "piece", "0v.mid"), ("2", "-", "1.mid"), ("2", "alike", "2.mid")]
    assert b"cosine of the vectors 0.9950" in done.stdout
    assert "give a corpus" in text(groups(tmp_path, "--alike", 0.9, "in", code=2))
    assert "--alike: expected" in text(groups(tmp_path, "--alike", 2, "c.npy", code=2))


# ---- From run to run -------------------------------------------------------------------------------------------------


def test_only_new_files_are_compared(music):
    assert "0 known from before" in text(groups(music, "in"))
    assert "; 0 compared" in text(groups(music, "in"))
    write(music / "in", {"new.mid": [p + 1 for p in tune(4)], "other.mid": tune(5)})
    done = groups(music, "in")
    assert "; 1 compared" in text(done)  # the other is a piece that is there, in another key
    assert ["alone.mid", "new.mid"] in names_by_group(done)
    (music / "in/alone.mid").rename(music / "in/again.mid")
    done = groups(music, "in")
    assert "; 0 compared" in text(done) and ["again.mid", "new.mid"] in names_by_group(done)
    (music / "in/again.mid").unlink()
    assert not any("new.mid" in g for g in names_by_group(groups(music, "in")))


def test_damaged_state(music):
    fresh = groups(music, "--state", "s", "in").stdout
    whole = (music / "s").read_bytes()
    for damaged in (whole[:-5], whole[:40], whole[:20], b"", whole[:60] + b"\xff" + whole[61:], whole + b"\0" * 9,
                    whole[:12] + b"\7" + whole[13:]):
        (music / "s").write_bytes(damaged)
        assert groups(music, "--state", "s", "in").stdout == fresh
        assert (music / "s").read_bytes() == whole
    (music / "s").write_bytes(b"my own notes")
    assert "no file of pairs" in text(groups(music, "--state", "s", "in", code=1))
    assert (music / "s").read_bytes() == b"my own notes"


def test_wrong_options(tmp_path):
    for arguments in ([], ["--leaks", "in"], ["--seed", 1, "in"], ["--dry-run", "in"], ["--kinds", "some", "in"],
                      ["--json", "--tsv", "in"], ["--split", "1/1", "--move", "x", "in"], ["--split", "1/-1", "in"],
                      ["--leaks", "--all", "a", "b"]):
        assert groups(tmp_path, *arguments, code=2).stdout == b""
    assert groups(tmp_path, "none.notes", code=1).stdout == b""
    (tmp_path / "empty").mkdir()
    assert "no MIDI file" in text(groups(tmp_path, "empty", code=1))


# ---- Long runs -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    """Killed when the first part of the pairs is written: the next run goes on, to the same bytes."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(9000):
        (folder / f"{i:05}.mid").write_bytes(midi([p + i % 7 for p in tune(i // 3, n=40)[:40 - i % 3]]))
    whole = groups(tmp_path, "in", "--state", "whole").stdout
    process = subprocess.Popen([tool("groups"), "in", "--state", "s"], cwd=tmp_path, env=ENV, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while process.poll() is None and (not (tmp_path / "s").exists() or (tmp_path / "s").stat().st_size < 100):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = groups(tmp_path, "in", "--state", "s")
    assert done.stdout == whole and "8192 known" in text(done).replace(",", ""), text(done)


@pytest.mark.slow
def test_many_links(tmp_path):
    """100,000 links to 1,000 files under a limit of memory."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(1000):
        (folder / f"{i:04}.mid").write_bytes(midi(tune(i, n=200)))
    for i in range(100000):
        (folder / f"link{i:06}.mid").symlink_to(f"{i % 1000:04}.mid")

    def limit():
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    began = time.monotonic()
    done = groups(tmp_path, "in", "--threads", 1, before=limit, limit=600)
    assert [len(g) for g in names_by_group(done)] == [101] * 1000 and "1,000 contents" in text(done)
    assert time.monotonic() - began < 300
