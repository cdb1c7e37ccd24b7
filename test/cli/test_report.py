"""midisim-report, and --html of the other tools: what is in a report, hostile names, missing files, sizes, exit codes. How a
browser shows it is test/browser's."""
import os
import pathlib
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_util import DRUMS, ENV, lines, midi, run, text, tool, vlq
from music_util import make_music
from report_util import lit_of, notes_of, read_report
from test_find import tune

HOSTILE = "</script><script>alert(1)</script>.mid".replace("/", "\u2215"), "a&amp;<b>\u2028\u2029\".mid", "{{data}}.mid"


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return make_music(tmp_path_factory.mktemp("report"), {"music/copy.mid": midi(tune(5), ticks=240), "drums.mid": DRUMS})


def report(folder, tmp_path, *arguments, code=0, tool="report", **more):
    """The data of the report that a tool writes."""
    path = tmp_path / "r.html"
    done = run(tool, *(("-o", path) if tool == "report" else ("--html", path)), *arguments, cwd=folder, **more)
    assert done.returncode == code, text(done)
    return read_report(path)[0]


# ---- What is in a report --------------------------------------------------------------------------------------------


def check_transposed(data, match, by, n_least):
    """The notes that are lit in query and match are the same, moved by so many semitones."""
    query = notes_of(data["pieces"][data["queries"][0]["piece"]])
    other = notes_of(data["pieces"][match["piece"]])
    lit, lit_other = lit_of(match, 0, len(query)), lit_of(match, 1, len(other))
    assert len(lit) == len(lit_other) >= n_least
    assert [query[i][2] + by for i in lit] == [other[i][2] for i in lit_other]


def test_files_compared_without_an_index(music, tmp_path):
    data = report(music, tmp_path, "q.mid", "music/b/03.mid", "music/b/07.mid", "drums.mid")
    assert [p["name"] for p in data["pieces"]] == ["q.mid", "music/b/03.mid", "music/b/07.mid", "drums.mid"]
    assert [p["from"] for p in data["pieces"]] == ["file"] * 4
    first, second, third = data["queries"][0]["matches"]
    (place,) = first["places"]
    assert place["by"] == -4 and abs(place["tempo"] - 1.2) < 0.01 and place["n"] >= 70
    assert place["m"][0] == pytest.approx(5000, abs=300)  # note 20 of 250 ms
    steps = np.array(place["map"]).reshape(-1, 2).cumsum(axis=0)
    assert (np.diff(steps, axis=0) > 0).all() and len(steps) <= 65
    assert steps[:, 1] == pytest.approx(5000 + steps[:, 0] * 1.2, abs=10)
    check_transposed(data, first, -4, 70)
    assert second["places"] == third["places"] == []
    assert data["pieces"][3]["voices"] == [[0, 9, 0, ""]] and notes_of(data["pieces"][3])


def test_notes_are_those_of_the_file(music, tmp_path):
    data = report(music, tmp_path, "q.mid", "music/b/03.mid")
    pitches = tune(3, transpose=4)[20:100]
    length = 200 * 500 / 480
    for i, (start, held, pitch, voice, velocity) in enumerate(notes_of(data["pieces"][0])):
        assert (pitch, voice, velocity) == (pitches[i], 0, 90)
        assert abs(start - i * length) <= 1 and 0 <= length - held <= 10
    assert data["pieces"][0]["count"] == 80 and data["pieces"][0]["bars"][:3] == [-1, 4, 4]


def test_find_in_an_index(music, tmp_path):
    data = report(music, tmp_path, "-i", "music", "-k", 3, "q.mid", "music/b/05.mid")
    first, second = data["queries"]
    best = first["matches"][0]
    assert data["pieces"][best["piece"]]["name"] == "b/03.mid" and best["found"]["word"] == "part of"
    assert best["found"]["by"] == -4 and best["found"]["sure"] == 1
    check_transposed(data, best, -4, 70)
    names = [data["pieces"][m["piece"]]["name"] for m in second["matches"] if m["found"]["word"] == "same notes"]
    assert names == ["b/05.mid", "copy.mid"]


def test_html_of_find(music, tmp_path):
    phrase = " ".join(str(p) for p in tune(9)[40:64])
    data = report(music, tmp_path, "-i", "c.notes", "--notes", phrase, "--midi-root", "music", tool="find")
    assert data["pieces"][0]["name"] == phrase and data["pieces"][0]["from"] == "given"
    best = data["queries"][0]["matches"][0]
    assert data["pieces"][best["piece"]] == {**data["pieces"][best["piece"]], "name": "b/09.mid", "from": "file"}
    check_transposed(data, best, 0, 22)
    part = report(music, tmp_path, "-i", "c.notes", "--from", 2, "--to", 12, "q.mid", tool="find")
    assert part["queries"][0]["start"] >= 2 and part["queries"][0]["end"] <= 12.3
    assert part["pieces"][0]["count"] == 80  # all of it is shown
    assert part["pieces"][part["queries"][0]["matches"][0]["piece"]]["from"] == "index"
    stream = report(music, tmp_path, "-i", "c.notes", "-", tool="find", stdin=(music / "q.mid").read_bytes())
    assert stream["pieces"][0]["from"] == "given" and stream["queries"][0]["matches"][0]["found"]["word"] == "part of"


def test_html_of_search(music, tmp_path):
    search = ("-m", "m.safetensors", "-c", "c.npy", "-k", 4, "--midi-root", "music")
    data = report(music, tmp_path, *search, "--find", "q.mid", "music/b/05.mid", tool="search")
    first, second = data["queries"]
    names = [[data["pieces"][m["piece"]]["name"] for m in q["matches"]] for q in data["queries"]]
    assert names[0][0] == "b/03.mid" and set(names[1][:2]) == {"b/05.mid", "copy.mid"}
    assert all(len(set(n)) == len(n) for n in names)  # no piece stands twice
    plain = lines(run("search", *search[:6], "--json", "q.mid", cwd=music))[0]["matches"]
    alike = {data["pieces"][m["piece"]]["name"]: m["alike"] for m in first["matches"] if "alike" in m}
    assert {m["name"]: (m["transpose"], round(m["score"], 4)) for m in plain} == \
        {name: (a["by"], round(a["score"], 4)) for name, a in alike.items()}
    assert second["matches"][0]["found"] and second["matches"][0]["alike"]["score"] > 0.99
    row = report(music, tmp_path, "-c", "c.npy", "--like", "b/05.mid", "--midi-root", "music", "-k", 2, tool="search")
    assert row["pieces"][0]["name"] == "b/05.mid" and row["pieces"][0]["from"] == "file"
    stream = report(music, tmp_path, *search, "-", tool="search", stdin=(music / "q.mid").read_bytes())
    assert stream["pieces"][0]["from"] == "given" and len(stream["queries"][0]["matches"]) == 4


def test_windows_say_where(music, tmp_path):
    done = run("embed", "-m", "m.safetensors", "--windows", 120, "-o", tmp_path / "w.npy", "music", cwd=music)
    assert done.returncode == 0, text(done)
    search = ("-m", "m.safetensors", "-c", tmp_path / "w.npy", "-k", 3, "q.mid")
    data = report(music, tmp_path, *search, tool="search")
    plain = lines(run("search", *search, "--json", cwd=music))[0]["matches"]
    for match, said in zip(data["queries"][0]["matches"], plain, strict=True):
        assert match["alike"]["m"] == pytest.approx([said["from_seconds"], said["to_seconds"]], abs=0.01)
        assert match["alike"]["q"] == pytest.approx([said["query_from_seconds"], said["query_to_seconds"]], abs=0.01)


def test_html_of_groups(music, tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    (music / "up.mid").write_bytes(midi(tune(7, transpose=2), ticks=220))
    for name in ("short", "shorter"):
        (music / f"{name}.mid").write_bytes(midi((60, 62, 64, 65, 67)))
    data = report(music, tmp_path, "music", "up.mid", "short.mid", "shorter.mid", tool="groups", env=cache)
    names = [[data["pieces"][m["piece"]]["name"] for m in g["members"]] for g in data["groups"]]
    kinds = [[m.get("kind") for m in g["members"]] for g in data["groups"]]
    assert [set(n) for n in names] == [{"music/b/05.mid", "music/copy.mid"}, {"music/b/07.mid", "up.mid"},
                                       {"short.mid", "shorter.mid"}]
    assert kinds == [[None, "bytes"], [None, "key"], [None, "bytes"]]
    member = data["groups"][1]["members"][1]
    assert abs(member["by"]) == 2 and member["n"] == member["of"] == member["ofKept"]
    assert member["places"][0]["n"] > 100 and data["moreGroups"] == 0
    for group in data["groups"]:  # all notes of both agree
        a, b = (notes_of(data["pieces"][m["piece"]]) for m in group["members"])
        assert len(lit_of(group["members"][1], 0, len(a))) == len(a) == len(lit_of(group["members"][1], 1, len(b))) == len(b)
    index = report(music, tmp_path, "c.notes", tool="groups", env=cache)
    assert [index["pieces"][m["piece"]]["from"] for m in index["groups"][0]["members"]] == ["index"] * 2


def test_map(music, tmp_path):
    data = report(music, tmp_path, "--map", "c.npy", "--midi-root", "music")
    points = np.array(data["map"]["points"], float).reshape(-1, 2)
    rows = np.load(music / "c.npy")
    assert data["map"]["names"] == list(rows["midi_names"]) and len(points) == 13
    x = rows["midi_embeddings"].astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    wanted = u[:, :2] * s[:2]
    for axis in (0, 1):  # the same but for the sign, the place and the size of the map
        assert abs(np.corrcoef(points[:, axis], wanted[:, axis])[0, 1]) > 0.9999
    assert data["map"]["shares"] == pytest.approx(list(s[:2] ** 2 / (s ** 2).sum()), rel=1e-3)
    programs, notes = data["map"]["sounds"][0]
    assert programs == [0] and len(notes_of({"notes": notes})) == 64
    some = report(music, tmp_path, "--map", "c.npy", "--points", 5)
    assert some["map"]["pieces"] == 13 and len(some["map"]["names"]) == 5 and some["map"]["sounds"] == [0] * 5


def test_map_of_a_layout(music, tmp_path):
    places = np.random.default_rng(2).normal(size=(13, 2)).astype(np.float32)
    np.save(tmp_path / "l.npy", places)
    data = report(music, tmp_path, "--map", "c.npy", "--layout", tmp_path / "l.npy", "--midi-root", "music")
    points = np.array(data["map"]["points"], float).reshape(-1, 2)
    low, size = places.min(axis=0), (places.max(axis=0) - places.min(axis=0)).max()
    assert points == pytest.approx((places - low) / size * 65535, abs=1)
    assert data["map"]["shares"] is None and data["map"]["names"] == list(np.load(music / "c.npy")["midi_names"])
    some = report(music, tmp_path, "--map", "c.npy", "--layout", tmp_path / "l.npy", "--points", 5)["map"]
    chosen = [data["map"]["names"].index(name) for name in some["names"]]
    assert len(chosen) == 5 and np.argsort(some["points"][::2]).tolist() == np.argsort(places[chosen, 0]).tolist()


@pytest.mark.parametrize(("layout", "says"), [
    (np.zeros((12, 2), "f4"), "expected 13 points, one for each row of the corpus, got 12"),
    (np.zeros((13, 3), "f4"), "expected rows of 2 numbers, got rows of 3"),
    (np.zeros(26, "f4"), "expected rows of 2 numbers"),
    (np.array([[0, 0]] * 12 + [[1, np.nan]], "f4"), "point 12 is nowhere"),
    (np.full((13, 2), 1e300), "point 0 is nowhere"),
    (np.zeros((13, 2), "i8"), "got '<i8'"),
    (np.zeros((0, 2), "f4"), "got 0"),
    (b"no array", "expected a .npy file"),
    (None, "l.npy: No such file"),
])
def test_hostile_layouts(music, tmp_path, layout, says):
    if isinstance(layout, bytes):
        (tmp_path / "l.npy").write_bytes(layout)
    elif layout is not None:
        np.save(tmp_path / "l.npy", layout)
    done = run("report", "-o", tmp_path / "r.html", "--map", "c.npy", "--layout", tmp_path / "l.npy", cwd=music)
    assert done.returncode in (1, 2) and says in text(done) and "l.npy" in text(done)
    assert done.stderr.count(b"\n") == 1 and not (tmp_path / "r.html").exists()


def test_a_map_is_interrupted(tmp_path):
    """A map of 100,000 points takes seconds; a signal ends it as soon as the corpus is open."""
    np.save(tmp_path / "c.npy", np.random.default_rng(1).standard_normal((100_000, 64), np.float32))
    process = subprocess.Popen([tool("report"), "-o", tmp_path / "r.html", "--map", tmp_path / "c.npy", "--points", "100000"],
                               env=ENV, stderr=subprocess.PIPE)
    maps = pathlib.Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and "c.npy" not in maps.read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said == b"", said
    assert [path.name for path in tmp_path.iterdir()] == ["c.npy"]


# ---- Names, files, sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(music, tmp_path, name):
    (tmp_path / name).write_bytes((music / "q.mid").read_bytes())
    data = report(music, tmp_path, tmp_path / name, "music/b/03.mid", "--title", name)
    assert data["pieces"][0]["name"].endswith(name) and data["title"] == name


def test_bytes_that_are_no_text(music, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff<\x01\xe2\x80.mid"
    with open(name, "wb") as file:
        file.write((music / "q.mid").read_bytes())
    data = report(music, tmp_path, name, "music/b/03.mid")
    assert data["pieces"][0]["name"].endswith("\udcff<\x01\udce2\udc80.mid")


def test_names_of_tracks(music, tmp_path):
    track = b"\0\xff\x03\x09<script>\xff" + b"".join(
        vlq(0) + bytes([0x90, p, 90]) + vlq(240) + bytes([0x80, p, 0]) for p in tune(3)) + b"\0\xff\x2f\0"
    (tmp_path / "t.mid").write_bytes(b"MThd\0\0\0\x06\0\0\0\x01\x01\xe0MTrk" + len(track).to_bytes(4, "big") + track)
    data = report(music, tmp_path, tmp_path / "t.mid", "music/b/03.mid")
    assert data["pieces"][0]["voices"] == [[0, 0, 0, "<script>\udcff"]]


def test_what_is_missing_is_said(music, tmp_path):
    (tmp_path / "bad.mid").write_bytes(b"no MIDI file")
    data = report(music, tmp_path, "q.mid", tmp_path / "bad.mid", "none.mid", code=1)
    assert [p["from"] for p in data["pieces"]] == ["file", "nothing", "nothing"]
    assert "not a MIDI file" in data["pieces"][1]["lacks"] or data["pieces"][1]["lacks"]
    assert "none.mid" in data["pieces"][2]["lacks"] and "notes" not in data["pieces"][2]
    data = report(music, tmp_path, "-m", "m.safetensors", "-c", "c.npy", "-k", 3, "q.mid", tool="search")
    lacking = [p for p in data["pieces"] if p["from"] == "nothing"]
    assert len(lacking) == 3 and all("--midi-root" in p["lacks"] for p in lacking)
    assert all(m["alike"]["score"] and m["places"] == [] for m in data["queries"][0]["matches"])


def test_advice_fits(music, tmp_path):
    """--midi-root helps where files are looked for by name, not where one that was named cannot be read."""
    (tmp_path / "bad.mid").write_bytes(b"no MIDI file")
    done = run("report", "-o", tmp_path / "r.html", "q.mid", tmp_path / "bad.mid", cwd=music)
    assert done.returncode == 1 and text(done).endswith("2 pieces, 1 of them without notes, which cannot be shown\n")
    done = run("search", "-c", "c.npy", "--like", "b/05.mid", "-k", 2, "--html", tmp_path / "r.html", cwd=music)
    assert done.returncode == 0 and text(done).endswith("cannot be shown: --midi-root names the folder of their files\n")


@pytest.mark.parametrize(("tool", "arguments"), [
    ("find", ("-i", "c.notes", "q.mid")),
    ("search", ("-c", "c.npy", "--like", "b/05.mid")),
    ("groups", ("music",)),
])
def test_html_needs_a_file(music, tmp_path, tool, arguments):
    for name, says in (("-", "cannot go to standard output"), ("music", "music: it is a folder")):
        done = run(tool, *arguments, "--html", name, cwd=music, env={"XDG_CACHE_HOME": str(tmp_path)})
        assert done.returncode == 2 and says in text(done) and done.stdout == b"" and not (music / "-").exists()


def test_names_that_lead_out_of_a_root(music, tmp_path):
    secret = tmp_path / "secret.mid"
    secret.write_bytes((music / "q.mid").read_bytes())
    (tmp_path / "root").mkdir()
    names = ["../secret.mid", str(secret), "a/../../secret.mid", ".."]
    rows = np.zeros(len(names), dtype=[("midi_names", f"<U{max(map(len, names))}"), ("midi_embeddings", "<f4", (8,))])
    rows["midi_names"] = names
    rows["midi_embeddings"] = np.random.default_rng(1).normal(size=(len(names), 8))
    np.save(tmp_path / "c.npy", rows)
    data = report(tmp_path, tmp_path, "--map", "c.npy", "--midi-root", "root")
    assert data["map"]["names"] == names and data["map"]["sounds"] == [0] * 4
    data = report(tmp_path, tmp_path, "-c", "c.npy", "--like", "..", "--midi-root", "root", tool="search")
    assert {p["from"] for p in data["pieces"]} == {"nothing"}


def test_maps_of_odd_rows(tmp_path):
    for values in (np.zeros((3, 4)), np.full((2, 4), np.nan), np.ones((5, 4)), np.eye(1, 4)):
        rows = np.zeros(len(values), dtype=[("midi_names", "<U4"), ("midi_embeddings", "<f4", (4,))])
        rows["midi_names"] = [f"r{i}" for i in range(len(values))]
        rows["midi_embeddings"] = values
        np.save(tmp_path / "c.npy", rows)
        data = report(tmp_path, tmp_path, "--map", "c.npy")
        assert len(data["map"]["points"]) == 2 * len(values)
        assert all(0 <= x <= 65535 for x in data["map"]["points"])


def test_usual_files_are_small(music, tmp_path, shipped):
    files = [path for path in sorted(shipped.glob("*/**/*.mid")) if "conformance" not in str(path)]
    files = random.Random(1).sample(files, 17)
    done = run("report", "-o", tmp_path / "r.html", *files)
    assert done.returncode in (0, 1), text(done)
    assert (tmp_path / "r.html").stat().st_size < 1_500_000


def test_same_bytes_each_time(music, tmp_path):
    outs = set()
    for _ in range(2):
        report(music, tmp_path, "-i", "music", "q.mid", "--map", "c.npy", "--midi-root", "music")
        outs.add((tmp_path / "r.html").read_bytes())
    assert len(outs) == 1


@pytest.mark.parametrize(("arguments", "says"), [
    (("q.mid", "music/b/03.mid"), "give -o FILE"),
    (("-o", "x.html"), "nothing to show"),
    (("-o", "-", "q.mid", "music/b/03.mid"), "cannot go to standard output"),
    (("-o", "music", "q.mid", "music/b/03.mid"), "music: it is a folder"),
    (("-o", "x.html", "q.mid"), "nothing to compare"),
    (("-o", "x.html", "-i", "music"), "no query"),
    (("-o", "x.html", "-k", "3", "q.mid", "q.mid"), "for -i"),
    (("-o", "x.html", "--points", "3", "q.mid", "q.mid"), "for --map"),
    (("-o", "x.html", "--layout", "l.npy", "q.mid", "q.mid"), "for --map"),
])
def test_wrong_use(music, arguments, says):
    done = run("report", *arguments, cwd=music)
    assert done.returncode == 2 and says in text(done)
    assert not any((music / name).exists() for name in ("x.html", "-"))


def test_what_cannot_be_written(music, tmp_path):
    done = run("report", "-o", tmp_path / "no/r.html", "q.mid", "music/b/03.mid", cwd=music)
    assert done.returncode == 1 and "no/r.html" in text(done)
    done = run("find", "-i", "c.notes", "--html", tmp_path / "no/r.html", "q.mid", cwd=music)
    assert done.returncode == 1 and "no/r.html" in text(done) and b"b/03.mid" in done.stdout
    done = run("report", "-o", tmp_path / "r.html", "--map", "none.npy", cwd=music)
    assert done.returncode == 1 and not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(("tool", "name", "arguments"), [
    ("report", "q.mid", ("q.mid", "music/b/03.mid")),
    ("report", "c.npy", ("--map", "c.npy")),
    ("find", "c.notes", ("-i", "c.notes", "q.mid")),
    ("search", "c.npy", ("-c", "c.npy", "--like", "b/05.mid")),
    ("groups", "music/b/03.mid", ("music",)),
])
def test_no_input_is_replaced(music, tool, name, arguments):
    before = (music / name).read_bytes()
    done = run(tool, "-o" if tool == "report" else "--html", name, *arguments, cwd=music)
    assert done.returncode in (1, 2) and name in text(done) and "another file" in text(done)
    assert (music / name).read_bytes() == before and done.stdout == b""


def test_empty_files_and_pages_are_replaced(music, tmp_path):
    path = tmp_path / "r.html"
    path.touch()
    for _ in range(2):
        done = run("report", "-o", path, "q.mid", "q.mid", cwd=music)
        assert done.returncode == 0 and text(done).endswith(f"wrote {path}: 1 piece\n")


@pytest.mark.parametrize(("tool", "arguments"), [
    ("find", ("-i", "c.notes", "--pairs", "--html", "x.html")),
    ("find", ("-i", "c.notes", "--stream", "--html", "x.html")),
    ("find", ("-i", "c.notes", "--midi-root", "music", "q.mid")),
    ("search", ("-c", "c.npy", "--like", "b/05.mid", "--html", "x.html", "--format", "midisim")),
    ("groups", ("music", "--split", "80/20", "--html", "x.html")),
    ("groups", ("music", "--midi-root", "music")),
])
def test_html_where_it_means_nothing(music, tool, arguments):
    done = run(tool, *arguments, cwd=music)
    assert done.returncode == 2 and b"html" in done.stderr, text(done)
