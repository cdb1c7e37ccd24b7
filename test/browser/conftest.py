"""Fixtures of the tests in a browser: Chromium, reports made by the tools, a page that is looked at all the while."""
import os
import pathlib
import shutil

import pytest
from cli_util import CI, ROOT, midi, run, text, write_model
from test_find import tune

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None


@pytest.fixture(scope="session")
def browser():
    """Chromium of the system, or the one that CHROMIUM names."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    skip = pytest.fail if CI else pytest.skip
    if not sync_playwright:
        skip("no playwright: build/venv/bin/pip install -r test/browser/requirements.txt")
    if not program:
        skip("no chromium: apt-get install chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Look:
    """A page from disk. What goes wrong in it fails the test: messages of the console, errors, requests."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(accept_downloads=True, **{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.faults = []
        self.page.on("console", lambda message: self.faults.append(f"console: {message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self.note_request)
        self.url = pathlib.Path(path).resolve().as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready]")

    def note_request(self, request):
        if request.url != self.url and not request.url.startswith("blob:"):
            self.faults.append(f"request: {request.url}")

    def end(self):
        self.context.close()
        assert self.faults == []


@pytest.fixture
def look(browser):
    """look(path, ...) opens a report."""
    looks = []

    def opener(path, **options):
        looks.append(Look(browser, path, **options))
        return looks[-1].page
    yield opener
    for each in looks:
        each.end()


def drums(pitches):
    """Drums alone, as midi() makes notes."""
    return midi(pitches, channel=9)


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    """A folder with reports of each kind, and the music that they are of."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "music/b").mkdir(parents=True)
    for i in range(14):
        (folder / f"music/{'b/' if i % 2 else ''}{i:02d}.mid").write_bytes(midi(tune(i), ticks=240))
    (folder / "music/copy.mid").write_bytes((folder / "music/b/05.mid").read_bytes())
    (folder / "music/up.mid").write_bytes(midi(tune(7, transpose=2), ticks=220))
    (folder / "q.mid").write_bytes(midi(tune(3, transpose=4)[20:100], ticks=200))
    (folder / "drums.mid").write_bytes(drums([36, 42, 38, 42] * 20))
    (folder / "<img src=x onerror=alert(1)>.mid").write_bytes((folder / "q.mid").read_bytes())
    write_model(folder / "m.safetensors")

    def do(tool, *arguments, code=0):
        done = run(tool, *arguments, cwd=folder, env={"XDG_CACHE_HOME": str(folder)})
        assert done.returncode == code, text(done)
    do("embed", "-m", "m.safetensors", "-o", "c.npy", "music")
    do("index", "-o", "c.notes", "music")
    do("search", "-m", "m.safetensors", "-c", "c.npy", "--find", "-k", 6, "--midi-root", "music", "--html", "search.html", "q.mid",
       "music/b/05.mid")
    do("search", "-m", "m.safetensors", "-c", "c.npy", "-k", 4, "--html", "lacking.html", "q.mid")
    do("find", "-i", "c.notes", "--html", "find.html", "--notes", " ".join(map(str, tune(9)[40:64])))
    do("groups", "--html", "groups.html", "music")
    do("report", "-o", "map.html", "--map", "c.npy", "--midi-root", "music")
    do("report", "-o", "all.html", "-i", "music", "q.mid", "--map", "c.npy")
    do("report", "-o", "hostile.html", "<img src=x onerror=alert(1)>.mid", "music/b/03.mid", "drums.mid", "--title",
       "<script>alert(2)</script>")
    return folder


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory):
    """The folder of make demo: its music, corpus and note index. The vectors are those of a small model made here."""
    folder = tmp_path_factory.mktemp("demonstration")
    for line in (ROOT / "demo/files.txt").read_text().splitlines():
        if not line.startswith("#"):
            kept = folder / "midi" / line.split("/")[0] / pathlib.Path(line).name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "test/data/midi" / line, kept)
    shutil.copytree(ROOT / "demo/midi", folder / "midi/altered")
    write_model(folder / "m.safetensors")
    done = run("embed", "--notes", "-m", "m.safetensors", "-o", "corpus.npy", "midi", cwd=folder)
    assert done.returncode == 0, text(done)
    return folder
