"""Fixtures of the tests of the tools."""
import os
import pathlib

import pytest
from cli_util import CI, ROOT, SHIPPED, midi, write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A small random model: enough for everything but the values of vectors."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def weights():
    """The real small model."""
    for path in (os.environ.get("MIDISIM_MODEL"), ROOT / "weights" / "midisim-small.safetensors"):
        if path and pathlib.Path(path).exists():
            return pathlib.Path(path).resolve()
    (pytest.fail if CI else pytest.skip)("no weights/midisim-small.safetensors: run weights/fetch.sh")


@pytest.fixture(scope="session")
def shipped():
    """The MIDI files that come with the tests."""
    if not SHIPPED.is_dir():
        (pytest.fail if CI else pytest.skip)("no test/data/midi")
    return SHIPPED


@pytest.fixture(scope="session")
def collection():
    """The whole collection, of which only parts may be shipped."""
    root = pathlib.Path(os.environ.get("MIDISIM_TEST_DATA", ROOT.parent / "shared" / "midi"))
    if not (root / "MANIFEST.tsv").exists():
        pytest.skip("MIDISIM_TEST_DATA: the whole collection is not here")
    return root.resolve()


@pytest.fixture
def songs(tmp_path):
    """A folder with five files at two depths, and things that are not MIDI files."""
    folder = tmp_path / "songs"
    (folder / "b").mkdir(parents=True)
    for n, name in enumerate(("b/z.mid", "b.mid", "a.MID", "b-.kar", "c.midi")):
        (folder / name).write_bytes(midi((60 + n, 62, 64 + n, 67)))
    (folder / "notes.txt").write_text("not listed")
    return folder
