"""midisim-embed --windows: several rows for each piece, and their mean; midisim-search with queries cut alike."""
import random
import shutil

import numpy as np
import pytest
from cli_util import lines, midi, run, text
from embed_util import about, corpus, count, embed, left_over
from search_util import scores, shown

KEYS = range(-6, 6)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Pieces of many windows and of one; a copy."""
    rng = random.Random(5)
    folder = tmp_path_factory.mktemp("songs")
    for i, n in enumerate((150, 3, 90, 40, 200, 61)):
        (folder / f"{i}.mid").write_bytes(midi([rng.randrange(30, 100) for _ in range(n)]))
    shutil.copy(folder / "2.mid", folder / "copy.mid")
    return folder


def rows_of(out, name=None):
    data = np.load(out)
    return data["midi_embeddings"] if name is None else data["midi_embeddings"][data["midi_names"] == name]


@pytest.fixture(scope="module")
def made(songs, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "c.npy"
    done = embed(model, out, "--windows", "64", songs)
    assert done.returncode == 0 and "rows of 7 pieces" in text(done), text(done)
    return out


def test_rows_cover_the_piece(songs, model, made):
    described = about(made)
    assert described["windows"] == {"tokens": 64, "step": 32} and described["max_tokens"] == 0
    n = {name: len(rows_of(made, name)) for name in np.load(made)["midi_names"]}
    assert n["1.mid"] == 1 and n["0.mid"] > 8 and n["2.mid"] == n["copy.mid"]
    assert np.array_equal(rows_of(made, "2.mid"), rows_of(made, "copy.mid"))
    # The first window is what a run gives that is cut to its tokens.
    found = lines(run("search", "-c", made, "--like", "0.mid", "--json", "-k", "1"))[0]["matches"][0]
    assert (found["from_token"], found["from_seconds"]) == (0, 0.0)
    one = made.parent / "one.npy"
    assert embed(model, one, "--max-tokens", found["to_token"], songs / "0.mid").returncode == 0
    assert np.array_equal(rows_of(one)[0], rows_of(made, "0.mid")[0])


def place(note):
    """Bar and beat of a note: all are quarters, in 4/4."""
    return note // 4 + 1, note % 4 + 1


def test_rows_have_bars(songs, made):
    found = lines(run("search", "-c", made, "--like", "0.mid", "--json", "-k", "9"))[0]["matches"]
    assert len(found) == 7 and {m["bar"] for m in found} != {1}
    for m in found:
        first, behind = max(m["from_token"] - 1, 0) // 3, m["to_token"] // 3
        assert (m["bar"], m["beat"], m["to_bar"], m["to_beat"]) == (*place(first), *place(behind)), m
        assert "query_bar" not in m


def test_corpora_without_windows_have_no_bars(songs, model, tmp_path):
    for options in ([], ["--windows", "64", "--pool-windows"]):
        out = tmp_path / "c.npy"
        assert embed(model, out, *options, "--force", songs).returncode == 0
        assert "bars" not in about(out)


def test_a_step_and_a_limit(songs, model, made, tmp_path):
    out = tmp_path / "c.npy"
    done = embed(model, out, "--windows", "64/16", "--max-tokens", "200", songs)
    assert done.returncode == 0, text(done)
    assert about(out)["windows"] == {"tokens": 64, "step": 16} and about(out)["max_tokens"] == 200
    assert 9 <= len(rows_of(out, "0.mid")) < 2 * len(rows_of(made, "0.mid"))


def test_shards_are_the_whole(songs, model, made, tmp_path):
    for i in (1, 2):
        assert embed(model, tmp_path / f"{i}.npy", "--windows", "64", "--shard", f"{i}/2", songs).returncode == 0
    done = run("convert", "--merge", "1.npy", "2.npy", "-o", "m.npy", cwd=tmp_path)
    assert done.returncode == 0, text(done)
    assert (tmp_path / "m.npy").read_bytes() == made.read_bytes()
    assert about(tmp_path / "m.npy")["spans"] == about(made)["spans"]
    assert about(tmp_path / "m.npy")["bars"] == about(made)["bars"]
    assert run("convert", "--form", "fbin", made, tmp_path / "c.fbin").returncode == 0
    assert about(tmp_path / "c.fbin")["bars"] == about(made)["bars"]


def test_the_same_bytes_again(songs, model, made, tmp_path):
    out = tmp_path / "c.npy"
    for threads in ("1", "3"):
        assert embed(model, out, "--windows", "64/32", "--threads", threads, "--force", songs).returncode == 0
        assert corpus(out) == corpus(made) and left_over(out) == []


def test_other_windows_are_refused(songs, model, tmp_path):
    out = tmp_path / "c.npy"
    assert embed(model, out, "--windows", "64", songs).returncode == 0
    before = corpus(out)
    for options, why in ((["--windows", "48"], "window: expected 64, got 48"),
                         (["--windows", "64/16"], "window step: expected 32, got 16"),
                         (["--windows", "64", "--pool-windows"], "windows pooled: expected no, got yes"),
                         ([], "max tokens: expected 0, got 3072")):
        done = embed(model, out, "--update", *options, songs)
        assert done.returncode == 2 and why in text(done), text(done)
    assert corpus(out) == before
    done = embed(model, out, "--update", "--windows", "64", songs)
    assert done.returncode == 0 and count(done, "tokens in") == 0 and corpus(out) == before


def test_pooled(songs, model, made, tmp_path):
    for options in ([], ["--normalize"]):
        out = tmp_path / "p.npy"
        done = embed(model, out, "--windows", "64", "--pool-windows", "--force", *options, songs)
        assert done.returncode == 0, text(done)
        assert about(out)["windows"] == {"tokens": 64, "step": 32, "pooled": True} and "spans" not in about(out)
        names = list(np.load(out)["midi_names"])
        assert names == sorted(set(np.load(made)["midi_names"]))
        for name, row in zip(names, rows_of(out)):
            windows = rows_of(made, name)
            mean = (np.cumsum(windows.astype("f8"), axis=0)[-1] / len(windows)).astype("f4")
            if not options:
                assert np.array_equal(row, mean)
            else:
                assert np.allclose(row, mean / np.linalg.norm(mean), rtol=0, atol=3e-7)
                assert abs(np.linalg.norm(row) - 1) < 1e-6


@pytest.mark.parametrize("options", (["--windows", "64"], ["--windows", "64", "--pool-windows", "--normalize"]),
                         ids=("rows", "pooled"))
def test_a_journal_holds_the_work(songs, model, tmp_path, options):
    """What is in the journal is not embedded again; a journal of other windows is not taken."""
    out = tmp_path / "c.npy"
    assert embed(model, out, *options, "--keep-journal", songs).returncode == 0
    before = corpus(out)
    out.unlink()
    (tmp_path / "c.npy.json").unlink()
    other = ["--windows", "64"] if "--pool-windows" in options else ["--windows", "64", "--pool-windows"]
    done = embed(model, out, *other, songs)
    assert done.returncode == 2 and "windows pooled: expected" in text(done), text(done)
    done = embed(model, out, *options, songs)
    assert done.returncode == 0 and count(done, "tokens in") == 0 and corpus(out) == before, text(done)


@pytest.mark.parametrize("options, why", (
    (["--windows", "15"], "--windows: expected N or N/STEP"), (["--windows", "64/65"], "STEP in 1..N"),
    (["--windows", "64/"], "--windows: expected"), (["--windows", "x"], "got x"), (["--windows", "9" * 30], "expected"),
    (["--pool-windows"], "--pool-windows is for --windows"),
    (["--windows", "64", "--from-tokens", "t"], "leave it out with --from-tokens"),
    (["--windows", "64", "--per-token", "d"], "leave out --windows")))
def test_wrong_use(songs, model, tmp_path, options, why):
    inputs = [] if "--from-tokens" in options else [songs]
    done = embed(model, tmp_path / "c.npy", *options, *inputs)
    assert done.returncode == 2 and why in text(done), text(done)


# ---- Queries --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(songs, model, tmp_path_factory):
    """The windows of a query in each key, as midisim-embed makes them: 12 x more than a pass has room for."""
    folder = tmp_path_factory.mktemp("keys")
    query = folder / "q.mid"
    rng = random.Random(8)
    query.write_bytes(midi([rng.randrange(30, 90) for _ in range(70)] + [44, 50, 47] * 25))
    for key in KEYS:
        assert embed(model, folder / f"{key}.npy", "--windows", "64", "--transpose", key, query).returncode == 0
    return query, {key: rows_of(folder / f"{key}.npy") for key in KEYS}


def best_pairs(made, keys):
    """[(score, name, key, window)] of each piece by NumPy, best first."""
    names, rows = np.load(made)["midi_names"], rows_of(made)
    found = {}
    for key, windows in keys.items():
        for window, vector in enumerate(windows):
            for row, score in enumerate(scores(vector, rows)):
                rank = (-score, row, key, window)
                if rank < found.get(names[row], (2,)):
                    found[names[row]] = rank
    return sorted((rank, name) for name, rank in found.items())


def test_a_long_query(made, model, keys):
    query, vectors = keys
    n_windows = len(vectors[0])
    assert n_windows * len(KEYS) > 60
    wanted = best_pairs(made, vectors)
    for k in (2, 16):
        found = lines(run("search", "-m", model, "-c", made, "-k", k, "--json", query))[0]
        got = [(m["name"], m["row"], m["transpose"], m["score"]) for m in found["matches"]]
        assert got == [(name, row, key, shown(-score)) for (score, row, key, _), name in wanted][:k]
        assert found["variants"] == 12
    for match, (rank, _) in zip(found["matches"], wanted):
        assert (match["query_from_token"] == 0) == (rank[3] == 0)
        assert 0 <= match["query_from_seconds"] < match["query_to_seconds"]
        first = max(match["query_from_token"] - 1, 0) // 3
        assert (match["query_bar"], match["query_beat"]) == place(first)
        assert (match["query_to_bar"], match["query_to_beat"]) == place(match["query_to_token"] // 3)
    bound = -float(wanted[2][0][0])
    above = lines(run("search", "-m", model, "-c", made, "--threshold", repr(bound - 1e-12), "--json", query))[0]
    assert above["matches"] == found["matches"][:len(above["matches"])] and len(above["matches"]) == 3


def test_every_key_of_a_long_query(made, model, keys):
    query, vectors = keys
    found = lines(run("search", "-m", model, "-c", made, "-k", "100", "--all-transpositions", "--json", query))[0]["matches"]
    assert len(found) == 7 * 12
    for key in (-6, 0, 5):
        wanted = best_pairs(made, {key: vectors[key]})
        assert [(m["name"], m["score"]) for m in found if m["transpose"] == key] == [
            (name, shown(-rank[0])) for rank, name in wanted]
    listing = run("search", "-m", model, "-c", made, "-k", "3", "--format", "midisim", query)
    assert listing.returncode == 0, text(listing)


def test_where_in_the_query(made, model, songs):
    done = run("search", "-m", model, "-c", made, "-k", "2", "--transpose", "0", "--format", "table", songs / "4.mid")
    first = done.stdout.decode().splitlines()[2].split()
    assert first[1] == "100.00%" and first[3:6] == first[6:9] and first[9] == "4.mid"
    bar, last = map(int, first[5].split("-"))
    assert first[4] == "bars" and 1 <= bar < last <= bar + 6
    assert f"{'in query':22}  {'where':22}  name (7 pieces" in done.stdout.decode()
    head, row = run("search", "-m", model, "-c", made, "-k", "1", "--format", "tsv",
                    songs / "4.mid").stdout.decode().splitlines()
    cells = dict(zip(head.split("\t"), row.split("\t")))
    assert cells["query_from_seconds"] == cells["from_seconds"] and cells["query_to_seconds"] == cells["to_seconds"]
    assert cells["query_bar"] == cells["bar"] == f"{bar}:{cells['bar'].split(':')[1]}" and cells["bar"].endswith(".00")
    assert cells["query_to_bar"] == cells["to_bar"] and int(cells["to_bar"].split(":")[0]) in (last, last + 1)


def test_the_beginning_of_a_query_alone(made, model, songs):
    done = run("search", "-m", model, "-c", made, "--max-tokens", "40", "--transpose", "0", "--json", songs / "0.mid")
    found = lines(done)[0]["matches"]
    assert done.returncode == 0 and {m["query_to_token"] for m in found} == {40}


def test_a_query_of_a_pooled_corpus(songs, model, tmp_path):
    assert embed(model, tmp_path / "c.npy", "--windows", "64", "--pool-windows", songs).returncode == 0
    done = run("search", "-m", model, "-c", tmp_path / "c.npy", "--json", songs / "0.mid", songs / "1.mid")
    for name, answer in zip(("0.mid", "1.mid"), lines(done)):
        best = answer["matches"][0]
        assert (best["name"], best["score"], best["transpose"]) == (name, 1, 0) and "from_token" not in best


def test_a_whitened_corpus_of_windows(songs, model, made, tmp_path):
    """Spans stay, and every window of a query is whitened as the rows are."""
    assert embed(model, tmp_path / "many.npy", "--windows", "16/8", songs).returncode == 0
    assert run("convert", "--fit-only", "--prior-fit", "none", tmp_path / "many.npy", tmp_path / "fit.whiten").returncode == 0
    for name, source in (("w.npy", made), ("p.npy", None)):
        if source is None:
            source = tmp_path / "pooled.npy"
            assert embed(model, source, "--windows", "64", "--pool-windows", songs).returncode == 0
        done = run("convert", "--whiten", "--whiten-fit", tmp_path / "fit.whiten", source, tmp_path / name)
        assert done.returncode == 0, text(done)
        found = lines(run("search", "-m", model, "-c", tmp_path / name, "--json", songs / "0.mid"))[0]["matches"][0]
        assert (found["name"], found["transpose"]) == ("0.mid", 0) and found["score"] > 0.9999
    assert all(about(tmp_path / "w.npy")[key] == about(made)[key] for key in ("spans", "bars"))
    found = lines(run("search", "-m", model, "-c", tmp_path / "w.npy", "--json", "-k", "1", songs / "4.mid"))[0]["matches"][0]
    assert found["query_from_token"] == found["from_token"] and found["query_bar"] == found["bar"] > 0
