"""Vectors from the real weights against the original's: 24 fixed files at every fast level, 6 short ones at ref."""
import golden_util as g
import pytest

GOLDEN = g.golden_vectors()


def check(ours, precision, golden):
    if precision == "f32":
        return g.complaints_f32(ours, golden["f32"])
    return g.complaints_bf16(ours, golden["f32"], golden["bf16"])


@pytest.mark.parametrize("level,precision", g.FAST_KINDS)
def test_fixed_files(level, precision, tmp_path):
    g.weights()
    g.need_level(level)
    assert not check(g.embed(tmp_path / "c.npy", g.FIXED, isa=level, precision=precision), precision, GOLDEN)


@pytest.mark.parametrize("level", g.FAST_LEVELS)
def test_int8(level, tmp_path):
    g.weights()
    g.need_level(level, "int8")
    ours = g.embed(tmp_path / "c.npy", g.FIXED, isa=level, precision="int8")
    assert not g.complaints_int8(ours, GOLDEN["f32"])


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_ref(precision, tmp_path):
    assert not check(g.embed(tmp_path / "c.npy", g.SHORT, isa="ref", precision=precision), precision, GOLDEN)


def test_weighted(tmp_path):
    ours = g.embed(tmp_path / "c.npy", g.SHORT + g.MIDDLE, options=["--pooling", "weighted", "--pool-weights", "1,1,2"])
    assert not g.complaints_f32(ours, GOLDEN["f32_weighted_1_1_2"])


@pytest.mark.parametrize("level,precision", g.FAST_KINDS)
def test_company_and_threads_change_nothing(level, precision, tmp_path):
    g.weights()
    g.need_level(level)
    some = g.SHORT + g.MIDDLE[:8]
    kind = dict(isa=level, precision=precision)
    one = g.embed(tmp_path / "1.npy", some, options=["--threads", "1"], **kind)
    for threads in ("2", "3"):
        many = g.embed(tmp_path / f"{threads}.npy", some, options=["--threads", threads], **kind)
        assert (tmp_path / f"{threads}.npy").read_bytes() == (tmp_path / "1.npy").read_bytes()
    for name in (g.SHORT[0], g.SHORT[5], g.MIDDLE[6]):
        alone = g.embed(tmp_path / "alone.npy", [name], options=["--threads", "2"], **kind)
        assert alone[name].tobytes() == one[name].tobytes() == many[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("level,precision", g.own_only(g.FAST_KINDS))
def test_all_files(level, precision, tmp_path):
    g.weights()
    g.need_level(level)
    root = g.all_data()
    golden = g.golden_vectors(everything=True)
    ours = g.embed(tmp_path / "c.npy", golden["f32"], root=root, isa=level, precision=precision)
    assert len(ours) == 350
    assert not check(ours, precision, golden)
