"""midisim-serve under slow, damaged and hostile clients: it keeps serving, and its memory stays."""
import contextlib
import json
import re
import resource
import socket
import struct
import time

import pytest
from cli_util import BUILD, ROOT, build_clock, midi, run, text
from serve_util import serving
from test_find import tune

IS_SANITIZED = any(kind in str(BUILD) for kind in ("asan", "tsan"))
MIB = 1 << 20
PHRASE = {"notes": " ".join(map(str, tune(9)[40:64]))}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """12 pieces and their note index."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "music").mkdir()
    for i in range(12):
        (folder / f"music/{i:02d}.mid").write_bytes(midi(tune(i), ticks=240))
    done = run("index", "-o", "c.notes", "music", cwd=folder)
    assert done.returncode == 0, text(done)
    return folder


@pytest.fixture(scope="module")
def server(music):
    with serving("c.notes", cwd=music) as started:
        yield started


QUERY = midi(tune(3, transpose=4)[20:100], ticks=200)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def head(server, *more, method="POST", path="/api/find", kind="audio/midi"):
    """The head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {server.host}", f"Content-Type: {kind}", *more, "", "")).encode()


def typed(server, phrase=None, path="/api/find"):
    body = json.dumps(phrase or PHRASE).encode()
    return head(server, f"Content-Length: {len(body)}", kind="application/json", path=path) + body


def read_all(s):
    """What comes until the connection is closed."""
    out = b""
    with contextlib.suppress(OSError):
        while part := s.recv(1 << 16):
            out += part
    return out


def read_first(s):
    """What comes first; nothing when the connection is closed."""
    with contextlib.suppress(OSError):
        return s.recv(1 << 16)
    return b""


def read_answer(stream):
    """(status, body) of the next answer on a connection."""
    status, length = int(stream.readline().split()[1]), 0
    while line := stream.readline().strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, stream.read(length)


def is_serving(server):
    return server.midi("/api/find?k=1", QUERY)[0] == 200 and server.json("GET", "/api/status")[0] == 200


def stays(server, before, more, peak=False):
    """Memory grew by less than that; under the sanitizers it says nothing."""
    assert IS_SANITIZED or server.memory(peak) - before < more, (before, server.memory(peak))


# ---- Many and slow clients -------------------------------------------------------------------------------------------


def test_a_thousand_idle_clients(server):
    """1,000 connections that say nothing or half a request: others are answered."""
    n = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    before = server.memory()
    with contextlib.ExitStack() as held:
        idle = [held.enter_context(connect(server)) for _ in range(n)]
        for s in idle[: n // 2]:
            s.sendall(b"POST /api/find HTTP/1.1\r\nHost: ")
        assert is_serving(server)
        for s in idle[: n // 2]:
            s.sendall(b"1")
        assert is_serving(server)
        stays(server, before, 48 * MIB)
    assert is_serving(server)


@pytest.fixture(scope="module")
def hasty(music, tmp_path_factory):
    """A server whose minute takes two seconds, with pieces whose notes are more than sockets hold."""
    (music / "long").mkdir()
    for i in range(16):
        track = b"".join(b"\0\x90%c\x5a\x7f\x80%c\0" % (pitch, pitch) for pitch in tune(1, 20000, i - 8)) + b"\0\xff\x2f\0"
        (music / f"long/{i:02d}.mid").write_bytes(struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, 480, b"MTrk", len(track)) + track)
    with serving("long", cwd=music, env=build_clock(tmp_path_factory.mktemp("clock"), 30)) as started:
        yield started


@pytest.mark.parametrize("start", (b"", b"GET /api/status HTTP/1.1\r\nX: ", None))
def test_slow_request(hasty, start):
    """A byte now and then, in the first line, a header and a body: the connection is closed after its minute."""
    began = time.monotonic()
    with connect(hasty) as s, pytest.raises(OSError):
        s.sendall(head(hasty, "Content-Length: 100000") if start is None else start)
        while time.monotonic() - began < 30:
            s.sendall(b"G")
            time.sleep(0.1)
    assert is_serving(hasty)


def test_slow_reader(hasty):
    """An answer that is read a little at a time is cut off after its minute."""
    got, length = b"", None
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.settimeout(60)
        s.connect(("127.0.0.1", hasty.port))
        s.sendall(typed(hasty, {"notes": " ".join(map(str, tune(1)[10:60]))}, "/api/find?k=100"))
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 30 and (part := s.recv(512)):
                got += part
                length = length or re.search(rb"Content-Length: (\d+)", got)
                time.sleep(0.1 if time.monotonic() - began < 5 else 0)
    assert got.startswith(b"HTTP/1.1 200") and 0 < len(got) < int(length[1]), len(got)
    assert is_serving(hasty)


# ---- Bodies ---------------------------------------------------------------------------------------------------------


def test_announced_sizes(server):
    """8 GiB are refused before a byte of them, and no memory is taken."""
    before = server.memory()
    for expect in ((), ("Expect: 100-continue",)):
        with connect(server) as s:
            s.sendall(head(server, f"Content-Length: {8 << 30}", *expect))
            assert s.recv(4096).startswith(b"HTTP/1.1 413")
    assert server.ask("POST", "/api/find", b" " * (300 << 10), Content_Type="application/json")[0] == 413
    for length in ("-1", "1e3", "99999999999999999999", "5, 5"):
        with connect(server) as s:
            s.sendall(head(server, f"Content-Length: {length}"))
            assert s.recv(4096)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413", b"")
    assert is_serving(server)
    stays(server, before, 16 * MIB)


def test_expect(server):
    with connect(server) as s, s.makefile("rb") as stream:
        s.sendall(head(server, f"Content-Length: {len(QUERY)}", "Expect: 100-continue"))
        assert read_answer(stream) == (100, b"")
        s.sendall(QUERY)
        assert read_answer(stream)[0] == 200


def test_endless_body(server):
    """Chunks without an end: the connection is closed at the limit."""
    with connect(server) as s, pytest.raises(OSError):
        s.sendall(head(server, "Transfer-Encoding: chunked"))
        for _ in range(1000):
            s.sendall(b"10000\r\n" + b"\0" * 0x10000 + b"\r\n")
        s.recv(1)
        raise OSError
    assert is_serving(server)


def chunked(body, step=100):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[i:i + step] for i in range(0, len(body), step)))


@pytest.mark.parametrize("body", (
    b"Z\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n", b"\r\n\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"F" * 17 + b"\r\n",
    b"3" * 100000, b"3;" + b"x" * 100000, b"0\r\n" + b"X: y\r\n" * 10000, b"0\r\n\r\n"), ids=lambda body: repr(body[:12]))
def test_damaged_chunks(server, body):
    with connect(server) as s:
        with contextlib.suppress(OSError):
            s.sendall(head(server, "Transfer-Encoding: chunked") + body)
        assert not read_first(s).startswith(b"HTTP/1.1 200")
    assert is_serving(server)


def test_cut_chunks(server):
    """More chunks are awaited: the client leaves."""
    for body in (chunked(QUERY), chunked(QUERY)[:-5], b"3\r\nMTh", b"F" * 16 + b"\r\nabc", b"7fffffffffffffff\r\nabc"):
        with connect(server) as s:
            s.sendall(head(server, "Transfer-Encoding: chunked") + body)
        assert is_serving(server)


def test_chunks(server):
    for more in (b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"):
        with connect(server) as s, s.makefile("rb") as stream:
            s.sendall(head(server, "Transfer-Encoding: chunked") + chunked(QUERY, 7) + more)
            assert read_answer(stream)[0] == 200


def test_many_unfinished_bodies(music):
    """All bodies together have a limit, too: 32 of the largest."""
    with serving("c.notes", "--max-body", 1, cwd=music) as small, contextlib.ExitStack() as held:
        before = small.memory()
        waiting = [held.enter_context(connect(small)) for _ in range(120)]
        for s in waiting:
            s.sendall(head(small, f"Content-Length: {MIB}") + b"\0" * (MIB - 1))
        assert small.json("GET", "/api/status")[0] == 200
        for s in waiting:
            s.sendall(b"\0")
        answers = [s.recv(4096) for s in waiting]
        assert {answer[9:12] for answer in answers} == {b"422", b"503"}
        assert all((b"\r\nRetry-After: 1\r\n" in answer) == (answer[9:12] == b"503") for answer in answers)
        stays(small, before, 64 * MIB, peak=True)  # twice, as room is doubled
        assert is_serving(small)


# ---- Connections -----------------------------------------------------------------------------------------------------


def test_one_connection_for_ten_thousand(server):
    """Requests of several kinds one after the other: each is answered, and memory stays."""
    asks = [head(server, method="GET", path="/api/status"), head(server, method="GET", path="/nothing")] * 5 + [typed(server)]
    statuses = [200, 404] * 5 + [200]
    before = None
    with connect(server) as s, s.makefile("rb") as stream:
        for i in range(10000):
            s.sendall(asks[i % 11])
            assert read_answer(stream)[0] == statuses[i % 11]
            if i == 1000:
                before = server.memory()
    stays(server, before, 8 * MIB)


def test_pipelined(server):
    """Many requests sent at once are answered in order."""
    alone = {i: server.typed("/api/find", {"notes": " ".join(map(str, tune(i)[10:40]))}) for i in range(12)}
    with connect(server) as s, s.makefile("rb") as stream:
        for i in range(48):
            s.sendall(typed(server, {"notes": " ".join(map(str, tune(i % 12)[10:40]))}) + head(server, method="GET", path="/api/status"))
        for i in range(48):
            status, body = read_answer(stream)
            assert (status, json.loads(body)) == alone[i % 12]
            status, body = read_answer(stream)
            assert status == 200 and json.loads(body)["pieces"] == 12
    with connect(server) as s:  # and nobody waits for the answers
        s.sendall(typed(server) * 20)
    assert is_serving(server)


def test_other_options_every_time(server):
    """A worker keeps what it has opened: the answer is that of a search alone, whatever was asked before."""
    def ask(k, keys):
        status, answer = server.midi(f"/api/find?k={k}&keys={keys}", midi(tune(3) + tune(5) + tune(7)))
        assert status == 200
        return answer["report"]["queries"][0]["matches"]
    most = {keys: ask(100, keys) for keys in ("all", "own")}
    assert all(len(matches) >= 3 for matches in most.values())
    for i in range(12):
        k, keys = i % 4 + 1, ("all", "own")[i // 2 % 2]
        assert ask(k, keys) == most[keys][:k]


@pytest.mark.parametrize("garbage, answer", (
    (b"GET / HTTP/9.9\r\n\r\n", b"HTTP/1.1 505"), (b"GET " + b"/" * 100000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 414"),
    (b"GET /api/status HTTP/1.0\r\n\r\n", b"HTTP/1.1 403"), (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50000, b"HTTP/1.1 4"),
    (b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"HTTP/1.1 4"), (b"\xff\xfe / HTTP/1.1\r\n\r\n", b"HTTP/1.1 403"),
    (b"\0" * 100, None), (b"\r\n\r\n", None)), ids=lambda given: repr(given[:24]) if given else "waits")
def test_garbage(server, garbage, answer):
    """An answer, a closed connection, or a server that waits for more."""
    with connect(server) as s:
        with contextlib.suppress(OSError):
            s.sendall(garbage)
        assert answer is None or read_first(s)[:len(answer)] in (answer, b"")
    assert is_serving(server)


# ---- What a request may say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path, status", (
    ("/api/find?k=3&kk=4", 400), ("/api/find?K=3", 400), ("/api/find?k=3&k=3", 400), ("/api/find?id=a&id=b", 400),
    ("/api/find?mode=find", 400), ("/api/find?token=x", 400), ("/api/find?", 200), ("/api/find?k=3&", 200), ("/api/find?k=%33", 200),
    ("/api/find?k", 400), ("/api/find?=3", 400), ("/api/search?mode=find&k=2&keys=own&name=a%20b&id=x-1", 200)))
def test_options(server, path, status):
    """A misspelt or repeated option is refused: it would go unseen."""
    given, answer = server.midi(path, QUERY)
    assert given == status and (status == 200 or answer["error"]), answer


def test_options_where_none_are_taken(server):
    for path in ("/api/status?x=1", "/api/piece/n1?k=3", "/api/openapi.json?v", "/api/search/a?id=a"):
        status, answer = server.json("GET", path)
        assert status == 400 and "not an option of this path" in answer["error"], path
    assert server.ask("GET", "/?utm=x")[0] == 200  # of the page they mean nothing


def test_nul_characters(server):
    """No text is cut off at a NUL."""
    for path in ("/api/status%00", "/api/piece/n1%00/../x", "/%00", "/nothing%00", "/api/openapi.json?%00"):
        status, answer = server.json("GET", path)
        assert status == 400 and "NUL" in answer["error"], path
    assert server.midi("/api/find?name=a%00b", QUERY)[0] == 400 and server.midi("/api/find?k=3%00", QUERY)[0] == 400
    status, answer = server.midi("/api/find?name=a%2500b", QUERY)
    assert status == 200 and answer["report"]["pieces"][0]["name"] == "a%00b"
    with connect(server) as s, s.makefile("rb") as stream:  # the next request of the connection is another
        s.sendall(head(server, method="GET", path="/api/status%00") + head(server, method="GET", path="/api/status"))
        assert read_answer(stream)[0] == 400 and read_answer(stream)[0] == 200


def test_links_of_other_sites(server):
    """A link opens the page, and nothing but the page."""
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert server.ask("GET", "/", **link)[0] == 200
    assert server.ask("GET", "/api/status", **link)[0] == 403 and server.ask("GET", "/page/serve.js", **link)[0] == 403
    assert server.ask("GET", "/", **dict(link, Sec_Fetch_Dest="iframe"))[0] == 403
    assert server.ask("GET", "/", **dict(link, Sec_Fetch_Mode="no-cors"))[0] == 403
    assert server.ask("GET", "/", **dict(link, Host="evil.example"))[0] == 403
    assert server.ask("POST", "/api/find", QUERY, **link, Content_Type="audio/midi")[0] == 403


def test_methods(server):
    for path in ("/", "/api/status", "/api/openapi.json", "/api/piece/n1"):
        status, headers, body = server.ask("HEAD", path)
        assert status == 200 and body == b"" and int(headers["Content-Length"]) > 0
    for method in ("OPTIONS", "TRACE", "PUT", "PATCH", "CONNECT", "get", "GET,", "EAD"):
        for path in ("/", "/api/status", "/api/find"):
            with connect(server) as s:
                s.sendall(head(server, "Connection: close", method=method, path=path))
                said = read_all(s)
                assert said[9:12] in (b"405", b"400"), (method, path, said[:200])
    with connect(server) as s:
        s.sendall(head(server, "Connection: close", method="OPTIONS", path="*"))
        assert read_all(s).startswith(b"HTTP/1.1 404")


def test_hosts(server):
    """Names of this machine alone, whatever stands around them."""
    port = server.port
    for host, status in ((f"localhost:{port}", 200), (f"LOCALHOST:{port}", 200), (f"[::1]:{port}", 200), ("localhost", 403), ("", 403),
                         (f"localhost:{port}.", 403), (f"localhost.:{port}", 403), (f"localhost:0{port}", 403),
                         (f"a@localhost:{port}", 403),
                         (f"localhost:{port}@evil.example", 403), (f"localhost:{port}, evil.example", 403), ("evil.example", 403),
                         (f"127.0.0.1.evil.example:{port}", 403), (f"0.0.0.0:{port}", 403), (f"localhost:{port}/", 403)):
        assert server.ask("GET", "/api/status", Host=host)[0] == status, host
    with connect(server) as s:
        s.sendall(f"GET http://evil.example/api/status HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n".encode())
        assert read_all(s).startswith(b"HTTP/1.1 404")


def test_page_policy(server):
    """The served page may run its own scripts alone, and no other page may hold it."""
    for path in ("/", "/page/serve.js", "/api/status", "/nothing"):
        headers = server.ask("GET", path)[1]
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy == {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
                          "img-src": "data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
        assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store" and "Access-Control-Allow-Origin" not in headers
    page = (ROOT / "tools/serve/page/index.html").read_text()
    assert not re.search(r"<script>|<style|\son\w+=|style=", page)


def test_no_header_is_injected(server):
    said = b""
    for path in ("/api/x%0d%0aSet-Cookie:%20a=b", "/api/find?id=%0d%0aSet-Cookie:%20a=b", "/api/find?k=%0d%0aX:y&%0d%0aSet-Cookie:=1"):
        with connect(server) as s:
            s.sendall(head(server, f"Content-Length: {len(QUERY)}", "Connection: close", path=path) + QUERY)
            said += read_all(s)
    assert said.count(b"HTTP/1.1 4") == 3 and b"\nSet-Cookie" not in said and b"\nX:" not in said


def test_ipv6(music):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with serving("c.notes", "--listen", "::1", cwd=music) as six:
        assert six.address == f"http://[::1]:{six.port}" and not six.token

        def status(host):
            with socket.create_connection(("::1", six.port), timeout=60) as s, s.makefile("rb") as stream:
                s.sendall(f"GET /api/status HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                return read_answer(stream)[0]
        assert status(six.host) == 200 and status("evil.example") == 403 and status("[::2]:80") == 403
    with serving("c.notes", "--listen", "::", cwd=music) as wide:
        assert wide.token
