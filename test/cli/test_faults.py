"""Any call of the operating system fails, one at a time and from one on: a tool then says what failed and leaves no file that
is not right. It never crashes, never hangs, and never ends with 0 when something is missing. test/fault/nth.c makes calls
fail; `make test` tries some of each kind, `make test-slow` all of them."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import pytest

from cli_util import BUILD, DRUMS, ENV, ROOT, midi, tool, write_model
from test_find import tune

pytestmark = pytest.mark.skipif("asan" in BUILD.name, reason="a sanitizer's own library must be the first one")
KINDS = ("memory", "open", "read", "write", "output", "sync", "rename", "remove", "resize", "close", "stat", "map", "folder",
         "thread")
# Of each job and kind so many calls fail in `make test`, and no more than so many in `make test-slow`.
SOME, MOST = 2, 2000
# Of these all, for one of them once made a tool end with 0 or write what it should not.
FOUND = {("tokens-normal", "stat"), ("embed", "stat"), ("search-prepare", "memory"), ("search-copy", "stat"),
         ("convert-pickled", "read"), ("convert-info", "read"), ("convert-info", "open")}
TWO = ("--threads", "2")
CPU = ("--device", "cpu", *TWO)
# Tool and arguments; `in` holds what is read, `out` is made anew for each run.
JOBS = {
    "tokens": ("tokens", "--transpose", "1", "in/songs"),
    "tokens-list": ("tokens", "--files-from", "in/list", "--skipped", "out/skipped.tsv"),
    "tokens-md5": ("tokens", "--md5", "in/songs"),
    "tokens-normal": ("tokens", "--normalize-midi", "out/normal", "in/songs"),
    "embed": ("embed", *CPU, "-m", "in/m.safetensors", "-o", "out/c.npy", "in/songs"),
    "embed-lines": ("embed", *CPU, "-m", "in/m.pth", "-o", "out/c.npy", "--from-tokens", "in/lines.jsonl", "--keep-journal"),
    "embed-update": ("embed", *CPU, "-m", "in/m.safetensors", "-o", "out/c.npy", "--update", "in/songs"),
    "embed-per-token": ("embed", *CPU, "-m", "in/m.safetensors", "--per-token", "out/each", "in/songs"),
    "search": ("search", *CPU, "-m", "in/m.safetensors", "-c", "in/c.npy", "-k", "3", "--json", "in/songs/0.mid", "in/songs/b/2.mid"),
    "search-rows": ("search", *CPU, "-c", "in/pickled.npy", "-k", "2", "--format", "tsv", "--like", "0.mid", "--exclude-self"),
    "search-prepare": ("search", *CPU, "-c", "in/c.npy", "--prepare", "--cache", "out"),
    "search-copy": ("search", *CPU, "-m", "in/m.safetensors", "-c", "in/c.npy", "-k", "2", "--copy-to", "out/found", "--midi-root",
                    "in/songs", "in/songs/0.mid"),
    "convert-model": ("convert", "in/m.pth", "out/m.safetensors"),
    "convert-pickled": ("convert", "--form", "pickled", "in/c.npy", "out/o.npy"),
    "convert-plain": ("convert", "--form", "plain", "in/pickled.npy", "out/o.npy"),
    "convert-merge": ("convert", "--merge", "--force", "in/c.npy", "in/pickled.npy", "-o", "out/o.npy"),
    "convert-whiten": ("convert", "--whiten", "--prior-fit", "in/p.whiten", "in/c.npy", "out/o.npy"),
    "convert-fit": ("convert", "--fit-only", "--prior-fit", "none", "in/many.npy", "out/o.whiten"),
    "search-whiten": ("search", *CPU, "-c", "in/many.npy", "--whiten", "--prior-fit", "none", "--cache", "out", "--scan", "f64",
                      "--format", "tsv", "--like", "7"),
    "convert-info": ("convert", "--info", "in/c.npy", "in/m.pth", "in/m.safetensors"),
    # The second family: tokens, weights and description are its own.
    "tokens-midisimx": ("tokens", "--family", "midisimx", "--transpose", "1", "in/songs"),
    "embed-midisimx": ("embed", *CPU, "-m", "in/x.safetensors", "-o", "out/c.npy", "--token-order", "chord-first", "--pooling",
                       "weighted", "--pool-weights", "1,2,1,2", "in/songs"),
    "search-midisimx": ("search", *CPU, "-m", "in/x.safetensors", "-c", "in/x.npy", "-k", "2", "--json", "in/songs/0.mid"),
    # Notes.
    "index": ("index", *TWO, "-o", "out/t.notes", "in/tunes"),
    "index-update": ("index", *TWO, "--update", "-o", "out/t.notes", "in/tunes"),
    "index-merge": ("index", "--merge", "-o", "out/t.notes", "in/t.notes", "in/s.notes"),
    "find": ("find", *TWO, "-i", "in/t.notes", "--json", "in/tunes/0.mid"),
    "find-pairs": ("find", *TWO, "-i", "in/t.notes", "--pairs"),
    "groups": ("groups", *TWO, "--json", "--state", "out/state", "in/tunes"),
    "groups-lists": ("groups", *TWO, "--state", "out/state", "--keep-list", "out/keep", "--drop-list", "out/drop", "--pairs",
                     "out/pairs.tsv", "in/tunes"),
    "groups-split": ("groups", *TWO, "--state", "out/state", "--split", "60/20/20", "--lists", "out/data", "in/tunes"),
    "report": ("report", *TWO, "-o", "out/r.html", "in/tunes/0.mid", "in/tunes/1.mid", "in/tunes/2.mid"),
    "report-index": ("report", *TWO, "-o", "out/r.html", "-i", "in/t.notes", "--midi-root", "in/tunes", "in/tunes/0.mid"),
    "report-map": ("report", *TWO, "-o", "out/r.html", "--map", "in/c.npy", "--midi-root", "in/songs"),
}
# Jobs that a second run of the same command finishes.
RESUMES = ("embed", "embed-lines", "embed-update", "embed-midisimx", "index", "index-update", "groups", "groups-lists",
           "groups-split")
# Jobs that change what a folder has.
UPDATES = {"embed-update": "in/old", "index-update": "in/before"}
# Jobs that go on with the other inputs when one cannot be read, and then end with 1.
GOES_ON = ("tokens", "tokens-list", "tokens-md5", "tokens-normal", "embed", "embed-lines", "embed-update", "embed-per-token",
           "search", "search-copy", "convert-info", "tokens-midisimx", "embed-midisimx", "search-midisimx", "index",
           "index-update", "groups", "groups-lists", "groups-split", "report")
# Jobs whose report says itself which files it could not read.
SAYS = ("report-index", "report-map")
# What a run leaves for the next one.
KEPT = (".journal", "state")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("fault") / "nth.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", path, ROOT / "test/fault/nth.c", "-ldl"],
                   check=True)
    return path


@pytest.fixture(scope="module")
def place():
    """A folder with all that the jobs read. In memory where that can be: thousands of runs sync what they write."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="midisim-faults-", dir=memory))
    yield fill(folder)
    shutil.rmtree(folder)


def fill(folder):
    songs = folder / "in/songs"
    (songs / "b").mkdir(parents=True)
    for i in range(3):
        (songs / ("b" if i == 2 else ".") / f"{i}.mid").write_bytes(midi(range(60 - 2 * i, 70 + i, 1 + i)))
    shutil.copy(songs / "0.mid", songs / "copy.mid")
    (songs / "drums.mid").write_bytes(DRUMS)
    (folder / "in/list").write_text("in/songs/0.mid\nin/songs/b/2.mid\n")
    write_model(folder / "in/m.safetensors")
    shutil.copy(ROOT / "test/data/checkpoints/mini-f64.pth", folder / "in/m.pth")
    (folder / "out").mkdir()
    command(folder, ("embed", *CPU, "-m", "in/m.safetensors", "-o", "in/c.npy", "in/songs"))
    command(folder, ("convert", "--form", "pickled", "in/c.npy", "in/pickled.npy"))
    (folder / "in/lines.jsonl").write_bytes(command(folder, ("tokens", "-q", "in/songs")).stdout)
    np.save(folder / "in/many.npy", np.random.default_rng(1).standard_normal((200, 32)).astype("f4") + 1)
    command(folder, ("convert", "--fit-only", "--prior-fit", "none", "in/many.npy", "in/p.whiten"))
    write_model(folder / "in/x.safetensors", heads=2, vocab=720)
    command(folder, ("embed", *CPU, "-m", "in/x.safetensors", "-o", "in/x.npy", "in/songs"))
    # Tunes, of which three are versions of one.
    tunes = folder / "in/tunes"
    tunes.mkdir()
    for i in range(5):
        (tunes / f"{i}.mid").write_bytes(midi(tune(max(0, i - 2), transpose=i if i < 3 else 0), ticks=200 + 20 * i))
    command(folder, ("index", "-o", "in/t.notes", "in/tunes"))
    command(folder, ("index", "-o", "in/s.notes", "in/songs"))
    (folder / "in/before").mkdir()
    command(folder, ("index", "-o", "in/before/t.notes", "in/tunes/0.mid", "in/tunes/1.mid", "in/songs/1.mid"))
    # A corpus of which one file is gone and two are new.
    some = folder / "in/some"
    (some / "b").mkdir(parents=True)
    for name in ("0.mid", "gone.mid"):
        shutil.copy2(songs / "0.mid", some / name)
    (folder / "in/old").mkdir()
    command(folder, ("embed", *CPU, "-m", "in/m.safetensors", "-o", "in/old/c.npy", "in/some"))
    return folder


def command(folder, job, env=None):
    return subprocess.run([tool(job[0]), *job[1:]], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(ENV, **(env or {})), timeout=60)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def prepare(folder, name):
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    if name in UPDATES:
        shutil.copytree(folder / UPDATES[name], folder / "out", dirs_exist_ok=True)


def is_whole_index(data):
    with tempfile.NamedTemporaryFile(suffix=".notes") as file:
        file.write(data)
        file.flush()
        return command(None, ("index", "--verify", file.name)).returncode == 0


def rows(data):
    """Name and vector of each row of a structured corpus."""
    head = int.from_bytes(data[8:10], "little") + 10
    dtype = np.dtype(eval(data[10:head], {"__builtins__": {}})["descr"])
    return {str(row["midi_names"]): row["midi_embeddings"].tobytes() for row in np.frombuffer(data[head:], dtype)}


def is_part(name, path, got, expected):
    """A file that was written although some inputs could not be read: what is in it is right."""
    if path.endswith(KEPT):
        return True
    if path == "t.notes":
        return is_whole_index(got)
    if path in ("keep", "drop") or path.startswith("data."):
        return {line for line in got.decode().splitlines()} <= {f"in/tunes/{i}.mid" for i in range(5)}
    if path == "pairs.tsv":
        return all(line.count(b"\t") == expected.split(b"\n")[0].count(b"\t") for line in got.splitlines())
    if path == "r.html":
        return got.startswith(b"<!doctype html>") and got.endswith(b"</html>\n")
    if path == "c.npy" and name.startswith("embed"):
        all_rows = rows(expected)
        return all(all_rows.get(row) == vector for row, vector in rows(got).items())
    if path == "c.npy.json" and name.startswith("embed"):
        return json.loads(got)["rows"] <= json.loads(expected)["rows"]
    return path == "skipped.tsv"


def judge(name, kind, done, before, found, expected):
    """What is wrong with a run, or None. before and found: the files under out before and after."""
    stdout, tree = expected
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode not in (0, 1, 2):
        return f"ended with {done.returncode}: {said[-200:]}"
    if done.returncode == 0:
        if done.stdout != stdout:
            return "exit code 0, and other output"
        # Where one block of a journal ends and the next begins is a matter of time.
        wrong = [path for path in {*tree, *found} if found.get(path) != tree.get(path)
                 and not (path.endswith(KEPT) and path in tree and path in found)
                 and not (name in SAYS and path in found and is_part(name, path, found[path], tree[path]))]
        if kind in ("remove", "close", "sync"):  # what could not be removed is left, and nothing else
            wrong = [path for path in wrong if path in tree]
        return f"exit code 0, and not what should be there: {wrong}: {said[-200:]}" if wrong else None
    if not said.startswith(f"midisim-{JOBS[name][0]}: "):
        return f"exit code {done.returncode}, and no reason: {said[-200:]!r}"
    for path, data in found.items():
        if data in (tree.get(path), before.get(path)):
            continue
        if path in tree and name in GOES_ON and is_part(name, path, data, tree[path]):
            continue
        if path.endswith((*KEPT, ".next")) or (kind == "remove" and ".part-" in path):
            continue
        return f"exit code {done.returncode}, and {path} is not right: {said[-200:]}"
    return None


def test_nothing_fails(place, library):
    """Without a fault every job does its work with the library before it."""
    for name, job in JOBS.items():
        prepare(place, name)
        done = command(place, job, {"LD_PRELOAD": str(library)})
        assert done.returncode == 0, (name, done.stderr)


def baseline(place, name):
    prepare(place, name)
    done = command(place, JOBS[name])
    assert done.returncode == 0, done.stderr
    return done.stdout, files(place / "out")


def count(place, library, name, kind):
    prepare(place, name)
    path = place / "count"
    assert command(place, JOBS[name], {"LD_PRELOAD": str(library), "FAULT_KIND": kind, "FAULT_COUNT": str(path)}).returncode == 0
    return int(path.read_text())


def run_again(place, name, expected):
    """The same command without a fault makes everything right again."""
    done = command(place, JOBS[name])
    found = files(place / "out")
    if name == "embed-lines" and b"exists already" in done.stderr:
        return None  # the corpus is there, and token lines cannot be compared with it
    if done.returncode != 0:
        return f"the next run ends with {done.returncode}: {done.stderr[-200:]}"
    wrong = [path for path in expected[1] if found.get(path) != expected[1][path] and not path.endswith(KEPT)]
    if wrong or done.stdout != expected[0]:
        return f"the next run does not mend {wrong or 'the output'}"
    return None


def try_all(place, library, name, kind, most, goes_on, expected):
    n = count(place, library, name, kind)
    step = max(1, -(-n // most))
    for nth in range(1 + (n - 1) % step, n + 1, step):  # the last one too
        prepare(place, name)
        before = files(place / "out")
        env = {"LD_PRELOAD": str(library), "FAULT_KIND": kind, "FAULT_NTH": str(nth), **({"FAULT_ON": "1"} if goes_on else {})}
        try:
            done = command(place, JOBS[name], env)
        except subprocess.TimeoutExpired:
            yield nth, "hangs"
            continue
        wrong = judge(name, kind, done, before, files(place / "out"), expected)
        if not wrong and name in RESUMES and (most > SOME or kind in ("write", "sync", "rename", "memory")):
            wrong = run_again(place, name, expected)
        if wrong:
            yield nth, wrong


@pytest.mark.parametrize("goes_on", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "from-then-on"])
@pytest.mark.parametrize("most", [SOME, pytest.param(MOST, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("name", JOBS)
def test_faults(place, library, name, most, goes_on):
    expected = baseline(place, name)
    found = [f"{kind} {nth}: {wrong}" for kind in KINDS
             for nth, wrong in try_all(place, library, name, kind, MOST if (name, kind) in FOUND else most, goes_on, expected)]
    assert not found, "\n".join(found)
