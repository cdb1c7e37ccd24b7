"""Files as people have them: lists from Windows editors, RMID, plain MIDI named .gz, one vector as a query, cropped
.fbin files, checkpoints of training scripts, and things that are no MIDI file at all."""
import gzip
import importlib.util
import struct

import numpy as np
import pytest
from cli_util import ROOT, lines, midi, run, text

BOM = b"\xef\xbb\xbf"
CHECKPOINTS = ROOT / "test" / "data" / "checkpoints"


def tokens(*arguments, **more):
    done = run("tokens", *arguments, **more)
    return done, [o.get("tokens", o.get("error")) for o in lines(done)]


def rmid(inside, more=b""):
    """A RIFF file with a list chunk of odd length before the MIDI file."""
    def chunk(name, data):
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    body = b"RMID" + chunk(b"LIST", b"INFOx") + chunk(b"data", inside) + more
    return b"RIFF" + struct.pack("<I", len(body)) + body


# ---- Lists ----------------------------------------------------------------------------------------------------------

LISTS = {"crlf": b"a.mid\r\nb.mid\r\n", "bom": BOM + b"a.mid\nb.mid\n", "both": BOM + b"a.mid\r\nb.mid",
         "plain": b"a.mid\nb.mid"}


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_paths(tmp_path, form):
    for name in "ab":
        (tmp_path / f"{name}.mid").write_bytes(midi())
    (tmp_path / "list").write_bytes(LISTS[form])
    done, got = tokens("--files-from", "list", cwd=tmp_path)
    assert done.returncode == 0 and len(got) == 2 and isinstance(got[0], list)
    done, got = tokens("--files-from", "-", cwd=tmp_path, stdin=LISTS[form])
    assert done.returncode == 0 and len(got) == 2


def test_names_that_end_in_a_return(tmp_path):
    """They belong to the name when the first line has none, and always in lists separated by NUL."""
    for name in ("a.mid", "b.mid\r"):
        (tmp_path / name).write_bytes(midi())
    done, got = tokens("--files-from", "-", cwd=tmp_path, stdin=b"a.mid\nb.mid\r\n")
    assert done.returncode == 0 and len(got) == 2
    done, got = tokens("-0", "--files-from", "-", cwd=tmp_path, stdin=b"b.mid\r\0a.mid")
    assert done.returncode == 0 and len(got) == 2


def corpus(path, names, rows):
    array = np.zeros(len(names), [("midi_names", "<U20"), ("midi_embeddings", "<f4", (rows.shape[1],))])
    array["midi_names"], array["midi_embeddings"] = names, rows
    np.save(path, array)


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_names(tmp_path, form):
    rows = np.eye(3, 4, dtype="<f4") + 0.1
    corpus(tmp_path / "c.npy", ["a.mid", "b.mid", "c.mid"], rows)
    (tmp_path / "out").write_bytes(LISTS[form])
    done = run("search", "-q", "-c", "c.npy", "--like", "c.mid", "--exclude-from", "out", "--format", "tsv", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == b"", text(done)
    assert [row.split(b"\t")[-1] for row in done.stdout.splitlines()[1:]] == [b"c.mid"]
    np.save(tmp_path / "plain.npy", rows[:2])
    done = run("search", "-q", "-c", "plain.npy", "--names-file", "out", "--like", "a.mid", "--format", "tsv", cwd=tmp_path)
    assert [row.split(b"\t")[-1] for row in done.stdout.splitlines()[1:]] == [b"a.mid", b"b.mid"], text(done)


def test_unknown_names_are_a_warning(tmp_path):
    corpus(tmp_path / "c.npy", ["a.mid", "b.mid"], np.eye(2, dtype="<f4"))
    (tmp_path / "out").write_bytes(b"nobody\n")
    done = run("search", "-q", "-c", "c.npy", "--like", "a.mid", "--exclude-from", "out", cwd=tmp_path)
    assert done.returncode == 0 and b"1 of 1 names are not the name of any row: out" in done.stderr


def test_token_lines(tmp_path):
    one = b'{"path":"a.mid","tokens":[0,1,130,300]}'
    outputs = []
    for form in (one + b"\n" + one.replace(b"a", b"b", 1) + b"\n", BOM + one + b"\r\n" + one.replace(b"a", b"b", 1) + b"\r\n"):
        (tmp_path / "lines").write_bytes(form)
        done = run("embed", "-q", "-m", CHECKPOINTS / "tiny.safetensors", "--from-tokens", "lines", "-o", "out.npy", "--force",
                   cwd=tmp_path)
        outputs.append((done.returncode, (tmp_path / "out.npy").read_bytes()))
    assert outputs[0][0] == 1 and outputs[0] == outputs[1]  # the second line says "pbth": skipped in both


# ---- MIDI files -----------------------------------------------------------------------------------------------------


def test_rmid(tmp_path):
    inside = midi((60, 64, 67))
    (tmp_path / "inner.mid").write_bytes(inside)
    for name, data in (("a.rmi", rmid(inside)), ("b.mid", rmid(inside)), ("c.RMI", rmid(inside, b"DLS behind")),
                       ("d.rmi.gz", gzip.compress(rmid(inside))), ("e.rmid", rmid(inside)), ("f.rmi", inside)):
        (tmp_path / name).write_bytes(data)
    done, got = tokens(".", cwd=tmp_path)
    assert done.returncode == 0 and len(got) == 7 and all(ids == got[0] for ids in got), text(done)
    canonical = [run("tokens", "--normalize-midi", f"out/{name}", name, cwd=tmp_path) for name in ("inner.mid", "a.rmi")]
    assert [done.returncode for done in canonical] == [0, 0], text(canonical[1])
    (tmp_path / "cut.rmi").write_bytes(rmid(inside)[:40])
    (tmp_path / "none.rmi").write_bytes(b"RIFF\x04\0\0\0RMID")
    done, got = tokens("cut.rmi", "none.rmi", cwd=tmp_path)
    assert got == ["not-midi", "not-midi"] and b"an RMID file without a MIDI file in it" in done.stderr


def test_plain_midi_named_gz(tmp_path):
    (tmp_path / "a.mid.gz").write_bytes(midi())
    (tmp_path / "b.mid").write_bytes(midi())
    (tmp_path / "c.mid.gz").write_bytes(b"neither of the two")
    done, got = tokens(".", cwd=tmp_path)
    assert got[0] == got[1] and got[2] == "bad-gzip", text(done)


@pytest.mark.parametrize("data, kind, hint", [
    (b"PK\x03\x04rest of it", "a zip archive", "unpack it and give the folder"),
    (b"\x93NUMPY\x01\x00v\x00{", "a NumPy array (.npy)", "-c"),
    (b"a.mid\nb.mid\n", "a text file", "--files-from"),
    (b'{"path":"a.mid","tokens":[0]}\n', "token lines of midisim-tokens", "--from-tokens"),
    (b"<!DOCTYPE html><title>Not found", "a web page", ""),
    (b"ID3\x04rest of a song", "an audio recording", ""),
    (b"MUS\x1a\x10\0\x10\0\x01\0\0\0\0\0\0\0\x60", "a MUS file", "convert it to MIDI"),
    (b"", "an empty file", ""),
    (b"\x00\x01\x02\x03\x00\x00\x01\x00rest of it", "expected a header length of 6, got 256", "")])
def test_other_files(tmp_path, data, kind, hint):
    (tmp_path / "x.mid").write_bytes(data)
    done, got = tokens("x.mid", cwd=tmp_path)
    assert got == ["not-midi"] and done.returncode == 1
    assert kind in text(done) and hint in text(done), text(done)


# ---- Vectors --------------------------------------------------------------------------------------------------------


def test_one_vector_is_a_query(tmp_path):
    rows = np.random.default_rng(1).standard_normal((5, 8)).astype("<f4")
    np.save(tmp_path / "c.npy", rows)
    answers = []
    for query in (rows[3:4], rows[3], rows[3][None, None], rows[3:4][:, None]):
        np.save(tmp_path / "q.npy", query)
        done = run("search", "-q", "-c", "c.npy", "--query-vectors", "q.npy", "-k", "1", "--format", "tsv", cwd=tmp_path)
        assert done.returncode == 0, text(done)
        answers.append(done.stdout)
    assert len(set(answers)) == 1 and answers[0].splitlines()[1].split(b"\t")[-1] == b"3"
    np.save(tmp_path / "q.npy", np.zeros((2, 2, 8), "<f4"))
    done = run("search", "-c", "c.npy", "--query-vectors", "q.npy", cwd=tmp_path)
    assert done.returncode == 1 and b"query vectors: q.npy: the array has 3 axes" in done.stderr, text(done)


def test_fbin_by_any_name(tmp_path):
    rows = np.random.default_rng(2).standard_normal((4, 8)).astype("<f4")
    np.save(tmp_path / "q.npy", rows[2])
    for name in ("a.fbin", "B.FBIN", "c.1M.fbin.crop_nb_4"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(struct.pack("<II", 4, 8) + rows.tobytes())
        done = run("search", "-q", "-c", f"d/{name}", "--query-vectors", "q.npy", "-k", "1", "--format", "tsv", cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.splitlines()[1].split(b"\t")[-1] == b"2", text(done)
    done = run("convert", "--info", "d", cwd=tmp_path)
    assert b"12" in done.stdout, done.stdout  # all three are parts of the folder's corpus


# ---- Checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make", CHECKPOINTS / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convert(tmp_path, data):
    (tmp_path / "model.pth").write_bytes(data)
    done = run("convert", "model.pth", "out.safetensors", "--force", cwd=tmp_path)
    if done.returncode:
        return done, None
    raw = (tmp_path / "out.safetensors").read_bytes()
    at = raw.index(b'"source_sha256":"') + 17
    return done, raw[:at] + raw[at + 64:]


def test_checkpoints_of_training_scripts(tmp_path, make):
    tensors = make.plain("f32", 32, 2, 2)
    expected = convert(tmp_path, make.zip_pth("m", tensors))[1]
    assert expected
    for prefix in ("_orig_mod.", "module.", "module._orig_mod.", "model."):
        renamed = [(prefix + name, t) for name, t in tensors]
        assert convert(tmp_path, make.zip_pth("m", renamed))[1] == expected
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0, 1]}]
    wraps = [lambda d: {"state_dict": d, "epoch": 2, "loss": 0.31, "name": "run 1", "done": False, "note": None},
             lambda d: {"model": d, "optimizer": {"state": {0: {"step": 3}}, "param_groups": groups}, "step": 43117}]
    for wrap in wraps:
        done, got = convert(tmp_path, make.zip_pth("m", tensors, wrap=wrap))
        assert got == expected, text(done)


def test_checkpoints_that_leave_a_doubt(tmp_path, make):
    tensors = make.plain("f32", 32, 2, 2)
    for wrap, says in ((lambda d: {"model": d, "ema": make.state_dict(tensors)}, "several of its members model, ema"),
                       (lambda d: {"epoch": 2, "loss": 0.3}, "no tensors, neither in the dict nor in its members epoch, loss")):
        done, got = convert(tmp_path, make.zip_pth("m", tensors, wrap=wrap))
        assert got is None and done.returncode == 1 and says in text(done), text(done)
    mixed = [("a." + name, t) for name, t in tensors] + [("loss.weight", tensors[0][1])]
    done, got = convert(tmp_path, make.zip_pth("m", mixed))
    assert got is None and "has no tensor token_emb.emb.weight but a.token_emb.emb.weight" in text(done), text(done)
