"""midisim-search --whiten: the rows are whitened once and kept, tied to the corpus; no scan, format or number of files changes
an answer."""
import os

import numpy as np
import pytest
from cli_util import lines, run, text
from search_util import named
from whiten_util import DIM, make_corpus, make_rows, read_map, statistics, whiten

N = 2400  # more than a fingerprint samples


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return {"path": folder / "c.npy", "rows": make_corpus(folder / "c.npy", 1, N), "kept": folder / "c.npy.whitened",
            "folder": folder}


def search(path, *arguments, code=0, row=8):
    done = run("search", "-c", path, "--json", "-k", 12, "--whiten", "--prior-fit", "none", "--like", f"n{row}", *arguments)
    assert done.returncode == code, text(done)
    return done


def answer(done):
    return [(m["name"], m["score"]) for m in lines(done)[0]["matches"]]


def test_written_once(corpus):
    done = search(corpus["path"])
    assert "wrote " + str(corpus["kept"]) in text(done)
    rows = whiten(corpus["rows"], statistics(corpus["rows"]))
    scores = rows @ rows[8]
    got = answer(done)
    assert np.abs(np.array([s for _, s in got]) - np.sort(scores)[::-1][:12]).max() < 2e-5
    assert got[:2] == [("n8", 1), ("n9", got[1][1])]
    before = os.stat(corpus["kept"])
    again = search(corpus["path"])
    assert answer(again) == got and "wrote" not in text(again) and os.stat(corpus["kept"]) == before
    # the same as midisim-convert writes; its own whitened corpus needs no --whiten
    done = run("convert", "--whiten", "--prior-fit", "none", corpus["path"], corpus["folder"] / "w.npy")
    assert done.returncode == 0, text(done)
    assert (corpus["folder"] / "w.npy").read_bytes() == corpus["kept"].read_bytes()
    done = search(corpus["folder"] / "w.npy")
    assert answer(done) == got and "whitened already" in text(done)
    # without --whiten: raw cosines, as ever
    raw = lines(run("search", "-c", corpus["path"], "--json", "--like", "n8", "-k", 12))[0]["matches"]
    assert [(m["name"], m["score"]) for m in raw] != got


def test_changed_rows(corpus):
    """Any change of the rows is seen, also one that no fingerprint samples."""
    first = answer(search(corpus["path"]))
    rows = corpus["rows"].copy()
    rows[1] = rows[8]
    named(corpus["path"], [f"n{i}" for i in range(N)], rows)
    done = search(corpus["path"])
    assert "wrote" in text(done) and ("n1", 1) in answer(done)[:2]
    named(corpus["path"], [f"n{i}" for i in range(N)], corpus["rows"])
    done = search(corpus["path"])
    assert "wrote" in text(done) and answer(done) == first


def test_damaged_files(corpus):
    first = answer(search(corpus["path"]))
    beside = corpus["folder"] / "c.npy.whitened.json"
    good, kept = beside.read_text(), corpus["kept"].read_bytes()
    for damage in (lambda: beside.write_text(good[:200]), lambda: beside.write_text(""), beside.unlink,
                   lambda: beside.write_text(good.replace('"key":"', '"key":"0')), corpus["kept"].unlink,
                   lambda: corpus["kept"].write_bytes(kept[:-1]), lambda: corpus["kept"].write_bytes(kept[:-4] + b"abcd")):
        damage()
        done = search(corpus["path"])
        assert "wrote" in text(done) and answer(done) == first
        assert corpus["kept"].read_bytes() == kept and beside.read_text() == good
    corpus["kept"].unlink()
    corpus["kept"].mkdir()
    assert "--cache DIR" in text(search(corpus["path"], code=1))


def test_cache(corpus, tmp_path):
    first = answer(search(corpus["path"], "--cache", tmp_path / "cache"))
    assert not corpus["kept"].exists()
    names = {p.name.split("-", 1)[1] for p in (tmp_path / "cache").iterdir() if p.name.count("-") == 1}
    assert {"c.npy.whitened", "c.npy.whitened.json"} <= names
    done = search(corpus["path"], "--cache", tmp_path / "cache")
    assert "whitened rows" not in text(done) and answer(done) == first


@pytest.mark.parametrize("scan", ["f64", "f32", "bf16", "int8"])
def test_scans(corpus, scan):
    expected = answer(search(corpus["path"], "--scan", "f64"))
    if scan in ("bf16", "int8"):
        done = run("search", "-c", corpus["path"], "--whiten", "--prior-fit", "none", "--prepare", "--scan", scan)
        assert done.returncode == 0, text(done)
        assert (corpus["folder"] / "c.npy.whitened.msim").exists()
    done = search(corpus["path"], "--scan", scan)
    assert answer(done) == expected and lines(done)[0]["scan"] == scan


def test_shards(corpus, tmp_path):
    """The parts of a corpus are whitened together: the same map, the same answer."""
    first = answer(search(corpus["path"]))
    shards = tmp_path / "shards"
    shards.mkdir()
    for i, (a, b) in enumerate(((0, 1000), (1000, 1001), (1001, N))):
        named(shards / f"{i}.npy", [f"n{j}" for j in range(a, b)], corpus["rows"][a:b])
    done = search(shards)
    assert text(done).count("wrote") == 3 and answer(done) == first
    assert read_map(shards / "1.npy.whitened")[2]["whitening"]["hash"] == read_map(corpus["kept"])[2]["whitening"]["hash"]
    assert "wrote" not in text(search(shards))  # its own files are no parts of it
    (shards / "1.npy.whitened").unlink()
    done = search(shards)
    assert text(done).count("wrote") == 1 and answer(done) == first


@pytest.mark.parametrize("form", ["pickled", "plain", "fvecs", "fbin"])
def test_formats(corpus, tmp_path, form):
    first = answer(search(corpus["path"]))
    there = tmp_path / (f"x.{form}" if form[0] == "f" else f"{form}.npy")
    assert run("convert", "--form", form, corpus["path"], there).returncode == 0
    done = search(there)
    assert answer(done) == first
    assert "wrote" not in text(search(there))


def test_prior(corpus, tmp_path):
    """A few rows are served by a fit from elsewhere, and another one gives other rows."""
    few = tmp_path / "few.npy"
    make_corpus(few, 5, 20)
    assert "got 20" in text(search(few, code=1))
    fits = []
    for seed in (1, 2):
        make_corpus(tmp_path / "p.npy", seed, 300)
        fits.append(tmp_path / f"{seed}.whiten")
        assert run("convert", "--fit-only", "--prior-fit", "none", tmp_path / "p.npy", fits[-1]).returncode == 0
    answers = []
    for fit, wrote in ((fits[0], True), (fits[0], False), (fits[1], True), (fits[0], True)):
        done = run("search", "-c", few, "--json", "--like", "n8", "--whiten", "--prior-fit", fit)
        assert done.returncode == 0 and ("wrote" in text(done)) == wrote, text(done)
        answers.append(answer(done))
    assert answers[0] == answers[1] == answers[3] != answers[2]


def test_queries_from_elsewhere(corpus, tmp_path):
    query = make_rows(77, 2)
    named(tmp_path / "q.npy", ["a", "b"], query)
    done = run("search", "-c", corpus["path"], "--json", "--whiten", "--prior-fit", "none", "--query-vectors", tmp_path / "q.npy")
    assert done.returncode == 0, text(done)
    fit = statistics(corpus["rows"])
    rows, expected = whiten(corpus["rows"], fit), whiten(query, fit)
    for got, q in zip(lines(done), expected):
        assert np.abs(np.array([m["score"] for m in got["matches"]]) - np.sort(rows @ q)[::-1][:16]).max() < 2e-5


def test_usage(corpus):
    for arguments, words in ((["--whiten", "--metric", "ip", "--like", "n1"], "leave out --metric ip"),
                             (["--prior-fit", "none", "--like", "n1"], "--whiten"), (["--whiten"], "no query")):
        done = run("search", "-c", corpus["path"], *arguments)
        assert done.returncode == 2 and words in text(done)
    assert DIM == 24
