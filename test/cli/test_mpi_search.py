"""midisim-search on several ranks gives, byte for byte, what one process gives: every form of output, K beyond a rank's
rows, thresholds, exclusions, corpora of several files, MIDI queries; and its failures end all ranks with one line."""
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_util import midi, run, text
from mpi_util import MPI_ENV, command, mpirun, need_mpi, wait_for_ranks
from search_util import named

ROWS, DIM = 5000, 32
RANKS = (3, 4)


@pytest.fixture(scope="module", autouse=True)
def _mpi():
    need_mpi()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """5,000 rows in one file and in three: ties across the ranks' borders, a zero row, rows with NaN and infinity."""
    folder = tmp_path_factory.mktemp("mpi")
    rows = np.random.default_rng(5).standard_normal((ROWS, DIM)).astype("<f4")
    for i in (255, 256, 1700, 2500, 4999):
        rows[i] = rows[10] * 2
    rows[77] = 0
    rows[[2000, 4100], 3] = np.nan, np.inf
    names = [f"r{i}.mid" for i in range(ROWS)]
    named(folder / "c.npy", names, rows)
    (folder / "parts").mkdir()
    for n, (first, end) in enumerate(((0, 300), (300, 2100), (2100, ROWS))):
        named(folder / "parts" / f"{n}.npy", names[first:end], rows[first:end])
    np.save(folder / "q.npy", np.concatenate([rows[[10, 1, 2]], rows[4000:4070]]))
    return folder


def without_work(output):
    """How a result was found may differ: the scores that were evaluated, and the scan that few rows are worth."""
    return re.sub(rb'"evaluated":\d+,"scan":"\w+"', b"", output)


def same(folder, *arguments, ranks=RANKS, code=0, stdin=b""):
    one = run("search", *arguments, cwd=folder, stdin=stdin)
    assert one.returncode == code, text(one)
    for n in ranks:
        many = mpirun(n, "search", *arguments, cwd=folder, stdin=stdin)
        assert many.returncode == code, text(many)
        assert without_work(many.stdout) == without_work(one.stdout)
    assert one.stdout or code
    return one.stdout


@pytest.mark.parametrize("form", ["tsv", "table", "json", "midisim"])
def test_formats(corpus, form):
    same(corpus, "-c", "c.npy", "--like", "r10.mid", "--query-vectors", "q.npy", "-k", "20", "--format", form)


def test_k_beyond_the_rows_of_a_rank(corpus):
    out = same(corpus, "-c", "c.npy", "--like", "r10.mid", "-k", str(ROWS), "--exclude", "r11.mid", ranks=(4,))
    assert out.count(b"\n") == ROWS  # a header, and all rows but one
    same(corpus, "-c", "parts", "--like", "r10.mid", "-k", "10000", "--exclude-self", "--metric", "ip", ranks=(3,))


def test_ties_at_the_last_place(corpus):
    """Six rows of several ranks score 1: the lowest numbers count."""
    out = same(corpus, "-c", "c.npy", "--like", "r10.mid", "-k", "3", ranks=(4,))
    assert [line.split(b"\t")[4] for line in out.splitlines()[1:]] == [b"10", b"255", b"256"]


@pytest.mark.parametrize("scan", ["f64", "f32", "int8", "bf16"])
def test_scans(corpus, scan):
    if scan in ("int8", "bf16"):
        done = mpirun(3, "search", "-c", "c.npy", "--prepare", "--scan", scan, cwd=corpus)
        assert done.returncode == 0, text(done)
        assert text(done).count("wrote ") == 1
    same(corpus, "-c", "c.npy", "--query-vectors", "q.npy", "-k", "40", "--scan", scan, "--json", ranks=(3,))


def test_threshold_and_parts(corpus):
    arguments = ("--query-vectors", "q.npy", "--threshold", "0.3", "--json", "--exclude", "r1.mid")
    whole = same(corpus, "-c", "c.npy", *arguments)
    assert whole.count(b'"rank"') > 500
    assert without_work(same(corpus, "-c", "parts", *arguments)) == without_work(whole)


def test_whitened_rows(corpus, tmp_path):
    """Rank 0 whitens, the others open what it wrote; also when the files are there."""
    arguments = ("-c", "parts", "--whiten", "--prior-fit", "none", "--like", "r10.mid", "--query-vectors", "q.npy")
    one = run("search", *arguments, "--cache", tmp_path / "one", cwd=corpus)
    assert one.returncode == 0, text(one)
    for _ in range(2):
        many = mpirun(3, "search", *arguments, "--cache", tmp_path / "many", cwd=corpus)
        assert many.returncode == 0 and many.stdout == one.stdout, text(many)
    few = mpirun(2, "search", "-c", "parts/0.npy", "--whiten", "--prior-fit", "missing", "--like", "r10.mid", cwd=corpus)
    assert few.returncode == 1 and text(few).count("missing") == 1


def test_more_ranks_than_blocks_of_rows(corpus, tmp_path):
    rows = np.random.default_rng(6).standard_normal((40, DIM)).astype("<f4")
    named(tmp_path / "few.npy", [f"{i}" for i in range(40)], rows)
    same(tmp_path, "-c", "few.npy", "--like", "7", "-k", "40", ranks=(4,))
    same(tmp_path, "-c", "few.npy", "--like", "7", "--threshold", "0", ranks=(4,))


def test_midi_queries(corpus, model, tmp_path):
    (tmp_path / "a.mid").write_bytes(midi((60, 62, 64)))
    same(corpus, "-m", model, "-c", "c.npy", tmp_path / "a.mid", "-", stdin=midi((50, 55, 57)))


def test_long_queries_and_likely_keys(model, tmp_path):
    """Queries in windows, in more passes than one, and a pass that chooses keys."""
    rng = np.random.default_rng(2)
    (tmp_path / "midi").mkdir()
    for i in range(6):
        (tmp_path / "midi" / f"{i}.mid").write_bytes(midi([int(n) for n in rng.integers(30, 90, 260)], ticks=300))
    for name, options in (("w.npy", ["--windows", "96"]), ("c.npy", [])):
        assert run("embed", "-m", model, *options, "-o", name, "midi", cwd=tmp_path).returncode == 0
    for more in (["-c", "w.npy"], ["-c", "w.npy", "--threshold", "0.9"], ["-c", "c.npy", "--keys", "likely"]):
        same(tmp_path, "-m", model, *more, "--format", "tsv", "midi/1.mid", "midi/4.mid", ranks=(3,))


def test_names_from_standard_input(corpus):
    same(corpus, "-c", "c.npy", "--like", "r10.mid", "--exclude-from", "-", stdin=b"r255.mid\nr4999.mid\n", ranks=(3,))


def test_copies_of_matches(corpus, tmp_path):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "r10.mid").write_bytes(midi())
    done = mpirun(3, "search", "-c", "c.npy", "--like", "r10.mid", "-k", "1", "--copy-to", tmp_path / "out", "--midi-root",
                  tmp_path / "music", cwd=corpus)
    assert done.returncode == 0, text(done)
    assert len([p for p in (tmp_path / "out").rglob("*.mid")]) >= 1


def ours(done):
    return [line for line in text(done).splitlines() if line.startswith("midisim-")]


def test_failures_end_all_with_one_line(corpus, model, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nothing")
    for code, arguments in ((1, ("-c", tmp_path / "bad.npy", "--like", "a")), (1, ("-c", tmp_path / "none.npy", "--like", "a")),
                            (2, ("-c", "c.npy")), (2, ("-c", "c.npy", "--nothing")),
                            (1, ("-c", "c.npy", "--like", "unknown")),
                            (2, ("-c", "c.npy", "--like", "r1.mid", "--scan", "bf16", "--cache", tmp_path / "x" / "y"))):
        one = run("search", *arguments, cwd=corpus)
        many = mpirun(3, "search", *arguments, cwd=corpus)
        assert ours(many) == text(one).splitlines() and many.returncode == one.returncode, text(many)
        assert code == one.returncode or code == 2
    version = mpirun(3, "search", "--version")
    assert version.returncode == 0 and version.stdout == run("search", "--version").stdout


def test_over_sockets(corpus):
    """The transport that does nothing by itself: progress is made by those who wait."""
    arguments = ("-c", "c.npy", "--like", "r10.mid", "-k", "3000")
    many = mpirun(3, "search", *arguments, cwd=corpus, env={"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "lo"})
    assert many.returncode == 0, text(many)
    assert many.stdout == run("search", *arguments, cwd=corpus).stdout


def test_failure_of_another_rank(corpus, tmp_path):
    """Ranks that were started with other options, as when a file is missing on one machine."""
    (tmp_path / "none").mkdir()
    first = command(1, "search", "-c", "c.npy", "--like", "r10.mid")
    other = command(2, "search", "-c", tmp_path / "none" / "c.npy", "--like", "r10.mid")[1:]
    done = subprocess.run([*first, ":", *other], cwd=corpus, env=MPI_ENV, capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stdout == b""
    assert len(ours(done)) == 1 and ours(done)[0].endswith("(rank 1)") and "none/c.npy" in ours(done)[0]


def test_signal_to_one_rank(corpus):
    """It ends all; here while rank 0 waits for standard input."""
    process = subprocess.Popen(command(3, "search", "-c", "c.npy", "--exclude-from", "-", "--like", "r10.mid"), cwd=corpus,
                               env=MPI_ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ranks = wait_for_ranks(process.pid, 3)
    time.sleep(0.5)
    os.kill(ranks[1], signal.SIGTERM)
    out, _ = process.communicate(input=b"r1.mid\n", timeout=60)
    assert process.returncode == 143 and out == b""
