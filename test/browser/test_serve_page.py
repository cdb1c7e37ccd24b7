"""The served page in Chromium: a file dropped, notes typed and played, links, cancelling; no message, no request elsewhere."""
import pytest
from serve_util import serving
from test_find import tune

PHRASE = " ".join(map(str, tune(9)[40:56]))


@pytest.fixture(scope="module")
def server(reports):
    with serving("-m", "m.safetensors", "c.npy", "--midi-root", "music", cwd=reports) as started:
        yield started


@pytest.fixture
def page(browser, server):
    """A page of the server. What goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened, faults = context.new_page(), []
    opened.on("console", lambda message: faults.append(f"console: {message.type}: {message.text}"))
    opened.on("pageerror", lambda error: faults.append(f"error: {error}"))
    opened.on("request", lambda r: None if r.url.startswith((server.address + "/", "data:")) else faults.append(f"request: {r.url}"))
    opened.goto(server.address + "/")
    opened.wait_for_selector("html[data-ready]")
    yield opened
    context.close()
    assert faults == []


def first_match(page):
    page.wait_for_selector("#matches .row")
    return page.locator("#matches .row .name").first.inner_text()


def test_typed_notes_and_links(page, server):
    """Eight notes find their piece; the address gives the same search again."""
    page.fill("#notes", " ".join(PHRASE.split()[:8]))
    page.select_option("#mode", "find")
    page.click("#go")
    assert first_match(page) == "09.mid"
    assert "notes=" in page.url and "mode=find" in page.url
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    assert first_match(page) == "09.mid" and page.input_value("#mode") == "find"


def test_file(page, reports):
    page.set_input_files("#file", str(reports / "q.mid"))
    assert first_match(page) == "03.mid"
    assert "4 semitones lower" in page.locator("#sentence").inner_text()
    page.click("#more")  # the chosen match as the query
    page.wait_for_function("() => midisim.report && midisim.report.queries[0].piece.name.endsWith('03.mid')")
    assert "piece=" in page.url


def test_dropped_file_of_a_hostile_name(page, reports):
    data = (reports / "q.mid").read_bytes()
    page.evaluate("""(bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "<img src=x onerror=alert(1)>.mid"));
      document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""", list(data))
    assert first_match(page) == "03.mid"
    assert page.locator("main img").count() == 0


def test_played_notes(page):
    page.focus("#recorder")
    for key in "adgh":
        page.keyboard.press(key)
        page.wait_for_timeout(125)
    typed = page.input_value("#notes").split()
    assert [note.split(":")[0] for note in typed] == ["C4", "E4", "G4", "A4"] and all(":" in note for note in typed)
    page.wait_for_function("() => midisim.player.context.state === 'running'")
    page.click("#forget")
    assert page.input_value("#notes") == ""


def test_wrong_notes_are_said(browser, server):
    """What cannot be read is said in words. (Chromium itself notes the status 400 in its console.)"""
    page = browser.new_context().new_page()
    page.goto(server.address + "/")
    page.wait_for_selector("html[data-ready]")
    page.fill("#notes", "H9")
    page.click("#go")
    page.wait_for_selector("#said.failed")
    page.context.close()


def test_matches_are_heard(page):
    page.fill("#notes", PHRASE)
    page.click("#go")
    first_match(page)
    page.click("#play")
    page.wait_for_function("() => midisim.player.level() > 0.005")


def test_accessible(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    page.fill("#notes", PHRASE)
    page.click("#go")
    first_match(page)
    found = [v for v in axe.Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]
