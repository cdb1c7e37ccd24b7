"""The demonstration, and README's account of it: run once, compared with what README shows."""
import pathlib
import re

import golden_util as g
import pytest

README = (g.ROOT / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\s*(\d+)\s+([\d.]+)\s*%\s+([+-]?\d+)\s+(\S.*?)\s*$", re.M)


def rows(text):
    """(rank, percent, transposition, name) of each line of a printed table."""
    return [(int(r), float(p), int(t), n) for r, p, t, n in ROW.findall(text)]


@pytest.fixture(scope="module")
def output():
    g.weights()
    return g.run([g.ROOT / "demo/run.sh", g.BUILD.relative_to(g.ROOT)]).stdout.decode()


def test_size_of_the_folder():
    """At least 40 files of at least 6 origins, median of at least 400 tokens, 2 to 4 TFLOP with the query's variants."""
    names = [n for n in (g.ROOT / "demo/files.txt").read_text().splitlines() if not n.startswith("#")]
    golden = g.golden_tokens()
    lengths = sorted(min(len(golden[n]), 3072) for n in names)
    assert len(names) >= 40 and len({n.split("/")[0] for n in names}) >= 6
    assert len({pathlib.Path(n).name for n in names}) == len(names)
    assert lengths[len(lengths) // 2] >= 400

    def flop(n):
        return 8 * (6291456 * n + 2048 * n * n)
    work = sum(map(flop, lengths)) + 12 * flop(len(golden["freedink/love.mid"]))
    assert 2e12 <= work <= 4e12


def test_the_altered_copy_is_second(output):
    table = rows(output)
    assert [r for r, *_ in table] == list(range(1, 9))
    assert table[0][1:] == (100.0, 0, "freedink/love.mid")
    assert table[1][3] == "altered/love, third up.mid" and table[1][2] == 3
    assert table[1][1] > table[2][1] + 10


def test_the_altered_copy_is_what_its_script_makes(tmp_path):
    made = tmp_path / "made.mid"
    g.run(["python3", g.ROOT / "demo/make_variation.py", g.SHIPPED / "freedink/love.mid", made])
    assert made.read_bytes() == (g.ROOT / "demo/midi/love, third up.mid").read_bytes()


def test_readme_shows_this_output(output):
    """Same names in the same order and transpositions; scores to 0.1 of a percent (levels round differently)."""
    shown, real = rows(README), rows(output)
    assert [(r, t, n) for r, _, t, n in shown] == [(r, t, n) for r, _, t, n in real]
    assert all(abs(a[1] - b[1]) <= 0.1 for a, b in zip(shown, real))
    for line in output.splitlines():
        if line.startswith("$ "):
            assert line in README, line


def test_the_phrase_is_found_with_its_bars(output):
    """README shows this line; only E may move when the rules of significance do."""
    found = output.splitlines()[-1]
    assert "english1.mid" in found and " bars 1-3 " in found and "part of" in found

    def without_e(text):
        return re.sub(r"\d\.\de[+-]\d\d", "E", text)
    assert without_e(found) in without_e(README)
