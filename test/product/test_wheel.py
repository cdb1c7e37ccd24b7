"""The wheel of midisim_native in empty virtual environments, without network: it installs, and five lines give the first match.
Which Pythons are tried depends on what the machine has; NumPy is downloaded once, into build/wheel/house."""
import glob
import os
import pathlib
import re
import shutil
import subprocess
import zipfile

from cli_util import BUILD, CI, ROOT, midi, run, write_model
from install_util import make
import pytest

pytestmark = pytest.mark.slow
HOUSE = ROOT / "build/wheel/house"
MOST_BYTES = 40 << 20
# Python and NumPy: the oldest of each, the one that most have, and the newest.
PAIRS = (("3.9", "1.26.*"), ("3.11", "1.26.*"), ("3.11", ">=2"), ("3.13", ">=2"))


def missing(reason):
    pytest.fail(reason) if CI else pytest.skip(reason)


def interpreter(version):
    """A Python of this version: on PATH, or of pyenv. One that does not start is passed over."""
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = [shutil.which(f"python{version}"), *sorted(glob.glob(f"{root}/versions/{version}.*/bin/python"))]
    for path in filter(None, found):
        done = subprocess.run([path, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"],
                              capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return path
    return None


@pytest.fixture(scope="module")
def wheel():
    """Built by make wheel, with the kernels for GPUs where the build has them."""
    stub = BUILD / "src/kernels/stub.o"
    try:
        make("wheel", *(["CUDA=0"] if stub.exists() else []))
    except AssertionError as error:
        if re.search(r"No matching distribution|Connection|resolution|no lib\w+\.(a|so)", str(error)):
            missing(f"make wheel: {str(error).strip().splitlines()[-1]}")
        raise
    found = list((ROOT / "build/wheel").glob("*.whl"))
    assert len(found) == 1
    return found[0]


def offline():
    """The beginning of a command that has no network, where Linux allows it."""
    return ["unshare", "-rn"] if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0 else []


def test_one_wheel_for_all_pythons_that_is_small_and_has_no_model(wheel):
    assert re.fullmatch(r"midisim_native-[\d.]+-py3-none-manylinux_2_28_x86_64\.whl", wheel.name)
    assert wheel.stat().st_size < MOST_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    assert {"midisim_native/libmidisim.so.1", "midisim_native/py.typed", "midisim_native/NOTICES.txt"} <= set(names)
    assert not [name for name in names if name.endswith((".safetensors", ".pth", ".npy"))]


def test_only_public_names_and_old_symbols(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as opened:
        library = opened.extract("midisim_native/libmidisim.so.1", tmp_path)
    names = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout.split()[2::3]
    assert len(names) > 200 and all(name.startswith("msim_") for name in names)
    symbols = subprocess.run(["objdump", "-T", library], capture_output=True, text=True, check=True).stdout
    assert max(tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", symbols)) <= (2, 28)


@pytest.mark.parametrize("version,numpy", PAIRS)
def test_the_first_match_in_an_empty_environment(wheel, version, numpy, tmp_path):
    python = interpreter(version)
    if not python:
        pytest.skip(f"no Python {version} on this machine")
    wanted = f"numpy{numpy if numpy[0] == '>' else '==' + numpy}"
    got = subprocess.run([python, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
                          "-d", HOUSE, wanted], capture_output=True, text=True)
    if got.returncode:
        missing(f"no NumPy {numpy} for Python {version}: {got.stderr.strip().splitlines()[-1]}")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "",
           "MIDISIM_MODEL": str(write_model(tmp_path / "tiny.safetensors"))}

    def alone(*command):
        done = subprocess.run([*offline(), *map(str, command)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    alone(python, "-m", "venv", tmp_path / "venv")
    inside = tmp_path / "venv/bin/python"
    alone(inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--find-links", HOUSE, wheel, wanted)
    (tmp_path / "midi").mkdir()
    for n in range(4):
        (tmp_path / "midi" / f"{n}.mid").write_bytes(midi((60 + n, 62, 64 + 3 * n, 67)))
    (tmp_path / "song.mid").write_bytes(midi((62, 64, 69, 69)))
    lines = re.search(r"## The first match\n\n```python\n(.*?)```", (ROOT / "docs/guide/python.md").read_text(), re.S)[1]
    assert len(lines.strip().splitlines()) == 5
    (tmp_path / "five.py").write_text(lines + "import numpy; print(numpy.__version__, mn.__file__)\n")
    out = alone(inside, "five.py").splitlines()
    assert re.search(r"name='\d\.mid', score=0\.9+", out[0]) or "score=1.0" in out[0], out
    assert out[1].startswith("1.26." if numpy.startswith("1") else "2.") and str(tmp_path / "venv") in out[1]
    done = run("embed", "-m", env["MIDISIM_MODEL"], "--device", "cpu", "-o", tmp_path / "tool.npy", tmp_path / "midi")
    assert done.returncode == 0 and (tmp_path / "tool.npy").read_bytes() == (tmp_path / "corpus.npy").read_bytes()


def test_a_checkout_and_its_sdist_install(tmp_path):
    """pip install . in a checkout takes the library that make builds; the sdist alone can be built too."""
    python = ROOT / "build/wheel/venv/bin/python"
    if not python.exists():
        missing("no build/wheel/venv: make wheel")
    build = [python, "-c", "import sys, hatchling.build as b; print(b.build_sdist(sys.argv[1]))", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    sdist, = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path)
    source, = (p for p in tmp_path.iterdir() if p.is_dir())
    assert not list(source.rglob("*.safetensors")) and not (source / "build").exists()
    done = subprocess.run(["make", "-n", "CUDA=0", "build/release/libmidisim.so.1"], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0 and "-shared" in done.stdout, done.stderr
    asked = set(re.findall(r"-c (src/\S+\.c)", done.stdout))
    assert len(asked) > 200 and all((source / path).exists() for path in asked)


@pytest.mark.parametrize("plan,message", [("platform.machine = lambda: 'aarch64'", "runs on x86-64 Linux, not on linux aarch64"),
                                          ("sys.platform = 'win32'", "runs on x86-64 Linux, not on win32"),
                                          ("os.environ['PATH'] = '/nonexistent'", "scripts/setup.sh installs them")])
def test_where_it_cannot_be_built_pip_shows_why(plan, message, tmp_path):
    python = ROOT / "build/wheel/venv/bin/python"
    if not python.exists():
        missing("no build/wheel/venv: make wheel")
    program = ("import os, platform, sys; sys.path.insert(0, 'python'); import hatch_build\n" + plan +
               "\nhook = object.__new__(hatch_build.Hook)\nhook.initialize('standard', {'force_include': {}})\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith("MIDISIM_")}
    done = subprocess.run([python, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
