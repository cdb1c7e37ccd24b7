"""What documents, scripts and shipped data promise is there: paths, targets, options, bytes."""
import hashlib
import re
import subprocess

from tree import TOOLS


def documents(tree):
    return [p for p in tree.tracked() if p.suffix == ".md" and "data" not in p.parts]


def check_documents(tree):
    """Links and `paths` in documents exist; a path is a word with a known top folder, without holes or patterns."""
    tops = {p.relative_to(tree.root).parts[0] for p in tree.tracked()} - {"build"}
    for path in documents(tree):
        body = tree.text(path)
        for link in re.findall(r"\]\(([^)#:]+)\)", body):
            if not (path.parent / link).exists():
                yield f"{tree.shown(path)}: link to {link}, which does not exist"
        for word in re.findall(r"`([\w./-]+)`", body):
            if "/" in word and word.split("/")[0] in tops and not word.endswith((".safetensors", "/")):
                if not (tree.root / word).exists():
                    yield f"{tree.shown(path)}: names {word}, which does not exist"
    for path in tree.sources():
        for word in re.findall(r"\b(docs/\w+\.md)\b", tree.text(path)):
            if not (tree.root / word).exists():
                yield f"{tree.shown(path)}: names {word}, which does not exist"


def check_commands(tree):
    """Commands that documents show: make targets and tool options exist."""
    makefiles = "\n".join(tree.text(p) for p in tree.tracked() if p.name == "Makefile" or p.suffix == ".mk")
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", makefiles, re.M))
    targets = {word for line in targets for word in line.split()}
    options = {}
    for tool in TOOLS:
        out = subprocess.run([tree.build / f"midisim-{tool}", "--help"], stdout=subprocess.PIPE, text=True)
        options[tool] = set(re.findall(r"(?<![\w-])(--[a-z][\w-]*|-\w)\b", out.stdout))
    for path in documents(tree):
        body = tree.text(path)
        for block in re.findall(r"```\w*\n(.*?)```", body, re.S) + re.findall(r"`([^`\n]+)`", body):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.split("  #")[0]
                found = re.match(r"\s*(?:\$ )?make (?:[A-Z_]+=\S+ )*([a-z][\w-]*)", line)
                if found and found[1] not in targets:
                    yield f"{tree.shown(path)}: 'make {found[1]}' is no target"
                found = re.match(r"\s*(?:\$ )?(?:\S*/)?midisim-(\w+)( .*)?$", line)
                if found and found[1] in options:
                    for option in re.findall(r" (--[a-z][\w-]*|-[a-zA-Z])(?=[ =\]|]|$)", found[2] or ""):
                        if option not in options[found[1]]:
                            yield f"{tree.shown(path)}: midisim-{found[1]} has no {option}"


def check_scripts(tree):
    """Shell scripts parse, and the options that they give our tools exist."""
    build = tree.build
    for path in tree.tracked("examples", "scripts", "demo", "weights", "packaging"):
        if path.suffix != ".sh":
            continue
        done = subprocess.run(["sh", "-n", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            yield f"{tree.shown(path)}: {done.stdout.strip()}"
        if path.parts[-2] != "slurm":
            continue
        body = re.sub(r"^#.*$", "", tree.text(path), flags=re.M).replace("\\\n", " ")
        for tool, arguments in re.findall(r"^.*?\bmidisim-(embed|search|convert) (.*)$", body, re.M):
            shows = subprocess.run([build / f"midisim-{tool}", "--help"], stdout=subprocess.PIPE, text=True).stdout
            for option in re.findall(r"(?<=\s)(--[a-z][\w-]*|-[a-zA-Z])(?=[ =]|$)", " " + arguments):
                if not re.search(rf"(?<![\w-]){option}\b", shows):
                    yield f"{tree.shown(path)}: midisim-{tool} has no {option}"


def check_data(tree):
    """Shipped MIDI files are the ones of the manifest, byte for byte."""
    folder = tree.root / "test/data/midi"
    rows = [line.split("\t") for line in tree.text(folder / "MANIFEST.tsv").splitlines()[1:]]
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
    table = tree.text(folder / "SOURCES.md")
    for subset in sorted({name.split("/")[0] for name in listed}):
        if f"| {subset} |" not in table:
            yield f"{subset}: not in SOURCES.md"


def check_tour(tree):
    """docs/SOURCE.md has a line for each source file, a .c and its .h sharing one; what it names exists (documents)."""
    path = tree.root / "docs/SOURCE.md"
    if not path.exists():
        return
    named = {name.rsplit(".", 1)[0] for name in re.findall(r"^\| `([^`]+)` \| .+ \|$", tree.text(path), re.M)}
    for source in tree.tracked("src", "tools"):
        stem = tree.shown(source).rsplit(".", 1)[0]
        if source.suffix in (".c", ".cu", ".h", ".cuh") and stem not in named:
            yield f"docs/SOURCE.md: no line for {tree.shown(source)}"


CHECKS = (check_tour, check_documents, check_commands, check_scripts, check_data)
