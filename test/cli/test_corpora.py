"""Corpora in every form, as others write them: NumPy 1.26 (build/numpy1) and the installed one pickle, this file writes the
bare forms. What the library reads is compared through its C interface, row for row; then one large corpus is searched in
all forms, which must give the same lines."""
import ctypes
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

if __name__ != "__main__":
    from cli_util import BUILD, ROOT, run, text

SIZES = (0, 1, 2, 27, 28, 999, 1000, 1001, 2001)
N, DIM = 200_000, 64


# ---- What NumPy writes: also run as a script, by the other NumPy ---------------------------------------------------------


def vectors(n, dim, kind="f4"):
    """Numbers that any NumPy makes alike, different in every row, exact in f16."""
    bits = (np.arange(n * dim, dtype="u4") + 1) * np.uint32(2654435761)
    return ((bits >> 21).astype("f4") / 1024 - 1).astype("<" + kind).reshape(n, dim)


def names(n):
    """Mostly distinct; some used again as the same object, some equal but another object, some odd."""
    out = [f"folder {i % 13}/song {i}.mid" for i in range(n)]
    for i in range(0, n, 7):
        out[i] = out[i // 3]
    for i in range(5, n, 11):
        out[i] = "".join(list(out[i // 2]))
    for i, odd in enumerate(["", "q", "\u00e9\u4e16\u754c", "\U0001d11e", "it's \"quoted\"\\", "byte \udcff", "n" * 255, "n" * 256,
                             "n" * 65536, "tab\there"]):
        if 9 * i + 2 < n:
            out[9 * i + 2] = odd
    return out


def save_objects(path, who, rows):
    """As the original saves: a record of an object and a vector."""
    array = np.zeros(len(rows), [("midi_names", "O"), ("midi_embeddings", rows.dtype, rows.shape[1:])])
    array["midi_names"], array["midi_embeddings"] = who, rows
    np.save(path, array, allow_pickle=True)


def write_all(folder):
    for n in SIZES:
        for kind, dim in (("f2", 9), ("f4", 3), ("f4", 64), ("f8", 512)):
            save_objects(f"{folder}/{n}-{kind}-{dim}.npy", names(n), vectors(n, dim, kind))
    save_objects(f"{folder}/large.npy", large_names(), large_rows())


def large_names():
    out = [f"song {i:06d}.mid" for i in range(N)]
    out[N // 2] = out[17]
    return out


def large_rows():
    """Clustered, with copies of rows: ties, and rows nearly tied."""
    rng = np.random.Generator(np.random.PCG64(3))
    centres = rng.standard_normal((500, DIM), dtype=np.float32)
    rows = centres[rng.integers(500, size=N)] + np.float32(0.1) * rng.standard_normal((N, DIM), dtype=np.float32)
    rows[1000:1040] = rows[70000:70040]
    rows[123456:123466] = rows[5] * np.float32(0.5)
    return rows


if __name__ == "__main__":
    write_all(sys.argv[1])
    print(np.__version__)
    sys.exit()


@pytest.fixture(scope="session", params=["1.26", "installed"])
def written(request, tmp_path_factory):
    """A folder of pickled files, by one NumPy or the other."""
    folder = tmp_path_factory.mktemp("pickled")
    env = dict(os.environ)
    if request.param == "1.26":
        where = ROOT / "build" / "numpy1"
        if not (where / "complete").exists():
            pytest.skip("no NumPy 1.26 in build/numpy1: scripts/setup.sh test")
        env["PYTHONPATH"] = str(where)
    done = subprocess.run([sys.executable, __file__, str(folder)], env=env, stdout=subprocess.PIPE, check=True, text=True)
    protocol = 3 if int(done.stdout.split(".")[0]) < 2 else 4
    yield folder, protocol
    shutil.rmtree(folder)


# ---- The library, through its C interface -----------------------------------------------------------------------------


class Info(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64),
                ("dtype", ctypes.c_int), ("has_names", ctypes.c_int),
                ("form", ctypes.c_char * 24), ("parts", ctypes.c_int64)]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 500)]


def library():
    lib = ctypes.CDLL(str(next(BUILD.glob("libmidisim.so.*"))))
    lib.msim_corpus_name.restype = ctypes.c_int64
    return lib


class Corpus:
    def __init__(self, path, names_path=None):
        self.lib, self.handle, error = library(), ctypes.c_void_p(), Error()
        rc = self.lib.msim_corpus_open(os.fsencode(path), names_path and os.fsencode(names_path), ctypes.byref(self.handle),
                                       ctypes.byref(error))
        assert rc >= 0, error.text
        self.info = Info(size=ctypes.sizeof(Info))
        self.lib.msim_corpus_get_info(self.handle, ctypes.byref(self.info))

    def name(self, row):
        buffer = ctypes.create_string_buffer(70000)
        n = self.lib.msim_corpus_name(self.handle, ctypes.c_int64(row), buffer, ctypes.c_size_t(len(buffer)))
        return buffer.raw[:n]

    def row(self, row):
        out = np.empty(self.info.dim, "f4")
        assert self.lib.msim_corpus_vector(self.handle, ctypes.c_int64(row), out.ctypes.data_as(ctypes.c_void_p), None) >= 0
        return out

    def close(self):
        self.lib.msim_corpus_close(self.handle)


def utf8(name):
    return name.encode("utf-8", "surrogateescape")


def test_pickled_of_every_size(written):
    folder, protocol = written
    for n in SIZES:
        for kind, dim in (("f2", 9), ("f4", 3), ("f4", 64), ("f8", 512)):
            path = folder / f"{n}-{kind}-{dim}.npy"
            data = path.read_bytes()
            assert data[data.index(b"\n") + 1:][:2] == bytes([0x80, protocol])
            corpus = Corpus(path)
            assert (corpus.info.rows, corpus.info.dim, corpus.info.form, corpus.info.has_names) == (n, dim, b"pickled", 1)
            rows = vectors(n, dim, kind).astype("f4")
            assert all(corpus.row(i).tobytes() == rows[i].tobytes() for i in range(n)), path.name
            assert [corpus.name(i) for i in range(n)] == [utf8(s) for s in names(n)], path.name
            corpus.close()


def search(queries, *options, corpus):
    done = run("search", "--quiet", "--query-vectors", queries, "-k", 60, *options, *corpus)
    assert done.returncode == 0, text(done)
    return done.stdout


def write_others(folder, rows, who):
    """The same corpus in every other form: {name: options of midisim-search}."""
    array = np.zeros(N, [("midi_names", f"<U{max(map(len, who))}"), ("midi_embeddings", "<f4", (DIM,))])
    array["midi_names"], array["midi_embeddings"] = who, rows
    np.save(folder / "structured.npy", array)
    np.save(folder / "plain.npy", rows)
    fvecs = np.zeros(N, [("d", "<i4"), ("v", "<f4", (DIM,))])
    fvecs["d"], fvecs["v"] = DIM, rows
    (folder / "rows.fvecs").write_bytes(fvecs.tobytes())
    (folder / "rows.fbin").write_bytes(np.array([N, DIM], "<u4").tobytes() + rows.tobytes())
    for name in ("plain.npy", "rows.fvecs", "rows.fbin"):
        (folder / f"{name}.names").write_text("".join(s + "\n" for s in who))
    shards, cuts = folder / "shards", (0, 1, 999, 60_000, 60_000, 131_072, N)
    shards.mkdir()
    np.save(shards / "a.npy", array[:1])
    save_objects(shards / "b.npy", who[1:999], rows[1:999])
    (shards / "c.fvecs").write_bytes(fvecs[999:60_000].tobytes())
    save_objects(shards / "d.npy", [], rows[:0])
    (shards / "e.fbin").write_bytes(np.array([131_072 - 60_000, DIM], "<u4").tobytes() + rows[60_000:131_072].tobytes())
    np.save(shards / "f.npy", rows[131_072:])
    for name, first, end in (("c.fvecs", 999, 60_000), ("e.fbin", 60_000, 131_072), ("f.npy", 131_072, N)):
        (shards / f"{name}.names").write_text("".join(s + "\n" for s in who[first:end]))
    assert len(cuts) - 1 == len([p for p in shards.iterdir() if p.suffix != ".names"])
    single = {name: ["-c", folder / name] for name in ("structured.npy", "plain.npy", "rows.fvecs", "rows.fbin", "shards")}
    return single | {"-c repeated": [x for p in sorted(shards.iterdir()) if p.suffix != ".names" for x in ("-c", p)]}


def test_one_corpus_in_every_form(written, tmp_path):
    """200,000 rows written by NumPy as the original does, and the same rows in every other form: the same lines."""
    folder, _ = written
    rows, who = large_rows(), large_names()
    queries = np.concatenate([rows[[5, 1007, 199_999]], rows[:2] + rows[7:9]])
    np.save(tmp_path / "q.npy", queries)
    expected = search(tmp_path / "q.npy", corpus=["-c", folder / "large.npy"])
    listed = [line.split(b"\t") for line in expected.splitlines()]
    assert len(listed) == 1 + 5 * 60
    exact = queries.astype("f8") @ rows.astype("f8").T
    exact /= np.linalg.norm(queries.astype("f8"), axis=1)[:, None] * np.linalg.norm(rows.astype("f8"), axis=1)
    column = {name: i for i, name in enumerate(listed[0])}
    for q in range(5):  # against NumPy, whose sums are of another order; scores are printed rounded to f32
        best = np.sort(exact[q])[::-1][:60]
        mine = listed[1 + 60 * q:61 + 60 * q]
        assert np.allclose([float(m[column[b"score"]]) for m in mine], best, rtol=0, atol=2**-24)
        assert all(m[column[b"name"]] == utf8(who[int(m[column[b"row"]])]) for m in mine)
        assert np.allclose([exact[q][int(m[column[b"row"]])] for m in mine], best, rtol=0, atol=1e-12)
    others = write_others(tmp_path, rows, who)
    others["scored whole"] = ["-c", folder / "large.npy", "--scan", "f64"]
    others["one thread"] = ["-c", folder / "large.npy", "--threads", "1"]
    for name, corpus in others.items():
        assert search(tmp_path / "q.npy", corpus=corpus) == expected, name


def test_private_memory(written):
    """Rows and names stay in the file: 16 bytes a row are kept, and a few MiB for the machine and for rounding up."""
    folder, _ = written
    script = """if 1:
        import ctypes, sys
        def anonymous():
            return sum(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("RssAnon"))
        lib, handle = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p()
        before = anonymous()
        assert lib.msim_corpus_open(sys.argv[2].encode(), None, ctypes.byref(handle), None) >= 0
        print(anonymous() - before)
    """
    path = folder / "large.npy"
    done = subprocess.run([sys.executable, "-c", script, next(BUILD.glob("libmidisim.so.*")), path], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) < 16 * N + (8 << 20) < 4 * N * DIM / 4


def test_the_originals_samples(tmp_path):
    """What the original saved under NumPy 1.26 and 2.x: the same rows and names, and the same answers."""
    golden = pathlib.Path(os.environ.get("MIDISIM_TEST_DATA", ROOT.parent / "shared" / "midi")).parent / "golden"
    samples = [golden / "corpus_numpy1.npy", golden / "corpus_numpy2.npy"]
    if not all(p.exists() for p in samples):
        pytest.skip("the samples of the original are not here")
    rows = np.load(golden / "embeddings.npz")["f32"][:60]
    answers = []
    for sample in samples:
        saved = np.load(sample, allow_pickle=True)
        corpus = Corpus(sample)
        assert (corpus.info.rows, corpus.info.dim) == (60, 512)
        for i in range(60):
            assert corpus.row(i).tobytes() == rows[i].tobytes()
            assert corpus.name(i) == utf8(saved["midi_names"][i])
        corpus.close()
        np.save(tmp_path / "q.npy", rows[:7])
        answers.append(search(tmp_path / "q.npy", corpus=["-c", sample]))
    np.save(tmp_path / "plain.npy", rows)
    (tmp_path / "names").write_bytes(b"".join(utf8(s) + b"\n" for s in saved["midi_names"]))
    answers.append(search(tmp_path / "q.npy", corpus=["-c", tmp_path / "plain.npy", "--names-file", tmp_path / "names"]))
    assert answers[0] == answers[1] == answers[2] and len(answers[0].splitlines()) == 1 + 7 * 60


def refused(path, *words, tool=("convert", "--info")):
    done = run(*tool, path)
    assert done.returncode == 1 and len(text(done).splitlines()) == 1, text(done)
    assert all(word in text(done) for word in (path.name, *words)), text(done)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_raw_pickles_are_refused(protocol, tmp_path):
    array = np.zeros(2, [("midi_names", "O"), ("midi_embeddings", "<f4", (4,))])
    array["midi_names"] = ["a", "b"]
    path = tmp_path / "raw.npy"
    path.write_bytes(pickle.dumps(array, protocol))
    np.save(tmp_path / "q.npy", array["midi_embeddings"])
    refused(path, f"a raw pickle of protocol {protocol}", "numpy.save", tool=("search", "--query-vectors", tmp_path / "q.npy", "-c"))


def test_object_arrays_that_are_no_corpus(tmp_path):
    path = tmp_path / "o.npy"
    rows = vectors(3, 4)
    for who, words in (([pathlib.PurePosixPath("a"), "b", "c"], ["pathlib", "(row 0)"]), (["a", 3, "c"], ["a str", "(row 1)"]),
                       (["a", "b", None], ["None", "(row 2)"]), ([np.str_("a"), "b", "c"], ["NumPy scalar", "str(n)"]),
                       (["a", b"b", "c"], ["a str", "bytes", "(row 1)"]), (["a", "n" * 65537, "c"], ["65536", "(row 1)"])):
        save_objects(path, who, rows)
        refused(path, *words)
    for array in (np.array(["a", None], dtype=object), np.zeros(2, [("v", "<f4", (4,)), ("n", "O")]),
                  np.zeros(2, [("n", "O"), ("v", "<f4", (4,)), ("m", "O")]), np.zeros((2, 1), [("n", "O"), ("v", "<f4", (4,))])):
        np.save(path, array, allow_pickle=True)
        refused(path, "are not records of a name")
    big = np.zeros(2, [("n", "O"), ("v", ">f4", (4,))])
    np.save(path, big, allow_pickle=True)
    refused(path, "big-endian")


def test_damaged_pickles(tmp_path):
    """Cut anywhere, or with bytes behind: one line with the offset, and nothing is written."""
    save_objects(tmp_path / "good.npy", names(2001), vectors(2001, 16))
    data = (tmp_path / "good.npy").read_bytes()
    path, out = tmp_path / "bad.npy", tmp_path / "out.npy"
    rng = np.random.default_rng(1)
    for cut in [*rng.integers(200, len(data), 12).tolist(), len(data) - 1]:
        path.write_bytes(data[:cut])
        refused(path, "byte ")
    path.write_bytes(data + b"\0")
    refused(path, "1 bytes follow the end of the pickle")
    done = run("convert", path, out, "--form", "structured")
    assert done.returncode == 1 and not out.exists() and json.dumps(sorted(p.name for p in tmp_path.iterdir())) == \
        '["bad.npy", "good.npy"]'
