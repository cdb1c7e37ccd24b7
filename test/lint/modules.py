"""Who may know whom: includes, calls, cycles, and the names that modules share. House order, from the ground up."""
import re
import subprocess

from tree import C_FILES, TOOLS, functions

# A -> B: A may include B's headers and call B's functions. api.c is the only place where modules meet; the pipeline and
# the tools stand above it and see the public header.
MAY_USE = {
    "base": set(),
    "midi": {"base"},
    "pickle": {"base"},
    "codes": {"base"},
    "npy": {"pickle", "base"},
    "checkpoint": {"pickle", "base"},
    "model": {"checkpoint", "midi", "base"},
    "corpus": {"npy", "codes", "whiten", "base"},
    "notes": {"base"},
    "whiten": {"base"},
    "search": {"model", "corpus", "codes", "base"},
    "query": {"search", "corpus", "whiten", "pipeline", "base"},  # what a score means: the cohort, and chances
    "cpu": {"search", "model", "codes", "whiten", "base"},
    "kernels": {"search", "model", "codes", "base"},
    "api.c": {"midi", "npy", "checkpoint", "model", "corpus", "codes", "notes", "whiten", "search", "cpu", "kernels", "base"},
    "pipeline": {"base"},
    "groups": {"base"},
    "report": {"base"},
    "tools/common": {"base"},
    **{f"tools/{tool}": {"tools/common", "base"} for tool in TOOLS},
    "tools/midisim": {"base"},
    "tools/search": {"tools/common", "search", "base"},  # search: ranks merge as devices do
}

# Single headers that a tool may include beyond that, with the reason. What they declare may be called.
DOORS = {
    ("tools/convert", "pipeline/disk/description.h"): "a corpus's description is carried over, field by field",
    ("tools/common", "pipeline/disk/description.h"): "whitened rows are known by the key in their description",
    ("tools/search", "pipeline/disk/description.h"): "the settings of a corpus are those of its queries",
    ("tools/midisim", "common/texts/spelling.h"): "a word that is no command is answered with the nearest one",
    ("tools/bench", "notes/find/pass.h"): "the stages of a search are timed apart",
    ("tools/bench", "pipeline/batcher.h"): "the halves of a job are timed apart",
    ("tools/bench", "pipeline/input/reader.h"): "the halves of a job are timed apart",
}

# What is known to go against the arrows: (module, module) for includes, (module, function) for calls. Each entry says
# what takes it away; one that nothing needs any more is a failure too.
KNOWN_INCLUDES = set()
KNOWN_CALLS = set()

# Prefixes of functions that more than one module has, with the reason.
SHARED_PREFIXES = {
    "ms_canonical_": "the tool's run of many files, and the library's writing of one",
    "ms_codes_": "the CPU's table of kernels for codes is named after them",
    "ms_row_": "the type of an element, and a list of rows",
    "ms_pickle_": "writing a pickle lies beside the .npy files that are written so",
    "ms_scan_": "kernels of the CPU and launches of a GPU, of one operation",
    "ms_search_": "one step of a search in each: codes, descriptions, the tool",
}


def module_of(tree, path):
    parts = path.relative_to(tree.root).parts
    return "/".join(parts[:2]) if parts[0] == "tools" else parts[1]


def product(tree):
    return tree.tracked("src", "tools", ends=C_FILES)


def included(tree, path):
    """(name, file) of each #include "..." as the compiler finds it; file is None where it finds none."""
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', tree.text(path), re.M):
        places = (path.parent, *(tree.root / place for place in ("include", "src", "tools", "test", "test/emu")))
        yield name, next(((place / name).resolve() for place in places if (place / name).is_file()), None)


def includes(tree):
    """(file, module, name, module of the included file) for each include of one module by another."""
    for path in product(tree):
        for name, target in included(tree, path):
            if name == "midisim.h" or (path.name == "prim.cuh" and name == "emu_prim.h"):
                continue  # everybody's; and the one door to the emulator
            known = target and (tree.root / "src" in target.parents or tree.root / "tools" in target.parents)
            there = module_of(tree, target) if known else None
            if there != module_of(tree, path):
                yield path, module_of(tree, path), name, there


def check_includes(tree):
    """A module includes those below it alone; tools include midisim.h, tools/common and their own folder."""
    needed, opened = set(), set()
    for path, here, name, there in includes(tree):
        if (here, there) in KNOWN_INCLUDES:
            needed.add((here, there))
        elif (here, name) in DOORS:
            opened.add((here, name))
        elif there not in MAY_USE.get(here, ()):
            yield f"{tree.shown(path)} includes {name}: {here} may include {sorted(MAY_USE.get(here, ()))}"
    for here, there in sorted(KNOWN_INCLUDES - needed) if tree.is_own else ():
        yield f"KNOWN_INCLUDES: {here} no longer includes {there}"
    for here, name in sorted(set(DOORS) - opened) if tree.is_own else ():
        yield f"DOORS: {here} no longer includes {name}"


def objects(tree):
    """(object, its source) of src and tools in the build; kernels from the emulator's where this build has none."""
    for folder, place in ((tree.build, "src"), (tree.build, "tools"), (tree.root / "build/emu", "src/kernels")):
        for path in sorted((folder / place).rglob("*.o")):
            stem = tree.root / path.relative_to(folder)
            source = next((s for s in (stem.with_suffix(".c"), stem.with_suffix(".cu")) if s.exists()), None)
            if source:  # else it is left by a source that is gone
                yield path, source


def names_of(path, *flags):
    out = subprocess.run(["nm", *flags, "--extern-only", "-P", str(path)], check=True, stdout=subprocess.PIPE,
                         text=True).stdout
    return {line.split()[0] for line in out.splitlines() if len(line.split()) >= 2}


def calls(tree):
    """(source, module, function, module that defines it) for each use of another module's function or table."""
    found = list(objects(tree))
    home = {name: module_of(tree, source) for path, source in found for name in names_of(path, "--defined-only")}
    for path, source in found:
        here = module_of(tree, source)
        for name in sorted(names_of(path, "--undefined-only")):
            if home.get(name, here) != here:
                yield source, here, name, home[name]


def check_calls(tree):
    """Calls obey the arrows of includes: what api.c defines is called from the pipeline, tools and programs alone."""
    public, needed, seen = tree.public_names(), set(), set()
    for source, here, name, there in calls(tree):
        seen.add(here)
        above_api = here in ("pipeline", "query", "groups", "report") or here.startswith("tools/")
        opened = {name.split("/")[0] for place, name in DOORS if place == here}
        if (here, there) in KNOWN_INCLUDES or there.removeprefix("tools/") in opened:
            continue
        if (here, name) in KNOWN_CALLS:
            needed.add((here, name))
        elif there not in MAY_USE.get(here, ()) and not (above_api and name in public):
            yield f"{tree.shown(source)} calls {name} of {there}: {here} may call {sorted(MAY_USE.get(here, ()))}"
    for here, name in sorted(KNOWN_CALLS - needed):
        if here in seen:
            yield f"KNOWN_CALLS: {here} no longer calls {name}"


def cycle_of(graph):
    """One cycle of {node: nodes} as a list that ends where it begins, or None."""
    done = set()

    def walk(node, way):
        if node in way:
            return way[way.index(node):] + [node]
        if node in done:
            return None
        for there in sorted(graph.get(node, ())):
            found = walk(there, way + [node])
            if found:
                return found
        done.add(node)
        return None
    return next((found for found in (walk(node, []) for node in sorted(graph)) if found), None)


def check_cycles(tree):
    """No file includes itself by way of others, and no module uses one that uses it."""
    files = {path: {target for _, target in included(tree, path) if target} for path in tree.sources()}
    found = cycle_of(files)
    if found:
        yield "files: " + " -> ".join(tree.shown(path) for path in found)
    modules = {}
    for _, here, _, there in includes(tree):
        if there and (here, there) not in KNOWN_INCLUDES:
            modules.setdefault(here, set()).add(there)
    for _, here, name, there in calls(tree):
        if (here, name) not in KNOWN_CALLS and (here, there) not in KNOWN_INCLUDES:
            modules.setdefault(here, set()).add(there)
    found = cycle_of(modules)
    if found:
        yield "modules: " + " -> ".join(found)


def check_prefixes(tree):
    """ms_word_: a word belongs to one module, so that a name says where its function lies."""
    where = {}
    for path in product(tree):
        for name, _, _, is_static in functions(tree.code(path)):
            word = re.match(r"ms_[a-z0-9]+_", name)
            if word and not is_static:
                where.setdefault(word[0], {}).setdefault(module_of(tree, path), name)
    for word, modules in sorted(where.items()):
        if len(modules) > 1 and word not in SHARED_PREFIXES:
            yield f"{word}: " + ", ".join(f"{name} in {module}" for module, name in sorted(modules.items()))
    for word in sorted(SHARED_PREFIXES):
        if len(where.get(word, ())) < 2 and tree.is_own:
            yield f"SHARED_PREFIXES: {word} is no longer shared"


CHECKS = (check_includes, check_calls, check_cycles, check_prefixes)
