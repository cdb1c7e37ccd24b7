"""make install: everything is there, the header and both libraries work from outside, uninstall leaves nothing."""
import os
import shutil
import subprocess

import golden_util as g
import pytest
from cli_util import TOOLS
from install_util import ABI, CONFIG, EXPECTED, VERSION, files, make


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Installed with the PREFIX of the build, moved into place by DESTDIR, so that nothing is rebuilt."""
    stage = tmp_path_factory.mktemp("stage")
    make("install", f"DESTDIR={stage}")
    return stage / "usr/local"


def pkg_config(prefix, *arguments):
    env = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    out = subprocess.run(["pkg-config", f"--define-variable=prefix={prefix}", *arguments, "midisim"], env=env,
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    return out.split()


def build_example(program, flags, name="similar"):
    compiler = os.environ.get("CC", "cc").split()
    g.run([*compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", g.ROOT / f"examples/{name}.c", "-o", program, *flags])


def test_files_and_uninstall(tmp_path):
    keep = tmp_path / "usr/local/share/doc/other/README"
    keep.parent.mkdir(parents=True)
    keep.write_text("not ours")
    make("install", f"DESTDIR={tmp_path}")
    assert files(tmp_path / "usr/local") - {"share/doc/other/README"} == EXPECTED
    make("uninstall", f"DESTDIR={tmp_path}")
    assert files(tmp_path / "usr/local") == {"share/doc/other/README"}


def test_soname(prefix):
    out = g.run(["readelf", "-d", prefix / f"lib/libmidisim.so.{VERSION}"]).stdout.decode()
    assert f"[libmidisim.so.{ABI}]" in out
    assert os.readlink(prefix / "lib/libmidisim.so") == f"libmidisim.so.{ABI}"


def test_pkg_config_version(prefix):
    assert pkg_config(prefix, "--modversion") == [VERSION]


@pytest.mark.parametrize("kind", ["shared", "static"])
def test_example(prefix, kind, tmp_path):
    """README's C example, built as its head says; static: the archive whose inner symbols are local."""
    if kind == "shared":
        flags = pkg_config(prefix, "--cflags", "--libs") + [f"-Wl,-rpath,{prefix / 'lib'}"]
    else:
        shutil.copy(prefix / "lib/libmidisim.a", tmp_path)
        flags = pkg_config(prefix, "--static", "--cflags", "--libs")
        flags = [f"-L{tmp_path}" if f == f"-L{prefix / 'lib'}" else f for f in flags]
    if CONFIG == "asan":
        flags.append("-fsanitize=address,undefined")
    program = tmp_path / "similar"
    build_example(program, flags)
    linked = "libmidisim.so" in g.run(["ldd", program]).stdout.decode()
    assert linked == (kind == "shared")

    data = g.SHIPPED / "freedink"
    done = g.run([program, g.weights(), data / "love.mid", data / "love.mid", data / "lively.mid"])
    lines = done.stdout.decode().splitlines()
    percent = [float(line.split()[0]) for line in lines]
    golden = g.golden_vectors()["f32"]
    other = 100 * (1 - g.distance(golden["freedink/love.mid"], golden["freedink/lively.mid"]))
    assert percent[0] == 100 and abs(percent[1] - other) < 0.5
    assert g.run([program, "none", "a", "b"], ok=(1,)).stderr.startswith(b"similar: ")
    failed = g.run([program, g.weights(), data / "love.mid", data / "absent.mid"], ok=(1,)).stderr.decode()
    assert failed.startswith("similar: ") and "absent.mid" in failed

    program = tmp_path / "find"
    build_example(program, flags, "find")
    done = g.run([program, g.weights(), data, tmp_path / "corpus.npy", data / "love.mid"])
    best = done.stdout.decode().splitlines()
    assert best[0].split() == ["100.00", "%", "+0", "love.mid"] and len(best) == 3
    assert b"3 of 3 files" in done.stderr and (tmp_path / "corpus.npy").exists()


def test_header_in_cpp(prefix, tmp_path):
    source = tmp_path / "h.cc"
    source.write_text('#include <midisim.h>\n#include <cstring>\n'
                      'int main() { return std::strcmp(msim_version(), MSIM_VERSION); }\n')
    flags = pkg_config(prefix, "--cflags", "--libs") + [f"-Wl,-rpath,{prefix / 'lib'}"]
    if CONFIG == "asan":
        flags.append("-fsanitize=address,undefined")
    if not shutil.which("g++"):
        g.absent("no g++")
    g.run(["g++", "-Wall", "-Wextra", "-pedantic", "-Werror", source, "-o", tmp_path / "h", *flags])
    g.run([tmp_path / "h"])


@pytest.mark.parametrize("name", ("midisim.7", "midisim.1", *(f"midisim-{t}.1" for t in TOOLS)))
def test_man(prefix, name):
    page = prefix / f"share/man/man{name[-1]}" / name
    assert page.read_text().startswith(".TH") and f"midisim {VERSION}" in page.read_text()
    assert "\n.SH SEE ALSO\n" in page.read_text()
    if shutil.which("man"):
        out = g.run(["man", "--warnings", "-l", page])
        assert not out.stderr, out.stderr.decode()


@pytest.mark.parametrize("name", ("midisim", *(f"midisim-{t}" for t in TOOLS)))
@pytest.mark.parametrize("shell, where", (("bash", "bash-completion/completions/%s"), ("zsh", "zsh/site-functions/_%s"),
                                          ("fish", "fish/vendor_completions.d/%s.fish")))
def test_completion(prefix, name, shell, where):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    g.run([shell, "-n", prefix / "share" / (where % name)])
