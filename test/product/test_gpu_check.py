"""gpu-check tried where there is no GPU: on the emulator of test/emu, and the CPU against itself with results spoilt."""
import json
import os
import pathlib
import shutil
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


@pytest.mark.parametrize("devices, major, minor, says", ((1, 9, 0, "None 90a"), (2, 8, 6, "None 86"), (1, 12, 0, "None 120"),
                                                         (0, 9, 0, "the driver shows no device 90a")))
def test_driver(devices, major, minor, says, tmp_path):
    """A library in the driver's place: whether there is a device, and what to compile for."""
    source = (f"int cuInit(unsigned f) {{ return f; }} int cuDeviceGetCount(int *n) {{ *n = {devices}; return 0; }}"
              "int cuDeviceGet(int *d, int i) { *d = i; return 0; }"
              f"int cuDeviceGetAttribute(int *v, int a, int d) {{ *v = a == 75 ? {major} : {minor}; return d; }}")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / "libcuda.so.1"],
                   input=source.encode(), check=True)
    code = "import gpu_check; print(gpu_check.why_no_gpu(), gpu_check.card_architecture())"
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=SCRIPT.parent, env=dict(os.environ, LD_LIBRARY_PATH=str(tmp_path)),
                          stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == says


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


@pytest.mark.slow
def test_emulated():
    """With the emulator as the GPU, and a table whose last line counts. The kernels' own programs are part emu of test/run."""
    only = "card,batches,search,output,contexts,processes,memory"
    lines = check(*emulated(), "--model", MODEL, "--only", only).stdout.splitlines()
    assert lines[-1] == "7 passed, 0 failed", lines
    assert "emulated GPU" in lines[0] and [line.split()[0] for line in lines[:-1]] == only.split(",")


def test_kernel_programs(tmp_path):
    """A program that fails, crashes, runs nothing or is not there is a failure; all of them passing is none."""
    good = "[==========] tests: Running 1 test(s).\n[ RUN      ] a\n[       OK ] a\n[==========] tests: 1 test(s) run.\n"
    build = tmp_path / "build"
    (build / "test/gpu").mkdir(parents=True)
    names = [s.stem for s in (g.ROOT / "test/gpu").glob("test_*.c")]

    def outcome(text, code):
        for i, name in enumerate(names):
            path = build / "test/gpu" / name
            path.write_text(f"#!/bin/sh\nprintf '%s' '{good if i else text}'\nexit {0 if i else code}\n")
            path.chmod(0o755)
        done = subprocess.run([sys.executable, SCRIPT, "--build", build, "--device", "cpu", "--model", tmp_path / "none", "--only",
                               "kernels"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr

    assert names
    assert outcome(good, 0)[0] == 0
    assert outcome(good.replace("       OK ", "  FAILED  "), 1)[0] == 1
    assert "exit code 139" in outcome(good, 139)[1]
    code, said = outcome("skipped (built without a header)\n", 0)
    assert code == 1 and "ran 0 tests: skipped (built without a header)" in said
    assert "0 of 0 passed" in outcome("", 1)[1]
    shutil.rmtree(build)
    assert "is not built" in check("--build", build, "--device", "cpu", "--model", tmp_path / "none", "--only", "kernels",
                                   ok=(1,)).stderr


def test_limit_and_out(tmp_path):
    """What no time is left for is left out, and no success; what was found is kept as it is found."""
    out = tmp_path / "out"
    done = check(*emulated(), "--model", MODEL, "--only", "card,search", "--limit", 0.5, "--out", out, ok=(1,))
    kept = json.loads((out / "check.json").read_text())
    assert [c["result"] for c in kept["checks"]] == ["left out", "left out"] and kept["failed"] == 2
    assert done.stdout.splitlines()[-1] == "0 passed, 2 failed"
    check(*emulated(), "--model", MODEL, "--only", "card", OUT=str(out))
    assert json.loads((out / "check.json").read_text())["checks"][0]["result"] == "ok"


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
    calls = log.read_text().splitlines()
    assert [line.split()[1] for line in calls] == ["memcheck", "kns=k_", "memcheck", "racecheck", "initcheck", "synccheck"]
    assert all("--product own" in line for line in calls[2:])  # the library's kernels are left out
    done = check(*base, ok=(1,), GPU_CHECK_SANITIZER=str(tool), LOG=str(log), BAD="racecheck")
    assert "racecheck, driver: exit code 99: at k_x in a.cu:3" in done.stderr
