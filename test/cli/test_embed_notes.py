"""midisim-embed --notes: the index beside a corpus is, byte for byte, midisim-index's over the same files, however the run
was divided, interrupted, resumed or brought up to date; vectors are those of a run without it."""
import shutil
import signal
import time

import pytest
from cli_util import DRUMS, midi, run, text, write_model
from embed_util import build_faults, corpus, count, embed, fault, make_songs, read_journal
from test_find import tune, two_tracks


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Pieces, copies under other names, voices and track names, and files that give nothing."""
    folder = tmp_path_factory.mktemp("songs") / "in"
    make_songs(folder)
    for i in range(4):
        (folder / f"two{i}.mid").write_bytes(two_tracks(tune(i), [p - 24 for p in tune(i + 50)]))
    shutil.copy(folder / "two0.mid", folder / "1" / "zz.mid")
    (folder / "bad.mid").write_bytes(b"none")
    (folder / "cut.mid").write_bytes(midi(tune(3))[:300])
    return folder


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Pieces that take a second or more, so that a journal has several blocks; what runs for each alone give; the model."""
    folder = tmp_path_factory.mktemp("slow")
    songs = make_songs(folder / "in", n=110, notes=400)
    seconds, depth = 0, 2
    while seconds < 1.5 and depth <= 64:
        model = write_model(folder / f"{depth}.safetensors", dim=128, heads=2, depth=depth)
        out, began, depth = folder / f"{depth}.npy", time.monotonic(), depth * 2
        assert embed(model, out, songs).returncode == 0
        seconds = time.monotonic() - began
    return model, songs, (corpus(out), index(songs, folder / "alone.notes"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_faults(tmp_path_factory.mktemp("fault"))


def index(folder, out, *arguments):
    """The bytes of midisim-index."""
    done = run("index", "-o", out, *arguments, folder)
    assert done.returncode in (0, 1), text(done)
    return out.read_bytes()


@pytest.fixture(scope="module")
def alone(songs, model):
    """Corpus and index of runs for each alone."""
    out = songs.parent / "alone.npy"
    assert embed(model, out, songs).returncode == 1
    return corpus(out), index(songs, songs.parent / "alone.notes")


def both(model, out, *arguments, code=1, **more):
    done = embed(model, out, "--notes", *arguments, **more)
    assert done.returncode == code, text(done)
    return done


def notes(out):
    return out.with_suffix(".notes").read_bytes()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["c.notes", "c.npy", "c.npy.json"]


# ---- The same bytes --------------------------------------------------------------------------------------------------


def test_same_bytes(songs, model, alone, tmp_path):
    out = tmp_path / "c.npy"
    done = both(model, out, songs)
    assert (corpus(out), notes(out)) == alone and names_in(tmp_path) == WHOLE
    assert "wrote " in text(done) and "c.notes: 47 pieces" in text(done)
    assert run("index", "--verify", tmp_path / "c.notes").returncode == 0
    again = both(model, out, songs)
    assert "nothing to do" in text(again) and (corpus(out), notes(out)) == alone
    for name, options in (("t", ["--threads", 3]), ("w", ["--windows", 48]), ("x", ["--max-tokens", 20, "--transpose", 2])):
        both(model, tmp_path / f"{name}.npy", *options, songs)
        assert notes(tmp_path / f"{name}.npy") == alone[1], options


def test_names_and_lists(songs, model, tmp_path):
    """Also of a list in another order, and where several pieces have one name."""
    paths = sorted(songs.rglob("*.mid"), reverse=True)
    listed = "".join(f"{path}\n" for path in [*paths, paths[3]]).encode()
    (tmp_path / "list").write_bytes(listed)
    out = tmp_path / "c.npy"
    both(model, out, "--names", "stem", "--files-from", tmp_path / "list")
    done = run("index", "-o", tmp_path / "i.notes", "--names", "stem", "--files-from", tmp_path / "list")
    assert done.returncode == 1, text(done)
    assert notes(out) == (tmp_path / "i.notes").read_bytes()


def test_shards(songs, model, alone, tmp_path):
    parts = [tmp_path / f"p{i}.npy" for i in range(1, 40)]
    for i, part in enumerate(parts, 1):
        done = embed(model, part, "--notes", "--shard", f"{i}/{len(parts)}", songs)
        assert done.returncode in (0, 1) and part.with_suffix(".notes").exists(), text(done)
    done = run("index", "--merge", "-o", tmp_path / "all.notes", *(part.with_suffix(".notes") for part in parts))
    assert done.returncode == 0 and (tmp_path / "all.notes").read_bytes() == alone[1], text(done)


def test_pieces_without_a_row(model, tmp_path):
    """What the embedder skips for a reason of its own is in the index all the same; and what has no notes is in neither."""
    folder, out = tmp_path / "in", tmp_path / "c.npy"
    folder.mkdir()
    (folder / "long.mid").write_bytes(midi([60 + i % 12 for i in range(16000)], ticks=60))
    (folder / "short.mid").write_bytes(midi(tune(1)))
    (folder / "drums.mid").write_bytes(DRUMS)
    # A width of 65,000 floats: a record of the journal holds few windows.
    done = embed(model, out, "--notes", "--windows", "16/1", "--skipped", tmp_path / "s.tsv", folder)
    assert notes(out) == index(folder, tmp_path / "i.notes"), text(done)


# ---- Interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ("kill", "killed", "fail", "short"))
def test_every_call(model, library, tmp_path, mode):
    """A run that ends at any write, sync, cut, rename or removal loses nothing, and the next one gives the same bytes."""
    folder = make_songs(tmp_path / "in", n=5)
    expected = index(folder, tmp_path / "i.notes")
    first = tmp_path / "0"
    first.mkdir()
    log = tmp_path / "log"
    faults = {**fault(library, first / "c.npy", log=log), "FAULT_PATH": "/c.n"}
    both(model, first / "c.npy", folder, code=0, env=faults)
    n_calls = len(log.read_text().splitlines())
    assert n_calls > 12
    for at in range(1, n_calls + 1):
        place = tmp_path / f"{mode}{at}"
        place.mkdir()
        out = place / "c.npy"
        faults = {**fault(library, out, at=at, mode=mode), "FAULT_PATH": "/c.n"}
        done = embed(model, out, "--notes", folder, env=faults)
        if mode.startswith("kill"):
            assert done.returncode == -signal.SIGKILL
        if out.exists():
            assert notes(out) == expected, at  # where the corpus is, the index is
        both(model, out, folder, code=0)
        assert notes(out) == expected and corpus(out) == corpus(first / "c.npy"), at
        # A killed process cannot remove what it was writing.
        assert [name for name in names_in(place) if ".part-" not in name] == WHOLE, at


def killed_early(model, out, library, *arguments):
    """A run that is killed when the first block is in its journal; gives the records."""
    log, probe = out.with_name("log"), out.with_name("probe.npy")
    assert embed(model, probe, *arguments, env=fault(library, probe, log=log)).returncode == 0
    calls = log.read_text().split()  # the first sync is the header's
    at = calls.index("fdatasync", calls.index("fdatasync") + 1) + 2
    done = embed(model, out, *arguments, env=fault(library, out, at=at, mode="kill"))
    assert done.returncode == -signal.SIGKILL and not out.exists()
    return read_journal(out.with_name("c.npy.journal"))[2]


def hashes(records, kind):
    return [record["hash"] for record in records if record["kind"] == kind]


def test_nothing_finished_is_lost(slow, library, tmp_path):
    """The journal has the notes of each content whose file it has: the next run reads what is left and no more."""
    model, songs, expected = slow
    out = tmp_path / "c.npy"
    records = killed_early(model, out, library, "--notes", songs)
    assert hashes(records, 2) and set(hashes(records, 2)) == set(hashes(records, 4))
    both(model, out, "--keep-journal", songs, code=0)
    records = read_journal(tmp_path / "c.npy.journal")[2]
    for kind in (1, 4):
        assert len(hashes(records, kind)) == len(set(hashes(records, kind))) >= 110
    assert (corpus(out), notes(out)) == expected


def test_begun_without(slow, library, tmp_path):
    """A run that began without --notes is completed: its files are read again, and not embedded again."""
    model, songs, expected = slow
    out = tmp_path / "c.npy"
    finished = set(hashes(killed_early(model, out, library, songs), 1))
    both(model, out, "--keep-journal", songs, code=0)
    contents = hashes(read_journal(tmp_path / "c.npy.journal")[2], 1)
    assert len(contents) == len(set(contents)) and finished <= set(contents)
    assert (corpus(out), notes(out)) == expected


def test_ended_without(slow, library, tmp_path):
    """The other way round: the journal of a run with --notes serves one without."""
    model, songs, expected = slow
    out = tmp_path / "c.npy"
    finished = set(hashes(killed_early(model, out, library, "--notes", songs), 1))
    done = embed(model, out, "--keep-journal", songs)
    contents = hashes(read_journal(tmp_path / "c.npy.journal")[2], 1)
    assert done.returncode == 0 and len(contents) == len(set(contents)) and finished <= set(contents)
    assert corpus(out) == expected[0] and not (tmp_path / "c.notes").exists()


# ---- What is there already -------------------------------------------------------------------------------------------


def test_corpus_that_is_there(songs, model, alone, tmp_path):
    """A complete corpus gets its index without a token embedded; so does one whose index is damaged, old or of others."""
    out, beside = tmp_path / "c.npy", tmp_path / "c.notes"
    assert embed(model, out, songs).returncode == 1
    for bad in (None, b"", b"none", alone[1][:-3], alone[1][:5000] + b"x" + alone[1][5001:]):
        beside.unlink(missing_ok=True)
        if bad is not None:
            beside.write_bytes(bad)
        done = both(model, out, songs)
        if bad is not None and len(bad) == len(alone[1]):
            assert "nothing to do" in text(done)  # the damage is in the postings, which nobody read
            continue
        assert count(done, "tokens in") == 0 and "c.npy is up to date" in text(done) and "wrote" in text(done)
        assert (corpus(out), notes(out)) == alone, bad
    (tmp_path / "few").mkdir()
    (tmp_path / "few/x.mid").write_bytes(midi(tune(9)))
    index(tmp_path / "few", beside)
    both(model, out, songs)
    assert (corpus(out), notes(out)) == alone
    run("index", "-o", beside, "--density", 3, songs)
    done = both(model, out, songs)
    assert "density" in text(done) and (corpus(out), notes(out)) == alone


def test_update(model, tmp_path):
    folder, out = make_songs(tmp_path / "in"), tmp_path / "c.npy"
    both(model, out, folder, code=0)
    before = notes(out)
    done = both(model, out, "--update", folder, code=0)
    assert text(done).count("is up to date: nothing to write") == 2 and notes(out) == before
    (folder / "copy.mid").unlink()
    (folder / "0003.mid").rename(folder / "renamed.mid")
    (folder / "0006.mid").write_bytes(midi(range(40, 70)))
    (folder / "new.mid").write_bytes(midi(range(50, 90, 2)))
    shutil.copy(folder / "0000.mid", folder / "another.mid")
    done = both(model, out, "--update", folder, code=0)
    assert 0 < count(done, "tokens in") <= 3 * (30 + 20)  # the changed and the new one alone
    assert notes(out) == index(folder, tmp_path / "i.notes") != before
    assert embed(model, tmp_path / "one.npy", folder).returncode == 0
    assert corpus(out) == corpus(tmp_path / "one.npy")
    (folder / "0009.mid").unlink()
    done = embed(model, out, "--update", folder)  # without: the index stays behind, which is said
    assert done.returncode == 0 and "c.notes is left as it was" in text(done)
    done = both(model, out, "--update", folder, code=0)
    assert "c.npy is up to date" in text(done) and notes(out) == index(folder, tmp_path / "i.notes")


def test_options(songs, model, tmp_path):
    done = embed(model, tmp_path / "c.npy", "--notes", "--from-tokens", "-")
    assert done.returncode == 2 and "--from-tokens" in text(done)
    done = run("embed", "-m", model, "--notes", "--per-token", tmp_path / "v", songs)
    assert done.returncode == 2 and "--notes is about a corpus" in text(done)
    (tmp_path / "c.notes").mkdir()
    done = embed(model, tmp_path / "c.npy", "--notes", songs)
    assert done.returncode not in (0, 1) and not (tmp_path / "c.npy").exists()
    (tmp_path / "c.notes").rmdir()
    both(model, tmp_path / "c.npy", songs)
