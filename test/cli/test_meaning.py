"""Scores with a meaning: chances of whitened corpora against the formulas of docs/WHITENING.md, made data in which it is known
what is related, and what the tool says about it."""
import json
import math

import numpy as np
import pytest
from cli_util import lines, midi, run, text
from search_util import named

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
DIM, N, RELATED = 64, 6000, 40


def p_of(score, knots):
    """The chance that two unrelated rows score as high."""
    if score < knots[0]:
        return 1 - p_of(2 * knots[0] - score, knots)
    i = next((i for i in range(1, len(knots)) if score <= knots[i]), len(knots) - 1)
    return SHARES[i - 1] * math.exp(-(score - knots[i - 1]) * math.log(SHARES[i - 1] / SHARES[i]) / (knots[i] - knots[i - 1]))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Unrelated rows behind a common part; the first RELATED have a near copy and a version further down."""
    folder = tmp_path_factory.mktemp("meaning")
    rng = np.random.default_rng(3)
    own = rng.standard_normal((N, DIM)) * rng.uniform(0.5, 1.5, DIM)
    own[1000:1000 + RELATED] = own[:RELATED] + 0.1 * rng.standard_normal((RELATED, DIM))
    own[2000:2000 + RELATED] = own[:RELATED] + 0.5 * rng.standard_normal((RELATED, DIM))
    named(folder / "c.npy", [f"n{i}" for i in range(N)], (own + 3 * rng.standard_normal(DIM)).astype("f4"))
    done = run("convert", "--whiten", "--prior-fit", "none", folder / "c.npy", folder / "w.npy")
    assert done.returncode == 0 and "chances are known" in text(done)
    return folder


def knots_of(corpus, name="w.npy"):
    return json.loads((corpus / f"{name}.json").read_text())["whitening"]["quantiles"]


def search(path, *arguments, code=0):
    done = run("search", "-c", path, "--json", *arguments)
    assert done.returncode == code, text(done)
    return lines(done)


def test_quantiles(corpus):
    """Those of pairs that are drawn anew, without the related ones: shares within a tenth, and no tail that they bent."""
    rows = np.load(corpus / "w.npy")["midi_embeddings"].astype("f8")[3000:]
    scores = (rows[:1500] @ rows[1500:].T).ravel()
    knots = knots_of(corpus)
    assert len(knots) == 6  # 6,000 pieces: down to a share of 50 / 6,000
    for share, knot in zip(SHARES, knots):
        assert abs((scores >= knot).mean() / share - 1) < 0.1
    # beyond the knots the tail is no lighter than the truth
    far = np.sort(scores)[-20]
    assert p_of(far, knots) > 20 / len(scores) / 3


def test_words(corpus):
    """Near copies are the same, and what is unrelated is called so."""
    for i in range(0, RELATED, 5):
        found = {m["name"]: m for m in search(corpus / "w.npy", "--like", f"n{i}", "-k", 30)[0]["matches"]}
        assert found[f"n{i}"]["likeness"] == found[f"n{1000 + i}"]["likeness"] == "same"
        assert found[f"n{2000 + i}"]["likeness"] in ("version", "same")
        others = [m for name, m in found.items() if int(name[1:]) % 1000 != i]
        assert len(others) >= 27 and all(m["likeness"] in ("unrelated", "alike") for m in others)
        assert sum(m["likeness"] == "alike" for m in others) <= 3


def test_numbers(corpus):
    knots = knots_of(corpus)
    for m in search(corpus / "w.npy", "--like", "n3", "-k", 50)[0]["matches"]:
        p = p_of(m["score"], knots)
        assert abs(m["p"] / p - 1) < 0.01 and abs(m["chance_matches"] / (N * p) - 1) < 0.01


@pytest.mark.parametrize("expected", [200, 5])
def test_expected_matches(corpus, expected):
    """200 queries find as many rows as chance is said to give. Beyond the knots it is overstated, never understated."""
    knots = knots_of(corpus)
    threshold = next(s for s in np.arange(0, 1, 0.001) if p_of(s, knots) * N < expected)
    arguments = [a for i in range(3000, 3200) for a in ("--like", f"n{i}")]
    found = search(corpus / "w.npy", "--threshold", threshold, *arguments)
    n = sum(len(answer["matches"]) - 1 for answer in found) / 200  # without itself
    assert (0.9 if expected == 200 else 0.3) * expected < n < 1.1 * expected


def test_outputs(corpus):
    """Columns of TSV, the table's words, and the line that comes first when nothing is related."""
    done = run("search", "-c", corpus / "w.npy", "--format", "tsv", "--like", "n1", "-k", 3)
    head, *rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert head[-3:] == ["p", "chance_matches", "likeness"] and rows[0][-1] == "same" and float(rows[0][-2]) < 1e-3
    table = run("search", "-c", corpus / "w.npy", "--format", "table", "--like", "n1", "-k", 3).stdout.decode().splitlines()
    assert table[0] == "n1" and "likeness" in table[1] and "same" in table[2]
    table = run("search", "-c", corpus / "w.npy", "--format", "table", "--like", "n5000", "--exclude-self", "-k", 3)
    told = table.stdout.decode().splitlines()
    assert told[0] == "n5000" and told[1].startswith("nothing here is related") and "unrelated" in told[3]
    # a corpus that is not whitened, or whose chances are not known, has none of it
    for path in (corpus / "c.npy",):
        assert "likeness" not in search(path, "--like", "n1")[0]["matches"][0]
        assert b"chance" not in run("search", "-c", path, "--format", "table", "--like", "n1").stdout


def test_keys_and_few_pieces(corpus, model, tmp_path):
    """A MIDI query has a try in each key; a folder of a few files has the chances of the prior."""
    music, path, white = tmp_path / "music", tmp_path / "c.npy", tmp_path / "w.npy"
    music.mkdir()
    rng = np.random.default_rng(4)
    for i in range(10):
        (music / f"{i}.mid").write_bytes(midi([int(p) for p in rng.integers(40, 90, 60)]))
    assert run("embed", "-m", model, "-o", path, music).returncode == 0
    dim = np.load(path)["midi_embeddings"].shape[1]
    named(tmp_path / "p.npy", [str(i) for i in range(2000)], rng.standard_normal((2000, dim)).astype("f4") + 1)
    assert run("convert", "--fit-only", "--prior-fit", "none", tmp_path / "p.npy", tmp_path / "p.whiten").returncode == 0
    assert run("convert", "--whiten", "--prior-fit", tmp_path / "p.whiten", path, white).returncode == 0
    knots = knots_of(tmp_path)
    assert len(knots) == 4
    done = run("search", "-m", model, "-c", white, "--json", music / "7.mid")
    for m in lines(done)[0]["matches"]:
        p = -math.expm1(12 * math.log1p(-p_of(m["score"], knots)))
        assert abs(m["p"] / p - 1) < 0.01 and abs(m["chance_matches"] / (10 * p) - 1) < 0.01
