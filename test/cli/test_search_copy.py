"""midisim-search --copy-to: which files are found, what the copies are called, and that nothing lands anywhere else."""
import gzip
import os

import numpy as np
import pytest
from cli_util import lines, midi, run, text, write_model
from search_util import named

DIM = 16


def rows_of(n):
    """Row 0, then rows at ever smaller cosines with it."""
    rows = np.zeros((n, DIM), "f4")
    for i in range(n):
        rows[i, 0], rows[i, 1] = np.cos(i / n), np.sin(i / n)
    return rows


def percent(score):
    return repr(round(float(np.float32(score)) * 100, 8))


def search(folder, *arguments, **more):
    return run("search", "-c", "c.npy", "--json", *arguments, cwd=folder, **more)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() or p.is_symlink()}


@pytest.fixture
def music(tmp_path):
    """Files in two roots, and a corpus whose rows are named by path, by stem and by what does not exist."""
    for root, name, data in (("one", "a.mid", b"A"), ("one", "b/a.mid", b"BA"), ("one", "b/deep.dots.MID", b"DEEP"),
                             ("one", "p.mid.gz", gzip.compress(b"PACKED")), ("two", "k.kar", b"KAR"),
                             ("two", "z.midi", b"Z"), ("two", "note.txt", b"no")):
        path = tmp_path / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    names = ["b/a.mid", "a", "deep.dots", "p.mid.gz", "p", "two/k.kar", "k", "gone/z.mid", "nowhere", "note"]
    named(tmp_path / "c.npy", names, rows_of(len(names)))
    return tmp_path


ROOTS = ("--midi-root", "one", "--midi-root", "two")


def test_names_and_sources(music):
    os.chmod(music / "one" / "b" / "a.mid", 0o640)
    os.utime(music / "one" / "b" / "a.mid", (1e9, 1e9 + 5))
    done = search(music, "--like", "b/a.mid", "--copy-to", "out", *ROOTS)
    assert done.returncode == 0, text(done)
    matches = lines(done)[0]["matches"]
    contents = {"b/a.mid": b"BA", "a": b"A", "deep.dots": b"DEEP", "p.mid.gz": b"PACKED", "p": b"PACKED",
                "two/k.kar": b"KAR", "k": b"KAR", "gone/z.mid": b"Z"}
    safe = {"b/a.mid": "b_a", "a": "a", "deep.dots": "deep.dots", "p.mid.gz": "p", "p": "p", "two/k.kar": "two_k",
            "k": "k", "gone/z.mid": "gone_z"}
    wanted = {"a/a.mid": b"BA"}
    for m in matches:
        if m["name"] in contents:
            wanted[f"a/{percent(m['score'])}_0_{safe[m['name']]}.mid"] = contents[m["name"]]
    assert len(matches) == 10 and len(wanted) == 9 and tree(music / "out") == wanted
    for name in ("nowhere", "note"):
        assert f"no file of this row below the roots: {name}" in text(done)
    # Two files have the stem a: said once, the first in bytewise order is taken.
    assert text(done).count("2 files have the stem 'a'") == 1 and "one/a.mid" in text(done)
    copy = music / "out" / "a" / f"{percent(matches[0]['score'])}_0_b_a.mid"
    assert copy.stat().st_mode & 0o7777 == 0o640 and copy.stat().st_mtime == 1e9 + 5
    assert (music / "out" / "a" / "a.mid").stat().st_mode & 0o7777 == 0o640


def test_scores_are_spelled_as_pythons(music):
    done = search(music, "--like", "a", "--copy-to", "out", "--no-original", *ROOTS)
    names = {n.split("_")[0] for p in tree(music / "out") for n in [os.path.basename(p)]}
    scores = {percent(m["score"]) for m in lines(done)[0]["matches"] if m["name"] not in ("nowhere", "note")}
    assert names == scores and "100.0" in names and max(map(len, names)) > 9
    assert "a/a.mid" not in tree(music / "out")


def test_nothing_is_overwritten(music):
    first = search(music, "--like", "a", "--copy-to", "out", *ROOTS)
    assert first.returncode == 0
    before = tree(music / "out")
    again = search(music, "--like", "a", "--copy-to", "out", *ROOTS)
    assert again.returncode == 0 and tree(music / "out") == before  # the same bytes are there already
    changed = sorted(before)[0]
    (music / "out" / changed).write_bytes(b"mine")
    again = search(music, "--like", "a", "--copy-to", "out", *ROOTS)
    assert again.returncode == 1 and b"another file is there" in again.stderr
    assert (music / "out" / changed).read_bytes() == b"mine"
    forced = search(music, "--like", "a", "--copy-to", "out", "--force", *ROOTS)
    assert forced.returncode == 0 and tree(music / "out") == before
    assert not [p for p in (music / "out").rglob(".*")]


def test_queries_of_other_kinds(music):
    model = write_model(music / "tiny.safetensors", dim=DIM)
    song = midi((60, 64, 67))
    (music / "s.o.ng.mid.gz").write_bytes(gzip.compress(song))
    done = search(music, "-m", "tiny.safetensors", "s.o.ng.mid.gz", "--copy-to", "out", "-k", 2, *ROOTS)
    assert done.returncode == 0, text(done)
    assert tree(music / "out")["s.o.ng/s.o.ng.mid"] == song and len(tree(music / "out")) == 3
    for m in lines(done)[0]["matches"]:
        assert any(f"_{m['transpose']}_" in name for name in tree(music / "out"))
    done = search(music, "-m", model, "-", "--copy-to", "piped", "-k", 2, *ROOTS, stdin=song)
    assert done.returncode == 0 and tree(music / "piped")["stdin/stdin.mid"] == song
    named(music / "q.npy", ["first.x", "../b"], rows_of(2))
    done = search(music, "--query-vectors", "q.npy", "--copy-to", "vectors", "-k", 1, *ROOTS)
    assert done.returncode == 0 and sorted(p.split("/")[0] for p in tree(music / "vectors")) == ["b", "first.x"]
    done = search(music, "--like", "a", "--format", "midisim", "--copy-to", "listed", *ROOTS)
    assert done.returncode in (1, 2)  # --json beside another format
    done = run("search", "-c", "c.npy", "--like", "a", "--format", "midisim", "--copy-to", "listed", *ROOTS, cwd=music)
    assert done.returncode == 0 and len(tree(music / "listed")) == 9


def test_folders_of_many_queries(tmp_path):
    """Each query's folder has the stem of its file, and nothing of a longer name that was answered before."""
    write_model(tmp_path / "m.safetensors", dim=DIM)
    names = ["n" * (24 - i) + ".dots" for i in range(15)] + ["x.y", ".z"]
    (tmp_path / "music").mkdir()
    for i, name in enumerate(names):
        (tmp_path / "music" / f"{name}.mid").write_bytes(midi((60 + i, 64, 67)))
    named(tmp_path / "c.npy", ["x.y"], rows_of(1))
    done = search(tmp_path, "-m", "m.safetensors", "--no-original", "--copy-to", "out", "--midi-root", "music",
                  *(f"music/{name}.mid" for name in names))
    assert done.returncode == 0, text(done)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*names} - {".z"} | {"_z"}


def test_no_match_no_folder(music):
    done = search(music, "--like", "a", "--exclude", "a", "-k", 1, "--threshold", "0.5", "--copy-to", "out", *ROOTS)
    assert done.returncode == 2
    named(music / "c.npy", ["x", "y"], rows_of(2))
    done = search(music, "--like", "x", "--copy-to", "out", *ROOTS)
    assert done.returncode == 0 and not (music / "out").exists()


HOSTILE = ["../../evil.mid", "..", ".", "/etc/evil", "a/../../b.mid", "...mid", ".hidden.mid", "x\x00y",
           "new\nline", "-dash.mid", "\udcff\udc80.mid", "\u97f3" * 200, "d" * 300 + ".mid", "d" * 300 + ".kar", " "]


def test_hostile_names(tmp_path):
    """Every file lands in its query's folder, whatever rows and queries are called."""
    work = tmp_path / "work"
    root = work / "root"
    root.mkdir(parents=True)
    for stem in ("evil", "b", "y", "-dash", "new\nline", " ", "x", ".hidden", "..", "...mid"):
        (root / f"{stem}.mid").write_bytes(stem.encode())
    (root / os.fsdecode(b"\xff\x80.mid")).write_bytes(b"raw")
    named(work / "c.npy", HOSTILE, rows_of(len(HOSTILE)), "<U400")
    outside = {p for p in tmp_path.iterdir()}
    for i, name in enumerate(HOSTILE):
        if "\x00" in name:
            continue
        done = run("search", "-c", "c.npy", "--like", os.fsencode(name), "-k", 20, "--copy-to", "out", "--midi-root", root,
                   cwd=work)
        assert done.returncode in (0, 1), text(done)
    assert {p for p in tmp_path.iterdir()} == outside
    assert sorted(p.name for p in work.iterdir()) == ["c.npy", "out", "root"]
    copies = list((work / "out").rglob("*"))
    folders = [p for p in copies if p.is_dir()]
    assert len(folders) >= 10 and all(p.parent == work / "out" for p in folders)
    assert all(not p.name.startswith(".") and len(os.fsencode(p.name)) <= 255 for p in copies)
    files = [p for p in copies if p.is_file()]
    assert files and all(p.parent.parent == work / "out" and p.name.endswith(".mid") for p in files)
    assert {"evil", "b", "-dash"} <= {p.read_bytes().decode("utf-8", "replace") for p in files}


def test_long_names_stay_apart(tmp_path):
    (tmp_path / "root").mkdir()
    names = ["e" * 240 + tail for tail in ("1", "2")]
    for name in names:
        (tmp_path / "root" / (name + ".mid")).write_bytes(name[-1].encode())
    named(tmp_path / "c.npy", names, np.ones((2, DIM), "f4"), "<U300")
    done = search(tmp_path, "--like", names[0], "--copy-to", "out", "--no-original", "--midi-root", "root")
    assert done.returncode == 0 and sorted(tree(tmp_path / "out").values()) == [b"1", b"2"]


def test_links_inside_the_folder(music):
    """Links that lie in wait are not followed, with and without --force."""
    elsewhere = music / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "victim").write_bytes(b"precious")
    out = music / "out"
    out.mkdir()
    (out / "a").symlink_to(elsewhere)
    for force in ([], ["--force"]):
        done = search(music, "--like", "a", "--copy-to", "out", *ROOTS, *force)
        assert done.returncode == 1 and b"a file or a link is in the folder's place" in done.stderr
        assert tree(elsewhere) == {"victim": b"precious"}
    (out / "a").unlink()
    (out / "a").mkdir()
    (out / "a" / "a.mid").symlink_to(elsewhere / "victim")
    (out / "a" / "100.0_0_a.mid").symlink_to(elsewhere / "new")
    done = search(music, "--like", "a", "--copy-to", "out", *ROOTS)
    assert done.returncode == 1 and b"another file is there" in done.stderr
    assert (out / "a" / "a.mid").is_symlink() and tree(elsewhere) == {"victim": b"precious"}
    done = search(music, "--like", "a", "--copy-to", "out", "--force", *ROOTS)
    assert done.returncode == 0, text(done)
    assert not (out / "a" / "a.mid").is_symlink() and tree(elsewhere) == {"victim": b"precious"}
    # DIR itself is the user's word, link or not.
    (music / "link").symlink_to(out)
    assert search(music, "--like", "k", "--copy-to", "link", *ROOTS).returncode == 0 and (out / "k").is_dir()


def test_things_in_the_way(music):
    (music / "file").write_bytes(b"")
    done = search(music, "--like", "a", "--copy-to", "file", *ROOTS)
    assert done.returncode == 1 and lines(done)[0]["matches"]
    done = search(music, "--like", "a", "--copy-to", "out", "--midi-root", "absent")
    assert done.returncode == 1 and b"--midi-root: absent" in done.stderr and done.stdout == b""
    done = search(music, "--like", "a", "--copy-to", "out", "--midi-root", "file")
    assert done.returncode == 1 and b"--midi-root: file is a file" in done.stderr
    (music / "out" / "a" / "100.0_0_a.mid").mkdir(parents=True)
    done = search(music, "--like", "a", "--copy-to", "out", "--force", *ROOTS)
    assert done.returncode == 1 and (music / "out" / "a" / "a.mid").exists()
    (music / "one" / "b" / "a.mid").write_bytes(b"\x1f\x8b broken")
    os.mkfifo(music / "two" / "nowhere.mid")
    (music / "one" / "note.mid.gz").write_bytes(b"no gzip")
    done = search(music, "--like", "k", "--copy-to", "damaged", *ROOTS)
    assert done.returncode == 1 and b"not copied: two/nowhere.mid: a FIFO, not a regular file" in done.stderr
    assert b"not copied: one/note.mid.gz" in done.stderr


def test_same_name_twice(music):
    """Two matches whose copies would be called the same: the better one stays, also with --force."""
    (music / "one" / "x_y.mid").write_bytes(b"flat")
    (music / "one" / "x").mkdir()
    (music / "one" / "x" / "y.mid").write_bytes(b"deep")
    named(music / "c.npy", ["x/y.mid", "x_y.mid"], np.ones((2, DIM), "f4"))
    for force in ([], ["--force"]):
        done = search(music, "--like", "x_y.mid", "--copy-to", "out", "--no-original", *ROOTS, *force)
        assert done.returncode == 1 and b"another match" in done.stderr or not force
        assert tree(music / "out") == {"x_y/100.0_0_x_y.mid": b"deep"}
