"""What the build made: global symbols, wide instructions, libraries, man pages."""
import re
import subprocess

from tree import TOOLS


def globals_of(path, dynamic=False):
    flags = ["-D"] if dynamic else []
    out = subprocess.run(["nm", *flags, "--defined-only", "--extern-only", "-P", str(path)], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    return sorted({line.split()[0] for line in out.splitlines() if len(line.split()) >= 3})


def check_symbols(tree):
    """msim_ and ms_ inside; msim_ alone in what is installed, and exactly what the header declares."""
    build = tree.build
    internal = build / "libmidisim-internal.a"
    ignore = re.compile(r"^(__odr_asan|__asan|_init$|_fini$|__bss_start|_edata|_end$)")
    if not internal.exists():
        yield f"{tree.shown(internal)} is not built"
        return
    for name in globals_of(internal):
        if not re.match(r"(msim|ms)_", name) and not ignore.match(name):
            yield f"{internal.name}: global symbol {name}: expected msim_ or ms_"
    declared = set(re.findall(r"MSIM_API\b[^;(]*?\b(msim_\w+)\(", tree.text(tree.root / "include/midisim.h")))
    for path in (build / "libmidisim.a", *build.glob("libmidisim.so.*")):
        if not path.exists():
            yield f"{tree.shown(path)} is not built"
            continue
        names = {n for n in globals_of(path, ".so" in path.name) if not ignore.match(n)}
        for name in sorted(names - declared):
            yield f"{path.name}: exports {name}, which include/midisim.h does not declare"
        for name in sorted(declared - names):
            yield f"{path.name}: lacks {name}, which include/midisim.h declares"


def check_wide_code(tree):
    """Only a level's own file may hold its instructions: nothing else may touch a ymm or zmm register."""
    for path in sorted((tree.build / "src").rglob("*.o")):
        if not (tree.root / path.relative_to(tree.build)).with_suffix(".c").exists():
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


def check_libraries(tree):
    """Programs start on machines without CUDA: they name none of its libraries, nor C++'s."""
    build = tree.build
    for path in (*(build / f"midisim-{tool}" for tool in TOOLS), *build.glob("libmidisim.so.*")):
        out = subprocess.run(["readelf", "-d", str(path)], check=True, stdout=subprocess.PIPE, text=True).stdout
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", out):
            if re.match(r"lib(cu|nv|stdc\+\+)", name):
                yield f"{path.name} needs {name}"
        if "(RUNPATH)" in out or "(RPATH)" in out:
            yield f"{path.name} has a search path of its own"


def check_man(tree):
    """Every option of --help is in the man page and in the completion."""
    build = tree.build
    for tool in TOOLS:
        program = build / f"midisim-{tool}"
        if not program.exists():
            yield f"{tree.shown(program)} is not built"
            continue
        shows = subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True).stdout
        man = tree.text(build / f"share/midisim-{tool}.1").replace("\\-", "-")
        completion = tree.text(build / f"share/midisim-{tool}")
        names = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][\w-]*)", shows, re.M))
        if len(names) < 3:
            yield f"midisim-{tool} --help lists {len(names)} options"
        for name in sorted(names):
            if name not in man:
                yield f"midisim-{tool}.1 lacks {name}"
            if name not in completion:
                yield f"completion of midisim-{tool} lacks {name}"


CHECKS = (check_symbols, check_wide_code, check_libraries, check_man)
