"""What sources may say: instruction sets, device code, type names, names and tests in comments."""
import re

from tree import C_FILES


def check_instruction_sets(tree):
    """Ordinary C knows no device and no instruction set: that is chosen at run time or by the build."""
    for path in tree.tracked("src", "tools", "include", ends=(".c", ".h")):
        if "src/cpu/kernels" not in tree.shown(path):
            for found in re.findall(r"^\s*#\s*(?:el)?ifn?(?:def)?\b.*\b\w*(?:CUDA|AVX|MPI)\w*", tree.code(path), re.M):
                yield f"{tree.shown(path)}: {found.strip()}"


RAW = re.compile(r"<<<|\basm\b|__syncthreads|__syncwarp|__shfl_|__ballot_sync|\batomic[A-Z]\w*\(|__shared__|\b__ldg\b|"
                 r"\b__noinline__\b")


def check_device_code(tree):
    """Kernels are static, and written with src/kernels/prim.cuh alone: so test/emu runs all of them on a CPU."""
    for path in tree.tracked("src", ends=(".cu", ".cuh")):
        if path.name == "prim.cuh":
            continue
        lines = tree.code(path).splitlines()
        for number, line in enumerate(lines, 1):
            where = f"{tree.shown(path)}:{number}"
            if RAW.search(line):
                yield f"{where}: {RAW.search(line)[0]}: expected what prim.cuh has for it"
            if "__global__" in line and not re.search(r"\bstatic\b", " ".join(lines[max(number - 2, 0):number])):
                yield f"{where}: expected a static kernel"
            found = re.match(r"\s*#\s*include\s+<(cu\w*|mma|cooperative_groups)", line)
            if found and (path.name, found[1]) != ("device.cu", "cuda_runtime"):
                yield f"{where}: includes <{found[1]}...>: only device.cu knows the CUDA runtime"


def check_kernel_text(tree):
    """Kernels compile for GPUs and for the emulator from one text, so they have no conditions of the preprocessor. A
    barrier is known by its line, so it stands alone there. Tests of test/gpu run on both, so they know neither."""
    for path in tree.tracked("src/kernels", ends=(".cu", ".cuh")):
        if path.name in ("prim.cuh", "device.cu"):
            continue
        for number, line in enumerate(tree.code(path).splitlines(), 1):
            where = f"{tree.shown(path)}:{number}"
            is_guard = path.suffix == ".cuh" and re.match(r"\s*#\s*ifndef MS_\w+_CUH", line)
            if re.match(r"\s*#\s*(if|elif|else)", line) and not is_guard:
                yield f"{where}: a condition of the preprocessor: {line.strip()[:60]}"
            if re.search(r"\bsync_(block|warp)\(", line) and not re.fullmatch(r"\s*sync_(block|warp)\(\);\s*", line):
                yield f"{where}: expected a barrier alone on its line, got {line.strip()[:60]}"
    for path in tree.tracked("test/gpu", ends=(".c",)):
        if re.search(r"^\s*#\s*include\s+[<\"](emu|cuda_)", tree.text(path), re.M):
            yield f"{tree.shown(path)}: tests of test/gpu run on GPUs too, so they know no emulator"


def types_of(code):
    """Names that typedefs define."""
    for found in re.finditer(r"\btypedef\b", code):
        depth, end = 0, found.end()
        while end < len(code) and (depth or code[end] != ";"):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        body = code[found.end():end]
        while re.search(r"\{[^{}]*\}", body):
            body = re.sub(r"\{[^{}]*\}", " ", body)
        body = re.sub(r"__attribute__\s*\(\(.*?\)\)\)?", " ", body)
        name = re.search(r"\(\s*\*\s*(\w+)\s*\)", body) or re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*$", body)
        if name:
            yield name[1]


def check_type_names(tree):
    """A type's name exists once, so that it can be looked up; names that one file alone uses too."""
    where = {}
    for path in tree.tracked("src", "tools", "include", ends=C_FILES):
        for name in types_of(tree.code(path)):
            where.setdefault(name, set()).add(path)
    for name, paths in sorted(where.items()):
        if len(paths) > 1:
            yield f"{name} is defined in {', '.join(sorted(map(tree.shown, paths)))}"


def check_comment_names(tree):
    """Each ms_ or msim_ name of a comment or a document exists, or begins one if it ends in _; so do a comment's paths."""
    names = set()
    for path in tree.sources():
        names.update(re.findall(r"\b(?:ms|msim|MS|MSIM)_\w+", tree.code(path)))
    makefiles = [tree.text(p) for p in tree.tracked() if p.suffix == ".mk" or p.name == "Makefile"]
    names.update(re.findall(r"\b(?:MS|MSIM)_\w+", " ".join(makefiles)))
    tops = "src|tools|test|include|bench|scripts|examples|weights"
    pattern = re.compile(rf"(?<![\w./-])((?:{tops})/[\w./-]+\.[a-z]+)\b")

    def exists(name):
        is_start = name.endswith("_") and any(n.startswith(name) for n in names)
        return name in names or is_start or name == "ms_module_"

    def is_file(name):  # as includes find it, too
        return any((tree.root / place / name).exists() for place in (".", "src", "tools"))
    for path in tree.sources():
        for line, comment in tree.comments(path):
            for name in re.findall(r"\b(?:ms|msim|MS|MSIM)_\w+", comment):
                if not exists(name):
                    yield f"{tree.shown(path)}:{line}: names {name}, which does not exist"
            for name in pattern.findall(re.sub(r"\(test/[^)]*\)", "", comment) if "parity:" in comment else comment):
                if not is_file(name) and not name.endswith(".safetensors"):
                    yield f"{tree.shown(path)}:{line}: names {name}, which does not exist"
    for path in tree.tracked(ends=(".md",)):
        for name in re.findall(r"\b(?:ms|msim)_\w+", tree.text(path)):
            if not exists(name):
                yield f"{tree.shown(path)}: names {name}, which does not exist"


def check_parity(tree):
    """Each imitated quirk of the original names the test that pins it: (test/FILE) or (test/FILE, FUNCTION)."""
    for path in tree.sources("src", "tools", "include"):
        for line, comment in tree.comments(path):
            for mark in comment.split("parity:")[1:]:
                where = f"{tree.shown(path)}:{line}"
                named = re.findall(r"\((test/[\w./-]+\.(?:c|py|txt))((?:, \w+)*)\)", mark)
                if not named:
                    yield f"{where}: expected a test behind 'parity:', (test/FILE, FUNCTION)"
                for name, wanted in named:
                    if not (tree.root / name).is_file():
                        yield f"{where}: {name} does not exist"
                        continue
                    for function in re.findall(r"\w+", wanted):
                        if not re.search(rf"^(?:static void|def) {function}\(", tree.text(tree.root / name), re.M):
                            yield f"{where}: {name} has no test {function}"


# Where a process may end below main, with the reason: (file, call).
ENDS = {
    ("tools/common/console.c", "_exit"): "in signal handlers: the second signal, or a mapped file that was cut short",
}


def check_exits(tree):
    """Nothing ends the process but main: everything below it returns a status."""
    needed = set()
    for path in tree.tracked("src", "tools", ends=C_FILES):
        for call in re.findall(r"\b(exit|_exit|_Exit|quick_exit|abort)\s*\(", tree.code(path)):
            needed.add((tree.shown(path), call))
            if (tree.shown(path), call) not in ENDS and path.name != "main.c":
                yield f"{tree.shown(path)}: calls {call}: expected a status returned to main"
    for name in sorted(set(ENDS) - needed):
        if tree.is_own:
            yield f"ENDS: {name} is no longer needed"


CHECKS = (check_instruction_sets, check_device_code, check_kernel_text, check_type_names, check_comment_names,
          check_parity, check_exits)
