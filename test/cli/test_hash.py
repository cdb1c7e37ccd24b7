"""Hashes stand for contents: two files are one only when their bytes are. Whatever an openssl.cnf says, midisim-embed makes
the hashes it needs; and a journal or a description with a hash of zeros, which a failure would leave, is refused."""
import base64
import json
import struct
import zlib

import numpy as np
import pytest

from cli_util import midi, run, text, write_model
from embed_util import about, corpus, embed, read_journal

LEGACY_ALONE = """openssl_conf = start
[start]
providers = providers
[providers]
legacy = legacy
[legacy]
activate = 1
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def legacy(tmp_path):
    """An environment in which OpenSSL's only provider has no SHA-256."""
    path = tmp_path / "openssl.cnf"
    path.write_text(LEGACY_ALONE)
    return {"OPENSSL_CONF": str(path)}


@pytest.fixture
def songs(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02d}.mid").write_bytes(midi([40 + i, 60 + 3 * i, 90 - 2 * i]))
    (folder / "copy.mid").write_bytes((folder / "03.mid").read_bytes())
    return folder


def test_embed_without_a_provider(model, songs, legacy, tmp_path):
    plain, out = tmp_path / "plain.npy", tmp_path / "out.npy"
    assert embed(model, plain, songs).returncode == 0
    done = embed(model, out, songs, env=legacy)
    assert done.returncode == 0, text(done)
    assert corpus(out) == corpus(plain)
    rows = np.load(out)["midi_embeddings"]
    assert len(rows) == 13 and len(np.unique(rows, axis=0)) == 12


def test_update_and_shards_without_a_provider(model, songs, legacy, tmp_path):
    plain, out = tmp_path / "plain.npy", tmp_path / "out.npy"
    for where, env in ((plain, {}), (out, legacy)):
        assert embed(model, where, songs / "00.mid", songs / "01.mid", env=env).returncode == 0
        assert embed(model, where, "--update", songs, env=env).returncode == 0
    assert corpus(out) == corpus(plain)
    parts = []
    for i in (1, 2, 3):
        part = tmp_path / f"part-{i}.npy"
        assert embed(model, part, "--shard", f"{i}/3", songs, env=legacy).returncode == 0
        parts.append(len(np.load(part)))
    assert sum(parts) == 13 and max(parts) < 13


def test_token_lines_and_md5_without_a_provider(model, songs, legacy, tmp_path):
    found = []
    lines = run("tokens", songs).stdout
    for name, env in (("plain.npy", {}), ("out.npy", legacy)):
        done = embed(model, tmp_path / name, "--from-tokens", "-", stdin=lines, env=env)
        assert done.returncode == 0, text(done)
        found.append((corpus(tmp_path / name), run("tokens", "--md5", songs, env=env).stdout))
    assert found[0] == found[1]
    assert len({json.loads(line)["original_md5"] for line in found[1][1].splitlines()}) == 12


def test_a_journal_without_hashes_is_refused(model, songs, tmp_path):
    out = tmp_path / "out.npy"
    assert embed(model, out, "--keep-journal", songs).returncode == 0
    journal = tmp_path / "out.npy.journal"
    hashes = {r["hash"] for r in read_journal(journal)[2]}
    whole = journal.read_bytes()
    n_text = struct.unpack_from("<I", whole, 8)[0]
    at = 64 + (n_text + 7) // 8 * 8
    n = struct.unpack_from("<Q", whole, at + 8)[0]
    block = bytearray(whole[at:at + 32 + n])
    for digest in hashes:
        block = block.replace(digest, bytes(32))
    struct.pack_into("<I", block, 4, zlib.crc32(block[8:]))
    journal.write_bytes(whole[:at] + block)
    damaged = journal.read_bytes()
    (songs / "new.mid").write_bytes(midi((41, 42)))
    done = embed(model, out, "--update", songs)
    assert done.returncode == 1 and "damaged journal" in text(done) and "the hash of a content is missing" in text(done)
    assert journal.read_bytes() == damaged


def test_a_description_without_hashes_is_refused(model, songs, tmp_path):
    out = tmp_path / "out.npy"
    beside = tmp_path / "out.npy.json"
    assert embed(model, out, songs).returncode == 0
    whole = about(out)
    (songs / "new.mid").write_bytes(midi((41, 42)))
    raw = base64.b64decode(whole["sources"])
    beside.write_text(json.dumps(whole | {"sources": base64.b64encode(raw[:-16] + bytes(16)).decode()}))
    done = embed(model, out, "--update", songs)
    assert done.returncode != 0 and "source of row 12: the hash of its content is missing" in text(done)
    beside.write_text(json.dumps(whole | {"model": whole["model"] | {"sha256": "0" * 64}}))
    done = embed(model, out, "--update", songs)
    assert done.returncode != 0 and '"model.sha256"' in text(done)
