"""The package as it lies in python/src, on the library that make has built."""
import os

from cli_util import BUILD, midi, write_model
import pytest

os.environ.setdefault("MIDISIM_LIBRARY", str(BUILD / "libmidisim.so.1"))
os.environ.pop("MIDISIM_MODEL", None)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def model(model_path):
    import midisim_native as mn
    return mn.load_model(model_path, device="cpu", threads=1)


@pytest.fixture
def songs(tmp_path):
    """Five files at two depths."""
    folder = tmp_path / "songs"
    (folder / "b").mkdir(parents=True)
    for n, name in enumerate(("b/z.mid", "b.mid", "a.MID", "b-.kar", "c.midi")):
        (folder / name).write_bytes(midi((60 + n, 62, 64 + n, 67)))
    return folder
