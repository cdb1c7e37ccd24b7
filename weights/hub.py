#!/usr/bin/env python3
"""One file, or all files, of a repository on the hub that the original downloads from; for fetch.sh. Standard library.

  hub.py file  model|dataset REPO REVISION NAME OUT     hub.py all  model|dataset REPO REVISION FOLDER [again]

HF_ENDPOINT: another address of the hub. HF_TOKEN: sent to that address alone, never to where it redirects. HF_HUB_OFFLINE:
nothing is asked; what is there will do. A download goes to a file named by its content (.NAME.ETAG.part) beside OUT and
is taken up again there, by this run or a later one. Size and SHA-256, where the hub publishes them (for large files it
does; for small ones git's own hash), must be right before OUT gets its name.
"""
import hashlib
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TRIES = 4       # in a row that bring nothing
TIMEOUT = 60    # seconds of silence
CHUNK = 1 << 20


class Failed(Exception):
    """One line for the user."""


class Passing(Exception):
    """What another try may heal."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.OpenerDirector()
for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, NoRedirects,
                urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler):
    OPENER.add_handler(handler())


def say(text):
    print(f"fetch.sh: {text}", file=sys.stderr, flush=True)


def origin(url):
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def endpoint():
    url = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if origin(url)[0] not in ("http", "https") or not origin(url)[1]:
        raise Failed(f"HF_ENDPOINT: expected http:// or https://, got {url}")
    return url


def token():
    value = os.environ.get("HF_TOKEN", "").strip()
    if value and not re.fullmatch(r"[!-~]+", value):
        raise Failed("HF_TOKEN: expected one word of printable ASCII, got something else")
    return value


def is_offline():
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def explain(status, url):
    if status in (401, 403):
        had = "HF_TOKEN was not accepted" if token() else "set HF_TOKEN"
        return Failed(f"{url}: {status}: expected a file that may be read; {had}, or ask for access on its page")
    if status == 404:
        return Failed(f"{url}: 404: expected a file, got none of this name")
    kind = Passing if status in (408, 429) or status >= 500 else Failed
    return kind(f"{url}: expected a file, got status {status}")


def ask(method, url, **headers):
    """One request, not followed. The token goes to the hub's own address only."""
    request = urllib.request.Request(url, method=method, headers={"Accept-Encoding": "identity", **headers})
    request.add_header("User-Agent", "midisim-fetch")
    if token() and origin(url) == origin(endpoint()):
        request.add_unredirected_header("Authorization", "Bearer " + token())
    try:
        return OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as answer:
        return answer  # a redirect or an error: it has status and headers all the same
    except (OSError, ValueError) as error:
        raise Passing(f"{url}: {getattr(error, 'reason', error)}") from None


def redirect_of(answer, url):
    """Where an answer sends us, or None."""
    if answer.status not in (301, 302, 303, 307, 308):
        return None
    target = urllib.parse.urljoin(url, answer.headers.get("Location", ""))
    if origin(target)[0] not in ("http", "https") or (origin(url)[0] == "https" and origin(target)[0] != "https"):
        raise Failed(f"{url}: expected a redirect that stays with {origin(url)[0]}, got {target.split('?')[0]}")
    return target


def follow(method, url, stops_at_others=False, **headers):
    """The answer behind the redirects; with stops_at_others the first one that leads to another address."""
    for _ in range(8):
        answer = ask(method, url, **headers)
        target = redirect_of(answer, url)
        if target is None or (stops_at_others and origin(target) != origin(url)):
            return answer
        answer.close()
        url = target
    raise Failed(f"{url}: expected a file, got 8 redirects")


def describe(url):
    """(size or None, etag) of a file, as the hub publishes them."""
    answer = follow("HEAD", url, stops_at_others=True)
    with answer:
        if answer.status >= 400:
            raise explain(answer.status, url)
        size = answer.headers.get("X-Linked-Size") or (answer.headers.get("Content-Length") if answer.status == 200 else None)
        etag = answer.headers.get("X-Linked-Etag") or answer.headers.get("ETag") or ""
    return int(size) if size and size.isdigit() else None, re.sub(r'^W/|"', "", etag)


def receive(url, part, size):
    """Append to `part` what is still missing. Returns when the other side has no more to say."""
    have = os.path.getsize(part) if os.path.exists(part) else 0
    if size is not None and have >= size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with follow("GET", url, **headers) as answer:
        if answer.status == 416:
            os.remove(part)
            raise Passing(f"{url}: expected the rest from byte {have}, got none")
        if answer.status not in (200, 206):
            raise explain(answer.status, url)
        begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        goes_on = answer.status == 206 and begins and int(begins[1]) == have
        if answer.status == 206 and not goes_on and have:
            os.remove(part)
            raise Passing(f"{url}: expected bytes from {have}, got others")
        shown = time.monotonic()
        with open(part, "ab" if goes_on else "wb") as out:
            while True:
                try:
                    data = answer.read(CHUNK)
                except (OSError, ValueError) as error:
                    raise Passing(f"{url}: {error}") from None
                if not data:
                    return
                try:
                    out.write(data)
                except OSError as error:
                    raise Failed(f"{part}: {error.strerror}") from None
                if sys.stderr.isatty() and time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    say(f"{out.tell() / 1e6:,.0f} MB" + (f" of {size / 1e6:,.0f}" if size else ""))


def check(part, size, etag, name):
    """Complain unless the bytes are those that the hub says it has."""
    have = os.path.getsize(part)
    if size is not None and have != size:
        raise Failed(f"{name}: expected {size} bytes, got {have}")
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag):
        say(f"{name}: the hub publishes no hash of it: not checked")
        return
    digest = hashlib.sha256() if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % have)
    with open(part, "rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    if digest.hexdigest() != etag:
        raise Failed(f"{name}: expected {'SHA-256' if len(etag) == 64 else 'git hash'} {etag}, got {digest.hexdigest()}")


def patiently(work):
    """Try again while that may help. `work` returns, or raises Passing; work.progress() is what it has come to."""
    wait, best = 0.5, 0
    for left in range(TRIES - 1, -1, -1):
        while True:
            try:
                return work()
            except Passing as error:
                now, failure = work.progress(), error
            if now <= best:
                break
            best, wait = now, 0.5  # something came: go on at once
        if left:
            say(f"{failure}; trying again")
            time.sleep(wait)
            wait *= 2
    raise Failed(str(failure))


class Download:
    """Work for patiently: one file to its part."""

    def __init__(self, url, out):
        self.url, self.out, self.part, self.size, self.etag = url, out, None, None, ""

    def progress(self):
        return os.path.getsize(self.part) if self.part and os.path.exists(self.part) else 0

    def __call__(self):
        name = os.path.basename(self.out)
        if self.part is None:
            self.size, self.etag = describe(self.url)
            folder = os.path.dirname(self.out) or "."
            safe = re.sub(r"\W", "", self.etag)[:64] or "unknown"
            self.part = os.path.join(folder, f".{name}.{safe}.part")
            have = self.progress()
            if self.size is not None and self.size - have > shutil.disk_usage(folder).free:
                raise Failed(f"{folder}: expected room for {self.size - have} bytes more, got {shutil.disk_usage(folder).free}")
            size = "unknown size" if self.size is None else f"{self.size / 1e6:,.1f} MB"
            say(f"downloading {name} ({size})" + (f", from byte {have} on" if have else ""))
        receive(self.url, self.part, self.size)
        if self.size is not None and self.progress() < self.size:
            raise Passing(f"{self.url}: expected {self.size} bytes, got {self.progress()}")


def fetch_file(base, revision, name, out):
    if is_offline():
        raise Failed(f"{name}: HF_HUB_OFFLINE is set, and it is not there yet")
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    quoted = urllib.parse.quote(name)
    work = Download(f"{base}/resolve/{urllib.parse.quote(revision, safe='')}/{quoted}", out)
    patiently(work)
    try:
        check(work.part, work.size, work.etag, name)
    except Failed:
        os.remove(work.part)
        raise
    os.replace(work.part, out)
    say(f"wrote {out}")


class Listing:
    """Work for patiently: names of a repository's files."""

    def __init__(self, url):
        self.url, self.names = url, []

    def progress(self):
        return 0

    def __call__(self):
        with follow("GET", self.url) as answer:
            if answer.status != 200:
                raise explain(answer.status, self.url)
            try:
                self.names = [str(f["rfilename"]) for f in json.loads(answer.read(64 << 20))["siblings"]]
            except (OSError, ValueError, KeyError, TypeError):
                raise Failed(f"{self.url}: expected a list of files, got something else") from None


def check_name(name):
    parts = name.split("/")
    if any(p in ("", ".", "..") for p in parts) or not name.isprintable() or "\\" in name:
        raise Failed(f"expected the name of a file in the repository, got {name!r}")


def main(what, kind, repo, revision, *rest):
    base = endpoint() + ("/datasets/" if kind == "dataset" else "/") + repo
    if what == "file":
        name, out = rest
        check_name(name)
        return fetch_file(base, revision, name, out)
    folder = rest[0]
    if is_offline():
        raise Failed(f"{repo}: HF_HUB_OFFLINE is set: its files cannot be listed")
    listing = Listing(f"{endpoint()}/api/{kind}s/{repo}/revision/{urllib.parse.quote(revision, safe='')}")
    patiently(listing)
    for name in listing.names:
        check_name(name)
    for name in sorted(n for n in listing.names if not os.path.basename(n).startswith(".")):
        out = os.path.join(folder, name)
        if os.path.exists(out) and len(rest) == 1:
            say(f"{out} is there")
        else:
            fetch_file(base, revision, name, out)
    return None


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Failed as failure:
        sys.exit(f"fetch.sh: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as failure:
        sys.exit(f"fetch.sh: {failure.filename or ''}: {failure.strerror or failure}")
