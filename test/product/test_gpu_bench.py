"""gpu-bench tried where there is no GPU: on the emulator, which has no times, and on programs that print made-up ones."""
import csv
import os
import pathlib
import subprocess
import sys

import golden_util as g
import pytest

SCRIPT = g.ROOT / "bench/gpu_bench.py"
EMULATED = g.ROOT / "build/emu"
MODEL = g.ROOT / "test/data/checkpoints/wide.pth"
CARD = '{"section": "card", "case": "Made-up GPU", "capability": "9.0", "emulated": false}\n'


def bench(*arguments, ok=(0,)):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], cwd=g.ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=os.environ)
    assert done.returncode in ok, (done.stdout + done.stderr)[-3000:]
    return done


def test_no_gpu():
    if pathlib.Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    done = bench("--make", ok=(1,))
    assert done.stdout == "" and done.stderr.startswith("gpu-bench: no GPU here: ") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_emulated(tmp_path):
    """Runs, shows no time and records nothing."""
    if not (EMULATED / "bench/gpu_bench").exists():
        g.absent("no build/emu: make emu")
    out = tmp_path / "out.csv"
    done = bench("--emulated", "--build", EMULATED, "--model", MODEL, "--only", "bandwidth,rows,gemm,attention,scan,search,files,peers",
                 "--csv", out)
    assert "emulated: nothing is recorded" in done.stderr and not out.exists()
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ") and "seconds" not in line]
    assert len(rows) > 25 and all(set("".join(r[2:5])) <= set("- |") for r in rows)
    assert all(r[1] == "emulated" or r[1].startswith("refused: cuBLASLt: ") for r in rows)
    assert {r[5] for r in rows if r[0].endswith("own tile 1")} == {"own kernel 128x128 |"}


def made_up(tmp_path, text, code=0):
    program = tmp_path / "build/bench/gpu_bench"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{CARD}{text}END\nexit {code}\n")
    program.chmod(0o755)
    return "--build", tmp_path / "build", "--csv", tmp_path / "out.csv"


def case(section, name, seconds, median, n_bytes, flops):
    return (f'{{"section": "{section}", "case": "{name}", "seconds": {seconds}, "median": {median}, "bytes": {n_bytes}, '
            f'"flops": {flops}, "rounds": 3}}\n')


def test_figures(tmp_path):
    """Rates, and shares of the bandwidth that fits: reading for scans, copying for the rest."""
    text = (case("bandwidth", "copy", 1e-3, 2e-3, 4e9, 0) + case("bandwidth", "read", 1e-3, 1e-3, 3e9, 0) +
            case("gemm", "square 8192x8192x8192 library", 1e-3, 1e-3, 0, 8e11) +
            case("gemm", "qkv 8x8x8 own tile 0", 1e-3, 2e-3, 1e9, 4e11) + case("scan", "int8 9x512 q1", 1e-3, 1e-3, 1.5e9, 0) +
            case("encoder", "512, 2 sequences, 1024 tokens", 1e-3, 1e-3, 0, 2e11))
    done = bench(*made_up(tmp_path, text), "--only", "bandwidth")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        rows = {(r["case"], r["metric"]): r for r in csv.DictReader(file)}
    value = {k: float(r["best"]) for k, r in rows.items()}
    assert value["gemm qkv 8x8x8 own tile 0", "tflop_per_s"] == pytest.approx(400)
    assert value["gemm qkv 8x8x8 own tile 0", "peak_share"] == pytest.approx(0.5)
    assert value["gemm qkv 8x8x8 own tile 0", "bandwidth_share"] == pytest.approx(0.25)
    assert float(rows["gemm qkv 8x8x8 own tile 0", "seconds"]["median"]) == pytest.approx(2e-3)
    assert value["scan int8 9x512 q1", "bandwidth_share"] == pytest.approx(0.5)
    assert value["encoder 512, 2 sequences, 1024 tokens", "tokens_per_s"] == pytest.approx(1.024e6)
    one = rows["bandwidth copy", "gb_per_s"]
    assert (one["machine"], one["bench"], one["device"], one["rounds"]) == ("Made-up GPU", "gpu", "cuda", "3")
    assert "| qkv 8x8x8 own tile 0 | 0.001 (0.002) | 1,000 (0.25) | 400 (0.50) | - | - |" in done.stdout
    assert done.stdout.startswith("Made-up GPU; ")


def test_a_part_that_fails(tmp_path):
    """It is said, what it printed is kept, the others go on, and the exit code is 1."""
    done = bench(*made_up(tmp_path, case("rows", "gelu", 1e-3, 1e-3, 1e9, 0) + '{"cut\n', code=3), "--only", "rows,files", ok=(1,))
    assert "rows: " in done.stderr and "exit code 3" in done.stderr and "failed: rows, files" in done.stderr
    assert "| gelu | 0.001 (0.001) | 1,000 |" in done.stdout


def test_refused_and_kept(tmp_path):
    """A case that was refused is a row that says so; all of it is in the folder for results, though a part after it fails."""
    text = case("gemm", "square 8x8x8 own tile 1", 1e-3, 1e-3, 0, 8e11) + \
        '{"section": "gemm", "case": "ff1 8x8x8 library", "by": "B", "seconds": null, "median": null, "bytes": 0, "flops": 0, ' \
        '"rounds": 0, "refused": "no such product"}\n'
    out = tmp_path / "out"
    done = bench(*made_up(tmp_path, text), "--only", "gemm,files", "--out", out, ok=(1,))
    assert "| ff1 8x8x8 library | refused: no such product | - | - | - | B |" in done.stdout
    assert (out / "bench.md").read_text() == done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["bench.csv", "bench.jsonl", "bench.md"]
    assert len((out / "bench.jsonl").read_text().splitlines()) == 3
    with open(out / "bench.csv", newline="", encoding="utf-8") as file:
        assert {r["case"] for r in csv.DictReader(file)} == {"gemm square 8x8x8 own tile 1"}


def test_limit(tmp_path):
    """No part begins when no time is left, and the one under way is stopped; what it printed counts."""
    arguments = made_up(tmp_path, case("rows", "gelu", 1e-3, 1e-3, 1e9, 0))
    program = tmp_path / "build/bench/gpu_bench"
    program.write_text(program.read_text().replace("exit 0", "exec sleep 60"))
    done = bench(*arguments, "--only", "rows,scan", "--limit", 6, ok=(1,))
    assert "stopped after 6 s" in done.stderr and "scan: left out: no time is left" in done.stderr
    assert "| gelu | 0.001 (0.001) | 1,000 |" in done.stdout


def test_wrong_options():
    assert "expected --only of bandwidth" in bench("--only", "all", ok=(2,)).stderr
