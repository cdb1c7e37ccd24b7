"""Reports in Chromium: from disk without a request or a message, seen, heard, marked, on a phone, in the dark, by keys alone."""
import pytest
from cli_util import lines, run, text
from page_util import HEARD, settle

DRAWN = """(name) => {
  const canvas = document.querySelector("#roll"), copy = new OffscreenCanvas(canvas.width, canvas.height);
  const c = copy.getContext("2d", {willReadFrequently: true});
  c.drawImage(canvas, 0, 0);
  const probe = document.createElement("span");
  probe.style.color = midisim.colour(name);
  document.body.append(probe);
  const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const bytes = c.getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 0; i < bytes.length; i += 4) n += bytes[i] === r && bytes[i + 1] === g && bytes[i + 2] === b;
  return n;
}"""
VIEWS = {"search.html": None, "groups.html": None, "map.html": None, "find.html": None, "lacking.html": None}


# ---- Seen -----------------------------------------------------------------------------------------------------------


def test_matches_are_drawn(look, reports):
    page = look(reports / "search.html")
    settle(page)
    assert page.locator("#matches .row").count() >= 6
    assert "contains the query" in page.locator("#sentence").inner_text()
    assert "4 semitones lower" in page.locator("#sentence").inner_text()
    assert page.evaluate(DRAWN, "query") > 300 and page.evaluate(DRAWN, "match") > 300


def test_what_agrees_lies_above_each_other(look, reports):
    """Under the map of time and the transposition, lit notes of both are at one place of the axis."""
    page = look(reports / "search.html")
    apart = page.evaluate("""() => {
      const link = midisim.view.pair.link, lit = (isMatch, piece) => piece.notes.filter((note, i) => link.isLit(isMatch, i));
      const query = lit(false, link.query), match = lit(true, link.match);
      return query.map((note, i) => [Math.abs(note.start - link.place.time.toQuery(match[i].start)),
                                     note.pitch - (match[i].pitch - link.by)]);
    }""")
    assert len(apart) > 60 and all(ms < 20 and pitch == 0 for ms, pitch in apart)


def test_queries_are_chosen(look, reports):
    page = look(reports / "search.html")
    page.select_option("#query", index=1)
    assert page.locator(".pair-head h2").inner_text() in ("05.mid", "copy.mid")
    assert "same notes" in page.locator("#matches .row").first.inner_text()


def test_filter_and_sort(look, reports):
    page = look(reports / "search.html")
    names = lambda: page.locator("#matches .row .name").all_inner_texts()  # noqa: E731
    found = names()
    page.fill("#filter", "03")
    assert names() == ["03.mid"]
    page.fill("#filter", "no such name")
    assert page.locator("#matches .empty").count() == 1
    page.fill("#filter", "")
    page.select_option("#sort", "name")
    whole = page.evaluate("midisim.view.visible.map((item) => item.link.match.name)")
    assert whole == sorted(whole) and sorted(names()) == sorted(found)
    for sort in ("notes", "likeness", "place", "key", "tempo", "rank"):
        page.select_option("#sort", sort)
        assert sorted(names()) == sorted(found)
    assert names() == found


def test_names_are_only_names(look, reports):
    page = look(reports / "hostile.html")
    assert page.locator("#title").inner_text() == "<script>alert(2)</script>"
    assert "<img src=x onerror=alert(1)>.mid" in page.locator("#query-name").inner_text()
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2


def test_what_is_missing_is_said(look, reports):
    page = look(reports / "lacking.html")
    assert "cannot be shown or played" in page.locator(".lacking").inner_text()
    assert page.locator("#hear-match").is_disabled() and not page.locator("#hear-query").is_disabled()
    assert "--midi-root" in page.locator("#foot").inner_text()


# ---- Heard ----------------------------------------------------------------------------------------------------------


def test_nothing_sounds_before_a_click(look, reports):
    page = look(reports / "search.html")
    assert page.evaluate("midisim.player.context === undefined")
    page.click("#play")
    page.wait_for_function(HEARD)
    page.click("#play")
    page.wait_for_function("() => midisim.player.level() < 0.001")
    assert not page.evaluate("midisim.player.isPlaying")


def test_query_and_match_at_the_same_place(look, reports):
    page = look(reports / "search.html")
    page.click("#play")
    page.wait_for_function("() => midisim.player.position() > 1500")
    at = "() => { const pair = midisim.view.pair; return [pair.toAxis(midisim.player.position()), midisim.player.position()]; }"
    before = page.evaluate(at)[0]
    page.click("#hear-match")
    assert page.evaluate("midisim.player.piece === midisim.view.pair.link.match")
    axis, ms = page.evaluate(at)
    assert before - 100 <= axis < before + 2500
    assert ms == pytest.approx(5000 + axis * 1.2, abs=60)  # the match plays it from its note 20 on, slower
    page.wait_for_function(HEARD)
    page.click("#hear-query")
    assert page.evaluate("midisim.player.piece === midisim.view.pair.link.query")
    assert axis - 100 <= page.evaluate(at)[0] < axis + 3000


def test_the_passage_repeats(look, reports):
    page = look(reports / "search.html")
    page.evaluate("""() => {
      const pair = midisim.view.pair;
      pair.axis = pair.passage()[1] - 500;
      pair.start();
    }""")
    assert page.evaluate("midisim.player.position() > midisim.view.pair.passage()[0] + 5000")
    page.wait_for_function("() => midisim.player.position() < midisim.view.pair.passage()[0] + 1500")
    assert page.evaluate("midisim.player.isPlaying")
    page.click("#loop")
    assert page.evaluate("midisim.player.loop") is None


def test_every_instrument_sounds(look, reports):
    page = look(reports / "search.html")
    peaks = page.evaluate("""async () => {
      const peaks = [];
      for (const program of [...Array(16).keys()].map((i) => 8 * i).concat([-36, -38, -42, -46, -49, -51, -45, -60])) {
        const context = new OfflineAudioContext(1, 22050, 22050), synth = new midisim.Synth(context);
        synth.out.connect(context.destination);
        if (program < 0) synth.drum(synth.bus(), -program, 100, 0);
        else synth.note(synth.bus(), program, 60, 100, 0, 0.4);
        const samples = (await context.startRendering()).getChannelData(0);
        peaks.push(samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
      }
      return peaks;
    }""")
    assert len(peaks) == 24 and all(0.005 < peak <= 1 for peak in peaks), peaks


# ---- Keys and marks -------------------------------------------------------------------------------------------------


def test_keys_alone(look, reports):
    page = look(reports / "search.html")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("midisim.view.item.rank") == 2
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    page.wait_for_function(HEARD)
    page.keyboard.press("b")
    assert page.evaluate("midisim.view.pair.side") == "match"
    page.keyboard.press("l")
    assert page.locator("#loop").get_attribute("aria-pressed") == "false"
    page.keyboard.press(" ")
    before = page.evaluate("midisim.view.pair.axis")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("midisim.view.pair.axis") == pytest.approx(before + 1000, abs=1)
    page.keyboard.press("k")
    assert page.locator("#keep").get_attribute("aria-pressed") == "true"
    page.click("#filter")
    page.keyboard.type("k b")  # letters of a text are no commands
    assert page.locator("#filter").input_value() == "k b"
    assert page.locator("#keep").get_attribute("aria-pressed") == "true"


def test_space_plays_from_the_list(look, reports):
    page = look(reports / "search.html")
    page.locator("#matches .row").nth(1).click()
    page.keyboard.press(" ")
    page.wait_for_function(HEARD)
    assert page.evaluate("midisim.view.item.rank") == 2
    page.keyboard.press(" ")
    assert not page.evaluate("midisim.player.isPlaying")


def test_names_keep_their_bytes(look, reports):
    page = look(reports / "search.html")
    names = {"a.mid": b"a.mid", "\udcff\udc80x\u00e9": b"\xff\x80x\xc3\xa9", "\U0001f3b5": "\U0001f3b5".encode()}
    for name, wanted in names.items():
        escaped = "".join(f"\\u{unit:04x}" for unit in memoryview(name.encode("utf-16-le", "surrogatepass")).cast("H"))
        assert bytes(page.evaluate(f'Array.from(midisim.encode("{escaped}"))')) == wanted


def test_marks_are_lists_for_other_tools(look, reports, tmp_path):
    page = look(reports / "search.html")
    page.click("#keep")
    page.locator("#matches .row").nth(1).click()
    page.click("#reject")
    saved = {}
    for value in ("keep", "reject"):
        with page.expect_download() as download:
            page.click(f"#export-{value}")
        download.value.save_as(tmp_path / f"{value}.tsv")
        saved[value] = (tmp_path / f"{value}.tsv").read_text().splitlines()
    names = page.evaluate("midisim.view.items.map((item) => item.link.match.name)")
    assert saved == {"keep": names[:1], "reject": names[1:2]}
    done = run("tokens", "--files-from", tmp_path / "keep.tsv", cwd=reports / "music")
    assert done.returncode == 0 and [line["path"] for line in lines(done)] == names[:1], text(done)
    done = run("search", "-m", "m.safetensors", "-c", "c.npy", "--json", "--exclude-from", tmp_path / "reject.tsv", "q.mid", cwd=reports)
    rows = [match["name"] for match in lines(done)[0]["matches"]]
    assert names[1] not in rows and len(rows) == 15
    page.select_option("#only", "keep")
    assert page.locator("#matches .row").count() == 1


def test_marks_are_kept(look, reports):
    """They are there when the report is opened again, and are no other report's; other windows see them; two clicks clear them."""
    page = look(reports / "search.html")
    page.click("#keep")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("r")
    page.reload()
    assert page.locator("#matches .mark.keep").count() == 1 and page.locator("#matches .mark.reject").count() == 1
    assert page.evaluate("Object.keys(localStorage).length") == 1
    page.evaluate("() => { window.before = new midisim.Marks(midisim.reportKey({queries: [], pieces: midisim.report.pieces})).size; }")
    assert page.evaluate("before") == 0
    page.evaluate("""() => {
      localStorage.clear();
      window.dispatchEvent(new StorageEvent("storage", {key: null}));
    }""")
    assert page.locator("#matches .mark").count() == 0
    page.keyboard.press("k")
    page.click("#clear-marks")
    assert page.locator("#clear-marks").inner_text() == "Clear 1 mark? Click again" and page.locator("#matches .mark").count() == 1
    page.click("#clear-marks")
    assert page.locator("#matches .mark").count() == 0 and page.evaluate("localStorage.length") == 0


@pytest.mark.parametrize("stored", ["{", "7", '[["a", "x"], 5, [1, "keep"], null]'])
def test_damaged_marks_are_none(look, reports, stored):
    page = look(reports / "search.html")
    page.evaluate("(stored) => localStorage.setItem(midisim.reportKey(midisim.report), stored)", stored)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#matches .mark").count() == 0
    page.click("#keep")
    page.reload()
    assert page.locator("#matches .mark.keep").count() == 1


# ---- Groups and map -------------------------------------------------------------------------------------------------


def test_groups(look, reports):
    page = look(reports / "groups.html")
    assert page.locator(".group").count() == 2 and page.locator(".member.kept").count() == 2
    assert "the same bytes" in page.locator(".group").nth(0).inner_text()
    assert "2 semitones" in page.locator(".group").nth(1).inner_text()
    page.locator(".hear").first.click()
    page.wait_for_function(HEARD)
    page.get_by_role("button", name="Compare").nth(1).click()
    assert page.locator("#sentence").is_visible() and page.evaluate("midisim.view.pair.link.agreeing") > 100
    page.fill("#group-filter", "up.mid")
    assert page.locator(".group").count() == 1


def test_map(look, reports):
    page = look(reports / "map.html")
    settle(page)
    place = page.evaluate("""() => {
      const view = midisim.view, box = view.canvas.element.getBoundingClientRect();
      const [x, y] = view.place(view.points[3], box.width, box.height);
      return [box.left + x, box.top + y];
    }""")
    page.mouse.move(*place)
    assert page.locator(".tip").is_visible()
    shown = page.locator(".tip").inner_text()
    page.mouse.click(*place)
    assert shown in page.locator(".heard").inner_text()
    page.wait_for_function(HEARD)
    page.keyboard.press(" ")
    assert not page.evaluate("midisim.player.isPlaying")
    page.fill("#map-filter", "b/05")
    page.get_by_role("button", name="b/05.mid").click()
    assert "b/05.mid" in page.locator(".heard").inner_text()


def test_points_are_drawn_once(look, reports):
    """The pointer over the map draws a ring, not all points again; zoom, filter and colours do."""
    page = look(reports / "map.html")
    settle(page)
    page.evaluate("""() => {
      const view = midisim.view, draw = view.drawPoints.bind(view);
      window.drawn = 0;
      view.drawPoints = (...all) => { window.drawn++; draw(...all); };
    }""")
    box = page.locator("#map").bounding_box()
    for i in range(5):
        page.mouse.move(box["x"] + 100 + 40 * i, box["y"] + 100 + 30 * i)
        settle(page)
    assert page.evaluate("drawn") == 0
    for action in (lambda: page.mouse.wheel(0, -100), lambda: page.fill("#map-filter", "05"), lambda: page.click("#theme")):
        before = page.evaluate("drawn")
        action()
        page.wait_for_function("(before) => window.drawn > before", arg=before)


def test_views_are_tabs(look, reports):
    page = look(reports / "all.html")
    page.click("#play")
    page.wait_for_function(HEARD)
    page.get_by_role("button", name="Map").click()
    assert page.locator("#map").is_visible() and not page.evaluate("midisim.player.isPlaying")
    page.get_by_role("button", name="Matches").click()
    assert page.locator("#roll").is_visible()


# ---- Screens and readers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_narrow_screens(look, reports, name):
    page = look(reports / name, viewport={"width": 360, "height": 740}, device_scale_factor=2)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate("""() => [...document.querySelectorAll("button, select, input")].filter((e) => e.offsetParent)
      .map((e) => [e.textContent || e.id, e.getBoundingClientRect()]).filter(([, box]) => box.height < 30 || box.right > 361)
      .map(([text]) => text)""")
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", VIEWS)
def test_nothing_stands_in_the_way(look, reports, name, scheme):
    """axe-core: contrast, labels, roles, order of headings."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = look(reports / name, color_scheme=scheme, bypass_csp=True)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    settle(page)
    found = axe.run(page).response["violations"]
    assert [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")] == []


def test_dark_and_back(look, reports):
    page = look(reports / "search.html", color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    settle(page)
    assert page.evaluate(DRAWN, "match") > 300
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != dark
    settle(page)
    assert page.evaluate(DRAWN, "match") > 300
