"""Tokens identical to the original's: every shipped file, and every file of MIDISIM_TEST_DATA where that is."""
import os

import golden_util as g
import pytest

LISTED = (".mid", ".midi", ".kar")


def by_path(objects):
    got = {o["path"]: o.get("tokens") for o in objects}
    assert len(got) == len(objects)
    assert all(("error" in o) != ("tokens" in o) for o in objects)
    return got


def walk(root):
    return sorted(os.path.relpath(os.path.join(d, f), root) for d, _, files in os.walk(root) for f in files
                  if os.path.splitext(f)[1].lower() in LISTED)


@pytest.mark.parametrize("everything", [False, True], ids=["shipped", "all"])
def test_named_files(everything):
    root = g.all_data() if everything else g.SHIPPED
    golden = g.golden_tokens(everything)
    got = by_path(g.tokens(["--", *golden], root))
    assert set(got) == set(golden)
    assert not g.complaints_tokens(got, golden)
    assert sum(t is not None for t in got.values()) == (350 if everything else 152)
    assert sum(t is None for t in got.values()) == 25


@pytest.mark.parametrize("everything", [False, True], ids=["shipped", "all"])
def test_folder(everything):
    root = g.all_data() if everything else g.SHIPPED
    golden = g.golden_tokens(everything)
    got = by_path(g.tokens([str(root)], g.ROOT))
    assert sorted(got) == walk(root)
    assert not g.complaints_tokens(got, golden)
    if everything:
        assert (len(got), sum(t is not None for t in got.values())) == (370, 350)


def test_cut():
    golden = g.golden_tokens()
    name = "freedink/love.mid"
    done = g.run([g.tool("tokens"), "--max-tokens", "100", name], cwd=g.SHIPPED)
    assert g.json.loads(done.stdout)["tokens"] == golden[name][:100].tolist()
