"""midisim-embed: corpus, description beside it, names, options, exit codes, signals. A small random model is enough;
values are compared with the original's in test/golden."""
import ast
import glob
import gzip
import json
import os
import signal
import subprocess
import time
import typing
import zipfile

import numpy as np
import pytest
from cli_util import DRUMS, ENV, SILENT, lines, midi, run, text, tool


def embed(model, out, *arguments, **more):
    return run("embed", "-m", model, "-o", out, *arguments, **more)


def corpus(path):
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(rows, np.memmap)
    return rows


def beside(path):
    return json.loads((path.parent / (path.name + ".json")).read_text())


def test_corpus(model, songs, tmp_path):
    out = tmp_path / "c.npy"
    done = embed(model, out, songs)
    assert done.returncode == 0 and done.stdout == b""
    rows = corpus(out)
    assert rows.dtype.descr == [("midi_names", "<U7"), ("midi_embeddings", "<f4", (32,))]
    assert rows["midi_names"].tolist() == ["a.MID", "b-.kar", "b.mid", "b/z.mid", "c.midi"]
    assert np.isfinite(rows["midi_embeddings"]).all() and (np.abs(rows["midi_embeddings"]).max(1) > 0).all()
    said = text(done)
    assert "5 files: 5 rows, 0 skipped" in said and "files/s" in said and "tokens/s" in said and "device cpu" in said
    assert sorted(os.listdir(tmp_path)) == ["c.npy", "c.npy.json", "songs"]
    about = beside(out)
    assert about["model"] | {"sha256": 0} == {"sha256": 0, "family": "midisim-custom", "dim": 32, "depth": 1, "heads": 1,
                                              "vocab": 386}
    assert len(about["model"]["sha256"]) == 64
    for key, value in {"tool": "midisim-embed", "pooling": "mean", "pool_weights": None, "precision": "bf16",
                       "device": "cpu", "max_tokens": 3072, "normalized": False, "dtype": "f32", "names": "path",
                       "transpose": 0, "rows": 5, "files": 5, "complete": True}.items():
        assert about[key] == value, key
    assert embed(model, tmp_path / "q.npy", "--quiet", songs).stderr == b""


def test_same_rows_on_any_thread_count_and_order(model, shipped, tmp_path):
    embed(model, tmp_path / "1.npy", "--threads", 1, "--max-tokens", 300, shipped)
    embed(model, tmp_path / "5.npy", "--threads", 5, "--max-tokens", 300, shipped)
    one, five = (tmp_path / "1.npy").read_bytes(), (tmp_path / "5.npy").read_bytes()
    assert one == five and len(corpus(tmp_path / "1.npy")) > 100
    names = corpus(tmp_path / "1.npy")["midi_names"].tolist()
    assert names == sorted(names, key=os.fsencode)
    embed(model, tmp_path / "r.npy", "--max-tokens", 300, "--files-from", "-", cwd=shipped, stdin="\n".join(reversed(names)).encode())
    assert np.array_equal(corpus(tmp_path / "r.npy"), corpus(tmp_path / "1.npy"))


def test_precision_int8(model, songs, tmp_path):
    """The reference level and avx2 always have it."""
    out = tmp_path / "c.npy"
    assert embed(model, out, "--isa", "ref", "--precision", "f32", songs).returncode == 0
    exact = corpus(out)["midi_embeddings"].copy()
    for isa in ("ref", "avx2"):
        done = embed(model, out, "--force", "--isa", isa, "--precision", "int8", songs)
        if done.returncode != 0:
            assert isa == "avx2" and "isa: expected a level" in text(done)
            continue
        rows = corpus(out)["midi_embeddings"]
        assert beside(out)["precision"] == "int8"
        cosines = (rows * exact).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(exact, axis=1)
        assert (1 - cosines <= 2e-3).all() and not np.array_equal(rows, exact)


def test_options_change_vectors_as_they_say(model, songs, tmp_path):
    def vectors(*arguments):
        out = tmp_path / "c.npy"
        assert embed(model, out, "--force", "--precision", "f32", *arguments, songs).returncode == 0
        return corpus(out)["midi_embeddings"].copy()
    plain = vectors()
    unit = vectors("--normalize")
    assert np.allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-6, atol=1e-7)
    assert beside(tmp_path / "c.npy")["normalized"] is True
    half = vectors("--dtype", "f16")
    assert half.dtype == np.float16 and np.array_equal(half, plain.astype(np.float16))
    assert np.allclose(vectors("--pooling", "weighted"), plain, rtol=1e-4, atol=1e-5)
    weighted = vectors("--pooling", "weighted", "--pool-weights", "1,0.1,2")
    assert not np.allclose(weighted, plain, rtol=1e-2, atol=1e-2)
    assert beside(tmp_path / "c.npy")["pool_weights"] == [1, np.float32(0.1).item().__round__(9), 2]
    assert not np.array_equal(vectors("--transpose", 3), plain)
    assert beside(tmp_path / "c.npy")["transpose"] == 3
    assert not np.array_equal(vectors("--max-tokens", 5), plain)
    assert np.array_equal(vectors("--max-tokens", 0), plain)
    assert embed(model, tmp_path / "f.npy", "--name-field", "who", "--vector-field", "what", songs).returncode == 0
    assert corpus(tmp_path / "f.npy").dtype.names == ("who", "what")


def test_transpose_is_the_tokenisers(model, tmp_path):
    (tmp_path / "a.mid").write_bytes(midi((60, 64, 67, 70)))
    (tmp_path / "up.mid").write_bytes(midi((65, 69, 72, 75)))
    embed(model, tmp_path / "a.npy", "--transpose", 5, tmp_path / "a.mid")
    embed(model, tmp_path / "b.npy", tmp_path / "up.mid")
    assert np.array_equal(corpus(tmp_path / "a.npy")["midi_embeddings"], corpus(tmp_path / "b.npy")["midi_embeddings"])


def test_long_file(model, tmp_path):
    (tmp_path / "long.mid").write_bytes(midi([60, 62, 64] * 4000))
    (tmp_path / "short.mid").write_bytes(midi())
    done = embed(model, tmp_path / "a.npy", "--max-tokens", 0, tmp_path / "long.mid", tmp_path / "short.mid")
    assert done.returncode == 0, text(done)
    done = embed(model, tmp_path / "b.npy", "--max-tokens", 100, tmp_path / "long.mid", tmp_path / "short.mid")
    assert "1 file longer than 100 tokens, only the beginning is used" in text(done)


def test_stem_names_clash(model, songs, tmp_path):
    (songs / "b" / "a.mid").write_bytes(midi((50, 51)))
    done = embed(model, tmp_path / "c.npy", "--names", "stem", songs)
    assert done.returncode == 0 and "1 row has the same name" in text(done)
    assert corpus(tmp_path / "c.npy")["midi_names"].tolist() == ["a", "a", "b", "b-", "c", "z"]


def test_odd_names(model, tmp_path):
    names = [b"\xff\x80.mid", "\u00e9\u4e2d\U0001f3b5.mid".encode(), b'q"\\.mid', b"tab\t.mid"]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(midi())
    assert embed(model, tmp_path / "c.npy", folder).returncode == 0
    assert [os.fsencode(n) for n in corpus(tmp_path / "c.npy")["midi_names"].tolist()] == sorted(names)
    assert embed(model, tmp_path / "c.npy", folder).returncode == 0  # verified, names and all


@pytest.mark.parametrize("wrong", (["--pool-weights", "1,1,2"], ["--pooling", "mean", "--pool-weights", "1,1,2"],
                                   ["--pooling", "weighted", "--pool-weights", "1,1"],
                                   ["--pooling", "weighted", "--pool-weights", "1,1,inf"], ["--pooling", "max"],
                                   ["--transpose", "13"], ["--max-tokens", "-1"], ["--dtype", "bf16"], ["-0"],
                                   ["--from-tokens", "-"], ["--names", "base"]))
def test_wrong_options(model, songs, tmp_path, wrong):
    done = embed(model, tmp_path / "c.npy", *wrong, songs)
    assert done.returncode == 2 and text(done).count("\n") == 1 and not (tmp_path / "c.npy").exists()


def test_wrong_output(model, songs, tmp_path):
    assert run("embed", "-m", model, songs).returncode == 2
    for out in (tmp_path / "no" / "c.npy", songs, songs / "a.MID" / "c.npy", "-", "/dev/full"):
        done = embed(model, out, songs)
        assert done.returncode == 2 and text(done).count("\n") == 1, out


def test_existing_output(model, songs, tmp_path):
    out = tmp_path / "c.npy"
    assert embed(model, out, songs).returncode == 0
    before, when = out.read_bytes(), out.stat().st_mtime_ns
    done = embed(model, out, songs)
    assert done.returncode == 0 and "nothing to do" in text(done) and out.stat().st_mtime_ns == when
    for other in (["--normalize"], ["--pooling", "weighted"], ["--max-tokens", 7], ["--transpose", 1],
                  ["--precision", "f32"], ["--isa", "ref"], ["--dtype", "f16"], ["--names", "stem"]):
        done = embed(model, out, *other, songs)
        assert done.returncode == 2 and "exists already" in text(done) and "--force" in text(done), other
    (songs / "new.mid").write_bytes(midi())
    done = embed(model, out, songs)
    assert done.returncode == 2 and "input files: expected 5, got 6" in text(done)
    (songs / "new.mid").rename(songs / "moved.mid")
    (songs / "a.MID").unlink()
    assert embed(model, out, songs).returncode == 2
    assert out.read_bytes() == before
    assert embed(model, out, "--force", songs).returncode == 0
    assert corpus(out)["midi_names"].tolist() == ["b-.kar", "b.mid", "b/z.mid", "c.midi", "moved.mid"]
    (tmp_path / "c.npy.json").unlink()
    assert embed(model, out, songs).returncode == 2
    (tmp_path / "c.npy.json").write_text("{}")
    assert embed(model, out, songs).returncode == 2
    assert embed(model, out, "--force", songs).returncode == 0
    out.write_bytes(out.read_bytes()[:-1])
    assert embed(model, out, songs).returncode == 2


def test_exit_codes(model, songs, tmp_path):
    (songs / "silent.mid").write_bytes(SILENT)
    (songs / "drums.mid").write_bytes(DRUMS)
    done = embed(model, tmp_path / "a.npy", songs)
    assert done.returncode == 0 and "7 files: 5 rows, 2 skipped (no-notes 1, drums-only 1)" in text(done)
    done = embed(model, tmp_path / "b.npy", songs, songs / "silent.mid")
    assert done.returncode == 1 and len(corpus(tmp_path / "b.npy")) == 5
    (songs / "bad.mid").write_bytes(b"MThd")
    done = embed(model, tmp_path / "c.npy", "--skipped", tmp_path / "s.tsv", songs)
    assert done.returncode == 1 and len(corpus(tmp_path / "c.npy")) == 5 and beside(tmp_path / "c.npy")["complete"]
    assert [line.split("\t")[1] for line in (tmp_path / "s.tsv").read_text().splitlines()] == \
        ["not-midi", "drums-only", "no-notes"]
    done = embed(model, tmp_path / "d.npy", songs / "silent.mid")
    assert done.returncode == 1 and "no rows" in text(done) and not (tmp_path / "d.npy").exists()
    done = embed(tmp_path / "none.safetensors", tmp_path / "d.npy", songs)
    assert done.returncode == 1 and text(done).count("\n") == 1
    done = embed(songs / "a.MID", tmp_path / "d.npy", songs)
    assert done.returncode == 1 and text(done).count("\n") == 1


def test_from_tokens(model, songs, tmp_path):
    embed(model, tmp_path / "a.npy", songs)
    printed = run("tokens", songs).stdout
    (tmp_path / "t.jsonl").write_bytes(printed)
    assert run("embed", "-m", model, "-o", tmp_path / "b.npy", "--from-tokens", tmp_path / "t.jsonl").returncode == 0
    assert run("embed", "-m", model, "-o", tmp_path / "c.npy", "--from-tokens", "-", stdin=printed).returncode == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes() == (tmp_path / "c.npy").read_bytes()
    for bad in (b"{", b'{"path":"a"}', b'{"path":"a","tokens":[]}', b'{"path":"a","tokens":[386]}',
                b'{"path":"a","tokens":[1.5]}', b'{"path":"a","tokens":[-1]}', b'{"tokens":[1]}', b"[]", b"1",
                b'{"path":"","tokens":[1]}', b"\0\xff"):
        done = run("embed", "-m", model, "-o", tmp_path / "d.npy", "--force", "--from-tokens", "-",
                   stdin=printed + bad + b"\n")
        assert done.returncode == 1 and "line 6" in text(done), bad
        assert len(corpus(tmp_path / "d.npy")) == 5


def test_odd_names_through_json(model, tmp_path):
    names = [b"\xff\x80.mid", b"back\\udc80slash.mid", "\U0001f3b5\u00e9.mid".encode(), b'"\n\t.mid', b"\xed\xb2\x80.mid"]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(midi())
    printed = run("tokens", folder).stdout
    assert embed(model, tmp_path / "a.npy", folder).returncode == 0
    assert run("embed", "-m", model, "-o", tmp_path / "b.npy", "--from-tokens", "-", stdin=printed).returncode == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    # Python writes the same names with its own escapes; reading takes both.
    again = "".join(json.dumps(json.loads(line)) + "\n" for line in printed.decode().splitlines())
    assert run("embed", "-m", model, "-o", tmp_path / "c.npy", "--from-tokens", "-", stdin=again.encode()).returncode == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "c.npy").read_bytes()
    assert [os.fsencode(n) for n in corpus(tmp_path / "a.npy")["midi_names"].tolist()] == sorted(names)


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_signals_keep_what_was_finished(model, tmp_path, number):
    """Token lines come through a pipe that stays open, so the run is surely not over when the signal comes."""
    out = tmp_path / "c.npy"
    process = subprocess.Popen([tool("embed"), "-m", model, "-o", out, "--from-tokens", "-"], stdin=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=ENV)
    journal, sent = tmp_path / "c.npy.journal", b""
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 1000):  # the first rows are synced
        ids = ",".join(["0"] + ["130", "200", "300"] * (1000 + len(sent) // 10000))
        line = f'{{"path": "{len(sent)}", "tokens": [{ids}]}}\n'.encode()
        process.stdin.write(line)
        process.stdin.flush()
        sent += line
        time.sleep(0.2)
    process.send_signal(number)
    said = process.stderr.read().decode()
    process.wait(60)
    process.stdin.close()
    assert process.returncode == 128 + number, said
    assert "not complete" in said and "run the same command again" in said
    assert sorted(os.listdir(tmp_path)) == ["c.npy.journal"]
    done = embed(model, out, "--from-tokens", "-", stdin=sent)
    again = embed(model, tmp_path / "again.npy", "--from-tokens", "-", stdin=sent)
    assert done.returncode == again.returncode == 0 and beside(out)["complete"] is True
    assert out.read_bytes() == (tmp_path / "again.npy").read_bytes() and len(corpus(out)) == sent.count(b"\n")


def test_full_disk(model, songs, tmp_path):
    """A limit on file size stands for a full disk: the old corpus and its description stay."""
    out = tmp_path / "c.npy"
    assert embed(model, out, songs).returncode == 0
    before = out.read_bytes(), (tmp_path / "c.npy.json").read_bytes()
    command = f"trap '' XFSZ; ulimit -f 0; exec '{tool('embed')}' -m '{model}' -o '{out}' --force --normalize '{songs}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=ENV)
    assert done.returncode == 1 and b"c.npy" in done.stderr, done.stderr
    assert (out.read_bytes(), (tmp_path / "c.npy.json").read_bytes()) == before
    assert sorted(os.listdir(tmp_path)) == ["c.npy", "c.npy.json", "songs"]


# ---- The original's loader ------------------------------------------------------------------------------------------


def wheel():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    found = [os.environ.get("MIDISIM_WHEEL", ""), *glob.glob(os.path.join(cache, "midisim", "*.whl"))]
    for path in found:
        if path and os.path.exists(path):
            return path
    pytest.skip("no wheel of the original: MIDISIM_WHEEL, or weights/fetch.sh keeps one")


def test_the_originals_loader_takes_it(model, songs, tmp_path):
    """Its load_embeddings, cut out of the wheel so that it needs nothing but NumPy."""
    source = zipfile.ZipFile(wheel()).read("midisim/midisim.py").decode()
    loader = next(f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef) and f.name == "load_embeddings")
    space = {"np": np, "Tuple": typing.Tuple, "Any": typing.Any}
    exec(compile(ast.Module([loader], []), "load_embeddings", "exec"), space)
    embed(model, tmp_path / "c.npy", songs)
    names, vectors = space["load_embeddings"](str(tmp_path / "c.npy"), verbose=False)
    assert names.tolist() == ["a.MID", "b-.kar", "b.mid", "b/z.mid", "c.midi"]
    assert vectors.shape == (5, 32) and vectors.dtype == np.float32


def test_the_original_searches_it(weights, songs, tmp_path):
    python = os.environ.get("MIDISIM_ORIGINAL_PYTHON")
    if not python:
        pytest.skip("MIDISIM_ORIGINAL_PYTHON: no Python with the original installed")
    embed(weights, tmp_path / "c.npy", songs, limit=600)
    script = """if 1:
        import json, sys, midisim
        names, vectors = midisim.load_embeddings(sys.argv[1], verbose=False)
        idx, sim = midisim.cosine_similarity_topk(vectors[:2], vectors, topk=3)
        print("RESULT", json.dumps([names.tolist(), list(vectors.shape), [int(i) for i in idx[:, 0]]]))
    """
    done = subprocess.run([python, "-c", script, tmp_path / "c.npy"], capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    result = json.loads(done.stdout.decode().split("RESULT ")[1].splitlines()[0])
    assert result == [["a.MID", "b-.kar", "b.mid", "b/z.mid", "c.midi"], [5, 512], [0, 1]]


def test_collection(weights, collection, tmp_path):
    """A walk lists 370 files, of which 350 have notes for the original."""
    done = run("tokens", "--max-tokens", 0, collection)
    assert len(lines(done)) == 370 and sum("tokens" in o for o in lines(done)) == 350


def test_gzip_gives_the_same_row(model, songs, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("a.MID", "b.mid"):
        (packed / (name + ".gz")).write_bytes(gzip.compress((songs / name).read_bytes()))
    embed(model, tmp_path / "p.npy", packed)
    embed(model, tmp_path / "c.npy", songs / "a.MID", songs / "b.mid")
    assert np.array_equal(corpus(tmp_path / "p.npy")["midi_embeddings"], corpus(tmp_path / "c.npy")["midi_embeddings"])
