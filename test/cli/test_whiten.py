"""midisim-convert --whiten and --fit-only, and searches of whitened corpora: rows and queries against NumPy."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from cli_util import ROOT, lines, midi, run, text, tool
from search_util import named
from whiten_util import DIM, combine, make_corpus, make_rows, nuisance, read_fit, read_map, statistics, whiten

N = 1500


@pytest.fixture
def corpus(tmp_path):
    return {"path": tmp_path / "c.npy", "rows": make_corpus(tmp_path / "c.npy"), "white": tmp_path / "w.npy",
            "fit": tmp_path / "c.whiten"}


def convert(*arguments, code=0, words=""):
    done = run("convert", *arguments)
    assert done.returncode == code, text(done)
    assert words in text(done)
    return done


def whitened(corpus, *arguments):
    convert("--whiten", "--prior-fit", "none", corpus["path"], corpus["white"], *arguments)
    return np.load(corpus["white"])["midi_embeddings"]


def test_rows(corpus):
    rows = whitened(corpus)
    expected = whiten(corpus["rows"], statistics(corpus["rows"]))
    assert np.abs(rows - expected).max() < 2e-5
    assert list(np.load(corpus["white"])["midi_names"]) == [f"n{i}" for i in range(N)]
    mean, factor, made = read_map(corpus["white"])
    assert made["whitening"]["rows"] == made["whitening"]["distinct"] == N and made["rows"] == N
    assert "model" not in made and len(made["whitening"]["hash"]) == 64
    u = (corpus["rows"] / np.linalg.norm(corpus["rows"], axis=1, keepdims=True)).astype("f4") - mean
    again = u.astype("f8") @ factor.astype("f8").T
    assert np.abs(again / np.linalg.norm(again, axis=1, keepdims=True) - rows).max() < 2e-6


def test_fit_files(corpus, tmp_path):
    convert("--fit-only", "--prior-fit", "none", corpus["path"], corpus["fit"])
    own, head = read_fit(corpus["fit"])
    expected = statistics(corpus["rows"])
    assert head == {"dim": DIM, "rows": N, "prior_rows": 0} and own[0] == N
    assert np.abs(own[1] - expected[1]).max() < 1e-7 and np.abs(own[2] - expected[2]).max() < 1e-7
    # a few other rows, with that fit added to theirs, or as it is
    few = tmp_path / "few.npy"
    rows = make_corpus(few, 7, 5)
    convert("--whiten", few, tmp_path / "x.npy", "--prior-fit", "none", code=1, words="got 5")
    convert("--whiten", few, tmp_path / "x.npy", "--prior-fit", corpus["fit"], "--prior-rows", "700")
    got = np.load(tmp_path / "x.npy")["midi_embeddings"]
    assert np.abs(got - whiten(rows, combine(statistics(rows), expected, 700))).max() < 2e-5
    assert read_map(tmp_path / "x.npy")[2]["whitening"]["prior_rows"] == 700
    # fewer than 4 rows for each component count, but the prior was made of more
    convert("--whiten", "--force", few, tmp_path / "x.npy", "--prior-fit", corpus["fit"], "--prior-rows", "20")
    got = np.load(tmp_path / "x.npy")["midi_embeddings"]
    assert np.abs(got - whiten(rows, combine(statistics(rows), expected, 20))).max() < 2e-5
    convert("--whiten", few, tmp_path / "y.npy", "--whiten-fit", corpus["fit"])
    assert np.abs(np.load(tmp_path / "y.npy")["midi_embeddings"] - whiten(rows, expected)).max() < 2e-5
    # the fit that lies beside the model is found
    model = tmp_path / "models" / "m.safetensors"
    model.parent.mkdir()
    (model.parent / "default.whiten").write_bytes(corpus["fit"].read_bytes())
    done = run("convert", "--whiten", few, tmp_path / "z.npy", env={"MIDISIM_MODEL": str(model)})
    assert done.returncode == 0 and "1,500 rows of another fit" in text(done)


def test_altered_copies(corpus, tmp_path):
    """What altered copies differ in weighs as much as --nuisance says, also through a fit that is added."""
    rng = np.random.default_rng(5)
    copies = (corpus["rows"][:400] + rng.standard_normal((400, 1)) * np.arange(DIM) / 8).astype("f4")
    named(tmp_path / "a.npy", [f"n{i}" for i in range(400)], copies)
    named(tmp_path / "other.npy", [f"m{i}" for i in range(400)], copies)
    fit, pairs = statistics(corpus["rows"]), nuisance(corpus["rows"][:400], copies)
    rows = whitened(corpus, "--altered", tmp_path / "a.npy", "--nuisance", "7")
    assert np.abs(rows - whiten(corpus["rows"], (0, fit[1], fit[2] + 7 * pairs))).max() < 5e-5
    head = read_map(corpus["white"])[2]["whitening"]
    assert head["altered"] == 400 and head["nuisance_weight"] == 7
    convert("--fit-only", "--prior-fit", "none", "--altered", tmp_path / "a.npy", corpus["path"], corpus["fit"],
            words="400 altered copies")
    few = make_corpus(tmp_path / "few.npy", 7, 5)
    convert("--whiten", "--prior-fit", corpus["fit"], tmp_path / "few.npy", tmp_path / "x.npy", words="400 altered copies")
    joined = combine(statistics(few), fit, 2000)
    assert np.abs(np.load(tmp_path / "x.npy")["midi_embeddings"] -
                  whiten(few, joined[:2] + (joined[2] + 100 * pairs,))).max() < 5e-5
    convert("--whiten", "--force", "--altered", tmp_path / "other.npy", corpus["path"], corpus["white"], code=1,
            words="no row has the name of a row")


def test_default_fit_of_other_rows_is_left_alone(corpus, tmp_path):
    make_corpus(tmp_path / "narrow.npy", 3, 300, 8)
    convert("--fit-only", "--prior-fit", "none", tmp_path / "narrow.npy", tmp_path / "default.whiten")
    env = {"MIDISIM_MODEL": str(tmp_path / "m.safetensors")}
    done = run("convert", "--whiten", corpus["path"], corpus["white"], env=env)
    assert done.returncode == 0 and "another width" in text(done)
    convert("--whiten", corpus["path"], corpus["white"], "--force", "--prior-fit", tmp_path / "default.whiten", code=2,
            words="another width")
    (tmp_path / "default.whiten").write_bytes(b"MSIMWHIT")
    done = run("convert", "--whiten", "--force", corpus["path"], corpus["white"], env=env)
    assert done.returncode == 1 and "--prior-fit none" in text(done)


def found(corpus, *arguments):
    done = run("search", "-c", corpus["white"], "--json", "-k", 20, *arguments)
    assert done.returncode == 0, text(done)
    return [[(m["row"], m["score"]) for m in answer["matches"]] for answer in lines(done)]


def expect(rows, query):
    scores = rows.astype("f8") @ query.astype("f8") / np.linalg.norm(rows.astype("f8"), axis=1) / np.linalg.norm(query)
    return scores


def check(got, rows, query):
    scores = expect(rows, query)
    best = np.sort(scores)[::-1][:len(got)]
    assert np.abs(np.array([s for _, s in got]) - best).max() < 1e-5
    assert all(abs(scores[r] - s) < 1e-5 for r, s in got)


def test_queries(corpus, tmp_path):
    rows = whitened(corpus)
    check(found(corpus, "--like", "n33")[0], rows, rows[33])
    # vectors as the model gives them are whitened; rows that are whitened are not whitened again
    raw = make_rows(5, 3)
    named(tmp_path / "q.npy", ["a", "b", "c"], raw)
    expected = whiten(raw, statistics(corpus["rows"])).astype("f4")
    for got, query in zip(found(corpus, "--query-vectors", tmp_path / "q.npy"), expected):
        check(got, rows, query)
    convert("--fit-only", "--prior-fit", "none", corpus["path"], corpus["fit"])
    convert("--whiten", tmp_path / "q.npy", tmp_path / "qw.npy", "--whiten-fit", corpus["fit"])
    for got, query in zip(found(corpus, "--query-vectors", tmp_path / "qw.npy"), expected):
        check(got, rows, query)
    done = run("search", "-c", corpus["path"], "--query-vectors", tmp_path / "qw.npy")
    assert done.returncode == 2 and "is whitened, the corpus is not" in text(done)


def test_copies_stay_whitened(corpus, tmp_path):
    """Other formats, and shards that are joined, keep the map; parts of different maps are refused."""
    rows = whitened(corpus)
    for form in ("plain", "pickled", "fvecs", "fbin"):
        there = tmp_path / (f"x.{form}" if form[0] == "f" else f"{form}.npy")
        convert("--form", form, corpus["white"], there)
        done = run("search", "-c", there, "--json", "--like", "n7", "-k", 5)
        assert done.returncode == 0, text(done)
        assert [m["row"] for m in lines(done)[0]["matches"]] == [r for r, _ in found(corpus, "--like", "n7")[0][:5]]
        if form[0] != "f":
            assert read_map(there)[2]["whitening"] == read_map(corpus["white"])[2]["whitening"]
    info = json.loads(run("convert", "--info", "--json", corpus["white"]).stdout)
    assert info["settings"]["whitening"]["rows"] == N
    convert("--verify", corpus["white"])
    convert("--whiten", corpus["white"], tmp_path / "again.npy", code=2, words="whitened already")
    done = run("search", "-c", corpus["path"], "-c", corpus["white"], "--like", "n1")
    assert done.returncode == 2 and "whitened differently" in text(done)
    assert len(rows) == N


def test_damaged_descriptions(corpus):
    whitened(corpus)
    beside = corpus["white"].parent / "w.npy.json"
    good = beside.read_text()
    made = json.loads(good)

    def refused(**changes):
        beside.write_text(json.dumps({**made, **changes}))
        done = run("search", "-c", corpus["white"], "--like", "n1")
        assert done.returncode in (1, 2) and not done.stdout, (changes.keys(), text(done))
        assert b"Traceback" not in done.stderr
    half = made["whitener"]
    refused(whitener=half[:len(half) // 8 * 4])
    refused(whitener=half[:40] + ("A" if half[40] != "A" else "B") + half[41:])
    refused(whitener="!" + half[1:])
    for key in ("dim", "rows", "distinct", "hash", "shrink"):
        refused(whitening={k: v for k, v in made["whitening"].items() if k != key})
    for key, value in (("dim", 0), ("dim", 5000), ("dim", DIM - 1), ("hash", "0" * 64), ("shrink", "x"),
                       ("quantiles", [1, 0]), ("quantiles", 5), ("quantiles", ["x"] * 5), ("quantiles", [0.1] * 20)):
        refused(whitening={**made["whitening"], key: value})
    refused(fingerprint="0" * 32)
    beside.write_text(good)
    assert run("search", "-c", corpus["white"], "--like", "n1").returncode == 0


def test_usage(corpus, tmp_path):
    out = tmp_path / "o.npy"
    for arguments, words in (
            (["--whiten", "--fit-only", corpus["path"], out], "cannot be combined"),
            (["--whiten-fit", "x", corpus["path"], out], "--whiten-fit is for --whiten"),
            (["--prior-fit", "x", "--form", "plain", corpus["path"], out], "new fit"),
            (["--whiten", "--whiten-fit", "x", "--prior-rows", "5", corpus["path"], out], "new fit"),
            (["--whiten", "--whiten-fit", "x", "--altered", "y", corpus["path"], out], "new fit"),
            (["--whiten", "--nuisance", "-1", corpus["path"], out], "expected 0 to 1e+06, got -1"),
            (["--whiten", "--dtype", "f16", corpus["path"], out], "leave out"),
            (["--info", "--whiten", corpus["path"]], "only --json"),
            (["--whiten", corpus["path"]], "number of arguments"),
            (["--whiten", corpus["path"], corpus["path"], out], "one file")):
        convert(*arguments, code=2, words=words)
        assert not out.exists()
    whitened(corpus)
    convert("--whiten", corpus["path"], corpus["white"], code=2, words="--force")


def test_rows_that_are_no_numbers(corpus):
    rows = corpus["rows"].copy()
    rows[3, 5] = np.nan
    rows[8] = 0
    named(corpus["path"], [f"n{i}" for i in range(N)], rows)
    convert("--whiten", "--prior-fit", "none", corpus["path"], corpus["white"], code=1, words="row 3")
    assert not os.path.exists(corpus["white"])
    got = whitened(corpus, "--keep-nonfinite")
    assert np.isnan(got[3]).all() and not got[8].any() and np.isfinite(got[4]).all()


def test_midi_queries(model, tmp_path):
    """A piece as a query finds what its own row finds, to the bit."""
    rng = np.random.default_rng(4)
    music, path, white = tmp_path / "music", tmp_path / "c.npy", tmp_path / "w.npy"
    music.mkdir()
    for i in range(30):
        (music / f"{i}.mid").write_bytes(midi([int(p) for p in rng.integers(40, 90, 60)]))
    done = run("embed", "-m", model, "-o", path, music)
    assert done.returncode == 0, text(done)
    dim = np.load(path)["midi_embeddings"].shape[1]
    prior = make_corpus(tmp_path / "p.npy", 2, 400, dim)
    convert("--fit-only", "--prior-fit", "none", tmp_path / "p.npy", tmp_path / "p.whiten")
    assert len(prior) == 400
    convert("--whiten", "--prior-fit", tmp_path / "p.whiten", path, white)
    made = json.loads((tmp_path / "w.npy.json").read_text())
    assert made["model"] == json.loads((tmp_path / "c.npy.json").read_text())["model"] and "sources" in made
    done = run("search", "-m", model, "-c", white, "--transpose", 0, "-k", 30, "--json", music / "7.mid")
    assert done.returncode == 0, text(done)
    by_file = lines(done)[0]["matches"]
    by_row = lines(run("search", "-c", white, "-k", 30, "--json", "--like", "7.mid"))[0]["matches"]
    assert [(m["row"], m["score"]) for m in by_file] == [(m["row"], m["score"]) for m in by_row]
    assert by_file[0]["name"] == "7.mid" and by_file[0]["score"] == 1
    # the job that made the rows does not take whitened ones for its own
    done = run("embed", "-m", model, "-o", white, "--update", music)
    assert done.returncode == 2 and "whitening" in text(done)


def test_fit_script(corpus, tmp_path):
    """weights/fit.py writes what --fit-only does."""
    out = tmp_path / "default.whiten"
    done = subprocess.run([sys.executable, ROOT / "weights/fit.py", corpus["path"], "--output", out, "--convert", tool("convert")])
    assert done.returncode == 0
    convert("--fit-only", "--prior-fit", "none", corpus["path"], corpus["fit"])
    assert out.read_bytes() == corpus["fit"].read_bytes()


def test_fit_of_two_models(tmp_path):
    """Rows of different models have nothing in common: no fit is made of both."""
    made = {"tool": "t", "version": "1", "pooling": "mean", "pool_weights": None, "precision": "bf16", "level": "ref",
            "device": "cpu", "max_tokens": 0, "normalized": False, "dtype": "f32", "names": "path", "transpose": 0,
            "rows": 150, "files": 150, "complete": True}
    for i, digit in enumerate("112"):
        make_corpus(tmp_path / f"{i}.npy", i, 150)
        model = {"sha256": digit * 64, "family": "midisim-custom", "dim": DIM, "depth": 1, "heads": 1, "vocab": 386}
        (tmp_path / f"{i}.npy.json").write_text(json.dumps({**made, "model": model}))
    out = tmp_path / "o.whiten"
    fit = ("--fit-only", "--prior-fit", "none")
    convert(*fit, tmp_path / "0.npy", tmp_path / "1.npy", out)
    assert out.read_bytes()[176:240] == b"1" * 64
    convert(*fit, "--force", tmp_path / "0.npy", tmp_path / "2.npy", out, code=2, words="different models")
    done = run("convert", "--whiten", tmp_path / "2.npy", tmp_path / "w.npy", "--prior-fit", out)
    assert done.returncode == 2 and "another model" in text(done)
