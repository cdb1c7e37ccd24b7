"""midisim-convert on corpora: every form and type, byte for byte as NumPy writes them, shards into one, what is refused.

Pickled output is compared with NumPy 1.26 itself where build/numpy1 has it (scripts/setup.sh test), and always with the
hashes of what it wrote: SHA256 below, which `python test/cli/test_convert_forms.py` prints again under that NumPy.
"""
import ast
import ctypes
import hashlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np

if __name__ != "__main__":
    import pytest
    from cli_util import BUILD, ENV, ROOT, run, text, tool

COUNTS = (0, 1, 2, 27, 28, 255, 256, 999, 1000, 1001, 2001, 9000, 70000)
CASES = {f"{n}x{dim}-{kind}": (n, dim, kind) for n in COUNTS for dim, kind in ((3, "f4"), (9, "f2"))} | {
    f"{n}x{dim}-{kind}": (n, dim, kind) for n in (1, 300) for dim, kind in ((512, "f4"), (512, "f2"), (63, "f4"), (64, "f4"))}
SHA256 = {
    "0x3-f4": "5a390298ddf824b9c7137ad7e5a4e6a6221b7d7537ad54a20e150099b0bd0f60",
    "0x9-f2": "4b89f627ea8352c39d9f78ee8f3b2fd8eb5172342117f5067def0377a3c84f10",
    "1x3-f4": "b3655c3ab06aff9e51f2ab64ab48f49985aef125e65c9c2c37e822ff92216922",
    "1x9-f2": "24052faf1f1caa679e0e37668714cba5dafc4e4c6ae0846a9a9af898ceed1167",
    "2x3-f4": "60d8cf72f540a394f5c092fc55bfa04520f10a9979e5050c9e9c3b3f9b0b46fc",
    "2x9-f2": "aca5b3af67a9462bdff8d91f3cb9c65e1cf57a6006c1e40db91407d81855524c",
    "27x3-f4": "a90f3bb379d0e8146f7a74f523fcebcc15326c18d225bfc86504afd6db6fad0b",
    "27x9-f2": "5db79d60ce88227ab88bbd3a270075add84fd74f015e2968c02ec05f58e54a23",
    "28x3-f4": "4fe3c631191282382af71a3aa484229c06cd861ececd34488f86d20d9738d101",
    "28x9-f2": "b10cc5e0e445d2ad240c765f8bc9b4fdf06da21c6c21b411a0f087c04595f395",
    "255x3-f4": "111c7654bd0339d7d2683418a8094bf8c8ab06277db524da96842a5f215417c0",
    "255x9-f2": "8961ad0c949deca7920225e4058e524511aa82de7d40bb7f7f53ad2dfc3e4f6d",
    "256x3-f4": "94d184c92d0fca5094c174c175992ff845201fe7470dcb8a66a1976d5bddd84a",
    "256x9-f2": "d067cdad8f50284183d6836f44d224e3b365d615a63aeb11d1225c5642cbb189",
    "999x3-f4": "238e30e74c3c9d8f931c0848daba123fc8a45a0a4db0936ebe288d98bef7c8b2",
    "999x9-f2": "fb6ac32c067f280dbbdf82906be57c1a6b9e566e22adab86f150546798414d31",
    "1000x3-f4": "64400c30126506900a3ef7e7c4f58d63300a98375f9be213196637a936af5181",
    "1000x9-f2": "59c1f6972324949791bc1e58e8df57372813a0ede83986421181e95dbc54976f",
    "1001x3-f4": "2bacfaf19092f83d20adae2e1fc6bbbffebd7081f9bb7f873e5bc6e8cdd5d307",
    "1001x9-f2": "fd8408381b8d0fe30ff555cd4efefa2e552c0bd207440f518fea3260bbd500af",
    "2001x3-f4": "e9c3450be7bfa7e7cf771958055b742705f2d6a5dcd4982f31eca590e00a66d1",
    "2001x9-f2": "2a07446b2e1e4ff22ba9cdc0678358eb9ae79986507afe8d1dfee8b6ef1e025d",
    "9000x3-f4": "14cdc8bd12ebdee5c7223ae9cb38647828845da51c59fcce09bed48ce8505d8e",
    "9000x9-f2": "4f46cbabb7a13c8961b27fd46f1a704234dda220033461de4ef12549860aadaa",
    "70000x3-f4": "73c603adbdd7c933dad98d603e1bea1bd14c22f1c1de9e77c0fbf5d8cc37c8a1",
    "70000x9-f2": "47605fa1397dc60309d71c10b9f54f75b759f8a4bb28ddf850ab43d74bf28e3a",
    "1x512-f4": "c76f80adb83ad191c7f784b4f9f77ff9ace0a35fc4abe125d8271abb3f930031",
    "1x512-f2": "6e565f911ef1b9408030ec43cf89f50da44b957ed078f01a1bd388afdee230ad",
    "1x63-f4": "452c3ae6c17a59419cc396666473bc7f961d6573c52bc999aa88740bab919f3b",
    "1x64-f4": "4a1a494b89033309d5d2c5df94b32642669a76cce565491926a4e20464ae03ad",
    "300x512-f4": "77dd030b5f2d0db87ed61b20c595a7fe6d8164207d1b30ae5f3aa21ca20fb95f",
    "300x512-f2": "02e726b03498d2946caf26c55907ef165cc1a9747a6249a9e4af3c394182d8a2",
    "300x63-f4": "fce90def62061a6dd7a725ad7d48145d9959746519bb5a3861d6f4852f7ccb11",
    "300x64-f4": "06709921575f29d5837cdab4ce17d22cbf72055bd7f2d81b65881d972d0d3270",
}


def vectors(n, dim, kind):
    """Numbers that any NumPy makes alike, exact in f16 (and in bf16 for f2)."""
    bits = (np.arange(n * dim, dtype="u4") + 1) * np.uint32(2654435761)
    if kind == "f4":
        return ((bits >> 8).astype("f4") / 2**23 - 1).reshape(n, dim)
    return ((bits >> 24).astype("f4") / 128 - 1).astype("f2").reshape(n, dim)


def names(n):
    """Mostly distinct; repeated short ones, empty ones, other alphabets, and bytes that are not UTF-8."""
    odd = {3: "", 5: "é", 6: "a", 8: "", 11: "é", 12: "a", 13: "♫", 14: "♫", 17: "|", 19: "<", 20: "\udcff", 21: "x\udc80/y",
           23: "日本語/曲.mid", 24: "𝄞.kar", 25: "q'\"\\", 26: " ", 256: "z" * 300}
    return [odd.get(i, f"folder/{i:05d} piece.mid") for i in range(n)]


def structured(n, dim, kind, fields=("midi_names", "midi_embeddings")):
    said = names(n)
    rows = np.zeros(n, [(fields[0], f"<U{max(map(len, said), default=1) or 1}"), (fields[1], "<" + kind, (dim,))])
    rows[fields[0]], rows[fields[1]] = said, vectors(n, dim, kind)
    return rows


def save_as_objects(path, rows):
    """As the original's save function does it: names as distinct Python objects."""
    fields = rows.dtype.names
    out = np.empty(len(rows), [(fields[0], object), (fields[1], rows.dtype[1].base, rows.dtype[1].shape)])
    out[fields[0]] = rows[fields[0]].tolist()
    out[fields[1]] = rows[fields[1]]
    np.save(path, out)


def make_references(folder):
    """Under NumPy 1.26: {case: SHA-256}, and the files in `folder`."""
    assert np.__version__.startswith("1.26."), np.__version__
    made = {}
    for case, shape in CASES.items():
        save_as_objects(os.path.join(folder, case + ".npy"), structured(*shape))
        with open(os.path.join(folder, case + ".npy"), "rb") as f:
            made[case] = hashlib.sha256(f.read()).hexdigest()
    return made


if __name__ == "__main__":
    print(json.dumps(make_references(sys.argv[1]), indent=4))
    sys.exit()


def convert(*arguments, ok=0, **more):
    done = run("convert", *arguments, **more)
    assert done.returncode == ok, text(done)
    return text(done)


def info(path, *more):
    return json.loads(run("convert", "--info", "--json", *more, path).stdout)


def lines_of(path):
    return [line.decode("utf-8", "surrogateescape") for line in path.read_bytes().split(b"\n")[:-1]]


# ---- Pickled, as NumPy 1.26 writes it -----------------------------------------------------------------------------------


def make_pickled(folder, case):
    np.save(folder / "in.npy", structured(*CASES[case]))
    convert("--quiet", "--force", "--form", "pickled", folder / "in.npy", folder / "out.npy")
    return folder / "out.npy"


@pytest.mark.parametrize("case", CASES)
def test_pickled_has_the_hash_of_numpys(case, tmp_path):
    assert hashlib.sha256(make_pickled(tmp_path, case).read_bytes()).hexdigest() == SHA256[case]


def numpy1():
    """An environment in which Python finds NumPy 1.26."""
    where = ROOT / "build" / "numpy1"
    env = dict(os.environ, PYTHONPATH=str(where))
    if not (where / "complete").exists():
        pytest.skip("no NumPy 1.26 in build/numpy1: scripts/setup.sh test")
    return env


def test_pickled_is_numpys(tmp_path):
    (tmp_path / "wanted").mkdir()
    done = subprocess.run([sys.executable, __file__, str(tmp_path / "wanted")], env=numpy1(), capture_output=True, check=True)
    assert json.loads(done.stdout) == SHA256
    for case in CASES:
        assert make_pickled(tmp_path, case).read_bytes() == (tmp_path / "wanted" / (case + ".npy")).read_bytes(), case


def test_the_originals_functions(tmp_path):
    """What its save function writes, ours writes; what ours writes, its load function reads."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "midisim"
    wheels = [pathlib.Path(p) for p in (os.environ.get("MIDISIM_WHEEL"), *cache.glob("*.whl")) if p and os.path.exists(p)]
    if not wheels:
        pytest.skip("no wheel of the original: MIDISIM_WHEEL, or weights/fetch.sh keeps one")
    source = zipfile.ZipFile(wheels[0]).read("midisim/midisim.py").decode()
    wanted = [f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef) and f.name in ("load_embeddings", "save_embeddings")]
    (tmp_path / "functions.py").write_text(
        "import numpy as np\nfrom typing import *\nclass torch:\n    class Tensor: pass\n" + ast.unparse(ast.Module(wanted, [])))
    rows = structured(1234, 40, "f4")
    np.save(tmp_path / "in.npy", rows)
    convert("--form", "pickled", tmp_path / "in.npy", tmp_path / "ours.npy")
    script = """if 1:
        import numpy as np, functions
        rows = np.load("in.npy")
        functions.save_embeddings(rows["midi_names"].tolist(), rows["midi_embeddings"], output_file_name="its.npy", verbose=False)
        names, vectors = functions.load_embeddings("ours.npy", verbose=False)
        assert names.tolist() == rows["midi_names"].tolist() and vectors.tobytes() == rows["midi_embeddings"].tobytes()
        assert vectors.dtype == np.float32
    """
    env = numpy1()
    env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "its.npy").read_bytes() == (tmp_path / "ours.npy").read_bytes()


@pytest.mark.parametrize("case", ["60x512"])
def test_the_originals_sample(case, tmp_path):
    """A file that the original saved, through the mapped form and back, is the same file."""
    sample = ROOT.parent / "shared" / "golden" / "corpus_numpy1.npy"
    if not sample.exists():
        pytest.skip("the sample of the original is not here")
    convert("--form", "structured", sample, tmp_path / "mapped.npy")
    convert("--form", "pickled", tmp_path / "mapped.npy", tmp_path / "again.npy")
    convert("--form", "pickled", sample, tmp_path / "direct.npy")
    assert (tmp_path / "again.npy").read_bytes() == (tmp_path / "direct.npy").read_bytes() == sample.read_bytes()


# ---- Every form and type ------------------------------------------------------------------------------------------------

FORMS = {"structured": ("f32", "f16"), "plain": ("f32", "f16", "bf16"), "pickled": ("f32", "f16"), "fvecs": ("f32",),
         "fbin": ("f32",)}
ALL = [(form, dtype) for form, dtypes in FORMS.items() for dtype in dtypes]


def bf16_bits(values):
    bits = np.ascontiguousarray(values, "<f4").view("<u4").astype("u8")
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")


@pytest.mark.parametrize("form,dtype", ALL)
def test_written_as_others_read_it(form, dtype, tmp_path):
    rows = structured(300, 7, "f4")
    np.save(tmp_path / "in.npy", rows)
    out = tmp_path / "out"
    said = convert("--form", form, "--dtype", dtype, tmp_path / "in.npy", out)
    assert f"{form}, 300 rows of 7, {dtype}" in said
    raw, wanted = out.read_bytes(), rows["midi_embeddings"].astype("f2" if dtype == "f16" else "f4")
    if form == "structured":
        expected = rows.astype([("midi_names", rows.dtype[0]), ("midi_embeddings", wanted.dtype, (7,))])
        np.save(tmp_path / "ref.npy", expected)
        assert raw == (tmp_path / "ref.npy").read_bytes()
    elif form == "plain":
        np.save(tmp_path / "ref.npy", bf16_bits(wanted).view("V2").reshape(300, 7) if dtype == "bf16" else wanted)
        assert raw == (tmp_path / "ref.npy").read_bytes()
    elif form == "fvecs":
        got = np.frombuffer(raw, "<i4").reshape(300, 8)
        assert (got[:, 0] == 7).all() and got[:, 1:].tobytes() == wanted.tobytes()
    elif form == "fbin":
        assert np.frombuffer(raw[:8], "<u4").tolist() == [300, 7] and raw[8:] == wanted.tobytes()
    else:
        got = np.load(out, allow_pickle=True)
        assert got["midi_names"].tolist() == names(300) and got["midi_embeddings"].tobytes() == wanted.tobytes()
    has_names = form in ("plain", "fvecs", "fbin")
    assert sorted(os.listdir(tmp_path)) == sorted({"in.npy", "out"} | ({"out.names"} if has_names else set())
                                                  | ({"ref.npy"} if form in ("structured", "plain") else set()))
    if has_names:
        assert lines_of(tmp_path / "out.names") == names(300)


SUFFIX = {"fvecs": ".fvecs", "fbin": ".fbin"}


@pytest.mark.parametrize("form,dtype", ALL)
@pytest.mark.parametrize("n", [0, 1, 300])
def test_round_trip(form, dtype, n, tmp_path):
    """Through each form and back: the same bytes, for numbers that all types hold."""
    rows = structured(n, 7, "f2")
    np.save(tmp_path / "in.npy", rows)
    there = tmp_path / ("there" + SUFFIX.get(form, ".npy"))
    convert("--form", form, "--dtype", dtype, tmp_path / "in.npy", there)
    if form == "fvecs" and n == 0:
        return  # an empty file says no width
    found = info(there)
    assert (found["form"], found["rows"], found["dim"], found["dtype"], found["names"]) == (form, n, 7, dtype, True)
    convert("--form", "structured", "--dtype", "f16", there, tmp_path / "back.npy")
    assert (tmp_path / "back.npy").read_bytes() == (tmp_path / "in.npy").read_bytes()
    assert "ok" in run("convert", "--verify", there).stdout.decode()
    # Without --dtype the type stays where the form has it.
    convert("--form", "plain", there, tmp_path / "same.npy")
    assert info(tmp_path / "same.npy")["dtype"] == dtype


def test_several_files_and_folders(tmp_path):
    rows = structured(30, 4, "f4")
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards" / "a.npy", rows[:10])
    np.save(tmp_path / "shards" / "b.npy", rows[10:11])
    np.save(tmp_path / "c.npy", rows[11:])
    np.save(tmp_path / "ref.npy", rows)
    convert("--form", "structured", tmp_path / "shards", tmp_path / "c.npy", "-o", tmp_path / "all.npy")
    assert (tmp_path / "all.npy").read_bytes() == (tmp_path / "ref.npy").read_bytes()
    assert [f["rows"] for f in info(tmp_path / "shards")["files"]] == [10, 1]
    # Types that differ become f32 rather than the first one's.
    half = structured(3, 4, "f2")
    np.save(tmp_path / "half.npy", half)
    convert("--form", "plain", tmp_path / "half.npy", tmp_path / "c.npy", tmp_path / "both.npy")
    assert np.load(tmp_path / "both.npy").tobytes() == np.concatenate(
        [half["midi_embeddings"].astype("f4"), rows["midi_embeddings"][11:]]).tobytes()


def test_fields_and_names_file(tmp_path):
    np.save(tmp_path / "in.npy", vectors(3, 4, "f4"))
    (tmp_path / "names").write_text("one\ntwo\nthree\n")
    convert("--form", "pickled", "--name-field", "who", "--vector-field", "what", "--names-file", tmp_path / "names",
            tmp_path / "in.npy", tmp_path / "out.npy")
    got = np.load(tmp_path / "out.npy", allow_pickle=True)
    assert got.dtype.names == ("who", "what") and got["who"].tolist() == ["one", "two", "three"]
    convert("--form", "structured", tmp_path / "in.npy", tmp_path / "numbers.npy")
    assert np.load(tmp_path / "numbers.npy")["midi_names"].tolist() == ["0", "1", "2"]


# ---- Refused ------------------------------------------------------------------------------------------------------------


def only_these(folder, *wanted):
    assert sorted(os.listdir(folder)) == sorted(wanted)


def test_not_finite(tmp_path):
    rows = structured(300, 4, "f4")
    rows["midi_embeddings"][280, 2], rows["midi_embeddings"][290, 0] = np.nan, -np.inf
    np.save(tmp_path / "in.npy", rows)
    for form in FORMS:
        said = convert("--form", form, tmp_path / "in.npy", tmp_path / "out.npy", ok=1)
        assert "row 280 ('folder/00280 piece.mid'): component 2" in said and "got nan" in said and said.count("\n") == 1
        only_these(tmp_path, "in.npy")
    assert "2 rows with NaN or infinity kept" in convert("--form", "plain", "--keep-nonfinite", tmp_path / "in.npy", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tobytes() == rows["midi_embeddings"].tobytes()
    done = run("convert", "--verify", "--json", tmp_path / "out.npy")
    assert done.returncode == 1 and json.loads(done.stdout)["nonfinite_rows"] == 2


@pytest.mark.parametrize("dtype,largest,too_large", [("f16", 65519, 65520), ("bf16", 3.3961e38, 3.3962e38)])
def test_overflow(dtype, largest, too_large, tmp_path):
    rows = structured(5, 4, "f4")
    rows["midi_embeddings"][3, 1] = largest
    np.save(tmp_path / "in.npy", rows)
    convert("--form", "plain", "--dtype", dtype, tmp_path / "in.npy", tmp_path / "out.npy")
    rows["midi_embeddings"][3, 1] = -too_large
    np.save(tmp_path / "in.npy", rows)
    said = convert("--form", "plain", "--force", "--dtype", dtype, tmp_path / "in.npy", tmp_path / "new.npy", ok=1)
    assert "row 3: component 1" in said and f"within {dtype}" in said and "'' of" in said
    only_these(tmp_path, "in.npy", "out.npy", "out.npy.names")


def test_names_that_are_no_lines(tmp_path):
    rows = structured(2, 4, "f4")
    for bad in (["a", "b\nc"], ["a\r", "b"]):
        rows["midi_names"] = bad
        np.save(tmp_path / "in.npy", rows)
        for form in ("plain", "fvecs", "fbin"):
            convert("--form", form, tmp_path / "in.npy", tmp_path / "out.npy", ok=1)
            only_these(tmp_path, "in.npy")
        for form in ("structured", "pickled"):
            convert("--quiet", "--form", form, tmp_path / "in.npy", tmp_path / "out.npy")
            assert np.load(tmp_path / "out.npy", allow_pickle=True)["midi_names"].tolist() == bad
            os.remove(tmp_path / "out.npy")
    rows["midi_names"] = ["a", "b\r"]
    np.save(tmp_path / "in.npy", rows)
    convert("--form", "plain", tmp_path / "in.npy", tmp_path / "out.npy")
    assert (tmp_path / "out.npy.names").read_bytes() == b"a\nb\r\n"


@pytest.mark.parametrize("wrong", [
    ["--form", "structured", "--dtype", "bf16", "IN", "OUT"], ["--form", "pickled", "--dtype", "bf16", "IN", "OUT"],
    ["--form", "fvecs", "--dtype", "f16", "IN", "OUT"], ["--form", "fbin", "--dtype", "bf16", "IN", "OUT"],
    ["--form", "plain", "--name-field", "x", "IN", "OUT"], ["--form", "other", "IN", "OUT"], ["--form", "plain", "IN"],
    ["--form", "plain"], ["IN", "OUT"], ["--merge", "IN", "OUT"], ["--merge", "-o", "OUT"], ["--info", "--form", "plain", "IN"],
    ["--merge", "--dtype", "bf16", "IN", "-o", "OUT"], ["--verify", "--merge", "IN"], ["--info", "--keep-nonfinite", "IN"]])
def test_usage(wrong, tmp_path):
    np.save(tmp_path / "in.npy", structured(2, 4, "f4"))
    places = {"IN": tmp_path / "in.npy", "OUT": tmp_path / "out.npy"}
    assert convert(*(places.get(a, a) for a in wrong), ok=2).count("\n") == 1
    only_these(tmp_path, "in.npy")


def test_existing_output(tmp_path):
    np.save(tmp_path / "in.npy", structured(2, 4, "f4"))
    (tmp_path / "out.npy").write_text("mine")
    assert "--force" in convert("--form", "structured", tmp_path / "in.npy", tmp_path / "out.npy", ok=2)
    os.rename(tmp_path / "out.npy", tmp_path / "out.npy.names")
    assert "--force" in convert("--form", "plain", tmp_path / "in.npy", tmp_path / "out.npy", ok=2)
    only_these(tmp_path, "in.npy", "out.npy.names")
    (tmp_path / "out.npy.json").write_text("of another corpus")
    convert("--form", "plain", "--force", tmp_path / "in.npy", tmp_path / "out.npy")
    assert lines_of(tmp_path / "out.npy.names") == names(2)
    only_these(tmp_path, "in.npy", "out.npy", "out.npy.names")
    # Onto itself: the rows come from the old file to the last.
    convert("--form", "structured", "--force", tmp_path / "out.npy", tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "in.npy").read_bytes()


def test_damaged_input_leaves_nothing(tmp_path):
    save_as_objects(tmp_path / "whole.npy", structured(2000, 8, "f4"))
    raw = (tmp_path / "whole.npy").read_bytes()
    os.remove(tmp_path / "whole.npy")
    for cut in (0, 5, 100, 300, 700, len(raw) // 2, len(raw) - 1):
        (tmp_path / "in.npy").write_bytes(raw[:cut])
        assert convert("--form", "structured", tmp_path / "in.npy", tmp_path / "out.npy", ok=1).count("\n") == 1
        only_these(tmp_path, "in.npy")


@pytest.mark.parametrize("form", FORMS)
def test_full_disk(form, tmp_path):
    np.save(tmp_path / "in.npy", structured(5000, 64, "f4"))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))
    done = subprocess.run([tool("convert"), "--form", form, tmp_path / "in.npy", tmp_path / "out.npy"], env=ENV,
                          preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), limit()), capture_output=True)
    assert done.returncode == 1 and b"cannot write" in done.stderr and done.stderr.count(b"\n") == 1
    only_these(tmp_path, "in.npy")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_nothing(number, tmp_path):
    """Four gigabytes of zeros that take no room; stopped as soon as some are written."""
    np.save(tmp_path / "in.npy", np.zeros((0, 512), "f4"))
    head = (tmp_path / "in.npy").read_bytes().replace(b"(0, 512), }      ", b"(2000000, 512), }")
    (tmp_path / "in.npy").write_bytes(head[:-1].ljust(127) + b"\n")
    os.truncate(tmp_path / "in.npy", 128 + 2000000 * 2048)
    tool_run = subprocess.Popen([tool("convert"), "--form", "fbin", tmp_path / "in.npy", tmp_path / "out.fbin"], env=ENV,
                                stderr=subprocess.PIPE)
    part, end = tmp_path / f"out.fbin.part-{tool_run.pid}", time.monotonic() + 60
    while tool_run.poll() is None and time.monotonic() < end and not (part.exists() and part.stat().st_size > 1 << 20):
        time.sleep(0.01)
    tool_run.send_signal(number)
    _, said = tool_run.communicate(timeout=60)
    assert tool_run.returncode == 128 + number, said
    only_these(tmp_path, "in.npy")


@pytest.mark.skipif("asan" in str(BUILD), reason="the sanitizer takes memory of its own")
@pytest.mark.parametrize("form", FORMS)
def test_memory_stays_small(form, tmp_path):
    """150 MB pass, there and back, through a process that may have 24 MB of its own."""
    rows = np.zeros(70000, [("midi_names", "<U20"), ("midi_embeddings", "<f4", (512,))])
    rows["midi_names"] = [f"name {i:05d}" for i in range(70000)]
    np.save(tmp_path / "in.npy", rows)
    there = tmp_path / ("there" + SUFFIX.get(form, ".npy"))
    for how in (["--form", form, tmp_path / "in.npy", there], ["--merge", there, "-o", tmp_path / "back.npy"]):
        done = subprocess.run([tool("convert"), *how], env=ENV, capture_output=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (24 << 20, 24 << 20)))
        assert done.returncode == 0, done.stderr
    order = np.argsort(rows["midi_names"], kind="stable")
    assert np.load(tmp_path / "back.npy", mmap_mode="r")["midi_names"].tolist() == rows["midi_names"][order].tolist()
    for path in (tmp_path / "in.npy", there, tmp_path / "back.npy"):
        path.unlink()


@pytest.mark.skipif("asan" in str(BUILD), reason="Python cannot load a library with the sanitizer")
def test_verify_reads_the_small_copy(tmp_path):
    np.save(tmp_path / "c.npy", structured(3000, 64, "f4"))
    library, corpus, copy = ctypes.CDLL(str(next(BUILD.glob("libmidisim.so.*")))), ctypes.c_void_p(), tmp_path / "c.npy.msim"
    assert library.msim_corpus_open(bytes(tmp_path / "c.npy"), None, ctypes.byref(corpus), None) == 0
    int8 = 4
    assert library.msim_corpus_write_codes(corpus, ctypes.c_int64(0), bytes(copy), int8, 1, None, None, None) >= 0
    library.msim_corpus_close(corpus)
    assert json.loads(run("convert", "--verify", "--json", tmp_path / "c.npy").stdout)["copies"] == 1
    raw = bytearray(copy.read_bytes())
    for at in range(len(raw) // 2, len(raw), len(raw) // 9):
        raw[at] ^= 1
        copy.write_bytes(raw)
        done = run("convert", "--verify", "--json", tmp_path / "c.npy")
        assert done.returncode == 1 and "c.npy.msim" in text(done) and json.loads(done.stdout)["ok"] is False
        raw[at] ^= 1
    # A corpus that is replaced loses the copy of what it was.
    convert("--form", "plain", "--force", tmp_path / "c.npy", tmp_path / "c.npy")
    only_these(tmp_path, "c.npy", "c.npy.names")


# ---- Shards into one ----------------------------------------------------------------------------------------------------


def embed(model, out, *arguments, cwd):
    done = run("embed", "-m", model, "-o", out, "--quiet", *arguments, cwd=cwd)
    assert done.returncode == 0, text(done)


@pytest.fixture
def shards(model, songs, tmp_path):
    """whole.npy, and the same files in three runs of which the last has one."""
    files = ["a.MID", "b.mid", "b-.kar", "b/z.mid", "c.midi"]
    for name, part in {"whole": files, "s1": files[3:], "s2": files[1:3], "s3": files[:1]}.items():
        (tmp_path / "list").write_text("\n".join(part))
        embed(model, tmp_path / f"{name}.npy", "--dtype", "f16", "--files-from", tmp_path / "list", cwd=songs)
    os.remove(tmp_path / "list")
    return [tmp_path / f"s{i}.npy" for i in (1, 2, 3)]


def beside(path):
    return json.loads(path.with_name(path.name + ".json").read_text())


def settings(found):
    return {key: value for key, value in found.items() if key != "sources"}


def test_merge_is_one_run(shards, tmp_path):
    convert("--merge", *shards, "-o", tmp_path / "merged.npy")
    assert (tmp_path / "merged.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    expected = settings(beside(tmp_path / "whole.npy")) | {"tool": "midisim-convert"}
    assert settings(beside(tmp_path / "merged.npy")) == expected and expected["rows"] == expected["files"] == 5
    about = info(tmp_path / "merged.npy")
    assert about["settings"] == expected and about["dtype"] == "f16"
    assert beside(tmp_path / "merged.npy")["sources"] == beside(tmp_path / "whole.npy")["sources"]
    said = run("convert", "--info", tmp_path / "merged.npy").stdout.decode()
    assert "settings.model.sha256" in said and expected["model"]["sha256"] in said
    # In another form the description is carried over, with the type as it then is.
    convert("--form", "pickled", "--dtype", "f32", tmp_path / "merged.npy", tmp_path / "p.npy")
    assert settings(beside(tmp_path / "p.npy")) == expected | {"dtype": "f32"}
    assert beside(tmp_path / "p.npy")["sources"] == beside(tmp_path / "whole.npy")["sources"]


def test_merge_of_embeds_shards(model, songs, tmp_path):
    embed(model, tmp_path / "whole.npy", songs, cwd=tmp_path)
    shards = [tmp_path / f"s{i}.npy" for i in (1, 2, 3)]
    for i, path in enumerate(shards, 1):
        embed(model, path, "--shard", f"{i}/3", songs, cwd=tmp_path)
    convert("--merge", *shards[::-1], "-o", tmp_path / "merged.npy")
    assert (tmp_path / "merged.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert beside(tmp_path / "merged.npy") == beside(tmp_path / "whole.npy") | {"tool": "midisim-convert"}
    assert "shard 2 of 3 is given twice" in convert("--merge", *shards, shards[1], "-o", tmp_path / "twice.npy", ok=2)
    assert "2 of 3 shards" in convert("--merge", *shards[1:], "-o", tmp_path / "two.npy")
    assert beside(tmp_path / "two.npy")["complete"] is False and "shard" not in beside(tmp_path / "two.npy")
    # Converted alone, a shard stays one.
    convert("--form", "plain", shards[1], tmp_path / "p.npy")
    assert beside(tmp_path / "p.npy") == beside(shards[1]) | {"tool": "midisim-convert"}
    # One of another division.
    embed(model, tmp_path / "half.npy", "--shard", "1/2", songs, cwd=tmp_path)
    assert "shard" in convert("--merge", *shards, tmp_path / "half.npy", "-o", tmp_path / "other.npy", ok=2)


def test_merge_of_an_incomplete_shard(shards, tmp_path):
    about = beside(shards[1]) | {"complete": False, "files": 7}
    shards[1].with_name("s2.npy.json").write_text(json.dumps(about))
    convert("--merge", *shards, "-o", tmp_path / "merged.npy")
    merged = beside(tmp_path / "merged.npy")
    assert merged["complete"] is False and merged["files"] == 10 and merged["rows"] == 5


@pytest.mark.parametrize("key,value,said", [
    ("max_tokens", 100, "max tokens: expected 3072, got 100"), ("normalized", True, "normalised: expected no, got yes"),
    ("level", "other", "level: expected"), ("device", "cuda", "device: expected cpu, got cuda"),
    ("pooling", "weighted", "pooling: expected mean, got weighted")])
def test_merge_of_other_settings(shards, tmp_path, key, value, said):
    about = beside(shards[1]) | {key: value}
    if key == "pooling":
        about["pool_weights"] = [1, 2, 3]
    shards[1].with_name("s2.npy.json").write_text(json.dumps(about))
    assert said in convert("--merge", *shards, "-o", tmp_path / "merged.npy", ok=2)
    assert not list(tmp_path.glob("merged*"))
    assert said in convert("--merge", "--force", *shards, "-o", tmp_path / "merged.npy")
    assert (tmp_path / "merged.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    if key in ("level", "device"):
        assert beside(tmp_path / "merged.npy")[key] == "mixed"
    else:
        assert not (tmp_path / "merged.npy.json").exists()


def test_merge_with_a_missing_or_wrong_description(shards, tmp_path):
    about = beside(shards[2])
    shards[2].with_name("s3.npy.json").unlink()
    assert "only 2 of 3 files have a description" in convert("--merge", *shards, "-o", tmp_path / "merged.npy", ok=2)
    shards[2].with_name("s3.npy.json").write_text(json.dumps(about | {"rows": 2}))
    assert "another corpus" in convert("--merge", *shards, "-o", tmp_path / "merged.npy", ok=2)
    assert not list(tmp_path.glob("merged*"))
    for path in shards:
        path.with_name(path.name + ".json").unlink()
    convert("--merge", *shards, "-o", tmp_path / "merged.npy")
    assert not (tmp_path / "merged.npy.json").exists()
    assert (tmp_path / "merged.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_merge_sorts_what_is_not_in_order(seed, tmp_path):
    """Shards in any order and of any form, equal names too: sorted bytewise, equal ones as the shards come."""
    rng = np.random.default_rng(seed)
    everything, paths = [], []
    for shard in range(int(rng.integers(1, 7))):
        said = [str(x) for x in rng.choice(["a", "b", "ab", "é", "a/b", "a-b", "\udcff", "", "Z", "♫", "𝄞"], int(rng.integers(0, 40)))]
        if shard % 2:
            said.sort(key=lambda s: s.encode("utf-8", "surrogateescape"))
        rows = np.zeros(len(said), [("midi_names", "<U5"), ("midi_embeddings", "<f4", (3,))])
        rows["midi_names"], rows["midi_embeddings"] = said, rng.standard_normal((len(said), 3))
        paths.append(tmp_path / f"{shard}.npy")
        (save_as_objects if shard % 3 == 2 else np.save)(paths[-1], rows)
        everything += [(s.encode("utf-8", "surrogateescape"), shard, i, rows["midi_embeddings"][i]) for i, s in enumerate(said)]
    everything.sort(key=lambda row: row[:3])
    same = sum(a[0] == b[0] for a, b in zip(everything, everything[1:]))
    said = convert("--merge", *paths, "-o", tmp_path / "out.npy")
    got = np.load(tmp_path / "out.npy")
    assert [s.encode("utf-8", "surrogateescape") for s in got["midi_names"].tolist()] == [row[0] for row in everything]
    assert got["midi_embeddings"].tobytes() == b"".join(row[3].tobytes() for row in everything)
    assert (f"{same} rows have the name of the row before" in said) == (same > 0)


def test_merge_needs_names(tmp_path):
    np.save(tmp_path / "in.npy", vectors(3, 4, "f4"))
    assert "the rows have no names" in convert("--merge", tmp_path / "in.npy", "-o", tmp_path / "out.npy", ok=1)
    only_these(tmp_path, "in.npy")
