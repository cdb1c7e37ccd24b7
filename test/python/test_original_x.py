"""midisimx beside midisim_native.compat_x: its README's programs with only the import line changed, and its functions.

MIDISIM_ORIGINAL names a Python that has midisimx 26.10.26 and torch; without it these tests are skipped. The programs are taken
from the package that is installed there. Both load the tiny model and a corpus that the second program has made. Since
26.10.23 the package writes chords in front of start times: ours are told to, for the comparison.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess

import golden_util as g
import pytest

pytestmark = pytest.mark.slow
PYTHON = os.environ.get("MIDISIM_ORIGINAL", "")
CORPUS = ("freedink/love.mid", "freedink/1003.mid", "freedoom/d_intro.mid", "js-fakes/midi/99.mid", "freedink/lively.mid")
SCORES_DIFFER = 0.05  # of 100: both compute in bf16, and add in another order

# What the programs cannot do here: download, and compute on a GPU.
RUNNER = r'''
import functools, importlib.metadata, json, re, sys
which, number, corpus, model = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
text = importlib.metadata.metadata("midisimx").get_payload()
programs = [p for p in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if re.search("^import midisimx$", p, re.M)]
program = programs[number].replace("torch.device('cuda')", "None")
if which == "ours":
    program, n = re.subn("^import midisimx$", "import midisim_native.compat_x as midisimx", program, flags=re.M)
    assert n == 1
    import midisim_native.compat_x as module
    module.midi_to_tokens = functools.partial(module.midi_to_tokens, token_order="chord-first")
else:
    import midisimx as module
tiny = functools.partial(module.load_model, model, 128, 24, 4, device="cpu", verbose=False)
module.load_model = lambda *_, **__: tiny()
module.download_model = lambda **_: model
module.download_embeddings = lambda **_: corpus
scope = {}
exec(compile(program, f"README example {number}", "exec"), scope)
assert which == "original" or ("torch" not in sys.modules and "midisimx" not in sys.modules)
print("\nresult " + json.dumps(scope.get("corpus_matches_list")))
'''


def call(*arguments, cwd=None):
    env = dict(os.environ, PYTHONPATH=str(g.ROOT / "python/src"), OMP_NUM_THREADS="2")
    return subprocess.run([PYTHON, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=3600)


@pytest.fixture(scope="module", autouse=True)
def original():
    """The path of the tiny model in the package."""
    if not PYTHON:
        pytest.skip("no original: MIDISIM_ORIGINAL names a Python with midisimx 26.10.26 and torch")
    done = call("-c", "import midisimx; from importlib.metadata import version; "
                      "print(version('midisimx')); print(midisimx.get_package_models()[0]['path'])")
    if done.returncode:
        pytest.skip(f"no original: {done.stderr.strip().splitlines()[-1]}")
    version, path = done.stdout.strip().splitlines()[-2:]
    assert version == "26.10.26"
    return path


def example(which, number, folder, corpus, model):
    done = call("-c", RUNNER, which, number, corpus, model, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.rsplit("\nresult ", 1)[1])


def test_both_programs_give_the_same_names_order_and_scores(original, tmp_path):
    import numpy as np
    folders, made = {}, {}
    for which in ("original", "ours"):  # the second program makes a corpus of a folder
        folder = folders[which] = tmp_path / which
        for path in CORPUS:
            for place in ("custom_midi_corpus_dir", "Corpus MIDIs Dir"):
                (folder / place).mkdir(parents=True, exist_ok=True)
                shutil.copy(g.SHIPPED / path, folder / place)
        shutil.copy(g.SHIPPED / "freedink/love.mid", folder / "Come To My Window.mid")
        example(which, 1, folder, "-", original)
        made[which] = np.load(folder / "saved_midi_embeddings.npy", allow_pickle=True)
    names = {which: rows["midi_names"].tolist() for which, rows in made.items()}
    assert names["ours"] == names["original"] and sorted(names["ours"]) == sorted(pathlib.Path(p).stem for p in CORPUS)
    a, b = (made[which]["midi_embeddings"].astype(np.float64) for which in ("ours", "original"))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    print("least cosine of the two corpora:", cosine.min())
    assert made["ours"]["midi_embeddings"].dtype == made["original"]["midi_embeddings"].dtype and cosine.min() > 0.999

    corpus = folders["original"] / "saved_midi_embeddings.npy"
    found = {which: example(which, 0, folder, corpus, original) for which, folder in folders.items()}
    print(json.dumps(found, indent=1))
    assert [m[:3] for m in found["ours"]] == [m[:3] for m in found["original"]]
    pairs = [(x[3], y[3]) for x, y in zip(found["ours"], found["original"])]  # -inf where the corpus has fewer rows
    assert all(x == y or abs(x - y) < SCORES_DIFFER for x, y in pairs) and len(pairs) >= len(CORPUS)
    copied = [sorted(re.sub(r"^[\d.]+_", "", p.name) for p in (folder / "Corpus Matches Dir").rglob("*"))
              for folder in folders.values()]
    assert copied[0] == copied[1] and len(copied[0]) >= len(CORPUS)


FUNCTIONS = r'''
import inspect, sys
import torch, midisimx
import midisimx.midisimx as inner
import midisim_native.compat_x as ours

extra = {"midi_to_tokens": ["token_order"]}
for name in ours.__all__:
    if name == "TMIDIX": continue
    theirs = inspect.signature(getattr(midisimx, name, None) or getattr(inner, name, None) or getattr(midisimx.helpers, name))
    mine = inspect.signature(getattr(ours, name))
    assert list(mine.parameters) == list(theirs.parameters) + extra.get(name, []), name
    for key, parameter in theirs.parameters.items():
        a, b = parameter.default, mine.parameters[key].default
        if isinstance(a, torch.dtype): assert b is None or str(a).endswith(str(b)), (name, key)
        else: assert a == b or list(a) == list(b), (name, key, a, b)

generator = torch.Generator().manual_seed(1)
sequences = [[0, 384, 190, 260, 5, 400, 200, 300], [7], list(range(700, 720)) + [1, 2]]
ids, mask = inner.pad_and_mask(sequences, verbose=False)
assert all(torch.equal(x, y) for x, y in zip((ids, mask), ours.pad_and_mask(sequences)))
values = torch.randn(3, ids.shape[1], 8, generator=generator)
for weights in (None, {}, (1, 2, 3), {(128, 256): 2, (384, 718): 2}, {(0, 500): 3, (100, 300): 1, (190, 261): 2.5}, {(718, 720): 0}):
    for kind in (torch.float32, torch.bfloat16):
        for pool, options in (("masked_weighted_mean_pool", {}), ("masked_weighted_mean_aggregated_pool", {}),
                              ("masked_weighted_mean_aggregated_pool", {"concat": False})):
            x = getattr(inner, pool)(values.to(kind), mask, ids, weights, **options)
            y = getattr(ours, pool)(values.to(kind), mask, ids, weights, **options)
            near = {torch.float32: 1e-5, torch.bfloat16: 2 ** -6}[kind]
            assert x.dtype is y.dtype and torch.allclose(x.float(), y.float(), rtol=near, atol=near), (weights, kind, pool)
for path in sys.argv[1:]:
    for options in ({}, {"clean_midi": False, "transpose_factor": 1}, {"transpose_to_pitch": 72, "max_seq_len": -3},
                    {"chunk_by_bars": True},
                    {"emit_bar_token": True, "bar_time_ms": 500}, {"chunk_by_bars": True, "emit_bar_token": True, "bar_time_ms": 1}):
        assert (midisimx.midi_to_tokens(path, verbose=False, **options) ==
                ours.midi_to_tokens(path, verbose=False, token_order="chord-first", **options)), (path, options)
print("all equal")
'''


def test_functions(original, tmp_path):
    done = call("-c", FUNCTIONS, *(g.SHIPPED / path for path in CORPUS[:3]), cwd=tmp_path)
    assert done.returncode == 0 and "all equal" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
