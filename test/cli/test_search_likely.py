"""midisim-search --keys likely: the beginning of a query is tried in every key, all of it in the three best alone."""
import random

import numpy as np
import pytest
from cli_util import lines, midi, run, text
from search_util import best, scores, shown

KEYS = range(-6, 6)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Long pieces, and queries: a transposed copy, two others, and a short one."""
    rng = random.Random(11)
    folder = tmp_path_factory.mktemp("songs")
    (folder / "midi").mkdir()
    pieces = [[rng.randrange(30 + i, 60 + 6 * i) for _ in range(320)] for i in range(6)]
    for i, notes in enumerate(pieces):
        (folder / "midi" / f"{i}.mid").write_bytes(midi(notes, ticks=300))
    (folder / "up.mid").write_bytes(midi([n + 4 for n in pieces[2]], ticks=300))
    (folder / "mixed.mid").write_bytes(midi(pieces[1][:150] + pieces[4][150:] + [60] * 50, ticks=300))
    (folder / "short.mid").write_bytes(midi(pieces[3][:60], ticks=300))
    return folder


@pytest.fixture(scope="module")
def corpus(songs, model):
    done = run("embed", "-m", model, "-o", songs / "c.npy", songs / "midi")
    assert done.returncode == 0, text(done)
    return songs / "c.npy"


def vectors(model, songs, query, *options):
    found = {}
    for key in KEYS:
        done = run("embed", "-m", model, "--transpose", key, *options, "--force", "-o", songs / "q.npy", songs / query)
        assert done.returncode == 0, text(done)
        found[key] = np.load(songs / "q.npy")["midi_embeddings"][0]
    return found


def wanted(model, songs, query, rows, left_out=()):
    """Matches as docs/SEARCH.md, Likely keys, defines them."""
    kept = [r for r in range(len(rows)) if r not in left_out]
    tried = {key: scores(v, rows[kept]).max() for key, v in vectors(model, songs, query, "--max-tokens", "512").items()}
    chosen = sorted(sorted(KEYS, key=lambda key: (-tried[key], key))[:3])
    full = vectors(model, songs, query)
    found = best({key: full[key] for key in chosen}, rows, len(rows))
    return [(row, shown(score), key) for row, score, key in found if row not in left_out]


def search(model, corpus, *arguments):
    done = run("search", "-m", model, "-c", corpus, "--json", "--keys", "likely", *arguments)
    assert done.returncode == 0, text(done)
    return [[(m["row"], m["score"], m["transpose"]) for m in one["matches"]] for one in lines(done)], lines(done)


def test_the_best_of_three_keys(songs, model, corpus):
    rows = np.load(corpus)["midi_embeddings"]
    names = ("up.mid", "mixed.mid")
    got, answers = search(model, corpus, *(songs / n for n in names))
    assert got == [wanted(model, songs, n, rows) for n in names]
    assert got[0][0][0] == 2 and [a["variants"] for a in answers] == [3, 3]


def test_among_other_queries(songs, model, corpus):
    """Queries of three, of twelve and of one vector share a pass, and each has its own answer."""
    names = ("mixed.mid", "short.mid", "up.mid")
    alone = [search(model, corpus, songs / n)[0][0] for n in names]
    together, answers = search(model, corpus, *(songs / n for n in names), "--like", "1.mid")
    assert together[:3] == alone and [a["variants"] for a in answers] == [3, 12, 3, 1]
    short = lines(run("search", "-m", model, "-c", corpus, "--json", songs / "short.mid"))
    assert answers[1]["matches"] == short[0]["matches"]


def test_own_rows_do_not_choose(songs, model, corpus):
    got, _ = search(model, corpus, "--exclude-self", songs / "midi" / "3.mid")
    assert got[0] == wanted(model, songs, "midi/3.mid", np.load(corpus)["midi_embeddings"], (3,))


def test_above_a_threshold(songs, model, corpus):
    top = search(model, corpus, songs / "mixed.mid")[0][0]
    bound = (top[2][1] + top[3][1]) / 2
    got, _ = search(model, corpus, "--threshold", bound, songs / "mixed.mid")
    assert got[0] == top[:3]


def test_what_is_refused(songs, model, corpus, tmp_path):
    done = run("search", "-m", model, "-c", corpus, "--keys", "likely", "--format", "midisim", songs / "up.mid")
    assert done.returncode == 2 and "lists every key: leave out --keys likely" in text(done)
    assert run("embed", "-m", model, "--windows", "64", "-o", tmp_path / "w.npy", songs / "midi").returncode == 0
    done = run("search", "-m", model, "-c", tmp_path / "w.npy", "--keys", "likely", songs / "up.mid")
    assert done.returncode == 2 and "is for corpora of whole pieces" in text(done)
