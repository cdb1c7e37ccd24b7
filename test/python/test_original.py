"""The original beside midisim_native.compat: its README's programs with only the import line changed, and its functions on torch's
tensors.

MIDISIM_ORIGINAL names a Python that has midisim 26.1.18, torch and NumPy; without it these tests are skipped. The programs are
taken from the package that is installed there. What they download comes from a server on this machine, which has the model of
that package. On a machine without a GPU the original's load_model fails as its default device is cuda: there, its default
is cpu.
"""
import functools
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading

import golden_util as g
import pytest

pytestmark = pytest.mark.slow
PYTHON = os.environ.get("MIDISIM_ORIGINAL", "")
CORPUS = ("freedink/love.mid", "freedink/1003.mid", "freedoom/d_intro.mid", "js-fakes/midi/99.mid", "freedink/lively.mid")
SCORES_DIFFER = 0.05  # of 100: both compute in bf16, and add in another order

RUNNER = r'''
import functools, importlib.metadata, os, re, sys
which, number, text = sys.argv[1], int(sys.argv[2]), importlib.metadata.metadata("midisim").get_payload()
programs = [p for p in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if re.search("^import midisim$", p, re.M)]
program = programs[number]
if which == "ours":
    program, n = re.subn("^import midisim$", "import midisim_native.compat as midisim", program, flags=re.M)
    assert n == 1 and "torch" not in sys.modules
else:
    import midisim, torch
    if not torch.cuda.is_available():
        midisim.load_model = functools.partial(midisim.load_model, device="cpu")
scope = {}
exec(compile(program, f"README example {number}", "exec"), scope)
if which == "ours":
    assert "torch" not in sys.modules and "midisim" not in sys.modules
import json
print("\nresult " + json.dumps(scope.get("corpus_matches_list")))
'''


@pytest.fixture(scope="module", autouse=True)
def original():
    if not PYTHON:
        pytest.skip("no original: MIDISIM_ORIGINAL names a Python with midisim 26.1.18 and torch")
    done = call("-c", "import midisim, torch; from importlib.metadata import version; print(version('midisim'))")
    if done.returncode:
        pytest.skip(f"no original: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout.strip().splitlines()[-1] == "26.1.18"


def call(*arguments, cwd=None, **env):
    env = dict(os.environ, PYTHONPATH=str(g.ROOT / "python/src"), OMP_NUM_THREADS="2", HF_HUB_DISABLE_TELEMETRY="1", **env)
    return subprocess.run([PYTHON, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=3600)


@functools.lru_cache(maxsize=None)
def hash_of(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """Files by the end of their address, as huggingface_hub asks for them."""

    files = {}

    def do_HEAD(self):
        path = self.files.get(self.path.rsplit("/", 1)[-1])
        self.send_response(200 if path else 404)
        if path:
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hash_of(path)}"')
        self.send_header("Content-Length", str(os.path.getsize(path) if path else 0))
        self.end_headers()
        return path

    def do_GET(self):
        if path := self.do_HEAD():
            with open(path, "rb") as file:
                shutil.copyfileobj(file, self.wfile)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub():
    done = call("-c", "import midisim; print(midisim.get_package_models()[0]['path'])")
    model = done.stdout.strip().splitlines()[-1]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Hub.files = {os.path.basename(model): model}
        yield f"http://127.0.0.1:{server.server_port}", model
        server.shutdown()


def example(which, number, folder, hub):
    done = call("-c", RUNNER, which, number, cwd=folder, HF_ENDPOINT=hub[0], HF_HOME=str(folder / "hf"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.rsplit("\nresult ", 1)[1])


def test_both_programs_give_the_same_names_order_and_scores(hub, tmp_path):
    folders = {}
    for which in ("original", "ours"):  # the second program makes a corpus of a folder
        folder = folders[which] = tmp_path / which
        for path in CORPUS:
            for place in ("custom_midi_corpus_dir", "Corpus MIDIs Dir"):
                (folder / place).mkdir(parents=True, exist_ok=True)
                shutil.copy(g.SHIPPED / path, folder / place)
        (folder / "midisim-models").mkdir()
        os.symlink(hub[1], folder / "midisim-models" / os.path.basename(hub[1]))
        shutil.copy(g.SHIPPED / "freedink/love.mid", folder / "Come To My Window.mid")
        example(which, 1, folder, hub)
    import numpy as np
    made = {which: np.load(folder / "saved_midi_embeddings.npy", allow_pickle=True) for which, folder in folders.items()}
    names = {which: rows["midi_names"].tolist() for which, rows in made.items()}
    assert names["ours"] == names["original"] and sorted(names["ours"]) == sorted(pathlib.Path(p).stem for p in CORPUS)
    a, b = (made[which]["midi_embeddings"].astype(np.float64) for which in ("ours", "original"))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert made["ours"]["midi_embeddings"].dtype == made["original"]["midi_embeddings"].dtype and cosine.min() > 0.999

    # The first program downloads a corpus: for both, the one that the original has made.
    Hub.files = dict(Hub.files, **{"discover_midi_dataset_37292_genres_midis_embeddings_cc_by_nc_sa.npy":
                                   str(folders["original"] / "saved_midi_embeddings.npy")})
    found = {which: example(which, 0, folders[which], hub) for which in folders}
    print(json.dumps(found, indent=1))
    print("least cosine of the two corpora:", cosine.min())
    assert [m[:3] for m in found["ours"]] == [m[:3] for m in found["original"]]
    pairs = [(x[3], y[3]) for x, y in zip(found["ours"], found["original"])]  # -inf where the corpus has fewer rows
    assert all(x == y or abs(x - y) < SCORES_DIFFER for x, y in pairs) and len(pairs) >= len(CORPUS)
    # Copies are named SCORE_TRANSPOSITION_NAME.
    copied = [sorted(re.sub(r"^[\d.]+_", "", p.name) for p in (folder / "Corpus Matches Dir").rglob("*"))
              for folder in folders.values()]
    assert copied[0] == copied[1] and len(copied[0]) > 3


TENSORS = r'''
import contextlib, io
import torch, midisim, numpy as np
import midisim_native.compat as ours

generator = torch.Generator().manual_seed(1)
queries, rows = (torch.randn(n, 64, generator=generator) for n in (12, 500))
# The original rounds unit rows of f16 to f16 again; here they are not rounded.
for kind, differ in ((torch.float32, 1e-6), (torch.float16, 2 ** -11)):
    a = midisim.cosine_similarity_topk(queries.to(kind), rows.to(kind), verbose=False)
    b = ours.cosine_similarity_topk(queries.to(kind), rows.to(kind), verbose=False)
    assert type(a[0]) is type(b[0]) and a[0].dtype == b[0].dtype and a[1].dtype == b[1].dtype and a[0].shape == b[0].shape
    assert (a[0] == b[0]).mean() > 0.98 and abs(a[1] - b[1]).max() < differ, kind
texts = []
for module in (midisim, ours):
    ranked = module.idxs_sims_to_sorted_list(*a)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert module.print_sorted_idxs_sims_list(ranked, [f"n{i}" for i in range(500)]) is None
    texts.append((ranked, text.getvalue()))
assert texts[0] == texts[1]

import midisim.midisim as inner
sequences = [[1, 130, 260, 5], [7], list(range(20))]
for options in ({}, {"seq_len": 3}, {"seq_len": 30}, {"pad_idx": 9}):
    a, b = inner.pad_and_mask(sequences, verbose=False, **options), ours.pad_and_mask(sequences, verbose=False, **options)
    assert all(type(x) is type(y) and x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(a, b)), options
values = torch.randn(3, 20, 8, generator=generator)
ids, mask = inner.pad_and_mask(sequences, verbose=False)
for kind in (torch.float32, torch.bfloat16):
    x = inner.masked_mean_pool(values.to(kind), mask, verbose=False)
    y = ours.masked_mean_pool(values.to(kind), mask, verbose=False)
    assert type(x) is type(y) and x.dtype == y.dtype and torch.allclose(x.float(), y.float(), rtol=2 ** -7, atol=1e-6), kind
x = inner.masked_weighted_mean_pool(values, mask, ids, (1.0, 2.0, 3.0))
y = ours.masked_weighted_mean_pool(values, mask, ids, (1.0, 2.0, 3.0))
assert x.dtype == y.dtype and torch.allclose(x, y, rtol=1e-5, atol=1e-6)

model, context, dtype = ours.load_model(midisim.get_package_models()[0]["path"], verbose=False)
assert dtype is torch.bfloat16
found = ours.get_embeddings_bf16(model, sequences, verbose=False, show_progress_bar=False)
assert isinstance(found, torch.Tensor) and found.dtype is torch.float32 and found.shape == (3, 512)
half = ours.get_embeddings_bf16(model, sequences, return_dtype="float16", verbose=False, show_progress_bar=False)
assert half.dtype is torch.float16
theirs = midisim.load_model(midisim.get_package_models()[0]["path"], device="cpu", verbose=False)[0]
expected = midisim.get_embeddings_bf16(theirs, sequences, seq_len=24, verbose=False, show_progress_bar=False)
cosine = torch.nn.functional.cosine_similarity(found, expected)
print("cosine", cosine.tolist())
assert type(expected) is type(found) and expected.dtype is found.dtype and cosine.min() > 0.999
ours.save_embeddings(["a", "b", "c"], found, verbose=False, output_file_name="saved.npy")
assert np.load("saved.npy", allow_pickle=True)["midi_embeddings"].tobytes() == found.numpy().tobytes()
print("all equal")
'''


def test_tensors_go_in_and_come_out_as_in_the_original(tmp_path):
    done = call("-c", TENSORS, cwd=tmp_path)
    assert done.returncode == 0 and "all equal" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
