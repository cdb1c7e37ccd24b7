"""midisim-embed that is interrupted: the same command again gives the bytes of an undisturbed run. The journal, what it
refuses, equal contents, locks, full disks, shards."""
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

import numpy as np
import pytest
from cli_util import ENV, midi, run, run_measured, text, tool, write_model
from embed_util import (about, build_faults, corpus, count, embed, fault, left_over, make_songs, read_journal, start)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_faults(tmp_path_factory.mktemp("fault"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A collection that takes a moment, and what an undisturbed run gives."""
    root = tmp_path_factory.mktemp("small")
    songs = make_songs(root / "songs")
    model = write_model(root / "m.safetensors")
    done = embed(model, root / "c.npy", songs)
    assert done.returncode == 0, text(done)
    return model, songs, corpus(root / "c.npy"), done


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """One that takes seconds on any machine, most of them in the encoder: the journal is synced every 0.2 s at most, and
    what is interrupted must have something in it."""
    root = tmp_path_factory.mktemp("long")
    songs = make_songs(root / "songs", n=110, notes=400)
    seconds, depth = 0, 2
    while seconds < 1.5 and depth <= 64:
        model = write_model(root / f"{depth}.safetensors", dim=128, heads=2, depth=depth)
        began = time.monotonic()
        assert embed(model, root / f"{depth}.npy", songs).returncode == 0
        seconds, out, depth = time.monotonic() - began, root / f"{depth}.npy", depth * 2
    return model, songs, corpus(out), seconds


def interrupted(model, out, songs, library, at, *arguments):
    """A run that is killed at its nth call, with a journal that holds something."""
    done = embed(model, out, *arguments, songs, env=fault(library, out, at=at, mode="kill"))
    assert done.returncode == -signal.SIGKILL and not out.exists()
    return done


def finished_block(library, model, songs, tmp_path):
    """Number of the call that follows the first synced block."""
    log = tmp_path / "calls"
    out = tmp_path / "probe.npy"
    assert embed(model, out, songs, env=fault(library, out, log=log)).returncode == 0
    calls = log.read_text().split()
    # open, (empty), header, sync, folder, block, sync: the second data sync ends the first block
    first = calls.index("fdatasync")
    return calls.index("fdatasync", first + 1) + 2


# ---- Kills ----------------------------------------------------------------------------------------------------------


def check_kills(long, tmp_path, n, seed):
    model, songs, wanted, seconds = long
    rng, n_resumed = random.Random(seed), 0
    for i in range(n):
        out = tmp_path / f"{i}.npy"
        process = start(model, out, songs, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, seconds * 1.05))
        process.kill()
        process.wait()
        done = embed(model, out, songs)
        assert done.returncode == 0, text(done)
        assert corpus(out) == wanted and left_over(out) == []
        n_resumed += count(done, "files were done by an earlier run") > 0
        out.unlink()
    assert n_resumed > 0


def test_killed_at_random_moments(long, tmp_path):
    check_kills(long, tmp_path, 10, 5)


@pytest.mark.slow
def test_killed_at_many_random_moments(long, tmp_path):
    check_kills(long, tmp_path, 120, 6)


def test_killed_again_and_again(long, tmp_path):
    """Each run gets only a little further; in the end it is done."""
    model, songs, wanted, seconds = long
    out = tmp_path / "c.npy"
    for _ in range(60):
        process = start(model, out, songs, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(0.3 + seconds / 3) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert corpus(out) == wanted and left_over(out) == []


@pytest.mark.parametrize("mode", ("kill", "killed", "fail", "short"))
def test_every_call_once(small, library, tmp_path, mode):
    """Each write, sync, cut, rename and removal of journal and output: killed before and after it, failing, half done."""
    model, songs, wanted, _ = small
    log, out = tmp_path / "calls", tmp_path / "c.npy"
    assert embed(model, out, songs, env=fault(library, out, log=log)).returncode == 0
    calls = log.read_text().split()
    assert {"write", "pwrite", "fsync", "fdatasync", "rename", "unlink", "ftruncate"} <= set(calls)
    for at, call in enumerate(calls, 1):
        for name in os.listdir(tmp_path):
            if name.startswith("c.npy"):
                os.unlink(tmp_path / name)
        done = embed(model, out, songs, env=fault(library, out, at=at, mode=mode))
        if mode.startswith("kill"):
            assert done.returncode == -signal.SIGKILL
        else:
            said = [line for line in text(done).splitlines() if "cannot" in line]
            assert done.returncode == 1 and len(said) == 1 and str(tmp_path) in said[0], (at, call, text(done))
        if out.exists():
            assert out.read_bytes() == wanted[0]
        done = embed(model, out, songs)
        assert done.returncode == 0, (at, call, text(done))
        assert corpus(out) == wanted and left_over(out) == [], (at, call)


# ---- Signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_signals(long, tmp_path, number):
    model, songs, wanted, seconds = long
    out = tmp_path / "c.npy"
    process = start(model, out, songs, stderr=subprocess.PIPE)
    journal = tmp_path / "c.npy.journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 2000):
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + number, said
    assert "run the same command again" in said and "c.npy.journal" in said and said.count("\n") == 1
    assert left_over(out) == ["c.npy.journal"] and not out.exists()
    done = embed(model, out, songs)
    assert done.returncode == 0 and count(done, "done by an earlier run") > 0
    assert corpus(out) == wanted and left_over(out) == []


# ---- The journal ----------------------------------------------------------------------------------------------------


def test_journal_is_as_documented(small, tmp_path):
    model, songs, wanted, _ = small
    out = tmp_path / "c.npy"
    assert embed(model, out, "--keep-journal", songs).returncode == 0
    assert corpus(out) == wanted
    path = tmp_path / "c.npy.journal"
    settings, state, records, end = read_journal(path)
    assert state == 2 and end == path.stat().st_size
    assert settings["model"]["sha256"] == about(out)["model"]["sha256"] and settings["max_tokens"] == 3072
    rows = np.load(out)
    contents = {r["hash"]: r for r in records if r["kind"] == 1}
    files = {r["path"]: r for r in records if r["kind"] == 2}
    assert len(contents) == 42 and len(files) == 44  # two are copies
    for row in rows:
        path = os.fsencode(songs / row["midi_names"])
        r = files[path]
        stat = os.stat(path)
        assert (r["a"], r["b"], r["reason"]) == (stat.st_size, stat.st_mtime_ns, 0)
        assert r["hash"] == hashlib.sha256(open(path, "rb").read()).digest() and r["name"].decode() == row["midi_names"]
        c = contents[r["hash"]]
        assert c["vector"] == row["midi_embeddings"].tobytes() and c["a"] == c["b"] > 0
    silent = contents[files[os.fsencode(songs / "silent.mid")]["hash"]]
    assert silent["reason"] == 7 and silent["vector"] == b""
    # Kept, it gives the corpus back without embedding anything, and stands in nobody's way.
    out.unlink()
    done = embed(model, out, songs)
    assert done.returncode == 0 and count(done, "tokens in") == 0 and corpus(out) == wanted and left_over(out) == []


def test_kept_journal_of_other_settings(small, tmp_path):
    model, songs, wanted, _ = small
    out = tmp_path / "c.npy"
    assert embed(model, out, "--keep-journal", "--normalize", songs).returncode == 0
    assert embed(model, out, "--normalize", songs).returncode == 0 and left_over(out) == ["c.npy.journal"]
    assert embed(model, out, "--force", songs).returncode == 0
    assert corpus(out) == wanted and left_over(out) == []
    assert embed(model, out, "--force", "--keep-journal", "--normalize", songs).returncode == 0
    out.unlink()
    done = embed(model, out, songs)
    assert done.returncode == 2 and "normalised: expected yes, got no" in text(done)
    assert embed(model, out, "--force", songs).returncode == 0 and corpus(out) == wanted


def test_torn_and_damaged_journals(small, library, tmp_path):
    model, songs, wanted, _ = small
    out, path = tmp_path / "c.npy", tmp_path / "c.npy.journal"
    at = finished_block(library, model, songs, tmp_path)
    interrupted(model, out, songs, library, at)
    whole = path.read_bytes()
    end = read_journal(path)[3]
    assert end == len(whole) > 3000
    rng, refused = random.Random(11), 0
    cases = [whole[:n] for n in (0, 1, 7, 8, 63, 64, 65, 500, 900, end - 1)] + [whole + b"\0" * 100, whole + whole[-5000:]]
    for _ in range(40):
        one = bytearray(whole)
        one[rng.randrange(len(one))] ^= 1 << rng.randrange(8)
        cases.append(bytes(one))
    for n, case in enumerate(cases):
        path.write_bytes(case)
        done = embed(model, out, songs)
        if done.returncode == 0:
            assert corpus(out) == wanted and left_over(out) == [], n
            out.unlink()
        else:  # a header that is damaged is not thrown away
            refused += 1
            assert done.returncode in (1, 2) and path.read_bytes() == case and text(done).count("\n") == 1, (n, text(done))
            assert not out.exists()
    assert refused < len(cases) / 2
    path.write_bytes(b"something else that is long enough to be a journal, of another program" * 3)
    done = embed(model, out, songs)
    assert done.returncode == 1 and "another file" in text(done) and path.read_bytes().startswith(b"something")


def hostile_record(whole, **change):
    """The first block's first record with some fields changed, its checksum made right."""
    import zlib
    n_text, = struct.unpack_from("<I", whole, 8)
    at = 64 + (n_text + 7) // 8 * 8
    n, = struct.unpack_from("<Q", whole, at + 8)
    block = bytearray(whole[at:at + 32 + n])
    for offset, (form, value) in change.items():
        struct.pack_into(form, block, int(offset[1:]), value)
    struct.pack_into("<I", block, 4, zlib.crc32(bytes(block[8:])))
    return whole[:at] + bytes(block) + whole[at + 32 + n:]


def test_hostile_journals(small, library, tmp_path):
    """Whole blocks that hold nonsense are refused, and nothing is written."""
    model, songs, _, _ = small
    out, path = tmp_path / "c.npy", tmp_path / "c.npy.journal"
    interrupted(model, out, songs, library, finished_block(library, model, songs, tmp_path))
    whole = path.read_bytes()
    assert hostile_record(whole) == whole
    for change in ({"_32": ("<B", 9)}, {"_32": ("<B", 0)}, {"_33": ("<B", 200)}, {"_34": ("<H", 65535)}, {"_36": ("<I", 0)},
                   {"_36": ("<I", 2 ** 32 - 8)}, {"_88": ("<I", 2 ** 32 - 1)}, {"_92": ("<I", 2 ** 32 - 1)}):
        path.write_bytes(hostile_record(whole, **change))
        done = embed(model, out, songs)
        assert done.returncode == 1 and "no record begins here" in text(done) and not out.exists(), (change, text(done))
        assert path.exists()
    # A size that no block has is an unfinished block.
    n_text, = struct.unpack_from("<I", whole, 8)
    at = 64 + (n_text + 7) // 8 * 8
    path.write_bytes(whole[:at + 8] + struct.pack("<Q", 2 ** 63) + whole[at + 16:])
    done = embed(model, out, songs)
    assert done.returncode == 0 and "never finished" in text(done)


def test_other_settings_are_refused(small, library, tmp_path):
    model, songs, wanted, _ = small
    other = write_model(tmp_path / "other.safetensors", seed=9)
    out, path = tmp_path / "c.npy", tmp_path / "c.npy.journal"
    interrupted(model, out, songs, library, finished_block(library, model, songs, tmp_path))
    before = path.read_bytes()
    for options, what in ((["-m", other], "model: expected"), (["--pooling", "weighted"], "pooling: expected mean, got weighted"),
                          (["--precision", "f32"], "precision: expected bf16, got f32"),
                          (["--max-tokens", 7], "max tokens: expected 3072, got 7"),
                          (["--normalize"], "normalised: expected no, got yes"), (["--transpose", 2], "transpose: expected 0, got 2"),
                          (["--names", "stem"], "names: expected path, got stem"), (["--dtype", "f16"], "dtype: expected f32, got f16"),
                          (["--shard", "1/2"], "shard: expected 0, got 1")):
        for force in ([], ["--force"]):  # work that was done is not thrown away
            done = embed(model, out, *options, *force, songs)
            assert done.returncode == 2 and what in text(done) and text(done).count("\n") == 1, text(done)
            assert path.read_bytes() == before and not out.exists()
    assert embed(model, out, songs).returncode == 0 and corpus(out) == wanted


def test_weights_are_refused(small, library, tmp_path):
    model, songs, _, _ = small
    out = tmp_path / "c.npy"
    at = finished_block(library, model, songs, tmp_path)
    interrupted(model, out, songs, library, at, "--pooling", "weighted", "--pool-weights", "1,2,1")
    done = embed(model, out, "--pooling", "weighted", "--pool-weights", "1,2,3", songs)
    assert done.returncode == 2 and "pool weights: expected 1,2,1, got 1,2,3" in text(done)


def best_level(model, songs, tmp_path):
    assert embed(model, tmp_path / "level.npy", songs / "0000.mid").returncode == 0
    return about(tmp_path / "level.npy")["level"]


def test_another_level(small, library, tmp_path):
    """Refused; with --force the corpus holds rows of both, and says so."""
    model, songs, _, _ = small
    level = best_level(model, songs, tmp_path)
    if level == "ref":
        pytest.skip("this CPU has the reference level alone")
    out = tmp_path / "c.npy"
    interrupted(model, out, songs, library, finished_block(library, model, songs, tmp_path))
    done = embed(model, out, "--isa", "ref", songs)
    assert done.returncode == 2 and f"expected {level} on cpu, got ref on cpu" in text(done) and "--force" in text(done)
    (songs / "zz.mid").write_bytes(midi((50, 51, 52)))
    try:
        done = embed(model, out, "--isa", "ref", "--force", songs)
        assert done.returncode == 0 and count(done, "done by an earlier run") > 0
        assert about(out)["levels"] == sorted([level, "ref"]) and about(out)["level"] == "mixed"
        assert about(out)["device"] == "cpu"
        embed(model, tmp_path / "ref.npy", "--isa", "ref", songs / "zz.mid")
        assert np.array_equal(np.load(out)["midi_embeddings"][-1], np.load(tmp_path / "ref.npy")["midi_embeddings"][0])
        assert embed(model, out, "--isa", "ref", songs).returncode == 0  # complete: one of its levels
        assert embed(model, out, "--update", songs).returncode == 0
        assert about(out)["levels"] == sorted([level, "ref"])
    finally:
        (songs / "zz.mid").unlink()


def test_one_run_at_a_time(small, tmp_path):
    model, songs, wanted, _ = small
    out = tmp_path / "c.npy"
    first = start(model, out, "--from-tokens", "-", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    journal = tmp_path / "c.npy.journal"
    while first.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    done = embed(model, out, songs)
    assert done.returncode == 1 and "in use" in text(done) and text(done).count("\n") == 1
    first.kill()
    first.communicate()
    assert embed(model, out, songs).returncode == 0 and corpus(out) == wanted


def test_files_that_change_between_runs(small, library, tmp_path):
    """Size and time decide whether a file is read again, its contents whether it is embedded again."""
    model, songs, _, _ = small
    mine = shutil.copytree(songs, tmp_path / "mine")
    out = tmp_path / "c.npy"
    interrupted(model, out, mine, library, finished_block(library, model, mine, tmp_path))
    n_files = sum(r["kind"] == 2 for r in read_journal(tmp_path / "c.npy.journal")[2])
    os.utime(mine / "0000.mid", ns=(10 ** 18, 10 ** 18))
    (mine / "0003.mid").write_bytes(midi((70, 71, 72)))
    (mine / "0006.mid").unlink()
    done = embed(model, out, mine)
    assert done.returncode == 0 and 0 < count(done, "done by an earlier run") < n_files
    assert embed(model, tmp_path / "fresh.npy", mine).returncode == 0
    assert corpus(out) == corpus(tmp_path / "fresh.npy")


def test_from_tokens_goes_on(small, library, tmp_path):
    model, songs, _, _ = small
    (tmp_path / "t").write_bytes(run("tokens", songs).stdout)
    assert embed(model, tmp_path / "whole.npy", "--from-tokens", tmp_path / "t").returncode == 0
    out, log = tmp_path / "c.npy", tmp_path / "log"
    assert embed(model, tmp_path / "c.npy.0", "--from-tokens", tmp_path / "t",
                 env=fault(library, out, log=log)).returncode == 0
    done = embed(model, out, "--from-tokens", tmp_path / "t", env=fault(library, out, at=8, mode="killed"))
    assert done.returncode == -signal.SIGKILL and (tmp_path / "c.npy.journal").stat().st_size > 3000
    done = embed(model, out, "--from-tokens", tmp_path / "t")
    assert done.returncode == 0 and count(done, "tokens in") == 0, text(done)
    assert corpus(out) == corpus(tmp_path / "whole.npy")
    assert embed(model, out, "--from-tokens", tmp_path / "t").returncode == 2
    done = embed(model, out, "--update", "--from-tokens", tmp_path / "t")
    assert done.returncode == 0 and count(done, "tokens in") == 0 and corpus(out) == corpus(tmp_path / "whole.npy")


# ---- Equal contents -------------------------------------------------------------------------------------------------


def test_equal_contents(small, tmp_path):
    model, songs, wanted, done = small
    assert count(done, "files have the same content as another, and were embedded once") == 2
    rows = {r["midi_names"]: r["midi_embeddings"].tobytes() for r in np.load(__import__("io").BytesIO(wanted[0]))}
    assert rows["copy.mid"] == rows["0000.mid"] and rows["again.kar"] == rows["1/0001.mid"]
    embed(model, tmp_path / "one.npy", songs / "0000.mid")
    assert np.load(tmp_path / "one.npy")["midi_embeddings"].tobytes() == rows["copy.mid"]
    one = embed(model, tmp_path / "a.npy", songs / "0000.mid")
    two = embed(model, tmp_path / "b.npy", songs / "0000.mid", songs / "copy.mid", songs / "0000.mid")
    assert count(one, "tokens in") == count(two, "tokens in") > 0
    assert np.load(tmp_path / "b.npy")["midi_names"].size == 3


def test_a_copy_of_what_gives_nothing(small, tmp_path):
    """Copies share the reason too, whichever was first."""
    model, songs, _, _ = small
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(songs / "0000.mid", mine)
    for i in range(30):
        shutil.copy(songs / "silent.mid", mine / f"{i:02d}.mid")
        (mine / f"bad{i:02d}.mid").write_bytes(b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0")
    done = embed(model, tmp_path / "c.npy", "--skipped", tmp_path / "s.tsv", mine)
    assert done.returncode == 1
    skipped = [line.split("\t") for line in (tmp_path / "s.tsv").read_text().splitlines()]
    assert [s[0] for s in skipped] == sorted(s[0] for s in skipped) and len(skipped) == 60
    assert len({(s[1], s[2]) for s in skipped}) == 2


# ---- Files that do not hold still -----------------------------------------------------------------------------------


def test_changed_while_read(small, library, tmp_path):
    """It gives no row, and the same command tries again."""
    model, songs, _, _ = small
    mine = shutil.copytree(songs, tmp_path / "mine")
    out = tmp_path / "c.npy"
    done = embed(model, out, mine, env=fault(library, out, change="0009.mid"))
    assert done.returncode == 1 and "changed: " in text(done) and "tries again" in text(done)
    assert about(out)["unread"] == 1 and about(out)["complete"] is True and left_over(out) == []
    done = embed(model, out, mine)
    assert done.returncode == 0 and "wrote" in text(done), text(done)
    assert "unread" not in about(out)
    assert embed(model, tmp_path / "fresh.npy", mine).returncode == 0
    assert corpus(out) == corpus(tmp_path / "fresh.npy")
    assert "nothing to do" in text(embed(model, out, mine))


def test_unreadable_folder(small, library, tmp_path):
    model, songs, wanted, _ = small
    out = tmp_path / "c.npy"
    done = embed(model, out, songs, env=fault(library, out, deny="/2"))
    assert done.returncode == 1 and "folder: Permission denied" in text(done) and out.exists()
    done = embed(model, out, songs)  # goes on, without embedding the rest again
    assert done.returncode == 0 and corpus(out) == wanted and count(done, "as they were in the corpus") > 20
    done = embed(model, out, "--update", songs, env=fault(library, out, deny="/2"))
    assert done.returncode == 1 and "not brought up to date" in text(done) and corpus(out) == wanted
    assert embed(model, out, "--update", songs).returncode == 0 and corpus(out) == wanted and left_over(out) == []


# ---- Full disks -----------------------------------------------------------------------------------------------------


def limited(model, out, songs, n_bytes):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    return subprocess.run([tool("embed"), "-m", model, "-o", out, songs], capture_output=True, env=ENV, preexec_fn=limit)


def test_no_room_by_limit(small, tmp_path):
    """A limit on the size of files, from nothing to what is needed."""
    model, songs, wanted, _ = small
    need = len(wanted[0]) + 4096
    for n_bytes in (0, 100, 1000, 5000, need // 2, need):
        out = tmp_path / f"{n_bytes}.npy"
        done = limited(model, out, songs, n_bytes)
        said = [line for line in text(done).splitlines() if "cannot" in line]
        assert done.returncode == 1 and len(said) == 1 and "File too large" in said[0] and not out.exists(), text(done)
        assert left_over(out) in ([], [out.name + ".journal"])
        done = embed(model, out, songs)
        assert done.returncode == 0 and corpus(out) == wanted and left_over(out) == []


def test_no_room_on_a_small_file_system(long, tmp_path):
    model, songs, wanted, _ = long
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], stderr=-3).returncode:
        pytest.skip("cannot mount a small file system: needs root (test_no_room_by_limit stands for it)")
    try:
        out, n_stopped = disk / "c.npy", 0
        for size in ("32k", "64k", "100k", "4m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            done = embed(model, out, songs)
            if done.returncode == 0:
                break
            n_stopped += 1
            assert done.returncode == 1 and "No space left" in text(done) and not out.exists(), text(done)
        assert n_stopped >= 3 and corpus(out) == wanted and left_over(out) == []
    finally:
        subprocess.run(["umount", disk], check=True)


# ---- Shards ---------------------------------------------------------------------------------------------------------


def test_shards(small, tmp_path):
    """Their rows together are the rows of one run, each file in the part that its relative path says."""
    model, songs, wanted, _ = small
    whole = np.load(__import__("io").BytesIO(wanted[0]))
    rows, n_files = [], 0
    for i in (1, 2, 3):
        out = tmp_path / f"{i}.npy"
        assert embed(model, out, "--shard", f"{i}/3", songs).returncode == 0
        part = np.load(out)
        for name in part["midi_names"]:
            assert int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") % 3 + 1 == i
        rows += [(r["midi_names"], r["midi_embeddings"].tobytes()) for r in part]
        n_files += about(out)["files"]
        assert about(out)["shard"] == {"index": i, "of": 3}
        assert "nothing to do" in text(embed(model, out, "--shard", f"{i}/3", songs))
        done = embed(model, out, "--shard", f"{i}/4", songs)
        assert done.returncode == 2 and "shards: expected 3, got 4" in text(done)
    assert sorted(rows) == [(r["midi_names"], r["midi_embeddings"].tobytes()) for r in whole]
    assert n_files == json.loads(wanted[1])["files"]


def test_shards_merged(small, tmp_path):
    """The bytes of one run, corpus and description, whatever the order of the parts; and --update goes on from there."""
    model, songs, wanted, _ = small
    parts = [tmp_path / f"{i}.npy" for i in range(1, 6)]
    for i, part in enumerate(parts, 1):
        assert embed(model, part, "--shard", f"{i}/5", songs).returncode == 0
    for order in (parts, parts[::-1]):
        out = tmp_path / "c.npy"
        done = run("convert", "--merge", "--force", *order, "-o", out)
        assert done.returncode == 0, text(done)
        assert corpus(out) == (wanted[0], wanted[1].replace(b"midisim-embed", b"midisim-convert"))
        done = embed(model, out, "--update", songs)
        assert done.returncode == 0 and count(done, "tokens in") == 0 and corpus(out) == wanted


def test_shard_options(small, tmp_path):
    model, songs, _, _ = small
    for wrong in ("0/3", "4/3", "1", "1/", "/3", "a/3", "1/3x", "1/0", "-1/3", "1/2/3"):
        done = embed(model, tmp_path / "c.npy", "--shard", wrong, songs)
        assert done.returncode == 2 and "--shard" in text(done) and text(done).count("\n") == 1
    # A part without files is a corpus without rows: an array job may be larger than the folder.
    for i in range(1, 9):
        done = embed(model, tmp_path / f"{i}.npy", "--shard", f"{i}/8", songs / "0000.mid")
        assert done.returncode == 0, text(done)
    assert sorted(len(np.load(tmp_path / f"{i}.npy")) for i in range(1, 9)) == [0] * 7 + [1]
    # --names stem does not change which part a file is in
    embed(model, tmp_path / "s.npy", "--names", "stem", "--shard", "2/3", songs)
    embed(model, tmp_path / "p.npy", "--shard", "2/3", songs)
    assert len(np.load(tmp_path / "s.npy")) == len(np.load(tmp_path / "p.npy"))


# ---- Many files -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_stays_flat(small, tmp_path):
    """400,000 links to few files: under 400 bytes each beyond what 4 files take."""
    model, songs, _, _ = small
    files = [songs / f"{i:04d}.mid" for i in (0, 3, 6, 9)]
    peaks = []
    for n in (4, 400000):
        links = tmp_path / f"links{n}"
        for i in range(n):
            if i % 4000 == 0:
                (links / f"{i // 4000:03d}").mkdir(parents=True)
            os.symlink(files[i % 4], links / f"{i // 4000:03d}" / f"{i:07d}.mid")
        done, most = run_measured("embed", "-m", model, "-o", tmp_path / f"{n}.npy", "--max-tokens", "64", links)
        assert done.returncode == 0
        peaks.append(most)
        shutil.rmtree(links)
    assert len(np.load(tmp_path / "400000.npy", mmap_mode="r")) == 400000
    assert (peaks[1] - peaks[0]) / 400000 < 400, peaks
