"""The best matches of real queries against the original's vectors, ranked in f64."""
import json

import golden_util as g
import numpy as np
import pytest


def search(corpus, query, root, k=16, isa="auto", precision="f32"):
    done = g.run([g.tool("search"), "-m", g.weights(), "-c", corpus, "--isa", isa, "--precision", precision, "--json", "-k", k,
                  query], cwd=root)
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(answers) == 1
    return answers[0]["matches"]


def test_shipped_queries(tmp_path):
    """Two queries in the corpus of the 24 fixed files."""
    ours = g.embed(tmp_path / "c.npy", g.FIXED)
    golden = g.golden_vectors()["f32"]
    rows = np.stack([golden[n] for n in ours])
    for query in ("easyrpg-rtp/Music/Church.mid", "js-fakes/jsf-extended/298.mid"):
        matches = search(tmp_path / "c.npy", query, g.SHIPPED)
        assert matches[0]["name"] == query and matches[0]["transpose"] == 0
        assert not g.complaints_ranking(matches, list(ours), g.golden_queries()[query], rows)


def within(queries, golden, margin):
    """The rows that score within `margin` of the tenth best of a query's variants."""
    scores = g.unit(queries) @ g.unit(np.stack(list(golden.values()))).T
    best = dict(zip(golden, scores.max(0)))
    return {name for name in best if best[name] > sorted(best.values())[-10] - margin}


@pytest.mark.parametrize("level", g.OWN["int8"])
def test_top10_int8(level, tmp_path):
    """Vectors and queries at int8 rank as the original's f32 does. Of the 152 rows those that int8 could bring among the
    ten best are embedded: it moves a score by thousandths."""
    g.weights()
    g.need_level(level, "int8")
    golden = g.golden_vectors()["f32"]
    queries = {q: g.golden_queries()[q] for q in ("easyrpg-rtp/Music/Church.mid", "js-fakes/jsf-extended/298.mid")}
    names = set().union(*(within(v, golden, 0.02) for v in queries.values()))
    ours = g.embed(tmp_path / "c.npy", names, isa=level, precision="int8")
    assert not g.complaints_int8(ours, golden)
    rows = np.stack([golden[n] for n in ours])
    for query, vectors in queries.items():
        matches = search(tmp_path / "c.npy", query, g.SHIPPED, 10, level, "int8")
        assert not g.complaints_top10_int8(matches, list(ours), vectors, rows)


@pytest.mark.slow
@pytest.mark.parametrize("level", g.own_only(g.OWN["int8"]))
def test_all_queries_int8(level, tmp_path):
    """The five golden queries against all 350 files, everything at int8."""
    g.weights()
    g.need_level(level, "int8")
    root = g.all_data()
    golden = g.golden_vectors(everything=True)["f32"]
    ours = g.embed(tmp_path / "c.npy", golden, root=root, isa=level, precision="int8")
    assert len(ours) == 350
    assert not g.complaints_int8(ours, golden)
    rows = np.stack([golden[n] for n in ours])
    for query, vectors in g.golden_queries(everything=True).items():
        matches = search(tmp_path / "c.npy", query, root, 10, level, "int8")
        assert not g.complaints_top10_int8(matches, list(ours), vectors, rows)


@pytest.mark.slow
def test_all_queries(tmp_path):
    """The five golden queries in the corpus of the whole collection, made by a folder walk."""
    root = g.all_data()
    corpus = tmp_path / "c.npy"
    g.run([g.tool("embed"), "-m", g.weights(), "-o", corpus, "--precision", "f32", "--quiet", root], ok=(0, 1))
    rows = np.load(corpus, mmap_mode="r")
    golden = g.golden_vectors(everything=True)["f32"]
    names = [str(n) for n in rows["midi_names"]]
    assert sorted(names) == sorted(golden)
    assert not g.complaints_f32(dict(zip(names, rows["midi_embeddings"])), golden)
    recorded = np.load(g.all_data().parent / "golden" / "queries.npz")
    for n, (query, vectors) in enumerate(g.golden_queries(everything=True).items()):
        matches = search(corpus, query, root)
        expected = np.stack([golden[name] for name in names])
        assert not g.complaints_ranking(matches, names, vectors, expected)
        # The ranking from vectors is the original's own: its 16 best similarities, best variant of each row.
        best = {}
        for rows_of, sims in zip(recorded[f"q{n}_idx"], recorded[f"q{n}_sim"]):
            for row, sim in zip(rows_of, sims):
                best[row] = max(best.get(row, -1), float(sim))
        assert np.allclose(sorted(best.values(), reverse=True)[:16], [m["score"] for m in matches], atol=1e-5, rtol=0)
