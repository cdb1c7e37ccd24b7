"""Models of midisimx: order of tokens, choice of instruments and four weights are followed from embed to search."""
import json

import numpy as np
import pytest
from cli_util import lines, midi, run, text, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "x.safetensors", dim=32, heads=2, vocab=720)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Three pieces, one of them of strings, which cleaning leaves out; clusters, so that keys differ in length."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "a.mid").write_bytes(midi([60, 62, 64, 65, 67] * 8))
    (folder / "b.mid").write_bytes(clusters(20))
    strings = midi([50, 52, 55] * 6).replace(b"\x00\x90", b"\x00\xc0\x30\x00\x90", 1)
    at = strings.index(b"MTrk") + 4
    (folder / "c.mid").write_bytes(strings[:at] + (len(strings) - at - 4).to_bytes(4, "big") + strings[at + 4:])
    return folder


def clusters(n):
    """Chords of four notes, of which two and an octave of one of them are neighbours."""
    track = b""
    for i in range(n):
        chord = [60 + i % 3, 61 + i % 3, 65, 72 + i % 3]
        track += b"".join(bytes([0, 0x90, p, 90]) for p in chord) + bytes([0x83, 0x60, 0x80, chord[0], 0])
        track += b"".join(bytes([0, 0x80, p, 0]) for p in chord[1:])
    track += b"\0\xff\x2f\0"
    return midi([])[:14] + b"MTrk" + len(track).to_bytes(4, "big") + track


def embed(model, out, pieces, *options):
    done = run("embed", "-m", model, "-o", out, *options, pieces)
    assert done.returncode == 0, text(done)
    rows = np.load(out)
    return dict(zip(rows["midi_names"], rows["midi_embeddings"])), json.loads((out.parent / (out.name + ".json")).read_text())


def test_description(model, pieces, tmp_path):
    plain, about = embed(model, tmp_path / "plain.npy", pieces)
    assert about["model"]["family"] == "midisimx-custom" and about["tokens"] == {"order": "time-first", "clean": True}
    assert sorted(plain) == ["a.mid", "b.mid"]
    other, about = embed(model, tmp_path / "other.npy", pieces, "--token-order", "chord-first", "--no-clean",
                         "--pooling", "weighted", "--pool-weights", "1,2,1,2")
    assert about["tokens"] == {"order": "chord-first", "clean": False} and about["pool_weights"] == [1, 2, 1, 2]
    assert sorted(other) == ["a.mid", "b.mid", "c.mid"] and not np.array_equal(plain["a.mid"], other["a.mid"])
    again = run("embed", "-m", model, "-o", tmp_path / "plain.npy", "--update", "--token-order", "chord-first", pieces)
    assert again.returncode == 2 and "token order: expected time-first, got chord-first" in text(again)


def test_weights_are_as_many_as_the_model_has(model, pieces, tmp_path):
    few = run("embed", "-m", model, "-o", tmp_path / "x.npy", "--pooling", "weighted", "--pool-weights", "1,2,1", pieces)
    assert few.returncode == 2 and "expected 4 for a model of midisimx-custom (start time, pitch, duration, chord), got 3" in text(few)
    first = write_model(tmp_path / "first.safetensors")
    many = run("embed", "-m", first, "-o", tmp_path / "y.npy", "--pooling", "weighted", "--pool-weights", "1,2,1,2", pieces)
    assert many.returncode == 2 and "expected 3" in text(many)
    for wrong in ("1,2", "1,2,3,4,5", "1,2,3,", "1,,2", "a,b,c"):
        done = run("embed", "-m", model, "-o", tmp_path / "z.npy", "--pooling", "weighted", "--pool-weights", wrong, pieces)
        assert done.returncode == 2 and "expected 3 or 4 numbers" in text(done)
    order = run("embed", "-m", first, "-o", tmp_path / "y.npy", "--token-order", "chord-first", pieces)
    assert order.returncode == 2 and "no model of midisimx" in text(order)


@pytest.mark.parametrize("options", [[], ["--token-order", "chord-first"], ["--no-clean"],
                                     ["--pooling", "weighted", "--pool-weights", "1,2,1,2"]])
def test_search_follows_the_corpus(model, pieces, tmp_path, options):
    """The piece itself comes first, with its score of 1, in its own key; contrary options are refused and both are said."""
    embed(model, tmp_path / "c.npy", pieces, "--precision", "f32", *options)
    ask = ["-m", model, "-c", tmp_path / "c.npy", "--precision", "f32", "--json", "-k", 1]
    done = run("search", *ask, pieces / "b.mid")
    best = lines(done)[0]["matches"][0]
    assert best["name"] == "b.mid" and best["transpose"] == 0 and best["score"] > 0.99999, text(done)
    contrary = {"--token-order": ["--token-order", "time-first"], "--no-clean": ["--clean"],
                "--pooling": ["--pool-weights", "1,1,1,1"]}.get(options[0] if options else "", ["--no-clean"])
    done = run("search", *ask, *contrary, pieces / "b.mid")
    assert done.returncode == 2 and ": expected the corpus's " in text(done) and text(done).count("\n") == 1, text(done)


def test_keys_are_thinned_each_for_itself(model, pieces, tmp_path):
    """A copy three semitones up, embedded as a piece of its own, is found by the variant of the query that equals it."""
    ids = lines(run("tokens", "--family", "midisimx", "--transpose", 6, pieces / "b.mid"))
    assert len({len(o["tokens"]) for o in ids}) > 1
    embed(model, tmp_path / "up.npy", pieces, "--precision", "f32", "--transpose", 3)
    rows = np.load(tmp_path / "up.npy")["midi_embeddings"].copy()
    np.save(tmp_path / "bare.npy", rows)
    for more in ([], ["--keys", "likely"]):
        done = run("search", "-m", model, "-c", tmp_path / "bare.npy", "--precision", "f32", "--json", "-k", 1, "--pooling", "mean",
                   *more, pieces / "b.mid")
        best = lines(done)[0]["matches"][0]
        assert best["transpose"] == 3 and best["score"] > 0.99999, text(done)


@pytest.mark.parametrize("pooled", [[], ["--pool-windows"]])
def test_windows(model, pieces, tmp_path, pooled):
    """Windows of a piece in another key are the same stretches of time, though their tokens are not as many."""
    embed(model, tmp_path / "w.npy", pieces, "--precision", "f32", "--windows", 32, *pooled)
    done = run("search", "-m", model, "-c", tmp_path / "w.npy", "--precision", "f32", "--json", "-k", 1, pieces / "b.mid")
    best = lines(done)[0]["matches"][0]
    assert best["name"] == "b.mid" and best["transpose"] == 0 and best["score"] > 0.99999, text(done)
    refused = run("embed", "-m", model, "-o", tmp_path / "v.npy", "--windows", 32, "--token-order", "chord-first", pieces)
    assert refused.returncode != 0 and "time-first" in text(refused)


def test_a_corpus_without_description(model, pieces, tmp_path):
    """The query is pooled as the published corpora are, and that is said."""
    embed(model, tmp_path / "c.npy", pieces, "--precision", "f32", "--pooling", "weighted", "--pool-weights", "1,2,1,2")
    (tmp_path / "c.npy.json").unlink()
    done = run("search", "-m", model, "-c", tmp_path / "c.npy", "--precision", "f32", "--json", "-k", 1, pieces / "b.mid")
    assert lines(done)[0]["matches"][0]["score"] > 0.99999 and text(done).count("1,2,1,2") == 1 and "so are the published" in text(done)
    other = run("search", "-m", model, "-c", tmp_path / "c.npy", "--token-order", "chord-first", "--json", pieces / "b.mid")
    assert "unlike the published corpora of midisimx, which are time-first, cleaned" in text(other)


def test_token_lines(model, pieces, tmp_path):
    """Lines of another family, or in another order, are refused."""
    for options, count in (([], 2), (["--token-order", "chord-first"], 0), (["--family", "midisim"], 0)):
        family = [] if "--family" in options else ["--family", "midisimx"]
        done = run("tokens", *family, *options, pieces / "a.mid", pieces / "b.mid")
        said = done.stdout.decode()
        if "--family" in options:
            said = said.replace('"transpose"', '"family":"midisim","transpose"')
        (tmp_path / "t.jsonl").write_text(said)
        done = run("embed", "-m", model, "-o", tmp_path / "t.npy", "--force", "--from-tokens", tmp_path / "t.jsonl")
        assert (f"{count} rows" in text(done) or count == 0), text(done)
        if count == 0:
            assert "as the model is opened, got" in text(done) and done.returncode != 0


def test_per_token(model, pieces, tmp_path):
    done = run("embed", "-m", model, "--per-token", tmp_path / "v", "--token-order", "chord-first", pieces)
    assert done.returncode == 0, text(done)
    assert json.loads((tmp_path / "v" / "per-token.json").read_text())["tokens"] == {"order": "chord-first", "clean": True}
    done = run("embed", "-m", model, "--per-token", tmp_path / "v", pieces)
    assert done.returncode == 2 and "other settings" in text(done)
