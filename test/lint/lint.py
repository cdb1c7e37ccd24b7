#!/usr/bin/env python3
"""Checks of the tree itself: who includes whom, global symbols, sizes, what documents name. Standard library only.

  lint.py [--config release]

Prints 'ok CHECK' or 'FAIL CHECK: what' lines. Checks that need the build (symbols, options in man pages) look at
build/CONFIG. A rule that can be broken by adding one line lives here, with the reason beside it.
"""
import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ("tokens", "embed", "search", "convert", "bench")

# A -> B: A may include B. api.c is the only place where modules meet; nothing includes api, tools or test.
MAY_INCLUDE = {
    "base": {"base"},
    "midi": {"midi", "base"},
    "pickle": {"pickle", "base"},
    "npy": {"npy", "pickle", "base"},
    "codes": {"codes", "base"},
    "checkpoint": {"checkpoint", "model", "pickle", "base"},
    "model": {"model", "checkpoint", "base"},
    "corpus": {"corpus", "npy", "codes", "base"},
    "search": {"search", "model", "corpus", "codes", "base"},
    "cpu": {"cpu", "search", "model", "codes", "base"},
    "kernels": {"kernels", "search", "model", "codes", "base"},
    "pipeline": {"pipeline", "corpus", "base"},
    "api.c": {"midi", "npy", "checkpoint", "model", "corpus", "codes", "search", "cpu", "kernels", "base"},
    "tools": {"common", "pipeline", "base", *TOOLS},
}


def text(path):
    return path.read_text(encoding="utf-8")


def tracked(*places):
    """Files that are or could be committed; without git, all outside build."""
    try:
        out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *places], cwd=ROOT,
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        names = out.decode("utf-8", "surrogateescape").split("\0")
        return sorted({ROOT / name for name in names if name and (ROOT / name).is_file()})
    except (OSError, subprocess.CalledProcessError):
        return sorted(p for place in places or (".",) for p in (ROOT / place).rglob("*")
                      if p.is_file() and "build" not in p.relative_to(ROOT).parts)


def sources():
    return [p for p in tracked("src", "tools", "include", "examples", "test") if p.suffix in (".c", ".h", ".cu", ".cuh", ".cpp")]


def shown(path):
    return str(path.relative_to(ROOT))


def check_includes(_):
    """Directions of house order; the graph of the table has no cycle, so the modules have none."""
    for path in tracked("src", "tools"):
        if path.suffix not in (".c", ".h", ".cu", ".cuh"):
            continue
        parts = path.relative_to(ROOT).parts
        module = parts[0] if parts[0] == "tools" else parts[1]
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text(path), re.M):
            if name == "midisim.h" or name == "api.h":
                continue
            target = name.split("/")[0] if "/" in name else parts[1]
            if target not in MAY_INCLUDE.get(module, set()):
                yield f"{shown(path)} includes {name}: {module} may include {sorted(MAY_INCLUDE.get(module, []))}"


def globals_of(path, dynamic=False):
    flags = ["-D"] if dynamic else []
    out = subprocess.run(["nm", *flags, "--defined-only", "--extern-only", "-P", str(path)], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    return sorted({line.split()[0] for line in out.splitlines() if len(line.split()) >= 3})


def check_symbols(config):
    """msim_ and ms_ inside; msim_ alone in what is installed, and exactly what the header declares."""
    build = ROOT / "build" / config
    internal = build / "libmidisim-internal.a"
    ignore = re.compile(r"^(__odr_asan|__asan|_init$|_fini$|__bss_start|_edata|_end$)")
    if not internal.exists():
        yield f"{shown(internal)} is not built"
        return
    for name in globals_of(internal):
        if not re.match(r"(msim|ms)_", name) and not ignore.match(name):
            yield f"{internal.name}: global symbol {name}: expected msim_ or ms_"
    declared = set(re.findall(r"MSIM_API\b[^;(]*?\b(msim_\w+)\(", text(ROOT / "include/midisim.h")))
    for path in (build / "libmidisim.a", *build.glob("libmidisim.so.*")):
        if not path.exists():
            yield f"{shown(path)} is not built"
            continue
        names = {n for n in globals_of(path, ".so" in path.name) if not ignore.match(n)}
        for name in sorted(names - declared):
            yield f"{path.name}: exports {name}, which include/midisim.h does not declare"
        for name in sorted(declared - names):
            yield f"{path.name}: lacks {name}, which include/midisim.h declares"


def check_wide_code(config):
    """Only a level's own file may hold its instructions: nothing else may touch a ymm or zmm register."""
    for path in sorted((ROOT / "build" / config / "src").rglob("*.o")):
        if not (ROOT / path.relative_to(ROOT / "build" / config)).with_suffix(".c").exists():
            continue  # left by a source that is gone
        if "x86" in path.parts:
            names = globals_of(path)
            if len(names) > 1:
                yield f"{path.name}: expected one exported table, got {names}"
            continue
        code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(path)], check=True, stdout=subprocess.PIPE,
                              text=True).stdout
        if re.search(r"%[yz]mm\d", code):
            yield f"{path.name}: wide registers outside the files of the levels"


def check_functions(_):
    """At most 120 lines a function, 900 a file: longer is two things."""
    for path in sources():
        lines = text(path).splitlines()
        if len(lines) > 900:
            yield f"{shown(path)}: {len(lines)} lines"
        start = None
        for number, line in enumerate(lines, 1):
            if line.startswith("{") or (re.match(r"\w.*\)\s*\{$", line)):
                start = number
            elif line.startswith("}") and start:
                if number - start > 120:
                    yield f"{shown(path)}:{start}: function of {number - start} lines"
                start = None


def check_words(_):
    """Nothing unfinished, no path of one machine, tabs only where make wants them."""
    unfinished = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
    machine = re.compile(r"(?<![\w.])/(" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers")) + r")/")
    for path in tracked():
        if "data" in path.parts or path.suffix in (".npz", ".npy", ".mid", ".pth") or path.name == "LICENSE":
            continue
        try:
            body = text(path)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(body.splitlines(), 1):
            if unfinished.search(line):
                yield f"{shown(path)}:{number}: unfinished: {line.strip()[:60]}"
            if machine.search(line):
                yield f"{shown(path)}:{number}: a path of one machine: {line.strip()[:60]}"
            if "\t" in line and path.suffix in (".c", ".h", ".cu", ".cuh", ".cpp", ".py", ".sh", ".md"):
                yield f"{shown(path)}:{number}: tab"
            if line != line.rstrip():
                yield f"{shown(path)}:{number}: space at the end"


def check_instruction_sets(_):
    """Ordinary C knows no device and no instruction set: that is chosen at run time or by the build."""
    for path in tracked("src", "tools", "include"):
        if path.suffix in (".c", ".h") and "src/cpu/kernels" not in str(path):
            for found in re.findall(r"^\s*#\s*(?:el)?ifn?(?:def)?\b.*\b\w*(?:CUDA|AVX|MPI)\w*", text(path), re.M):
                yield f"{shown(path)}: {found.strip()}"


def check_kernels(_):
    """Kernels are written with src/kernels/prim.cuh alone, so that test/emu runs every one of them on a CPU."""
    raw = re.compile(r"<<<|\basm\b|__syncthreads|__syncwarp|__shfl_|__ballot_sync|\batomic[A-Z]\w*\(|__shared__|\b__ldg\b")
    for path in tracked("src"):
        if path.suffix not in (".cu", ".cuh") or path.name == "prim.cuh":
            continue
        code = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m[0].count("\n"), text(path), flags=re.S)
        for number, line in enumerate(code.splitlines(), 1):
            where = f"{shown(path)}:{number}"
            if raw.search(line):
                yield f"{where}: {raw.search(line)[0]}: expected what prim.cuh has for it"
            if re.match(r"\s*#\s*if", line) and not line.startswith("#ifndef MS_"):
                yield f"{where}: a condition of the preprocessor: one source for both compilers"
            if len(re.findall(r"\bsync_(?:block|warp)\(\)", line)) > 1:
                yield f"{where}: expected one barrier a line, which is its name in test/emu"
            if "__global__" in line and not re.search(r"\bstatic\b", line) and not re.search(
                    r"\bstatic\b", code.splitlines()[number - 2]):
                yield f"{where}: expected a static kernel"
            found = re.match(r"\s*#\s*include\s+<(cu\w*|mma|cooperative_groups)", line)
            if found and (path.name, found[1]) != ("device.cu", "cuda_runtime"):
                yield f"{where}: includes <{found[1]}...>: only device.cu knows the CUDA runtime"


def check_libraries(config):
    """Programs start on machines without CUDA: they name none of its libraries, nor C++'s."""
    build = ROOT / "build" / config
    for path in (*(build / f"midisim-{tool}" for tool in TOOLS), *build.glob("libmidisim.so.*")):
        out = subprocess.run(["readelf", "-d", str(path)], check=True, stdout=subprocess.PIPE, text=True).stdout
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", out):
            if re.match(r"lib(cu|nv|stdc\+\+)", name):
                yield f"{path.name} needs {name}"
        if "(RUNPATH)" in out or "(RPATH)" in out:
            yield f"{path.name} has a search path of its own"


def check_kernels(_):
    """Kernels compile for GPUs and for the emulator from one text: PTX, CUDA's headers and conditions are prim.cuh's and
    device.cu's alone. A barrier is known by its line, so it stands alone there."""
    for path in tracked("src/kernels"):
        if path.suffix not in (".cu", ".cuh") or path.name in ("prim.cuh", "device.cu"):
            continue
        body = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text(path), flags=re.S)
        body = re.sub(r"//.*", "", body)
        guard = path.suffix == ".cuh"  # its own include guard
        for number, line in enumerate(body.splitlines(), 1):
            if re.search(r"\basm\b|<<<|\b__(syncthreads|syncwarp|shfl\w*|shared__|noinline__)\b|\bcuda_\w+\.h\b", line):
                yield f"{shown(path)}:{number}: expected a name of prim.cuh, got {line.strip()[:60]}"
            if re.match(r"\s*#\s*(if|elif|else)", line) and not (guard and re.match(r"\s*#\s*ifndef MS_\w+_CUH", line)):
                yield f"{shown(path)}:{number}: a condition of the preprocessor: {line.strip()[:60]}"
            if re.search(r"\bsync_(block|warp)\(", line) and not re.fullmatch(r"\s*sync_(block|warp)\(\);\s*", line):
                yield f"{shown(path)}:{number}: expected a barrier alone on its line, got {line.strip()[:60]}"
    for path in tracked("test/gpu"):
        if path.suffix == ".c" and re.search(r"^\s*#\s*include\s+[<\"](emu|cuda_)", text(path), re.M):
            yield f"{shown(path)}: tests of test/gpu run on GPUs too, so they know no emulator"


def documents():
    return [p for p in tracked() if p.suffix == ".md" and "data" not in p.parts]


def check_documents(_):
    """Links and `paths` in documents exist; a path is a word with a known top folder, without holes or patterns."""
    tops = {p.relative_to(ROOT).parts[0] for p in tracked()} - {"build"}
    for path in documents():
        body = text(path)
        for link in re.findall(r"\]\(([^)#:]+)\)", body):
            if not (path.parent / link).exists():
                yield f"{shown(path)}: link to {link}, which does not exist"
        for word in re.findall(r"`([\w./-]+)`", body):
            if "/" in word and word.split("/")[0] in tops and not word.endswith((".safetensors", "/")):
                if not (ROOT / word).exists():
                    yield f"{shown(path)}: names {word}, which does not exist"
    for path in sources():
        for word in re.findall(r"\b(docs/\w+\.md)\b", text(path)):
            if not (ROOT / word).exists():
                yield f"{shown(path)}: names {word}, which does not exist"


def check_commands(config):
    """Commands that documents show: make targets and tool options exist."""
    makefiles = "\n".join(text(p) for p in tracked() if p.name == "Makefile" or p.suffix == ".mk")
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", makefiles, re.M))
    targets = {word for line in targets for word in line.split()}
    options = {}
    for tool in TOOLS:
        out = subprocess.run([ROOT / "build" / config / f"midisim-{tool}", "--help"], stdout=subprocess.PIPE, text=True)
        options[tool] = set(re.findall(r"(?<![\w-])(--[a-z][\w-]*|-\w)\b", out.stdout))
    for path in documents():
        for block in re.findall(r"```\w*\n(.*?)```", text(path), re.S) + re.findall(r"`([^`\n]+)`", text(path)):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.split("  #")[0]
                found = re.match(r"\s*(?:\$ )?make (?:[A-Z_]+=\S+ )*([a-z][\w-]*)", line)
                if found and found[1] not in targets:
                    yield f"{shown(path)}: 'make {found[1]}' is no target"
                found = re.match(r"\s*(?:\$ )?(?:\S*/)?midisim-(\w+)( .*)?$", line)
                if found and found[1] in options:
                    for option in re.findall(r" (--[a-z][\w-]*|-[a-zA-Z])(?=[ =\]|]|$)", found[2] or ""):
                        if option not in options[found[1]]:
                            yield f"{shown(path)}: midisim-{found[1]} has no {option}"


def check_scripts(config):
    """Shell scripts parse, and the options that they give our tools exist."""
    build = ROOT / "build" / config
    for path in tracked("examples", "scripts", "demo", "weights"):
        if path.suffix != ".sh":
            continue
        done = subprocess.run(["sh", "-n", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            yield f"{shown(path)}: {done.stdout.strip()}"
        if path.parts[-2] != "slurm":
            continue
        body = re.sub(r"^#.*$", "", text(path), flags=re.M).replace("\\\n", " ")
        for tool, arguments in re.findall(r"^.*?\bmidisim-(embed|search|convert) (.*)$", body, re.M):
            shows = subprocess.run([build / f"midisim-{tool}", "--help"], stdout=subprocess.PIPE, text=True).stdout
            for option in re.findall(r"(?<=\s)(--[a-z][\w-]*|-[a-zA-Z])(?=[ =]|$)", " " + arguments):
                if not re.search(rf"(?<![\w-]){option}\b", shows):
                    yield f"{shown(path)}: midisim-{tool} has no {option}"


def check_man(config):
    """Every option of --help is in the man page and in the completion."""
    build = ROOT / "build" / config
    for tool in TOOLS:
        program = build / f"midisim-{tool}"
        if not program.exists():
            yield f"{shown(program)} is not built"
            continue
        shows = subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True).stdout
        man = text(build / f"share/midisim-{tool}.1").replace("\\-", "-")
        completion = text(build / f"share/midisim-{tool}")
        names = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][\w-]*)", shows, re.M))
        if len(names) < 3:
            yield f"midisim-{tool} --help lists {len(names)} options"
        for name in sorted(names):
            if name not in man:
                yield f"midisim-{tool}.1 lacks {name}"
            if name not in completion:
                yield f"completion of midisim-{tool} lacks {name}"


def check_data(_):
    """Shipped MIDI files are the ones of the manifest, byte for byte."""
    import hashlib
    folder = ROOT / "test/data/midi"
    rows = [line.split("\t") for line in text(folder / "MANIFEST.tsv").splitlines()[1:]]
    for name, digest, size, _origin in rows:
        path = folder / name
        if not path.is_file():
            yield f"{name}: missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest or path.stat().st_size != int(size):
            yield f"{name}: not the bytes of the manifest"
    listed = {name for name, *_ in rows}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and path.parent != folder and not name.startswith("LICENSES/") and name not in listed:
            yield f"{name}: not in the manifest"
    table = text(folder / "SOURCES.md")
    for subset in sorted({name.split("/")[0] for name in listed}):
        if f"| {subset} |" not in table:
            yield f"{subset}: not in SOURCES.md"


CHECKS = (check_includes, check_symbols, check_wide_code, check_functions, check_words, check_instruction_sets,
          check_kernels, check_libraries, check_documents, check_commands, check_scripts, check_man, check_data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="release")
    args = parser.parse_args()
    bad = 0
    for check in CHECKS:
        name = check.__name__[len("check_"):]
        try:
            found = list(check(args.config))
        except (OSError, subprocess.CalledProcessError) as error:
            found = [str(error)]
        for line in found:
            print(f"FAIL {name}: {line}")
        if not found:
            print(f"ok {name}")
        bad += len(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
