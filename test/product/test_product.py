"""The product as a user has it: installed into a folder with a blank, moved, run from another folder by its front command;
the Debian package, and the source as a tarball. Nothing here uses a network."""
import gzip
import os
import re
import shutil
import subprocess

import golden_util as g
import pytest
from cli_util import TOOLS
from install_util import ABI, CONFIG, EXPECTED, VERSION, files, make

NAME = "a song.mid"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An installation under a name with blanks, with a PREFIX that has one; moved afterwards as a whole."""
    stage = tmp_path_factory.mktemp("stage")
    make("install", f"DESTDIR={stage}/to be moved")
    (stage / "to be moved").rename(stage / "my programs")
    return stage / "my programs/usr/local"


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("some music")
    shutil.copy(g.SHIPPED / "freedink/love.mid", folder / NAME)
    shutil.copy(g.SHIPPED / "js-fakes/midi/99.mid", folder / "other.mid")
    return folder


def use(home, *arguments, ok=(0,), cwd=None, **variables):
    """Run the front command as a user with nothing but PATH and a folder of data would."""
    env = {"PATH": f"{home}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "",
           "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0", **variables}
    done = subprocess.run(["midisim", *map(str, arguments)], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode in ok, done.stderr
    return done


def test_use(home, music, tmp_path):
    """Without HOME, from another folder, with the model that was installed."""
    g.weights()
    assert (home / "share/midisim/midisim-small.safetensors").read_bytes() == g.WEIGHTS.read_bytes()
    use(home, "embed", "-q", "--max-tokens", "200", "-o", "my corpus.npy", music, cwd=tmp_path)
    done = use(home, "search", "-c", "my corpus.npy", "--transpose", "0", music / NAME, cwd=tmp_path)
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert [row[-1] for row in rows] == [NAME, "other.mid"] and rows[0][2] == "1"
    done = use(home, "search", "--generate-rows", "a ", "my corpus.npy", cwd=tmp_path)
    assert done.stdout == NAME + "\n"


def test_front_command(home, tmp_path):
    assert use(home, "--version").stdout == f"midisim {VERSION}\n"
    for words in (["help"], ["--help"]):
        text = use(home, *words).stdout
        for tool in TOOLS:
            assert re.search(rf"^  {tool} +\w.*\w$", text, re.M), tool
    assert use(home, "help", "tokens").stdout == use(home, "tokens", "--help").stdout
    # a path is a query, whatever lies there: it is never run
    done = use(home, "../bin/midisim-embed", ok=(2,))
    assert done.stderr.startswith("midisim-search: no corpus: give -c CORPUS") and not done.stdout
    assert use(home, "-x", ok=(2,)).stderr == "midisim-search: unknown option: -x (see midisim-search --help)\n"
    for words in ([], ["nothing"], ["help", "nothing"]):
        done = use(home, *words, ok=(2,))
        assert done.stderr.startswith("midisim: ") and done.stderr.count("\n") == 1 and not done.stdout
    assert use(home, "embed", ok=(2,)).stderr.startswith("midisim-embed: ")
    # A program that is put beside it later is found by itself.
    late = shutil.copytree(home, tmp_path / "late", symlinks=True) / "bin/midisim-late"
    late.write_text("#!/bin/sh\n[ \"$1\" = --generate-summary ] && echo comes late || echo got \"$@\"\n")
    late.chmod(0o755)
    assert use(tmp_path / "late", "late", "a b").stdout == "got a b\n"
    assert re.search("^  late +comes late$", use(tmp_path / "late", "help").stdout, re.M)


def test_tools_share_the_library(home):
    for tool in TOOLS:
        path = home / f"bin/midisim-{tool}"
        said = g.run(["readelf", "-d", path]).stdout.decode()
        assert f"[libmidisim.so.{ABI}]" in said and "RUNPATH" in said and "[$ORIGIN/../lib]" in said
        assert str(home / f"lib/libmidisim.so.{ABI}") in g.run(["ldd", path]).stdout.decode().replace("/bin/../", "/")
        if CONFIG != "asan":
            assert path.stat().st_size < (g.BUILD / f"midisim-{tool}").stat().st_size / 3


def test_no_model_names_the_command(home, music, tmp_path):
    bare = shutil.copytree(home, tmp_path / "bare", symlinks=True, ignore=shutil.ignore_patterns("*.safetensors"))
    done = use(bare, "embed", "-o", tmp_path / "c.npy", music, ok=(1,), HOME=str(tmp_path))
    assert "no model" in done.stderr and "midisim fetch small" in done.stderr


def test_fetch(home, tmp_path):
    """Where things go, and what is refused; downloads are in test_weights.py."""
    bare = shutil.copytree(home, tmp_path / "bare", symlinks=True, ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "other.pth").write_bytes(b"other")
    offline = {"HF_HUB_OFFLINE": "1"}
    assert use(bare, "fetch", "--list", **offline).stdout.count("\n") == 12
    assert "SHA-256" in use(bare, "fetch", tmp_path / "other.pth", "--to", tmp_path / "to", ok=(1,), **offline).stderr
    assert use(bare, "fetch", "corpus", "x", ok=(1,), XDG_DATA_HOME=str(tmp_path / "data"), **offline).stderr
    assert "expected" in use(bare, "fetch", "--all", "small", ok=(2,)).stderr
    folder = bare / "share/midisim" if os.geteuid() == 0 else tmp_path / "data/midisim"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.npy").write_bytes(b"there")
    said = use(bare, "fetch", "corpus", "x", XDG_DATA_HOME=str(tmp_path / "data"), **offline).stderr
    assert f"{folder}/x.npy is there" in said
    (bare / "share/midisim/fetch/fetch.py").unlink()
    assert "make install" in use(bare, "fetch", "small", ok=(1,)).stderr


def complete(home, cwd, *words):
    """What bash's completion offers for the last word."""
    script = """
        for name in midisim-search midisim-fetch midisim; do . "$0/share/bash-completion/completions/$name"; done
        compopt() { :; }
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        function=${1//-/_}
        "_$function"
        for word in "${COMPREPLY[@]}"; do printf '%s\\n' "$word"; done"""
    done = subprocess.run(["bash", "-c", script, home, *words], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={"PATH": f"{home}/bin:{os.environ['PATH']}", "HOME": str(cwd), "LC_ALL": "C.UTF-8",
                                          "ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.splitlines()


def test_bash_completion(home, music, tmp_path):
    import numpy as np
    rows = np.zeros(3, [("midi_names", "<U20"), ("midi_embeddings", "<f4", 8)])
    rows["midi_names"], rows["midi_embeddings"] = ["a song.mid", "another.mid", "b/it's.mid"], 1
    np.save(tmp_path / "my corpus.npy", rows)
    (tmp_path / "my notes.txt").write_text("")
    (tmp_path / ".local/share/midisim").mkdir(parents=True)
    kept = tmp_path / ".local/share/midisim/kept.npy"
    kept.write_bytes(b"")
    assert complete(home, tmp_path, "midisim-search", "-c", "my\\ ") == ["my corpus.npy"]
    assert complete(home, tmp_path, "midisim-search", "--corpus", "=", "\"my c") == ["my corpus.npy"]
    assert str(kept) in complete(home, tmp_path, "midisim-search", "-c", "")
    for corpus in ("my\\ corpus.npy", "'my corpus.npy'", "~/my\\ corpus.npy"):
        assert complete(home, tmp_path, "midisim-search", "-c", corpus, "--like", "a") == ["a song.mid", "another.mid"]
        assert complete(home, tmp_path, "midisim", "search", "-c", corpus, "--like", "a\\ s") == ["a song.mid"]
    assert complete(home, tmp_path, "midisim-search", "--fo") == ["--format", "--force"]
    assert complete(home, tmp_path, "midisim-search", "--format", "t") == ["table", "tsv"]
    assert complete(home, tmp_path, "midisim", "song.mid", "--find-if") == ["--find-if-there"]
    assert complete(home, tmp_path, "midisim", "fet") == ["fetch"]
    assert complete(home, tmp_path, "midisim", "fetch", "s") == ["small"]
    assert complete(home, tmp_path, "midisim", "help", "fe") == ["fetch"]
    if shutil.which("fish"):
        for line in ("midisim-search", "midisim search"):
            script = f"for f in $argv[1]/*; source $f; end; complete -C '{line} -c my\\\\ corpus.npy --like a'"
            done = subprocess.run(["fish", "-N", "-c", script, home / "share/fish/vendor_completions.d"], cwd=tmp_path,
                                  env={"PATH": f"{home}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
                                  stdout=subprocess.PIPE, text=True)
            assert [row.split("\t")[0] for row in done.stdout.splitlines()] == ["a song.mid", "another.mid"]


def test_prefix_and_libdir_with_blanks(tmp_path):
    """The paths in midisim.pc and in the tools; LIBDIR outside PREFIX is an absolute search path."""
    prefix = tmp_path / "my prefix"
    try:
        make("install", f"PREFIX={prefix}", f"DESTDIR={tmp_path}/stage", f"LIBDIR={tmp_path}/my libs", "MODEL=0")
        lib = tmp_path / f"stage{tmp_path}/my libs"
        said = g.run(["readelf", "-d", tmp_path / f"stage{prefix}/bin/midisim-embed"]).stdout.decode()
        assert f"[{tmp_path}/my libs]" in said
        if shutil.which("pkg-config"):
            env = dict(os.environ, PKG_CONFIG_PATH=str(lib / "pkgconfig"))
            done = subprocess.run(["pkg-config", "--cflags", "--libs", "midisim"], env=env, stdout=subprocess.PIPE, text=True,
                                  check=True)
            assert done.stdout.split(" -")[0] == "-I" + str(prefix).replace(" ", "\\ ") + "/include"
            assert "-L" + str(tmp_path).replace(" ", "\\ ") + "/my\\ libs" in done.stdout
        make("install-strip", f"PREFIX={prefix}", f"DESTDIR={tmp_path}/stage", f"LIBDIR={prefix}/lib/deep", "MODEL=0")
        tool = tmp_path / f"stage{prefix}/bin/midisim-tokens"
        assert "[$ORIGIN/../lib/deep]" in g.run(["readelf", "-d", tool]).stdout.decode()
        assert ".debug_info" not in g.run(["readelf", "-S", tool]).stdout.decode()
        for libdir in (f"{prefix}/lib/deep", f"{tmp_path}/my libs"):
            make("uninstall", f"PREFIX={prefix}", f"DESTDIR={tmp_path}/stage", f"LIBDIR={libdir}")
        assert files(tmp_path / "stage") == set()
    finally:
        make("all")  # with the PREFIX that the other tests have


def test_deb(tmp_path):
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    if CONFIG == "asan":
        pytest.skip("a package of the sanitizers' build is of no use")
    try:
        make("deb")
    finally:
        make("all")
    arch = subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, text=True).stdout.strip()
    deb, root = g.ROOT / f"build/midisim_{VERSION}-1_{arch}.deb", tmp_path / "root"
    g.run(["dpkg-deb", "-R", deb, root])
    control = (root / "DEBIAN/control").read_text()
    assert f"\nVersion: {VERSION}-1\n" in control and re.search(r"^Depends: .*libc6.*python3", control, re.M)
    assert f"libmidisim {ABI} midisim" in (root / "DEBIAN/shlibs").read_text()
    sums = dict(line.split("  ")[::-1] for line in (root / "DEBIAN/md5sums").read_text().splitlines())
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and not p.is_symlink()}
    assert set(sums) == {name for name in found if not name.startswith("DEBIAN/")}
    done = subprocess.run(["md5sum", "--quiet", "-c", "DEBIAN/md5sums"], cwd=root)
    assert done.returncode == 0
    names = {re.sub(r"lib/[\w-]+-linux-\w+/", "lib/", n) for n in files(root / "usr")}
    wanted = {re.sub(r"(share/man/.*)", r"\1.gz", n).replace("zsh/site-functions", "zsh/vendor-completions") for n in EXPECTED}
    wanted -= {"share/midisim/midisim-small.safetensors", "share/doc/midisim/LICENSE", "share/doc/midisim/CHANGELOG.md"}
    assert names == wanted | {f"share/doc/midisim/{n}" for n in ("copyright", "changelog.gz", "changelog.Debian.gz")}
    assert gzip.open(root / "usr/share/doc/midisim/changelog.Debian.gz", "rt").read().startswith(f"midisim ({VERSION}-1)")
    assert "RUNPATH" not in g.run(["readelf", "-d", root / "usr/bin/midisim-embed"]).stdout.decode()
    assert (root / "usr/bin/midisim").stat().st_mode & 0o777 == 0o755
    if shutil.which("lintian"):
        user = ["--allow-root"] if os.geteuid() == 0 else []
        done = subprocess.run(["lintian", "--fail-on", "error", *user, deb], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout


def test_dist(tmp_path):
    """The tarball has every file, no built one; unpacked, without git, it makes itself again, and knows its commit."""
    make("dist")
    tarball = g.ROOT / f"build/midisim-{VERSION}.tar.gz"
    g.run(["tar", "-C", tmp_path, "-xzf", tarball])
    tree = tmp_path / f"midisim-{VERSION}"
    names = files(tree)
    assert {"Makefile", "COMMIT", "packaging/install.sh", "src/api.c", "test/run"} <= names
    assert not [n for n in names if n.startswith(("build/", ".git/", "weights/midisim-"))]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SOURCE_DATE_EPOCH")}
    env["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    done = subprocess.run(["make", "-s", "dist", "CUDA=0"], cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    again = tree / f"build/midisim-{VERSION}.tar.gz"
    assert gzip.open(again).read() == gzip.open(tarball).read()
    done = subprocess.run(["make", "-s", "CUDA=0", "build/release/src/model/default.o"], cwd=tree, env=env)
    assert done.returncode == 0
    assert (tree / "COMMIT").read_text().strip()[:7] in (tree / "build/release/stamp.commit").read_text()
