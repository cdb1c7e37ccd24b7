"""The report on CUDA kernels sees planted faults: spills, a lacking architecture, a library of CUDA, a kernel without report."""
import os
import shutil
import struct
import subprocess
import sys

import golden_util as g

NAMES = ("k_attend_bf16", "k_gemm_bf16", "k_scan_f32", "k_norm_bf16", "k_embed_norm_bf16", "k_prepare_f32",
         "k_thresholds_f32", "k_join_int8", "k_other")
ARCHITECTURES = (("sm", 80), ("sm", 86), ("sm", 89), ("sm", "90a"), ("compute", 80), ("compute", 90))


def report(spills=(), arch="sm_90a", stack=0):
    lines = []
    for a in ("sm_80", "sm_86", "sm_89", "sm_90a"):
        lines.append("ptxas info    : 0 bytes gmem")
        for name in NAMES:
            n = 8 if name in spills and a == arch else 0
            mangled = f"_Z{len(name)}{name}ILi3EEvPf"
            lines += [f"ptxas info    : Compiling entry function '{mangled}' for '{a}'",
                      f"ptxas info    : Function properties for {mangled}",
                      f"    {stack} bytes stack frame, {n} bytes spill stores, {n} bytes spill loads",
                      "ptxas info    : Used 40 registers, used 1 barriers, 256 bytes smem, 360 bytes cmem[0]"]
    return "\n".join(lines) + "\n"


def fat_binary(architectures):
    parts = b""
    for kind, arch in architectures:
        flags = 0x11 | (1 << 20 if str(arch).endswith("a") else 0)
        parts += struct.pack("<HHIQIIHHIIIQQQ", 2 if kind == "sm" else 1, 0x101, 64, 16, 0, 0, 8, 1, int(str(arch).rstrip("a")),
                             0, 0, flags, 0, 0) + bytes(range(16))
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(parts)) + parts


def compile_c(source, out, *flags):
    subprocess.run([os.environ.get("CC", "cc"), "-x", "c", "-", "-o", str(out), *flags], input=source, text=True, check=True)


def tree(path, text=None, architectures=ARCHITECTURES, library=None):
    kernels = path / "build/release/src/kernels/encoder"
    kernels.mkdir(parents=True)
    (path / "src/kernels/encoder").mkdir(parents=True)
    (path / "scripts").mkdir()
    (path / "test").mkdir()
    shutil.copy(g.ROOT / "scripts/gpu_resources.py", path / "scripts")
    (path / "scripts/gpu_sass.py").write_text('print("ok wide")\n')  # test_gpu_sass.py has the real one
    shutil.copy(g.ROOT / "test/run", path / "test")
    (path / "src/kernels/encoder/a.cu").write_text("static __global__ void k_attend_bf16(float *x);\n")
    (kernels / "a.ptxas").write_text(report() if text is None else text)
    data = ",".join(map(str, fat_binary(architectures)))
    compile_c(f'__attribute__((section(".nv_fatbin"), aligned(8))) const unsigned char fat[] = {{{data}}};', kernels / "a.o", "-c")
    flags = []
    if library:
        compile_c("int cuda_thing(void) { return 0; }", path / f"build/{library}", "-shared", "-fPIC", f"-Wl,-soname,{library}")
        flags = ["-Wl,--no-as-needed", "-x", "none", str(path / f"build/{library}")]
    compile_c("int main(void) { return 0; }", path / "build/release/midisim-embed", *flags)
    return path


def run(path, *arguments):
    done = subprocess.run([sys.executable, path / "scripts/gpu_resources.py", *arguments], cwd=path, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout, [line for line in done.stdout.splitlines() if line.startswith("FAIL")]


def test_good(tmp_path):
    code, out, failures = run(tree(tmp_path))
    assert (code, failures) == (0, []), out
    row = [line for line in out.splitlines() if "k_attend_bf16<3>" in line and "sm_90a" in line]
    assert row[0].split() == ["a", "k_attend_bf16<3>", "sm_90a", "40", "0", "0", "256"]
    assert out.count("\nok ") == 4


def test_spill(tmp_path):
    code, _, failures = run(tree(tmp_path, report(spills={"k_scan_f32"})))
    assert code == 1 and len(failures) == 1 and "k_scan_f32<3> on sm_90a" in failures[0] and "16 bytes spilled" in failures[0]


def test_spill_elsewhere_is_shown_alone(tmp_path):
    code, out, _ = run(tree(tmp_path, report(spills={"k_other"})))
    assert code == 0 and [line for line in out.splitlines() if "k_other" in line and line.split()[4] == "16"]


def test_stack(tmp_path):
    code, _, failures = run(tree(tmp_path, report(stack=128)))
    assert code == 1 and len(failures) == 4 * (len(NAMES) - 1) and "128 bytes of local memory" in failures[0]


def test_no_such_kernel(tmp_path):
    code, _, failures = run(tree(tmp_path, report().replace("13k_attend_bf16", "13k_absent_bf16")))
    assert code == 1 and failures == ["FAIL hot: no kernel's name begins with k_attend"]


def test_no_report(tmp_path):
    path = tree(tmp_path)
    (path / "build/release/src/kernels/encoder/a.ptxas").unlink()
    code, _, failures = run(path)
    assert code == 1 and "a.ptxas: missing" in failures[0]


def test_architectures(tmp_path):
    path = tree(tmp_path, architectures=[*ARCHITECTURES[:3], ("sm", 90), *ARCHITECTURES[4:]])
    code, _, failures = run(path)
    assert code == 1 and failures[0].startswith("FAIL holds: a.o: lacks sm_90a; has ")
    assert run(path, "--any-architecture")[0] == 0


def test_links(tmp_path):
    code, _, failures = run(tree(tmp_path, library="libcublasLt.so.13"))
    assert (code, failures) == (1, ["FAIL links: midisim-embed names libcublasLt.so.13"])


def test_part_of_the_runner(tmp_path):
    path = tree(tmp_path, report(spills={"k_gemm_bf16"}))
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    base = {k: v for k, v in os.environ.items() if k not in ("CI", "CUDA", "NVCC")}

    def part(**variables):
        done = subprocess.run([sys.executable, "test/run", "--only", "cuda"], cwd=path, env=dict(base, **variables),
                              stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout.splitlines()[-1]

    assert part(NVCC=str(nvcc)) == (1, "4 passed, 1 failed")
    (path / "build/release/src/kernels/encoder/a.ptxas").write_text(report())
    assert part(NVCC=str(nvcc)) == (0, "5 passed, 0 failed")
    assert part(NVCC=str(nvcc), CUDA="0") == (1, "0 passed, 0 failed, 1 skipped")
    assert part(NVCC=str(nvcc), CUDA="0", CI="true") == (1, "0 passed, 1 failed")


def test_build_elsewhere(tmp_path):
    """A build outside the tree is reported with its path."""
    (tmp_path / "other").mkdir()
    code, out, failures = run(tree(tmp_path / "tree_of"), "--build", str(tmp_path / "other"))
    assert code == 1 and "Traceback" not in out and any(str(tmp_path / "other") in line for line in failures), out
