"""midisim-index and midisim-find on several ranks: the index is, byte for byte, a single process's, and so is every answer;
what a stopped run has read, a later one of any number of ranks takes over; failures end all ranks with one line."""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from cli_util import midi, run, text
from embed_util import make_songs
from mpi_util import MPI_ENV, command, mpirun, need_mpi, wait_for_ranks
from test_find import tune, two_tracks


@pytest.fixture(scope="module", autouse=True)
def _mpi():
    need_mpi()


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Pieces, copies, versions in other keys, pieces of loops, and files that give nothing; and one process's index."""
    folder = tmp_path_factory.mktemp("music")
    make_songs(folder / "in", n=120)
    (folder / "in/tunes").mkdir()
    for i in range(24):
        (folder / f"in/tunes/{i:02d}.mid").write_bytes(midi(tune(i, n=300), ticks=240))
        (folder / f"in/tunes/{i:02d}-up.mid").write_bytes(midi(tune(i, n=280, transpose=3), ticks=300))
    for i in range(6):
        (folder / f"in/loop{i}.mid").write_bytes(midi(([60, 64, 67, 64] * 8 + [62, 65, 69, 65] * 8) * (i + 1)))
        (folder / f"in/two{i}.mid").write_bytes(two_tracks(tune(i), [p - 24 for p in tune(i + 50)]))
    (folder / "in/bad.mid").write_bytes(b"none")
    (folder / "in/fifo.mid").symlink_to("/dev/null")
    done = run("index", "-o", folder / "one.notes", "--skipped", folder / "one.tsv", folder / "in")
    assert done.returncode == 1, text(done)
    return folder


def index(ranks, out, *arguments, code=1, **more):
    done = mpirun(ranks, "index", "-o", out, *arguments, **more)
    assert done.returncode == code, text(done)
    return done


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def ours(done):
    return [line for line in text(done).splitlines() if line.startswith("midisim-")]


# ---- The index -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_same_index(music, tmp_path, ranks):
    done = index(ranks, tmp_path / "x.notes", "--skipped", tmp_path / "s.tsv", music / "in")
    assert (tmp_path / "x.notes").read_bytes() == (music / "one.notes").read_bytes()
    assert names_in(tmp_path) == ["s.tsv", "x.notes"]
    assert sorted((tmp_path / "s.tsv").read_text().splitlines()) == sorted((music / "one.tsv").read_text().splitlines())
    assert len(re.findall("wrote ", text(done))) == 1 and "186 files: 182 pieces" in text(done)


def test_lists_memory_and_shards(music, tmp_path):
    paths = [str(path) for path in sorted((music / "in").rglob("*.mid"), reverse=True)]
    listed = "".join(f"{path}\n" for path in [*paths, paths[5]]).encode()
    arguments = ("--names", "stem", "--density", 2, "--no-bottom", "--files-from", "-")
    done = run("index", "-o", tmp_path / "one.notes", *arguments, stdin=listed)
    index(3, tmp_path / "x.notes", *arguments, stdin=listed, code=done.returncode)
    assert (tmp_path / "x.notes").read_bytes() == (tmp_path / "one.notes").read_bytes()
    for i in (1, 2):
        done = mpirun(2, "index", "-o", tmp_path / f"{i}.notes", "--shard", f"{i}/2", music / "in")
        assert done.returncode in (0, 1)
    assert run("index", "--merge", "-o", tmp_path / "m.notes", tmp_path / "1.notes", tmp_path / "2.notes").returncode == 0
    assert (tmp_path / "m.notes").read_bytes() == (music / "one.notes").read_bytes()


def test_update(music, tmp_path):
    songs = tmp_path / "in"
    shutil.copytree(music / "in/tunes", songs)
    index(3, tmp_path / "x.notes", songs, code=0)
    (songs / "03.mid").unlink()
    (songs / "04.mid").write_bytes(midi(tune(77)))
    (songs / "new.mid").write_bytes(midi(tune(78)))
    done = index(3, tmp_path / "x.notes", "--update", songs, code=0)
    assert "2 pieces added, 46 kept, 2 dropped" in text(done)
    assert run("index", "-o", tmp_path / "y.notes", songs).returncode == 0
    assert (tmp_path / "x.notes").read_bytes() == (tmp_path / "y.notes").read_bytes()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Pieces that take some time, and one process's index of them."""
    folder, rng = tmp_path_factory.mktemp("many"), random.Random(5)
    (folder / "in").mkdir()
    data = midi([rng.randrange(30, 100) for _ in range(6000)])
    for i in range(300):
        (folder / f"in/{i:03d}.mid").write_bytes(data)
    assert run("index", "-o", folder / "one.notes", folder / "in").returncode == 0
    return folder


def catches(process, number):
    """Whether a process has installed its own handler of a signal."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1


@pytest.mark.parametrize("then", [1, 2])
def test_stopped_and_resumed(many, tmp_path, then):
    """A signal to one rank ends all; each keeps what it has read."""
    out = tmp_path / "x.notes"
    process = subprocess.Popen(command(3, "index", "-o", out, many / "in"), env=MPI_ENV, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ranks = wait_for_ranks(process.pid, 3)
    while not all(catches(rank, signal.SIGTERM) for rank in ranks):
        time.sleep(0.02)
    os.kill(ranks[1], signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    kept = [name for name in names_in(tmp_path) if ".kept-" in name]
    assert process.returncode != 0 and not out.exists(), said
    done = mpirun(then, "index", "-o", out, many / "in") if then > 1 else run("index", "-o", out, many / "in")
    assert done.returncode == 0 and out.read_bytes() == (many / "one.notes").read_bytes(), text(done)
    if kept:
        assert re.search(r"[1-9]\d* kept, 0 dropped", text(done)), text(done)
    assert names_in(tmp_path) == ["x.notes"]


def test_index_failures(music, tmp_path):
    done = mpirun(3, "index", "-o", tmp_path / "no" / "x.notes", music / "in")
    assert done.returncode == 1 and len([line for line in ours(done) if "no/x.notes" in line]) == 1, text(done)
    for arguments in (["--merge", "-o", tmp_path / "m.notes", music / "one.notes"], ["--info", music / "one.notes"]):
        done = mpirun(2, "index", *arguments)
        assert done.returncode == 2 and len(ours(done)) == 1, text(done)
    (tmp_path / "empty").mkdir()
    done = mpirun(3, "index", "-o", tmp_path / "x.notes", tmp_path / "empty")
    assert done.returncode == 1 and not (tmp_path / "x.notes").exists(), text(done)


# ---- Finding ---------------------------------------------------------------------------------------------------------

PHRASES = ("G4 G4 A4 G4 C5 B4:2 G4 G4 A4 G4 D5 C5:2", "60 62 64", "C4+E4+G4 C4 E4 G4")
FILES = ["in/tunes/00.mid", "in/tunes/05.mid", "in/loop3.mid", "in/two1.mid", "in/0000.mid", "in/copy.mid", "in/silent.mid",
         "in/bad.mid", "in/tunes/17-up.mid"]
QUERIES = ([word for phrase in PHRASES for word in ("--notes", phrase)] + FILES, ["--bars", "3-8", "-k", 100, "in/tunes"],
           ["--same-key", "in/tunes/09.mid"], ["--same-tempo", "--within", "*tunes/0*", "in/tunes/09-up.mid"])


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_same_answers(music, ranks):
    for n, query in enumerate(QUERIES):
        form = ("--json", "--format=tsv")[n % 2]
        one = run("find", "-i", "one.notes", form, *query, cwd=music)
        done = mpirun(ranks, "find", "-i", "one.notes", form, *query, cwd=music)
        assert (done.returncode, done.stdout) == (one.returncode, one.stdout), (query, text(done))
        assert one.stdout


def test_more_ranks_than_pieces(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(2):
        (tmp_path / f"in/{i}.mid").write_bytes(midi(tune(i)))
    index(4, tmp_path / "x.notes", tmp_path / "in", code=0)
    query = ["--notes", "C4 D4 E4 F4", "in/0.mid", "in/1.mid"]
    one = run("find", "-i", "x.notes", "--json", *query, cwd=tmp_path)
    done = mpirun(4, "find", "-i", "x.notes", "--json", *query, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (one.returncode, one.stdout), text(done)


def test_queries_from_standard_input_and_files(music, tmp_path):
    song = (music / "in/tunes/05.mid").read_bytes()
    one = run("find", "-i", "one.notes", "--excerpts", tmp_path / "a", "--copy-to", tmp_path / "c", "--midi-root", "in", "-", cwd=music,
              stdin=song)
    done = mpirun(3, "find", "-i", "one.notes", "--excerpts", tmp_path / "b", "--copy-to", tmp_path / "d", "--midi-root", "in", "-",
                  cwd=music, stdin=song)
    assert (done.returncode, done.stdout) == (one.returncode, one.stdout), text(done)
    for first, second in (("a", "b"), ("c", "d")):
        paths = sorted(path.relative_to(tmp_path / first) for path in (tmp_path / first).rglob("*.mid"))
        assert paths and paths == sorted(path.relative_to(tmp_path / second) for path in (tmp_path / second).rglob("*.mid"))
        assert all((tmp_path / first / path).read_bytes() == (tmp_path / second / path).read_bytes() for path in paths)


@pytest.mark.parametrize("ranks", [3])
@pytest.mark.parametrize("what", ["--pairs", "--groups"])
def test_pairs(music, ranks, what):
    one = run("find", "-i", "one.notes", what, cwd=music)
    done = mpirun(ranks, "find", "-i", "one.notes", what, cwd=music)
    assert (done.returncode, done.stdout) == (one.returncode, one.stdout) and one.returncode == 0, text(done)
    assert len(one.stdout.splitlines()) > 40


def test_find_failures(music, tmp_path):
    done = mpirun(3, "find", "-i", tmp_path / "none.notes", "--notes", "C4 D4 E4")
    assert done.returncode == 1 and len(ours(done)) == 1, text(done)
    done = mpirun(3, "find", "-i", music / "in", "--notes", "C4 D4 E4")
    assert done.returncode == 2 and len(ours(done)) == 1 and "midisim-index makes" in text(done), text(done)
    done = mpirun(3, "find", "-i", music / "one.notes", "--notes", "C4 H4")
    assert done.returncode == 2 and len(ours(done)) == 1, text(done)


def test_damage_met_by_one_rank(music, tmp_path):
    """The details of one piece are damaged: the rank that has it fails, and all end with one line."""
    data = bytearray((music / "one.notes").read_bytes())
    tail = len(data) - 512
    at, size = (int.from_bytes(data[tail + 72 + 24 * 5 + 8 * i:tail + 80 + 24 * 5 + 8 * i], "little") for i in range(2))
    data[at:at + size] = b"\xff" * size
    (tmp_path / "bad.notes").write_bytes(data)
    one = run("find", "-i", tmp_path / "bad.notes", music / "in/tunes/05.mid")
    done = mpirun(3, "find", "-i", tmp_path / "bad.notes", music / "in/tunes/05.mid")
    assert done.returncode == one.returncode != 0, text(one)
    assert len(ours(done)) == 1 and "damaged" in text(done), text(done)


# ---- Groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_same_groups(music, tmp_path, ranks):
    """From a folder and from an index, anew each time: what one process finds, the ranks find."""
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    for n, inputs in enumerate((["in"], ["one.notes"], ["--leaks", "one.notes", "in/tunes"])):
        more = ["--tsv", "--kinds", "all", "--state"]
        one = run("groups", *more, tmp_path / f"one{n}", *inputs, cwd=music, env=env)
        done = mpirun(ranks, "groups", *more, tmp_path / f"many{n}", *inputs, cwd=music, env=env)
        assert (done.returncode, done.stdout) == (one.returncode, one.stdout), text(done)
        # the folder holds a pipe, which cannot be read; the index knows nothing of it
        assert one.returncode == (1, 0, 3)[n] and len(one.stdout.splitlines()) > 40
        assert (tmp_path / f"one{n}").read_bytes() == (tmp_path / f"many{n}").read_bytes()
    done = mpirun(3, "groups", "none.notes", cwd=music, env=env)
    assert done.returncode == 1 and len(ours(done)) == 1, text(done)
