"""Damaged and hostile inputs through every tool: no crash, no hang, one line that names the file, exit code 1 (or 0 where
a damaged file still gives notes, as it does in the original). Also run under the sanitizers, without weights."""
import gzip
import io
import json
import os
import random
import socket
import struct
import zlib

import numpy as np
import pytest
from cli_util import DRUMS, SILENT, lines, midi, run, text, write_model
from embed_util import make_songs

REASONS = {"unreadable", "not-regular", "too-large", "bad-gzip", "not-midi", "bad-midi", "no-notes", "drums-only",
           "name-too-long", "changed", "no-memory", "not-finite", "no-clean-notes"}
GOOD = midi((60, 64, 67, 72, 60, 64, 67, 72))
TRACK = b"MTrk" + struct.pack(">I", len(GOOD) - 22) + GOOD[22:]


def head(length=6, form=0, tracks=1, division=480, tag=b"MThd"):
    return tag + struct.pack(">IHHH", length, form, tracks, division)


def bomb():
    """Zeros that inflate to more than 256 MiB: 300 MiB in about 300 KB, and cheap to make."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = bytes(1 << 20)
    return b"".join(packer.compress(part) for _ in range(300)) + packer.flush()


def flipped(seed):
    rng, data = random.Random(seed), bytearray(GOOD)
    for _ in range(rng.choice((1, 2, 5, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def content():
    """name: (bytes, reasons that are right; None: whatever comes, also tokens)."""
    packed = gzip.compress(GOOD)
    files = {
        "empty.mid": (b"", {"not-midi"}),
        "one-byte.mid": (b"M", {"not-midi"}),
        "text.mid": (b"this is not a MIDI file, but it is long enough to be one\n" * 9, {"not-midi"}),
        "zeros.mid": (bytes(4096), {"not-midi"}),
        "ones.mid": (b"\xff" * 4096, {"not-midi"}),
        "only-header.mid": (head(), None),
        "no-tracks.mid": (head(tracks=0), None),
        "header-length.mid": (head(length=0xffffffff) + TRACK, {"not-midi"}),
        "many-tracks.mid": (head(tracks=0xffff) + TRACK, None),
        "division-0.mid": (head(division=0) + TRACK, None),
        "smpte.mid": (head(division=0xe728) + TRACK, None),
        "track-length.mid": (head() + b"MTrk\xff\xff\xff\xff" + GOOD[22:], None),
        "track-length-0.mid": (head() + b"MTrk\0\0\0\0" + GOOD[22:], None),
        "endless-vlq.mid": (head() + b"MTrk\0\0\1\0" + b"\xff" * 256, None),
        "running-status-first.mid": (head() + b"MTrk\0\0\0\4" + b"\0\x40\x40\0", None),
        "sysex-too-long.mid": (head() + b"MTrk\0\0\0\x08" + b"\0\xf0\x8f\xff\xff\x7f\0\0", None),
        "meta-too-long.mid": (head() + b"MTrk\0\0\0\x08" + b"\0\xff\x01\xff\xff\xff\x7f\0", None),
        "tempo-0.mid": (head() + b"MTrk" + struct.pack(">I", len(GOOD) - 15) + b"\0\xff\x51\x03\0\0\0" + GOOD[22:], None),
        "huge-times.mid": (head() + b"MTrk\0\0\0\x10" + b"\xff\xff\xff\x7f\x90\x40\x40" + b"\xff\xff\xff\x7f\x80\x40\0" +
                           b"\0\0", None),
        "silent.mid": (SILENT, {"no-notes"}),
        "drums.mid": (DRUMS, {"drums-only"}),
        "bad-gzip.mid.gz": (b"\x1f\x8b\x08\0" + b"x" * 40, {"bad-gzip"}),
        "gzip-empty.mid.gz": (b"", {"bad-gzip"}),
        "gzip-truncated.mid.gz": (packed[:len(packed) // 2], {"bad-gzip"}),
        "gzip-no-trailer.mid.gz": (packed[:-8], {"bad-gzip"}),
        "gzip-crc.mid.gz": (packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:], {"bad-gzip"}),
        "gzip-garbage.mid.gz": (packed + b"garbage", {"bad-gzip"}),
        "gzip-of-nothing.mid.gz": (gzip.compress(b""), {"not-midi"}),
        "gzip-twice.mid.gz": (gzip.compress(packed), {"not-midi"}),
        "gzip-bomb.mid.gz": (bomb(), {"too-large"}),
    }
    for at in (4, 10, 13, 14, 18, 21, 22, 25, 40, len(GOOD) - 1):
        files[f"cut-{at:02}.mid"] = (GOOD[:at], {"not-midi"} if at < 14 else None)
    for seed in range(16):
        files[f"flipped-{seed:02}.mid"] = (flipped(seed), None)
    return files


CONTENT = content()
SPECIAL = {"folder.mid": None, "fifo.mid": {"not-regular"}, "socket.mid": {"not-regular"}, "device.mid": {"not-regular"},
           "dangling.mid": {"unreadable"}, "loop.mid": {"unreadable"}, "missing.mid": {"unreadable"},
           "huge.mid": {"too-large"}, "unreadable.mid": {"unreadable"}, "a.mid/under-a-file.mid": {"unreadable"}}
ALL = sorted([*CONTENT, *SPECIAL])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    for name, (data, _) in CONTENT.items():
        (root / name).write_bytes(data)
    (root / "a.mid").write_bytes(GOOD)
    (root / "folder.mid").mkdir()
    os.mkfifo(root / "fifo.mid")
    here = os.getcwd()
    os.chdir(root)  # the path of a socket may not be long
    socket.socket(socket.AF_UNIX).bind("socket.mid")
    os.chdir(here)
    (root / "device.mid").symlink_to("/dev/zero")
    (root / "dangling.mid").symlink_to("nowhere")
    (root / "loop.mid").symlink_to("loop.mid")
    with open(root / "huge.mid", "wb") as file:
        file.truncate((256 << 20) + 1)
    (root / "unreadable.mid").write_bytes(GOOD)
    (root / "unreadable.mid").chmod(0)
    return root


@pytest.fixture(scope="module")
def tiny_corpus(tmp_path_factory, model):
    root = tmp_path_factory.mktemp("corpus")
    for i in range(4):
        (root / f"{i}.mid").write_bytes(midi((50 + i, 60, 70 - i)))
    assert run("embed", "-m", model, "-o", root / "c.npy", root).returncode == 0
    return root / "c.npy"


def skip_if_root_can_read(name):
    if name == "unreadable.mid" and os.geteuid() == 0:
        pytest.skip("root reads everything")


def complaint(done, name):
    """The line of standard error that names the file; every line begins with the tool's name, none is a sanitizer's."""
    said = text(done)
    assert done.returncode in (0, 1, 2), (done.returncode, said[-3000:])
    assert all(line.startswith("midisim-") for line in said.splitlines()), said[-3000:]
    named = [line for line in said.splitlines() if name.split("/")[-1] in line]
    assert done.returncode == 0 or named, said
    return named[0] if named else ""


def test_enough():
    assert len(ALL) >= 50


@pytest.mark.parametrize("family", ("midisim", "midisimx"))
@pytest.mark.parametrize("name", ALL)
def test_tokens(folder, name, family):
    skip_if_root_can_read(name)
    done = run("tokens", "--family", family, folder / name)
    line = complaint(done, name)
    wanted = CONTENT[name][1] if name in CONTENT else SPECIAL[name]
    objects = lines(done)
    print(f"{name}: exit {done.returncode}: {line or 'tokens'}")
    if name == "folder.mid":
        assert done.returncode == 1 and objects == [] and "no MIDI files" in line
    elif done.returncode == 0:
        assert wanted is None and "tokens" in objects[0]
    else:
        assert done.returncode == 1 and len(objects) == 1
        assert objects[0]["error"] in (wanted or REASONS) and objects[0]["error"] in line
        assert text(done).count("\n") == 2  # the line, and the summary


@pytest.mark.parametrize("name", ALL)
def test_embed(folder, model, tmp_path, name):
    skip_if_root_can_read(name)
    out = tmp_path / "c.npy"
    done = run("embed", "-m", model, "-o", out, folder / name)
    complaint(done, name)
    assert done.returncode == (0 if run("tokens", folder / name).returncode == 0 else 1)
    assert out.exists() == (done.returncode == 0)
    done = run("embed", "-m", model, "-o", out, "--force", folder / "a.mid", folder / name)
    assert done.returncode in (0, 1) and len(np.load(out)) == 1 + (done.returncode == 0)


@pytest.mark.parametrize("name", ALL)
def test_search(folder, model, tiny_corpus, name):
    skip_if_root_can_read(name)
    done = run("search", "-m", model, "-c", tiny_corpus, folder / name)
    complaint(done, name)
    if name != "folder.mid":  # what a folder is to search is its own business
        assert done.returncode == (0 if run("tokens", folder / name).returncode == 0 else 1)
    else:
        assert done.returncode in (1, 2)


@pytest.mark.parametrize("name", ALL)
def test_convert(folder, tmp_path, name):
    """None of these is a checkpoint or a corpus."""
    skip_if_root_can_read(name)
    for arguments in ((folder / name, tmp_path / "out.safetensors"), ("--info", folder / name)):
        done = run("convert", *arguments)
        assert done.returncode in (1, 2)
        complaint(done, name)
    assert os.listdir(tmp_path) == []


def test_all_in_one_walk(folder, model, tmp_path):
    done = run("embed", "-m", model, "-o", tmp_path / "c.npy", "--skipped", tmp_path / "s.tsv", folder)
    assert done.returncode == 1
    skipped = dict(line.split("\t")[:2] for line in (tmp_path / "s.tsv").read_text().splitlines())
    names = set(np.load(tmp_path / "c.npy")["midi_names"].tolist())
    listed = {n for n in os.listdir(folder) if n != "folder.mid"}
    assert names | {os.path.relpath(p, folder) for p in skipped} == listed
    assert not names & {os.path.relpath(p, folder) for p in skipped} and set(skipped.values()) <= REASONS


# ---- Checkpoints and corpora ----------------------------------------------------------------------------------------


def damaged_models(path):
    good = write_model(path / "good.safetensors").read_bytes()
    n = struct.unpack("<Q", good[:8])[0]
    table = json.loads(good[8:8 + n])

    def with_table(change):
        changed = json.loads(json.dumps(table))
        change(changed)
        packed = json.dumps(changed).encode()
        return struct.pack("<Q", len(packed)) + packed + good[8 + n:]

    def put(name, key, value):
        return lambda t: t[name].__setitem__(key, value)
    emb = "token_emb.emb.weight"
    files = {"empty": b"", "text": b"hello\n" * 100, "header-only": good[:8 + n], "cut": good[:-1], "cut-table": good[:100],
             "longer": good + b"x", "table-too-long": struct.pack("<Q", 1 << 62) + good[8:],
             "not-json": good[:8] + b"[" * n + good[8 + n:], "shape": with_table(put(emb, "shape", [1 << 40, 1 << 40])),
             "negative": with_table(put(emb, "shape", [-1, 32])), "offsets": with_table(put(emb, "data_offsets", [9, 4])),
             "far": with_table(put(emb, "data_offsets", [0, 1 << 60])), "dtype": with_table(put(emb, "dtype", "I64")),
             "missing": with_table(lambda t: t.pop(emb)), "more": with_table(lambda t: t.update(x=t[emb])),
             "nan": good[:-4] + struct.pack("<f", float("nan")), "zip": b"PK\3\4" + bytes(100),
             "zip-end": b"PK\3\4" + bytes(30) + b"PK\5\6" + b"\xff" * 18,
             "legacy": bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + b"\x80\x02" + b"(" * 1000}
    return files


def test_damaged_models(tmp_path):
    (tmp_path / "a.mid").write_bytes(GOOD)
    for name, data in damaged_models(tmp_path).items():
        for suffix in (".safetensors", ".pth"):
            path = tmp_path / (name + suffix)
            path.write_bytes(data)
            done = run("embed", "-m", path, "-o", tmp_path / "c.npy", tmp_path / "a.mid")
            assert done.returncode in (1, 2) and complaint(done, name) and text(done).count("\n") == 1, (name, text(done))
            done = run("convert", path, tmp_path / "out.safetensors")
            assert done.returncode in (1, 2) and complaint(done, name), (name, text(done))
    assert not (tmp_path / "c.npy").exists() and not (tmp_path / "out.safetensors").exists()


def test_damaged_corpora(model, tiny_corpus, tmp_path):
    good = tiny_corpus.read_bytes()
    length = struct.unpack("<H", good[8:10])[0]
    table = good[10:10 + length]

    def with_table(old, new):
        changed = table.replace(old, new)
        assert changed != table
        changed = changed.rstrip(b" \n")
        changed += b" " * (-(len(changed) + 11) % 64) + b"\n"
        return good[:8] + struct.pack("<H", len(changed)) + changed + good[10 + length:]
    files = {"empty": b"", "magic": good[:6], "cut-table": good[:50], "cut": good[:-1], "no-rows-there": good[:10 + length],
             "many-rows": with_table(b"(4,)", b"(9223372036854775807,)"), "negative": with_table(b"(4,)", b"(-4,)"),
             "wide": with_table(b"(32,)", b"(4611686018427387904,)"), "big-endian": with_table(b"<f4", b">f4"),
             "objects": with_table(b"<f4", b"|O"), "names": with_table(b"<U5", b"<U999999999999"),
             "nested": good[:8] + struct.pack("<H", 5000) + b"(" * 5000, "text": b"hello\n" * 50,
             "no-table": b"\x93NUMPY\1\0\xff\xff"}
    (tmp_path / "a.mid").write_bytes(GOOD)
    for name, data in files.items():
        path = tmp_path / (name + ".npy")
        path.write_bytes(data)
        for command in (("search", "-m", model, "-c", path, tmp_path / "a.mid"), ("convert", "--info", path)):
            done = run(*command)
            assert done.returncode in (1, 2) and complaint(done, name), (name, command[0], text(done))


@pytest.mark.parametrize("name", ("folder.mid", "fifo.mid", "socket.mid", "device.mid", "dangling.mid", "missing.mid"))
def test_special_files_as_model_corpus_and_list(folder, model, tmp_path, name):
    path, good = folder / name, folder / "a.mid"
    for command in (("embed", "-m", path, "-o", tmp_path / "c.npy", good), ("search", "-m", model, "-c", path, good)):
        done = run(*command)
        assert done.returncode in (1, 2) and complaint(done, name), (command[0], text(done))
    if name in ("folder.mid", "dangling.mid", "missing.mid", "socket.mid"):
        done = run("tokens", "--files-from", path)
        assert done.returncode == 1 or name == "dangling.mid"


def test_journals_and_sources(model, tmp_path):
    """Flipped bits, in what is beside a corpus: refused with one line, or the corpus of an undisturbed run."""
    songs = make_songs(tmp_path / "songs", n=12, notes=20)
    out, journal, beside = (tmp_path / name for name in ("c.npy", "c.npy.journal", "c.npy.json"))
    assert run("embed", "-m", model, "-o", out, "--keep-journal", songs).returncode == 0
    wanted, whole, described = out.read_bytes(), journal.read_bytes(), beside.read_bytes()
    n_head = 64 + (struct.unpack_from("<I", whole, 8)[0] + 7) // 8 * 8
    n_block = struct.unpack_from("<Q", whole, n_head + 8)[0]
    rng = random.Random(21)
    for n in range(20):
        one = bytearray(whole)
        at = rng.choice((rng.randrange(n_head + 32, n_head + 32 + n_block), n_head + 32 + rng.randrange(64)))
        one[at] ^= 1 << rng.randrange(8)
        if n % 2:  # with the right checksum: what it says is believed, as far as it is a record
            struct.pack_into("<I", one, n_head + 4, zlib.crc32(bytes(one[n_head + 8:n_head + 32 + n_block])))
        out.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
        journal.write_bytes(one)
        done = run("embed", "-m", model, "-o", out, songs)
        assert done.returncode in (0, 1) and (n % 2 or (done.returncode == 0 and out.read_bytes() == wanted)), (n, text(done))
        if done.returncode:
            assert text(done).count("\n") == 1 and journal.exists()
            journal.unlink()
    for n in range(20):
        one = bytearray(described)
        one[rng.randrange(len(one))] ^= 1 << rng.randrange(8)
        out.write_bytes(wanted)
        beside.write_bytes(one)
        done = run("embed", "-m", model, "-o", out, "--update", songs)
        assert done.returncode in (0, 2), text(done)
        if done.returncode:
            assert text(done).count("\n") == 1 and out.read_bytes() == wanted
        else:
            assert len(np.load(out)) == len(np.load(io.BytesIO(wanted)))
