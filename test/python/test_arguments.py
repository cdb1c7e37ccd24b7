"""Arguments of the wrong kind: an error in words, never a guess. What NumPy calls an integer is one."""
import pathlib

from cli_util import midi
import midisim_native as mn
import numpy as np
import pytest

SONG = midi((60, 62, 64, 65, 67))


@pytest.fixture(scope="module")
def corpus():
    return mn.Corpus.open(np.eye(6, 8, dtype=np.float32), [f"r{i}" for i in range(6)])


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notes")
    for i in range(3):
        (folder / f"{i}.mid").write_bytes(midi(np.random.default_rng(i).integers(50, 80, 60).tolist()))
    return mn.NotesIndex.build(folder, folder / "i.notes")


@pytest.mark.parametrize("wrong", ["song.mid", pathlib.Path("song.mid"), None, 5, [1, 2], np.arange(9)])
def test_bytes_of_a_midi_file(wrong):
    with mn.Tokenizer() as tokenizer:
        for function in (tokenizer.encode, lambda m: tokenizer.encode_variants(m, 6, 100), tokenizer.canonical):
            with pytest.raises(TypeError, match="expected the bytes of a MIDI file, got .*read_midi"):
                function(wrong)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind):
    with mn.Tokenizer() as tokenizer:
        assert np.array_equal(tokenizer.encode(kind(SONG)), tokenizer.encode(SONG))
        assert tokenizer.canonical(kind(SONG)) == tokenizer.canonical(SONG)


def test_integers_are_not_cut_off(corpus, index):
    with mn.Tokenizer() as tokenizer:
        for transpose in (2 ** 32, -2 ** 63, 10 ** 30):
            with pytest.raises(mn.ArgumentError, match="expected -2147483648"):
                tokenizer.encode(SONG, transpose)
        with pytest.raises(TypeError, match="expected an integer, got float"):
            tokenizer.encode(SONG, 1.5)
    for options, error in (({"keys": 2 ** 32 + 6}, mn.ArgumentError), ({"k": 2.5}, TypeError), ({"threads": "2"}, TypeError),
                           ({"threads": 2 ** 32 + 1}, mn.ArgumentError)):
        with pytest.raises(error, match=next(iter(options)).replace("keys", "transpose")):
            corpus.searcher(**options)
    with pytest.raises(mn.ArgumentError, match="density"):
        mn.NotesIndex.build("x", "y", density=2 ** 32 + 1)
    for call in (corpus.name, corpus.span, index.name, lambda i: index.compare(i, 0), corpus.read):
        with pytest.raises((mn.ArgumentError, IndexError)):
            call(2 ** 64)
        with pytest.raises(TypeError):
            call("1")
        with pytest.raises(TypeError):
            call(1.0)


def test_integers_of_numpy(corpus, index):
    """Rows that a search gives can be asked for."""
    rows, _ = corpus.search_vectors(corpus.vectors[2], np.int64(3))
    assert corpus.name(rows[0, 0]) == "r2" and corpus.span(rows[0, 0]).piece == 2
    assert np.array_equal(corpus.read(rows[0, 0], np.int32(1)), corpus.vectors[2:3])
    assert corpus.search(rows[0, 0], np.int16(2))[0].row == 2
    assert len(corpus.join(0.5, shard=(np.int64(1), np.int64(2)), threads=np.int8(1))[0]) == 0
    assert index.compare(np.int64(0), np.uint8(0)).n_matched > 0 and index.name(np.int64(1)) == "1.mid"
    with mn.Tokenizer() as tokenizer:
        assert np.array_equal(tokenizer.encode(SONG, np.int64(1), np.int64(9)), tokenizer.encode(SONG, 1, 9))


def test_names(corpus):
    report = mn.Report()
    for call, what in ((corpus.find, "name"), (report.add_piece, "name"), (mn.parse_notes, "text"),
                       (lambda title: mn.Report(title=title), "title")):
        for wrong in (b"r1", 1, ["r1"]):
            with pytest.raises(TypeError, match=f"{what}: expected str"):
                call(wrong)
        with pytest.raises(mn.ArgumentError, match="zero"):
            call("r1\0more")
    assert corpus.find("r1").tolist() == [1] and report.info.pieces == 0
    rows = np.eye(3, 4, dtype=np.float32)
    for names in ("abc", b"abc", pathlib.Path("a")):
        with pytest.raises(mn.ArgumentError, match="expected a sequence of names"):
            mn.Corpus.open(rows, names)
    assert mn.Corpus.open(rows, np.array([b"a", b"\xff", b"c"])).names.tolist() == ["a", "\udcff", "c"]


def test_arrays_of_other_kinds(corpus, model):
    """What would be rounded, or lose a part, is refused; what only lies otherwise in memory is copied."""
    rows = np.random.default_rng(1).normal(size=(6, 8))
    for wrong in (rows.astype(complex), np.full((6, 8), "x"), np.full((6, 8), None)):
        for call in (mn.Corpus.open, corpus.search_vectors, lambda a: corpus.search(a[0])):
            with pytest.raises(TypeError, match="expected real numbers"):
                call(wrong)
    wide = np.asfortranarray(np.repeat(rows, 2, axis=1))[::-1, ::2]
    assert np.array_equal(mn.Corpus.open(wide).read(), rows[::-1].astype(np.float32))
    assert np.array_equal(corpus.search_vectors(wide, 2)[0], corpus.search_vectors(np.ascontiguousarray(wide), 2)[0])
    for wrong in ([1.5], np.ones(2), ["1"], [[1]]):
        with pytest.raises(TypeError, match="exclude: expected integers"):
            corpus.searcher(exclude=wrong)
    assert [m.row for m in corpus.search(2, 6, exclude=np.array([0, 9, 4, 9], np.uint16)[::2])].count(4) == 0
    for wrong in (np.array([0.5, 3]), [1, 2.5], np.array([True, False]), ["a"], [2 ** 40], [2 ** 80]):
        with pytest.raises(mn.ArgumentError, match="token ids"):
            model.tokens(wrong)
    ids = model.tokens(SONG)
    assert np.array_equal(model.tokens(np.repeat(ids, 2)[::2].astype(np.uint64)), ids)


def test_output_that_is_something_else(model, tmp_path):
    """No MIDI file is replaced by a corpus."""
    mn_rows = np.zeros(2, [("midi_names", "<U1"), ("midi_embeddings", "<f4", (4,))])
    mn_rows["midi_names"], mn_rows["midi_embeddings"] = ["a", "b"], np.eye(2, 4)
    np.save(tmp_path / "c.npy", mn_rows)
    (tmp_path / "song.mid").write_bytes(SONG)
    for _ in range(2):
        with pytest.raises(mn.ArgumentError, match="song.mid: it is not a .npy file"):
            mn.merge_corpora([tmp_path / "c.npy"], tmp_path / "song.mid")
        assert len(mn.merge_corpora([tmp_path / "c.npy"], tmp_path / "out.npy")) == 2
    for options in ({"output": tmp_path / "song.mid"}, {"output": tmp_path / "new.npy", "notes": tmp_path / "song.mid"}):
        with pytest.raises(mn.ArgumentError, match="song.mid"):
            mn.embed_folder(tmp_path, model=model, **options)
    with pytest.raises(mn.ArgumentError, match="note index"):
        mn.NotesIndex.build(tmp_path, tmp_path / "song.mid")
    assert (tmp_path / "song.mid").read_bytes() == SONG
