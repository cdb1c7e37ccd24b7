#!/usr/bin/env python3
"""Take the pictures of reports and of the served page that README and docs/guide show: bench/pictures.py [--build build/release] [-o docs]

The reports are of the demonstration's folder (make demo first) and of the MIDI files that come with the tests. Needs the
model, playwright (test/browser/requirements.txt) and chromium, which CHROMIUM names where it is not on PATH.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = ROOT / "build/demo"
LARGEST = 200 * 1024
MOVED = "midisim.view.move(1); midisim.view.pair.seekAxis(6300)"
COMPARED = "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Compare').click(); scrollTo(0, 0)"
POINTED = """const view = midisim.view, box = view.canvas.element.getBoundingClientRect();
const point = view.points.find((p) => p.name.endsWith('love.mid')), [x, y] = view.place(point, box.width, box.height);
view.canvas.element.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + x, clientY: box.top + y}));"""
DUSTY_MILLER = "document.querySelector('.chip').click()"
# (name of the picture, report or served page, width, height, colours, what is done first)
PICTURES = (
    ("report", "matches.html", 1280, 900, "light", MOVED),
    ("report-dark", "phrase.html", 1280, 900, "dark", ""),
    ("report-phone", "matches.html", 390, 844, "dark", MOVED + "; document.querySelector('.detail').scrollIntoView()"),
    ("report-groups", "groups.html", 1280, 900, "light", ""),
    ("report-map", "map.html", 1280, 900, "light", POINTED),
    ("serve", "served", 1280, 780, "light", DUSTY_MILLER),
)


def run(build, folder, tool, *arguments):
    done = subprocess.run([build / f"midisim-{tool}", "-q", *map(str, arguments)], cwd=folder, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    if done.returncode not in (0, 1):  # 1: some of the shipped files are damaged on purpose
        sys.exit(f"pictures: midisim-{tool} ended with {done.returncode}")


def make_reports(build, out):
    phrase = "E4:3/4 F4:1/4 G4:1/2 E4 D4 C4 B3 D4 D4 F4 E4 D4 E4:3/4 F4:1/4 G4:1/2 E4"
    shipped, music = ROOT / "test/data/midi", out / "music"
    shutil.copytree(DEMO / "midi", music)
    for name, copy in (("freedink/love.mid", "old disk/love (1).mid"), ("js-fakes/99.mid", "old disk/choral 99.mid")):
        (music / copy).parent.mkdir(exist_ok=True)
        shutil.copy(music / name, music / copy)
    run(build, DEMO, "search", "-c", "corpus.npy", "--find", "--midi-root", "midi", "--html", out / "matches.html",
        "midi/freedink/love.mid")
    run(build, DEMO, "find", "-i", "corpus.notes", "-k", 6, "--midi-root", "midi", "--html", out / "phrase.html", "--notes", phrase)
    run(build, music, "groups", "--state", out / "state.pairs", "--html", out / "groups.html", ".")
    run(build, shipped, "embed", "--max-tokens", 1024, "-o", out / "all.npy", ".")
    run(build, shipped, "report", "-o", out / "map.html", "--map", out / "all.npy", "--midi-root", ".")


@contextlib.contextmanager
def serve(build):
    """The address of a server of the demonstration."""
    command = [build / "midisim-serve", "-q", "--port", "0", "--midi-root", "midi", "corpus.npy"]
    with subprocess.Popen(command, cwd=DEMO, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def take(reports, address, out):
    from playwright.sync_api import sync_playwright
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, report, width, height, colours, action in PICTURES:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            page.goto(address if report == "served" else (reports / report).as_uri())
            page.wait_for_selector("html[data-ready]")
            if action:
                page.evaluate(f"() => {{ {action} }}")
                page.wait_for_function("() => midisim.view")
            page.wait_for_timeout(400)
            path = out / f"{name}.png"
            page.screenshot(path=path, full_page=report == "served")
            page.close()
            if path.stat().st_size > LARGEST:
                sys.exit(f"pictures: {path} has {path.stat().st_size} bytes, of at most {LARGEST}")
        browser.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "docs")
    args = parser.parse_args()
    if not (DEMO / "corpus.npy").exists():
        sys.exit("pictures: no build/demo: run make demo first")
    with tempfile.TemporaryDirectory() as folder:
        make_reports(args.build.resolve(), pathlib.Path(folder))
        with serve(args.build.resolve()) as address:
            take(pathlib.Path(folder), address, args.output.resolve())


if __name__ == "__main__":
    main()
