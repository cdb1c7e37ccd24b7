"""The served page in Chromium: a file dropped, notes typed and played, links, Back, cancelling; no message, no request elsewhere."""
import re

import pytest
from cli_util import DRUMS, midi, run, text
from page_util import HEARD, settle
from serve_util import Server, serving
from test_find import tune

PHRASE = " ".join(map(str, tune(9)[40:56]))
EIGHT = " ".join(PHRASE.split()[:8])
DEMONSTRATED = "E4 F4 G4 E4 D4 C4 B3 D4"  # the first eight of README's phrase
PIANO = """window.midi = {inputs: new Map(), onstatechange: null};
window.plug = (name) => {
  midi.inputs.set(name, {name, state: "connected", onmidimessage: null});
  if (midi.onstatechange) midi.onstatechange();
};
window.unplug = (name) => { midi.inputs.get(name).state = "disconnected"; midi.onstatechange(); };
window.send = (...data) => [...midi.inputs.values()].forEach((input) => input.onmidimessage({data: new Uint8Array(data)}));
navigator.requestMIDIAccess = async () => midi;"""


@pytest.fixture(scope="module")
def server(reports):
    with serving("-m", "m.safetensors", "c.npy", "--midi-root", "music", cwd=reports) as started:
        yield started


@pytest.fixture
def visit(browser, server):
    """visit(...) opens the page of a server. What goes wrong in it fails the test."""
    contexts, faults = [], []

    def note(message):
        if not note.allowed or not re.search(note.allowed, message):
            faults.append(message)

    def opener(hash_="", at=server, script=None, allowed=None, **options):
        note.allowed = allowed
        usual = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "accept_downloads": True}
        context = browser.new_context(**{**usual, **options})
        contexts.append(context)
        if script:
            context.add_init_script(script)
        opened = context.new_page()
        opened.on("console", lambda message: note(f"console: {message.type}: {message.text}"))
        opened.on("pageerror", lambda error: note(f"error: {error}"))
        opened.on("request", lambda r: None if r.url.startswith((at.address + "/", "data:", "blob:")) else note(f"request: {r.url}"))
        opened.goto(f"{at.address}/{hash_}")
        opened.wait_for_selector("html[data-ready]")
        return opened
    yield opener
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(visit):
    return visit()


def first_match(page):
    page.wait_for_selector("#matches .row")
    return page.locator("#matches .row .name").first.inner_text()


def until_query(page, name):
    """Until the matches of this query are shown."""
    page.wait_for_function("(name) => midisim.view && midisim.view.query.piece.name.endsWith(name)", arg=name)


def search(page, notes):
    page.fill("#notes", notes)
    page.click("#go")
    until_query(page, notes)


def names(page):
    return page.evaluate("midisim.view.items.map((item) => item.link.match.name)")


# ---- Queries --------------------------------------------------------------------------------------------------------


def test_the_demonstrations_piece(visit, demonstration):
    """Eight notes, typed as README's phrase begins, find the demonstration's piece, first of all."""
    with serving("-m", "m.safetensors", "corpus.npy", "--midi-root", "midi", cwd=demonstration) as served:
        page = visit(at=served)
        assert "42 pieces" in page.locator("#stock").inner_text()
        page.type("#notes", DEMONSTRATED)
        page.keyboard.press("Enter")
        assert first_match(page) == "english1.mid"
        assert "has all 8 notes of the query in bars 1–2" in page.locator("#sentence").inner_text()
        page.click("#play")
        page.wait_for_function(HEARD)
        page = visit(at=served)
        page.get_by_role("button", name="The Dusty Miller").click()  # the same tune, with its rhythm
        assert first_match(page) == "english1.mid"


def test_typed_notes_and_links(page, visit):
    """Eight notes find their piece; the address gives the same search and the same options again."""
    page.fill("#notes", EIGHT)
    page.select_option("#mode", "find")
    page.select_option("#keys", "own")
    page.fill("#k", "3")
    page.click("#go")
    assert first_match(page) == "09.mid"
    found = names(page)
    other = visit("#" + page.url.partition("#")[2])
    assert first_match(other) == "09.mid" and names(other) == found and len(found) <= 3
    assert [other.input_value(f"#{id_}") for id_ in ("mode", "keys", "k", "notes")] == ["find", "own", "3", EIGHT]


def test_links_that_are_wrong(visit):
    page = visit("#mode=x&keys=&k=-7&piece=r3")
    assert first_match(page) == "03.mid" or names(page)
    assert [page.input_value(f"#{id_}") for id_ in ("mode", "keys", "k")] == ["both", "all", "16"]
    page = visit("#k=1000&file=song.mid")
    assert "Choose song.mid again" in page.locator("#said").inner_text() and page.input_value("#k") == "100"


def test_options_ask_again(page):
    search(page, EIGHT)
    many = len(names(page))
    page.fill("#k", "1")
    page.locator("#k").press("Tab")
    page.wait_for_function("(many) => midisim.view && midisim.view.items.length < many", arg=many)
    assert "k=1&" in page.url


def test_file(page, reports):
    page.set_input_files("#file", str(reports / "q.mid"))
    assert first_match(page) == "03.mid"
    assert "4 semitones lower" in page.locator("#sentence").inner_text()
    assert page.locator(".file-name").inner_text() == "q.mid" and page.title().startswith("q.mid")
    page.click("#more")  # the chosen match as the query
    until_query(page, "03.mid")
    assert "piece=" in page.url
    assert page.evaluate("midisim.view.item.link.match !== midisim.view.query.piece")  # what is not the query is shown first


def test_file_with_the_name_of_a_piece(page, reports):
    """The query is the file, and the match is the piece."""
    page.set_input_files("#file", {"name": "02.mid", "mimeType": "audio/midi", "buffer": (reports / "q.mid").read_bytes()})
    until_query(page, "02.mid")
    lengths = page.evaluate("""() => {
      const items = midisim.view.items, other = items.find((item) => item.link.match.name === "02.mid");
      return [midisim.view.query.piece.notes.length, other.link.match.notes.length];
    }""")
    assert lengths[0] == 80 < lengths[1]


def test_any_piece(page):
    page.get_by_role("button", name="any piece").click()
    assert first_match(page) and "piece=r" in page.url


def test_dropped_file_of_a_hostile_name(page, reports):
    data = (reports / "q.mid").read_bytes()
    page.evaluate("""(bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "<img src=x onerror=alert(1)>.mid"));
      document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""", list(data))
    assert first_match(page) == "03.mid"
    assert page.locator("main img").count() == 0


def test_wrong_notes_are_said(visit):
    """What cannot be read is said in words, and chosen in the text. (Chromium itself notes the status 400 in its console.)"""
    page = visit(allowed="400")
    page.fill("#notes", "E4 E4 H9 F4")
    page.click("#go")
    page.wait_for_selector("#said.failed")
    assert page.locator("#said").inner_text().startswith("Character 7: expected a note such as C4")
    assert page.evaluate("document.querySelector('#notes').value.slice(...['selectionStart', 'selectionEnd']"
                         ".map((end) => document.querySelector('#notes')[end]))") == "H9"
    page.fill("#notes", " ")
    page.click("#go")
    assert "Type some notes first" in page.locator("#said").inner_text()


@pytest.mark.parametrize("name, data, said", [("drums.mid", DRUMS, ""), ("text.mid", b"# Notes\n" * 40, "this is a text file"),
                                              ("empty.mid", b"", "no bytes"), ("broken.mid", b"MThd" + b"\xff" * 30, "")])
def test_files_without_notes(visit, name, data, said):
    """What is wrong with a file is said with its name; the next query is none the worse."""
    page = visit(allowed="40.|422|413")
    page.set_input_files("#file", {"name": name, "mimeType": "audio/midi", "buffer": data})
    page.wait_for_selector("#said.failed")
    assert page.locator("#said").inner_text().startswith(f"{name} cannot be searched: ") and said in page.locator("#said").inner_text()
    assert page.locator("#matches .row").count() == 0
    search(page, EIGHT)
    assert first_match(page) == "09.mid"


# ---- Played notes ---------------------------------------------------------------------------------------------------


def pitches(page):
    return [note.split(":")[0] for note in page.input_value("#notes").split()]


def test_played_on_the_computers_keys(page):
    page.focus("#piano")
    for key in "adgh":
        page.keyboard.press(key)
        page.wait_for_timeout(125)
    assert pitches(page) == ["C4", "E4", "G4", "A4"] and all(":" in note for note in page.input_value("#notes").split())
    page.wait_for_function("() => midisim.player.context.state === 'running'")
    page.keyboard.press("Backspace")
    page.keyboard.press("x")
    page.keyboard.press("w")
    assert pitches(page) == ["C4", "E4", "G4", "C#5"]
    page.keyboard.press("Tab")  # the piano is one stop of the Tab key
    assert page.evaluate("document.activeElement.id") == "octave-down"
    page.click("#forget")
    assert page.input_value("#notes") == ""


def test_played_with_the_mouse(page):
    """Drawn keys sound and write; what was typed stays before what is played; a searched tune is over."""
    page.fill("#notes", "C4 D4")
    page.get_by_role("button", name="G4", exact=True).click()
    page.wait_for_function(HEARD)
    page.get_by_role("button", name="F sharp 4", exact=True).click()
    assert pitches(page) == ["C4", "D4", "G4", "F#4"]
    page.keyboard.press("k")  # a click leaves the focus on the piano
    assert pitches(page)[-1] == "C5"
    page.click("#go")
    first_match(page)
    assert page.locator("#piano").is_visible()
    page.get_by_role("button", name="E4", exact=True).click()
    assert pitches(page) == ["E4"]


def test_piano_is_shown_and_hidden(page):
    page.click("#show-piano")
    assert not page.locator("#piano").is_visible() and page.locator("#show-piano").get_attribute("aria-expanded") == "false"
    page.click("#show-piano")
    page.keyboard.press("d")
    assert pitches(page) == ["E4"]
    page.fill("#notes", EIGHT)
    page.click("#go")
    first_match(page)
    assert not page.locator("#piano").is_visible()  # room for the matches


def test_midi_keyboard(visit):
    page = visit(script=PIANO)
    page.click("#midi")
    page.wait_for_function("() => document.querySelector('#midi-state').textContent.includes('No MIDI keyboard')")
    page.evaluate("plug('Grand <b>Piano</b>')")
    assert page.locator("#midi-state").inner_text() == "Play: Grand <b>Piano</b> is heard." and not page.locator("#midi").is_visible()
    for pitch in (60, 64):
        page.evaluate("(pitch) => { send(0x90, pitch, 90); send(0x80, pitch, 0); send(0x91, pitch, 0); send(0xb0, 64, 127); }", pitch)
        page.wait_for_timeout(100)
    page.evaluate("[67, 71, 74].forEach((pitch) => send(0x9f, pitch, 70))")
    assert pitches(page) == ["C4", "E4", "G4+B4+D5"]
    page.wait_for_function(HEARD)
    page.click("#go")
    first_match(page)
    page.evaluate("unplug('Grand <b>Piano</b>')")
    assert "No MIDI keyboard" in page.locator("#midi-state").inner_text() and page.locator("#midi").is_visible()


def test_midi_is_refused(visit):
    page = visit(script="navigator.requestMIDIAccess = async () => { throw new DOMException('no', 'SecurityError'); };")
    page.click("#midi")
    page.wait_for_function("() => document.querySelector('#midi-state').textContent.includes('does not allow MIDI')")
    page = visit(script="delete Navigator.prototype.requestMIDIAccess;")
    assert not page.locator("#midi").is_visible()


def test_matches_are_heard(page):
    search(page, PHRASE)
    page.click("#play")
    page.wait_for_function(HEARD)


# ---- Back and Forward -----------------------------------------------------------------------------------------------


def test_back_and_forward(page, reports):
    """Typed notes, a file, a piece: each again, with the match that was open; and the empty page at the beginning."""
    search(page, EIGHT)
    page.locator("#matches .row").nth(1).click()
    page.set_input_files("#file", str(reports / "q.mid"))
    until_query(page, "q.mid")
    page.click("#more")
    until_query(page, "03.mid")
    page.go_back()
    until_query(page, "q.mid")
    assert first_match(page) == "03.mid" and page.locator(".file-name").inner_text() == "q.mid"
    page.go_back()
    until_query(page, EIGHT)
    assert page.input_value("#notes") == EIGHT and page.evaluate("midisim.view.item.rank") == 2
    page.go_back()
    page.wait_for_function("() => !midisim.view")
    assert page.locator("#matches").count() == 0 and page.locator(".examples").is_visible() and page.input_value("#notes") == ""
    page.go_forward()
    until_query(page, EIGHT)
    page.go_forward()
    until_query(page, "q.mid")


def test_back_keeps_options(page):
    search(page, EIGHT)
    page.select_option("#keys", "own")
    page.wait_for_function("() => location.hash.includes('keys=own')")
    first_match(page)
    page.go_back()
    page.wait_for_function("() => document.querySelector('#keys').value === 'all'")


# ---- Marks ----------------------------------------------------------------------------------------------------------


def test_marks_of_all_searches(page, reports, tmp_path):
    """Marks stay through searches and reloads, are exported all together, and cleared when asked twice."""
    search(page, EIGHT)
    page.click("#keep")
    first = names(page)[0]
    page.set_input_files("#file", str(reports / "q.mid"))
    until_query(page, "q.mid")
    second = names(page)[0]
    page.click("#keep")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    search(page, EIGHT)
    assert page.locator("#keep").get_attribute("aria-pressed") == "true" and first != second
    assert page.evaluate("Object.keys(localStorage).join()") == "midisim marks c.npy"  # another corpus has its own
    with page.expect_download() as download:
        page.click("#export-keep")
    download.value.save_as(tmp_path / "kept.tsv")
    assert (tmp_path / "kept.tsv").read_text().splitlines() == [first, second]
    done = run("tokens", "--files-from", tmp_path / "kept.tsv", cwd=reports / "music")
    assert done.returncode == 0, text(done)
    page.click("#clear-marks")
    assert page.locator("#keep").get_attribute("aria-pressed") == "true"
    page.click("#clear-marks")
    assert page.locator("#keep").get_attribute("aria-pressed") == "false" and not page.locator("#export-keep").is_visible()
    assert page.evaluate("localStorage.length") == 0


def test_marks_without_storage(visit):
    page = visit(script="Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});")
    search(page, EIGHT)
    page.click("#keep")
    search(page, PHRASE)
    assert page.locator("#keep").get_attribute("aria-pressed") == "true"


# ---- Progress, cancelling, a server that ends ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def windows(reports):
    """A corpus with a row for each stretch of 128 tokens."""
    done = run("embed", "-m", "m.safetensors", "--windows", 128, "-o", "w.npy", "music", cwd=reports)
    assert done.returncode == 0, text(done)
    return reports


def test_progress_and_cancel(visit, windows):
    """A long search says how far it is and can be ended; the page then takes the next one."""
    (windows / "slow.mid").write_bytes(midi([pitch for i in range(300) for pitch in tune(i % 12)], ticks=60))
    with serving("-m", "m.safetensors", "w.npy", "--notes", "c.notes", "--midi-root", "music", "--threads", 1, "--workers", 1,
                 cwd=windows) as served:
        page = visit("#mode=likeness", at=served, allowed="409|404")
        page.set_input_files("#file", str(windows / "slow.mid"))
        page.wait_for_function("() => document.querySelector('#said').textContent.includes('listening to the query (')")
        assert page.locator("#progress").is_visible()
        page.click("#cancel")
        assert page.locator("#said").inner_text() == "Cancelled." and page.locator("#progress").count() == 0
        page.wait_for_function("""async () => {
          const state = await (await fetch("api/status")).json();
          return state.running === 0 && state.waiting === 0 && state.cancelled === 1;
        }""")
        page.select_option("#mode", "find")
        search(page, EIGHT)
        assert first_match(page) == "09.mid"


@pytest.mark.parametrize("share, shown", [(0.4, 0.4), (None, -1), ("none", -1), (7, 1)])
def test_progress_bar(visit, share, shown):
    """How far a search is, where the server says so; else a bar without an end."""
    page = visit(allowed="404")
    state = {"id": "x", "stage": "embedding", "ahead": 0, "seconds": 1, **({} if share == "none" else {"share": share})}
    page.route("**/api/search?*", lambda route: None)  # it is never answered
    page.route("**/api/search/*", lambda route: route.fulfill(json=state))
    page.fill("#notes", EIGHT)
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('listening to the query')")
    assert page.evaluate("document.querySelector('#progress').position") == pytest.approx(shown)
    page.click("#cancel")
    assert page.locator("#said").inner_text() == "Cancelled."


def test_a_server_that_ends(visit, reports):
    """The page says that nobody answers, and goes on when the server is back."""
    arguments = ("-m", "m.safetensors", "c.npy", "--midi-root", "music")
    first = Server(*arguments, cwd=reports)
    page = visit(at=first, allowed="ERR_CONNECTION|ERR_EMPTY|401|403")
    search(page, EIGHT)
    first.end()
    page.fill("#notes", PHRASE)
    page.click("#go")
    page.wait_for_selector("#said.failed")
    assert "does not answer" in page.locator("#said").inner_text() and page.locator("#again").is_visible()
    with serving(*arguments, "--port", first.port, cwd=reports):
        until_query(page, PHRASE)
        assert first_match(page) == "09.mid" and page.locator("#said.failed").count() == 0


def test_a_full_queue_is_said(visit):
    page = visit(allowed="503")
    page.route("**/api/search?*", lambda route: route.fulfill(status=503, json={"error": "too many searches wait"}))
    page.fill("#notes", EIGHT)
    page.click("#go")
    page.wait_for_selector("#said.failed")
    page.unroute("**/api/search?*")
    page.click("#again")
    assert first_match(page) == "09.mid"


def test_token(visit, reports):
    """From another machine's address, which is no secure context: no crypto.randomUUID; and the token leaves the address."""
    with serving("-m", "m.safetensors", "c.npy", "--listen", "0.0.0.0", cwd=reports) as served:
        assert served.token
        served.address = f"http://127.0.0.1:{served.port}"
        page = visit(f"#token={served.token}", at=served, script="delete Crypto.prototype.randomUUID;")
        assert "token" not in page.url
        search(page, EIGHT)
        assert first_match(page) == "09.mid"
        page.reload()
        assert first_match(page) == "09.mid"
        page = visit(at=served, allowed="401")
        assert "lacks the server's token" in page.locator("#said").inner_text()


# ---- What the server lacks ------------------------------------------------------------------------------------------


def test_notes_alone(visit, reports):
    with serving("c.notes", "--midi-root", "music", cwd=reports) as served:
        page = visit("#mode=likeness", at=served)
        assert page.input_value("#mode") == "find" and page.locator("#mode").is_disabled()
        search(page, EIGHT)
        assert first_match(page) == "09.mid"


def test_windows(visit, windows):
    """A corpus with a row for each stretch: the stretch that is alike is marked in both, as in a report."""
    with serving("-m", "m.safetensors", "w.npy", "--midi-root", "music", cwd=windows) as served:
        page = visit("#mode=likeness", at=served)
        page.set_input_files("#file", str(windows / "q.mid"))
        first_match(page)
        settle(page)
        alike = page.evaluate("midisim.view.item.link.alike")
        assert alike["m"][1] > alike["m"][0] >= 0 and alike["q"][1] > alike["q"][0] >= 0
        assert page.evaluate("midisim.view.pair.link.isMarked")
        assert re.search(r"Where\n0:\d\d–0:\d\d, bars? [\d–]+ → 0:\d\d–0:\d\d", page.locator(".facts").inner_text())


# ---- Screens and readers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width, height", [(1280, 900), (360, 740), (320, 256)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("is_found", [False, True], ids=["empty", "found"])
def test_accessible(visit, is_found, scheme, width, height):
    """axe-core, and nothing to scroll sideways: also on a phone, and at 400 % (320 of 1280 pixels)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    page = visit(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
    if is_found:
        search(page, PHRASE)
        page.click("#keep")
    if not page.locator("#piano").is_visible():
        page.click("#show-piano")
    settle(page)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = [v for v in axe.Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical", "moderate")]
    assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


def test_keys_alone(page):
    """From the address to a match that sounds, without a pointer."""
    def tab_to(id_):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == id_:
                return
        raise AssertionError(f"the Tab key does not reach {id_}")
    tab_to("notes")
    page.keyboard.type(EIGHT)
    page.keyboard.press("Enter")
    first_match(page)
    tab_to("keep")
    page.keyboard.press(" ")
    assert page.locator("#keep").get_attribute("aria-pressed") == "true" and page.evaluate("document.activeElement.id") == "keep"
    tab_to("play")
    page.keyboard.press("Enter")
    page.wait_for_function(HEARD)
    page.keyboard.press("b")
    assert page.evaluate("midisim.view.pair.side") == "match"
