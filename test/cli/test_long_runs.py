"""Long runs: progress and what a log shows of it, the cost and the answers of many queries, --table."""
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_util import DRUMS, ENV, SILENT, build_clock, midi, run, text, tool, write_model
from embed_util import corpus, embed, make_songs, start
from test_common import on_terminal

LINE = re.compile(r"(\d+) %  ([\d,]+)/([\d,]+) files  [\d,.]+ (?:tokens|files)/s  (\w+)  (\w+|\?) left")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """A model of some work, and 204 songs."""
    folder = tmp_path_factory.mktemp("long")
    write_model(folder / "m.safetensors", dim=256, heads=4, depth=2)
    make_songs(folder / "songs", n=200, notes=200)
    return folder


def seconds_of(word):
    return sum(int(n) * {"h": 3600, "m": 60, "s": 1}[unit] for n, unit in re.findall(r"(\d+)([hms])", word))


def test_a_log_shows_life(songs, tmp_path):
    """A plain line every minute or every 5 %, whichever is later; none of what is short, and none with --quiet."""
    model, folder, out = songs / "m.safetensors", songs / "songs", tmp_path / "c.npy"
    clock = build_clock(tmp_path)
    done = embed(model, out, folder, env=clock)
    found = [LINE.fullmatch(line.removeprefix("midisim-embed: ")) for line in text(done).splitlines()]
    found = [line for line in found if line]
    shares = [int(line[1]) for line in found]
    assert done.returncode == 0 and 2 <= len(found) <= 20, text(done)
    assert shares == sorted(shares) and all(b - a >= 4 for a, b in zip(shares, shares[1:])), shares
    assert all(b - a >= 59 for a, b in zip(*[[seconds_of(line[4]) for line in found][i:] for i in (0, 1)]))
    assert "tokens/s" in found[-1][0] and seconds_of(found[0][4]) >= 59
    quiet = embed(model, out, "--force", "-q", folder, env=clock)
    assert quiet.returncode == 0 and text(quiet) == ""
    assert not LINE.search(text(embed(model, out, "--force", folder)))


def test_progress_after_a_resume(songs, tmp_path):
    """It begins where the earlier run ended, and what that run did takes none of this one's time."""
    model, folder, out = songs / "m.safetensors", songs / "songs", tmp_path / "c.npy"
    process = start(model, out, folder, stderr=subprocess.DEVNULL)
    journal = tmp_path / "c.npy.journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 2000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    env = dict(ENV, TERM="xterm", **build_clock(tmp_path))
    code, said = on_terminal([tool("embed"), "-m", model, "-o", out, folder], env, tmp_path)
    found = LINE.findall(said.decode())
    before = int(re.search(r"(\d+) files were done by an earlier run", said.decode())[1])
    assert code == 0 and found and before > 0, said
    assert int(found[0][1]) >= before and int(found[0][0]) >= before * 100 // 204
    for share, done, count, elapsed, left in found:  # the rest at this run's pace: no more than its own share of time
        mine = (int(share) / 100 - before / int(count)) / (1 - before / int(count))
        if mine > 0.1 and seconds_of(elapsed) > 20:
            assert seconds_of(left) >= 0.5 * seconds_of(elapsed) * (1 - mine - 0.03) / (mine + 0.03), (share, elapsed, left)


# ---- Queries --------------------------------------------------------------------------------------------------------


def test_many_queries(songs, tmp_path):
    """What they cost comes first, and each answer as soon as it is there: before the next file has been read."""
    model, out = songs / "m.safetensors", tmp_path / "c.npy"
    queries = tmp_path / "queries"
    make_songs(queries, n=6)
    assert embed(model, out, "-q", queries).returncode == 0
    done = run("search", "-m", model, "-c", out, "-k", "1", "--format", "tsv", queries, cwd=tmp_path)
    assert re.match(r"midisim-search: 10 MIDI files as queries, [\d,]+ bytes, about [\d,]+ tokens in each of their keys; "
                    r"over 8 rows\n", text(done)), text(done)
    assert "MIDI files as queries" not in text(run("search", "-q", "-m", model, "-c", out, queries))
    assert "MIDI files as queries" not in text(run("search", "-m", model, "-c", out, queries / "0000.mid"))
    # standard input comes last and stays open: the answer before it is there all the same
    process = subprocess.Popen([tool("search"), "-q", "-m", model, "-c", out, "-k", "1", "--format", "tsv",
                                queries / "0000.mid", "-"], env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    answer = process.stdout.readline() + process.stdout.readline()
    assert b"0000.mid" in answer and process.poll() is None
    process.stdin.write(midi())
    process.stdin.close()
    assert process.stdout.read() and process.wait(60) == 0


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_a_signal_ends_a_pass(tmp_path, number):
    """Within a second, in the middle of a pass of many seconds."""
    rng = np.random.default_rng(5)
    np.save(tmp_path / "rows.npy", rng.standard_normal((200000, 64), dtype=np.float32))
    np.save(tmp_path / "queries.npy", rng.standard_normal((3000, 64), dtype=np.float32))
    process = subprocess.Popen([tool("search"), "-c", tmp_path / "rows.npy", "--query-vectors", tmp_path / "queries.npy",
                                "--scan", "f64", "--threads", "1", "--format", "tsv", "-k", "3"], env=ENV,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.7)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number and time.monotonic() - began < 1.5


# ---- The table ------------------------------------------------------------------------------------------------------


def read_table(path):
    rows = [line.split("\t") for line in path.read_text().split("\n")]
    assert rows.pop() == [""] and rows[0] == ["path", "tokens", "cut", "seconds", "notes", "skipped", "detail"]
    return rows[1:]


def test_table(songs, tmp_path):
    model, folder, out, table = songs / "m.safetensors", tmp_path / "in", tmp_path / "c.npy", tmp_path / "t.tsv"
    folder.mkdir()
    for name, data in (("b.mid", midi(range(40, 80))), ("a\tb.mid", midi((60, 64, 67))), ("copy.mid", midi((60, 64, 67))),
                       ("silent.mid", SILENT), ("drums.mid", DRUMS), ("bad.mid", b"none")):
        (folder / name).write_bytes(data)
    done = embed(model, out, "--table", table, "--max-tokens", "50", folder)
    assert done.returncode == 1 and out.exists()
    rows = read_table(table)
    assert [row[0] for row in rows] == [f"{folder}/{n}" for n in ("a\\tb.mid", "b.mid", "copy.mid", "bad.mid", "drums.mid",
                                                                    "silent.mid")]
    tokens = run("tokens", "--max-tokens", "50", "-q", folder / "b.mid").stdout
    assert rows[1][1] == str(tokens.count(b",") - 1) == "50" and rows[1][2] == "cut" and rows[1][4] == "40"
    assert rows[0][2] == "whole" and rows[0][4] == "3" and 1.0 < float(rows[0][3]) < 2.0 and rows[0][1:] == rows[2][1:]
    assert float(rows[1][3]) > 10 * float(rows[0][3])
    assert [row[1:6] for row in rows[3:]] == [["-"] * 4 + [reason] for reason in ("not-midi", "drums-only", "no-notes")]
    plain = tmp_path / "plain.npy"
    assert embed(model, plain, "--max-tokens", "50", folder).returncode == 1
    assert corpus(out) == corpus(plain)  # the table changes nothing else
    # nothing to do: the old table stays, and that is said
    before = table.read_bytes()
    said = text(embed(model, out, "--table", table, "--max-tokens", "50", folder))
    assert f"{table} was not written" in said and table.read_bytes() == before
    # an update: what is kept is not read again
    (folder / "c.mid").write_bytes(midi(range(50, 55)))
    assert embed(model, out, "--update", "--table", table, "--max-tokens", "50", folder).returncode == 1
    rows = read_table(table)
    assert [row[1:5] for row in rows[:2]] == [["-", "whole", "-", "-"], ["-", "cut", "-", "-"]]
    assert rows[2][0].endswith("c.mid") and rows[2][4] == "5" and rows[2][1] != "-"
    assert embed(model, tmp_path / "d.npy", "--table", tmp_path / "none" / "t.tsv", folder / "b.mid").returncode == 1
    assert run("embed", "--per-token", tmp_path / "p", "--table", table, folder).returncode == 2


def test_table_after_a_resume(songs, tmp_path):
    """Tokens are in the journal; notes and seconds of what an earlier run has read are not."""
    model, folder, out, table = songs / "m.safetensors", songs / "songs", tmp_path / "c.npy", tmp_path / "t.tsv"
    process = start(model, out, folder, stderr=subprocess.DEVNULL)
    journal = tmp_path / "c.npy.journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 2000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and embed(model, out, "--table", table, folder).returncode == 0
    rows = read_table(table)
    assert len(rows) == 204 and [row[5] for row in rows[202:]] == ["drums-only", "no-notes"]
    assert all(int(row[1]) > 0 and row[2] == "whole" for row in rows[:202])
    known = [row[4] != "-" for row in rows[:202]]
    assert any(known) and not all(known)
