"""midisim-search --find: pieces that share notes and pieces that are alike, in two lists that are never mixed; where the
note index is found; the front command with a file instead of a command."""
import os
import shutil
import subprocess

import pytest
from cli_util import BUILD, DRUMS, ENV, lines, midi, run, text
from music_util import PIECES, make_music
from test_find import tune


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return make_music(tmp_path_factory.mktemp("both"), {"new.mid": midi(tune(77), ticks=240), "drums.mid": DRUMS})


def search(folder, *arguments, corpus="c.npy", **more):
    return run("search", "-m", "m.safetensors", "-c", corpus, *arguments, cwd=folder, **more)


def answers(folder, *arguments, code=0, **more):
    done = search(folder, "--json", *arguments, **more)
    assert done.returncode == code, text(done)
    return lines(done)


def found(folder, *arguments):
    """What midisim-find says of it, which may be nothing that is significant."""
    return lines(run("find", "-i", "c.notes", "--json", *arguments, cwd=folder))


def test_both_lists_as_each_tool_gives_them(music):
    queries = ("q.mid", "new.mid", "music/b/05.mid")
    plain = answers(music, "-k", 4, *queries)
    both = answers(music, "-k", 4, "--find", *queries)
    by_notes = found(music, "-k", 4, *queries)
    assert [b["query"] for b in both] == list(queries)
    for p, b, f in zip(plain, both, by_notes, strict=True):
        assert b["notes"] == f["notes"]
        assert b["find"] == [m for m in f["matches"] if m["significant"]]
        assert {k: v for k, v in b.items() if k not in ("notes", "find")} == p and len(b["matches"]) == 4
    assert [len(b["find"]) for b in both] == [1, 0, 1]
    assert both[0]["find"][0]["name"] == "b/03.mid" and both[0]["find"][0]["transpose"] == -4


def test_key_tempo_evalue_and_k(music):
    assert answers(music, "--find", "--same-key", "q.mid")[0]["find"] == []
    assert answers(music, "--find", "--same-tempo", "q.mid")[0]["find"] == []
    assert answers(music, "--find", "-e", 1e-300, "q.mid")[0]["find"] == []
    many = answers(music, "--find", "-e", 1e9, "-k", 3, "q.mid")[0]
    assert len(many["find"]) == 3 and len(many["matches"]) == 3
    one = answers(music, "--find", "--threshold", "2", "q.mid")[0]
    assert len(one["find"]) == 1 and one["matches"] == []
    answers(music, "--find", "--threshold", "2", "new.mid", code=1)


def test_names_that_are_left_out(music):
    query = "music/b/05.mid"
    assert [m["name"] for m in answers(music, "--find", query)[0]["find"]] == ["b/05.mid"]
    assert answers(music, "--find", "--exclude-self", query)[0]["find"] == []
    assert answers(music, "--find", "--exclude", "b/05.mid", query)[0]["find"] == []
    done = search(music, "--find", "--json", "--exclude-from", "-", query, stdin=b"b/04.mid\nb/05.mid\n")
    assert lines(done)[0]["find"] == [] and len(lines(done)[0]["matches"]) == PIECES - 2


def test_rows_and_vectors_as_queries(music):
    like = answers(music, "--find", "--like", "b/07.mid", "--query-vectors", "c.npy")
    assert [m["name"] for m in like[0]["find"]] == ["b/07.mid"] and like[0]["notes"] == 160
    assert answers(music, "--find", "--exclude-self", "--like", "b/07.mid")[0]["find"] == []
    assert len(like) == PIECES + 1 and like[1]["find"] is None and like[1]["notes"] is None
    assert search(music, "--find", "--query-vectors", "c.npy").returncode == 2


def test_a_query_without_notes_is_left_out(music):
    both = answers(music, "--find", "drums.mid", "q.mid", code=1)
    assert [b["query"] for b in both] == ["q.mid"] and len(both[0]["find"]) == 1


def test_tsv(music):
    done = search(music, "--find", "--format", "tsv", "-k", 2, "q.mid", "--like", "b/01.mid")
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert rows[0][:7] == ["kind", "query", "rank", "score", "transpose", "row", "name"]
    assert {len(row) for row in rows} == {len(rows[0])}
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row["kind"] for row in table] == ["find", "alike", "alike"] * 2
    first = table[0]
    assert (first["name"], first["relation"], first["transpose"], first["score"], first["row"]) == ("b/03.mid", "part of", "-4", "", "")
    plain = search(music, "--format", "tsv", "-k", 2, "q.mid", "--like", "b/01.mid").stdout.decode().splitlines()
    assert ["\t".join(row[1:7]) for row in rows if row[0] != "find"] == plain


def test_bars_of_both_lists(music, tmp_path):
    """One column has the bars of both kinds of a corpus of windows."""
    shutil.copy(music / "c.notes", tmp_path / "w.notes")
    done = run("embed", "-m", "m.safetensors", "--windows", "64", "-o", tmp_path / "w.npy", "music", cwd=music)
    assert done.returncode == 0, text(done)
    for find in ([], ["--find"]):
        done = search(music, *find, "-k", 2, "--format", "tsv", "q.mid", corpus=tmp_path / "w.npy")
        head, *rows = (line.split("\t") for line in done.stdout.decode().splitlines())
        assert len(set(head)) == len(head) and {"bar", "to_bar", "query_bar", "query_to_bar"} < set(head)
        cells = [dict(zip(head, row, strict=True)) for row in rows]
        assert len(cells) == 2 + len(find)
        for row in cells:
            assert all(int(row[c].split(":")[0]) > 0 for c in ("bar", "query_bar")), row
            is_alike = row.get("kind", "alike") == "alike"
            assert all((row[c] != "") == is_alike for c in ("to_bar", "query_to_bar")), row
    best = answers(music, "--find", "-k", 1, "q.mid", corpus=tmp_path / "w.npy")[0]
    assert best["find"][0]["bar"] and best["matches"][0]["bar"] and best["matches"][0]["query_to_bar"]


def test_table(music):
    done = search(music, "--find", "--format", "table", "-k", 3, "q.mid", "new.mid")
    shown = done.stdout.decode()
    assert shown.count("The same music") == 2 and shown.count("Alike:") == 2
    first, second = shown.split("\nnew.mid\n")
    assert first.index("The same music") < first.index("part of") < first.index("Alike:")
    assert "bars " in first and "none: no piece shares" in second
    assert "kind" not in search(music, "--format", "tsv", "q.mid").stdout.decode()


def test_copies_of_both(music, tmp_path):
    done = search(music, "--find", "-k", 2, "--copy-to", tmp_path / "out", "--midi-root", "music", "q.mid")
    assert done.returncode == 0, text(done)
    copies = sorted(path.name for path in (tmp_path / "out/q").iterdir())
    assert len(copies) == 4 and "same_01_-4_b_03.mid" in copies and "q.mid" in copies
    assert (tmp_path / "out/q/same_01_-4_b_03.mid").read_bytes() == (music / "music/b/03.mid").read_bytes()


# ---- Where the index is ---------------------------------------------------------------------------------------------


def test_without_an_index(music, tmp_path):
    shutil.copy(music / "c.npy", tmp_path / "other.npy")
    done = search(music, "--find", "q.mid", corpus=tmp_path / "other.npy")
    assert done.returncode == 1 and done.stdout == b""
    assert "midisim-index -o" in text(done) and "other.notes" in text(done) and "--notes" in text(done)
    done = search(music, "--find-if-there", "--json", "q.mid", corpus=tmp_path / "other.npy")
    assert done.returncode == 0 and "find" not in lines(done)[0]
    said = [line for line in text(done).splitlines() if "only likeness is shown" in line]
    assert len(said) == 1 and "midisim-index -o" in said[0]
    done = search(music, "--find", "q.mid", "-c", tmp_path / "other.npy")
    assert done.returncode == 1 and "several corpora" in text(done)


def test_other_indexes(music, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    wanted = answers(music, "--find", "q.mid")[0]["find"]
    shutil.copy(music / "c.npy", tmp_path / "x.npy")
    (tmp_path / "cache").mkdir()
    for arguments in (("--notes", "c.notes"), ("--notes", "music"),
                      ("--midi-root", "music", "--copy-to", tmp_path / "out")):
        assert answers(music, "--find", *arguments, "q.mid", corpus=tmp_path / "x.npy", env=env)[0]["find"] == wanted
    # a folder that holds the corpus and the files: its own files are indexed
    shutil.copytree(music / "music", tmp_path / "all")
    shutil.copy(music / "c.npy", tmp_path / "all/c.npy")
    assert answers(music, "--find", "q.mid", corpus=tmp_path / "all", env=env)[0]["find"] == wanted
    (tmp_path / "bare").mkdir()
    shutil.copy(music / "c.npy", tmp_path / "bare/c.npy")
    done = search(music, "--find", "q.mid", corpus=tmp_path / "bare", env=env)
    assert done.returncode == 1 and "midisim-index -o" in text(done)
    shutil.copy(music / "c.notes", tmp_path / "bare.notes")
    assert answers(music, "--find", "q.mid", corpus=f"{tmp_path}/bare/", env=env)[0]["find"] == wanted


@pytest.mark.parametrize("damage", (b"", b"none", None))
def test_a_damaged_index(music, tmp_path, damage):
    whole = (music / "c.notes").read_bytes()
    (tmp_path / "x.notes").write_bytes(whole[:len(whole) // 2] if damage is None else damage)
    done = search(music, "--find", "--notes", tmp_path / "x.notes", "q.mid")
    assert done.returncode == 1 and done.stdout == b"" and "x.notes" in text(done)
    assert search(music, "--find-if-there", "--notes", tmp_path / "gone.notes", "q.mid").returncode == 1


@pytest.mark.parametrize("arguments", (("--same-key",), ("--notes", "c.notes"), ("-e", 1), ("--find", "--format", "midisim"),
                                       ("--find", "-e", -1)))
def test_wrong_use(music, arguments):
    done = search(music, *arguments, "q.mid")
    assert done.returncode == 2 and done.stdout == b""


# ---- The front command ----------------------------------------------------------------------------------------------


def front(folder, *arguments):
    return subprocess.run([BUILD / "midisim", *map(str, arguments)], cwd=folder, env=dict(ENV, MIDISIM_MODEL="m.safetensors"),
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120)


def test_a_file_instead_of_a_command(music, tmp_path):
    wanted = search(music, "--find", "--json", "q.mid").stdout
    assert front(music, "q.mid", "-c", "c.npy", "--json").stdout == wanted
    assert front(music, "--json", "-c", "c.npy", "q.mid").stdout == wanted
    shutil.copy(music / "c.npy", tmp_path / "x.npy")
    done = front(music, "q.mid", "-c", tmp_path / "x.npy", "--json")
    assert done.returncode == 0 and b"only likeness is shown" in done.stderr and "find" not in lines(done)[0]
    assert b"unknown command: sarch (did you mean 'search'?)" in front(music, "sarch", "-c", "c.npy").stderr
    assert front(music, "gone.mid", "-c", "c.npy").returncode == 1
    shutil.copy(music / "q.mid", music / "query")
    assert front(music, "query", "-c", "c.npy", "--json").returncode == 0
    os.unlink(music / "query")
    assert b"QUERY.mid -c CORPUS" in front(music, "help").stdout
