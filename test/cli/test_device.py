"""--device: what is refused and how, what auto falls back to, and the tools on a GPU that test/emu emulates: vectors like the
CPU's, search results to the byte, several devices, too little memory."""
import json
import random
import re
import shutil

import numpy as np
import pytest
from cli_util import BUILD, CI, ROOT, TOOLS, lines, midi, run, text, write_model
from search_util import named

DIM = 64
FAILED = r"midisim-%s: (device: cuda:%s: (?:this build has no|this machine has no|expected 0\.\.)[^\n]*)\n"


def emulated(name, *arguments, env=None, **more):
    """A tool whose GPU is the emulator."""
    program = ROOT / "build" / "emu" / f"midisim-{name}"
    if not program.exists():
        (pytest.fail if CI else pytest.skip)("no build/emu: make emu")
    settings = {"EMU_DEVICES": "1", "EMU_MEMORY": "1G", "EMU_CAPABILITY": "80", "EMU_SEED": "1", **(env or {})}
    return run(name, *arguments, env=settings, program=str(program), **more)


def good(done):
    assert done.returncode == 0, text(done)
    return done


def about(path):
    return json.loads((path.parent / (path.name + ".json")).read_text())


def vectors(path):
    return np.load(path)["midi_embeddings"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model whose widths the GPU serves."""
    return write_model(tmp_path_factory.mktemp("wide") / "wide.safetensors", dim=DIM, heads=2, depth=2)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Files of 1 to 100 notes: sequences shorter and longer than a tile, and on both of its edges."""
    folder, rng = tmp_path_factory.mktemp("pieces"), random.Random(4)
    for i, n in enumerate((1, 5, 21, 22, 42, 43, 67, 100, 3, 12)):
        (folder / f"{i}.mid").write_bytes(midi([rng.randrange(30, 100) for _ in range(n)]))
    return folder


# ---- Without a GPU --------------------------------------------------------------------------------------------------


def asking(name, model, folder, device):
    """Arguments of a tool that make it open a device."""
    named(folder / "c.npy", ["a", "b"], np.ones((2, 32), "f4"))
    (folder / "a.mid").write_bytes(midi())
    return {"embed": ("embed", "-m", model, "-o", "out.npy", "a.mid"),
            "search": ("search", "-m", model, "-c", "c.npy", "a.mid"),
            "like": ("search", "-c", "c.npy", "--like", "a"),
            "encoder": ("bench", "encoder", "-m", model, "--lengths", "8", "-r", "1"),
            "rows": ("bench", "search", "--rows", "100", "--dim", "16", "-r", "1", "--no-roof")}[name] + ("--device", device)


@pytest.mark.parametrize("name", ["embed", "search", "like", "encoder", "rows"])
def test_no_gpu(name, model, tmp_path):
    """By name it is one line and exit 1, whatever the reason (no kernels in this build, no driver, no device)."""
    for device, shown in (("cuda", "0"), ("cuda:99", "99"), ("cuda:all", r"\w+")):
        command = asking(name, model, tmp_path, device)
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 1 and re.fullmatch(FAILED % (command[0], shown), text(done)), text(done)
        assert done.stdout == b"" and not list(tmp_path.glob("out.npy*"))
    good(run(*asking(name, model, tmp_path, "auto"), cwd=tmp_path))
    if name == "embed":
        assert about(tmp_path / "out.npy")["device"] == "cpu"


@pytest.mark.parametrize("device", ["cuda:x", "cuda:", "cuda:-1", "cuda:1,2", "cuda:all:0", "cuda:99999", "gpu", "CUDA"])
def test_unknown_device(device, model, tmp_path):
    for name in ("embed", "like", "encoder"):
        done = run(*asking(name, model, tmp_path, device), cwd=tmp_path)
        assert done.returncode == 2 and text(done).count("\n") == 1
        assert f"--device: expected auto, cpu, cuda, cuda:N or cuda:all, got {device} " in text(done)


@pytest.mark.parametrize("more, says", [
    (("--precision", "int8"), "--precision: expected bf16 with --device cuda, got int8"),
    (("--precision", "f32"), "--precision: expected bf16 with --device cuda, got f32"),
    (("--isa", "ref"), "--isa ref: kernel levels are the CPU's: leave out --isa with --device cuda")])
def test_not_on_cuda(more, says, model, tmp_path):
    """What CUDA does not have is wrong use where it is asked for by name; auto takes the CPU."""
    for name in ("embed", "search", "like", "encoder", "rows"):
        done = run(*asking(name, model, tmp_path, "cuda"), *more, cwd=tmp_path)
        assert done.returncode == 2 and text(done).count("\n") == 1 and says in text(done)
    good(run(*asking("embed", model, tmp_path, "auto"), *more, cwd=tmp_path))


def test_too_many_results(model, tmp_path):
    ask = asking("like", model, tmp_path, "cuda")
    for more, most in (((), 1024), (("--exclude-self",), 960)):
        done = run(*ask, "-k", most + 1, *more, cwd=tmp_path)
        assert done.returncode == 2 and f"-k: expected at most {most} with --device cuda" in text(done)
        assert run(*ask, "-k", most, *more, cwd=tmp_path).returncode == 1  # no GPU, but nothing wrong with it


def test_tools_without_kernels(tmp_path):
    """Every tool takes the option; these two have nothing to run on a device."""
    (tmp_path / "a.mid").write_bytes(midi())
    good(run("tokens", "--device", "cuda", "a.mid", cwd=tmp_path))
    named(tmp_path / "c.npy", ["a"], np.ones((1, 16), "f4"))
    good(run("convert", "--device", "cuda:all", "--info", "c.npy", cwd=tmp_path))


def test_version():
    """CUDA is compiled in where nvcc is; a CI machine has one (test/run --only cuda)."""
    found = {name: re.search(r"^devices compiled in: cpu(, cuda)?$", good(run(name, "--version")).stdout.decode(), re.M)
             for name in TOOLS}
    assert all(found.values()) and len({m[0] for m in found.values()}) == 1
    if CI and BUILD.name == "release":
        assert found["embed"][1] and (shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc"))


# ---- On the emulated GPU: embedding ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(wide, pieces, tmp_path_factory):
    """The same files on the CPU, on a GPU and on two."""
    folder = tmp_path_factory.mktemp("embedded")
    for name in ("cpu", "cuda", "cuda:all"):
        good(emulated("embed", "-m", wide, "-o", folder / f"{name}.npy", "--device", name, pieces, env={"EMU_DEVICES": "2"}))
    return folder


def check_close(gpu, cpu, exact):
    """As far from f32 as the CPU's bf16, whose errors are as many roundings at the same places after sums of another order:
    the mean square differs by chance alone, the largest error by more."""
    assert np.isfinite(gpu).all() and gpu.std() > 0.1 and not (gpu == exact).all()
    assert np.sqrt(((gpu - exact)**2).mean()) <= 1.25 * np.sqrt(((cpu - exact)**2).mean())
    assert np.abs(gpu - exact).max() <= 2 * np.abs(cpu - exact).max()


def test_vectors(embedded, wide, pieces):
    """Means over tokens: beside the above, a rounding (2^-8 of the row's largest number) or two from the CPU."""
    cpu, gpu = vectors(embedded / "cpu.npy"), vectors(embedded / "cuda.npy")
    assert (np.abs(cpu - gpu) <= 2 * 2.0**-8 * np.abs(cpu).max(axis=1, keepdims=True)).all()
    good(emulated("embed", "-m", wide, "-o", embedded / "f32.npy", "--precision", "f32", pieces))
    exact = vectors(embedded / "f32.npy")
    assert about(embedded / "f32.npy")["device"] == "cpu"
    check_close(gpu, cpu, exact)
    with pytest.raises(AssertionError):
        check_close(np.roll(gpu, 1, axis=0), cpu, exact)


def test_about(embedded):
    for name in ("cuda", "cuda:all"):
        made = about(embedded / f"{name}.npy")
        assert (made["device"], made["level"], made["precision"]) == ("cuda", "cuda", "bf16")
    assert about(embedded / "cpu.npy")["device"] == "cpu"


def test_two_devices(embedded, wide, pieces):
    """Which device a sequence goes to never changes its bits, nor does what it is batched with."""
    whole = (embedded / "cuda.npy").read_bytes()
    assert (embedded / "cuda:all.npy").read_bytes() == whole
    good(emulated("embed", "-m", wide, "-o", embedded / "one.npy", "--device", "cuda:1", pieces / "6.mid",
                  env={"EMU_DEVICES": "2"}))
    row = list(np.load(embedded / "cuda.npy")["midi_names"]).index("6.mid")
    assert (vectors(embedded / "one.npy")[0] == vectors(embedded / "cuda.npy")[row]).all()


def test_per_token(wide, pieces, tmp_path):
    for device in ("cpu", "cuda", "cuda:all"):
        good(emulated("embed", "-q", "-m", wide, "--per-token", tmp_path / device, "--device", device, pieces / "6.mid",
                      env={"EMU_DEVICES": "2"}))
    good(emulated("embed", "-q", "-m", wide, "--per-token", tmp_path / "f32", "--precision", "f32", pieces / "6.mid"))
    cpu, gpu, both, exact = (np.load(*(tmp_path / d).rglob("*.npy")) for d in ("cpu", "cuda", "cuda:all", "f32"))
    assert (gpu == both).all()
    check_close(gpu, cpu, exact)


def test_another_device(wide, pieces, tmp_path):
    """Rows of a GPU and of the CPU do not come into one corpus unasked."""
    def embed(device, *more):
        return emulated("embed", "-m", wide, "-o", tmp_path / "c.npy", "--device", device, *more)
    good(embed("cuda", pieces / "0.mid"))
    before = (tmp_path / "c.npy").read_bytes()
    done = embed("cpu", pieces / "0.mid")
    assert done.returncode == 2 and "expected cuda, got" in text(done) and "--force" in text(done)
    done = embed("cpu", "--update", pieces / "0.mid", pieces / "1.mid")
    assert done.returncode == 2 and "on cuda" in text(done) and "--force" in text(done)
    assert (tmp_path / "c.npy").read_bytes() == before
    good(embed("cpu", "--update", "--force", pieces / "0.mid", pieces / "1.mid"))
    assert about(tmp_path / "c.npy")["device"] == "mixed" and len(vectors(tmp_path / "c.npy")) == 2


def test_refused_by_name(model, wide, pieces, tmp_path):
    """No such device, one that is too old, too little memory, widths it has no kernels for: a line each; auto takes the CPU."""
    for n, (path, device, env, code, says) in enumerate((
            (wide, "cuda:2", {"EMU_DEVICES": "2"}, 1, "device: cuda:2: expected 0..1, got 2"),
            (wide, "cuda", {"EMU_DEVICES": "0"}, 1, "device: cuda:0: this machine has no NVIDIA GPU"),
            (wide, "cuda:all", {"EMU_DEVICES": "0"}, 1, "this machine has no NVIDIA GPU"),
            (wide, "cuda", {"EMU_CAPABILITY": "75"}, 1, "expected compute capability 8.0 or later, got 7.5"),
            (wide, "cuda", {"EMU_MEMORY": "100000"}, 1, "cannot take"),
            (model, "cuda", {}, 2, "multiple of 64"))):
        out = tmp_path / f"{n}.npy"
        done = emulated("embed", "-q", "-m", path, "-o", out, "--device", device, pieces / "0.mid", env=env)
        assert done.returncode == code and says in text(done) and not out.exists(), text(done)
        assert text(done).count("\n") == 1
        if device == "cuda":
            done = good(emulated("embed", "-q", "-m", path, "-o", out, pieces / "0.mid", env=env))
            assert about(out)["device"] == "cpu" and text(done) == ""
    good(emulated("embed", "-m", wide, "-o", tmp_path / "auto.npy", pieces / "0.mid"))
    assert about(tmp_path / "auto.npy")["device"] == "cuda"


def test_version_lists_devices():
    out = good(emulated("search", "--version", env={"EMU_DEVICES": "2", "EMU_CAPABILITY": "90"})).stdout.decode()
    assert "devices compiled in: cpu, cuda\n" in out
    assert re.search(r"^cuda:0: .*, compute capability 9\.0, 1\.0 GiB$", out, re.M) and "\ncuda:1: " in out


# ---- On the emulated GPU: search ------------------------------------------------------------------------------------

ROWS = 1100


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Corpora of f32 and f16 with equal rows, rows of zeros, of NaN and of infinity, with codes beside them; and queries."""
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(7)
    data = rng.standard_normal((ROWS, DIM)).astype("f4")
    data[100:104] = data[5]
    data[200] = 0
    data[300, 3], data[301, 60] = np.nan, np.inf
    for name, dtype in (("c", "<f4"), ("h", "<f2")):
        named(folder / f"{name}.npy", [f"row {i % 1090}" for i in range(ROWS)], data.astype(dtype))
    queries = rng.standard_normal((5, DIM)).astype("f4")
    queries[1], queries[2] = data[5], 0
    np.save(folder / "q.npy", queries)
    for form in ("int8", "bf16"):
        good(run("search", "-q", "-c", "c.npy", "--prepare", "--scan", form, cwd=folder))
    return folder


def search(folder, device, *arguments, env=None):
    return emulated("search", "--device", device, *arguments, cwd=folder, env={"EMU_DEVICES": "2", **(env or {})})


VECTORS = ("--query-vectors", "q.npy")


@pytest.mark.parametrize("arguments", [
    ("-c", "c.npy", *VECTORS, "-k", "30", "--json"),
    ("-c", "c.npy", *VECTORS, "-k", "1000", "--format", "tsv"),
    ("-c", "c.npy", *VECTORS, "--format", "table"),
    ("-c", "c.npy", *VECTORS, "--format", "midisim"),
    ("-c", "c.npy", *VECTORS, "--scan", "f64", "--json"),
    ("-c", "c.npy", *VECTORS, "--scan", "f32", "--json"),
    ("-c", "c.npy", *VECTORS, "--scan", "bf16", "--json"),
    ("-c", "c.npy", *VECTORS, "--scan", "int8", "--json"),
    ("-c", "c.npy", *VECTORS, "--metric", "ip", "--json"),
    ("-c", "c.npy", *VECTORS, "--metric", "ip", "--scan", "f64", "--json"),
    ("-c", "c.npy", *VECTORS, "--threshold", "0.25", "--json"),
    ("-c", "c.npy", *VECTORS, "--threshold", "0.2", "--scan", "f32", "--format", "tsv"),
    ("-c", "c.npy", *VECTORS, "--exclude", "row 5", "--exclude", "row 102", "--json"),
    ("-c", "c.npy", "--like", "row 5", "--like", "row 7", "--exclude-self", "--json"),
    ("-c", "h.npy", *VECTORS, "-k", "40", "--json"),
    ("-c", "c.npy", "-c", "h.npy", *VECTORS, "-k", "40", "--json"),
], ids=" ".join)
def test_results(rows, arguments):
    """To the byte, on one device and on two. How it was found may differ: the scores that were evaluated, and the scan that few
    rows are worth."""
    def answer(device):
        done = good(search(rows, device, *arguments))
        on = f" on cuda ({'2 devices, ' if device == 'cuda:all' else ''}emulated GPU 0))"
        assert (on in text(done)) == (device != "cpu")
        return re.sub(rb'"evaluated":\d+,"scan":"\w+"', b"", done.stdout)
    wanted = answer("cpu")
    assert wanted.count(b"\n") >= 2
    for device in ("cuda", "cuda:all"):
        assert answer(device) == wanted


def test_midi_queries(rows, wide, pieces):
    """Vectors of the GPU are its own; what is found with them is what the CPU finds with them."""
    ask = ("-m", wide, "-c", "c.npy", "--transpose", "1", "-k", "5", "--json", pieces / "6.mid", "--force")
    found = {d: lines(good(search(rows, d, *ask)))[0]["matches"] for d in ("cpu", "cuda", "cuda:all")}
    assert found["cuda"] == found["cuda:all"]
    for a, b in zip(found["cpu"], found["cuda"]):
        assert a["rank"] == b["rank"] and abs(a["score"] - b["score"]) <= 2 * 2.0**-8


def test_more_than_a_gpu_has(rows):
    """-k over 1,024, and rows that no buffer on the device has room for: auto searches on the CPU."""
    ask = ("-c", "c.npy", *VECTORS, "--json")
    done = good(search(rows, "auto", *ask, "-k", "1025"))
    assert " on cuda" not in text(done) and done.stdout == good(search(rows, "cpu", *ask, "-k", "1025")).stdout
    assert len(lines(done)[0]["matches"]) == 1025
    assert " on cuda" in text(good(search(rows, "auto", *ask)))
    little = {"EMU_MEMORY": "20000"}
    done = search(rows, "cuda", *ask, env=little)
    assert done.returncode == 1 and text(done).count("\n") == 1 and "memory" in text(done)
    assert " on cuda" not in text(good(search(rows, "auto", *ask, env=little)))


def test_bench(wide):
    """Figures say what they were measured on."""
    for device, shown in (("cpu", "cpu"), ("cuda", "cuda")):
        for made in (lines(good(emulated("bench", "encoder", "-m", wide, "--lengths", "8", "-r", "1", "--json", "--device", device))),
                     lines(good(emulated("bench", "search", "--rows", "100", "--dim", "64", "--queries", "1", "-r", "1",
                                         "--no-roof", "--json", "--device", device)))):
            assert {o["device"] for o in made} == {shown}
            assert all(("emulated GPU 0" in o["machine"]) == (device == "cuda") for o in made)
