"""The runner and CI cannot pass by accident: planted failures are counted and change the exit code."""
import os
import re
import shutil
import subprocess
import sys

import golden_util as g


def runner(tree, *arguments, **variables):
    env = {k: v for k, v in os.environ.items() if k != "CI"}
    return subprocess.run([sys.executable, "test/run", *arguments], cwd=tree, env=dict(env, **variables),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def tree_with(tmp_path, programs):
    """A tree with test/run and shell scripts in the place of cmocka programs: {name: what it does}."""
    (tmp_path / "test/unit/part").mkdir(parents=True)
    (tmp_path / "build/release/test/unit/part").mkdir(parents=True)
    (tmp_path / "src/cpu/kernels/ref").mkdir(parents=True)
    (tmp_path / "src/cpu/kernels/ref/encoder_ref.c").write_text("")
    shutil.copy(g.ROOT / "test/run", tmp_path / "test/run")
    for name, script in programs.items():
        (tmp_path / f"test/unit/part/{name}.c").write_text("")
        path = tmp_path / f"build/release/test/unit/part/{name}"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
    return tmp_path


GOOD = "echo '[ RUN      ] a'; echo '[       OK ] a'; echo '[ RUN      ] b'; echo '[       OK ] b'\n"


def last(done):
    return done.stdout.splitlines()[-1]


def test_counts(tmp_path):
    done = runner(tree_with(tmp_path, {"test_a": GOOD, "test_b": GOOD}), "--only", "unit")
    assert (last(done), done.returncode) == ("4 passed, 0 failed", 0)


def test_failures(tmp_path):
    tree = tree_with(tmp_path, {
        "test_good": GOOD,
        "test_fails": "echo '[ RUN      ] a'; echo '[  FAILED  ] a'; exit 1\n",
        "test_crashes": "echo '[ RUN      ] a'; kill -SEGV $$\n",
        "test_exit": GOOD + "exit 3\n",
        "test_nothing": "exit 0\n",
        "test_level": GOOD + "echo 'kernels: level ref: skipped'\n"})
    (tree / "test/unit/part/test_not_built.c").write_text("")
    done = runner(tree, "--only", "unit")
    assert (last(done), done.returncode) == ("6 passed, 6 failed", 1)


def test_levels_that_this_cpu_has_must_run(tmp_path):
    """The tools say what a level asks for; what asks for nothing is there, what asks for an unknown feature is not."""
    tree = tree_with(tmp_path, {"test_level": GOOD + "echo 'k: level here: skipped'; echo 'k: level elsewhere: skipped'\n"})
    assert last(runner(tree, "--only", "unit")) == "2 passed, 0 failed"
    bench = tree / "build/release/midisim-bench"
    bench.write_text("#!/bin/sh\nprintf 'here\\tf32\\tno\\t\\nelsewhere\\tf32\\tyes\\tno_such_feature\\n'\n")
    bench.chmod(0o755)
    done = runner(tree, "--only", "unit")
    assert last(done) == "2 passed, 1 failed"
    assert "the CPU has it: k: level here: skipped" in done.stdout and "has it: k: level elsewhere" not in done.stdout


def test_no_pytest_is_a_failure_in_ci(tmp_path):
    tree = tree_with(tmp_path, {"test_good": GOOD})
    (tree / "test/golden").mkdir()
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "python3").write_text("#!/bin/sh\nexit 1\n")
    (fake / "python3").chmod(0o755)
    path = f"{fake}:{os.environ['PATH']}"
    assert last(runner(tree, "--only", "unit,golden", PATH=path)) == "2 passed, 0 failed, 1 skipped"
    done = runner(tree, "--only", "unit,golden", PATH=path, CI="true")
    assert (last(done), done.returncode) == ("2 passed, 1 failed", 1)


def ci(tmp_path, makefile):
    (tmp_path / ".ci").mkdir()
    shutil.copy(g.ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "Makefile").write_text(makefile)
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run([str(tmp_path / ".ci/run")], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_ci_adds_up(tmp_path):
    done = ci(tmp_path, "test:\n\t@echo '5 passed, 0 failed, 1 skipped'\nasan:\n\t@echo '3 passed, 0 failed'\n"
                        "gpu-rehearsal:\n\t@echo '4 passed, 0 failed'; echo '2 passed, 0 failed'\n")
    assert (last(done), done.returncode) == ("10 passed, 0 failed", 0)


def test_ci_fails(tmp_path):
    done = ci(tmp_path, "test:\n\t@echo '5 passed, 2 failed'; exit 1\nasan:\n\t@echo no compiler; exit 1\n"
                        "gpu-rehearsal:\n\t@echo '2 passed, 0 failed'; exit 1\n")
    assert re.fullmatch("7 passed, 4 failed", last(done)) and done.returncode == 1
