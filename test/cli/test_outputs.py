"""Outputs that would take the place of something else: each tool refuses before its work, and leaves the file as it was."""
import numpy as np
import pytest
from cli_util import midi, run, text, write_model
from test_find import tune

TEXTS = [  # tool, arguments before the output, arguments behind it
    ("tokens", ("--skipped",), ("music",)),
    ("tokens", ("--md5", "--skipped"), ("music",)),
    ("embed", ("-m", "m.safetensors", "-o", "new.npy", "--skipped"), ("music",)),
    ("embed", ("-m", "m.safetensors", "--per-token", "vectors", "--skipped"), ("music",)),
    ("embed", ("-m", "m.safetensors", "-o", "new.npy", "--table"), ("music",)),
    ("index", ("-o", "new.notes", "--skipped"), ("music",)),
    ("groups", ("-o",), ("music",)),
    ("groups", ("--pairs",), ("music",)),
    ("groups", ("--keep-list",), ("music",)),
    ("groups", ("--drop-list",), ("music",)),
    ("groups", ("--skipped",), ("music",)),
    ("eval", ("--truth-pattern", "^(.)", "--csv"), ("c.npy",)),
    ("bench", ("roof", "-r", "1", "--csv"), ()),
]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "music").mkdir()
    for i in range(3):
        (tmp_path / f"music/{i}.mid").write_bytes(midi(tune(i)))
    (tmp_path / "song.mid").write_bytes(midi(tune(9)))
    (tmp_path / "no notes.mid").write_bytes(midi(()))
    write_model(tmp_path / "m.safetensors")
    np.save(tmp_path / "other.npy", np.ones((3, 4), np.float32))
    rows = np.zeros(4, [("midi_names", "<U4"), ("midi_embeddings", "<f4", (4,))])
    rows["midi_names"], rows["midi_embeddings"] = ["aa", "ab", "ba", "bb"], np.eye(4)
    np.save(tmp_path / "c.npy", rows)
    return tmp_path


def state(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def use(place, tool, *arguments):
    return run(tool, *arguments, cwd=place, env={"XDG_CACHE_HOME": str(place / "cache")})


@pytest.mark.parametrize(("tool", "before", "after"), TEXTS)
def test_text_does_not_replace_something_else(place, tool, before, after):
    whole = state(place)
    for name, says in (("song.mid", "song.mid: it is a MIDI file"), ("other.npy", "it is a NumPy array"),
                       ("m.safetensors", "it is an unknown kind"), ("music", "music: ")):
        if (tool, name) == ("bench", "music"):
            continue  # in a folder, to a file with the machine's name
        done = use(place, tool, *before, name, *after)
        assert done.returncode in (1, 2) and says in text(done), text(done)
        assert done.returncode == 2 or tool == "bench"
        left = {path: data for path, data in state(place).items() if "/cache" not in path and "/vectors" not in path}
        assert left == whole and done.stdout == b""


@pytest.mark.parametrize(("tool", "before", "after"), [row for row in TEXTS if row[0] != "bench"])
def test_text_replaces_text(place, tool, before, after):
    out = place / "out.txt"
    for old in (b"", b"a list\nof an earlier run\n", b"names\0in\xff\0NUL\0"):
        out.write_bytes(old)
        done = use(place, tool, *before, out, *after, *(("--force",) if tool == "embed" and "-o" in before else ()))
        assert done.returncode == 0 and (not old or out.read_bytes() != old), text(done)


@pytest.mark.parametrize("tool", ["tokens", "index"])
def test_the_list_of_inputs_is_not_replaced(place, tool):
    (place / "list.txt").write_text("music/0.mid\n")
    done = use(place, tool, *(("-o", "x.notes") if tool == "index" else ()), "--files-from", "list.txt", "--skipped", "./list.txt")
    assert done.returncode == 2 and "it is the list of --files-from" in text(done)
    assert (place / "list.txt").read_text() == "music/0.mid\n"


@pytest.mark.parametrize("arguments", [("-o", "{}", "music"), ("--merge", "-o", "{}", "a.notes")])
def test_an_index_replaces_an_index_alone(place, arguments):
    assert use(place, "index", "-o", "a.notes", "music").returncode == 0
    whole = state(place)
    for name, says in (("song.mid", "song.mid: it is not a note index"), ("other.npy", "it is not a note index"), ("music", "music")):
        done = use(place, "index", *(a.format(name) for a in arguments))
        assert done.returncode in (1, 2) and says in text(done) and state(place) == whole, text(done)
    (place / "b.notes").touch()
    for _ in range(2):
        done = use(place, "index", *(a.format("b.notes") for a in arguments))
        assert done.returncode == 0 and (place / "b.notes").read_bytes() == (place / "a.notes").read_bytes()


@pytest.mark.parametrize(("tool", "arguments"), [
    ("embed", ("-m", "m.safetensors", "-o", "song.mid", "music")),
    ("convert", ("m.safetensors", "song.mid")),
    ("convert", ("--form", "plain", "c.npy", "song.mid")),
    ("groups", ("--state", "song.mid", "music")),
    ("tokens", ("--normalize-midi", "song.mid", "music/0.mid")),
])
def test_other_outputs(place, tool, arguments):
    whole = state(place)
    done = use(place, tool, *arguments)
    left = {path: data for path, data in state(place).items() if "/cache" not in path}
    assert done.returncode in (1, 2) and "song.mid" in text(done) and left == whole
