"""Handles that are closed while something uses them, and arguments that only look right: none of them ends the process."""
import threading

from cli_util import midi
import midisim_native as mn
import numpy as np
import pytest

ROWS = np.random.default_rng(7).standard_normal((5000, 32)).astype(np.float32)


@pytest.fixture
def index(songs, tmp_path):
    return mn.NotesIndex.build(songs, tmp_path / "c.notes")


def work_until_closed(handle, work):
    """Another thread works while this one closes the handle; then the thread is told."""
    begun, raised = threading.Event(), []

    def go():
        try:
            while True:
                work()
                begun.set()
        except ValueError as error:
            raised.append(str(error))

    thread = threading.Thread(target=go)
    thread.start()
    assert begun.wait(60)
    handle.close()
    thread.join(60)
    assert not thread.is_alive() and len(raised) == 1 and "closed" in raised[0]


def test_a_corpus_is_closed_while_a_thread_searches():
    corpus = mn.Corpus.open(ROWS)
    work_until_closed(corpus, lambda: corpus.search_vectors(ROWS[:60], 10))


def test_an_index_is_closed_while_a_thread_finds(index):
    notes = mn.parse_notes("C4 D4 E4 F4 G4 A4 B4 C5")
    work_until_closed(index, lambda: index.find(notes))


def test_a_model_is_closed_while_a_thread_embeds(model_path):
    model = mn.load_model(model_path, device="cpu", threads=1)
    work_until_closed(model, lambda: model.embed([[0, 149, 323], [0, 150, 320]]))


def test_a_report_keeps_the_index_that_it_was_opened_on(songs, tmp_path):
    with mn.NotesIndex.build(songs, tmp_path / "c.notes") as index:
        report = mn.Report(notes=index)
    report.add_piece("b.mid")
    assert report.info.pieces == 1 and report.info.without_notes == 0


def test_a_searcher_keeps_its_model(model_path, songs, tmp_path):
    model = mn.load_model(model_path, device="cpu", threads=1)
    mn.embed_folder(songs, tmp_path / "c.npy", model=model)
    corpus = mn.Corpus.open(tmp_path / "c.npy")
    searcher = corpus.searcher(model, k=1)
    model.close()
    assert searcher.search(songs / "b.mid")[0].name == "b.mid"
    corpus.close()
    with pytest.raises(ValueError, match="closed"):
        searcher.search(songs / "b.mid")


# ---- Arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(100000, 0), (2, 3), (1, 1, 1)])
def test_notes_have_one_axis(index, shape):
    with pytest.raises(mn.ArgumentError, match="notes"):
        index.find(np.zeros(shape, mn.NOTE_DTYPE))


def test_numbers_that_do_not_fit_are_refused(model):
    corpus = mn.Corpus.open(ROWS)
    with pytest.raises(mn.ArgumentError, match="expected 0..4999"):
        corpus.search(2**64 + 3, k=1)
    with pytest.raises(mn.ArgumentError, match="token ids"):
        model.embed(np.array([2**32, 5], np.int64))


@pytest.mark.parametrize("path", ["c.npy\0x", b"c.npy\0x"])
def test_a_path_does_not_end_at_a_zero_byte(tmp_path, path):
    np.save(tmp_path / "c.npy", ROWS)
    with pytest.raises(mn.ArgumentError, match="zero byte"):
        mn.Corpus.open(str(tmp_path) + "/" + path if isinstance(path, str) else bytes(tmp_path) + b"/" + path)


def test_one_path_stands_for_a_list_of_one(songs, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/copy.mid").write_bytes(midi((60, 62, 64, 67)))
    groups = mn.Groups.find(songs, tmp_path / "g", against=str(tmp_path / "other"), kinds="bytes")
    assert len(groups.files) == 6
    report = mn.Report(bytes(songs))
    report.add_search(bytes(songs / "b.mid"), [])
    assert report.add_piece("b/z.mid") == 1 and report.info.without_notes == 0


def test_merged_shards_do_not_replace_one_of_themselves(songs, tmp_path, model, monkeypatch):
    mn.embed_folder(songs, tmp_path / "c.npy", model=model)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mn.ArgumentError, match="one of the parts"):
        mn.merge_corpora(["c.npy"], "./c.npy")
