"""midisim-embed on several ranks: corpus and description are, byte for byte, a single process's; what a run that was
killed has finished, a later one of any number of ranks takes over; its failures end all ranks with one line."""
import os
import random
import re
import signal
import subprocess
import time

import pytest
from cli_util import midi, run, text, write_model
from embed_util import build_faults, corpus, count, embed, fault, left_over, make_songs, read_journal
from mpi_util import MPI_ENV, command, mpirun, need_mpi, wait_for_ranks


@pytest.fixture(scope="module", autouse=True)
def _mpi():
    need_mpi()


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """200 pieces and copies, a silent one, one of drums, three that cannot be used; and what one process makes of them."""
    folder = tmp_path_factory.mktemp("music")
    make_songs(folder / "songs", n=200)
    (folder / "songs" / "broken.mid").write_bytes(midi()[:30])
    (folder / "songs" / "broken.mid.gz").write_bytes(b"no gzip at all")
    (folder / "songs" / ("n" * 200)).mkdir()
    (folder / "songs" / "fifo.mid").symlink_to("/dev/null")
    return folder


@pytest.fixture(scope="module")
def alone(music, model):
    out = music / "alone.npy"
    done = embed(model, out, music / "songs", "--skipped", music / "alone.tsv")
    assert done.returncode == 1, text(done)
    return out


def share(ranks, model, out, *arguments, **more):
    return mpirun(ranks, "embed", "-m", model, "-o", out, *arguments, **more)


def skipped(path):
    return sorted(path.read_text().splitlines())


@pytest.mark.parametrize("ranks", [3, 4])
def test_bytes(music, model, alone, tmp_path, ranks):
    out = tmp_path / "c.npy"
    done = share(ranks, model, out, music / "songs", "--skipped", tmp_path / "s.tsv")
    assert done.returncode == 1, text(done)
    assert corpus(out) == corpus(alone)
    assert left_over(out) == []
    assert skipped(tmp_path / "s.tsv") == skipped(music / "alone.tsv")
    assert len(re.findall("wrote ", text(done))) == 1 and f"{ranks} ranks of 1 threads" in text(done)
    again = share(ranks, model, out, music / "songs")
    assert again.returncode == 1 and "nothing to do" in text(again) and corpus(out) == corpus(alone)
    assert "gave no row and will not when" in text(again)  # the damaged ones, as in the first run


@pytest.mark.parametrize("options", (["--windows", "48"], ["--windows", "48", "--pool-windows"]), ids=("rows", "pooled"))
def test_windows(music, model, tmp_path, options):
    one, many = tmp_path / "one.npy", tmp_path / "many.npy"
    assert embed(model, one, *options, music / "songs").returncode == 1
    done = share(3, model, many, *options, music / "songs")
    assert done.returncode == 1 and corpus(many) == corpus(one) and left_over(many) == [], text(done)


def test_list_from_standard_input_over_sockets(music, model, tmp_path):
    """The list is read by rank 0 alone. Over sockets the counter needs rank 0 to look in."""
    names = sorted(str(p) for p in (music / "songs").glob("0*.mid"))[:60]
    listed = "".join(name + "\n" for name in [*names, names[3]]).encode()
    arguments = ("--files-from", "-", "--normalize", "--dtype", "f16", "--names", "stem")
    one, many = tmp_path / "one.npy", tmp_path / "many.npy"
    assert embed(model, one, *arguments, stdin=listed).returncode == 0
    done = share(3, model, many, *arguments, stdin=listed,
                 env={"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "lo"})
    assert done.returncode == 0, text(done)
    assert corpus(many) == corpus(one)


def test_update(music, model, tmp_path):
    """New, changed and vanished files; renamed ones are not embedded again."""
    songs, out = tmp_path / "songs", tmp_path / "c.npy"
    make_songs(songs, n=60)
    assert share(3, model, out, songs).returncode == 0
    (songs / "copy.mid").unlink()
    (songs / "0003.mid").rename(songs / "renamed.mid")
    (songs / "0006.mid").write_bytes(midi(range(40, 70)))
    (songs / "new.mid").write_bytes(midi(range(50, 90, 2)))
    done = share(3, model, out, songs, "--update")
    assert done.returncode == 0, text(done)
    one = tmp_path / "one.npy"
    assert embed(model, one, songs).returncode == 0
    assert corpus(out) == corpus(one)
    # The changed and the new one alone: at most three tokens a note.
    assert 0 < count(done, "tokens in") <= 3 * (30 + 20)


def note_index(out):
    return out.with_suffix(".notes").read_bytes()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_notes(music, model, alone, tmp_path, ranks):
    """--notes: the note index too, also where the corpus is there already and its notes alone are read."""
    out, index = tmp_path / "c.npy", tmp_path / "alone.notes"
    assert run("index", "-o", index, music / "songs").returncode == 1
    done = share(ranks, model, out, "--notes", music / "songs")
    assert done.returncode == 1, text(done)
    assert (corpus(out), note_index(out)) == (corpus(alone), index.read_bytes())
    assert left_over(out) == [] and len(re.findall("c.notes: ", text(done))) == 1
    assert "nothing to do" in text(share(ranks, model, out, "--notes", music / "songs"))
    (tmp_path / "c.notes").unlink()
    done = share(ranks, model, out, "--notes", music / "songs")
    assert "c.npy is up to date" in text(done) and count(done, "tokens in") == 0
    assert (corpus(out), note_index(out)) == (corpus(alone), index.read_bytes())


# ---- Killed and resumed ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A model that takes some milliseconds a piece, its pieces, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("slow")
    model = write_model(folder / "slow.safetensors", dim=256, heads=4, depth=3)
    rng = random.Random(7)
    (folder / "songs").mkdir()
    for i in range(180):
        (folder / "songs" / f"{i:03d}.mid").write_bytes(midi([rng.randrange(30, 100) for _ in range(300)]))
    out = folder / "alone.npy"
    assert embed(model, out, folder / "songs").returncode == 0
    return folder, model, corpus(out)


def journals(out):
    return sorted(out.parent.glob(out.name + "*.journal"))


def finished(out):
    """Paths of the files that some journal settles."""
    contents, files = set(), []
    for path in journals(out):
        if path.stat().st_size <= 64:
            continue
        for record in read_journal(path)[2]:
            if record["kind"] == 1:
                contents.add(record["hash"])
            elif record["kind"] == 2:
                files.append((record["path"], record["hash"]))
    return {path for path, digest in files if digest in contents}


def killed(slow, out, ranks, victim, *arguments, number=signal.SIGKILL, least=8):
    """Start a run, kill one of its ranks when some work is done; gives what was finished."""
    folder, model, _ = slow
    process = subprocess.Popen(command(ranks, "embed", "-m", model, "-o", out, *arguments, folder / "songs"), env=MPI_ENV,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes = wait_for_ranks(process.pid, ranks)
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if sum(path.stat().st_size > 2000 for path in journals(out)) > 1 and len(finished(out)) >= least:
            break
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    os.kill(processes[victim], number)
    _, said = process.communicate(timeout=60)
    assert process.returncode not in (0, 1, 2), said
    assert not out.exists()
    return finished(out), said.decode()


@pytest.mark.parametrize("ranks, victim, then", [(3, 2, 4), (4, 0, 3), (3, 1, 1)])
def test_killed_rank(slow, tmp_path, ranks, victim, then):
    folder, model, expected = slow
    out = tmp_path / "c.npy"
    before, _ = killed(slow, out, ranks, victim)
    assert len(before) >= 8
    done = embed(model, out, folder / "songs") if then == 1 else share(then, model, out, folder / "songs")
    assert done.returncode == 0, text(done)
    assert count(done, "were done by an earlier run") == len(before)
    assert corpus(out) == expected and left_over(out) == []


@pytest.mark.parametrize("victim, then", [(1, 1), (0, 2)])
def test_killed_rank_with_notes(slow, tmp_path, victim, then):
    """Each rank's journal has its notes: whoever goes on reads what is left alone."""
    folder, model, expected = slow
    out, index = tmp_path / "c.npy", tmp_path / "alone.notes"
    assert run("index", "-o", index, folder / "songs").returncode == 0
    before, _ = killed(slow, out, 3, victim, "--notes")
    songs = ("--notes", folder / "songs")
    done = embed(model, out, *songs) if then == 1 else share(then, model, out, *songs)
    assert done.returncode == 0, text(done)
    assert count(done, "were done by an earlier run") == len(before) > 0
    assert (corpus(out), note_index(out)) == (expected, index.read_bytes()) and left_over(out) == []


def test_terminated_rank(slow, tmp_path):
    """A signal to one rank ends all, with the work so far synced and one line that says so."""
    folder, model, expected = slow
    out = tmp_path / "c.npy"
    before, said = killed(slow, out, 3, 1, number=signal.SIGTERM)
    assert [line for line in said.splitlines() if line.startswith("midisim-")][-1:] == [
        f"midisim-embed: warning: not complete: what was finished is kept in {out}.journal and, of other ranks, in "
        f"{out}.rank-*.journal; run the same command again to go on, with any number of ranks"]
    done = embed(model, out, folder / "songs")
    assert count(done, "were done by an earlier run") == len(before) > 0
    assert corpus(out) == expected and left_over(out) == []


# ---- Failures -------------------------------------------------------------------------------------------------------


def ours(done):
    return [line for line in text(done).splitlines() if line.startswith("midisim-")]


def test_failures_end_all_with_one_line(music, model, tmp_path):
    out = tmp_path / "c.npy"
    done = share(3, model, tmp_path / "no" / "c.npy", music / "songs")
    assert done.returncode == 2 and len(ours(done)) == 1, text(done)
    done = share(3, tmp_path / "none.safetensors", out, music / "songs")
    assert done.returncode == 1 and len(ours(done)) == 1, text(done)
    done = share(2, model, out, "--from-tokens", "-")
    assert done.returncode == 2 and len(ours(done)) == 1, text(done)
    assert left_over(out) == []


def test_another_model_on_another_rank(music, model, tmp_path):
    other, out = write_model(tmp_path / "other.safetensors", seed=9), tmp_path / "c.npy"
    first = command(2, "embed", "-m", model, "-o", out, music / "songs")
    rest = command(1, "embed", "-m", other, "-o", out, music / "songs")[1:]
    done = subprocess.run([*first, ":", *rest], env=MPI_ENV, capture_output=True, timeout=60)
    assert done.returncode == 2 and len(ours(done)) == 1 and "ranks differ: " in text(done), text(done)
    assert ours(done)[0].endswith("(rank 2)") and left_over(out) == []


def test_journal_of_other_settings(slow, tmp_path):
    """What ranks left is only taken over with the settings it was made with."""
    folder, model, _ = slow
    out = tmp_path / "c.npy"
    killed(slow, out, 2, 1)
    done = run("embed", "-m", model, "-o", out, "--normalize", folder / "songs")
    assert done.returncode == 2 and "unfinished run" in text(done)
    assert len(journals(out)) > 1


# ---- A disk that fails ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_faults(tmp_path_factory.mktemp("fault"))


def share_with(environment, at_rank, ranks, *arguments):
    """The ranks of which one alone has some more environment."""
    plain = command(1, "embed", *arguments)[3:]
    words = ["mpirun"]
    for n, more in ((at_rank, {}), (1, environment), (ranks - at_rank - 1, {})):
        if n:
            words += [":"] * (len(words) > 1) + ["-np", str(n)]
            words += [word for key, value in more.items() for word in ("-x", f"{key}={value}")] + plain
    return subprocess.run(words, env=MPI_ENV, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def test_journal_of_a_rank_fails(music, model, alone, library, tmp_path):
    out = tmp_path / "c.npy"
    for at in (1, 2, 5):
        done = share_with(fault(library, out, at=at, errno=28), 1, 3, "-m", model, "-o", out, music / "songs")
        lines = [line for line in ours(done) if "warning: not complete" not in line]
        assert done.returncode == 1 and len(lines) == 1, text(done)
        assert "No space left" in lines[0] and "rank-1" in lines[0] and lines[0].endswith("(rank 1)")
        assert not out.exists()
    assert embed(model, out, music / "songs").returncode == 1
    assert corpus(out) == corpus(alone) and left_over(out) == []


@pytest.mark.parametrize("tries", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_rank_0_killed_while_it_merges(music, model, alone, library, tmp_path, tries):
    """At some of its last calls: taking over journals, writing the corpus, putting it in its place."""
    log, out = tmp_path / "log", tmp_path / "first" / "c.npy"
    out.parent.mkdir()
    share_with(fault(library, out, log=log), 0, 3, "-m", model, "-o", out, music / "songs")
    calls = log.read_text().splitlines()
    rng = random.Random(len(calls))
    first = calls.index("unlink", 3)  # a journal that was taken over
    for at in sorted(rng.sample(range(first, len(calls)), min(tries, len(calls) - first))):
        out = tmp_path / str(at) / "c.npy"
        out.parent.mkdir()
        done = share_with(fault(library, out, at=at, mode="killed"), 0, 3, "-m", model, "-o", out, music / "songs")
        assert done.returncode == 137, text(done)
        done = share(2, model, out, music / "songs")
        assert done.returncode in (0, 1), (at, text(done))
        assert corpus(out) == corpus(alone) and left_over(out) == [], at
