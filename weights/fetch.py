#!/usr/bin/env python3
"""Fetches what the original and its successor publish: models and corpora of vectors. Behind midisim-fetch, which is installed,
and weights/fetch.sh, which serves the source tree. Python's standard library alone; hub.py does the downloading.

  fetch.py [OPTION]... [small | large | midisimx-tiny | midisimx-base | corpus [NAME] | PATH]

Options of users: --to DIR, --revision REV, --force, --all, --list, --quiet, --token-over-http. Those of the two callers:
--name WHO (what messages begin with), --system DIR (where root puts things), --tree DIR (the source tree: models go to its
folder weights, corpora to midisim-embeddings in the current folder), --convert PROGRAM (midisim-convert).
"""
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile

sys.dont_write_bytecode = True  # beside an installed file there is nothing to write
import hub

HERE = pathlib.Path(__file__).resolve().parent
OWNER = "projectlosangeles/"


class Package:
    """A Python package that carries a model, and perhaps a corpus."""

    def __init__(self, name, version, megabytes, repository, checkpoint, corpus=None):
        self.name, self.requirement, self.megabytes = name, f"{name}=={version}", megabytes
        self.wheel = f"{name}-{version}-py3-none-any.whl"
        self.repository, self.checkpoint, self.corpus = repository, checkpoint, corpus


# Models by the name that is asked for: those of packages, whose sums are known, and those of the hub.
PACKAGES = {
    "small": Package("midisim", "26.1.18", 99, "midisim",
                     "midisim_small_pre_trained_model_2_epochs_43117_steps_0.3148_loss_0.9229_acc.pth"),
    "midisimx-tiny": Package("midisimx", "26.10.26", 36, "midisimx",
                             "midisimx_tiny_trained_model_14401_steps_0.5146_loss_0.8202_acc.pth",
                             "lakh_midi_dataset_17209_clean_midis_embeddings_1_2_1_2_weighted_cc_by_nc_sa.npy"),
}
ON_THE_HUB = {
    "large": ("midisim", "midisim_large_pre_trained_model_2_epochs_86275_steps_0.2054_loss_0.9385_acc.pth"),
    "midisimx-base": ("midisimx", "midisimx_trained_model_14391_steps_0.255_loss_0.9036_acc.pth"),
}
FILES = {"small": "midisim-small", "large": "midisim-large"}  # what they are called here; others: as they are asked for
MODELS = (*PACKAGES, *ON_THE_HUB)

# The published corpora: the name's last part is common to all. Weighted: --pooling weighted --pool-weights 1,1,2.
COMMON = "_cc_by_nc_sa.npy"
CORPORA = (  # name, model, pooling
    ("discover_midi_dataset_37292_genres_midis_embeddings", "small", "mean"),
    ("discover_midi_dataset_202400_identified_midis_embeddings", "small", "mean"),
    ("discover_midi_dataset_3480123_clean_midis_embeddings", "small", "mean"),
    ("discover_midi_dataset_37302_genre_midis_embeddings_1_1_2_weighted", "small", "weighted"),
    ("discover_midi_dataset_190032_identified_midis_embeddings_1_1_2_weighted", "small", "weighted"),
    ("discover_midi_dataset_3480123_clean_midis_embeddings_1_1_2_weighted", "small", "weighted"),
    ("discover_midi_dataset_37303_genres_midis_embeddings_large", "large", "mean"),
    ("discover_midi_dataset_202400_identified_midis_embeddings_large", "large", "mean"),
    ("discover_midi_dataset_3480123_clean_midis_embeddings_large", "large", "mean"),
    ("discover_midi_dataset_37287_genres_midis_embeddings_1_1_2_weighted_large", "large", "weighted"),
    ("discover_midi_dataset_190032_identified_midis_embeddings_1_1_2_weighted_large", "large", "weighted"),
    ("discover_midi_dataset_3480123_clean_midis_embeddings_1_1_2_weighted_large", "large", "weighted"),
)
DEFAULT_CORPUS = CORPORA[0][0] + COMMON  # as the original's download_embeddings
# Of the successor's corpora on the hub one name is known. Weighted: 1,2,1,2.
SUCCESSOR = ("lakh_midi_dataset_17203_clean_midis_embeddings_1_2_1_2_weighted" + COMMON,)


class Wrong(Exception):
    """Options that do not go together: one line, exit code 2."""


class Request:
    """What was asked for."""
    values = {"--to": "to", "--revision": "revision", "--name": "name", "--system": "system", "--tree": "tree", "--convert": "convert"}
    flags = {"--force": "is_forced", "--all": "is_all", "--list": "is_list", "--quiet": "is_quiet", "-q": "is_quiet",
             "--token-over-http": "sends_token_over_http"}

    def __init__(self, arguments):
        self.to = self.revision = self.system = self.tree = self.convert = None
        self.name = "fetch.py"
        self.is_forced = self.is_all = self.is_list = self.is_quiet = self.sends_token_over_http = False
        self.what, self.path, self.corpus = None, None, None
        self.words, rest = [], list(arguments)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if word == "--":
                self.words += rest
                break
            if word in self.flags:
                setattr(self, self.flags[word], True)
            elif name in self.values:
                if not equals:
                    value = rest.pop(0) if rest else ""
                if not value:
                    raise Wrong(f"{name}: expected a value, got none")
                setattr(self, self.values[name], value)
            elif word.startswith("-") and word != "-":
                raise Wrong(f"unknown option: {word}")
            else:
                self.words.append(word)

    def read_words(self):
        """What the words name: small, large, corpus NAME, or the path of a file carried over by hand."""
        if not self.words and self.is_list:
            self.words = ["corpus"]
        if not self.words and self.tree:
            self.words = ["small"]
        if not self.words:
            raise Wrong(f"expected {', '.join(MODELS)}, corpus or the path of a file, got nothing")
        first, rest = self.words[0], self.words[1:]
        if first == "corpus":
            self.what = "corpus"
            self.corpus = rest.pop(0) if rest else None
            if self.corpus == "":
                raise Wrong("corpus: expected a name, got nothing")
        elif first in MODELS:
            self.what = first
        else:
            self.what, self.path = "path", pathlib.Path(first)
            if not self.path.is_file():
                raise Wrong(f"expected {', '.join(MODELS)}, corpus or the path of a file, got {first}")
        if rest:
            raise Wrong(f"expected one thing to fetch, got {' and '.join(self.words)}")
        self.check()

    def check(self):
        if (self.is_all or self.is_list) and self.what != "corpus":
            raise Wrong("--all, --list: expected corpus with them")
        if self.is_list + self.is_all + (self.corpus is not None) > 1:
            raise Wrong("expected one of NAME, --all and --list, got two")
        if self.tree and self.what not in ("corpus", "midisimx-tiny", "path") and self.to:
            raise Wrong("--to: expected corpora with it: models go to the tree's folder weights")
        if self.revision and self.what in PACKAGES:
            raise Wrong(f"--revision: expected something of the hub with it: {self.what} is the model of one release")


def user_folder(variable, below_home):
    """The user's folder for this program under an XDG variable; None when there is no telling."""
    given, home = os.environ.get(variable, ""), os.environ.get("HOME", "")
    if os.path.isabs(given):
        return pathlib.Path(given, "midisim")
    return pathlib.Path(home, below_home, "midisim") if home else None


def target_folder(request, is_corpus):
    if request.to and (is_corpus or not request.tree):
        return pathlib.Path(request.to)
    if request.tree:
        return pathlib.Path("midisim-embeddings") if is_corpus else pathlib.Path(request.tree, "weights")
    if os.geteuid() == 0 and request.system:
        return pathlib.Path(request.system)
    folder = user_folder("XDG_DATA_HOME", ".local/share")
    if folder is None:
        raise hub.Failed("no folder to put it in: expected HOME or XDG_DATA_HOME, or --to DIR")
    return folder


def known_sums():
    """{file name: SHA-256} of what is published and does not change."""
    lines = (HERE / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split(None, 1) for line in lines if line)}


def sum_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(hub.CHUNK):
            digest.update(data)
    return digest.hexdigest()


# ---- Models ---------------------------------------------------------------------------------------------------------


class Models:
    """The way of a model: a package or a checkpoint, checked, converted, put in its place."""

    def __init__(self, request, folder):
        self.request, self.folder = request, folder
        self.what, self.sums = request.what, known_sums()

    def fail(self, text):
        hub.say(text)
        again = "weights/fetch.sh PATH" if self.request.tree else "midisim fetch PATH"
        files = " or ".join(package.wheel for package in PACKAGES.values())
        raise hub.Failed(f"Or give the file by hand: {again}, a {files} or the .pth in it (see weights/README.md)")

    def out(self):
        return self.folder / f"{FILES.get(self.what, self.what)}.safetensors"

    def corpus(self):
        """Where the corpus of the package goes; None without one."""
        name = self.what in PACKAGES and PACKAGES[self.what].corpus
        return target_folder(self.request, True) / name if name else None

    def is_there(self):
        paths = [path for path in (self.out(), self.corpus()) if path]
        return all(path.is_file() and path.stat().st_size for path in paths)

    def fetch(self):
        if not self.request.path and not self.request.is_forced and self.is_there():
            if not self.request.tree:  # make asks each time
                hub.note(f"{self.out()} is there; --force fetches it again")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch.", dir=self.folder) as scratch:
            self.scratch = pathlib.Path(scratch)
            self.cache = user_folder("XDG_CACHE_HOME", ".cache") or self.scratch / "cache"
            if self.what in ON_THE_HUB:
                self.convert(self.hub_checkpoint())
            else:
                self.unpack_all()

    def hub_checkpoint(self):
        repository, name = ON_THE_HUB[self.what]
        hub.note(f"the terms of the {self.what} model are those of its repository on the hub, {OWNER}{repository}")
        path = self.cache / name
        if self.request.is_forced or not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            hub.Repository("model", OWNER + repository, self.request.revision or "main").fetch(name, str(path), self.sums.get(name))
        return path

    def unpack_all(self):
        """A package or a checkpoint, given or downloaded: the model, and the corpus if it has one."""
        source = self.request.path or self.cached(PACKAGES[self.what])
        is_wheel = source.suffix == ".whl"
        path = self.unpack(source, ".pth") if is_wheel else source
        got = sum_of(path)
        found = [what for what, package in PACKAGES.items() if self.sums.get(package.checkpoint) == got]
        if not found or (not self.request.path and found != [self.what]):
            wanted = [self.what] if self.what in PACKAGES else PACKAGES
            sums = " or ".join(self.sums.get(PACKAGES[what].checkpoint, "-") for what in wanted)
            self.fail(f"{source}: expected a checkpoint with SHA-256 {sums}, got {got}")
        self.what = found[0]
        self.convert(path)
        if is_wheel and PACKAGES[self.what].corpus:
            self.keep_corpus(source)

    def keep_corpus(self, wheel):
        name, out = PACKAGES[self.what].corpus, self.corpus()
        made = self.unpack(wheel, ".npy")
        got = sum_of(made)
        if got != self.sums[name]:
            self.fail(f"{wheel}: expected a corpus with SHA-256 {self.sums[name]}, got {got}")
        hub.say("the corpus of vectors is published under CC BY-NC-SA: not for commercial use, and what is derived from it is")
        hub.say("under the same terms.")
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.parent / f".{name}.part"
        shutil.copyfile(made, part)
        os.replace(part, out)
        hub.note(f"wrote {out}")

    def cached(self, package):
        """The package or the checkpoint, out of the cache or downloaded into it."""
        self.cache.mkdir(parents=True, exist_ok=True)
        names = (package.wheel,) if package.corpus else (package.wheel, package.checkpoint)
        for name in names:
            path = self.cache / name
            if path.is_file() and sum_of(path) == self.sums[name]:
                return path
            if path.is_file():
                hub.say(f"{path}: damaged, fetched again")
            path.unlink(missing_ok=True)
        pip = next((python for python in (sys.executable, "python3") if has_pip(python)), None)
        if pip is None and package.corpus:
            self.fail("there is no pip (apt-get install python3-pip)")
        if pip is None:  # the checkpoint alone, from the hub
            repository = hub.Repository("model", OWNER + package.repository, "main")
            try:
                repository.fetch(package.checkpoint, str(self.cache / package.checkpoint), self.sums[package.checkpoint])
            except hub.Failed as failure:
                self.fail(f"{failure}; and there is no pip (apt-get install python3-pip)")
            return self.cache / package.checkpoint
        if not (self.download(pip, package) or hub.say("trying once more") or self.download(pip, package)):
            self.fail(f"cannot download {package.requirement}")
        return self.cache / package.wheel

    def download(self, python, package):
        """The package takes its name in the cache only when its sum is right."""
        hub.note(f"downloading {package.requirement} ({package.megabytes} MB)")
        with tempfile.TemporaryDirectory(prefix="part.", dir=self.cache) as part:
            command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps",
                       "--only-binary", ":all:", "--dest", part, package.requirement]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            path = pathlib.Path(part, package.wheel)
            if done.returncode:
                for line in done.stdout.splitlines()[-3:]:
                    hub.say(line)
                return False
            got = sum_of(path) if path.is_file() else f"no file {package.wheel}"
            if got != self.sums[package.wheel]:
                hub.say(f"{package.wheel}: expected SHA-256 {self.sums[package.wheel]}, got {got}")
                return False
            path.rename(self.cache / package.wheel)
        return True

    def unpack(self, wheel, ending):
        """The one checkpoint or the one corpus of a package."""
        path = self.scratch / f"unpacked{ending}"
        try:
            with zipfile.ZipFile(wheel) as package:
                names = [name for name in package.namelist() if name.endswith(ending)]
                if len(names) != 1:
                    raise hub.Failed(f"{wheel}: expected one {ending}, got {len(names)}")
                with package.open(names[0]) as source, open(path, "wb") as out:
                    shutil.copyfileobj(source, out, hub.CHUNK)
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise hub.Failed(f"{wheel}: {error}") from None
        return path

    def convert(self, path):
        made = self.scratch / "model.safetensors"
        program = os.environ.get("MIDISIM_CONVERT") or self.request.convert
        try:
            done = subprocess.run([program, "--quiet", path.absolute(), made])
        except OSError as error:
            raise hub.Failed(f"{program}: {error.strerror}") from None
        if done.returncode or not made.is_file():
            self.fail("midisim-convert failed")
        os.replace(made, self.out())
        hub.note(f"wrote {self.out()}")


def has_pip(python):
    try:
        return subprocess.run([python, "-m", "pip", "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


# ---- Corpora --------------------------------------------------------------------------------------------------------


def list_corpora(repository):
    """The names on standard output: what the hub has, or without it what is known."""
    made = {name + COMMON: (model, pooling) for name, model, pooling in CORPORA}
    try:
        found = [(name, size) for name, size in repository.files(with_sizes=True) if name.endswith(".npy")]
    except hub.Failed as failure:
        hub.say(f"{failure}; these were published in January 2026:")
        found = [(name, None) for name in made]
    for name, size in found:
        model, pooling = made.get(name, ("-", "-"))
        print(name, "-" if size is None else size, model, pooling, *(["default"] if name == DEFAULT_CORPUS else []), sep="\t")


def fetch_corpora(request, folder):
    wanted = request.corpus or ""
    kind = "midisimx" if wanted.removesuffix(".npy") + ".npy" in SUCCESSOR else "midisim"
    repository = hub.Repository("dataset", f"{OWNER}{kind}-embeddings", request.revision or "main")
    if request.is_list:
        list_corpora(repository)
        return
    hub.say(f"the corpora of vectors ({OWNER}{kind}-embeddings) are published under CC BY-NC-SA: not for commercial use,")
    hub.say("and what is derived from them is under the same terms; their page on the hub has the licence.")
    if request.is_all:
        names = [name for name, _ in repository.files()]
    else:
        names = [request.corpus or DEFAULT_CORPUS]
        names = [name if name.endswith(".npy") else name + ".npy" for name in names]
    for name in names:
        hub.check_name(name)
        out = folder / name
        if out.exists() and not request.is_forced:
            hub.note(f"{out} is there")
        else:
            repository.fetch(name, str(out))


def main(arguments):
    request = None
    try:
        request = Request(arguments)
        hub.Voice.name, hub.Voice.is_quiet = request.name, request.is_quiet
        hub.Voice.sends_token_over_http = request.sends_token_over_http
        request.read_words()
        if request.what == "corpus":
            fetch_corpora(request, None if request.is_list else target_folder(request, True))
        else:
            Models(request, target_folder(request, False)).fetch()
    except Wrong as wrong:
        hub.Voice.name = next((arguments[i + 1] for i, a in enumerate(arguments[:-1]) if a == "--name"), hub.Voice.name)
        hub.say(f"{wrong} (see {hub.Voice.name} --help)")
        return 2
    except hub.Failed as failure:
        hub.say(failure)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as failure:
        hub.say(f"{failure.filename or ''}: {failure.strerror or failure}")
        return 1
    return 0


def stop(number, _):
    sys.exit(128 + number)  # temporary folders go, parts stay


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main(sys.argv[1:]))
