"""Scores with a meaning: z and chances of whitened corpora against the formulas of docs/WHITENING.md, made data in which it is
known what is related, and what the tool says about it."""
import json
import math
import statistics

import numpy as np
import pytest
from cli_util import lines, midi, run, text
from search_util import named

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
NORMAL = [-statistics.NormalDist().inv_cdf(share) for share in SHARES]
DIM, N, RELATED, OWN = 64, 6000, 40, 0.85
MASK = 2**64 - 1


def random_at(seed, i):
    """SplitMix64's number i."""
    z = (seed + (i + 1) * 0x9e3779b97f4a7c15) & MASK
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & MASK
    z = (z ^ z >> 27) * 0x94d049bb133111eb & MASK
    return z ^ z >> 31


def cohort(n):
    """The pieces with which scores are compared."""
    m = min(n, 1536)
    starts = [n // m * i + n % m * i // m for i in range(m + 1)]
    return [a + random_at(0x77686974656e, i) % (b - a) for i, (a, b) in enumerate(zip(starts, starts[1:]))]


def z_of(scores, score, left_out=None):
    """How far `score` stands above the highest tenth of a vector's scores, without its own piece and without one of them."""
    rest = np.sort(scores[scores < OWN])[::-1]
    k = max(8, len(rest) // 10)
    if left_out is not None and rest[k - 1] <= left_out < OWN:
        rest = np.delete(rest, np.flatnonzero(rest == left_out)[0])
    return (score - rest[:k].mean()) / rest[:k].std()


def p_of(z, knots):
    """The chance that two unrelated rows have such a z."""
    if z < knots[0]:
        return 1 - p_of(2 * knots[0] - z, knots)
    if z > knots[-1]:
        last = len(knots) - 1
        at = NORMAL[last] + (z - knots[-1]) * (NORMAL[last] - NORMAL[last - 1]) / (knots[-1] - knots[-2])
        return 0.5 * math.erfc(at / math.sqrt(2))
    i = next(i for i in range(1, len(knots)) if z <= knots[i])
    return SHARES[i - 1] * math.exp(-(z - knots[i - 1]) * math.log(SHARES[i - 1] / SHARES[i]) / (knots[i] - knots[i - 1]))


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


def knots_of(path):
    return json.loads(path.with_name(path.name + ".json").read_text())["whitening"]["quantiles"]


def rows_of(path):
    rows = np.load(path)["midi_embeddings"].astype("f8")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def search(path, *arguments, code=0):
    done = run("search", "-c", path, "--json", *arguments)
    assert done.returncode == code, text(done)
    return lines(done)


def test_quantiles(corpus):
    """Of z of all ordered pairs of the cohort, each as if the other were not in it."""
    rows = rows_of(corpus / "w.npy")[cohort(N)]
    scores = rows @ rows.T
    n = len(rows)
    others = [np.delete(scores[i], i) for i in range(n)]
    z = np.sort([z_of(o, s, s) if s >= np.partition(o, -160)[-160] else 0 for o in others[:300] for s in o])
    knots = knots_of(corpus / "w.npy")
    assert len(knots) == 10
    for share, knot in zip(SHARES[5:], knots[5:]):  # of a fifth of them, whose low z are not worked out
        assert abs((z >= knot).mean() / share - 1) < 0.2
    assert json.loads((corpus / "w.npy.json").read_text())["whitening"]["pairs"] == n * (n - 1)


def test_numbers(corpus):
    """A match's own row does not count as others that score high, where it is in the cohort."""
    knots, rows, members = knots_of(corpus / "w.npy"), rows_of(corpus / "w.npy"), cohort(N)
    n_members = 0
    for query in (3, 4000, members[7]):
        scores = rows[members] @ rows[query]
        for m in search(corpus / "w.npy", "--like", f"n{query}", "-k", 50)[0]["matches"]:
            own = rows[m["row"]] @ rows[query]
            is_member = m["row"] in members
            left_out = scores[members.index(m["row"])] if is_member else None
            n_members += is_member
            p = p_of(z_of(scores, own, left_out), knots)
            assert abs(m["p"] / p - 1) < 0.01 or max(m["p"], p) < 1e-12
            assert abs(m["chance_matches"] / (N * p) - 1) < 0.01 or max(m["p"], p) < 1e-12
    assert n_members > 10


def test_words(corpus):
    """Near copies are the same, and what is unrelated is called so."""
    n_wrong = 0
    for i in range(0, RELATED, 5):
        found = {m["name"]: m for m in search(corpus / "w.npy", "--like", f"n{i}", "-k", 30)[0]["matches"]}
        assert found[f"n{i}"]["likeness"] == found[f"n{1000 + i}"]["likeness"] == "same"
        assert found[f"n{2000 + i}"]["likeness"] in ("version", "same")
        others = [m for name, m in found.items() if int(name[1:]) % 1000 != i]
        assert len(others) >= 27
        n_wrong += sum(m["likeness"] != "unrelated" for m in others)
    assert n_wrong <= 2


def test_unrelated(corpus):
    """Of 400 queries without relatives, few have a match that chance is said to give so seldom."""
    arguments = [a for i in range(3000, 3400) for a in ("--like", f"n{i}")]
    found = search(corpus / "w.npy", "-k", 20, "--exclude-self", *arguments)
    least = [min(m["chance_matches"] for m in answer["matches"]) for answer in found]
    for expected in (1, 0.1, 0.02):  # the least of many is under t with chance 1 - exp(-t)
        share = np.mean(np.array(least) < expected)
        assert share < 1.3 * (1 - math.exp(-expected)) + 0.02 and share > 0.5 * (1 - math.exp(-expected)) - 0.02
    assert np.mean([all(m["likeness"] == "unrelated" for m in answer["matches"]) for answer in found]) > 0.95


@pytest.mark.parametrize("expected", [200, 5])
def test_expected_matches(corpus, expected):
    """200 queries find as many rows as chance is said to give."""
    arguments = [a for i in range(3000, 3200) for a in ("--like", f"n{i}")]
    found = search(corpus / "w.npy", "-k", 500, "--exclude-self", *arguments)
    n = sum(m["chance_matches"] < expected for answer in found for m in answer["matches"]) / 200
    assert 0.75 * expected < n < 1.25 * expected


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


def test_same_for_threads(corpus):
    arguments = [a for i in range(0, 60) for a in ("--like", f"n{i}")]
    one = run("search", "-c", corpus / "w.npy", "--json", "--threads", 1, *arguments).stdout
    assert one == run("search", "-c", corpus / "w.npy", "--json", "--threads", 3, *arguments).stdout


def notes(seed):
    return [int(p) for p in np.random.default_rng(seed).integers(40, 80, 60)]


@pytest.fixture(scope="module")
def pieces(model, tmp_path_factory):
    """120 pieces, whole and in windows, and a fit for them of rows that are made up."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "music").mkdir()
    for i in range(120):
        (folder / "music" / f"{i}.mid").write_bytes(midi(notes(i)))
    assert run("embed", "-m", model, "-o", folder / "c.npy", folder / "music").returncode == 0
    assert run("embed", "-m", model, "--windows", 64, "-o", folder / "v.npy", folder / "music").returncode == 0
    dim = np.load(folder / "c.npy")["midi_embeddings"].shape[1]
    rng = np.random.default_rng(4)
    named(folder / "p.npy", [str(i) for i in range(2000)], rng.standard_normal((2000, dim)).astype("f4") + 1)
    assert run("convert", "--fit-only", "--prior-fit", "none", folder / "p.npy", folder / "p.whiten").returncode == 0
    for name in "cv":
        done = run("convert", "--whiten", "--prior-fit", folder / "p.whiten", folder / f"{name}.npy", folder / f"{name}w.npy")
        assert done.returncode == 0, text(done)
    return folder


def test_keys(pieces, model, tmp_path):
    """A MIDI query has a try in each key, and the z of a match is that of its own key."""
    assert len(knots_of(pieces / "cw.npy")) == 10  # the prior's
    found = lines(run("search", "-m", model, "-c", pieces / "cw.npy", "--json", pieces / "music/7.mid"))[0]["matches"]
    moved = {m["transpose"] for m in found}
    assert len(moved) > 1
    for by in moved:
        (tmp_path / "moved.mid").write_bytes(midi([p + by for p in notes(7)]))
        done = run("search", "-m", model, "-c", pieces / "cw.npy", "--json", "--transpose", 0, "-k", 120, tmp_path / "moved.mid")
        alone = {m["row"]: m for m in lines(done)[0]["matches"]}
        for m in (m for m in found if m["transpose"] == by):
            p = -math.expm1(12 * math.log1p(-alone[m["row"]]["p"]))
            assert m["score"] == alone[m["row"]]["score"]
            assert abs(m["p"] / p - 1) < 0.02 and abs(m["chance_matches"] / (120 * p) - 1) < 0.02


def test_windows(pieces, model):
    """In a corpus of windows a match counts by the vector that gave it: the same numbers for any k."""
    arguments = ("-m", model, "-c", pieces / "vw.npy", "--json", pieces / "music/7.mid")
    found = lines(run("search", *arguments))[0]["matches"]
    assert found[0]["likeness"] in ("same", "version", "alike", "unrelated") and all(0 <= m["p"] <= 1 for m in found)
    again = {m["row"]: m for m in lines(run("search", *arguments, "-k", 120))[0]["matches"]}
    assert len(again) == 120 and all(again[m["row"]]["p"] == m["p"] for m in found)


def test_few_pieces(model, tmp_path, pieces):
    """A corpus of fewer than 100 pieces has nothing to compare a score with."""
    for i in range(10):
        (tmp_path / f"{i}.mid").write_bytes(midi(notes(i)))
    assert run("embed", "-m", model, "-o", tmp_path / "c.npy", tmp_path).returncode == 0
    done = run("convert", "--whiten", "--prior-fit", pieces / "p.whiten", tmp_path / "c.npy", tmp_path / "w.npy")
    assert done.returncode == 0, text(done)
    done = run("search", "-m", model, "-c", tmp_path / "w.npy", "--json", tmp_path / "7.mid")
    assert "p" not in lines(done)[0]["matches"][0]
