"""The tree that is checked: its files, their text, code and comments. Works with and without git."""
import functools
import pathlib
import re
import subprocess

C_FILES = (".c", ".h", ".cu", ".cuh", ".cpp")
TOOLS = ("tokens", "embed", "search", "index", "find", "groups", "report", "serve", "eval", "convert", "bench", "fetch")


class Skip(Exception):
    """A check that cannot run here: lint.py prints the reason."""


class Tree:
    def __init__(self, root, config):
        self.root = pathlib.Path(root).resolve()
        self.config = config
        self.build = self.root / "build" / config

    @functools.cached_property
    def is_own(self):
        """True for the tree that the lists of exceptions here are of: those that nothing needs are told."""
        return (self.root / "test/lint/lint.py").exists()

    @functools.cached_property
    def files(self):
        """Files that are or could be committed; without git, all outside build."""
        try:
            out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                 cwd=self.root, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            names = out.decode("utf-8", "surrogateescape").split("\0")
            found = {self.root / name for name in names if name}
        except (OSError, subprocess.CalledProcessError):
            found = set(self.root.rglob("*"))
        return sorted(p for p in found if p.is_file() and p.relative_to(self.root).parts[0] != "build")

    def tracked(self, *places, ends=None):
        """Files under the places (all without one), with one of the endings."""
        roots = [self.root / place for place in places]
        return [p for p in self.files if (not ends or p.suffix in ends) and
                (not roots or any(r == p or r in p.parents for r in roots))]

    def sources(self, *places):
        return self.tracked(*(places or ("src", "tools", "include", "examples", "bench", "test")), ends=C_FILES)

    def shown(self, path):
        return str(path.relative_to(self.root))

    @functools.lru_cache(maxsize=None)
    def text(self, path):
        return path.read_text(encoding="utf-8")

    @functools.lru_cache(maxsize=None)
    def code(self, path):
        """The text with comments and the insides of strings blanked; lines stay where they are."""
        return code_of(self.text(path))

    @functools.lru_cache(maxsize=None)
    def comments(self, path):
        """(line, text) of each comment; lines are joined, and so are // comments that follow each other."""
        return list(comments_of(self.text(path)))

    def public_names(self):
        """Functions that the public header declares."""
        header = self.root / "include/midisim.h"
        return set(re.findall(r"MSIM_API\b[^;(]*?\b(msim_\w+)\(", self.text(header))) if header.exists() else set()


DECORATION = re.compile(r"__attribute__\s*\(\(.*?\)\)|\b(template|alignas|__launch_bounds__)\s*[<(].*?[)>]")
TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", re.S)


def code_of(body):
    def blank(found):
        word = found[0]
        if word[0] in "\"'":
            return word[0] + " " * (len(word) - 2) + word[0]
        return re.sub(r"[^\n]", " ", word)
    return TOKEN.sub(blank, body)


def comments_of(body):
    previous = None  # end of the // comment before, which may go on
    text, line = "", 0
    for found in TOKEN.finditer(body):
        word = found[0]
        if word[0] in "\"'":
            continue
        goes_on = word.startswith("//") and previous is not None and not body[previous:found.start()].strip()
        if text and not goes_on:
            yield line, text
            text = ""
        if not text:
            line = body.count("\n", 0, found.start()) + 1
        plain = word[2:] if word.startswith("//") else re.sub(r"\n\s*\*?\s?", " ", word[2:-2])
        text = (text + " " + plain.strip()).strip()
        previous = found.end() if word.startswith("//") else None
    if text:
        yield line, text


def functions(code):
    """(name, first line, last line, is_static) of each function that the code defines at file level."""
    depth, header, start, name = 0, "", 0, None
    in_macro = False
    for number, line in enumerate(code.splitlines(), 1):
        if in_macro or re.match(r"\s*#", line):
            in_macro = line.endswith("\\")
            continue
        for part in re.split(r"([{};])", line):
            if part == "{":
                if depth == 0:
                    if re.match(r'\s*(extern\s*"|namespace\b)', header):
                        header = ""
                        continue
                    call = re.search(r"(\w+)\s*\(", DECORATION.sub("", header))
                    is_data = "=" in header.split("(")[0] or re.match(r"\s*typedef\b", header)
                    name = call[1] if call and not is_data else None
                    start, head = number, header
                depth += 1
            elif part == "}":
                depth = max(depth - 1, 0)
                if depth == 0:
                    if name:
                        yield name, start, number, bool(re.search(r"\bstatic\b", head))
                    name, header = None, ""
            elif part == ";":
                if depth == 0:
                    header = ""
            elif depth == 0:
                header += part + " "
