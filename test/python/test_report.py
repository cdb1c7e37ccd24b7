"""Reports from Python: one HTML file with the queries, matches, groups and points that were added."""
import json
import sys
import types

from cli_util import midi
import midisim_native as mn
import numpy as np
import pytest


def test_a_report_shows_what_was_added(model, songs, tmp_path):
    tune = np.random.default_rng(4).integers(50, 80, 60).tolist()
    for name, by in (("one.mid", 0), ("two.mid", 3)):
        (songs / name).write_bytes(midi([pitch + by for pitch in tune]))
    mn.embed_folder(songs, tmp_path / "c.npy", model=model, notes=tmp_path / "c.notes")
    corpus, index = mn.Corpus.open(tmp_path / "c.npy"), mn.NotesIndex.open(tmp_path / "c.notes")
    report = mn.Report(songs, title="What was <found>", notes=index)
    report.add_search(songs / "one.mid", corpus.search(songs / "one.mid", 3, model=model))
    report.add_search(songs / "one.mid", index.find(songs / "one.mid", 2))
    report.add_groups(mn.Groups.find(songs, tmp_path / "g"))
    report.add_map(corpus)
    query = report.add_query(report.add_piece("typed.mid", midi(tune)), 0, 5)
    report.add_match(query, corpus.search(0, 1)[0])
    info = report.info
    assert (info.queries, info.groups, info.points) == (3, 1, 7) and info.matches >= 5
    report.write(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "two.mid" in page and "typed.mid" in page and "What was <found>" not in page and "What was" in page
    with pytest.raises(mn.ArgumentError):
        report.add_match(99, corpus.search(0, 1)[0])
    with pytest.raises(mn.MidisimError):
        report.add_map(corpus)
    report.close()
    with pytest.raises(ValueError, match="closed"):
        report.write(tmp_path / "r.html")


def points_of(path):
    data = path.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0]
    return np.array(json.loads(data)["map"]["points"]).reshape(-1, 2)


def test_a_map_of_a_layout(tmp_path):
    rows = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    places = np.random.default_rng(2).normal(size=(20, 4))
    corpus, report = mn.Corpus.open(rows), mn.Report()
    for wrong in (places, places[:, 0], places[:9, :2], np.full((20, 2), np.nan), [["a", "b"]] * 20):
        with pytest.raises((ValueError, TypeError)):
            report.add_map(corpus, wrong)
    assert report.info.points == 0
    report.add_map(corpus, places[:, ::2])  # neither f32 nor contiguous
    report.write(tmp_path / "r.html")
    low, size = places[:, ::2].min(axis=0), np.ptp(places[:, ::2], axis=0).max()
    assert points_of(tmp_path / "r.html") == pytest.approx((places[:, ::2] - low) / size * 65535, abs=1)


def test_umap_is_asked_for_places(monkeypatch):
    """With a stand-in for umap-learn: what it is given, and what comes back."""
    asked = {}

    class Umap:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, rows):
            return rows[:, :2].astype(np.float64) * 3

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    rows = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    places = mn.umap_layout(mn.Corpus.open(rows), n_neighbors=30, min_dist=0.3)
    assert places.dtype == np.float32 and places.flags.c_contiguous and np.array_equal(places, rows[:, :2] * 3)
    assert (asked["n_components"], asked["n_neighbors"], asked["min_dist"], asked["metric"]) == (2, 19, 0.3, "cosine")
    assert (asked["random_state"], asked["n_jobs"]) == (1, 1)
    with pytest.raises(mn.ArgumentError, match="at least 5 rows"):
        mn.umap_layout(mn.Corpus.open(rows[:4]))
    rows[7, 3] = np.nan
    with pytest.raises(mn.ArgumentError, match="row 7 has NaN"):
        mn.umap_layout(mn.Corpus.open(rows))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        mn.umap_layout(mn.Corpus.open(rows[:6]))


def test_a_map_by_umap(tmp_path):
    """Three clusters of rows are three clusters of places."""
    pytest.importorskip("umap", reason="umap-learn is not installed")
    draw = np.random.default_rng(1)
    kinds = np.arange(150) % 3
    rows = (np.eye(3, 16)[kinds] * 5 + draw.normal(size=(150, 16)) * 0.3).astype(np.float32)
    corpus, report = mn.Corpus.open(rows), mn.Report()
    places = mn.umap_layout(corpus)
    centres = np.array([places[kinds == kind].mean(axis=0) for kind in range(3)])
    assert (np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1) == kinds).all()
    assert np.array_equal(places, mn.umap_layout(corpus))
    report.add_map(corpus, places)
    report.write(tmp_path / "r.html")
    assert len(points_of(tmp_path / "r.html")) == 150
