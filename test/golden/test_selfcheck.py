"""The comparisons complain about what they are for: a suite that cannot fail proves nothing. Needs no weights."""
import golden_util as g
import numpy as np

VECTORS = g.golden_vectors()
NAME = g.FIXED[3]


def rows(kind):
    return {n: VECTORS[kind][n].copy() for n in g.FIXED}


def test_equal_rows_pass():
    assert not g.complaints_f32(rows("f32"), VECTORS["f32"])
    assert not g.complaints_bf16(rows("bf16"), VECTORS["f32"], VECTORS["bf16"])


def test_a_perturbed_golden_fails():
    ours = rows("f32")
    ours[NAME][100] += 3e-5
    assert g.complaints_f32(ours, VECTORS["f32"])
    ours = rows("bf16")
    ours[NAME] = ours[NAME] + np.float32(0.05) * np.sign(np.sin(np.arange(512))).astype(np.float32)
    assert g.complaints_bf16(ours, VECTORS["f32"], VECTORS["bf16"])


def test_a_planted_nan_fails():
    for kind in ("f32", "bf16"):
        ours = rows(kind)
        ours[NAME][5] = np.nan
        assert g.complaints_f32(ours, VECTORS["f32"])
        assert g.complaints_bf16(ours, VECTORS["f32"], VECTORS["bf16"])


def test_a_general_loss_of_precision_fails():
    """Each file within its own bound, but the median not: every distance is 1.9 times the original's own."""
    ours = {n: VECTORS["f32"][n] + np.sqrt(1.9) * (VECTORS["bf16"][n] - VECTORS["f32"][n]) for n in g.FIXED}
    assert g.complaints_bf16(ours, VECTORS["f32"], VECTORS["bf16"])


def test_other_tokens_fail():
    golden = g.golden_tokens()
    name = "freedink/love.mid"
    empty = next(n for n, ids in golden.items() if not len(ids))
    changed = golden[name].copy()
    changed[7] ^= 1
    assert not g.complaints_tokens({name: golden[name].tolist(), empty: None}, golden)
    for bad in ({name: changed}, {name: golden[name][:-1]}, {name: None}, {empty: [1]}):
        assert g.complaints_tokens(bad, golden)


def test_another_order_fails():
    query = "freedink/love.mid"
    names = list(g.FIXED)
    table = np.stack([VECTORS["f32"][n] for n in names])
    queries = np.stack([VECTORS["f32"][query]] * 12)
    unit = table.astype(np.float64) / np.linalg.norm(table.astype(np.float64), axis=1, keepdims=True)
    scores = unit @ unit[names.index(query)]
    order = np.argsort(-scores)[:16]
    good = [{"rank": r + 1, "name": names[i], "score": scores[i], "transpose": 0} for r, i in enumerate(order)]
    assert not g.complaints_ranking(good, names, queries, table)
    swapped = [dict(m) for m in good]
    for key in ("name", "score"):
        swapped[2][key], swapped[3][key] = swapped[3][key], swapped[2][key]
    assert g.complaints_ranking(swapped, names, queries, table)
    assert g.complaints_ranking(good[:-1], names, queries, table)


def test_another_top10_fails():
    """Rows 0.003 apart: an exchange, a row from below and a missing one are found; rows 0.001 apart may change places."""
    names = [f"{i}.mid" for i in range(14)]
    matches = [{"name": n} for n in names[:10]]
    swapped = [matches[i] for i in (0, 1, 3, 2, 4, 5, 6, 7, 8, 9)]
    intruder = matches[:9] + [{"name": names[10]}]
    for gap in (0.003, 0.001):
        cosines = 0.9 - gap * np.arange(14)
        rows = np.stack([cosines, np.sqrt(1 - cosines ** 2)], axis=1)
        queries = np.array([[1.0, 0.0]] * 12)
        assert not g.complaints_top10_int8(matches, names, queries, rows)
        assert bool(g.complaints_top10_int8(swapped, names, queries, rows)) == (gap > 0.002)
        assert bool(g.complaints_top10_int8(intruder, names, queries, rows)) == (gap > 0.002)
        assert g.complaints_top10_int8(matches[:9], names, queries, rows)
        assert g.complaints_top10_int8(matches[:9] + matches[:1], names, queries, rows)
