"""mypy --strict accepts the package, and refuses what a user writes wrongly."""
import re
import subprocess
import sys

from cli_util import ROOT
import pytest

pytest.importorskip("mypy")
PROGRAM = """import midisim_native as mn
import numpy as np

model = mn.load_model("small.safetensors", device="cpu")
pieces: list[mn.Piece] = ["a.mid", b"MThd", [1, 2], np.zeros(3, np.int32)]
vectors = model.embed(pieces)
corpus = mn.Corpus.open(vectors, names=["a", "b", "c", "d"])
best: str = corpus.search("a.mid", k=1, model=model)[0].name
score: float = corpus.join(0.9)[2].max()
mn.load_model(3)  # wrong
corpus.search("a.mid", k="1")  # wrong
print(corpus.nonsense)  # wrong
"""


def test_the_package_is_typed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", tmp_path / "cache",
                           "python/src/midisim_native", program], cwd=ROOT, capture_output=True, text=True)
    errors = re.findall(r"^(.*?):(\d+): error: ", done.stdout, re.M)
    wrong = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")]
    assert [path for path, _ in errors if not path.endswith("program.py")] == [], done.stdout
    assert [int(line) for _, line in errors] == wrong, done.stdout
