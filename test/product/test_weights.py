"""weights/fetch.sh: what it says and does when things go wrong. Nothing here uses a network."""
import os
import shutil
import zipfile

import golden_util as g
import pytest


@pytest.fixture
def tree(tmp_path):
    """A copy of the folder with a stand-in for the converter; HOME and cache are empty; pip cannot reach anything."""
    (tmp_path / "tree").mkdir()
    shutil.copytree(g.ROOT / "weights", tmp_path / "tree/weights",
                    ignore=shutil.ignore_patterns("*.safetensors", ".fetch.*"))
    converter = tmp_path / "tree/convert"
    converter.write_text('#!/bin/sh\n[ "$1" = --quiet ] && shift\ncp "$1" "$2"\n')
    converter.chmod(0o755)
    return tmp_path / "tree"


def fetch(tree, *arguments, ok=(0,), **variables):
    env = dict(os.environ, HOME=str(tree / "home"), MIDISIM_CONVERT=str(tree / "convert"), PIP_NO_INDEX="1",
               PIP_CONFIG_FILE=os.devnull, **variables)
    env.pop("XDG_CACHE_HOME", None)
    done = g.subprocess.run([str(tree / "weights/fetch.sh"), *map(str, arguments)], env=env, cwd=tree,
                            stdin=g.subprocess.DEVNULL, stdout=g.subprocess.PIPE, stderr=g.subprocess.PIPE, text=True)
    assert done.returncode in ok, done.stderr
    assert not list((tree / "weights").glob(".fetch.*"))
    return done


def result(tree):
    path = tree / "weights/midisim-small.safetensors"
    return path.read_bytes() if path.exists() else None


def fake_sums(tree, wheel):
    """Sums of a small wheel, so that no test needs the real one."""
    import hashlib
    names = [line.split()[1] for line in (tree / "weights/SHA256SUMS").read_text().splitlines()]
    data = b"not really a checkpoint" * 1000
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("midisim/midisim.py", "")
        z.writestr("midisim/models/" + names[1], data)
    sums = [hashlib.sha256(wheel.read_bytes()).hexdigest(), hashlib.sha256(data).hexdigest()]
    (tree / "weights/SHA256SUMS").write_text("".join(f"{s}  {n}\n" for s, n in zip(sums, names)))
    return names[0], data


def test_help(tree):
    assert "--force" in fetch(tree, "--help").stdout
    assert "unknown option" in fetch(tree, "--wrong", ok=(2,)).stderr


def test_no_network_names_the_alternative(tree):
    done = fetch(tree, ok=(1,))
    assert "weights/fetch.sh PATH" in done.stderr and "weights/README.md" in done.stderr
    assert result(tree) is None


def test_wheel_by_hand(tree, tmp_path):
    wheel = tmp_path / "some name.whl"
    _, data = fake_sums(tree, wheel)
    fetch(tree, wheel)
    assert result(tree) == data
    assert fetch(tree).stderr == ""  # there already: silent


def test_checkpoint_by_hand(tree, tmp_path):
    _, data = fake_sums(tree, tmp_path / "w.whl")
    (tmp_path / "small.pth").write_bytes(data)
    fetch(tree, tmp_path / "small.pth")
    assert result(tree) == data


def test_another_checkpoint_is_refused(tree, tmp_path):
    (tmp_path / "other.pth").write_bytes(b"other")
    done = fetch(tree, tmp_path / "other.pth", ok=(1,))
    assert "SHA-256" in done.stderr and "got" in done.stderr
    assert result(tree) is None


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut short"])
def test_damaged_wheel_by_hand(tree, tmp_path, content):
    (tmp_path / "w.whl").write_bytes(content)
    fetch(tree, tmp_path / "w.whl", ok=(1,))
    assert result(tree) is None


def test_cached_wheel_and_a_damaged_cache(tree, tmp_path):
    name, data = fake_sums(tree, tmp_path / "w.whl")
    cache = tree / "home/.cache/midisim"
    cache.mkdir(parents=True)
    shutil.copy(tmp_path / "w.whl", cache / name)
    fetch(tree)
    assert result(tree) == data
    (cache / name).write_bytes((tmp_path / "w.whl").read_bytes()[:-7])
    done = fetch(tree, "--force", ok=(1,))
    assert "damaged, fetched again" in done.stderr
    assert not list(cache.iterdir())  # neither the damaged file nor a part of a download


def test_a_failing_converter_leaves_nothing(tree, tmp_path):
    fake_sums(tree, tmp_path / "w.whl")
    (tree / "convert").write_text("#!/bin/sh\nexit 1\n")
    fetch(tree, tmp_path / "w.whl", ok=(1,))
    assert result(tree) is None
