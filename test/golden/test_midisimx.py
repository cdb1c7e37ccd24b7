"""midisimx: tokens identical to the original's, in both orders, with cleaning and without.

Of shipped files the hashes of their tokens are here (midisimx_tokens.txt); of all files of MIDISIM_TEST_DATA the tokens
themselves, where that is."""
import hashlib
import json

import golden_util as g
import numpy as np
import pytest

FAMILY = ["--family", "midisimx"]
KINDS = [pytest.param(order, clean, id=f"{order}-{'clean' if clean else 'all'}")
         for order in ("chord-first", "time-first") for clean in (True, False)]


def swapped(ids):
    """Time-first from chord-first, or back: the two tokens of each chord change places."""
    ids = np.array(ids, np.int64)
    at = np.flatnonzero(ids >= 384)
    at = at[at + 1 < len(ids)]
    ids[at], ids[at + 1] = ids[at + 1], ids[at].copy()
    return ids


def tokens(names, root, order, clean, *options):
    lines = g.tokens([*FAMILY, "--quiet", "--token-order", order, *([] if clean else ["--no-clean"]), *options, "--", *names], root)
    for line in lines:
        assert "error" in line or (line["family"], line["order"]) == ("midisimx", order)
    return lines


def golden(name):
    return g.all_data().parent / "golden" / "midisimx" / name


@pytest.mark.parametrize("order, clean", KINDS)
def test_shipped(order, clean):
    rows = [line.split("\t") for line in (g.HERE / "midisimx_tokens.txt").read_text().splitlines()[1:]]
    wanted = {row[0]: row[1:3] if clean else row[3:5] for row in rows}
    got = {line["path"]: line.get("tokens", []) for line in tokens(list(wanted), g.SHIPPED, order, clean)}
    assert len(got) == len(rows) == 177
    for path, ids in got.items():
        ids = np.array(ids) if order == "chord-first" else first_of_chord_back(ids)
        assert [str(len(ids)), hashlib.sha256(ids.astype("<u2").tobytes()).hexdigest()[:16]] == wanted[path], path


def first_of_chord_back(ids):
    """Chord-first from time-first."""
    ids = np.array(ids, np.int64)
    at = np.flatnonzero(ids >= 384)
    ids[at], ids[at - 1] = ids[at - 1], ids[at].copy()
    return ids


@pytest.mark.parametrize("order, clean", KINDS)
def test_all(order, clean):
    z = np.load(golden("tokens.npz"))
    ids, starts = (z["tokens"], z["offsets"]) if clean else (z["tokens_all"], z["offsets_all"])
    wanted = {str(p): ids[starts[i]:starts[i + 1]].astype(np.int64) for i, p in enumerate(z["paths"])}
    if order == "time-first":
        wanted = {p: swapped(t) for p, t in wanted.items()}
    got = {line["path"]: line.get("tokens") for line in tokens(list(wanted), g.all_data(), order, clean)}
    assert set(got) == set(wanted)
    assert not g.complaints_tokens(got, wanted)
    assert sum(t is not None for t in got.values()) == (349 if clean else 350)


@pytest.mark.parametrize("kind, clean, options", [
    ("variants", True, ["--transpose", "6", "--max-tokens", "600"]),
    ("variants_all", False, ["--transpose", "2", "--max-tokens", "600"]),
    ("max_100", True, ["--max-tokens", "100"]),
    ("to_pitch_60", True, ["--center-pitch", "60", "--max-tokens", "600"])])
def test_options(kind, clean, options):
    for path, kinds in json.loads(golden("options.json").read_text()).items():
        lines = tokens([path], g.all_data(), "chord-first", clean, *options)
        assert [line["tokens"] for line in lines] == kinds[kind]


def test_comparison_can_fail():
    """A chord token of another chord, and the other order, are seen."""
    name = "freedink/love.mid"
    ours = {line["path"]: line["tokens"] for line in tokens([name], g.SHIPPED, "chord-first", True)}
    assert not g.complaints_tokens(ours, {name: np.array(ours[name])})
    assert g.complaints_tokens(ours, {name: swapped(ours[name])})
    changed = np.array(ours[name])
    changed[0] += 1
    assert g.complaints_tokens(ours, {name: changed})


# ---- Vectors and searches, with the tiny model ----------------------------------------------------------------------


def weights():
    """The tiny model of the original; without it these tests are skipped, in CI too."""
    for ending in ("safetensors", "pth"):
        path = g.ROOT / "weights" / f"midisimx-tiny.{ending}"
        if path.exists():
            return path
    pytest.skip("no weights/midisimx-tiny.safetensors: run weights/fetch.sh midisimx-tiny")


def embed(names, out, *options):
    g.run([g.tool("embed"), "-m", weights(), "-o", out, "--force", "--quiet", "--max-tokens", "512", "--files-from", "-", *options],
          cwd=g.all_data(), stdin="".join(n + "\n" for n in names).encode())
    rows = np.load(out)
    return {str(n): np.array(v) for n, v in zip(rows["midi_names"], rows["midi_embeddings"])}


WEIGHTED = ["--pooling", "weighted", "--pool-weights", "1,2,1,2"]


@pytest.mark.parametrize("kind, options", [("f32", []), ("f32_weighted_1_2_1_2", WEIGHTED),
                                           ("f32_weighted_1_2_1_2_chord_first", [*WEIGHTED, "--token-order", "chord-first"])])
def test_f32(kind, options, tmp_path):
    weights()
    z = np.load(golden("embeddings.npz"))
    wanted = dict(zip(map(str, z["paths"][::24]), z[kind][::24]))
    ours = embed(list(wanted), tmp_path / "rows.npy", "--precision", "f32", *options)
    assert set(ours) == set(wanted) and not g.complaints_f32(ours, wanted)


def test_bf16(tmp_path):
    """Within the bounds of the specification, which are those of the original's own bf16."""
    weights()
    z = np.load(golden("embeddings.npz"))
    names = [str(p) for p in z["paths"][::24]]
    ours = embed(names, tmp_path / "rows.npy", "--precision", "bf16")
    f32, bf16 = (dict(zip(map(str, z["paths"]), z[kind])) for kind in ("f32", "bf16"))
    t = np.load(golden("tokens.npz"))
    tokens = dict(zip(map(str, t["paths"]), np.diff(t["offsets"])))
    mine = {n: g.distance(ours[n], f32[n]) for n in names}
    long = [n for n in names if tokens[n] >= 100]
    assert max(mine.values()) <= 1e-3 and max(mine[n] for n in long) <= 3e-4
    assert np.mean([mine[n] for n in long]) <= 1e-4
    assert np.median(list(mine.values())) <= 1.5 * np.median([g.distance(bf16[n], f32[n]) for n in names])


def lakh():
    for folder in (g.ROOT / "midisim-embeddings", g.ROOT / "weights"):
        for path in folder.glob("lakh_midi_dataset_17209*.npy"):
            return path
    pytest.skip("no corpus of 17,209 songs: run weights/fetch.sh midisimx-tiny")


def entries(listing):
    """[("name --- key", score)] of a listing, by rank."""
    found = [line.rpartition(" --- ") for line in listing.splitlines() if line.startswith("#")]
    return [(head.split(" ", 1)[1], float(score)) for head, _, score in found]


def complaints_listing(ours, theirs, slack=5e-5):
    """Scores by rank are equal but for the last digits, which the original sums in f32. Of rows whose scores are that close,
    as those of copies are, any may come first."""
    bad = [] if len(ours) == len(theirs) else [f"{len(ours)} lines, expected {len(theirs)}"]
    known = dict(theirs)
    for (head, score), (other, other_score) in zip(ours, theirs):
        if not (abs(score - other_score) < slack and abs(known.get(head, 0) - score) < slack):
            bad.append(f"{head} {score}, expected {other} {other_score}")
    return bad


@pytest.mark.parametrize("order", ["time-first", "chord-first"])
@pytest.mark.parametrize("query", ["js-fakes/jsf-extended/298.mid", "easyrpg-rtp/Music/Church.mid"])
def test_listing(query, order):
    """The listing that the original printed: names, keys, order and the first digits of the scores."""
    options = [] if order == "time-first" else ["--token-order", "chord-first", "--force"]
    done = g.run([g.tool("search"), "-m", weights(), "-c", lakh(), "--precision", "f32", "--max-tokens", "512", "-k", "16",
                  "--format", "midisim", *options, query], cwd=g.all_data())
    recorded = json.loads(golden("listings.json").read_text())
    mine, other = [recorded[query + end] for end in (("_time_first", "") if order == "time-first" else ("", "_time_first"))]
    text = done.stdout.decode()
    ours, theirs = entries(text), entries(mine)
    assert len(ours) > 70 and not complaints_listing(ours, theirs)
    assert [line for line in text.splitlines() if line[0] != "#"] == [line for line in mine.splitlines() if line[0] != "#"]
    assert complaints_listing(ours, entries(other))
    assert complaints_listing([("another", ours[0][1]), *ours[1:]], theirs)


def f32_scores(queries, rows):
    """Cosines as the original computes them: everything in f32, squares in eight sums, products one after the other in one."""
    def unit(x):
        sums = np.zeros((len(x), 8), np.float32)
        for at in range(0, x.shape[1], 8):
            sums += x[:, at:at + 8] * x[:, at:at + 8]
        return x / np.maximum(np.sqrt(np.add.accumulate(sums, 1)[:, -1:]), np.float32(1e-12))

    total = np.zeros(len(queries), np.float32)
    for a, b in zip(unit(queries).T.astype(np.float64), unit(rows).T.astype(np.float64)):
        total = (a * b + total).astype(np.float32)  # a fused product and sum: the product is exact in double
    return total


def test_scores_differ_by_the_original_s_own_rounding():
    """From the recorded vectors: the original's sums in f32 give its scores to the bit; ours, in double, are within 5e-7. So of
    the eight decimals of a listing, the last four are the original's rounding."""
    z = np.load(golden("queries.npz"))
    corpus = np.load(lakh(), allow_pickle=True)["midi_embeddings"]
    for n in range(len(z["queries"])):
        for order in ("", "_time_first"):
            at, theirs = z[f"q{n}_idx{order}"].ravel(), z[f"q{n}_sim{order}"].ravel()
            queries, rows = np.repeat(z[f"q{n}_f32{order}"], 16, 0), corpus[at]
            assert np.array_equal(f32_scores(queries, rows), theirs)
            exact = (g.unit(queries) * g.unit(rows)).sum(1)
            assert 1e-8 < np.abs(exact - theirs).max() < 5e-7
