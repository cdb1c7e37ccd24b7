"""midisim_native.compat_x gives what midisimx gives: arguments, tokens, pooling, printed text."""
import inspect
import json

import golden_util as g
import midisim_native as mn
import midisim_native.compat_x as midisimx
import numpy as np
import pytest

# Name: arguments and what they default to, in the original; torch's types are left out.
SIGNATURES = {
    "midi_to_tokens": "(midi_file_path, max_seq_len=3072, transpose_factor=6, clean_midi=True, bar_time_ms=4096, "
                      "chunk_by_bars=False, emit_bar_token=False, emit_vels_tokens=False, emit_inst_tokens=False, "
                      "transpose_to_pitch=0, return_drum_track=False, drum_track_style='pop', drum_track_bpm=120, verbose=True, "
                      "*, token_order='time-first')",  # the last one is not the original's
    "get_embeddings_bf16": "(model, sequences, seq_len=3072, seq_pad_idx=719, batch_size=16, save_every_num_batches=-1, "
                           "save_file_path='saved_embeddings.npy', device=None, normalize=False, pooling='auto', "
                           "token_type_weights=None, concat_aggregated_embeddings=True, use_bfloat16=True, "
                           "return_dtype='float32', return_numpy=False, verbose=True, show_progress_bar=True)",
    "masked_weighted_mean_aggregated_pool": "(token_embs, valid_mask, token_ids=None, token_type_weights=None, dim=1, "
                                            "concat=True, verbose=False)",
    "pad_and_mask": "(sequences, pad_idx=719, seq_len=None, device=None, verbose=False)",
    "copy_corpus_files": "(sorted_idxs_sims_list, corpus_midis_dirs=('./Corpus MIDIs Dir/',), "
                         "main_output_dir='./Corpus Matches Dir/', sub_output_dir='', copy_original_midi=True, "
                         "original_midi_path='', verbose=True)",
}


def test_arguments_and_defaults():
    for name, expected in SIGNATURES.items():
        signature = inspect.signature(getattr(midisimx, name))
        bare = signature.replace(parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
                                 return_annotation=signature.empty)
        assert str(bare) == expected, name
    sizes = inspect.signature(midisimx.load_model).parameters
    assert [sizes[name].default for name in ("dim", "depth", "heads", "pad_idx")] == [768, 16, 12, 719]


def golden(name):
    return g.all_data().parent / "golden" / "midisimx" / name


OPTIONS = {"variants": {"max_seq_len": 600}, "variants_all": {"transpose_factor": 2, "max_seq_len": 600, "clean_midi": False},
           "max_100": {"transpose_factor": 0, "max_seq_len": 100},
           "to_pitch_60": {"transpose_factor": 0, "transpose_to_pitch": 60, "max_seq_len": 600},
           "bars": {"transpose_factor": 0, "chunk_by_bars": True},
           "bars_1000": {"transpose_factor": 0, "chunk_by_bars": True, "bar_time_ms": 1000},
           "bar_token": {"transpose_factor": 0, "emit_bar_token": True, "max_seq_len": 600},
           "bars_bar_token": {"transpose_factor": 0, "chunk_by_bars": True, "emit_bar_token": True}}


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_of_the_tokeniser(kind):
    for path, kinds in json.loads(golden("options.json").read_text()).items():
        found = midisimx.midi_to_tokens(str(g.all_data() / path), verbose=False, token_order="chord-first", **OPTIONS[kind])
        assert found == kinds[kind], path


def test_the_order_of_tokens(capsys):
    path = str(g.SHIPPED / "freedink/love.mid")
    time_first = midisimx.midi_to_tokens(path, 12, 0, verbose=False)[0]
    chord_first = midisimx.midi_to_tokens(path, 12, 0, verbose=False, token_order="chord-first")[0]
    assert time_first[0] == 0 and chord_first[0] >= 384 and time_first[:2] == chord_first[1::-1]
    bars = midisimx.midi_to_tokens(path, transpose_factor=0, chunk_by_bars=True, emit_bar_token=True, verbose=False)
    assert all(bar[0] < 128 and bar[1] == 717 for bar in bars) and len(bars) > 3
    with pytest.raises(mn.UnsupportedError, match="return_drum_track"):
        midisimx.midi_to_tokens(path, return_drum_track=True)
    with pytest.raises(mn.ArgumentError, match="token_order"):
        midisimx.midi_to_tokens(path, token_order="pitch-first")
    assert midisimx.midi_to_tokens("absent.mid") == [] and "absent.mid" in capsys.readouterr().out


IDS = np.array([[0, 384, 190, 270, 718, 3], [5, 400, 200, 300, 719, 719]])
VALID = np.array([[True] * 6, [True] * 4 + [False] * 2])


def test_pooling():
    values = np.arange(24, dtype=np.float32).reshape(2, 6, 2)

    def pooled(weights):
        return midisimx.masked_weighted_mean_pool(values, VALID, IDS, weights)

    def expected(*rows):
        w = np.array(rows, np.float32) * VALID
        return (values * w[..., None]).sum(1) / w.sum(1, keepdims=True)

    assert np.allclose(pooled({(128, 256): 2, (384, 718): 2}), expected([1, 2, 2, 1, 1, 1], [1, 2, 2, 1, 1, 1]))
    assert np.allclose(pooled((3, 2, 1)), expected([3, 1, 2, 1, 1, 3], [3, 1, 2, 1, 1, 1]))
    # A range of weight 1 overrides nothing.
    assert np.allclose(pooled({(0, 200): 4, (100, 195): 1, (190, 400): 2}), expected([4, 2, 2, 2, 1, 4], [4, 1, 2, 2, 1, 1]))
    assert np.allclose(pooled({}), midisimx.masked_mean_pool(values, VALID, verbose=False))
    stacked = midisimx.masked_weighted_mean_aggregated_pool(values, VALID, IDS, {(256, 384): 1, (0, 128): 2, (500, 600): 9},
                                                           concat=False)
    assert stacked.shape == (2, 3, 2) and stacked[0].tolist() == [[10, 12], [6, 7], [0, 0]]
    flat = midisimx.masked_weighted_mean_aggregated_pool(values, VALID, IDS, {(256, 384): 1, (0, 128): 2, (500, 600): 9})
    assert flat.tolist() == stacked.reshape(2, 6).tolist()
    with pytest.raises(TypeError):
        pooled("1,2")


def test_copies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "songs").mkdir()
    for name in ("a.mid", "b.mid"):
        (tmp_path / "songs" / name).write_bytes(name.encode())
    (tmp_path / "query.kar").write_bytes(b"query")
    matches = [[0, "b", -2, 91.123456789], [1, "absent", 0, 90.0], [2, "a", 0, 80.0]]
    assert midisimx.copy_corpus_files([matches[1]], ["songs"], original_midi_path="query.kar", verbose=False) == ""
    folder = midisimx.copy_corpus_files(matches, ["songs"], "out", original_midi_path="query.kar", verbose=False)
    assert folder == "out/query"
    assert sorted(p.name for p in (tmp_path / folder).iterdir()) == ["80.0_0_a.mid", "91.12345679_-2_b.mid", "query.mid"]
    # A query that cannot be copied stops nothing, and without a query there is no folder of its own.
    midisimx.copy_corpus_files(matches, ["songs"], "out2", original_midi_path="absent.mid", verbose=False)
    assert len(list((tmp_path / "out2/absent").iterdir())) == 2
    midisimx.copy_corpus_files(matches, ["songs"], "out3", verbose=False)
    assert len(list((tmp_path / "out3").iterdir())) == 2


def test_hashes_and_lists(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert midisimx.get_md5_hash(tmp_path / "f") == "900150983cd24fb0d6963f7d28e17f72"
    assert midisimx.get_sha256_hash(tmp_path / "f", 2, False).startswith("ba7816bf8f01cfea")
    names, sequences = ["a", "b", "c"], [[1, 2], [1], [3, 4]]
    midisimx.sort_aligned_lists(names, sequences)
    assert (names, sequences) == (["b", "a", "c"], [[1], [1, 2], [3, 4]])


def test_the_printed_text_is_the_original_s(capsys):
    """From the indexes and similarities that the original recorded."""
    z, listings = np.load(golden("queries.npz")), json.loads(golden("listings.json").read_text())
    corpus = next(iter(midisimx.get_package_embeddings()), None)
    if corpus is None:
        pytest.skip("no corpus of 17,209 songs: weights/fetch.sh midisimx-tiny")
    names, rows = midisimx.load_tiny_embeddings(verbose=False)
    assert rows.shape == (17209, 128)
    for n, query in enumerate(z["queries"]):
        for order in ("", "_time_first"):
            ranked = midisimx.idxs_sims_to_sorted_list(z[f"q{n}_idx{order}"], z[f"q{n}_sim{order}"])
            midisimx.print_sorted_idxs_sims_list(ranked, names)
            assert capsys.readouterr().out == listings[query + order]


@pytest.fixture(scope="module")
def tiny():
    if not midisimx.get_package_models():
        pytest.skip("no tiny model: weights/fetch.sh midisimx-tiny")
    return midisimx.load_tiny_model(device="cpu", verbose=False)[0]


def test_vectors(tiny):
    """Weights by class, any other ranges, and a mean for each range, of three short files."""
    z, tokens = np.load(golden("embeddings.npz")), np.load(golden("tokens.npz"))
    length = dict(zip(map(str, tokens["paths"]), np.diff(tokens["offsets"])))
    at = [i for i, path in enumerate(z["paths"]) if 60 < length[str(path)] < 200][:3]
    sequences = [midisimx.midi_to_tokens(str(g.all_data() / str(z["paths"][i])), 512, 0, verbose=False)[0] for i in at]

    def embed(**options):
        return midisimx.get_embeddings_bf16(tiny, sequences, return_numpy=True, verbose=False, show_progress_bar=False, **options)

    def off(rows, kind):
        a, b = rows.astype(float), z[kind][at].astype(float)
        return (1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).max()

    published = {(128, 256): 2, (384, 718): 2}
    weighted = embed(pooling="weighted_mean", token_type_weights=published)
    assert off(embed(), "f32") < 1e-3 and off(weighted, "f32_weighted_1_2_1_2") < 1e-3 < off(embed(), "f32_weighted_1_2_1_2")
    # The same weights as ranges that the library has no classes for.
    other = embed(pooling="weighted_mean", token_type_weights={(128, 200): 2, (200, 256): 2, (384, 717): 2, (718, 719): 5})
    assert np.abs(other - weighted).max() < 1e-5
    each = embed(pooling="weighted_mean_aggregated", token_type_weights=published, concat_aggregated_embeddings=False)
    assert each.shape == (3, 2, 128)
    assert np.array_equal(embed(pooling="weighted_mean_aggregated", token_type_weights=published), each.reshape(3, 256))
    with pytest.raises(ValueError, match="pooling"):
        embed(pooling="max")
