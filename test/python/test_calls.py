"""Errors, handles, threads, Ctrl-C and fork."""
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

from cli_util import ROOT, midi
import midisim_native as mn
from midisim_native import _library
import numpy as np
import pytest


def test_errors_have_the_library_s_line_and_a_built_in_base(model, tmp_path):
    with pytest.raises(mn.FileError, match="absent.mid") as caught:
        model.embed(tmp_path / "absent.mid")
    assert isinstance(caught.value, OSError) and caught.value.status == "io"
    with pytest.raises(mn.EmptyError):
        model.embed(midi(()))
    bad = tmp_path / "bad.mid"
    bad.write_bytes(b"not MIDI")
    with pytest.raises(mn.FormatError, match="bad.mid"):
        model.embed([bad])
    with pytest.raises(ValueError, match="device: expected auto"):
        mn.load_model(bad, device="gpu")
    with pytest.raises(mn.MidisimError):
        mn.load_model(bad)


def test_a_closed_handle_says_so(model_path):
    with mn.load_model(model_path, device="cpu") as model:
        assert model.embed(midi()).shape == (32,)
    with pytest.raises(ValueError, match="closed"):
        model.embed(midi())
    model.close()
    corpus = mn.Corpus.open(np.eye(4, dtype=np.float32))
    searcher = corpus.searcher(k=1)
    corpus.search_vectors(np.eye(4), 1)
    corpus.close()
    for call in (lambda: searcher.search(0), lambda: corpus.search(0), lambda: corpus.search_vectors(np.eye(4))):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_what_a_callback_raises_comes_out(model, songs, tmp_path):
    def fails(step, done, total):
        raise KeyError("planted")
    with pytest.raises(KeyError, match="planted"):
        mn.embed_folder(songs, tmp_path / "c.npy", model=model, progress=fails)
    with pytest.raises(mn.StoppedError):
        mn.embed_folder(songs, tmp_path / "c.npy", model=model, progress=lambda *_: False)
    seen = []
    report = mn.embed_folder(songs, tmp_path / "c.npy", model=model, progress=lambda *what: seen.append(what))
    assert report.rows == 5 and {step for step, *_ in seen} >= {"list", "embed"}


def test_threads_share_a_model_and_a_corpus(model):
    pieces = [midi((60 + n, 64, 67)) for n in range(8)]
    alone = [model.embed(piece) for piece in pieces]
    corpus = mn.Corpus.open(np.stack(alone))
    found = [None] * 8

    def work(n):
        vector = model.embed(pieces[n])
        found[n] = (vector.tobytes() == alone[n].tobytes(), corpus.search(vector, 1)[0].score)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same and score == pytest.approx(1) for same, score in found)


def test_ctrl_c_ends_a_search():
    """SIGINT comes while the library searches; the corpus can be used afterwards."""
    program = """
import os, signal, threading, time
import numpy as np
import midisim_native as mn
rows = np.random.default_rng(1).standard_normal((20000, 64), np.float32)
corpus = mn.Corpus.open(rows)
corpus.search_vectors(rows[:1], 1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without it
threading.Thread(target=lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGINT))).start()
try:
    while True:
        corpus.search_vectors(rows[:60], 1024, scan="f64", threads=1)
except KeyboardInterrupt:
    print("stopped")
print(corpus.search_vectors(rows[:1], 1)[0][0, 0])
"""
    done = run_python(program)
    assert done.stdout.split() == ["stopped", "0"], done.stderr


def test_ctrl_c_ends_a_map():
    """The report has no map then, and takes another."""
    program = """
import os, signal, threading, time
import numpy as np
import midisim_native as mn
report = mn.Report()
signal.signal(signal.SIGINT, signal.default_int_handler)
ask = report._stop.asked
def interrupt():
    report._stop.asked = ask  # the library is inside
    os.kill(os.getpid(), signal.SIGINT)
    return 0
report._stop.asked = interrupt
try:
    report.add_map(mn.Corpus.open(np.random.default_rng(1).standard_normal((5000, 512), np.float32)))
except KeyboardInterrupt:
    print("stopped", report.info.points)
report.add_map(mn.Corpus.open(np.ones((9, 4), np.float32)))
print(report.info.points)
"""
    done = run_python(program)
    assert done.stdout.split() == ["stopped", "0", "9"], done.stderr


def test_a_call_that_should_stop_does():
    corpus = mn.Corpus.open(np.ones((5000, 64), np.float32))
    searcher = corpus.searcher(k=5)
    add = searcher._add
    searcher._add = lambda query: (add(query), setattr(searcher._stop, "is_set", True))
    with pytest.raises(mn.StoppedError):
        searcher.search(0)
    del searcher._add
    assert len(searcher.search(0)) == 5


def run_python(program):
    env = dict(os.environ, PYTHONPATH=str(ROOT / "python/src"))
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)


def in_child(function):
    """What a function gives in a forked child, or the exception that it raises; a child that hangs fails the test."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = function()
        except BaseException as error:
            result = error
        os.write(writer, pickle.dumps(result))
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the forked child hangs")
        time.sleep(0.01)
    with os.fdopen(reader, "rb") as pipe:
        return pickle.loads(pipe.read())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_gives_the_same_bits(model):
    here = model.embed(midi())
    corpus = mn.Corpus.open(np.stack([here, -here]))
    corpus.search(here, 1)
    there = in_child(lambda: (model.embed(midi()).tobytes(), corpus.search(here, 1)[0].row))
    assert there == (here.tobytes(), 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_lock_that_another_thread_held_is_not_waited_for(model):
    with model._alone():
        taken = threading.Event()
        threading.Thread(target=lambda: (taken.set(), model.embed(midi())), daemon=True).start()
        taken.wait()
        assert isinstance(in_child(lambda: model.embed(midi()).shape), tuple)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_inside_the_library_raises_at_once(model, monkeypatch):
    monkeypatch.setattr(_library, "_inside", 1)
    assert isinstance(in_child(lambda: model.embed(midi())), mn.ForkError)


def test_spawned_workers_work(model_path, tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(f"""
import multiprocessing
import midisim_native as mn

def work(n):
    return mn.load_model({str(model_path)!r}, device="cpu", threads=1).dim + n

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(*pool.map(work, range(2)))
""")
    env = dict(os.environ, PYTHONPATH=str(ROOT / "python/src"))
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["32", "33"], done.stderr
