"""The API of midisim-serve against its own description, by schemathesis: what the document allows is answered as it says, and
what it does not allow is refused."""
import pathlib
import subprocess
import sys

import pytest
from cli_util import CI, midi, run, text, write_model
from serve_util import serving
from test_find import tune

PROGRAM = pathlib.Path(sys.executable).parent / "schemathesis"


@pytest.mark.slow
def test_described(tmp_path):
    if not PROGRAM.exists():
        (pytest.fail if CI else pytest.skip)("no schemathesis: build/venv/bin/pip install schemathesis")
    (tmp_path / "music").mkdir()
    for i in range(4):
        (tmp_path / f"music/{i}.mid").write_bytes(midi(tune(i)))
    write_model(tmp_path / "m.safetensors")
    done = run("embed", "-m", "m.safetensors", "--notes", "-o", "c.npy", "music", cwd=tmp_path)
    assert done.returncode == 0, text(done)
    with serving("-m", "m.safetensors", "c.npy", "--midi-root", "music", cwd=tmp_path) as server:
        # Text that is no notes, and bytes that are no MIDI file, are refused, though the document cannot say which these are.
        done = subprocess.run([PROGRAM, "run", f"{server.address}/api/openapi.json", "--max-examples", "60", "--no-color", "--seed", "1",
                               "--exclude-checks", "positive_data_acceptance"], cwd=tmp_path, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=500)
        assert done.returncode == 0, done.stdout.decode()[-8000:]
        assert server.json("GET", "/api/status")[0] == 200
