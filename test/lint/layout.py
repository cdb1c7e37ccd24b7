"""How files lie and look: words, columns, clang-format, sizes of functions, files and folders."""
import os
import re
import shutil
import subprocess

from tree import C_FILES, Skip, functions

CLANG_FORMAT = "14.0.6"

# Longer than the house allows, with the reason. One that is short enough again is a failure.
LONG_FILES = {
    "include/midisim.h": "the one public header: its comments are the manual",
    "src/api.c": "the seam of all modules",
    "src/kernels/encoder/encoder.c": "the forward pass as one list of launches",
    "src/kernels/search/rows.c": "to be split: what stays on the device, and what streams through it",
    "src/npy/pickled.c": "the grammar of pickled arrays and its policy",
    "src/pickle/pickle.c": "one machine, a case for each opcode",
    "bench/gpu_bench.c": "a program in one file",
}
LONG_FUNCTIONS = {
    ("src/midi/smf_read.c", "decode_chunk"): "keeps what changes with every event in registers",
    ("src/kernels/encoder/gemm_bf16.cu", "k_gemm_bf16"): "the stages of one pipeline share its registers",
}


def check_words(tree):
    """Nothing unfinished, no path of one machine, tabs only where make wants them."""
    unfinished = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
    machine = re.compile(r"(?<![\w.])/(" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers")) + r")/")
    for path in tree.tracked():
        if "data" in path.relative_to(tree.root).parts or path.name == "LICENSE":
            continue
        try:
            body = tree.text(path)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(body.splitlines(), 1):
            where = f"{tree.shown(path)}:{number}"
            if unfinished.search(line):
                yield f"{where}: unfinished: {line.strip()[:60]}"
            if machine.search(line):
                yield f"{where}: a path of one machine: {line.strip()[:60]}"
            if "\t" in line and path.suffix in (*C_FILES, ".py", ".sh", ".md"):
                yield f"{where}: tab"
            if line != line.rstrip():
                yield f"{where}: space at the end"


def check_columns(tree):
    """At most 100 columns in C and CUDA, 140 in Python and makefiles."""
    for path in tree.tracked():
        is_long = path.suffix in (".py", ".mk") or path.name == "Makefile"
        limit = 100 if path.suffix in C_FILES else 140 if is_long else 0
        if limit and "data" not in path.relative_to(tree.root).parts:
            for number, line in enumerate(tree.text(path).splitlines(), 1):
                if len(line) > limit:
                    yield f"{tree.shown(path)}:{number}: {len(line)} columns"


def clang_format(tree):
    """The program of the release that test/requirements.txt names, since others lay code out in another way."""
    for program in (tree.root / "build/venv/bin/clang-format", shutil.which("clang-format"),
                    shutil.which("clang-format-14")):
        if program and os.access(program, os.X_OK):
            says = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True).stdout
            if f"version {CLANG_FORMAT}" in says:
                return program
    reason = f"no clang-format {CLANG_FORMAT} (scripts/setup.sh test)"
    if os.environ.get("CI", "") not in ("", "0", "false"):
        raise OSError(reason)
    raise Skip(reason)


def check_format(tree):
    """C, CUDA and C++ are laid out as .clang-format says; what it lays out again is the same."""
    paths = tree.sources()
    if not paths:
        return
    done = subprocess.run([clang_format(tree), "--dry-run", "-Werror", "--ferror-limit=1", *map(str, paths)],
                          cwd=tree.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    places = {}
    for name, line in re.findall(r"^(\S+?):(\d+):\d+: error: .*\[-Wclang-format-violations\]", done.stdout, re.M):
        places.setdefault(name, line)
    for name, line in sorted(places.items()):
        yield f"{os.path.relpath(name, tree.root)}:{line}: clang-format would change it"
    if done.returncode and not places:
        yield done.stdout.strip()[:200]


def is_kernel(tree, path):
    return path.suffix in (".cu", ".cuh") or "src/cpu/kernels" in tree.shown(path)


def check_sizes(tree):
    """A function has at most 60 lines (a kernel 70, a test 120), a file 500 (of tests 800): longer is two ideas."""
    used = set()
    for path in tree.sources():
        name, is_test = tree.shown(path), path.relative_to(tree.root).parts[0] == "test"
        n_lines, limit = len(tree.text(path).splitlines()), 800 if is_test else 500
        if n_lines > limit:
            used.add(name)
            if name not in LONG_FILES:
                yield f"{name}: {n_lines} lines, of at most {limit}"
        limit = 120 if is_test else 70 if is_kernel(tree, path) else 60
        for function, first, last, _ in functions(tree.code(path)):
            if last - first + 1 > limit:
                used.add((name, function))
                if (name, function) not in LONG_FUNCTIONS:
                    yield f"{name}:{first}: {function} has {last - first + 1} lines, of at most {limit}"
    if tree.is_own:
        for what in {**LONG_FILES, **LONG_FUNCTIONS}:
            if what not in used:
                yield f"LONG_FILES, LONG_FUNCTIONS: {what} is no longer long"


def check_folders(tree):
    """A folder of src or tools has at most 20 files: more are two subjects."""
    counts = {}
    for path in tree.tracked("src", "tools"):
        counts[path.parent] = counts.get(path.parent, 0) + 1
    for folder, n in sorted(counts.items()):
        if n > 20:
            yield f"{tree.shown(folder)}: {n} files, of at most 20"


CHECKS = (check_words, check_columns, check_format, check_sizes, check_folders)
