"""midisim-find --stream: notes from standard input, matched as they come."""
import contextlib
import json
import pathlib
import signal
import subprocess
import threading

import pytest
from cli_util import BUILD, ENV, lines, midi, run, text, tool
from test_find import tune

SECONDS = 0.25  # of a note of 240 ticks


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    (folder / "music").mkdir()
    for i in range(30):
        (folder / f"music/{i:02d}.mid").write_bytes(midi(tune(i), ticks=240))
    assert run("index", "-o", "m.notes", "music", cwd=folder).returncode == 0
    return folder


def played(pitches, start=0.0):
    return "".join(f"{start + SECONDS * i:.3f} {pitch} {SECONDS}\n" for i, pitch in enumerate(pitches))


def stream(music, notes, *arguments, code=0):
    done = run("find", "-i", "m.notes", "--stream", "--json", *arguments, cwd=music,
               stdin=notes if isinstance(notes, bytes) else notes.encode())
    assert done.returncode == code, text(done)
    return lines(done), text(done)


def without_bars(match):
    return {key: value for key, value in match.items() if not key.startswith("query_b") and key != "query_to_bar"}


def test_the_last_answer_is_that_of_the_file(music):
    notes = tune(7, transpose=3)[20:90]
    (music / "q.mid").write_bytes(midi(notes, ticks=240))
    whole = lines(run("find", "-i", "m.notes", "--json", "q.mid", cwd=music))[0]
    answers, _ = stream(music, played(notes), "-k", 10)
    assert [a["heard"] for a in answers] == [*range(4, 69, 4), 70]
    assert [without_bars(m) for m in answers[-1]["matches"]] == [without_bars(m) for m in whole["matches"]]
    assert whole["matches"][0]["name"] == "07.mid" and whole["matches"][0]["transpose"] == -3
    assert not any(m["significant"] for m in answers[0]["matches"])


def test_every_and_window(music):
    notes = tune(3)[:100] + tune(4)[:100]
    answers, _ = stream(music, played(notes), "--every", 50, "--window", 40, "-k", 1)
    assert [(a["heard"], a["notes"], a["matches"][0]["name"]) for a in answers] == [
        (50, 40, "03.mid"), (100, 40, "03.mid"), (150, 40, "04.mid"), (200, 40, "04.mid")]
    assert answers[-1]["matches"][0]["query_from"] >= SECONDS * 160
    answers, _ = stream(music, played(notes), "--every", 1000)
    assert [a["heard"] for a in answers] == [200] and len(answers[0]["matches"]) <= 3


def test_lines_of_any_kind(music):
    """Names, chords, comments, channels, drums, blanks, CR LF and a last line without an end are all the same notes."""
    names = "C C# D D# E F F# G G# A A# B".split()
    text_of = "# a tune\r\n\r\n"
    for i, pitch in enumerate(tune(11)[:40]):
        text_of += f"\t{SECONDS * i}  {names[pitch % 12]}{pitch // 12 - 1} {SECONDS} {1 + i % 1} # {i}\r\n{SECONDS * i} 36 0.1 10\n"
    answers, _ = stream(music, text_of.rstrip("\n"), "--every", 40)
    plain, _ = stream(music, played(tune(11)[:40]), "--every", 40)
    assert answers == plain and plain[0]["matches"][0]["significant"]
    chord, _ = stream(music, "0 C4+E4+G4\n1 60\n", "--every", 3, code=1)
    assert [a["heard"] for a in chord] == [3, 4]


@pytest.mark.parametrize("line", (
    b"1", b"1 60 1 1 1", b"one 60", b"-1 60", b"nan 60", b"1e3 60", b"0x1 60", b"2147484 60", b"1 128", b"1 H4", b"1 R", b"1 60,62",
    b"1 60|62", b"1 60 -1", b"1 60 x", b"1 60 1 0", b"1 60 1 17", b"1 60 1 1.5", b"\0", b"1 60\0", b"\xff\xfe", b"9" * 5000,
    b"1 " + b"60+" * 40 + b"60", b". 60", b"1..2 60"))
def test_a_line_that_is_refused(music, line):
    notes = played(tune(5)[:60]).encode().splitlines(keepends=True)
    good, _ = stream(music, b"".join(notes))
    answers, said = stream(music, b"".join([*notes[:7], line + b"\n", *notes[7:]]), code=1)
    assert answers == good and said.count("\n") == 1 and "midisim-find: line 8: " in said


def test_many_lines_that_are_refused(music):
    answers, said = stream(music, b"x\n" * 100000, code=1)
    assert answers == [] and said.count("midisim-find: line ") == 10 and "100000 lines refused" in said and "no notes" in said
    stream(music, b"", code=1)


@contextlib.contextmanager
def listening(music, *arguments):
    """A stream in a process that is killed if it does not answer."""
    with subprocess.Popen([tool("find"), "-i", "m.notes", "--stream", "--json", *arguments], cwd=music, env=ENV,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def test_answers_come_at_once(music):
    """An answer is there before the next note, and a signal ends the wait for it."""
    with listening(music) as process:
        for first in range(0, 40, 4):
            process.stdin.write(played(tune(9)[first:first + 4], SECONDS * first).encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["heard"] == first + 4
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stdout.read() == b""


def peaks(music, every, *parts):
    """The most memory that was in use, in KiB, after the answer to each part."""
    with listening(music, "--every", str(every)) as process:
        for part in parts:
            process.stdin.write(part)
            process.stdin.flush()
            assert process.stdout.readline()
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            yield int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.skipif("release" not in str(BUILD), reason="sanitizers keep freed memory")
def test_endless_input_takes_no_more_memory(music):
    few = played(tune(1)[:100]).encode()
    many = few * 999 + b"9" * 20_000_000 + b"\n" + few
    first, _, last = peaks(music, 100, few, few, few)
    assert last < first + 4096
    first, last = peaks(music, 100_000, few * 1000, many)
    assert last < first + 4096


@pytest.mark.parametrize("arguments", (("--stream", "q.mid"), ("--stream", "--pairs"), ("--stream", "--notes", "C4"), ("--every", 3),
                                       ("--window", 9), ("--stream", "--bars", "3"), ("--stream", "--window", 7)))
def test_wrong_use(music, arguments):
    done = run("find", "-i", "m.notes", *arguments, cwd=music)
    assert done.returncode == 2 and done.stdout == b""


def test_tsv_and_table(music):
    for form, head in (("tsv", "query\trank"), ("table", "16 notes have come")):
        done = run("find", "-i", "m.notes", "--stream", "--format", form, "--every", 16, cwd=music, stdin=played(tune(2)[:48]).encode())
        assert done.returncode == 0 and head in done.stdout.decode() and "02.mid" in done.stdout.decode()
    rows = run("find", "-i", "m.notes", "--stream", "--format", "tsv", "--every", 16, "-k", 1, cwd=music,
               stdin=played(tune(2)[:48]).encode()).stdout.decode().splitlines()
    assert [row.split("\t")[0] for row in rows[1:]] == ["16", "32", "48"]
