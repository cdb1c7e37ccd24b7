"""midisim-groups where it is easily wrong: files that come back, paths that lead to one file, inputs that are not there."""
import os
import resource
import shutil
import subprocess

import pytest

from cli_util import BUILD, ENV, midi, run, text
from test_find import tune
from test_groups import _cache, groups, names_by_group, write  # noqa: F401 (the cache of each test)


def thinned(seed):
    """Another version of tune(seed), whose notes agree with most of it."""
    return [p for i, p in enumerate(tune(seed)) if i % 12]


# ---- From run to run -------------------------------------------------------------------------------------------------


def test_what_comes_back_is_compared(tmp_path):
    """A file that was gone when a new one was compared is compared with the new one, once."""
    write(tmp_path / "in", {"a.mid": tune(1), "c.mid": tune(2)})
    groups(tmp_path, "in")
    (tmp_path / "in/a.mid").rename(tmp_path / "a.mid")
    write(tmp_path / "in", {"b.mid": thinned(1)})
    groups(tmp_path, "in")
    (tmp_path / "a.mid").rename(tmp_path / "in/a.mid")
    done = groups(tmp_path, "in")
    assert names_by_group(done) == [["a.mid", "b.mid"]] and "; 1 compared, 2 known" in text(done)
    assert "; 0 compared, 3 known" in text(groups(tmp_path, "in"))
    (tmp_path / "in/a.mid").rename(tmp_path / "a.mid")  # gone while nothing is compared: it stays known
    groups(tmp_path, "in")
    (tmp_path / "a.mid").rename(tmp_path / "in/a.mid")
    assert "; 0 compared, 3 known" in text(groups(tmp_path, "in"))


def test_new_files_of_the_first_collection(tmp_path):
    """A file that is new in TRAIN is compared with what is known of TEST."""
    write(tmp_path / "train", {"a.mid": tune(1), "z.mid": tune(3)})
    write(tmp_path / "test", {"b.mid": tune(2)})
    assert "; 1 compared" in text(groups(tmp_path, "--leaks", "train", "test"))
    assert "; 0 compared" in text(groups(tmp_path, "--leaks", "train", "test"))
    write(tmp_path / "train", {"c.mid": thinned(2)})
    done = groups(tmp_path, "--leaks", "train", "test", code=3)
    assert done.stdout.decode().splitlines()[1].split("\t")[:3] == ["piece", "b.mid", "c.mid"]
    assert "; 1 compared" in text(done) and "; 0 compared" in text(groups(tmp_path, "--leaks", "train", "test", code=3))


def test_one_state_for_all(tmp_path):
    """One --state for several collections: what was never compared is compared, whatever is known of each file."""
    for i, folder in enumerate(("x", "y")):
        write(tmp_path / folder, {"a.mid": thinned(1) if i else tune(1), "o.mid": tune(5 + i)})
        groups(tmp_path, "--state", "s", folder)
    assert names_by_group(groups(tmp_path, "--state", "s", "x", "y")) == [["x/a.mid", "y/a.mid"]]
    write(tmp_path / "z", {"n.mid": tune(9)})
    groups(tmp_path, "--state", "t", "--leaks", "x", "z")
    groups(tmp_path, "--state", "t", "--leaks", "y", "z")
    assert names_by_group(groups(tmp_path, "--state", "t", "x", "y", "z")) == [["x/a.mid", "y/a.mid"]]
    groups(tmp_path, "--state", "t", "--leaks", "y", "x", code=3)


def test_state_does_not_grow_for_ever(tmp_path):
    """When most of the file is of contents that are gone, it is written anew; what is there stays known."""
    versions = {f"{i:02}.mid": [p + (k % 61 == i) for k, p in enumerate(tune(1))] for i in range(58)}
    write(tmp_path / "in", versions)
    whole = groups(tmp_path, "--state", "s", "in").stdout
    size = (tmp_path / "s").stat().st_size
    assert size > 1 << 16
    for name in list(versions)[8:]:
        (tmp_path / "in" / name).rename(tmp_path / name)
    (tmp_path / "s.next").write_bytes(b"left by a run that was killed")
    groups(tmp_path, "--state", "s", "in")
    assert (tmp_path / "s").stat().st_size > size // 2  # nothing was compared: all may come back
    write(tmp_path / "in", {"new.mid": tune(9)})
    done = groups(tmp_path, "--state", "s", "in")
    assert "; 1 compared, 8 known" in text(done) and (tmp_path / "s").stat().st_size < size // 4
    assert done.stdout == groups(tmp_path, "--state", "fresh", "in").stdout and not (tmp_path / "s.next").exists()
    assert "; 0 compared, 9 known" in text(groups(tmp_path, "--state", "s", "in"))
    (tmp_path / "in/new.mid").unlink()
    for name in list(versions)[8:]:
        (tmp_path / name).rename(tmp_path / "in" / name)
    done = groups(tmp_path, "--state", "s", "in")
    assert done.stdout == whole and "; 50 compared, 8 known" in text(done)


@pytest.mark.skipif("asan" in str(BUILD), reason="the sanitizer takes memory of its own")
def test_too_little_memory_for_a_file(tmp_path):
    """Its notes were not compared, so the result is not complete. It takes part by its bytes."""
    track = b"\0\x90\x3c\x5a" + b"\x01\x3c\0\0\x3c\x5a" * 6_000_000 + b"\x01\x3c\0\0\xff\x2f\0"
    for name in ("big.mid", "same.mid"):
        write(tmp_path / "in", {"a.mid": tune(1)})
        (tmp_path / "in" / name).write_bytes(b"MThd\0\0\0\x06\0\0\0\x01\x01\xe0MTrk" + len(track).to_bytes(4, "big") + track)
    done = run("groups", "--threads", 1, "--skipped", "s.tsv", "in", cwd=tmp_path, env={"XDG_CACHE_HOME": str(tmp_path)},
               before=lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20)))
    assert done.returncode == 1 and "2 files could not be read" in text(done), text(done)
    assert "warning: no-memory: in/big.mid" in text(done) and names_by_group(done) == [["big.mid", "same.mid"]]
    assert (tmp_path / "s.tsv").read_text().splitlines()[1:] == ["in/big.mid\tno-memory", "in/same.mid\tno-memory"]


# ---- Paths -----------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_not_moved(tmp_path):
    """Another path to the file that is kept stays, and so does a file that a kept link leads to."""
    write(tmp_path / "in", {"real/x.mid": tune(1), "real/y.mid": tune(2), "copy.mid": tune(3), "copy2.mid": tune(3)})
    (tmp_path / "again").symlink_to("in")
    (tmp_path / "in/a link.mid").symlink_to("real/y.mid")
    (tmp_path / "in/x link.mid").symlink_to("real/x.mid")
    (tmp_path / "keepers").write_text("*/a link.mid\n*/real/*\n")
    done = groups(tmp_path, "--keep", "keepers", "--move", "away", "again", "in")
    assert "paths left alone" in text(done) and "moved 2 of 4 files" in text(done) and text(done).count("not there any more") == 2
    assert sorted(p.name for p in (tmp_path / "away").rglob("*.mid")) == ["copy2.mid", "x link.mid"]
    assert (tmp_path / "in/a link.mid").exists() and (tmp_path / "in/real/x.mid").exists()
    assert (tmp_path / "in/copy.mid").exists()
    subprocess.run(["sh", "away/undo.sh"], cwd=tmp_path, env=ENV, check=True)
    assert (tmp_path / "in/x link.mid").exists() and (tmp_path / "in/copy2.mid").exists()


def test_no_output_replaces_what_was_read(tmp_path):
    """Inputs, the index, found pairs and lists are no outputs; nor are two results one file."""
    write(tmp_path / "in", {"a.mid": tune(1), "b.mid": tune(1), "L.train.txt": tune(2)})
    (tmp_path / "list").write_text("in/a.mid\nin/b.mid\n")
    assert run("index", "-o", "in.notes", "in", cwd=tmp_path).returncode == 0
    groups(tmp_path, "in.notes")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for arguments in (["-o", "in/a.mid", "in"], ["--pairs", "in/b.mid", "in/b.mid"], ["-o", "in.notes", "in.notes"],
                      ["--skipped", "in.notes.pairs", "in.notes"], ["-o", "list", "--files-from", "list"],
                      ["--drop-list", "list", "--keep", "list", "in"], ["-o", "in.notes.pairs", "--state", "in.notes.pairs", "in"],
                      ["--split", "1/1", "--lists", "in/L", "in/L.train.txt"]):
        says = text(groups(tmp_path, *arguments, code=2))
        assert "would replace" in says or "cannot replace: in/a.mid: it is a MIDI file" in says, arguments
    assert "-o and --pairs both write x" in text(groups(tmp_path, "-o", "x", "--pairs", "x", "in", code=2))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "cache" not in p.parts} == before
    groups(tmp_path, "-o", "x", "in")
    groups(tmp_path, "-o", "x", "in")


def test_failed_move_leaves_no_folder(tmp_path):
    """A move that is refused leaves no folder and no script behind; a folder that was there stays."""
    write(tmp_path / "in", {"a.mid": tune(1), "b.mid": tune(1)})
    assert run("index", "-o", "in.notes", "in", cwd=tmp_path).returncode == 0
    for option in ("--move", "--links"):
        groups(tmp_path, option, "new", "in.notes", code=2)
        assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    groups(tmp_path, "--move", "mine", "in.notes", code=2)
    assert (tmp_path / "mine").is_dir()


@pytest.mark.skipif(not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
                    reason="needs two file systems")
def test_move_across_file_systems(tmp_path):
    write(tmp_path / "in", {"a.mid": tune(1), "b.mid": tune(1)})
    away = f"/dev/shm/midisim-test-{os.getpid()}"
    assert "another file system" in text(groups(tmp_path, "--move", away, "in", code=1))
    assert not os.path.exists(away) and (tmp_path / "in/b.mid").exists()


def test_file_called_as_the_script(tmp_path):
    """Files and folders that are called undo.sh are moved and come back."""
    write(tmp_path / "in", {"a.mid": tune(1), "undo.sh/b.mid": tune(1), "z/undo.sh/c.mid": tune(1)})
    (tmp_path / "in/undo.sh/undo.sh").write_bytes(midi(tune(1), ticks=240))
    (tmp_path / "list").write_text("in/a.mid\nundo.sh\n")
    shutil.copy(tmp_path / "in/a.mid", tmp_path / "undo.sh")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "cache" not in p.parts}
    for i, arguments in enumerate((["in"], ["--files-from", "list"])):
        done = groups(tmp_path, "--keep", "earliest-name", "--move", f"away{i}", *arguments)
        assert "moved 2 of 2 files" in text(done) if i == 0 else "moved 1 of 1 file " in text(done), text(done)
        subprocess.run(["sh", f"away{i}/undo.sh"], cwd=tmp_path, env=ENV, check=True)
        shutil.rmtree(tmp_path / f"away{i}")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "cache" not in p.parts} == before


def test_what_is_not_read_is_no_success(tmp_path):
    """A folder that is not there is no collection without leaks; a pipe is not waited for."""
    write(tmp_path / "in", {"a.mid": tune(1)})
    for arguments in (["--leaks", "in", "typo"], ["--leaks", "typo", "in"], ["in", "typo"]):
        said = text(groups(tmp_path, *arguments, code=1))
        assert "unreadable: typo" in said and "1 file could not be read: --skipped" in said
    # What was not read is neither kept nor dropped, and on no side of a split.
    said = text(groups(tmp_path, "--keep-list", "keep", "--drop-list", "drop", "in", "typo", code=1))
    assert (tmp_path / "keep").read_text() == "in/a.mid\n" and (tmp_path / "drop").read_text() == ""
    done = groups(tmp_path, "--split", "50/50", "--lists", "data", "in", "typo", code=1)
    assert b"typo" not in done.stdout and "1 file in 1 group, 100.0 %" in text(done)
    assert sorted((tmp_path / f"data.{side}.txt").read_text() for side in ("train", "test")) == ["", "in/a.mid\n"]
    os.mkfifo(tmp_path / "in/pipe.mid")
    groups(tmp_path, "--skipped", "s", "in", code=1, limit=20)
    assert "in/pipe.mid\tnot-regular" in (tmp_path / "s").read_text()


# ---- The same notes, in several keys and at several tempos -----------------------------------------------------------


@pytest.mark.parametrize("link", ["verified", "complete", "single"])
def test_key_that_joins_nothing(tmp_path, link):
    """Without the kind key: files of one key are a group, also if the first file of the same notes is in another key."""
    write(tmp_path / "in", {"a.mid": tune(1), "b.mid": [p + 3 for p in tune(1)],
                            "c.mid": midi([p + 3 for p in tune(1)], channel=3, ticks=240)})
    assert names_by_group(groups(tmp_path, "--kinds", "notes", "--link", link, "in")) == [["b.mid", "c.mid"]]


@pytest.mark.parametrize("order", [(1000, 1012, 1006), (1012, 1006, 1000), (1006, 1000, 1012)])
def test_chain_of_tempos(tmp_path, order):
    """Tempos 0.6 % apart are one chain, in whatever order the files stand; 1.2 % apart is another tempo."""
    write(tmp_path / "in", {f"{i}.mid": midi(tune(1), ticks=ticks) for i, ticks in enumerate(order)})
    found = names_by_group(groups(tmp_path, "--kinds", "notes", "--link", "single", "in"))
    assert found == [["0.mid", "1.mid", "2.mid"]]
    for link in ("verified", "complete"):
        assert [len(g) for g in names_by_group(groups(tmp_path, "--kinds", "notes", "--link", link, "in"))] in ([2], [3])


def test_chain_is_explained(tmp_path):
    """The reason names the member that links a file to its group, however many files the group has."""
    p, q, r, s, t, u = (tune(seed, n=100) for seed in range(20, 26))
    write(tmp_path / "in", {f"copy{i:04}.mid": midi(p + q + r, ticks=200 + i) for i in range(1100)})
    write(tmp_path / "in", {"x.mid": q + r + s, "y.mid": r + s + t, "z again.mid": s + t + u, "z.mid": s + t + u})
    (tmp_path / "keepers").write_text("copy*\n")
    done = groups(tmp_path, "--link", "single", "--keep", "keepers", "--kinds", "key,piece", "in")
    reasons = {line.split("\t")[3]: line.split("\t")[4] for line in done.stdout.decode().splitlines()[1:]}
    assert len(reasons) == 1104 and reasons["z again.mid"].endswith("by way of y.mid")
    assert reasons["z.mid"] == "same bytes, by way of z again.mid"


def test_same_names_in_two_indexes(tmp_path):
    """Pieces of one name in two indexes: the same bytes in whatever order the indexes are given."""
    for i, folder in enumerate(("x", "y")):
        write(tmp_path / folder, {f"{name}.mid": tune(10 * i + k, n=160 - 10 * i) for k, name in enumerate("abc")})
        assert run("index", "-o", f"{folder}.notes", folder, cwd=tmp_path).returncode == 0
    one = groups(tmp_path, "--all", "--json", "--state", "s", "x.notes", "y.notes").stdout
    assert groups(tmp_path, "--all", "--json", "--state", "s", "y.notes", "x.notes").stdout == one and len(one.splitlines()) == 6


# ---- Splits ----------------------------------------------------------------------------------------------------------


def test_split_by_notes(tmp_path):
    """Shares of notes: one long piece weighs as much as ten short ones."""
    write(tmp_path / "in", {"long.mid": tune(99, n=1000)} | {f"{i}.mid": tune(i, n=100) for i in range(10)})
    done = groups(tmp_path, "--split", "1/1", "--split-by", "notes", "in")
    side = {line.split("\t")[2]: line.split("\t")[0] for line in done.stdout.decode().splitlines()[1:]}
    assert list(side.values()).count(side["long.mid"]) == 1 and "1 file in 1 group, 1,000 notes, 50.0 %" in text(done)
    sizes = sorted(list(dict(line.split("\t")[::2][::-1] for line in groups(tmp_path, "--split", "1/1", "in").stdout.decode()
                             .splitlines()[1:]).values()).count(name) for name in ("train", "test"))
    assert sizes in ([5, 6],)
    assert "for --split" in text(groups(tmp_path, "--split-by", "notes", "in", code=2))


def test_empty_side_is_said(tmp_path):
    write(tmp_path / "in", {f"{i}.mid": tune(1) for i in range(5)})
    done = groups(tmp_path, "--split", "80/10/10", "in")
    assert "valid is empty: give it a larger share" in text(done) and "test is empty" in text(done)
