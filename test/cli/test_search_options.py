"""midisim-search: queries of every kind, thresholds, exclusions, metrics, corpora of several files, wrong combinations."""
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_util import ENV, lines, midi, run, text, tool, write_model
from search_util import best, named, scores, shown

DIM = 32
N = 300


def matches(answer):
    return [(m["row"], m["score"], m["transpose"]) for m in answer["matches"]]


def expected(query, rows, k, metric="cosine", left_out=(), threshold=None):
    """[(row, score, 0)] as JSON shows them, of one vector."""
    score = scores(query, rows, metric)
    ranked = sorted(((-score[r], r) for r in range(len(rows)) if r not in set(left_out)))
    ranked = [(r, -s) for s, r in ranked if threshold is None or -s >= threshold]
    return [(r, shown(s), 0) for r, s in ranked[:k]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Rows with copies, near copies, zeros and NaN, under names of which some are shared."""
    folder = tmp_path_factory.mktemp("options")
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((N, DIM)).astype(np.float32)
    rows[100:150] = rows[:50] + 1e-3 * rng.standard_normal((50, DIM)).astype(np.float32)
    rows[150:160] = rows[7]
    rows[160:165] = 3 * rows[7]
    rows[170] = 0
    rows[171, 5] = np.nan
    rows[172, 5] = np.inf
    names = [f"folder/{i}.mid" for i in range(N)]
    names[150] = names[151] = names[8] = "same.mid"
    names[9] = "odd\udcff\tname"
    return {"path": named(folder / "c.npy", names, rows), "rows": rows, "names": names, "folder": folder}


def search(made, *arguments, **more):
    return run("search", "-c", made["path"], "--json", *arguments, **more)


# ---- Queries --------------------------------------------------------------------------------------------------------


def test_like(made):
    done = search(made, "--like", "folder/7.mid", "--like", made["names"][9].encode("utf-8", "surrogateescape"), "-k", 20)
    assert done.returncode == 0, text(done)
    answers = lines(done)
    assert [a["query"] for a in answers] == ["folder/7.mid", "odd\udcff\tname"]
    for answer, row in zip(answers, (7, 9)):
        assert matches(answer) == expected(made["rows"][row], made["rows"], 20)
        assert answer["exact"] is True and answer["variants"] == 1 and answer["metric"] == "cosine"
        assert answer["rows"] == N and answer["evaluated"] > 0 and answer["scan"] in ("f64", "f32")
        assert [m["name"] for m in answer["matches"]] == [made["names"][m["row"]] for m in answer["matches"]]
    # Copies rank by row: the score is the same to the last bit whatever the length.
    assert [m["row"] for m in answers[0]["matches"]][:11] == [7] + list(range(150, 160))
    assert b"model" not in done.stderr


def test_like_that_is_shared_or_unknown(made):
    done = search(made, "--like", "same.mid", "-k", 3)
    assert done.returncode == 0 and b"several rows" in done.stderr and b"row 8" in done.stderr
    assert matches(lines(done)[0]) == expected(made["rows"][8], made["rows"], 3)
    done = search(made, "--like", "absent", "--like", "folder/7.mid", "--like", "other/FOLDER/12.MID")
    assert done.returncode == 1 and [a["query"] for a in lines(done)] == ["folder/7.mid"]
    assert b"no row has the name 'absent'" in done.stderr and b"similar: 'folder/12.mid'" in done.stderr
    done = search(made, "--like", "folder/171.mid")
    assert done.returncode == 1 and b"finite" in done.stderr and done.stdout == b""


def write_fvecs(path, rows):
    head = np.full((len(rows), 1), rows.shape[1], "<i4").view("<f4")
    np.hstack([head, rows.astype("<f4")]).tofile(path)


@pytest.mark.parametrize("form", ["f4", "f2", "f8", "structured", "fvecs"])
def test_query_vectors(made, tmp_path, form):
    queries = np.random.default_rng(8).standard_normal((7, DIM)).astype("f4")
    labels = [str(i) for i in range(7)]
    path = tmp_path / ("q.fvecs" if form == "fvecs" else "q.npy")
    if form == "structured":
        labels = [f"query {i}" for i in range(7)]
        named(path, labels, queries)
    elif form == "fvecs":
        write_fvecs(path, queries)
    else:
        queries = queries.astype(form)
        np.save(path, queries)
    done = search(made, "--query-vectors", path, "-k", 5)
    assert done.returncode == 0, text(done)
    answers = lines(done)
    assert [a["query"] for a in answers] == labels
    for answer, query in zip(answers, queries.astype("f4")):
        assert matches(answer) == expected(query, made["rows"], 5)


def test_thousands_of_query_vectors(made, tmp_path):
    """Many groups; the answer to a vector does not depend on what shares its pass."""
    rng = np.random.default_rng(4)
    queries = rng.standard_normal((3001, DIM)).astype("f4")
    queries[1500] = made["rows"][7]
    queries[70, 3] = np.nan
    np.save(tmp_path / "q.npy", queries)
    done = search(made, "--query-vectors", tmp_path / "q.npy", "-k", 3)
    assert done.returncode == 1 and text(done).count("query left out: '70'") == 1
    answers = lines(done)
    assert [a["query"] for a in answers] == [str(i) for i in range(3001) if i != 70]
    for i in list(range(0, 3000, 97)) + [1500]:
        assert matches(answers[i - (i > 70)]) == expected(queries[i], made["rows"], 3)
    np.save(tmp_path / "one.npy", queries[1500:1501])
    assert lines(search(made, "--query-vectors", tmp_path / "one.npy", "-k", 3))[0]["matches"] == \
        answers[1499]["matches"]


def test_kinds_of_query_together(made, tmp_path):
    model = write_model(tmp_path / "tiny.safetensors", dim=DIM)
    for name in ("a.mid", "b.mid"):
        (tmp_path / name).write_bytes(midi((60, 62, 64 + len(name))))
    np.save(tmp_path / "q.npy", made["rows"][20:25])
    done = run("search", "-m", model, "-c", made["path"], "--json", "-k", 2, "--like", "folder/3.mid", "a.mid",
               "--query-vectors", "q.npy", "b.mid", "--query-vectors", "q.npy", cwd=tmp_path)
    assert done.returncode == 0, text(done)
    answers = lines(done)
    assert [a["query"] for a in answers] == ["a.mid", "b.mid", "folder/3.mid"] + 2 * list("01234")
    assert [a["variants"] for a in answers] == [12, 12] + 11 * [1]
    assert answers[0]["matches"] == answers[1]["matches"]
    for answer, row in zip(answers[2:], [3] + 2 * list(range(20, 25))):
        assert matches(answer) == expected(made["rows"][row], made["rows"], 2)


def test_queries_that_do_not_fit(made, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((2, DIM + 1), "f4"))
    done = search(made, "--query-vectors", tmp_path / "wide.npy")
    assert done.returncode == 2 and b"width 32, got 33" in done.stderr
    np.save(tmp_path / "none.npy", np.zeros((0, DIM), "f4"))
    assert search(made, "--query-vectors", tmp_path / "none.npy").returncode == 1
    assert search(made, "--query-vectors", tmp_path / "absent.npy").returncode == 1
    (tmp_path / "bad.npy").write_bytes(b"x" * 100)
    assert search(made, "--query-vectors", tmp_path / "bad.npy").returncode == 1


# ---- Scores ---------------------------------------------------------------------------------------------------------


def test_metric_ip(made):
    done = search(made, "--like", "folder/7.mid", "--metric", "ip", "-k", N)
    assert done.returncode == 0
    (answer,) = lines(done)
    assert answer["metric"] == "ip" and matches(answer) == expected(made["rows"][7], made["rows"], N, "ip")
    assert [m["row"] for m in answer["matches"]][:5] == list(range(160, 165))  # the longest of the copies
    for form in ("table", "tsv"):
        done = run("search", "-c", made["path"], "--like", "folder/7.mid", "--metric", "ip", "--format", form)
        assert done.returncode == 0 and b"%" not in done.stdout


def test_scans_agree(made):
    answers = []
    for scan in ("auto", "f64", "f32"):
        (answer,) = lines(search(made, "--like", "folder/7.mid", "-k", 50, "--scan", scan))
        assert scan == "auto" or answer["scan"] == scan
        answers.append(answer["matches"])
    assert answers[0] == answers[1] == answers[2]


def exact_corpus(folder):
    """Rows whose cosine with row 0 is 1/2, 1, 0 or -1/2 to the last bit."""
    rows = np.zeros((12, DIM), "f4")
    rows[0, 0] = 1
    rows[1:4, :4] = 1
    rows[4:6, 0] = 8
    rows[6, 1] = 1
    rows[7:9, :4] = (-1, 1, 1, 1)
    rows[9, :4] = 2.0 ** 30
    rows[11, 0] = np.nan
    return {"path": named(folder / "exact.npy", [f"r{i}" for i in range(12)], rows), "rows": rows}


def test_threshold_at_exact_scores(tmp_path):
    made = exact_corpus(tmp_path)
    above = str(np.nextafter(0.5, 1))
    for threshold, rows in (("0.5", [0, 4, 5, 1, 2, 3, 9]), (above, [0, 4, 5]), ("1", [0, 4, 5]),
                            ("0", [0, 4, 5, 1, 2, 3, 9, 6, 10]), ("-0.5", [0, 4, 5, 1, 2, 3, 9, 6, 10, 7, 8]),
                            ("-2", [0, 4, 5, 1, 2, 3, 9, 6, 10, 7, 8])):
        done = search(made, "--like", "r0", "--threshold", threshold)
        (answer,) = lines(done)
        assert done.returncode == 0 and [m["row"] for m in answer["matches"]] == rows, threshold
        assert [m["rank"] for m in answer["matches"]] == list(range(1, len(rows) + 1))
        assert answer["threshold"] == float(threshold)
    done = search(made, "--like", "r0", "--threshold", "1.5")
    assert done.returncode == 1 and lines(done)[0]["matches"] == [] and b"no match" in done.stderr
    done = search(made, "--like", "r0", "--threshold", "3", "--metric", "ip")
    assert [m["row"] for m in lines(done)[0]["matches"]] == [9, 4, 5]


def test_threshold_of_many(made, tmp_path):
    queries = made["rows"][[7, 20, 170, 110]]
    np.save(tmp_path / "q.npy", queries)
    for threshold in (0.2, 0.9):
        done = search(made, "--query-vectors", tmp_path / "q.npy", "--threshold", threshold)
        assert done.returncode == 0 and len(lines(done)) == len(queries)
        for answer, query in zip(lines(done), queries):
            assert matches(answer) == expected(query, made["rows"], N, threshold=threshold)


@pytest.fixture(scope="module")
def piece(tmp_path_factory):
    """A model, a MIDI file, its variants' vectors, and a corpus around them."""
    folder = tmp_path_factory.mktemp("piece")
    model = write_model(folder / "tiny.safetensors", dim=DIM)
    query = folder / "query.mid"
    query.write_bytes(midi((60, 64, 67, 72, 71, 55)))
    vectors = {}
    for s in range(-6, 6):
        out = folder / f"q{s}.npy"
        assert run("embed", "-m", model, "-o", out, "--transpose", s, "-q", query).returncode == 0
        vectors[s] = np.load(out)["midi_embeddings"][0].copy()
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((60, DIM)).astype(np.float32)
    for i in range(12):
        rows[i] = vectors[i - 6] + 1e-4 * rng.standard_normal(DIM)
    rows[12:15] = rows[3]
    rows[30:32] = 0  # equal in every variant
    names = [f"n{i}" for i in range(60)]
    return {"model": model, "query": query, "vectors": vectors, "rows": rows, "folder": folder,
            "path": named(folder / "corpus.npy", names, rows)}


def test_threshold_over_variants(piece):
    done = search(piece, "-m", piece["model"], piece["query"], "--threshold", "0.5")
    assert done.returncode == 0, text(done)
    wanted = [(r, shown(s), t) for r, s, t in best(piece["vectors"], piece["rows"], 60) if s >= 0.5]
    assert 12 < len(wanted) < 60 and matches(lines(done)[0]) == wanted


def test_all_transpositions(piece):
    table = [(-s, r, t) for t, q in piece["vectors"].items() for r, s in enumerate(scores(q, piece["rows"]))]
    wanted = [(r, shown(-s), t) for s, r, t in sorted(table)]
    for k in (1, 16, 100, 720):
        done = search(piece, "-m", piece["model"], piece["query"], "--all-transpositions", "-k", k)
        assert matches(lines(done)[0]) == wanted[:k]
    done = search(piece, "-m", piece["model"], piece["query"], "--all-transpositions", "--threshold", 0.9)
    assert matches(lines(done)[0]) == [w for w in wanted if w[1] >= 0.9]
    done = run("search", "-m", piece["model"], "-c", piece["path"], piece["query"], "--all-transpositions", "--format",
               "midisim", "-k", 4)
    assert b"Total number of records: 48\n" in done.stdout


# ---- What is left out -----------------------------------------------------------------------------------------------


def test_exclusions(made, tmp_path):
    (tmp_path / "list").write_bytes(b"folder/152.mid\nnowhere\nfolder/20.mid\nfolder/152.mid\nodd\xff\tname\n")
    done = search(made, "--like", "folder/7.mid", "--exclude", "same.mid", "--exclude", "folder/7.mid", "--exclude-from",
                  tmp_path / "list", "-k", N)
    left_out = {7, 8, 150, 151, 152, 20, 9}
    assert done.returncode == 0 and b"1 of 4 names are not the name of any row" in done.stderr
    assert matches(lines(done)[0]) == expected(made["rows"][7], made["rows"], N, left_out=left_out)
    done = search(made, "--like", "folder/7.mid", "--exclude", "nowhere", "-k", 1)
    assert done.returncode == 0 and b"no row has the name 'nowhere'" in done.stderr
    piped = search(made, "--like", "folder/7.mid", "--exclude-from", "-", "-k", 5, stdin=b"folder/7.mid\nfolder/150.mid")
    assert matches(lines(piped)[0]) == expected(made["rows"][7], made["rows"], 5, left_out={7})
    done = search(made, "--like", "folder/7.mid", "--exclude-from", tmp_path / "absent")
    assert done.returncode == 1 and done.stdout == b""
    done = search(made, "--like", "folder/7.mid", "--exclude", "folder/7.mid", "--threshold", 0.9)
    assert matches(lines(done)[0]) == expected(made["rows"][7], made["rows"], N, left_out={7}, threshold=0.9)


def test_everything_excluded(made, tmp_path):
    (tmp_path / "list").write_bytes(b"".join(os.fsencode(n) + b"\n" for n in made["names"]))
    done = search(made, "--like", "folder/7.mid", "--exclude-from", tmp_path / "list")
    assert done.returncode == 1 and lines(done)[0]["matches"] == [] and b"every row is excluded" in done.stderr


def test_exclude_self(made):
    names = ["folder/7.mid", "same.mid", "folder/20.mid"]
    own = [{7}, {8, 150, 151}, {20}]
    options = [o for name in names for o in ("--like", name)]
    for more in (["-k", 4], ["-k", N], ["--threshold", 0.1]):
        done = search(made, *options, "--exclude-self", *more)
        assert done.returncode == 0 and len(lines(done)) == 3
        for answer, row, out in zip(lines(done), (7, 8, 20), own):
            wanted = expected(made["rows"][row], made["rows"], 4 if more[1] == 4 else N, left_out=out,
                              threshold=0.1 if more[0] == "--threshold" else None)
            assert matches(answer) == wanted
    done = search(made, "--like", "same.mid", "--exclude-self", "--exclude", "same.mid", "-k", N)
    assert matches(lines(done)[0]) == expected(made["rows"][8], made["rows"], N, left_out={8, 150, 151})


def test_exclude_self_of_many(tmp_path):
    """More rows of one name than a pass fetches in excess, beside queries that have few."""
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((400, DIM)).astype("f4")
    rows[100:250] = rows[0]
    names = ["many" if 100 <= i < 250 or i == 0 else f"n{i % 390}" for i in range(400)]
    made = {"path": named(tmp_path / "c.npy", names, rows)}
    order = ["n5", "many", "n6", "n7", "many"]
    options = [o for name in order for o in ("--like", name)]
    for k in (3, 400):
        done = search(made, *options, "--exclude-self", "-k", k, "--exclude", "n300")
        assert done.returncode == 0 and len(lines(done)) == len(order), text(done)
        for answer, name in zip(lines(done), order):
            out = {i for i, n in enumerate(names) if n in (name, "n300")}
            assert matches(answer) == expected(rows[names.index(name)], rows, k, left_out=out), name
    named(tmp_path / "q.npy", names[98:102], rows[98:102])
    done = search(made, "--query-vectors", tmp_path / "q.npy", "--exclude-self", "-k", 5)
    assert done.returncode == 0 and len(lines(done)) == 4
    for answer, i in zip(lines(done), range(98, 102)):
        out = {r for r, n in enumerate(names) if n == names[i]}
        assert matches(answer) == expected(rows[i], rows, 5, left_out=out)


def test_exclude_self_of_files(piece, tmp_path):
    """Names that a file has: as typed, without leading folders, and its stem."""
    music = tmp_path / "music" / "deep"
    music.mkdir(parents=True)
    (music / "q.x.mid").write_bytes(piece["query"].read_bytes())
    own = ["music/deep/q.x.mid", "deep/q.x.mid", "q.x.mid", "q.x"]
    others = ["x.mid", "q", "eep/q.x.mid", "music/deep/q.x", "Q.x.mid", "/q.x.mid"]
    named(tmp_path / "c.npy", own + others, piece["rows"][:10])
    done = run("search", "-m", piece["model"], "-c", "c.npy", "--json", "--exclude-self", "music/deep/q.x.mid",
               cwd=tmp_path)
    assert done.returncode == 0, text(done)
    assert sorted(m["name"] for m in lines(done)[0]["matches"]) == sorted(others)
    piped = run("search", "-m", piece["model"], "-c", "c.npy", "--json", "--exclude-self", "-", cwd=tmp_path,
                stdin=piece["query"].read_bytes())
    assert len(lines(piped)[0]["matches"]) == 10


# ---- Corpora --------------------------------------------------------------------------------------------------------


def test_several_files(made, tmp_path):
    rows, names = made["rows"], made["names"]
    shards = tmp_path / "shards"
    shards.mkdir()
    for i, (a, b) in enumerate(((0, 100), (100, 101), (101, N))):
        named(shards / f"{i}.npy", names[a:b], rows[a:b])
    parts = [o for i in range(3) for o in ("-c", shards / f"{i}.npy")]
    whole = search(made, "--like", "folder/7.mid", "-k", 50)
    for corpora in (parts, ["-c", shards], ["-c", shards / "0.npy", "-c", shards / "1.npy", "-c", shards / "2.npy"]):
        done = run("search", *corpora, "--json", "--like", "folder/7.mid", "-k", 50)
        assert done.returncode == 0 and lines(done)[0]["matches"] == lines(whole)[0]["matches"], text(done)
    np.save(tmp_path / "other.npy", np.zeros((3, DIM * 2), "f4"))
    done = run("search", *parts, "-c", tmp_path / "other.npy", "--like", "folder/7.mid")
    assert done.returncode in (1, 2) and done.stdout == b"" and len(text(done).splitlines()) == 1


def test_descriptions_of_parts(tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    models = [write_model(tmp_path / f"{seed}.safetensors", dim=DIM, seed=seed) for seed in (1, 2)]
    for i in range(3):
        (songs / f"{i}.mid").write_bytes(midi(tuple(range(50 + i, 70, 3)) * 3))

    def embed(out, model, *options):
        assert run("embed", "-m", model, "-o", tmp_path / out, *options, songs).returncode == 0

    embed("a.npy", models[0])
    embed("b.npy", models[0], "--names", "stem")
    embed("weighted.npy", models[0], "--pooling", "weighted", "--pool-weights", "1,1,2")
    embed("short.npy", models[0], "--max-tokens", 10)
    embed("other.npy", models[1])
    (tmp_path / "bare.npy").write_bytes((tmp_path / "a.npy").read_bytes())

    def both(second, *options, first="a.npy"):
        return run("search", "-c", tmp_path / first, "-c", tmp_path / second, *options)

    query = ("-m", models[0], songs / "1.mid")
    done = both("b.npy", *query)
    assert done.returncode == 0 and b"unknown" not in done.stderr and b"differ" not in done.stderr
    done = both("bare.npy", *query)
    assert done.returncode == 0 and text(done).count("model of the corpus unknown") == 1
    done = both("bare.npy", *query, first="bare.npy")
    assert done.returncode == 0 and b"nor one for 1 other" in done.stderr
    for second, word in (("weighted.npy", b"pooling"), ("short.npy", b"token limit"), ("other.npy", b"model")):
        for queries in (query, ("--like", "1.mid")):
            done = both(second, *queries)
            assert done.returncode == 2 and word in done.stderr and b"--force" in done.stderr and done.stdout == b""
            done = both(second, "--force", *queries)
            assert done.returncode == 0 and b"warning" in done.stderr
    # Vectors of another model are no queries.
    done = run("search", "-c", tmp_path / "a.npy", "--query-vectors", tmp_path / "other.npy")
    assert done.returncode == 2 and b"another model" in done.stderr
    assert run("search", "-c", tmp_path / "a.npy", "--query-vectors", tmp_path / "other.npy", "--force").returncode == 0
    assert run("search", "-c", tmp_path / "a.npy", "--query-vectors", tmp_path / "b.npy").returncode == 0


def test_ten_thousand_matches(tmp_path):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((12000, 16)).astype("f4")
    rows[5000:5100] = rows[3]
    np.save(tmp_path / "c.npy", rows)
    done = run("search", "-c", tmp_path / "c.npy", "--json", "-k", 10000, "--like", "3", "--like", "5")
    assert done.returncode == 0 and len(lines(done)) == 2, text(done)
    for answer, row in zip(lines(done), (3, 5)):
        assert len(answer["matches"]) == 10000 and matches(answer) == expected(rows[row], rows, 10000)
        assert answer["matches"][9]["name"] == str(answer["matches"][9]["row"])


# ---- Wrong use and endings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    ["--like", "x", "-k", "3", "--threshold", "0.5"], ["--like", "x", "--threshold", "nan"],
    ["--like", "x", "--threshold", "inf"], ["--like", ""], [], ["--exclude-self"], ["--metric", "l2", "--like", "x"],
    ["--scan", "int4", "--like", "x"], ["--like", "x", "--metric", "ip", "--scan", "int8"],
    ["--like", "x", "--metric", "ip", "--scan", "bf16"], ["--like", "x", "--format", "midisim", "--threshold", "0.5"],
    ["--like", "x", "--format", "midisim", "--metric", "ip"], ["--like", "x", "--verify"],
    ["--prepare", "--scan", "f32"], ["--prepare", "--scan", "f64"], ["--prepare", "--metric", "ip"],
    ["--like", "x", "--cache", "d", "--scan", "f32"], ["--prepare", "--threshold", "0.5"], ["--prepare", "-k", "3"],
    ["--prepare", "--exclude", "x"], ["--prepare", "--copy-to", "d", "--midi-root", "r"],
    ["--like", "x", "--copy-to", "d"], ["--like", "x", "--midi-root", "d"], ["--like", "x", "--no-original"],
    ["--exclude-from", "-", "-"], ["-", "-"], ["--query-vectors"]])
def test_wrong_combinations(made, tmp_path, options):
    """Refused before any work: not even the corpus has to be there."""
    done = run("search", "-c", tmp_path / "absent.npy", *options)
    assert done.returncode == 2 and done.stdout == b"" and len(text(done).splitlines()) == 1, text(done)
    assert text(done).startswith("midisim-search: ") and not list(tmp_path.iterdir())


def start(*arguments, **more):
    return subprocess.Popen([tool("search"), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=ENV, **more)


def test_stop(made, tmp_path):
    """After a signal what was finished is there, whole, and no more is begun."""
    np.save(tmp_path / "c.npy", np.random.default_rng(1).standard_normal((20000, 256)).astype("f4"))
    process = start("-c", tmp_path / "c.npy", "--query-vectors", tmp_path / "c.npy", "--json", "-k", 1000)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait(timeout=60) == 130 and len(json.loads(first)["matches"]) == 1000
    rest = out.splitlines()
    assert len(rest) < 19999 and all(len(json.loads(line)["matches"]) == 1000 for line in rest)
    assert b"error" not in err


def test_stop_while_reading_names(made):
    process = start("-c", made["path"], "--like", "folder/7.mid", "--exclude-from", "-", stdin=subprocess.PIPE)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and out == b""


def test_closed_pipe(made, tmp_path):
    np.save(tmp_path / "q.npy", np.random.default_rng(1).standard_normal((3000, DIM)).astype("f4"))
    process = start("-c", made["path"], "--query-vectors", tmp_path / "q.npy", "-k", 50, "--quiet")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0 and b"write" not in process.stderr.read()
    process.stderr.close()
