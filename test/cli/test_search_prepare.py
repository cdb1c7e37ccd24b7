"""midisim-search --prepare, --cache, --verify and --scan: where quantised rows lie, when they are written anew, and that no
answer depends on them."""
import os
import signal
import subprocess

import numpy as np
import pytest
from cli_util import ENV, lines, run, text, tool
from search_util import named, scores, shown

DIM = 48
N = 3000


def make_rows(seed, n=N):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, DIM)).astype("f4") + np.float32(0.7)
    rows[100:200] = rows[:100] + 1e-3 * rng.standard_normal((100, DIM)).astype("f4")
    rows[200:240] = 2 * rows[7]
    rows[250] = 0
    rows[251, 3] = np.nan
    rows[252] = 1e-30 * rows[7]
    return rows


@pytest.fixture
def corpus(tmp_path):
    rows = make_rows(1)
    folder = tmp_path / "data"
    folder.mkdir()
    return {"path": named(folder / "c.npy", [f"n{i}" for i in range(N)], rows), "rows": rows, "folder": folder,
            "copy": folder / "c.npy.msim"}


def search(corpus, *arguments, row=7, **more):
    return run("search", "-c", corpus["path"], "--json", "--like", f"n{row}", *arguments, **more)


def prepare(corpus, *arguments, **more):
    return run("search", "-c", corpus["path"], "--prepare", *arguments, **more)


def plain(corpus, *arguments):
    """The answer without any copy."""
    done = search(corpus, "--scan", "f64", *arguments)
    return lines(done)[0]["matches"]


def check(corpus, *arguments, scan=None):
    done = search(corpus, *arguments)
    assert done.returncode == 0, text(done)
    (answer,) = lines(done)
    assert answer["matches"] == plain(corpus) and (scan is None or answer["scan"] == scan)
    return done, answer


def test_prepare(corpus):
    score = scores(corpus["rows"][7], corpus["rows"])
    wanted = [(r, shown(-s)) for s, r in sorted(zip(-score, range(N)))[:16]]
    assert [(m["row"], m["score"]) for m in plain(corpus)] == wanted
    done = prepare(corpus)
    assert done.returncode == 0 and done.stdout == b"" and b"wrote" in done.stderr
    assert corpus["copy"].exists() and sorted(p.name for p in corpus["folder"].iterdir()) == ["c.npy", "c.npy.msim"]
    before = corpus["copy"].stat()
    for options in ([], ["--verify"]):
        done = prepare(corpus, *options)
        assert done.returncode == 0 and b"fits" in done.stderr and (b"all of it" in done.stderr) == bool(options)
    assert corpus["copy"].stat().st_ino == before.st_ino and corpus["copy"].stat().st_mtime_ns == before.st_mtime_ns
    check(corpus, "--scan", "int8", scan="int8")
    done, answer = check(corpus)
    assert answer["scan"] in ("int8", "f32") and done.stderr.count(b"\n") == 2  # the NaN, the summary
    check(corpus, "--scan", "f32", scan="f32")
    done = search(corpus, "--scan", "bf16")
    assert done.returncode == 2 and b"--prepare" in done.stderr and done.stdout == b""


def test_prepare_with_a_query(corpus):
    done, answer = check(corpus, "--prepare")
    assert corpus["copy"].exists() and answer["scan"] in ("int8", "f32") and b"wrote" in done.stderr


def test_both_forms_in_one_file(corpus):
    assert prepare(corpus, "--scan", "bf16").returncode == 0
    check(corpus, "--scan", "bf16", scan="bf16")
    small = corpus["copy"].stat().st_size
    assert search(corpus, "--scan", "int8").returncode == 2
    done = prepare(corpus)
    assert done.returncode == 0 and b"wrote" in done.stderr and corpus["copy"].stat().st_size > small
    check(corpus, "--scan", "int8", scan="int8")
    check(corpus, "--scan", "bf16", scan="bf16")


def test_options_with_a_copy(corpus):
    prepare(corpus)
    for options in (["-k", "500"], ["--threshold", "0.4"], ["--exclude-self", "-k", "30"],
                    ["--exclude", "n200", "--exclude", "n8", "-k", "60"], ["-k", "10000"]):
        done = search(corpus, "--scan", "int8", *options)
        assert done.returncode == 0 and lines(done)[0]["matches"] == plain(corpus, *options), options
    done = search(corpus, "--metric", "ip")
    assert done.returncode == 0 and lines(done)[0]["scan"] == "f32"


def damage(corpus, at, mask=0x40):
    raw = bytearray(corpus["copy"].read_bytes())
    raw[at] ^= mask
    corpus["copy"].write_bytes(raw)


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "header", "of others", "folder"])
def test_copies_that_do_not_fit(corpus, kind):
    """Each is left alone with one warning, and replaced by --prepare."""
    prepare(corpus)
    good = corpus["copy"].read_bytes()
    if kind == "folder":
        corpus["copy"].unlink()
        corpus["copy"].mkdir()
    elif kind == "of others":
        other = {"path": named(corpus["folder"] / "o.npy", [str(i) for i in range(N)], make_rows(2))}
        prepare(other)
        os.replace(corpus["folder"] / "o.npy.msim", corpus["copy"])
    else:
        corpus["copy"].write_bytes({"truncated": good[:-100], "empty": b"", "text": b"x" * 9999,
                                    "header": good[:8] + bytes([good[8] ^ 1]) + good[9:]}[kind])
    done, answer = check(corpus)
    assert answer["scan"] == "f32" and text(done).count("quantised rows not used") == 1, text(done)
    done = search(corpus, "--scan", "int8")
    assert done.returncode == 2 and done.stdout == b""
    done = prepare(corpus)
    if kind == "folder":
        assert done.returncode == 1 and done.stdout == b""
        return
    assert done.returncode == 0 and b"written anew" in done.stderr and corpus["copy"].read_bytes() == good
    check(corpus, "--scan", "int8", scan="int8")


def test_rows_that_changed(corpus):
    prepare(corpus)
    rows = corpus["rows"].copy()
    rows[1234] += 1
    named(corpus["path"], [f"n{i}" for i in range(N)], rows)
    done = search(corpus)
    assert done.returncode == 0 and b"quantised rows not used" in done.stderr and lines(done)[0]["matches"] == plain(corpus)
    assert b"written anew" in prepare(corpus).stderr
    check(corpus, "--scan", "int8", scan="int8")


def test_verify_sees_every_bit(corpus):
    """A sample may miss a bit; --verify may not."""
    prepare(corpus)
    good = corpus["copy"].read_bytes()
    for at in np.random.default_rng(3).integers(len(good) // 2, len(good), 6):
        damage(corpus, int(at))
        done = prepare(corpus, "--verify")
        assert done.returncode == 0 and b"written anew" in done.stderr and corpus["copy"].read_bytes() == good, at


def test_parts(tmp_path):
    rows, shards = make_rows(1), tmp_path / "shards"
    shards.mkdir()
    for i, (a, b) in enumerate(((0, 1000), (1000, 1000), (1000, N))):
        named(shards / f"{i}.npy", [f"n{j}" for j in range(a, b)], rows[a:b])
    corpus = {"path": shards}
    assert prepare(corpus).returncode == 0
    assert sorted(p.name for p in shards.iterdir()) == ["0.npy", "0.npy.msim", "1.npy", "2.npy", "2.npy.msim"]
    check(corpus, "--scan", "int8", scan="int8")
    for i in (0, 2):
        (shards / f"{i}.npy.msim").write_bytes(b"no copy")
    done, answer = check(corpus)
    assert answer["scan"] == "f32" and text(done).count("quantised rows not used") == 1
    (shards / "0.npy.msim").unlink()
    (shards / "2.npy.msim").unlink()
    prepare({"path": shards / "0.npy"})
    done, answer = check(corpus)
    assert answer["scan"] == "f32" and "quantised rows" not in text(done)
    done = search(corpus, "--scan", "int8")
    assert done.returncode == 2 and b"2.npy" in done.stderr


def test_cache(corpus, tmp_path):
    cache = tmp_path / "cache"
    done, _ = check(corpus, "--cache", cache)
    (copy,) = cache.iterdir()
    assert b"wrote" in done.stderr and copy.name.endswith("-c.npy.msim") and not corpus["copy"].exists()
    before = copy.stat().st_mtime_ns
    done, _ = check(corpus, "--cache", cache, "--scan", "int8", scan="int8")
    assert b"wrote" not in done.stderr and copy.stat().st_mtime_ns == before
    # The same file by another path; another file of the same name.
    done = run("search", "-c", "../data/c.npy", "--prepare", "--cache", cache, cwd=corpus["folder"])
    assert done.returncode == 0 and b"fits" in done.stderr
    (tmp_path / "more").mkdir()
    other = {"path": named(tmp_path / "more" / "c.npy", [f"n{i}" for i in range(N)], make_rows(9))}
    check(other, "--cache", cache)
    assert len(list(cache.iterdir())) == 2
    check(corpus, "--cache", cache, "--scan", "int8", scan="int8")
    # Damage is repaired without a word; a copy beside the corpus serves too.
    copy.write_bytes(b"damaged")
    done, _ = check(corpus, "--cache", cache, "--scan", "int8", scan="int8")
    assert b"warning: small" not in done.stderr and b"wrote" in done.stderr
    copy.unlink()
    prepare(corpus)
    done, _ = check(corpus, "--cache", cache)
    assert b"wrote" not in done.stderr and len(list(cache.iterdir())) == 1


def test_cache_that_cannot_be(corpus, tmp_path):
    done = search(corpus, "--cache", tmp_path / "absent" / "deep")
    assert done.returncode == 1 and b"cannot make the folder" in done.stderr and done.stdout == b""
    (tmp_path / "file").write_bytes(b"")
    done, answer = check(corpus, "--cache", tmp_path / "file")
    assert answer["scan"] == "f32" and b"quantised rows not used" in done.stderr
    done = prepare(corpus, "--cache", tmp_path / "file")
    assert done.returncode == 1 and done.stdout == b""
    assert (tmp_path / "file").read_bytes() == b""


def test_stop_while_preparing(tmp_path):
    """Whenever the signal comes: nothing half written, no temporary file."""
    np.save(tmp_path / "c.npy", np.random.default_rng(1).standard_normal((60000, 128)).astype("f4"))
    for delay in (0, 0.02, 0.05, 0.1):
        process = subprocess.Popen([tool("search"), "-c", str(tmp_path / "c.npy"), "--prepare", "--threads", "1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
        try:
            process.wait(timeout=delay + 0.001)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert out == b"" and process.returncode in (0, 143, -signal.SIGTERM)  # the last: before it was caught
        assert {p.name for p in tmp_path.iterdir()} <= {"c.npy", "c.npy.msim"}
        (tmp_path / "c.npy.msim").unlink(missing_ok=True)
