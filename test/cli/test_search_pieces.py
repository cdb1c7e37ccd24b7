"""Corpora whose pieces have several rows: what midisim-search prints and copies, and what midisim-convert keeps."""
import base64
import json
import struct

import numpy as np
import pytest
from cli_util import lines, run, text
from search_util import named

DIM = 16
PIECES = {"a.mid": 3, "b.mid": 1, "c.mid": 6, "d.mid": 2}  # rows of each


def span(window):
    return window, window * 32, window * 32 + 64, window * 10_000, window * 10_000 + 15_250, 0


def description(rows, windows, **more):
    spans = b"".join(struct.pack("<6I", *span(w)) for w in windows)
    return {"tool": "midisim-embed", "version": "1",
            "model": {"sha256": "1" * 64, "family": "midisim-custom", "dim": DIM, "depth": 1, "heads": 1, "vocab": 386},
            "pooling": "mean", "pool_weights": None, "precision": "bf16", "level": "avx2", "device": "cpu", "max_tokens": 0,
            "normalized": False, "dtype": "f32", "names": "path", "transpose": 0, "rows": rows, "files": len(PIECES),
            "complete": True, "windows": {"tokens": 64, "step": 32}, **more, "spans": base64.b64encode(spans).decode(),
            "sources": base64.b64encode(bytes(range(1, 33)) * rows).decode()}


def write(folder, name, pieces, **more):
    """A corpus of these pieces: row i of piece p is a vector of its own, the same in every corpus."""
    names = [p for p in pieces for _ in range(PIECES[p])]
    windows = [w for p in pieces for w in range(PIECES[p])]
    rows = np.stack([np.random.default_rng([list(PIECES).index(p), w]).standard_normal(DIM)
                     for p, w in zip(names, windows)]).astype("f4")
    named(folder / name, names, rows, "<U5")
    (folder / f"{name}.json").write_text(json.dumps(description(len(rows), windows, **more)))
    return rows


def search(folder, *arguments, form="json"):
    return run("search", "-c", "c.npy", "--format", form, *arguments, cwd=folder)


@pytest.fixture
def corpus(tmp_path):
    rows = write(tmp_path, "c.npy", PIECES)
    (tmp_path / "midi").mkdir()
    for name in PIECES:
        (tmp_path / "midi" / name).write_bytes(name.encode())
    np.save(tmp_path / "q.npy", rows[5:6])  # a window of c.mid
    return tmp_path


def test_pieces_are_found_once(corpus):
    found = lines(search(corpus, "--query-vectors", "q.npy"))[0]["matches"]
    assert [m["name"] for m in found][0] == "c.mid" and sorted(m["name"] for m in found) == sorted(PIECES)
    best = found[0]
    assert (best["row"], best["from_token"], best["to_token"]) == (5, 32, 96)
    assert (best["from_seconds"], best["to_seconds"]) == (10.0, 25.25) and "bar" not in best
    assert len(lines(search(corpus, "--query-vectors", "q.npy", "-k", "2"))[0]["matches"]) == 2


def test_table_and_tsv(corpus):
    table = search(corpus, "--query-vectors", "q.npy", form="table").stdout.decode()
    assert "where  name (4 pieces, 12 rows, best of 1 variant)" in table and " 0:10-0:26  c.mid" in table
    head, first = search(corpus, "--query-vectors", "q.npy", form="tsv").stdout.decode().splitlines()[:2]
    assert head.split("\t")[6:] == ["from_token", "to_token", "from_seconds", "to_seconds", "query_from_seconds",
                                    "query_to_seconds", "bar", "to_bar", "query_bar", "query_to_bar"]
    assert first.split("\t")[4:] == ["5", "c.mid", "32", "96", "10.000", "25.250", "-1.000", "-1.000"] + ["0:0.00"] * 4
    listing = search(corpus, "--query-vectors", "q.npy", form="midisim").stdout.decode()
    assert all(listing.count(name) == 1 for name in PIECES)


def test_without_spans_nothing_is_said_of_them(corpus):
    (corpus / "c.npy.json").unlink()
    found = lines(search(corpus, "--query-vectors", "q.npy"))[0]["matches"]
    assert len(found) == 12 and "from_token" not in found[0]
    head = search(corpus, "--query-vectors", "q.npy", form="tsv").stdout.decode().splitlines()[0]
    assert head == "query\trank\tscore\ttranspose\trow\tname"


def test_a_piece_is_copied_once(corpus):
    done = search(corpus, "--like", "c.mid", "--copy-to", "out", "--midi-root", "midi", "--no-original")
    assert done.returncode == 0 and "several rows" not in text(done)
    assert sorted(p.read_bytes().decode() for p in (corpus / "out").rglob("*.mid")) == sorted(PIECES)
    found = lines(search(corpus, "--like", "c.mid", "--exclude-self"))[0]["matches"]
    assert sorted(m["name"] for m in found) == ["a.mid", "b.mid", "d.mid"]


def test_spans_of_another_corpus_are_refused(corpus):
    about = json.loads((corpus / "c.npy.json").read_text())
    about["spans"] = about["spans"][32:]
    (corpus / "c.npy.json").write_text(json.dumps(about))
    done = search(corpus, "--query-vectors", "q.npy")
    assert done.returncode != 0 and "spans are not those of 12 rows" in text(done)


def test_shards_become_one_corpus(corpus):
    write(corpus, "s1.npy", ["b.mid", "c.mid"], shard={"index": 1, "of": 2})
    write(corpus, "s2.npy", ["a.mid", "d.mid"], shard={"index": 2, "of": 2})
    for name in ("s1.npy", "s2.npy"):
        about = json.loads((corpus / f"{name}.json").read_text())
        (corpus / f"{name}.json").write_text(json.dumps(about | {"files": 2}))
    done = run("convert", "--merge", "s2.npy", "s1.npy", "-o", "m.npy", cwd=corpus)
    assert done.returncode == 0 and "name of the row before" not in text(done), text(done)
    assert (corpus / "m.npy").read_bytes() == (corpus / "c.npy").read_bytes()
    whole, merged = (json.loads((corpus / f"{n}.npy.json").read_text()) for n in "cm")
    assert len(merged.pop("fingerprint")) == 32  # the made descriptions have none
    assert merged == whole | {"tool": "midisim-convert", "version": merged["version"]}
    # Other windows are another setting; without an order rows keep their spans.
    about = json.loads((corpus / "s1.npy.json").read_text())
    (corpus / "s1.npy.json").write_text(json.dumps(about | {"windows": {"tokens": 64, "step": 16}}))
    done = run("convert", "--merge", "s2.npy", "s1.npy", "-o", "n.npy", cwd=corpus)
    assert done.returncode == 2 and "window step: expected 32, got 16" in text(done)
    assert run("convert", "--form", "fbin", "c.npy", "c.fbin", cwd=corpus).returncode == 0
    assert json.loads((corpus / "c.fbin.json").read_text())["spans"] == whole["spans"]
    found = lines(run("search", "-c", "c.fbin", "--query-vectors", "q.npy", "--json", cwd=corpus))[0]["matches"]
    assert len(found) == 4 and found[0]["from_token"] == 32
