"""Embedding and searching under ThreadSanitizer: no two threads touch the same memory unordered. Slow: `make test-slow` builds
the tools for it (CONFIG=tsan)."""
import json
import os
import subprocess

import pytest

from cli_util import CI, ENV, ROOT, midi, write_model

pytestmark = pytest.mark.slow
TSAN = ROOT / "build/tsan"


def run(name, *arguments):
    """A tool with four threads; a data race ends it with a code of its own."""
    path = TSAN / f"midisim-{name}"
    if not path.exists():
        (pytest.fail if CI else pytest.skip)(f"no {path}: make CONFIG=tsan")
    done = subprocess.run([path, "--threads", "4", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(ENV, TSAN_OPTIONS="exitcode=66:halt_on_error=0"), timeout=900)
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0 and "ThreadSanitizer" not in said, said[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    write_model(folder / "m.safetensors")
    (folder / "songs").mkdir()
    for i in range(60):
        (folder / f"songs/{i:02d}.mid").write_bytes(midi([30 + (i * 7 + k * (1 + i % 5)) % 70 for k in range(4 + i % 40)]))
    (folder / "songs/twice.mid").write_bytes((folder / "songs/00.mid").read_bytes())
    return folder


def embed(folder, *more):
    run("embed", "--device", "cpu", "-m", folder / "m.safetensors", "-o", folder / "c.npy", *more, folder / "songs")


def test_a_race_is_found(tmp_path):
    """The sanitizer of this machine sees a planted race."""
    source = tmp_path / "race.c"
    source.write_text("#include <pthread.h>\nstatic int n;\nstatic void *add(void *p) { n++; return p; }\nint main(void) {\n"
                      "pthread_t t; pthread_create(&t, 0, add, 0); n++; pthread_join(t, 0); return 0; }\n")
    compiler = os.environ.get("CC", "cc").split()
    if subprocess.run([*compiler, "-fsanitize=thread", "-o", tmp_path / "race", source, "-pthread"]).returncode:
        pytest.skip("no ThreadSanitizer")
    assert subprocess.run([tmp_path / "race"], env=dict(ENV, TSAN_OPTIONS="exitcode=66"), stderr=subprocess.PIPE).returncode == 66


def test_embed(folder):
    embed(folder, "--force")
    embed(folder, "--update")
    embed(folder, "--force", "--precision", "f32")
    run("embed", "--device", "cpu", "-m", folder / "m.safetensors", "--per-token", folder / "each", folder / "songs")


@pytest.mark.parametrize("scan", ["f64", "f32", "bf16", "int8"])
def test_search(folder, scan):
    embed(folder, "--force")
    corpus = folder / "c.npy"
    if scan in ("bf16", "int8"):
        run("search", "--device", "cpu", "-c", corpus, "--scan", scan, "--prepare")
    out = run("search", "--device", "cpu", "-m", folder / "m.safetensors", "-c", corpus, "--scan", scan, "-k", "5", "--json",
              folder / "songs/00.mid", folder / "songs/33.mid")
    assert [json.loads(line)["matches"][0]["name"] for line in out.splitlines()] == ["00.mid", "33.mid"]


def test_tokens(folder):
    assert run("tokens", folder / "songs").count(b"\n") == 61
