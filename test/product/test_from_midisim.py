"""docs/FROM-MIDISIM.md names every public function of the original and each of its parameters, and no others. The signatures
are read from the source in the wheel that weights/fetch.sh keeps; nothing of it is imported."""
import ast
import os
import pathlib
import re
import sys
import zipfile

import golden_util as g
import pytest

PAGE = g.ROOT / "docs/FROM-MIDISIM.md"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Text of the two modules, of the wheel in the cache (or, where it must be, of one fetched for this)."""
    name = next(line.split()[1] for line in (g.ROOT / "weights/SHA256SUMS").read_text().splitlines() if line.endswith(".whl"))
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "midisim"
    if not (cache / name).exists() and g.CI:
        cache = tmp_path_factory.mktemp("wheel")
        g.subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                          "--only-binary", ":all:", "--dest", cache, "midisim==" + name.split("-")[1]], check=True)
    if not (cache / name).exists():
        g.absent(f"no {name} in the cache: weights/fetch.sh --force")
    with zipfile.ZipFile(cache / name) as wheel:
        return [wheel.read(f"midisim/{module}.py").decode() for module in ("midisim", "helpers")]


def signatures(source):
    """{function: parameters} of what a module defines for others."""
    out = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            a = node.args
            more = [x for x in (a.vararg, a.kwarg) if x]
            out[node.name] = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *more)]
    return out


def described(page):
    """{function: parameters} of the sections and the first column of their tables."""
    out = {}
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        name = section.split("\n", 1)[0].strip()
        assert name not in out, f"{name}: two sections"
        body = re.split(r"^# ", section, flags=re.M)[0]
        out[name] = re.findall(r"^\| `(\w+)` \| \S", body, flags=re.M)
    return out


def complaints(original, ours):
    for name in sorted(set(original) | set(ours)):
        if name not in ours:
            yield f"{name}: no section"
        elif name not in original:
            yield f"{name}: not a function of the original"
        elif original[name] != ours[name]:
            yield f"{name}: expected {original[name]}, got {ours[name]}"


def test_every_function_and_parameter(sources):
    original = {k: v for source in sources for k, v in signatures(source).items()}
    assert len(original) > 15
    assert not list(complaints(original, described(PAGE.read_text(encoding="utf-8"))))


def test_a_lack_is_noticed():
    original = signatures("def f(a, b=1, *, c, **more): pass\ndef g(): pass\ndef _h(x): pass\n")
    page = "## f\n\n| `a` | x |\n| `b` | x |\n| `c` | x |\n| `more` | x |\n\n## g\n\n# End\n| `z` | x |\n"
    assert not list(complaints(original, described(page)))
    for wrong in (page.replace("| `b` | x |\n", ""), page.replace("`b` | x", "`b` | "), page.replace("## g", "## h"),
                  page.replace("`c`", "`d`")):
        assert list(complaints(original, described(wrong)))


def test_what_it_points_to_is_there():
    """Options in backquotes are those of a tool or script, functions those of the header."""
    page = PAGE.read_text(encoding="utf-8")
    header = (g.ROOT / "include/midisim.h").read_text()
    for name in set(re.findall(r"\bmsim_\w+[a-z](?!\w|\*)", page)):
        assert re.search(rf"\b{name}\b", header), name
    helps = "".join(g.subprocess.run([g.tool(t), "--help"], stdout=g.subprocess.PIPE, text=True).stdout
                    for t in ("tokens", "embed", "search", "convert"))
    helps += (g.ROOT / "weights/fetch.sh").read_text()
    for option in set(re.findall(r"--[a-z][a-z0-9-]+", page)):
        assert re.search(rf"{option}\b", helps), option
