"""Joins, evaluations and groups of the modern interface, against NumPy and plain counting."""
from cli_util import midi
import midisim_native as mn
import numpy as np
import pytest


@pytest.fixture(scope="module")
def rows():
    """60 rows: row i + 30 is near row i."""
    rows = np.random.default_rng(7).standard_normal((60, 24)).astype(np.float32)
    rows[30:] = rows[:30] + 0.3 * rows[30:]
    return rows


def cosines(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("scan", ["auto", "int8", "f64"])
def test_a_join_gives_the_pairs_of_numpy(rows, scan):
    corpus = mn.Corpus.open(rows)
    a, b, scores = corpus.join(0.5, scan=scan)
    expected = np.argwhere(np.triu(cosines(rows, rows) >= 0.5, 1))
    assert np.stack([a, b], 1).tolist() == expected.tolist() and len(a) > 20
    assert np.allclose(scores, cosines(rows, rows)[a, b], atol=1e-12)
    other = mn.Corpus.open(rows[30:])
    a, b, scores = corpus.join(0.9, other, scan=scan)
    assert np.stack([a, b], 1).tolist() == np.argwhere(cosines(rows, rows[30:]) >= 0.9).tolist()
    parts = [corpus.join(0.5, scan=scan, shard=(n, 3)) for n in (1, 2, 3)]
    assert [np.concatenate(column).tolist() for column in zip(*parts)] == [c.tolist() for c in corpus.join(0.5)]
    assert [len(column) for column in corpus.join(1.5, scan=scan)] == [0, 0, 0]


def test_a_join_can_be_stopped_and_refuses_other_words(rows):
    corpus, seen = mn.Corpus.open(rows), []
    corpus.join(0.5, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    with pytest.raises(mn.StoppedError):
        corpus.join(0.5, progress=lambda *_: False)
    with pytest.raises(KeyError, match="planted"):
        corpus.join(0.5, progress=lambda *_: {}["planted"])
    with pytest.raises(mn.ArgumentError, match="scan: expected auto, int8, f64"):
        corpus.join(0.5, scan="bf16")


def test_an_evaluation_counts_as_one_does_by_hand(rows):
    labels = np.array([f"piece {i % 30}" for i in range(60)])
    labels[59] = "alone"  # so row 29 has no relative either
    found = mn.Corpus.open(rows).evaluate(labels, resamples=50)
    scores = cosines(rows, rows)
    np.fill_diagonal(scores, -np.inf)
    asked = [i for i in range(60) if (labels == labels[i]).sum() > 1]
    ranks = [1 + (scores[i] > scores[i, (i + 30) % 60]).sum() for i in asked]
    report = found.report()
    assert (report.queries, report.relatives, report.pairs) == (len(asked), len(asked), len(asked) * 59)
    assert report.mrr.value == pytest.approx(np.mean(1 / np.array(ranks))) == pytest.approx(report.map.value)
    assert report.median_rank.value == np.median(ranks) and report.mrr.low <= report.mrr.value <= report.mrr.high
    for k in (1, 3):
        assert found.recall(k).value == pytest.approx(np.mean(np.array(ranks) <= k))
    pairs = [(scores[i, j], labels[i] == labels[j]) for i in asked for j in range(60) if i != j]
    point = found.at(0.9)
    hits = [related for score, related in pairs if score >= point.threshold]
    assert point.precision.value == pytest.approx(np.mean(hits))
    assert point.recall.value == pytest.approx(sum(hits) / len(asked))
    assert found.at(found.threshold(0.95)).recall.value >= 0.95
    with pytest.raises(mn.EmptyError, match="no two rows"):
        mn.Corpus.open(rows).evaluate(np.arange(60))
    with pytest.raises(mn.ArgumentError, match="labels: expected 60, got 3"):
        mn.Corpus.open(rows).evaluate([1, 2, 3])


def test_answers_may_come_in_any_order():
    one, other = mn.Evaluation(resamples=0), mn.Evaluation(resamples=0)
    one.add([0.9, 0.5, -np.inf], [False, True, False])
    other.add([-np.inf, 0.5, 0.9], [False, True, False])
    assert one.report() == other.report() and one.report().mrr.value == 0.5 == one.report().mrr.low
    with pytest.raises(mn.ArgumentError):
        one.add([np.nan, 1], [True, False])
    with pytest.raises(mn.ArgumentError):
        one.add([0.5, 0.6], [False, False])
    with pytest.raises(mn.ArgumentError, match="expected two arrays"):
        one.add([0.5, 0.6], [True])
    with pytest.raises(mn.EmptyError):
        mn.Evaluation().report()


def test_groups_say_what_they_counted(songs, tmp_path):
    tune = np.random.default_rng(4).integers(50, 80, 60).tolist()
    for name, by in (("one.mid", 0), ("two.mid", 3)):
        (songs / name).write_bytes(midi([pitch + by for pitch in tune]))
    (songs / "same.mid").write_bytes((songs / "one.mid").read_bytes())
    (songs / "broken.mid").write_bytes(b"MThd")
    groups = mn.Groups.find(songs, tmp_path / "w", keep="preferences", preferences=["*two*"], evalue=1e-6)
    info = groups.info
    assert (info.files, info.contents, info.groups) == (len(groups.files), len(groups.files) - 1, len(groups))
    number = {file.name: file for file in groups.files}
    group = number["one.mid"].group
    assert {groups.file(i).name for i in groups.members(group)} == {"one.mid", "two.mid", "same.mid"}
    assert {groups.file(number[name].keeper).name for name in ("one.mid", "same.mid")} == {"two.mid"}
    assert number["one.mid"].bytes == (songs / "one.mid").stat().st_size and number["one.mid"].reason == "ok"
    assert number["broken.mid"].reason != "ok" and not number["broken.mid"].is_unread and info.without_notes == 1
    pair = groups.relate(number["one.mid"].index, number["two.mid"].index)
    assert pair.kind == "key" and pair.transpose == 3 and pair.a_from <= pair.a_to
    assert sum(info.pairs.values()) == len(groups.pairs) and info.pairs["key"] == 1
    assert groups.relate(number["one.mid"].index, number["broken.mid"].index) is None
    with pytest.raises(mn.ArgumentError, match="expected two of"):
        groups.relate(0, 10**6)
