"""midisim-eval: measures against NumPy, truths of every kind, queries of other corpora, windows and keys, hostile files."""
import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cli_util import ROOT, lines, midi, run, text, tool
from search_util import named, scores

DIM = 16
RANKS = (1, 5, 10)


# ---- The measures once more ---------------------------------------------------------------------------------------


def rank_all(table, excluded):
    """Orders of candidates [pieces] of each query by score, then number, without those that are excluded."""
    return [[int(p) for p in np.lexsort((np.arange(len(row)), -row)) if not excluded[q][p]] for q, row in enumerate(table)]


def measures(table, related, excluded):
    """What the tool prints, from scores, relatives and excluded pairs, each [queries, pieces]."""
    orders = rank_all(table, excluded)
    kept = [q for q, order in enumerate(orders) if any(related[q][p] for p in order)]
    ranks, precisions, found, all_scores = [], [], 0, []
    for q in kept:
        hits = [i + 1 for i, p in enumerate(orders[q]) if related[q][p]]
        ranks.append(hits[0])
        precisions.append(np.mean([(n + 1) / hit for n, hit in enumerate(hits)]))
        found += len(hits)
        all_scores += [(table[q][p], bool(related[q][p])) for p in orders[q]]
    # At each threshold: how many score that much, and how many relatives.
    thresholds = np.arange(20000, -1, -1) / 10000 - 1
    values, right = (np.sort([s for s, _ in all_scores]), np.sort([s for s, r in all_scores if r]))
    reached = len(values) - np.searchsorted(values, thresholds - 1e-12)
    hits = len(right) - np.searchsorted(right, thresholds - 1e-12)
    f1 = 2 * hits / (reached + found)
    best = f1.max(), thresholds[np.argmax(f1 > f1.max() - 1e-12)]
    return {"queries": len(kept), "relatives": found, "mrr": np.mean(1 / np.array(ranks)), "map": np.mean(precisions),
            "median_rank": np.median(ranks), "f1": best[0], "threshold": best[1],
            **{f"recall_at_{k}": np.mean(np.array(ranks) <= k) for k in RANKS}}


def compare(got, wanted):
    assert (got["queries"], got["relatives"]) == (wanted["queries"], wanted["relatives"])
    for name in ("mrr", "map", "median_rank", *(f"recall_at_{k}" for k in RANKS)):
        assert got[name]["value"] == pytest.approx(wanted[name], rel=1e-8), name
        assert got[name]["low"] <= got[name]["value"] + 1e-9 and got[name]["value"] <= got[name]["high"] + 1e-9
    assert got["best_f1"]["f1"]["value"] == pytest.approx(wanted["f1"], rel=1e-8)
    assert got["best_f1"]["threshold"] == pytest.approx(wanted["threshold"], abs=1e-9)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Thirty groups of one to four rows, in folders; c.npy, its names and its rows."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(7)
    names, rows = [], []
    for group in range(30):
        base = rng.standard_normal(DIM)
        for version in range(1 + group % 4):
            names.append(f"g{group:02d}/v{version}.mid")
            rows.append(base + 1.1 * rng.standard_normal(DIM))
    rows = np.array(rows, "f4")
    named(folder / "c.npy", names, rows)
    return folder, names, rows


def evaluate(folder, *arguments, **more):
    done = run("eval", *arguments, "--json", cwd=folder, **more)
    assert done.returncode == 0, text(done)
    return lines(done)


def table_of(queries, rows):
    return np.stack([scores(q, rows) for q in queries])


@pytest.fixture(scope="module")
def wanted(music):
    _, names, rows = music
    groups = np.array([n.split("/")[0] for n in names])
    return measures(table_of(rows, rows), groups[:, None] == groups[None], np.eye(len(rows), dtype=bool))


# ---- Truth ------------------------------------------------------------------------------------------------------------


def test_every_kind_of_truth(music, wanted, tmp_path):
    folder, names, _ = music
    groups = {}
    for name in names:
        groups.setdefault(name.split("/")[0], []).append(name)
    pairs = [(a, b) for members in groups.values() for a in members for b in members if a < b]
    (tmp_path / "pairs.tsv").write_text("# a comment\n\n" + "".join(f"{a}\t{b}\tmore\n" for a, b in pairs))
    (tmp_path / "groups.tsv").write_text("group\tname\n" + "".join(f"{g}\t{n}\n" for g, m in groups.items() for n in m))
    (tmp_path / "bare.tsv").write_text("".join(f"{g}\t{n}\n" for g, m in groups.items() for n in m))
    (tmp_path / "crlf.tsv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "groups.tsv").read_bytes().replace(b"\n", b"\r\n"))
    for truth in (["--truth", "folders"], ["--truth-pattern", "^(g[0-9]+)/"], ["--truth", tmp_path / "pairs.tsv"],
                  ["--truth", tmp_path / "groups.tsv"], ["--truth", tmp_path / "crlf.tsv"],
                  ["--truth", tmp_path / "bare.tsv", "--truth-format", "groups"]):
        got, = evaluate(folder, "c.npy", *truth)
        compare(got, wanted)
        assert got["pieces"] == len(names) and got["without_relatives"] == 8


def test_pairs_do_not_join_into_groups(music):
    folder, names, rows = music
    a, b, c = [n for n in names if n.startswith("g03/")][:3]
    (folder / "two.tsv").write_text(f"{a}\t{b}\n{b}\t{c}\n")
    related = np.zeros((len(names), len(names)), bool)
    for x, y in ((a, b), (b, c)):
        related[names.index(x), names.index(y)] = related[names.index(y), names.index(x)] = True
    got, = evaluate(folder, "c.npy", "--truth", "two.tsv")
    compare(got, measures(table_of(rows, rows), related, np.eye(len(rows), dtype=bool)))
    assert got["queries"] == 3 and got["relatives"] == 4


def test_names_that_are_not_there(music):
    folder, names, _ = music
    (folder / "some.tsv").write_text(f"{names[1]}\t{names[2]}\n{names[1]}\tG05/v0.mid\nx\ty\nx\ty\n")
    done = run("eval", "c.npy", "--truth", "some.tsv", "--json", cwd=folder)
    said = text(done)
    assert done.returncode == 0 and lines(done)[0]["queries"] == 2
    assert "'G05/v0.mid'; similar: 'g" in said and said.count("'x'") == 1 and "3 of 5 names in some.tsv" in said
    (folder / "none.tsv").write_text("x\ty\n")
    done = run("eval", "c.npy", "--truth", "none.tsv", cwd=folder)
    assert done.returncode == 1 and "nothing to measure: c.npy: no query has a relative" in text(done)


@pytest.mark.parametrize("content, why", (
    (b"a\n", "line 1: expected two columns"), (b"a\t\n", "line 1"), (b"\tb\n", "line 1"), (b"a\tb\nx\n", "line 2"),
    (b"", "no pair and no group"), (b"# a\tb\n", "no pair"), (b"group\tname\n", "no pair and no group"),
    (bytes(range(256)) * 8, "line"), (None, "no.tsv")))
def test_bad_truth(music, content, why):
    folder = music[0]
    if content is not None:
        (folder / "bad.tsv").write_bytes(content)
    done = run("eval", "c.npy", "--truth", "no.tsv" if content is None else "bad.tsv", cwd=folder)
    assert done.returncode == 1 and why in text(done) and text(done).count("\n") == 1 and done.stdout == b"", text(done)


@pytest.mark.parametrize("arguments, why", (
    (["c.npy"], "no truth: give --truth"), (["--truth", "folders"], "no corpus"),
    (["c.npy", "--truth", "folders", "--truth-pattern", "x"], "cannot be combined"),
    (["c.npy", "--truth-pattern", "(x"], "no regular expression"),
    (["c.npy", "--truth", "folders", "--truth-format", "pairs"], "--truth-format is for"),
    (["c.npy", "--truth", "folders", "--include-self"], "--include-self is for --queries"),
    (["c.npy", "c.npy", "c.npy", "--truth", "folders", "--queries", "c.npy", "--queries", "c.npy"], "expected one, or"),
    (["c.npy", "--truth", "folders", "--queries", "wide.npy"], "expected rows of the width 16")))
def test_wrong_use(music, arguments, why):
    folder = music[0]
    named(folder / "wide.npy", ["g01/x"], np.ones((1, 3), "f4"))
    done = run("eval", *arguments, cwd=folder)
    assert done.returncode == 2 and why in text(done) and done.stdout == b"", text(done)


def test_small_corpora(tmp_path):
    named(tmp_path / "one.npy", ["a/b"], np.ones((1, 4), "f4"))
    done = run("eval", "one.npy", "--truth", "folders", cwd=tmp_path)
    assert done.returncode == 1 and "no query has a relative" in text(done)
    named(tmp_path / "root.npy", ["a", "b"], np.ones((2, 4), "f4"))  # no folder: nothing belongs together
    assert run("eval", "root.npy", "--truth", "folders", cwd=tmp_path).returncode == 1
    named(tmp_path / "none.npy", [], np.ones((0, 4), "f4"))
    done = run("eval", "none.npy", "--truth", "folders", cwd=tmp_path)
    assert done.returncode == 1 and "the corpus has no rows" in text(done)
    done = run("eval", "rot.npy", "--truth", "folders", cwd=tmp_path)
    assert done.returncode == 1 and "did you mean root.npy" in text(done)


def test_ties_and_bad_rows(tmp_path):
    """Equal scores: the lower row first. NaN: last. A query with NaN finds nothing."""
    rows = np.eye(16, dtype="f4")[[0, 1, 0, 0, 2, 3]]
    names = ["x/0", "y/1", "z/2", "x/3", "y/4", "z/5"]
    named(tmp_path / "c.npy", names, rows)
    groups = np.array([n[0] for n in names])
    related, own = groups[:, None] == groups[None], np.eye(6, dtype=bool)
    got, = evaluate(tmp_path, "c.npy", "--truth", "folders")
    compare(got, measures(table_of(rows, rows), related, own))
    rows[4, 0] = np.nan
    named(tmp_path / "c.npy", names, rows)
    done = run("eval", "c.npy", "--truth", "folders", "--json", cwd=tmp_path)
    table = table_of(np.nan_to_num(rows), rows)
    table[4] = -np.inf
    wanted = measures(table, related, own)
    assert lines(done)[0]["mrr"]["value"] == pytest.approx(wanted["mrr"]) and "1 row of queries with NaN" in text(done)


# ---- Queries ----------------------------------------------------------------------------------------------------------


def test_other_queries(music):
    folder, names, rows = music
    rng = np.random.default_rng(9)
    asked = [n for n in names if n.endswith("v0.mid")]
    vectors = np.array([rows[names.index(n)] + rng.standard_normal(DIM) for n in asked], "f4")
    named(folder / "q.npy", asked, vectors)
    related = np.array([[a.split("/")[0] == b.split("/")[0] for b in names] for a in asked])
    same = np.array([[a == b for b in names] for a in asked])
    truth = ("--truth", "folders", "--queries", "q.npy")
    compare(evaluate(folder, "c.npy", *truth)[0], measures(table_of(vectors, rows), related, same))
    compare(evaluate(folder, "c.npy", *truth, "--include-self")[0],
            measures(table_of(vectors, rows), related, np.zeros_like(same)))
    both = evaluate(folder, "c.npy", "c.npy", *truth, "--queries", "c.npy")
    assert both[0]["queries"] == 22 and both[1]["queries"] == 65


def test_keys_are_files_of_a_folder(music):
    """A query in several files of a folder counts in its best key."""
    folder, names, rows = music
    rng = np.random.default_rng(3)
    (folder / "keys").mkdir()
    keys = [np.array(rows + rng.standard_normal(rows.shape), "f4") for _ in range(3)]
    for i, key in enumerate(keys):
        named(folder / "keys" / f"{i}.npy", names, key)
    groups = np.array([n.split("/")[0] for n in names])
    table = np.max([table_of(key, rows) for key in keys], axis=0)
    wanted = measures(table, groups[:, None] == groups[None], np.eye(len(rows), dtype=bool))
    for join in ("best", "mean"):  # one row in each key: the mean of one
        compare(evaluate(folder, "c.npy", "--truth", "folders", "--queries", "keys", "--join", join)[0], wanted)


@pytest.fixture(scope="module")
def windows(model, tmp_path_factory):
    """Songs and versions of them in windows."""
    folder = tmp_path_factory.mktemp("windows")
    rng = np.random.default_rng(4)
    for song in range(8):
        (folder / "midi" / f"s{song}").mkdir(parents=True)
        notes = rng.integers(40, 80, 20 + 10 * song)
        for version in range(2):
            keep = rng.random(len(notes)) < 0.9
            (folder / "midi" / f"s{song}" / f"{version}.mid").write_bytes(midi([int(n) for n in notes[keep]]))
    for name, options in (("whole.npy", []), ("win.npy", ["--windows", "32"])):
        done = run("embed", "-m", model, *options, "-o", folder / name, folder / "midi")
        assert done.returncode == 0, text(done)
    return folder


@pytest.mark.parametrize("join", ("best", "mean"))
def test_windows(windows, join):
    """A piece of several rows: its best row counts; windows of a query are joined by the best pair, or by their mean."""
    data = np.load(windows / "win.npy")
    names = list(dict.fromkeys(data["midi_names"]))
    rows = {n: data["midi_embeddings"][data["midi_names"] == n] for n in names}
    assert max(map(len, rows.values())) > 5
    table = np.zeros((len(names), len(names)))
    for q, a in enumerate(names):
        for p, b in enumerate(names):
            best = np.max(table_of(rows[a], rows[b]), axis=1)
            table[q, p] = np.max(best) if join == "best" else np.cumsum(best)[-1] / len(best)
    groups = np.array([n.split("/")[0] for n in names])
    got, = evaluate(windows, "win.npy", "--truth", "folders", "--join", join)
    compare(got, measures(table, groups[:, None] == groups[None], np.eye(len(names), dtype=bool)))
    assert got["pieces"] == 16 and got["rows"] == len(data)


def test_a_folder_of_midi_files(windows, model, tmp_path):
    """Embedded into a temporary folder that goes, or into one that stays."""
    (tmp_path / "tmp").mkdir()
    wanted, = evaluate(windows, "whole.npy", "--truth", "folders")
    arguments = ("-m", model, windows / "midi", "--truth", "folders")
    for more in ([], ["--keep", tmp_path / "kept"], ["--keep", tmp_path / "kept"]):
        got, = evaluate(tmp_path, *arguments, *more, env={"TMPDIR": str(tmp_path / "tmp")})
        assert got | {"corpus": 0} == wanted | {"corpus": 0}
    assert list((tmp_path / "tmp").iterdir()) == [] and (tmp_path / "kept" / "midi.npy.json").exists()
    (tmp_path / "empty").mkdir()
    done = run("eval", "-m", model, "empty", "--truth", "folders", cwd=tmp_path)
    assert done.returncode == 1 and "no MIDI files: empty" in text(done), text(done)


def test_the_collection(collection, model, tmp_path):
    """The pairs that ../shared/truth lists, on the files that they name."""
    versions = ROOT.parent / "shared" / "truth" / "versions.tsv"
    if not versions.exists():
        pytest.skip("no versions.tsv beside the collection")
    pairs = [line.split("\t")[1:3] for line in versions.read_text().splitlines() if not line.startswith(("#", "shares"))]
    names = sorted({n for pair in pairs for n in pair})[:60]
    for name in names:
        (tmp_path / "midi" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(collection / name, tmp_path / "midi" / name)
    (tmp_path / "truth.tsv").write_text("".join("\t".join(p) + "\n" for p in pairs if set(p) <= set(names)))
    got, = evaluate(tmp_path, "-m", model, "midi", "--truth", "truth.tsv")
    assert got["queries"] > 20 and 0 < got["mrr"]["value"] < 1 and 0 < got["best_f1"]["f1"]["value"] < 1


# ---- What is printed --------------------------------------------------------------------------------------------------


def test_table_and_csv(music, wanted, tmp_path):
    folder = music[0]
    done = run("eval", "c.npy", "c.npy", "--truth", "folders", "--csv", tmp_path / "e.csv", cwd=folder)
    table = done.stdout.decode()
    assert done.returncode == 0 and not re.search(" $", table, re.M)
    line = next(x for x in table.splitlines() if x.startswith("R@5"))
    assert line.count(f"{wanted['recall_at_5']:.3f} [") == 2
    assert [x.split("  ")[0] for x in table.splitlines()[1:4]] == ["pieces", "queries", "relatives"]
    rows = list(csv.DictReader((tmp_path / "e.csv").open()))
    at5 = [r for r in rows if (r["measure"], r["at"]) == ("recall_at", "5")]
    assert len(at5) == 2 and float(at5[0]["value"]) == pytest.approx(wanted["recall_at_5"])
    assert {r["measure"] for r in rows} == {"mrr", "map", "median_rank", "best_f1", "recall_at", "precision", "recall", "f1"}
    plain = run("eval", "c.npy", "--truth", "folders", "--resamples", "0", cwd=folder).stdout.decode()
    assert "[" not in plain and f"{wanted['mrr']:.3f}" in plain


def test_the_same_bytes_again(music):
    folder = music[0]
    outs = {run("eval", "c.npy", "--truth", "folders", "--json", "--threads", n, cwd=folder).stdout for n in (1, 2, 5)}
    assert len(outs) == 1
    assert json.loads(outs.pop())["resamples"] == 1000


# ---- Simple vectors to compare with -----------------------------------------------------------------------------------


def test_simple_vectors(windows, tmp_path):
    """bench/quality.py: pitch classes in twelve keys and runs of intervals, which no transposition changes."""
    (tmp_path / "midi" / "a").mkdir(parents=True)
    notes = [60, 64, 67, 72, 60, 59, 62, 65]
    for key in (0, 5):
        (tmp_path / "midi" / "a" / f"{key}.mid").write_bytes(midi([n + key for n in notes]))
    (tmp_path / "midi" / "a" / "z.mid").write_bytes(midi([61, 61, 61, 61, 61]))
    done = subprocess.run([sys.executable, ROOT / "bench/quality.py", tmp_path / "out", tmp_path / "midi", "--tool",
                           tool("tokens")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and b"3 pieces" in done.stdout, done.stdout
    names = (tmp_path / "out" / "intervals.npy.names").read_text().split()
    assert names == ["a/0.mid", "a/5.mid", "a/z.mid"]
    classes, runs = np.load(tmp_path / "out" / "pitch-classes.npy"), np.load(tmp_path / "out" / "intervals.npy")
    wanted = np.bincount([n % 12 for n in notes], minlength=12)
    assert np.array_equal(classes[0] / classes[0][4], wanted) and np.array_equal(np.roll(classes[0], 5), classes[1])
    assert np.array_equal(runs[0], runs[1]) and runs.shape == (3, 512) and np.count_nonzero(runs[2]) == 1
    (tmp_path / "t.tsv").write_text("a/0.mid\ta/5.mid\n")
    got = [evaluate(tmp_path / "out", "pitch-classes.npy", "--truth", "../t.tsv", *more)[0]["best_f1"]["threshold"]
           for more in ([], ["--queries", "pitch-classes-keys"])]
    assert got[0] < 1 and got[1] > 0.9998  # the best of twelve keys is the same


def test_drawing_says_what_is_wrong(tmp_path):
    """bench/plot_eval.py reads what --csv writes, and nothing else."""
    script = ROOT / "bench/plot_eval.py"
    for content in ("a,b\n1,2\n", "corpus,measure,at,value,low,high\n", "corpus,measure,at,value,low,high\nc,mrr,x,1,1,1\n"):
        (tmp_path / "e.csv").write_text(content)
        done = subprocess.run([sys.executable, script, tmp_path / "e.csv", "-o", tmp_path / "e.png"], stderr=subprocess.PIPE)
        assert done.returncode == 1 and done.stderr.startswith(b"plot_eval: ") and done.stderr.count(b"\n") == 1
    (tmp_path / "e.csv").write_text("corpus,measure,at,value,low,high\nc.npy,recall_at,1,0.5,0.4,0.6\n"
                                    "c.npy,precision,0.5,1,1,1\nc.npy,recall,0.5,0.25,0.2,0.3\n")
    done = subprocess.run([sys.executable, script, tmp_path / "e.csv", "-o", tmp_path / "e.svg"], stderr=subprocess.PIPE)
    if b"needs matplotlib" not in done.stderr:
        assert done.returncode == 0 and (tmp_path / "e.svg").stat().st_size > 1000


def test_whitened(windows, model):
    """Queries that are not whitened become so; those of another fit are refused."""
    for fit, step in (("a.whiten", "16/8"), ("b.whiten", "16/4")):
        assert run("embed", "-m", model, "--windows", step, "--force", "-o", "fit.npy", "midi", cwd=windows).returncode == 0
        done = run("convert", "--fit-only", "--prior-fit", "none", "fit.npy", fit, cwd=windows)
        assert done.returncode == 0, text(done)
    for out, source, fit in (("white.npy", "win.npy", "a.whiten"), ("other.npy", "whole.npy", "b.whiten")):
        done = run("convert", "--whiten", "--whiten-fit", fit, source, out, cwd=windows)
        assert done.returncode == 0, text(done)
    truth = ("--truth", "folders", "--queries")
    plain, = evaluate(windows, "white.npy", *truth, "win.npy")
    stored, = evaluate(windows, "white.npy", *truth, "white.npy")
    for name in ("mrr", "map", "recall_at_1"):
        assert plain[name]["value"] == pytest.approx(stored[name]["value"])
    assert plain["best_f1"]["threshold"] == pytest.approx(stored["best_f1"]["threshold"], abs=2e-4)
    raw, = evaluate(windows, "win.npy", "--truth", "folders")
    assert raw["best_f1"]["threshold"] != stored["best_f1"]["threshold"]
    for corpus, queries in (("white.npy", "other.npy"), ("win.npy", "white.npy")):
        done = run("eval", corpus, *truth, queries, cwd=windows)
        assert done.returncode == 2 and "the queries are whitened" in text(done)
