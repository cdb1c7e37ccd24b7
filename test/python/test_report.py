"""Reports from Python: one HTML file with the queries, matches, groups and points that were added."""
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
