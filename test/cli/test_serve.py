"""midisim-serve: what it answers, whom it refuses, and what slow, damaged and hostile clients can do to it: nothing."""
import concurrent.futures
import json
import random
import re
import resource
import shutil
import signal
import socket
import time

import pytest
from cli_util import BUILD, DRUMS, ROOT, lines, midi, run, text
from music_util import make_music
from serve_util import Server, serving
from test_find import tune

PHRASE = " ".join(map(str, tune(9)[40:64]))


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return make_music(tmp_path_factory.mktemp("serve"), {"secret.mid": midi(tune(3))})


ALL = ("-m", "m.safetensors", "c.npy", "--midi-root", "music")


@pytest.fixture(scope="module")
def server(music):
    with serving(*ALL, cwd=music) as started:
        yield started


@pytest.fixture(scope="module")
def query(music):
    return (music / "q.mid").read_bytes()


def names_of(answer):
    report = answer["report"]
    return [report["pieces"][match["piece"]]["name"] for match in report["queries"][0]["matches"]]


# ---- What it answers ------------------------------------------------------------------------------------------------


def test_status(server):
    status, state = server.json("GET", "/api/status")
    assert status == 200 and state["rows"] == state["pieces"] == 12
    assert state["hasNotes"] and state["hasVectors"] and state["hasModel"] and state["name"] == "c.npy"


def test_search_is_the_tools(server, music, query):
    """The same matches as midisim-search --find: first those that share notes, then those that are alike."""
    status, answer = server.midi("/api/search?k=4", query)
    done = run("search", *ALL[:2], "-c", "c.npy", "--find", "-k", 4, "--json", "q.mid", cwd=music)
    assert done.returncode == 0, text(done)
    told = lines(done)[0]
    assert status == 200 and names_of(answer)[0] == "b/03.mid"
    alike = {answer["report"]["pieces"][m["piece"]]["name"]: m["alike"] for m in answer["report"]["queries"][0]["matches"]
             if "alike" in m}
    assert {m["name"]: (m["score"], m["transpose"]) for m in told["matches"]} == {
        name: (pytest.approx(a["score"], abs=1e-6), a["by"]) for name, a in alike.items()}
    found = answer["report"]["queries"][0]["matches"][0]
    assert found["found"]["by"] == -4 and found["places"] and answer["report"]["pieces"][found["piece"]]["from"] == "file"
    assert answer["ids"][0] is None and all(re.fullmatch("[rn][0-9]+", each) for each in answer["ids"][1:])


def test_find_is_the_tools(server, music, query):
    status, answer = server.midi("/api/find?k=3&name=my%20song", query)
    told = [m["name"] for m in lines(run("find", "-i", "c.notes", "-k", 3, "--json", "q.mid", cwd=music))[0]["matches"]]
    assert status == 200 and names_of(answer) == told
    assert answer["report"]["pieces"][0]["name"] == "my song"
    assert not any("alike" in match for match in answer["report"]["queries"][0]["matches"])


def test_typed_notes(server):
    status, answer = server.typed("/api/find", {"notes": PHRASE})
    assert status == 200 and names_of(answer)[0] == "b/09.mid"
    status, answer = server.typed("/api/search?mode=likeness&k=2&keys=own", {"notes": PHRASE})
    assert status == 200 and len(names_of(answer)) == 2
    assert all(match["alike"]["by"] == 0 for match in answer["report"]["queries"][0]["matches"])


def test_pieces(server):
    for body in ({"piece": "r5"}, {"piece": "n5"}):
        status, answer = server.typed("/api/search?k=3", body)
        assert status == 200 and names_of(answer)[0] == "b/05.mid"
    status, answer = server.json("GET", "/api/piece/n7")
    assert status == 200 and answer["report"]["pieces"][0]["name"] == "b/07.mid" and answer["ids"] == ["n7"]
    assert server.json("GET", "/api/piece/r12")[0] == 404 and server.typed("/api/find", {"piece": "r12"})[0] == 400


def test_likely_keys(server, query):
    assert names_of(server.midi("/api/search?keys=likely&mode=likeness&k=5", query)[1])


def test_notes_alone(music, query):
    with serving("c.notes", "--midi-root", "music", cwd=music) as alone:
        assert names_of(alone.midi("/api/search", query)[1])[0] == "b/03.mid"
        assert alone.midi("/api/search?mode=likeness", query)[0] == 400
        state = alone.json("GET", "/api/status")[1]
        assert not state["hasVectors"] and state["pieces"] == 12


def test_documented(server):
    """The document of the API names every path, and it is in the tree."""
    status, api = server.json("GET", "/api/openapi.json")
    assert status == 200 and api == json.loads((ROOT / "tools/serve/page/openapi.json").read_text())
    assert set(api["paths"]) == {"/api/search", "/api/find", "/api/search/{id}", "/api/piece/{id}", "/api/status", "/api/openapi.json"}


# ---- Progress, cancelling, a full queue ------------------------------------------------------------------------------


def slow_midi():
    """A piece that is embedded for some time: windows of a corpus would make it no shorter."""
    return midi([pitch for i in range(60) for pitch in tune(i % 12)], ticks=60)


@pytest.fixture
def busy(music):
    """A server of one thread and one place in the queue, and a query that it needs seconds for."""
    with serving(*ALL, "--threads", 1, "--workers", 1, "--queue", 1, cwd=music) as started:
        yield started


def until(condition, limit=20):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("waited in vain")


def raw_post(server, body, path="/api/search?mode=likeness", kind="audio/midi", length=None):
    """A connection that has sent a search and waits."""
    s = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: {kind}\r\n"
              f"Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body)
    return s


def test_full_queue_progress_and_cancel(busy):
    first = raw_post(busy, slow_midi(), path="/api/search?mode=likeness&id=first")
    until(lambda: busy.json("GET", "/api/status")[1]["running"] == 1)
    second = raw_post(busy, slow_midi(), path="/api/search?mode=likeness&id=second")
    state = until(lambda: (lambda s: s if s[0] == 200 else None)(busy.json("GET", "/api/search/second")))[1]
    if state["stage"] == "waiting":  # else the first was quick
        status, headers, body = busy.ask("POST", "/api/search?mode=likeness", slow_midi(), Content_Type="audio/midi")
        assert (status, headers["Retry-After"]) in ((503, "1"), (200, None)), body
        assert busy.midi("/api/search?id=second", slow_midi())[0] in (409, 200, 503)
    code, answer = busy.json("DELETE", "/api/search/second")
    assert (code, answer) == (200, {"cancelled": True}) or code == 404
    head = second.recv(4096)
    assert head.startswith(b"HTTP/1.1 409") or (code == 404 and head.startswith(b"HTTP/1.1 200"))
    busy.json("DELETE", "/api/search/first")
    assert re.match(rb"HTTP/1.1 (409|200)", first.recv(4096))
    assert busy.json("GET", "/api/search/first")[0] == 404 and busy.json("DELETE", "/api/search/none")[0] == 404


def hostile_midi(n_notes, ticks=60):
    """Very many notes, none like another: a search by notes takes its time."""
    notes = bytearray(3 * n_notes)
    notes[0::3] = bytes([ticks]) * n_notes
    notes[1::3] = random.Random(n_notes).randbytes(n_notes).translate(bytes(byte & 127 for byte in range(256)))
    notes[2::3] = b"@" * n_notes
    track = b"\0\x90<@" + bytes(notes) + b"\0\xff/\0"
    return (b"MThd" + (6).to_bytes(4, "big") + bytes((0, 0, 0, 1, 1, 224)) + b"MTrk" + len(track).to_bytes(4, "big") + track)


HOSTILE_SIZES = (199_000, 2_790_000)  # as many as are searched, and as many as a body holds


def searching(server, n_notes):
    """A connection that waits for a hostile search, which is under way."""
    waiting = raw_post(server, hostile_midi(n_notes), path="/api/find?id=hostile")
    until(lambda: server.json("GET", "/api/search/hostile")[1].get("stage") in ("finding", "reading", "done")
          or server.json("GET", "/api/status")[1]["answered"])
    return waiting


SOON = 30 if "san" in BUILD.name else 2  # seconds of a processor, so that a busy machine does not matter


@pytest.mark.parametrize("n_notes", HOSTILE_SIZES)
def test_hostile_search_is_cancelled(busy, n_notes):
    waiting = searching(busy, n_notes)
    began = busy.seconds()
    busy.json("DELETE", "/api/search/hostile")
    head = waiting.recv(4096)
    assert re.match(rb"HTTP/1.1 (409|422)", head) and busy.seconds() - began < SOON, head
    assert names_of(busy.typed("/api/find", {"notes": PHRASE})[1])[0] == "b/09.mid"


@pytest.mark.parametrize("n_notes", HOSTILE_SIZES)
def test_hostile_search_ends_with_the_server(music, n_notes):
    def ended():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = ended()
    server = Server(*ALL, "--threads", 1, cwd=music)
    waiting = searching(server, n_notes)
    began = server.seconds()
    code, said = server.end(signal.SIGINT, limit=60)
    assert code == 128 + signal.SIGINT and ended() - before - began < SOON, said
    waiting.close()


def test_hostile_notes_are_refused(busy):
    status, answer = busy.midi("/api/search", hostile_midi(200_001))
    assert status == 422 and "at most 200000 notes" in answer["error"]
    assert busy.memory() < (4 << 30 if "san" in BUILD.name else 200 << 20)


def test_a_search_has_its_time(music):
    with serving("c.notes", "--max-seconds", 1, "--threads", 1, cwd=music) as hurried:
        status, answer = hurried.midi("/api/find", hostile_midi(199_000))
        assert status == 200 or (status == 422 and "more than 1 s" in answer["error"])
        assert names_of(hurried.typed("/api/find", {"notes": PHRASE})[1])[0] == "b/09.mid"


def test_closed_connection_cancels(busy):
    for _ in range(3):
        raw_post(busy, slow_midi()).close()
    until(lambda: (lambda s: s["running"] == s["waiting"] == 0 and s["cancelled"] + s["answered"] + s["refused"] >= 3)(
        busy.json("GET", "/api/status")[1]))


# ---- Whom it refuses ------------------------------------------------------------------------------------------------


def test_other_hosts_and_origins(server):
    assert server.ask("GET", "/api/status", Host="evil.example")[0] == 403
    assert server.ask("GET", "/api/status", Host=f"evil.example:{server.port}")[0] == 403
    assert server.ask("GET", "/api/status", Host="127.0.0.1:1")[0] == 403
    assert server.ask("GET", "/api/status", Host=f"localhost:{server.port}")[0] == 200
    for origin in ("http://evil.example", "null", f"https://{server.host}", server.address + ".evil.example"):
        assert server.ask("GET", "/api/status", Origin=origin)[0] == 403
    assert server.ask("GET", "/api/status", Origin=server.address)[0] == 200
    assert server.ask("GET", "/api/status", Sec_Fetch_Site="cross-site")[0] == 403
    assert server.ask("GET", "/api/status", Sec_Fetch_Site="same-origin")[0] == 200
    status, headers, _ = server.ask("OPTIONS", "/api/search", Origin="http://evil.example")
    assert status == 403 and "Access-Control-Allow-Origin" not in headers


def test_headers(server):
    for path in ("/api/status", "/nothing"):
        headers = server.ask("GET", path)[1]
        assert "default-src 'none'" in headers["Content-Security-Policy"] and "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"


def test_only_its_own_paths(server):
    for path in ("/music/", "/../secret.mid", "/page/../../secret.mid", "/api/piece/../../secret.mid", "/api/piece/-1", "/api/",
                 "/api/piece/r99999999999999999999", "/api/piece/x1", "/%2e%2e/secret.mid", "/api/search/a%2fb"):
        assert server.ask("GET", path)[0] == 404, path
    for method, path in (("PUT", "/api/status"), ("GET", "/api/search"), ("POST", "/api/status"), ("DELETE", "/api/piece/r1")):
        status, headers, _ = server.ask(method, path)
        assert status == 405 and headers["Allow"]


def test_token(music):
    with serving("c.notes", "--listen", "0.0.0.0", cwd=music) as open_server:
        assert re.fullmatch("[0-9a-f]{32}", open_server.token)
        assert open_server.ask("GET", "/api/status")[0] == 401
        assert open_server.ask("GET", "/api/status", Authorization="Bearer " + "0" * 32)[0] == 401
        status, headers, _ = open_server.ask("GET", "/api/status", Authorization=f"Bearer {open_server.token}")
        assert status == 200
        assert open_server.ask("GET", "/api/status", Authorization=f"Bearer {open_server.token}", Origin="http://evil.example")[0] == 403


# ---- Damaged, large and slow ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path, kind, body, status", (
    ("/api/search", "audio/midi", b"", 400), ("/api/search", "audio/midi", b"MThd", 422), ("/api/find", "audio/midi", DRUMS, 422),
    ("/api/search", "audio/midi", b"\0" * 1000, 422), ("/api/search", "text/plain", b"x", 415), ("/api/search", "", b"x", 415),
    ("/api/find", "application/json", b"", 400), ("/api/find", "application/json", b"{", 400),
    ("/api/find", "application/json", b"[]", 400), ("/api/find", "application/json", b'{"notes": 3}', 400),
    ("/api/find", "application/json", b'{"notes": "C4", "more": 1}', 400), ("/api/find", "application/json", b'{"notes": "H9"}', 400),
    ("/api/find", "application/json", b'{"notes": ""}', 400), ("/api/find", "application/json", b"[" * 100000, 400),
    ("/api/find", "application/json", b'{"piece": "r1x"}', 400), ("/api/find", "application/json", b'{"notes":"\xff"}', 400),
    ("/api/search?k=0", "audio/midi", b"x", 400), ("/api/search?k=101", "audio/midi", b"x", 400),
    ("/api/search?keys=some", "audio/midi", b"x", 400), ("/api/search?mode=", "audio/midi", b"x", 400),
    ("/api/search?id=a%20b", "audio/midi", b"x", 400), ("/api/search?name=" + "n" * 300, "audio/midi", b"x", 400)))
def test_damaged_bodies(server, path, kind, body, status):
    given, answer = server.json("POST", path, body, Content_Type=kind)
    assert given == status and answer["error"] and "\n" not in answer["error"]


def test_damaged_midi(server, query):
    """Every byte of a file changed in turn: an answer or a refusal, never an end."""
    for i in range(0, len(query), 7):
        changed = query[:i] + bytes([query[i] ^ 0x80]) + query[i + 1:]
        assert server.midi("/api/find?k=1", changed)[0] in (200, 422)


def test_hostile_name(server, query):
    name = "%3C/script%3E%3Cscript%3Ealert(1)%22%0a%ff"
    status, answer = server.midi(f"/api/find?k=1&name={name}", query)
    assert status == 200 and answer["report"]["pieces"][0]["name"] == '</script><script>alert(1)"\n\udcff'


def test_many_clients(server, query):
    """Each gets the answer to its own question, as if it were alone."""
    alone = {i: server.typed("/api/find?k=2", {"notes": " ".join(map(str, tune(i)[10:40]))})[1] for i in range(12)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [(i % 12, pool.submit(server.typed, "/api/find?k=2", {"notes": " ".join(map(str, tune(i % 12)[10:40]))}))
                for i in range(96)]
        for i, job in jobs:
            assert job.result() == (200, alone[i])


# ---- Beginning and end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_ends_within_a_second(music, number):
    server = Server(*ALL, "--threads", 1, cwd=music)
    held = [raw_post(server, slow_midi()) for _ in range(6)] + [socket.create_connection(("127.0.0.1", server.port))]
    until(lambda: server.json("GET", "/api/status")[1]["running"])
    began = time.monotonic()
    code, said = server.end(number)
    assert code == 128 + number and time.monotonic() - began < (20 if "asan" in str(BUILD) else 3), said  # a second, when idle
    for s in held:
        s.close()


def test_wrong_use(music):
    for arguments, code, says in ((("c.npy", "more"), 2, "expected one CORPUS"),
                                  (("--listen", "localhost", "c.notes"), 2, "numeric address"),
                                  (("none.npy",), 1, "none.npy"), (("--port", "70000", "c.npy"), 2, "0..65535")):
        done = run("serve", *arguments, cwd=music)
        assert done.returncode == code and says in text(done) and text(done).count("\n") == 1, text(done)


def test_build_without_a_server(tmp_path):
    """The front command says what is missing."""
    shutil.copy(BUILD / "midisim", tmp_path / "midisim")
    done = run("serve", "serve", "c.npy", program=tmp_path / "midisim")
    assert done.returncode == 1 and text(done).count("\n") == 1 and "libmicrohttpd-dev" in text(done)


def test_port_is_taken(music, server):
    done = run("serve", "--port", server.port, "c.notes", cwd=music)
    assert done.returncode == 1 and f"cannot listen at 127.0.0.1, port {server.port}" in text(done)
