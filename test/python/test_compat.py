"""midisim_native.compat gives what the original gives: names, arguments, tokens, vectors, rankings, printed text."""
import inspect
import json
import re

import golden_util as g
import midisim_native as mn
import midisim_native.compat as midisim
import numpy as np
import pytest

HERE = g.HERE
# Name: arguments and what they default to, in the original. torch's types are left out here; None stands for them.
SIGNATURES = {
    "midi_to_tokens": "(midi_file_path, max_seq_len=3072, transpose_factor=6, verbose=True)",
    "masked_mean_pool": "(token_embeddings, mask, dim=1, eps=1e-09, verbose=True)",
    "masked_weighted_mean_pool":
        "(token_embs, valid_mask, token_ids=None, token_type_weights=None, dim=1, verbose=False)",
    "pad_and_mask": "(sequences, pad_idx=385, seq_len=None, device=None, verbose=False)",
    "idxs_sims_to_sorted_list": "(idxs, sims, sims_mult=100, remove_dupes=True)",
    "print_sorted_idxs_sims_list": "(sorted_idxs_sims_list, corpus_midi_names, return_as_list=False)",
    "normalize_midi_file": "(midi_file, output_dir='', output_file_name='')",
    "get_normalized_midi_md5_hash": "(midi_file)",
}


def test_arguments_and_defaults():
    for name, expected in SIGNATURES.items():
        signature = inspect.signature(getattr(midisim, name))
        bare = signature.replace(parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
                                 return_annotation=signature.empty)
        assert str(bare) == expected, name


def test_arguments_are_those_that_the_page_lists():
    """docs/FROM-MIDISIM.md is compared with the original's own signatures elsewhere."""
    page = (g.ROOT / "docs/FROM-MIDISIM.md").read_text()
    seen = 0
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        name = section.split("\n", 1)[0].strip()
        listed = re.findall(r"^\| `(\w+)` \| \S", re.split(r"^# ", section, flags=re.M)[0], flags=re.M)
        if hasattr(midisim, name) and name not in ("get_corpus_midis",):
            assert list(inspect.signature(getattr(midisim, name)).parameters) == listed, name
            seen += 1
    assert seen >= 18


@pytest.fixture(scope="module")
def tokens():
    z = np.load(HERE / "shipped_tokens.npz")
    at, ids = z["offsets"], z["tokens"].astype(int)
    return {str(path): ids[at[i]:at[i + 1]].tolist() for i, path in enumerate(z["paths"])}


def test_tokens_are_the_original_s(tokens, capsys):
    for path, expected in list(tokens.items())[::4]:
        found = midisim.midi_to_tokens(str(g.SHIPPED / path), max_seq_len=10**9, transpose_factor=0, verbose=False)
        assert (found[0] if found else []) == expected, path
    path = str(g.SHIPPED / "freedink/love.mid")
    assert "not MIDI" in capsys.readouterr().out
    assert len(midisim.midi_to_tokens(path, verbose=False)) == 12
    assert midisim.midi_to_tokens(path, 100, 99, False)[6] == midisim.midi_to_tokens(path, -1, 0, False)[0][:100]
    assert capsys.readouterr().out == ""
    assert midisim.midi_to_tokens("absent.mid") == [] and "absent.mid" in capsys.readouterr().out


@pytest.fixture(scope="module")
def model():
    if not g.WEIGHTS.exists():
        g.absent("no weights: weights/fetch.sh")
    return midisim.load_model(str(g.WEIGHTS), device="cpu", verbose=False)[0]


def test_vectors_are_the_original_s(model, tokens):
    z = np.load(HERE / "shipped_embeddings.npz")
    paths = [str(path) for path in z["paths"]]
    chosen = [i for i, path in enumerate(paths) if len(tokens[path]) < 500][:12]
    found = midisim.get_embeddings_bf16(model, [tokens[paths[i]] for i in chosen], batch_size=5, return_numpy=True, verbose=False,
                                        show_progress_bar=False)
    assert found.dtype == np.float32
    assert off(found, z["f32"][chosen]) <= 2 * off(z["bf16"][chosen], z["f32"][chosen]) + 1e-5
    weighted = midisim.get_embeddings_bf16(model, [tokens[paths[i]] for i in chosen], pooling="weighted_mean",
                                           token_type_weights=(1.0, 1.0, 2.0), return_dtype="float16", normalize=True,
                                           return_numpy=True, verbose=False, show_progress_bar=False)
    assert weighted.dtype == np.float16 and off(weighted, z["f32_weighted_1_1_2"][chosen]) < 2e-4
    assert off(weighted, z["f32"][chosen]) > 1e-4  # the weights count
    assert midisim.get_embeddings_bf16(model, [], return_numpy=True, verbose=False, show_progress_bar=False).shape == (0, 0)
    with pytest.raises(ValueError, match="pooling"):
        midisim.get_embeddings_bf16(model, [[0]], pooling="max")


def off(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).max()


def test_the_printed_text_is_the_original_s(capsys):
    recorded = json.loads((HERE / "listings.json").read_text())
    for query in recorded["queries"]:
        idxs, sims = np.array(query["rows"]).reshape(12, 16), np.array(query["sims"], np.float32).reshape(12, 16)
        ranked = midisim.idxs_sims_to_sorted_list(idxs, sims)
        midisim.print_sorted_idxs_sims_list(ranked, recorded["names"])
        assert capsys.readouterr().out == query["listing"]
        listed = midisim.print_sorted_idxs_sims_list(ranked, np.array(recorded["names"], object), return_as_list=True)
        assert listed[0] == [0, recorded["names"][ranked[0][0]], *ranked[0][1:]]
        assert len(midisim.idxs_sims_to_sorted_list(idxs, sims, remove_dupes=False)) == 192


def test_rankings_are_the_original_s():
    folder = g.ROOT.parent / "shared" / "golden"
    if not (folder / "queries.npz").exists():
        pytest.skip("the recordings of the whole collection are not here")
    queries, rows = np.load(folder / "queries.npz"), np.load(folder / "embeddings.npz")["f32"]
    for n in range(len(queries["queries"])):
        idxs, sims = midisim.cosine_similarity_topk(queries[f"q{n}_f32"], rows, verbose=False)
        assert idxs.dtype == np.int64 and sims.dtype == np.float32 and idxs.shape == (12, 16)
        assert np.abs(sims - queries[f"q{n}_sim"]).max() < 1e-6
        theirs = queries[f"q{n}_idx"]
        unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        exact = queries[f"q{n}_f32"] @ unit.T / np.linalg.norm(queries[f"q{n}_f32"], axis=1, keepdims=True)
        # What is equal to rounding may be in another order.
        gap = np.abs(np.take_along_axis(exact, idxs, 1) - np.take_along_axis(exact, theirs, 1))
        assert gap.max() < 1e-6


def test_fewer_rows_than_asked_and_wrong_shapes():
    idxs, sims = midisim.cosine_similarity_topk(np.ones((1, 4), np.float32), np.eye(2, 4, dtype=np.float32), topk=3, verbose=False)
    assert idxs.tolist() == [[0, 1, -1]] and sims[0, 2] == -np.inf and sims[0, 0] == np.float32(0.5)
    dots = midisim.cosine_similarity_topk(2 * np.ones((1, 4), np.float32), np.eye(2, 4, dtype=np.float32), topk=1,
                                          normalize_inputs=False, return_dtype="float16", verbose=False)[1]
    assert dots.dtype == np.float16 and dots[0, 0] == 2
    with pytest.raises(ValueError):
        midisim.cosine_similarity_topk(np.ones(4), np.ones((2, 4)))
    with pytest.raises(ValueError):
        midisim.cosine_similarity_topk(np.ones((1, 3)), np.ones((2, 4)))


def test_files_come_back(tmp_path):
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    path = str(tmp_path / "saved.npy")
    assert midisim.save_embeddings(["a", "ü\n"], rows, output_file_name=path, verbose=False) is None
    assert np.load(path, allow_pickle=True)["midi_names"].tolist() == ["a", "ü\n"]
    names, vectors = midisim.load_embeddings(path, verbose=False)
    assert names.tolist() == ["a", "ü\n"] and vectors.tobytes() == rows.tobytes()
    merged = midisim.save_embeddings(["a", "b"], rows.astype(np.float16), "n", "v", return_merged_array=True, verbose=False)
    assert merged.dtype == np.dtype([("n", object), ("v", np.float16, (4,))])
    with pytest.raises(ValueError, match="no field of name v"):
        midisim.load_embeddings(path, midi_embeddings_key="v")
    with pytest.raises(FileNotFoundError):
        midisim.load_embeddings(str(tmp_path / "absent.npy"))


def test_pooling_and_padding():
    ids, mask = midisim.pad_and_mask([[1, 130, 260], [5]], seq_len=2)
    assert ids.tolist() == [[1, 130], [5, 385]] and mask.tolist() == [[True, True], [True, False]]
    values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert midisim.masked_mean_pool(values, mask, verbose=False).tolist() == [[1, 2], [4, 5]]
    assert midisim.masked_weighted_mean_pool(values, mask, ids, (1.0, 3.0, 1.0)).tolist() == [[1.5, 2.5], [4, 5]]
    assert midisim.masked_weighted_mean_pool(values, mask).tolist() == [[1, 2], [4, 5]]


def test_both_examples_of_the_original(model, tmp_path, monkeypatch, capsys):
    """Its README's two programs, with the import line changed: a corpus of a folder, then a search and copies."""
    import os
    import shutil
    monkeypatch.chdir(tmp_path)
    os.makedirs("Corpus MIDIs Dir")
    for name in ("freedink/love.mid", "freedoom/d_intro.mid", "js-fakes/midi/99.mid"):
        shutil.copy(g.SHIPPED / name, "Corpus MIDIs Dir")
    names, tokens = [], []
    for path in sorted(midisim.TMIDIX.create_files_list(["./Corpus MIDIs Dir/"])):
        names.append(os.path.splitext(os.path.basename(path))[0])
        tokens.append(midisim.midi_to_tokens(path, transpose_factor=0, verbose=False)[0][:200])
    midisim.save_embeddings(names, midisim.get_embeddings_bf16(model, tokens, verbose=False), verbose=False)

    corpus_names, corpus = midisim.load_embeddings("saved_midi_embeddings.npy")
    sequences = [s[:200] for s in midisim.midi_to_tokens("Corpus MIDIs Dir/love.mid")]
    idxs, sims = midisim.cosine_similarity_topk(midisim.get_embeddings_bf16(model, sequences), corpus)
    ranked = midisim.idxs_sims_to_sorted_list(idxs, sims)
    ranked = [match for match in ranked if match[0] >= 0]
    matches = midisim.print_sorted_idxs_sims_list(ranked, corpus_names, return_as_list=True)
    assert matches[0][1] == "love" and matches[0][2] == 0 and matches[0][3] == pytest.approx(100, abs=1e-4)
    folder = midisim.copy_corpus_files(matches)
    copies = os.listdir(folder)
    assert len(copies) == 4 and "Corpus MIDI Name.mid" in copies


def test_canonical_form(tmp_path):
    for line in (HERE / "normalized_md5.txt").read_text().splitlines()[1:40:8]:
        original, normalized, path = line.split(" ", 2)
        found = midisim.get_normalized_midi_md5_hash(str(g.SHIPPED / path))
        assert (found["original_md5"], found["normalized_md5"]) == (original, normalized), path
        assert found["midi_name"] == (g.SHIPPED / path).stem
    out = midisim.normalize_midi_file(str(g.SHIPPED / path), str(tmp_path))
    assert midisim.get_normalized_midi_md5_hash(out)["original_md5"] == found["normalized_md5"]
    assert midisim.normalize_midi_file(out, str(tmp_path)).endswith("_normalized.mid")


def test_a_download_without_huggingface_hub(tmp_path, monkeypatch):
    import hashlib
    import http.server
    import sys
    import threading

    place = "/projectlosangeles/midisim/resolve/main/"
    right = hashlib.sha256(b"weights").hexdigest()
    blob = hashlib.sha1(b"blob 7\0weights").hexdigest()
    answers = {"m.pth": {}, "git.pth": {"ETag": f'"{blob}"'}, "badgit.pth": {"ETag": f'"{blob[::-1]}"'}, "bytes": {},
               "large.pth": {"Location": "/bytes", "X-Linked-Etag": f'"{right}"'},
               "badlarge.pth": {"Location": "/bytes", "X-Linked-Etag": f'"{right[::-1]}"'}}

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            headers = answers.get(self.path.removeprefix(place).removeprefix("/"))
            body = b"weights" if headers is not None else b""
            self.send_response(404 if headers is None else 302 if "Location" in headers else 200)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        path = midisim.download_model(filename="m.pth", local_dir=str(tmp_path / "models"), verbose=False)
        with open(path, "rb") as file:
            assert file.read() == b"weights"
        with pytest.raises(OSError):
            midisim.download_model(filename="absent.pth", local_dir=str(tmp_path / "models"))
        with pytest.raises(ValueError, match="outside"):
            midisim.download_model(filename="../m.pth", local_dir=str(tmp_path / "models"))
        for name in ("git.pth", "large.pth"):
            midisim.download_model(filename=name, local_dir=str(tmp_path / "models"), verbose=False)
            with pytest.raises(OSError, match="expected a file with the hash"):
                midisim.download_model(filename="bad" + name, local_dir=str(tmp_path / "models"))
        server.shutdown()
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["git.pth", "large.pth", "m.pth"]


def test_models_of_other_sizes_are_refused(model_path):
    with pytest.raises(RuntimeError, match="expected dim"):
        midisim.load_model(str(model_path), device="cpu")
    model, context, _ = midisim.load_model(str(model_path), 32, 1, 1, device="cuda", verbose=False)
    with context:
        assert isinstance(model.eval().to("cpu"), mn.Model)
