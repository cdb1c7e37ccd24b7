"""midisim-search against NumPy: every stored form, every output format, names of any bytes, exit codes.

The query's vectors are those that midisim-embed gives for the transposed query: the same sequence has the same bits
whatever shares its batch. Scores are then computed in the order of docs/SEARCH.md (search_util.py): for rows of f32, f16
and bf16 this file expects the very bits and the very order; for f64 rows it expects them within the sums' rounding.
"""
import gzip
import os
import shutil
import subprocess

import numpy as np
import pytest
from cli_util import DRUMS, ENV, lines, midi, run, text, tool, write_model
from search_util import best, scores

N = 45
DIM = 32
VARIANTS = range(-6, 6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small model, a query, its variants' vectors by transposition, and rows that make ranking hard."""
    folder = tmp_path_factory.mktemp("search")
    model = write_model(folder / "tiny.safetensors", dim=DIM)
    query = folder / "query.mid"
    query.write_bytes(midi((60, 64, 67, 72, 71, 55)))
    vectors = {}
    for s in VARIANTS:
        out = folder / f"q{s}.npy"
        done = run("embed", "-m", model, "-o", out, "--transpose", s, "--precision", "f32", "--quiet", query)
        assert done.returncode == 0, text(done)
        vectors[s] = np.load(out)["midi_embeddings"][0].copy()
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((N, DIM)).astype(np.float32)
    for i in range(0, 12):  # nearly tied, around the variants
        rows[i] = vectors[i - 6] + 1e-4 * rng.standard_normal(DIM)
    rows[12:18] = rows[3]  # copies, of other lengths too
    rows[15] *= 2
    rows[16] *= 0.125
    rows[20:22] = 0
    rows[25, 3] = np.nan
    rows[26, 31] = np.inf
    rows[27, 0] = -np.inf
    rows[28] *= 1e-30
    return {"model": model, "query": query, "vectors": vectors, "rows": rows, "folder": folder}


NAMES = (["plain.mid", "tab\there", "new\nline", "back\\slash", "quote\"'", "\u00e9t\u00e9 \u266b \U0001f3b5", "",
          "ends ", "raw\udcff\udc80", "b" * 300, "\u97f3\u697d" * 40] + [f"folder/{i}.mid" for i in range(11, N)])


def as_bf16(rows):
    """Bits rounded to nearest even, as two opaque bytes, and the values that they stand for."""
    bits = rows.astype(np.float32).view(np.uint32).astype(np.uint64)
    short = ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint32)
    short = np.where(np.isnan(rows), 0x7fc0, short).astype(np.uint32)
    return short.astype("<u2").view("V2"), (short << 16).astype(np.uint32).view(np.float32)


def write_form(form, folder, rows):
    """A corpus in one of the forms; returns (path, the values that are stored, options)."""
    path = folder / f"{form}.npy"
    if form.startswith("plain"):
        stored = as_bf16(rows) if form == "plain-V2" else None
        data = stored[0] if stored else rows.astype(form[6:])
        np.save(path, data)
        return path, stored[1] if stored else data, []
    kind = form.split("-")[1]
    layout = [("midi_names", "S301" if "bytes" in form else "<U300"), ("midi_embeddings", kind, (DIM,))]
    if "mixed" in form:
        layout = [("id", ">i8"), ("vectors", kind, (DIM,)), ("when", "<M8[s]"), ("who", "<U300")]
    data = np.zeros(N, np.dtype(layout, align="aligned" in form))
    vector = "vectors" if "mixed" in form else "midi_embeddings"
    name = "who" if "mixed" in form else "midi_names"
    with np.errstate(all="ignore"):
        data[vector] = rows
    data[name] = [os.fsencode(n) for n in NAMES] if "bytes" in form else NAMES
    np.save(path, data)
    return path, data[vector].copy(), []


FORMS = ["structured-<f4", "structured-<f2", "structured-<f8", "structured-<f4-bytes", "structured-<f2-mixed",
         "structured-<f4-mixed-aligned", "plain-<f4", "plain-<f2", "plain-<f8", "plain-V2"]


def search(made, corpus, *arguments, query=None, **more):
    return run("search", "-m", made["model"], "--precision", "f32", "-c", corpus, *arguments,
               *([] if query is False else [query or made["query"]]), **more)


@pytest.mark.parametrize("form", FORMS)
def test_forms_and_counts(made, tmp_path, form):
    path, values, options = write_form(form, tmp_path, made["rows"])
    for k in (1, 16, N - 1, N + 1):
        done = search(made, path, "--json", "-k", k, *options)
        assert done.returncode == 0, text(done)
        (answer,) = lines(done)
        assert answer["exact"] is True and answer["rows"] == N and answer["variants"] == 12
        assert answer["nonfinite_rows"] == 3 and b"3 rows with NaN or infinity" in done.stderr
        matches, expected = answer["matches"], best(made["vectors"], values, k)
        assert [m["rank"] for m in matches] == list(range(1, min(k, N) + 1))
        got = [(m["row"], m["score"], m["transpose"]) for m in matches]
        if "f8" in form:
            wanted = np.array([s for _, s, _ in expected])
            table = np.stack([scores(q, values) for q in made["vectors"].values()])
            for (row, score, shift), s in zip(got, wanted):
                assert score is None and s == -np.inf or abs(score - s) < 1e-7
                assert s == -np.inf or abs(table[shift + 6, row] - s) < 1e-14
        else:
            assert got == [(r, None if s == -np.inf else float("%.9g" % np.float32(s)), t) for r, s, t in expected]
        assert [m["name"] for m in matches] == [str(r) if "plain" in form else NAMES[r] for r, _, _ in got]


def test_same_bytes_everywhere(made, tmp_path):
    path, _, _ = write_form("structured-<f4", tmp_path, made["rows"])
    # The vectors of the query may differ between levels; the search may not: one level, any thread count.
    out = [search(made, path, "-k", N, "--threads", t, "--isa", "ref").stdout for t in (1, 2, 3, 7)]
    assert out[0].count(b"\n") == N + 1 and len(set(out)) == 1


def test_one_variant(made, tmp_path):
    path, values, _ = write_form("structured-<f4", tmp_path, made["rows"])
    (answer,) = lines(search(made, path, "--json", "--transpose", 0))
    assert [(m["row"], m["transpose"]) for m in answer["matches"]] == \
        [(r, 0) for r, _, _ in best({0: made["vectors"][0]}, values, 16)]
    (answer,) = lines(search(made, path, "--json", "--transpose", 2, "-k", 5))
    assert [(m["row"], m["transpose"]) for m in answer["matches"]] == \
        [(r, t) for r, _, t in best({s: made["vectors"][s] for s in range(-2, 2)}, values, 5)]


def test_tsv(made, tmp_path):
    path, values, _ = write_form("structured-<f4", tmp_path, made["rows"])
    done = search(made, path, "-k", N, query="./query.mid", cwd=made["folder"])
    assert done.returncode == 0
    head, *body = done.stdout.split(b"\n")
    assert head == b"query\trank\tscore\ttranspose\trow\tname" and body.pop() == b""
    escape = {"\t": "\\t", "\n": "\\n", "\\": "\\\\"}
    for rank, (line, (row, score, shift)) in enumerate(zip(body, best(made["vectors"], values, N)), 1):
        name = "".join(escape.get(c, c) for c in NAMES[row])
        wanted = "\t".join(["./query.mid", str(rank), "%.9g" % np.float32(score), str(shift), str(row), name])
        assert line == os.fsencode(wanted)
    assert len(body) == N


def test_json_is_utf8(made, tmp_path):
    path, _, _ = write_form("structured-<f4", tmp_path, made["rows"])
    out = search(made, path, "--json", "-k", N).stdout
    assert b"\\udcff\\udc80" in out
    out.decode("utf-8")


def test_midisim_listing(made, tmp_path):
    finite = [i for i in range(N) if i not in (25, 26, 27)] + [0] * 3
    path, values, _ = write_form("structured-<f4", tmp_path, made["rows"][finite])
    for k in (1, 7, N):
        done = search(made, path, "--format", "midisim", "-k", k)
        entries = []
        for s, q in made["vectors"].items():
            score = scores(q, values)
            ranked = sorted(range(N), key=lambda r: (-score[r], r))[:k]
            entries += [(float(np.float32(score[r])) * 100, s, r) for r in ranked]
        seen, body = set(), []
        for score, s, r in sorted(entries, key=lambda e: -e[0]):
            if r not in seen:
                body.append(f"#{len(seen):03d} {NAMES[r]} --- {s} --- {round(score, 8)}\n")
                seen.add(r)
        bar = "=" * 70 + "\n"
        wanted = bar + "Search results:\n" + bar + "".join(body) + bar + f"Total number of records: {len(body)}\n" + bar
        assert done.stdout == os.fsencode(wanted)


def width(s):
    return sum(2 if ord(c) > 0x2e7f and ord(c) < 0xe000 or ord(c) > 0x1f000 else 1 for c in s)


def test_table(made, tmp_path):
    path, values, _ = write_form("structured-<f4", tmp_path, made["rows"])
    done = search(made, path, "--format", "table", "-k", N, env={"COLUMNS": "60"})
    assert done.returncode == 0 and b"\x1b" not in done.stdout
    title, head, *body = done.stdout.decode().splitlines()
    assert title.endswith("query.mid") and head.split()[:4] == ["rank", "score", "transp", "name"]
    for rank, (line, (row, score, shift)) in enumerate(zip(body, best(made["vectors"], values, N)), 1):
        percent = "invalid" if score == -np.inf else f"{100 * score:.2f}%"
        start = f"{rank:4d}  {percent:>8}  {f'{shift:+d}' if shift else '0':>6}  "
        assert line.startswith(start) and width(line) <= 60
        name = "".join("?" if c < " " or "\udc80" <= c <= "\udcff" else c for c in NAMES[row])
        shown = line[len(start):]
        if width(start + name) <= 60:
            assert shown == name
        else:
            front, back = shown.split("\u2026")
            assert name.startswith(front) and name.endswith(back) and width(shown) >= 60 - len(start) - 2
    assert len(body) == N
    wide = search(made, path, "--format", "table", "-k", N).stdout.decode()
    assert "b" * 300 in wide


def test_names_file(made, tmp_path):
    path, values, _ = write_form("plain-<f4", tmp_path, made["rows"])
    names = tmp_path / "names.txt"
    names.write_bytes(b"".join(b"row \xff%d\n" % i for i in range(N)))
    (answer,) = lines(search(made, path, "--json", "--names-file", names))
    assert [m["name"] for m in answer["matches"]] == [f"row \udcff{m['row']}" for m in answer["matches"]]
    names.write_bytes(b"one\n")
    done = search(made, path, "--names-file", names)
    assert done.returncode == 1 and b"expected 45 lines" in done.stderr
    done = search(made, path, "--names-file", tmp_path / "absent")
    assert done.returncode == 1 and done.stdout == b""
    structured, _, _ = write_form("structured-<f4", tmp_path, made["rows"])
    assert search(made, structured, "--names-file", names).returncode == 2


def test_several_queries(made, tmp_path):
    path, _, _ = write_form("structured-<f4", tmp_path, made["rows"])
    folder = tmp_path / "queries"
    folder.mkdir()
    for i in range(8):  # more than fit one pass
        (folder / f"{i}.mid").write_bytes(midi((50 + i, 60 + i, 65, 70 - i)))
    (folder / "3.mid").write_bytes(b"not MIDI")
    (folder / "5.mid").write_bytes(DRUMS)
    (folder / "6.mid.gz").write_bytes(gzip.compress(midi((40, 47, 52))))
    given = [f"{i}.mid" for i in range(8)] + ["absent.mid", "6.mid.gz", "0.mid"]
    done = run("search", "-m", made["model"], "-c", path, "--json", "-k", 3, *given, cwd=folder)
    assert done.returncode == 1
    answers = lines(done)
    assert [a["query"] for a in answers] == [g for g in given if g not in ("3.mid", "5.mid", "absent.mid")]
    assert answers[0]["matches"] == answers[-1]["matches"]
    for reason in ("3.mid", "5.mid", "absent.mid"):
        assert reason in text(done)
    alone = run("search", "-m", made["model"], "-c", path, "--json", "-k", 3, "4.mid", cwd=folder)
    assert alone.returncode == 0 and lines(alone)[0]["matches"] == answers[3]["matches"]
    piped = run("search", "-m", made["model"], "-c", path, "--json", "-k", 3, "-", stdin=midi((40, 47, 52)))
    assert lines(piped)[0]["matches"] == [a for a in answers if a["query"] == "6.mid.gz"][0]["matches"]
    assert lines(piped)[0]["query"] == "-"
    all_of_it = run("search", "-m", made["model"], "-c", path, "-k", 1, folder)
    assert all_of_it.stdout.count(b"\n") == 1 + 7


def test_description(made, tmp_path):
    """What the corpus was made with is followed; what contradicts it is refused."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(4):
        (songs / f"{i}.mid").write_bytes(midi(tuple(range(50, 70, 2 + i)) * 3))
    corpus = tmp_path / "c.npy"
    done = run("embed", "-m", made["model"], "-o", corpus, "--pooling", "weighted", "--pool-weights", "1,0.5,2",
               "--max-tokens", 20, songs)
    assert done.returncode == 0, text(done)
    query = songs / "2.mid"
    done = run("search", "-m", made["model"], "-c", corpus, "--json", "-k", 1, query)
    (match,) = lines(done)[0]["matches"]
    assert match["name"] == "2.mid" and match["transpose"] == 0 and abs(match["score"] - 1) < 1e-6
    assert b"unknown" not in done.stderr and b"20 tokens" in done.stderr
    # The same settings given by hand, without the description.
    shutil.copy(corpus, tmp_path / "alone.npy")
    by_hand = run("search", "-m", made["model"], "-c", tmp_path / "alone.npy", "--json", "-k", 1, "--pooling",
                  "weighted", "--pool-weights", "1,0.5,2", "--max-tokens", 20, query)
    assert by_hand.stdout == done.stdout and by_hand.stderr.count(b"model of the corpus unknown") == 1
    other = run("search", "-m", made["model"], "-c", tmp_path / "alone.npy", "--json", "-k", 1, query)
    assert lines(other)[0]["matches"][0]["score"] < 1 - 1e-6
    # Contradictions.
    for options in (["--pooling", "mean"], ["--pool-weights", "1,1,1"], ["--max-tokens", 21]):
        done = run("search", "-m", made["model"], "-c", corpus, *options, query)
        assert done.returncode == 2 and done.stdout == b"" and b"--force" in done.stderr, options
        done = run("search", "-m", made["model"], "-c", corpus, "--force", *options, query)
        assert done.returncode == 0 and b"warning" in done.stderr
    model = write_model(tmp_path / "other.safetensors", dim=DIM, seed=9)
    done = run("search", "-m", model, "-c", corpus, query)
    assert done.returncode == 2 and b"another model" in done.stderr
    assert run("search", "-m", model, "-c", corpus, "--force", query).returncode == 0
    (tmp_path / "c.npy.json").write_text("{}")
    assert run("search", "-m", made["model"], "-c", corpus, query).returncode == 1
    assert run("search", "-m", made["model"], "-c", corpus, "--force", query).returncode == 0


@pytest.mark.parametrize("options", [
    [], ["-k", "0"], ["-k", "10001"], ["-k", "x"], ["--transpose", "7"], ["--transpose", "-1"], ["--format", "xml"],
    ["--pooling", "max"], ["--pool-weights", "1,2"], ["--pooling", "mean", "--pool-weights", "1,1,2"],
    ["--max-tokens", "-1"], ["--json", "--format", "tsv"], ["--precision", "f64"], ["--isa", "sse"], ["--bogus"]])
def test_wrong_use(made, tmp_path, options):
    path, _, _ = write_form("plain-<f4", tmp_path, made["rows"])
    corpus = ["-c", path] if options else []
    done = run("search", "-m", made["model"], *corpus, *options, made["query"])
    assert done.returncode == 2 and done.stdout == b"" and len(text(done).splitlines()) == 1
    assert text(done).startswith("midisim-search: ")


def test_other_exits(made, tmp_path):
    path, _, _ = write_form("plain-<f4", tmp_path, made["rows"])
    assert search(made, path, query=False).returncode == 2
    model = write_model(tmp_path / "wide.safetensors", dim=64)
    done = run("search", "-m", model, "-c", path, made["query"])
    assert done.returncode == 2 and b"width 64, got 32" in done.stderr
    assert run("search", "-m", tmp_path / "absent", "-c", path, made["query"]).returncode == 1
    assert search(made, tmp_path / "absent.npy").returncode == 1
    (tmp_path / "empty").mkdir()
    assert search(made, tmp_path / "empty").returncode == 1
    done = search(made, path, query=tmp_path)
    assert done.returncode == 1 and b"no MIDI files" in done.stderr
    np.save(tmp_path / "none.npy", np.zeros((0, DIM), "f4"))
    done = search(made, tmp_path / "none.npy")
    assert done.returncode == 1 and b"nothing to search" in done.stderr


def test_output_that_fails(made, tmp_path):
    path, _, _ = write_form("plain-<f4", tmp_path, made["rows"])
    command = [tool("search"), "-m", made["model"], "-c", path, made["query"]]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=ENV)
    assert done.returncode == 1 and b"write error: standard output" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, "--quiet"], stdout=writer, stderr=subprocess.PIPE, env=ENV)
    os.close(writer)
    assert b"write" not in done.stderr


def test_damaged_corpora(made, tmp_path):
    """Each gives one line and exit 1, whatever it claims to be."""
    path, _, _ = write_form("structured-<f4", tmp_path, made["rows"])
    good = path.read_bytes()
    shape = b"'shape': (45,)"
    assert shape in good
    cases = {
        "empty": b"", "short": good[:9], "header cut": good[:60], "data cut": good[:-1], "text": b"x" * 5000,
        "version": good[:6] + b"\x09" + good[7:], "huge header": good[:6] + b"\x02\x00\xff\xff\xff\x7f" + good[12:],
        "more rows": good.replace(shape, b"'shape': (46,)"),
        "overflow": good.replace(shape + b", }" + b" " * 17, b"'shape': (9223372036854775807,), }"),
        "negative": good.replace(shape, b"'shape': (-5,)"), "two axes": good.replace(shape, b"'shape': (5,9)"),
        "code": good.replace(b"{'descr'", b"__import__", 1), "big-endian": good.replace(b"'<f4'", b"'>f4'"),
        "integers": good.replace(b"'<f4'", b"'<i4'"), "object": good.replace(b"'<U300'", b"'|O'   "),
        "nan shape": good.replace(shape, b"'shape': (nan)"), "unterminated": good.replace(b"'shape'", b"'shape "),
    }
    for name, raw in cases.items():
        assert raw != good, name
        (tmp_path / "bad.npy").write_bytes(raw)
        done = search(made, tmp_path / "bad.npy")
        assert done.returncode == 1 and done.stdout == b"", name
        assert len(text(done).splitlines()) == 1 and "bad.npy" in text(done), name
    np.save(tmp_path / "f.npy", np.asfortranarray(made["rows"]))
    assert b"column-major" in search(made, tmp_path / "f.npy").stderr
    names = np.zeros(2, [("midi_names", object), ("midi_embeddings", "<f4", (DIM,))])
    np.save(tmp_path / "o.npy", names, allow_pickle=True)
    done = search(made, tmp_path / "o.npy")
    assert done.returncode == 1 and b"expected a str for a name, got an integer (row 0)" in done.stderr
    os.mkfifo(tmp_path / "fifo.npy")
    assert search(made, tmp_path / "fifo.npy").returncode == 1


def test_written_corpus_is_numpys_own(made, tmp_path):
    """The header that midisim-embed writes is the one that NumPy writes, and NumPy maps the file without pickle."""
    (tmp_path / "a.mid").write_bytes(midi())
    for dtype in ("f32", "f16"):
        out = tmp_path / f"{dtype}.npy"
        assert run("embed", "-m", made["model"], "-o", out, "--dtype", dtype, tmp_path / "a.mid").returncode == 0
        rows = np.load(out, mmap_mode="r", allow_pickle=False)
        assert isinstance(rows, np.memmap) and rows.offset % 64 == 0
        np.save(tmp_path / "again.npy", np.array(rows))
        assert (tmp_path / "again.npy").read_bytes() == out.read_bytes()
