"""Commands that README shows after '$ ' in console blocks are run, in order, in one folder; the make targets are not
(test/product/test_demo.py and the runner do those). Output lines shown below a command must appear in its output."""
import os
import re
import shutil
import subprocess

import golden_util as g

README = (g.ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    """(command, lines shown below it) of the console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", README, re.S):
        if re.search(r"^\$ make ", block, re.M):
            continue
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, rest = part.partition("\n")
            found.append((command.split("  #")[0].strip(), [line for line in rest.splitlines() if line and line != "..."]))
    return found


def test_commands(tmp_path):
    g.weights()
    music = tmp_path / "music"
    music.mkdir()
    for name in ("freedink/love.mid", "js-fakes/midi/308.mid", "js-fakes/midi/99.mid", "freedoom/d_intro.mid"):
        shutil.copy(g.SHIPPED / name, music)
    shutil.copy(music / "love.mid", tmp_path)
    env = dict(os.environ, PATH=f"{g.BUILD}:{os.environ['PATH']}", MIDISIM_MODEL=g.weights(),
               XDG_CONFIG_HOME=str(tmp_path), HOME=str(tmp_path))
    listed = commands()
    assert len(listed) >= 4
    for command, shown in listed:
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        for line in shown:
            assert line in done.stdout, f"{command}: README shows {line!r}, got {done.stdout!r}"


def test_example_is_the_file():
    """The C code that README shows is part of the example that test_install.py compiles and runs."""
    source = (g.ROOT / "examples/similar.c").read_text()
    blocks = re.findall(r"```c\n(.*?)```", README, re.S)
    assert blocks
    lines = {line.strip() for line in source.splitlines()}
    for block in blocks:
        for line in block.splitlines():
            assert not line.strip() or line.strip() in lines, line
