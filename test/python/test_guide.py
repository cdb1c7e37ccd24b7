"""Every program of docs/guide/python.md runs, in order, and gives what the text says; blocks of the stores where they are
installed. examples/tour.ipynb runs too."""
import ast
import importlib.util
import json
import pathlib
import re
import shutil

from cli_util import ROOT, midi
import golden_util as g
import midisim_native as mn
import numpy as np
import pytest

GUIDE = ROOT / "docs/guide/python.md"
NEEDS = {"pyarrow": "pyarrow", "faiss": "faiss", "lancedb": "lancedb", "sklearn": "sklearn"}


def blocks():
    return re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)


def needed(block):
    """Packages of other projects that a block imports."""
    return [package for package in NEEDS if re.search(rf"^(import|from) {package}\b", block, re.M)]


@pytest.fixture
def place(tmp_path, monkeypatch, model_path):
    """A folder with what the guide names: midi/, song.mid, a.mid, b.mid, the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIDISIM_MODEL", str(model_path))
    (tmp_path / "midi" / "x").mkdir(parents=True)
    tunes = np.random.default_rng(2).integers(50, 80, (14, 40))
    for n, tune in enumerate(tunes):
        name = "love" if n == 3 else f"{n:02}"
        (tmp_path / "midi" / ("x" if n % 2 else ".") / f"{name}.mid").write_bytes(midi(tune.tolist()))
    (tmp_path / "midi/copy.mid").write_bytes(midi((tunes[0] + 2).tolist()))
    for name in ("song", "a", "b"):
        (tmp_path / f"{name}.mid").write_bytes(midi(tunes[4].tolist()))
    return tmp_path


def run(scope, some, skip=()):
    for number, block in enumerate(some):
        if any(package in skip or importlib.util.find_spec(package) is None for package in needed(block)):
            continue
        block = block.replace('love.mid")[0]', 'x/love.mid")[0]')  # as the folder here has it
        block = block.replace("windows=1024, ", "windows=(32, 16), overwrite=True, ")
        if importlib.util.find_spec("tqdm") is None:
            block = block.replace(", progress=True", "")
        exec(compile(block, f"{GUIDE.name}, block {number + 1}", "exec"), scope)


def test_the_programs_of_the_guide_run(place, capsys):
    scope = {}
    run(scope, blocks(), skip=("pyarrow", "faiss", "lancedb", "sklearn"))
    out = capsys.readouterr().out
    assert "score=" in out and scope["report"].rows > 15
    copied = [line.rstrip("\n").split("\t") for line in open("corpus.copy", encoding="utf-8")]
    corpus = scope["corpus"]
    assert [name for name, _ in copied] == corpus.names.tolist()
    numbers = np.array([np.fromstring(vector[1:-1], np.float32, sep=",") for _, vector in copied])
    assert numbers.tobytes() == corpus.vectors.tobytes()


def test_names_with_tabs_and_backslashes_are_escaped_for_postgresql(place):
    block, = [block for block in blocks() if "str.maketrans" in block]
    names = ["a\tb", "c\\nd", "e\nf", "ü"]
    exec(block, {"corpus": mn.Corpus.open(np.eye(4, dtype=np.float32), names=names)})
    undone = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}
    lines = pathlib.Path("corpus.copy").read_text(encoding="utf-8").split("\n")[:-1]
    assert [re.sub(r"\\.", lambda m: undone[m[0]], line.split("\t")[0]) for line in lines] == names


@pytest.mark.slow
@pytest.mark.parametrize("package", list(NEEDS))
def test_other_stores_hold_the_same_vectors(package, place):
    """Each block with the package, after the first program of the guide, and the blocks that it builds on."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"no {package}: pip install {'faiss-cpu' if package == 'faiss' else package}")
    if package == "lancedb" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("no pyarrow")
    scope = {}
    wanted = {package} | ({"pyarrow"} if package == "lancedb" else set())
    run(scope, [block for n, block in enumerate(blocks()) if n == 0 or wanted & set(needed(block))])
    corpus = scope["corpus"]
    expected, scores = corpus.search_vectors(corpus.vectors[:3], 10)
    if package == "pyarrow":
        assert scope["again"].vectors.tobytes() == corpus.vectors.tobytes()
        assert scope["again"].names.tolist() == corpus.names.tolist()
    elif package == "faiss":
        assert np.allclose(scope["scores"], scores, atol=1e-5) and (scope["rows"] == expected).mean() > 0.8
    elif package == "lancedb":
        assert np.allclose([1 - row["_distance"] for row in scope["near"]], scores[0], atol=1e-5)
        assert scope["near"][0]["name"] in (corpus.name(expected[0, 0]), corpus.name(expected[0, 1]))


@pytest.fixture
def demonstration(tmp_path, monkeypatch):
    """A folder with the demonstration's files, and the small model."""
    if not g.WEIGHTS.exists():
        g.absent("no weights: weights/fetch.sh")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "python/src"))
    monkeypatch.setenv("MIDISIM_MODEL", str(g.WEIGHTS))
    (tmp_path / "midi/altered").mkdir(parents=True)
    for line in (ROOT / "demo/files.txt").read_text().splitlines():
        if not line.startswith("#"):
            folder = tmp_path / "midi" / line.split("/")[0]
            folder.mkdir(exist_ok=True)
            shutil.copy(ROOT / "test/data/midi" / line, folder)
    for path in (ROOT / "demo/midi").glob("*.mid"):
        shutil.copy(path, tmp_path / "midi/altered")
    return tmp_path


def check_tour(printed):
    assert "altered/love, third up.mid" in printed and "42 pieces" in printed


def test_the_cells_of_the_notebook_run(demonstration, monkeypatch, capsys):
    """As one program; the value of a cell's last line is printed, as a notebook shows it."""
    monkeypatch.chdir(demonstration)
    scope = {}
    for number, cell in enumerate(json.loads((ROOT / "examples/tour.ipynb").read_text(encoding="utf-8"))["cells"]):
        assert not cell.get("outputs")  # they are not kept in the tree
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        shown = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"cell {number}", "exec"), scope)
        if shown is not None:
            print(eval(compile(ast.Expression(shown.value), f"cell {number}", "eval"), scope))
    check_tour(capsys.readouterr().out)


@pytest.mark.slow
def test_the_notebook_runs(demonstration):
    """The same in Jupyter's own kernel."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "examples/tour.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3",
                            resources={"metadata": {"path": str(demonstration)}}).execute()
    check_tour("".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])))
