"""The interface of midisim_native: what it gives is what the tools give, to the bit."""
import os

from cli_util import midi, run, write_model
import midisim_native as mn
import numpy as np
import pytest


@pytest.fixture
def corpus_path(model, songs, tmp_path):
    path = tmp_path / "corpus.npy"
    mn.embed_folder(songs, path, model=model, notes=tmp_path / "corpus.notes")
    return path


def test_embed_takes_paths_bytes_and_tokens(model, songs):
    path = songs / "b.mid"
    one = model.embed(path)
    assert one.shape == (32,) and one.dtype == np.float32
    ids = model.tokens(path)
    many = model.embed([path, str(path), path.read_bytes(), ids, ids.tolist()])
    assert many.shape == (5, 32) and many.flags.c_contiguous
    assert all(row.tobytes() == one.tobytes() for row in many)
    assert model.embed([]).shape == (0, 32)
    assert model.embed(ids.tolist()).tobytes() == one.tobytes()
    assert model.embed(path, transpose=1).tobytes() == model.embed(midi((62, 63, 66, 68))).tobytes()
    assert np.linalg.norm(model.embed(path, normalize=True)) == pytest.approx(1)
    assert model.embed(np.zeros(9000, np.int32), max_tokens=0).shape == (32,)
    with pytest.raises(mn.ArgumentError, match="class_weights: expected 3"):
        model.embed(path, class_weights=(1, 2))


def test_a_folder_gives_the_tool_s_bytes(model_path, songs, corpus_path, tmp_path):
    done = run("embed", "-m", model_path, "--device", "cpu", "--notes", "-o", tmp_path / "tool.npy", songs)
    assert done.returncode == 0, done.stderr
    assert corpus_path.read_bytes() == (tmp_path / "tool.npy").read_bytes()
    assert (tmp_path / "corpus.notes").read_bytes() == (tmp_path / "tool.notes").read_bytes()


def test_rows_and_names_are_those_of_the_file(model, songs, corpus_path, tmp_path):
    corpus, stored = mn.Corpus.open(corpus_path), np.load(corpus_path)
    assert len(corpus) == 5 and corpus.dim == 32 and corpus.format == "structured"
    assert corpus.names.tolist() == stored["midi_names"].tolist() == [corpus.name(row) for row in range(5)]
    assert corpus.vectors.tobytes() == np.ascontiguousarray(stored["midi_embeddings"]).tobytes()
    assert not corpus.vectors.flags.writeable
    assert corpus.read(1, 2).tobytes() == corpus.vectors[1:3].tobytes()
    assert corpus.find("b.mid").tolist() == [corpus.names.tolist().index("b.mid")]
    assert model.embed([songs / name for name in corpus.names]).tobytes() == corpus.vectors.tobytes()
    with pytest.raises(IndexError):
        corpus.name(5)
    np.save(tmp_path / "plain.npy", stored["midi_embeddings"])
    plain = mn.Corpus.open(tmp_path / "plain.npy")
    assert isinstance(plain.vectors.base, np.memmap) and plain.vectors.tobytes() == corpus.vectors.tobytes()
    rows = np.ascontiguousarray(stored["midi_embeddings"])
    memory = mn.Corpus.open(rows, names=list("vwxyz"))
    assert np.shares_memory(memory.vectors, rows) and memory.names.tolist() == list("vwxyz")


def test_searches_agree_with_numpy(model, songs, corpus_path):
    corpus = mn.Corpus.open(corpus_path)
    rows = corpus.vectors.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = unit @ unit.T
    found, scores = corpus.search_vectors(corpus.vectors, 3)
    assert found.tolist() == np.argsort(-expected, axis=1, kind="stable")[:, :3].tolist()
    assert np.allclose(scores, -np.sort(-expected, axis=1)[:, :3], atol=1e-12)
    assert corpus.search_vectors(corpus.vectors[0], 99)[0].shape == (1, 5)
    best = corpus.search(songs / "b.mid", 2, model=model)
    assert (best[0].name, best[0].transpose) == ("b.mid", 0) and best[0].score == pytest.approx(1)
    assert corpus.search(songs / "b.mid", 2, model=model, keys=0)[0].name == "b.mid"
    assert [m.row for m in corpus.search(1, 5)] == [m.row for m in corpus.search(corpus.vectors[1], 5)]
    assert all(m.row != 1 for m in corpus.search(1, 5, exclude_self=True))
    with corpus.searcher(model, threshold=0.999) as searcher:
        several = searcher.search_many([0, songs / "b.mid", midi()])
    assert len(several) == 3 and several[0][0].row == 0
    with pytest.raises(mn.ArgumentError, match="needs a model"):
        corpus.search(midi())
    with pytest.raises(mn.ArgumentError, match="expected a vector"):
        corpus.search(np.zeros(3))


def test_one_bad_query_leaves_none_behind(model, corpus_path):
    searcher = mn.Corpus.open(corpus_path).searcher(model, k=1)
    with pytest.raises(mn.EmptyError):
        searcher.search_many([0, 1, midi(())])
    assert [[m.row for m in found] for found in searcher.search_many([2])] == [[2]]


def test_codes_and_whitening(tmp_path):
    rows = np.random.default_rng(3).standard_normal((300, 32)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    corpus = mn.Corpus.open(tmp_path / "rows.npy")
    expected = corpus.search_vectors(rows[:5], 4)
    corpus = mn.Corpus.open(tmp_path / "rows.npy")
    corpus.prepare()
    assert (tmp_path / "rows.npy.msim").exists()
    found = corpus.search_vectors(rows[:5], 4, scan="int8")
    assert all((a == b).all() for a, b in zip(expected, found))
    whitening = mn.Whitening.fit(corpus)
    whitening.save(tmp_path / "fit.whiten")
    again = mn.Whitening.open(tmp_path / "fit.whiten")
    white = corpus.write_whitened(tmp_path / "white.npy", again)
    assert white.vectors.tobytes() == whitening.apply(rows).tobytes()
    match = white.search(rows[7], 1)[0]
    assert match.row == 7 and match.likeness in ("same", "version", "alike", "unknown")


def test_a_note_index_and_groups(songs, tmp_path):
    tune = np.random.default_rng(4).integers(50, 80, 60).tolist()
    for name, by in (("one.mid", 0), ("two.mid", 3), ("three.mid", 0)):
        (songs / name).write_bytes(midi([pitch + by for pitch in tune]))
    (songs / "three.mid").write_bytes(midi(np.random.default_rng(5).integers(50, 80, 60).tolist()))
    index = mn.NotesIndex.build(songs, tmp_path / "songs.notes")
    index.check()
    assert len(index) == 8 and index.names == sorted(index.names, key=os.fsencode)
    found = index.find(songs / "one.mid", 4)
    assert [(m.name, m.transpose) for m in found[:2]] == [("one.mid", 0), ("two.mid", 3)]
    assert found[1].relation == "same notes" and found[1].is_significant
    notes = mn.read_notes(songs / "one.mid")
    assert notes["pitch"].tolist() == tune
    assert [m.name for m in index.find(notes, 1)] == ["one.mid"]
    with index.stream(1, window=len(notes)) as stream:
        assert stream.answer() == []
        for note in (*notes[::-1], *notes):  # the later ones push the others out
            stream.push(np.array([note], mn.NOTE_DTYPE))
        assert stream.answer() == index.find(notes, 1) == stream.answer()
        with pytest.raises(mn.ArgumentError, match="NOTE_DTYPE"):
            stream.push(np.zeros(2))
    assert mn.parse_notes("C4 E4 G4")["pitch"].tolist() == [60, 64, 67]
    assert [(index.name(p.piece), p.match.name) for p in index.pairs()] == [("one.mid", "two.mid")]
    a, b = index.names.index("one.mid"), index.names.index("two.mid")
    assert index.compare(a, b).transpose == 3
    groups = mn.Groups.find(songs, tmp_path / "songs.groups")
    assert len(groups) == 1 and {groups.file(i).name for i in groups.members(1)} == {"one.mid", "two.mid"}
    pairs = [p for p in groups.pairs if p.kind == "key"]
    assert len(pairs) == 1 and pairs[0].transpose == 3
    sides = groups.split([1, 1])
    assert len(sides) == len(groups.files) and sides[pairs[0].a] == sides[pairs[0].b]


def test_a_model_of_midisimx(songs, tmp_path):
    path = write_model(tmp_path / "x.safetensors", dim=32, heads=2, vocab=720)
    model = mn.load_model(path, device="cpu", threads=1)
    assert (model.info.token_family, model.info.token_order, model.info.vocab) == ("midisimx", "time-first", 720)
    other = mn.load_model(path, device="cpu", threads=1, token_order="chord-first")
    song = songs / "b.mid"
    assert sorted(model.tokens(song)) == sorted(other.tokens(song)) and list(model.tokens(song)) != list(other.tokens(song))
    mn.embed_folder(songs, tmp_path / "ours.npy", model=other)
    done = run("embed", "-m", path, "--device", "cpu", "--token-order", "chord-first", "-o", tmp_path / "tool.npy", songs)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "tool.npy").read_bytes()
    assert model.embed(song, class_weights=(1, 1, 1, 2)).shape == (32,)
    ids = model.tokens(song)
    rows = model.embed_tokens(song)
    assert rows.shape == (len(ids), 32) and np.allclose(rows.mean(0), model.embed(song), atol=1e-5)
    midi = mn.read_midi(song)
    with mn.Tokenizer(other) as by_model, mn.Tokenizer(family="midisimx", token_order="chord-first") as by_family:
        assert by_model.encode(midi).tolist() == by_family.encode(midi).tolist() == other.tokens(song).tolist()
    with pytest.raises(mn.ArgumentError, match="takes the model's"):
        mn.Tokenizer(other, token_order="chord-first")
    with pytest.raises(mn.ArgumentError, match="family: expected midisim or midisimx"):
        mn.Tokenizer(family="midisimy")


def test_weights_of_another_number_than_the_model_has_are_refused(model, model_path, songs, corpus_path, tmp_path):
    with pytest.raises(mn.ArgumentError, match="expected 3"):
        mn.embed_folder(songs, tmp_path / "w.npy", model=model, class_weights=(1, 2))
    with pytest.raises(mn.ArgumentError, match="expected 3"):
        mn.Corpus.open(corpus_path).searcher(model, class_weights=(1, 2, 3, 4))
    with pytest.raises(mn.ArgumentError, match="token_order: expected time-first or chord-first"):
        mn.load_model(model_path, token_order="chords")
    with pytest.raises(mn.ArgumentError):
        mn.load_model(model_path, device="cpu", token_order="chord-first")
