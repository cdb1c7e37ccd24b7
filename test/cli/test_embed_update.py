"""midisim-embed --update: what changed is embedded, what went is dropped, and the bytes are those of a fresh run."""
import json
import os
import random
import shutil
import signal

import numpy as np
import pytest
from cli_util import DRUMS, midi, run, text, write_model
from embed_util import about, build_faults, corpus, count, embed, fault, left_over, make_songs


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_faults(tmp_path_factory.mktemp("fault"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def songs(tmp_path):
    return make_songs(tmp_path / "songs")


def fresh(model, songs, tmp_path, *arguments):
    out = tmp_path / "fresh" / "c.npy"
    out.parent.mkdir(exist_ok=True)
    done = embed(model, out, "--force", *arguments, songs)
    assert done.returncode == 0, text(done)
    return corpus(out), done


def change(songs):
    """New, other, touched, vanished, renamed and swapped files. Returns how many of them must be embedded."""
    (songs / "new.mid").write_bytes(midi((40, 41, 42)))
    was = os.stat(songs / "0003.mid")
    (songs / "0003.mid").write_bytes(midi((43, 44, 45)))
    os.utime(songs / "0003.mid", ns=(was.st_atime_ns, was.st_mtime_ns))  # another size alone
    os.utime(songs / "0006.mid", ns=(10 ** 18, 10 ** 18))
    (songs / "0009.mid").unlink()
    (songs / "1" / "0001.mid").rename(songs / "z.mid")
    shutil.move(songs / "0012.mid", songs / "swap")
    shutil.move(songs / "0015.mid", songs / "0012.mid")
    shutil.move(songs / "swap", songs / "0015.mid")
    (songs / "0018.mid").write_bytes(DRUMS)
    (songs / "drums.mid").write_bytes(midi((46, 47)))
    (songs / "copy2.mid").write_bytes(midi((43, 44, 45)))
    return 3


@pytest.mark.parametrize("options", ([], ["--names", "stem"], ["--dtype", "f16", "--normalize"], ["--max-tokens", "20"],
                                     ["--shard", "1/2"], ["--pooling", "weighted", "--pool-weights", "1,2,0.3"],
                                     ["--windows", "32"], ["--windows", "48/20", "--pool-windows", "--normalize"]),
                         ids=lambda o: " ".join(o) or "plain")
def test_is_a_fresh_run(model, songs, tmp_path, options):
    out = tmp_path / "c.npy"
    assert embed(model, out, *options, songs).returncode == 0
    n_rows = len(np.load(out))
    n_new = change(songs)
    done = embed(model, out, *options, songs)
    assert done.returncode == 2 and "--update brings it up to date" in text(done)
    done = embed(model, out, "--update", *options, songs)
    assert done.returncode == 0, text(done)
    wanted, anew = fresh(model, songs, tmp_path, *options)
    assert corpus(out) == wanted and left_over(out) == []
    assert count(done, "tokens in") < count(anew, "tokens in") / 4
    if not options:
        (tmp_path / "n").mkdir()
        shutil.copy(songs / "new.mid", tmp_path / "n")
        shutil.copy(songs / "0003.mid", tmp_path / "n")
        shutil.copy(songs / "drums.mid", tmp_path / "n")
        alone = embed(model, tmp_path / "n.npy", tmp_path / "n")
        assert count(alone, "rows, 0 skipped") == n_new and count(done, "tokens in") == count(alone, "tokens in")
        assert count(done, "as they were in the corpus") >= n_rows - 9
        assert count(done, "rows were dropped") == 2
    assert "longer than" not in text(done) or count(done, "files longer than") == count(anew, "files longer than")


def test_nothing_changed(model, songs, tmp_path):
    out = tmp_path / "c.npy"
    done = embed(model, out, "--update", songs)  # there is none yet: a first run
    assert done.returncode == 0 and "wrote" in text(done)
    before, when = corpus(out), (out.stat().st_mtime_ns, (tmp_path / "c.npy.json").stat().st_mtime_ns)
    done = embed(model, out, "--update", songs)
    assert done.returncode == 0 and "up to date: nothing to write" in text(done) and count(done, "tokens in") == 0
    assert corpus(out) == before and left_over(out) == []
    assert (out.stat().st_mtime_ns, (tmp_path / "c.npy.json").stat().st_mtime_ns) == when
    (songs / "more.mid").write_bytes(DRUMS)  # no row comes or goes: the description alone
    inode = out.stat().st_ino
    assert embed(model, out, "--update", songs).returncode == 0
    assert corpus(out) == fresh(model, songs, tmp_path)[0] and out.stat().st_ino == inode
    assert "nothing to do" in text(embed(model, out, songs))


def test_contents_decide(model, songs, tmp_path):
    """A time that changed is no change; contents that did with the same time and size cannot be seen, others are."""
    out = tmp_path / "c.npy"
    assert embed(model, out, songs).returncode == 0
    os.utime(songs / "0000.mid", ns=(10 ** 18, 10 ** 18))
    assert "nothing to do" in text(embed(model, out, songs))
    data = bytearray((songs / "0000.mid").read_bytes())
    data[data.index(0x90) + 1] ^= 1
    (songs / "0000.mid").write_bytes(data)
    done = embed(model, out, songs)
    assert done.returncode == 2 and "'0000.mid' has changed" in text(done)
    assert embed(model, out, "--update", songs).returncode == 0
    assert corpus(out) == fresh(model, songs, tmp_path)[0]


def test_in_many_steps(model, songs, tmp_path):
    rng, out = random.Random(4), tmp_path / "c.npy"
    for step in range(8):
        for _ in range(rng.randrange(6)):
            path = songs / f"{rng.randrange(50):04d}.mid"
            if path.exists() and rng.random() < 0.5:
                path.unlink()
            else:
                path.write_bytes(midi([rng.randrange(40, 60) for _ in range(rng.randrange(0, 5))]))
        assert embed(model, out, "--update", songs).returncode == 0, step
        assert corpus(out) == fresh(model, songs, tmp_path)[0], step


def test_without_sources(model, songs, tmp_path):
    """A description that does not say where rows came from: right, and slow, and said."""
    out, beside = tmp_path / "c.npy", tmp_path / "c.npy.json"
    assert embed(model, out, songs).returncode == 0
    wanted = corpus(out)
    description = json.loads(wanted[1])
    del description["sources"]
    beside.write_text(json.dumps(description))
    assert embed(model, out, songs).returncode == 0  # verified by names
    done = embed(model, out, "--update", songs)
    assert done.returncode == 0 and "all are embedded again" in text(done) and corpus(out) == wanted
    # written by another program, it is the same object
    beside.write_text(json.dumps(json.loads(wanted[1]), indent=1))
    done = embed(model, out, "--update", songs)
    assert done.returncode == 0 and count(done, "tokens in") == 0 and corpus(out)[0] == wanted[0]
    for text_of in (lambda s: s[:-4], lambda s: s + "AAAA", lambda s: "*" + s[1:], lambda s: "", lambda s: s[:40]):
        beside.write_text(json.dumps(dict(json.loads(wanted[1]), sources=text_of(json.loads(wanted[1])["sources"]))))
        done = embed(model, out, "--update", songs)
        assert done.returncode == 2 and "damaged description" in text(done) and text(done).count("\n") == 1
        assert out.read_bytes() == wanted[0]
    beside.write_bytes(wanted[1][:-3])
    assert embed(model, out, "--update", songs).returncode == 2


def test_sources_are_as_documented(model, songs, tmp_path):
    import base64
    import hashlib
    out = tmp_path / "c.npy"
    assert embed(model, out, "--max-tokens", 60, songs).returncode == 0
    raw = base64.b64decode(about(out)["sources"], validate=True)
    rows = np.load(out)
    table = np.frombuffer(raw, [("mtime", "<i8"), ("bytes", "<u4"), ("flags", "<u4"), ("sha", "V16")])
    assert len(table) == len(rows) and list(about(out))[-1] == "sources"
    lengths = {}
    for line in run("tokens", "--max-tokens", 0, songs).stdout.decode().splitlines():
        one = json.loads(line)
        lengths[one["path"]] = len(one.get("tokens", ()))
    for row, source in zip(rows, table):
        path = songs / row["midi_names"]
        assert source["mtime"] == path.stat().st_mtime_ns and source["bytes"] == path.stat().st_size
        assert source["sha"].tobytes() == hashlib.sha256(path.read_bytes()).digest()[:16]
        assert source["flags"] == (lengths[row["midi_names"]] > 60)
    assert {0, 1} == set(table["flags"].tolist())


def test_other_settings(model, songs, tmp_path):
    out = tmp_path / "c.npy"
    assert embed(model, out, songs).returncode == 0
    before = corpus(out)
    for force in ([], ["--force"]):
        done = embed(model, out, "--update", *force, "--normalize", songs)
        assert done.returncode == 2 and "normalised: expected no, got yes" in text(done) and corpus(out) == before
    level = about(out)["level"]
    if level != "ref":
        done = embed(model, out, "--update", "--isa", "ref", songs)
        assert done.returncode == 2 and f"expected {level} on cpu, got ref on cpu" in text(done)
        (songs / "new.mid").write_bytes(midi((40, 41, 42)))
        assert embed(model, out, "--update", "--isa", "ref", "--force", songs).returncode == 0
        assert about(out)["levels"] == sorted(["ref", level])
        assert embed(model, out, "--force", songs).returncode == 0  # from scratch: one level again
        assert "levels" not in about(out) and about(out)["level"] == level


@pytest.mark.parametrize("mode", ("kill", "killed", "fail"))
def test_every_call_once(model, songs, library, tmp_path, mode):
    """Whenever an update ends, the corpus is the old or the new one, and the next update finishes it without embedding
    what was finished."""
    old = tmp_path / "old" / "c.npy"
    old.parent.mkdir()
    assert embed(model, old, songs).returncode == 0
    before = corpus(old)
    change(songs)
    wanted = fresh(model, songs, tmp_path)[0]
    out, log = tmp_path / "c.npy", tmp_path / "calls"

    def restore():
        for name in left_over(out):
            os.unlink(tmp_path / name)
        out.write_bytes(before[0])
        (tmp_path / "c.npy.json").write_bytes(before[1])

    restore()
    assert embed(model, out, "--update", songs, env=fault(library, out, log=log)).returncode == 0
    calls = log.read_text().split()
    n_finished = 0
    for at, call in enumerate(calls, 1):
        restore()
        done = embed(model, out, "--update", songs, env=fault(library, out, at=at, mode=mode))
        assert done.returncode == (1 if mode == "fail" else -signal.SIGKILL), (at, call, text(done))
        assert out.read_bytes() in (before[0], wanted[0])
        done = embed(model, out, "--update", songs)
        assert done.returncode == 0, (at, call, text(done))
        assert corpus(out) == wanted and left_over(out) == [], (at, call)
        n_finished += count(done, "tokens in") == 0
    assert n_finished > len(calls) / 2


def test_what_cannot_be_read_is_not_dropped(model, songs, tmp_path):
    out = tmp_path / "c.npy"
    assert embed(model, out, songs).returncode == 0
    before = corpus(out)
    (songs / "0003.mid").unlink()
    (songs / "0003.mid").symlink_to("nowhere")
    done = embed(model, out, "--update", songs)
    assert done.returncode == 1 and "not brought up to date" in text(done) and corpus(out) == before
    done = embed(model, out, "--update", "--force", songs)
    assert done.returncode == 1 and len(np.load(out)) == len(np.load(tmp_path / "c.npy")) and about(out)["unread"] == 1
    assert "0003.mid" not in np.load(out)["midi_names"]
    (songs / "0003.mid").unlink()
    assert embed(model, out, "--update", songs).returncode == 0
    assert corpus(out) == fresh(model, songs, tmp_path)[0]


def test_all_files_gone(model, songs, tmp_path):
    """A folder that is not mounted takes nothing away."""
    out = tmp_path / "c.npy"
    assert embed(model, out, songs).returncode == 0
    before = corpus(out)
    songs.rename(tmp_path / "elsewhere")
    songs.mkdir()
    done = embed(model, out, "--update", songs)
    assert done.returncode == 1 and "nothing was written" in text(done) and corpus(out) == before and left_over(out) == []


def test_a_kept_journal_helps(model, songs, tmp_path):
    out = tmp_path / "c.npy"
    assert embed(model, out, "--keep-journal", songs).returncode == 0
    change(songs)
    assert embed(model, out, "--update", "--keep-journal", songs).returncode == 0
    assert left_over(out) == ["c.npy.journal"]
    assert embed(model, out, "--update", songs).returncode == 0 and left_over(out) == []
    assert corpus(out) == fresh(model, songs, tmp_path)[0]
