"""gpu-check tried where there is no GPU: on the emulator of test/emu, and the CPU against itself with results spoilt."""
import json
import os
import pathlib
import subprocess
import sys

import golden_util as g
import pytest

SCRIPT = g.ROOT / "test/gpu/gpu_check.py"
EMULATED = g.ROOT / "build/emu"
MODEL = g.ROOT / "test/data/checkpoints/wide.pth"


def check(*arguments, ok=(0,), **variables):
    env = {k: v for k, v in os.environ.items() if k not in ("GPU_CHECK_SANITIZER", "PYTHONPATH")}
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], cwd=g.ROOT, env=dict(env, **variables),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode in ok, (done.stdout + done.stderr)[-3000:]
    return done


def emulated():
    if not (EMULATED / "test/gpu/driver").exists():
        g.absent("no build/emu: make emu")
    return "--build", EMULATED, "--emulated"


def test_no_gpu():
    """One line, and exit code 1, before anything is built."""
    if pathlib.Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    done = check("--make", ok=(1,))
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("gpu-check: no GPU here: ")


def test_wrong_options():
    assert "expected some of card, kernels" in check("--only", "card,nothing", ok=(2,)).stderr


def test_cpu_against_itself():
    """Every check but those of the device itself, without an emulator in between."""
    _, build, _ = emulated()
    only = "batches,search,output,contexts,processes,memory"
    found = json.loads(check("--build", build, "--device", "cpu", "--model", MODEL, "--only", only, "--json").stdout)
    assert [c["check"] for c in found["checks"]] == only.split(",")
    assert all(c["result"] == "ok" for c in found["checks"]) and found["failed"] == 0


def test_spoilt_results_fail():
    """One bit, one row number or one byte that is wrong is found by each check that compares."""
    _, build, _ = emulated()
    only = "batches,search,output,contexts,memory"
    found = json.loads(check("--build", build, "--device", "cpu", "--model", MODEL, "--only", only, "--json", "--plant",
                             ok=(1,)).stdout)
    assert {c["check"]: c["result"] for c in found["checks"]} == {
        "batches": "FAIL", "search": "FAIL", "output": "FAIL", "contexts": "FAIL", "memory": "ok"}
    assert " differ" in found["checks"][0]["detail"] and found["failed"] == 4


def test_spoilt_goldens_fail():
    _, build, _ = emulated()
    done = check("--build", build, "--device", "cpu", "--model", g.weights(), "--only", "goldens", "--plant", ok=(1,))
    assert "the original's own" in done.stderr
    assert "3 files" in check("--build", build, "--device", "cpu", "--model", g.weights(), "--only", "goldens").stdout


needs_backend = pytest.mark.skipif(not (g.ROOT / "src/kernels/gpu_backend.c").exists(), reason="no backend")


@needs_backend
def test_emulated():
    """The whole of it with the emulator as the GPU, and a table whose last line counts."""
    lines = check(*emulated(), "--model", MODEL).stdout.splitlines()
    assert lines[-1].startswith("8 passed, 0 failed"), lines
    assert "emulated GPU" in lines[0]


@needs_backend
def test_emulated_goldens():
    assert "3 files" in check(*emulated(), "--model", g.weights(), "--only", "goldens").stdout


def test_sanitizer(tmp_path):
    """A tool in the place of compute-sanitizer: run with each of its four tools; what it reports is a failure."""
    tool = tmp_path / "sanitizer"
    tool.write_text('#!/bin/sh\necho "$@" >>"$LOG"\n[ "$2" != "$BAD" ] || { echo "========= Invalid read"; '
                    'echo "=========     at k_x in a.cu:3"; exit 99; }\n'
                    'while [ "$1" ] && [ ! -x "$1" ]; do shift; done\nexec "$@"\n')
    tool.chmod(0o755)
    log = tmp_path / "log"
    base = [*emulated(), "--device", "cpu", "--model", MODEL, "--only", "sanitizer"]
    found = check(*base, GPU_CHECK_SANITIZER=str(tool), LOG=str(log)).stdout
    assert "memcheck: clean; racecheck: clean; initcheck: clean; synccheck: clean" in found
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["memcheck", "memcheck", "racecheck", "initcheck",
                                                                         "synccheck"]
    done = check(*base, ok=(1,), GPU_CHECK_SANITIZER=str(tool), LOG=str(log), BAD="racecheck")
    assert "racecheck, driver: exit code 99: at k_x in a.cu:3" in done.stderr
