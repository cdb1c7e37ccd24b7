"""Every check of test/lint sees what it is there for: a small tree that passes all checks, one violation added to it, which
exactly that check reports, and the same thing done right, which passes again."""
import hashlib
import os
import re
import shutil
import subprocess
import sys

import pytest

import golden_util as g

LINT = g.ROOT / "test/lint/lint.py"
TOOLS = ("tokens", "embed", "search", "index", "find", "groups", "report", "serve", "eval", "convert", "bench", "fetch")
CC = os.environ.get("CC", "cc").split()

HEADER = """#ifndef MIDISIM_H
#define MIDISIM_H
#define MSIM_API __attribute__((visibility("default")))
MSIM_API int msim_one(void);
#endif
"""
API = """#include "midisim.h"
#include "base/two.h"
int msim_one(void) { return ms_two(); }
"""
MAIN = """#include "midisim.h"
#include <stdio.h>
int main(void) {
    puts("options:\\n  -m, --model FILE\\n  -k, --top N\\n      --device WHICH");
    return msim_one() - 2;
}
"""
TREE = {
    "include/midisim.h": HEADER,
    "src/api.c": API,
    "src/base/two.h": "#ifndef MS_BASE_TWO_H\n#define MS_BASE_TWO_H\nint ms_two(void);\n#endif\n",
    "src/base/two.c": '#include "base/two.h"\nint ms_two(void) { return 2; }\n',
    "tools/embed/main.c": MAIN,
    "Makefile": "all:\n\ttrue\n",
    "README.md": "See `src/api.c`.\n",
    "test/data/midi/set/a.mid": "MThd",
    "test/data/midi/MANIFEST.tsv": "name\tsha256\tbytes\torigin\nset/a.mid\t"
                                   f"{hashlib.sha256(b'MThd').hexdigest()}\t4\there\n",
    "test/data/midi/SOURCES.md": "| set |\n",
}


def put(tree, files):
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def build(tree, *flags):
    """What make would: objects, archives and the shared library; every tool is tools/embed/main.c."""
    out, objects = tree / "build/release", []
    for source in sorted(tree.glob("src/**/*.c")) + sorted(tree.glob("tools/**/*.c")):
        path = out / source.relative_to(tree).with_suffix(".o")
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*CC, "-c", "-fPIC", "-fvisibility=hidden", "-Iinclude", "-Isrc", "-Itools", source, "-o", path],
                       cwd=tree, check=True)
        objects += [path] if "src" in source.relative_to(tree).parts else []
    for archive in ("libmidisim-internal.a", "libmidisim.a"):
        (out / archive).unlink(missing_ok=True)
    subprocess.run(["ar", "rcs", out / "libmidisim-internal.a", *objects], check=True)
    subprocess.run(["ld", "-r", "-o", out / "all.o", *objects], check=True)
    subprocess.run(["objcopy", "--wildcard", "--keep-global-symbol=msim_*", out / "all.o"], check=True)
    subprocess.run(["ar", "rcs", out / "libmidisim.a", out / "all.o"], check=True)
    subprocess.run([*CC, "-shared", *objects, "-o", out / "libmidisim.so.0"], check=True)
    for tool in TOOLS:
        subprocess.run([*CC, out / "tools/embed/main.o", *objects, *flags, "-o", out / f"midisim-{tool}"], check=True)
        put(out, {f"share/midisim-{tool}.1": "--model --top --device", f"share/midisim-{tool}": "--model --top --device"})


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("lint") / "tree"
    put(tree, TREE)
    shutil.copy(g.ROOT / ".clang-format", tree)
    build(tree)
    return tree


def lint(tree, **variables):
    return subprocess.run([sys.executable, LINT, "--root", tree], env=dict(os.environ, **variables),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def failed(done):
    assert "Traceback" not in done.stdout, done.stdout
    return set(re.findall(r"^FAIL (\w+):", done.stdout, re.M))


def body(n):
    """A function of n lines."""
    return "int ms_long(void) {\n" + "    ms_long();\n" * (n - 3) + "    return 0;\n}\n"


# check: (files that break it, the same done right, built?)
TOUR = "".join(f"| `{name}` | x |\n" for name in ("src/api.c", "src/base/two.c", "tools/embed/main.c"))
SAMPLES = {
    "includes": [
        ({"src/midi/a.c": '#include "npy/b.h"\n', "src/npy/b.h": ""}, {"src/midi/a.c": '#include "base/two.h"\n'}, False),
        ({"src/npy/b.c": '#include "kernels/gone.h"\n'}, {"src/npy/b.c": '#include "base/two.h"\n'}, False),
        ({"tools/embed/a.c": '#include "midi/b.h"\n', "src/midi/b.h": ""}, {"tools/embed/a.c": '#include "midisim.h"\n'}, False),
        ({"tools/embed/a.c": '#include "pipeline/input/reader.h"\n', "src/pipeline/input/reader.h": ""},
         {"tools/bench/a.c": '#include "pipeline/input/reader.h"\n', "src/pipeline/input/reader.h": ""}, False),
        ({"tools/search/a.c": '#include "pipeline/input/files.h"\n', "src/pipeline/input/files.h": ""},
         {"tools/search/a.c": '#include "pipeline/disk/description.h"\n', "src/pipeline/disk/description.h": ""}, False),
        ({"tools/embed/a.c": '#include "search/b.h"\n', "tools/search/b.h": ""},
         {"tools/embed/a.c": '#include "common/b.h"\n', "tools/common/b.h": ""}, False)],
    "calls": [
        ({"src/midi/a.c": "int msim_one(void);\nint ms_a(void);\nint ms_a(void) { return msim_one(); }\n"},
         {"src/midi/a.c": "int ms_two(void);\nint ms_a(void);\nint ms_a(void) { return ms_two(); }\n"}, True),
        ({"src/midi/a.c": "int ms_b(void);\nint ms_a(void);\nint ms_a(void) { return ms_b(); }\n",
          "src/npy/b.c": "int ms_b(void);\nint ms_b(void) { return 1; }\n"},
         {"src/corpus/a.c": "int ms_b(void);\nint ms_a(void);\nint ms_a(void) { return ms_b(); }\n",
          "src/npy/b.c": "int ms_b(void);\nint ms_b(void) { return 1; }\n"}, True),
        ({"tools/embed/a.c": "int ms_b(void);\nint ms_a(void);\nint ms_a(void) { return ms_b(); }\n",
          "src/midi/b.c": "int ms_b(void);\nint ms_b(void) { return 1; }\n"},
         {"tools/embed/a.c": '#include "midisim.h"\nint ms_a(void);\nint ms_a(void) { return msim_one(); }\n'}, True)],
    "cycles": [
        ({"src/midi/a.h": '#include "midi/b.h"\n', "src/midi/b.h": '#include "midi/c.h"\n',
          "src/midi/c.h": '#include "midi/a.h"\n'},
         {"src/midi/a.h": '#include "midi/b.h"\n', "src/midi/b.h": '#include "midi/c.h"\n', "src/midi/c.h": ""}, False)],
    "prefixes": [
        ({"src/midi/a.c": "void ms_word_a(void) {}\n", "src/npy/b.c": "void ms_word_b(void) {}\n"},
         {"src/midi/a.c": "void ms_word_a(void) {}\n", "src/npy/b.c": "static void ms_word_b(void) {}\n"}, False)],
    "instruction_sets": [
        ({"src/base/a.c": "#ifdef __AVX2__\n#endif\n"}, {"src/cpu/kernels/x86/a.c": "#ifdef __AVX2__\n#endif\n"}, False)],
    "device_code": [
        ({"src/kernels/a.cu": 'static __global__ void k(void) { asm("nop"); }\n'},
         {"src/kernels/a.cu": "static __global__ void k(void) { nothing(); }\n"}, False),
        ({"src/kernels/a.cu": "__global__ void k(void) {}\n"}, {"src/kernels/a.cu": "static __global__ void k(void) {}\n"},
         False),
        ({"src/kernels/a.cu": "#include <cuda_bf16.h>\n"}, {"src/kernels/device.cu": "#include <cuda_runtime.h>\n"}, False)],
    "kernel_text": [
        ({"src/kernels/a.cu": "#ifdef FAST\n#endif\n"}, {"src/kernels/a.cu": "\n"}, False),
        ({"src/kernels/a.cu": "static void k(void) {\n    if (true) sync_block();\n}\n"},
         {"src/kernels/a.cu": "static void k(void) {\n    sync_block();\n    sync_warp();\n}\n"}, False),
        ({"test/gpu/test_a.c": '#include "emu.h"\n'}, {"test/emu/test_a.cpp": '#include "emu.h"\n', "test/emu/emu.h": ""},
         False)],
    "type_names": [
        ({"src/base/a.h": "typedef struct {\n    int x;\n} ms_a;\n", "src/midi/a.c": "typedef int ms_a;\n"},
         {"src/base/a.h": "typedef struct {\n    int x;\n} ms_a;\n", "src/midi/a.c": "typedef int local;\n"}, False),
        ({"src/midi/a.c": "typedef int (*local)(int);\n", "src/midi/b.c": "typedef enum { NOTHING } local;\n"},
         {"src/midi/a.c": "typedef int (*local)(int);\n", "src/midi/b.c": "typedef enum { NOTHING } other;\n"}, False),
        ({"src/midi/a.c": "typedef struct {\n    int x;\n} run;\n", "tools/embed/b.c": "typedef int run;\n"},
         {"src/midi/a.c": "typedef struct {\n    int x;\n} run;\n", "tools/embed/b.c": "typedef int other_run;\n"}, False)],
    "comment_names": [
        ({"src/midi/a.c": "/* As ms_gone does. */\n"}, {"src/midi/a.c": "/* As ms_two and ms_tw_ do. */\nint ms_tw_x;\n"}, False),
        ({"src/midi/a.c": "// See src/midi/gone.h.\n"}, {"src/midi/a.c": "// See src/midi/a.c.\n"}, False),
        ({"docs/A.md": "`msim_gone()`\n"}, {"docs/A.md": "`msim_one()`\n"}, False)],
    "parity": [
        ({"src/midi/a.c": "/* parity: odd */\n"},
         {"src/midi/a.c": "/* parity: odd\n * (test/unit/midi/test_a.c, quirk) */\n",
          "test/unit/midi/test_a.c": "static void quirk(void **state) { (void)state; }\n"}, False),
        ({"src/midi/a.c": "/* parity: odd (test/cli/test_a.py) */\n"},
         {"src/midi/a.c": "/* parity: odd (test/cli/test_a.py) */\n", "test/cli/test_a.py": ""}, False),
        ({"src/midi/a.c": "/* parity: odd (test/cli/test_a.py, test_b) */\n", "test/cli/test_a.py": "def test_a():\n    pass\n"},
         {"src/midi/a.c": "/* parity: odd (test/cli/test_a.py, test_a) */\n", "test/cli/test_a.py": "def test_a():\n    pass\n"},
         False)],
    "exits": [
        ({"tools/embed/a.c": "void ms_a(void) { exit(1); }\n"},
         {"tools/embed/main.c": "void ms_a(void) { exit(1); }\n"}, False),
        ({"src/base/a.c": "void ms_a(void) { _exit(1); }\n"},
         {"src/base/a.c": "/* Never exit(1). */\nint ms_at_exit(void) { return 1; }\n"}, False)],
    "words": [
        ({"src/midi/a.c": "/* TO" "DO */\n"}, {"src/midi/a.c": "/* done */\n"}, False),
        ({"demo/a.txt": "/ho" "me/me/x\n"}, {"demo/a.txt": "home/me/x\n"}, False),
        ({"demo/a.txt": "x \n"}, {"demo/a.txt": "x\n"}, False),
        ({"docs/A.md": "\tx\n"}, {"docs/A.md": "    x\n"}, False)],
    "columns": [
        ({"src/midi/a.c": f"/* {'x' * 95} */\n"}, {"src/midi/a.c": f"/* {'x' * 94} */\n"}, False),
        ({"a.mk": f"# {'x' * 139}\n"}, {"a.mk": f"# {'x' * 138}\n"}, False),
        ({"test/cli/a.py": f"# {'x' * 139}\n"}, {"test/cli/a.py": f"# {'x' * 138}\n"}, False)],
    "format": [
        ({"src/midi/a.c": "int  ms_a;\n"}, {"src/midi/a.c": "int ms_a;\n"}, False)],
    "sizes": [
        ({"src/midi/a.c": body(61)}, {"src/midi/a.c": body(60)}, False),
        ({"src/midi/a.c": "static " + body(61).replace("(void)", "(int first_argument_of_many_that_are_given,\n"
                                                                  "                   int second_argument_of_many_that_are_given)",
                                                                  1)},
         {"test/unit/a.c": body(61)}, False),
        ({"src/kernels/a.cu": body(71)}, {"src/kernels/a.cu": body(70)}, False),
        ({"src/midi/a.c": "int ms_a;\n" * 501}, {"src/midi/a.c": "int ms_a;\n" * 500}, False)],
    "folders": [
        ({f"src/midi/{i}.c": "" for i in range(21)}, {f"src/midi/{i}.c": "" for i in range(20)}, False)],
    "documents": [
        ({"docs/A.md": "[x](gone.md)\n"}, {"docs/A.md": "[x](../README.md)\n"}, False),
        ({"docs/A.md": "`src/gone.c`\n"}, {"docs/A.md": "`src/api.c`\n"}, False),
        ({"examples/a.c": "/* docs/" "GONE.md */\n", "docs/HERE.md": ""}, {"examples/a.c": "/* docs/HERE.md */\n",
                                                                           "docs/HERE.md": ""}, False)],
    "commands": [
        ({"docs/A.md": "`make nothing`\n"}, {"docs/A.md": "`make all`\n"}, False),
        ({"docs/A.md": "```\nmidisim-embed --nothing x\n```\n"}, {"docs/A.md": "```\nmidisim-embed --model x\n```\n"}, False)],
    "scripts": [
        ({"examples/a.sh": "if\n"}, {"examples/a.sh": "true\n"}, False),
        ({"examples/slurm/a.sh": "midisim-embed --nothing x\n"}, {"examples/slurm/a.sh": "midisim-embed -k 1\n"}, False)],
    "data": [
        ({"test/data/midi/set/a.mid": "MThe"}, {"test/data/midi/set/a.mid": "MThd"}, False),
        ({"test/data/midi/set/b.mid": "MThd"}, {}, False),
        ({"test/data/midi/SOURCES.md": "\n"}, {"test/data/midi/SOURCES.md": "| set |\n"}, False)],
    "symbols": [
        ({"src/base/a.c": "int plain;\n"}, {"src/base/a.c": "int ms_plain;\n"}, True),
        ({"include/midisim.h": HEADER.replace("#endif", "MSIM_API int msim_more(void);\n#endif")}, {"include/midisim.h": HEADER}, False),
        ({"src/base/a.c": '#include "midisim.h"\nMSIM_API int msim_more(void);\nint msim_more(void) { return 1; }\n'},
         {"src/base/a.c": "int ms_more(void);\nint ms_more(void) { return 1; }\n"}, True)],
    "tour": [
        ({"docs/SOURCE.md": TOUR, "src/base/a.h": "#ifndef MS_BASE_A_H\n#define MS_BASE_A_H\n#endif\n"},
         {"docs/SOURCE.md": TOUR + "| `src/base/a.h` | a |\n",
          "src/base/a.h": "#ifndef MS_BASE_A_H\n#define MS_BASE_A_H\n#endif\n"}, False)],
    "wide_code": [
        ({"src/base/a.c": 'void ms_a(void);\nvoid ms_a(void) { __asm__("vpxor %ymm0, %ymm0, %ymm0"); }\n'},
         {"src/cpu/kernels/x86/a.c": 'void ms_a(void);\nvoid ms_a(void) { __asm__("vpxor %ymm0, %ymm0, %ymm0"); }\n'}, True),
        ({"src/cpu/kernels/x86/a.c": "int ms_a = 1;\nint ms_b = 1;\n"}, {"src/cpu/kernels/x86/a.c": "int ms_a = 1;\n"}, True)],
    "libraries": [(["-Wl,-rpath,/opt/x"], [], True)],
    "man": [
        ({"build/release/share/midisim-embed.1": "--model --top"},
         {"build/release/share/midisim-embed.1": "--model --top --device"}, False),
        ({"build/release/share/midisim-embed": "--model --top"},
         {"build/release/share/midisim-embed": "--model --top --device"}, False)],
}
CASES = [(check, i) for check, samples in SAMPLES.items() for i in range(len(samples))]


def with_files(small_tree, path, files, is_built):
    tree = shutil.copytree(small_tree, path)
    if isinstance(files, list):
        build(tree, *files)
    else:
        put(tree, files)
        if is_built:
            build(tree)
    return tree


def has_clang_format(small_tree):
    return "skip format" not in lint(small_tree, CI="").stdout


@pytest.mark.parametrize("check, i", CASES, ids=[f"{check}-{i}" for check, i in CASES])
def test_sample(small_tree, tmp_path, check, i):
    if check == "format" and not has_clang_format(small_tree):
        pytest.skip("no clang-format of this release")
    bad, good, is_built = SAMPLES[check][i]
    done = lint(with_files(small_tree, tmp_path / "bad", bad, is_built), CI="")
    assert failed(done) == {check} and done.returncode == 1, done.stdout
    done = lint(with_files(small_tree, tmp_path / "good", good, is_built), CI="")
    assert failed(done) == set() and done.returncode == 0, done.stdout


def test_every_check_has_a_sample():
    names = subprocess.run([sys.executable, LINT, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert sorted(SAMPLES) == sorted(names) and len(set(names)) == len(names)


def test_not_built(small_tree, tmp_path):
    tree = shutil.copytree(small_tree, tmp_path / "tree")
    shutil.rmtree(tree / "build")
    assert failed(lint(tree, CI="")) == {"commands", "symbols", "libraries", "man"}


def test_no_clang_format_is_a_failure_in_ci(small_tree, tmp_path):
    path = f"{tmp_path}:{os.environ['PATH']}"
    for name in ("clang-format", "clang-format-14"):
        (tmp_path / name).write_text("#!/bin/sh\necho clang-format version 13.0.0\n")
        (tmp_path / name).chmod(0o755)
    done = lint(small_tree, PATH=path, CI="")
    assert "\nskip format: " in done.stdout and done.returncode == 0
    done = lint(small_tree, PATH=path, CI="true")
    assert failed(done) == {"format"} and done.returncode == 1


def test_exceptions_that_nothing_needs(small_tree, tmp_path):
    """In the tree that the lists of exceptions are of, one that is not needed any more is told."""
    tree = shutil.copytree(small_tree, tmp_path / "tree")
    put(tree, {"test/lint/lint.py": ""})
    done = lint(tree, CI="")
    assert failed(done) <= {"includes", "prefixes", "sizes", "exits"}
    lists = {line.split(": ")[1] for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert lists <= {"KNOWN_INCLUDES", "DOORS", "SHARED_PREFIXES", "LONG_FILES, LONG_FUNCTIONS", "ENDS"}
