#!/usr/bin/env python3
"""Files of a repository on the hub that the original downloads from, for fetch.py. Python's standard library alone.

HF_ENDPOINT is another address of the hub. HF_TOKEN is sent to that address alone, never to where it redirects, and over plain
http only when the user asks for it. With HF_HUB_OFFLINE=1 nothing is asked.

A download goes to a file named by its content (.NAME.ETAG.part) beside its place. A run that was cut off goes on there,
in the same run or a later one. The file gets its name when its size and its hash are right. The hash is the one that the
caller knows, or else the one that the hub publishes: SHA-256 for large files, git's own for small ones.
"""
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TRIES = 4       # in a row that bring nothing
TIMEOUT = 60    # seconds of silence
CHUNK = 1 << 20
LISTING_BYTES = 64 << 20
REDIRECTS = 8
HASH = r"[0-9a-f]{40}|[0-9a-f]{64}"


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


class Voice:
    """What is said on standard error, and the settings of a run that the requests need."""
    name = "fetch.sh"
    is_quiet = False
    sends_token_over_http = False


def say(text):
    """One line; bytes that would steer a terminal become '?'."""
    clean = "".join(c if c.isprintable() else "?" for c in str(text))
    print(f"{Voice.name}: {clean}", file=sys.stderr, flush=True)


def note(text):
    if not Voice.is_quiet:
        say(text)


class Progress:
    """A line that is rewritten, on a terminal alone."""

    def __init__(self, have, size):
        self.first, self.size, self.begun, self.shown = have, size, time.monotonic(), 0.0
        self.is_on = sys.stderr.isatty() and not Voice.is_quiet

    def show(self, have):
        now = time.monotonic()
        if not self.is_on or now - self.shown < 0.2:
            return
        self.shown = now
        rate = (have - self.first) / max(now - self.begun, 0.001)
        text = f"{have / 1e6:,.1f} MB"
        if self.size:
            text += f" of {self.size / 1e6:,.1f}, {100 * have / self.size:.0f} %"
        text += f", {rate / 1e6:,.1f} MB/s"
        if self.size and rate > 0:
            text += f", {(self.size - have) / rate:,.0f} s left"
        print(f"\r{Voice.name}: {text}\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self):
        if self.is_on and self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def origin(url):
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def endpoint():
    url = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if origin(url)[0] not in ("http", "https") or not origin(url)[1]:
        raise Failed(f"HF_ENDPOINT: expected http:// or https://, got {url}")
    return url


def token():
    """The token to send, if any."""
    value = os.environ.get("HF_TOKEN", "").strip()
    if value and not re.fullmatch(r"[!-~]+", value):
        raise Failed("HF_TOKEN: expected one word of printable ASCII, got something else")
    return value if is_token_safe() else ""


def is_token_safe():
    return origin(endpoint())[0] == "https" or Voice.sends_token_over_http


def is_offline():
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def explain(status, url):
    if status in (401, 403):
        had = "HF_TOKEN was not accepted" if token() else "set HF_TOKEN"
        if os.environ.get("HF_TOKEN", "").strip() and not is_token_safe():
            had = "HF_TOKEN is not sent over plain http (--token-over-http sends it)"
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


def follow(method, url, **headers):
    """The answer behind the redirects."""
    for _ in range(REDIRECTS):
        answer = ask(method, url, **headers)
        target = redirect_of(answer, url)
        if target is None:
            return answer
        answer.close()
        url = target
    raise Failed(f"{url}: expected a file, got {REDIRECTS} redirects")


def describe(url):
    """(size or None, etag) of a file, as the hub publishes them. A large file's size and SHA-256 stand in the first answer,
    a redirect that may lead to the hub's own address again: what a later answer says is of the bytes behind it."""
    size = etag = None
    for _ in range(REDIRECTS):
        with ask("HEAD", url) as answer:
            if answer.status >= 400:
                raise explain(answer.status, url)
            size = size or answer.headers.get("X-Linked-Size")
            etag = etag or answer.headers.get("X-Linked-Etag")
            target = redirect_of(answer, url)
            if target is None or origin(target) != origin(url):
                break
            url = target
    else:
        raise Failed(f"{url}: expected a file, got {REDIRECTS} redirects")
    if target is None:
        size = size or answer.headers.get("Content-Length")
        etag = etag or answer.headers.get("ETag")
    return int(size) if size and size.isdigit() else None, re.sub(r'^W/|"', "", etag or "")


def open_part(path):
    """The part of a download, to read and write: a plain file of this user with one name, held by this run alone. What
    somebody else put there, a link above all, is not written through."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise Failed(f"{path}: expected a file of this download or none, got: {error.strerror}; remove it") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(fd)
        raise Failed(f"{path}: expected a plain file of this user with one name, got another; remove it")
    part = open(path, "r+b", opener=lambda *_: fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        part.close()
        raise Failed(f"{path}: another run is downloading this file; wait for it") from None
    return part


def refuse_page(url, answer, data):
    """A login page of a network, or the hub's own page, instead of the file."""
    begins = data[:64].lstrip().lower()
    is_page = begins.startswith((b"<!doctype html", b"<html"))
    if is_page or answer.headers.get_content_type() == "text/html":
        raise Failed(f"{url}: expected a file, got a web page: is there a login page in between, or is HF_ENDPOINT wrong?")


def receive(url, part, size):
    """Append to `part` what is still missing. Returns when the other side has no more to say."""
    have = part.seek(0, os.SEEK_END)
    if size is not None and have >= size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with follow("GET", url, **headers) as answer:
        if answer.status == 416:
            part.truncate(0)
            raise Passing(f"{url}: expected the rest from byte {have}, got none")
        if answer.status not in (200, 206):
            raise explain(answer.status, url)
        begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        goes_on = answer.status == 206 and begins and int(begins[1]) == have
        if answer.status == 206 and not goes_on and have:
            part.truncate(0)
            raise Passing(f"{url}: expected bytes from {have}, got others")
        append(url, answer, part, have if goes_on else 0, size)


def append(url, answer, part, have, size):
    """The answer's bytes to `part` from byte `have` on."""
    progress = Progress(have, size)
    part.seek(have)
    part.truncate()
    try:
        while True:
            try:
                data = answer.read(CHUNK)
            except (OSError, ValueError) as error:
                raise Passing(f"{url}: {error}") from None
            if have == 0:
                refuse_page(url, answer, data)
            if not data:
                return
            have += len(data)
            try:
                part.write(data)
            except OSError as error:
                raise Failed(f"{part.name}: {error.strerror}") from None
            if size is not None and have > size:
                return  # too many: check() says so
            progress.show(have)
    finally:
        progress.end()


def digest_of(file, etag, size):
    digest = hashlib.sha256() if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % size)
    file.seek(0)
    while data := file.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()


def check(part, size, etag, name):
    """Complain unless the bytes are those that are expected: by the known hash, or by what the hub publishes."""
    have = part.seek(0, os.SEEK_END)
    if size is not None and have != size:
        raise Failed(f"{name}: expected {size} bytes, got {have}")
    if not re.fullmatch(HASH, etag):
        say(f"{name}: the hub publishes no hash of it: not checked")
        return
    got = digest_of(part, etag, have)
    if got != etag:
        raise Failed(f"{name}: expected {'SHA-256' if len(etag) == 64 else 'git hash'} {etag}, got {got}")


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
    """Work for patiently: one file to its part. `known` is the file's SHA-256 where the caller has it."""

    def __init__(self, url, out, known):
        self.url, self.out, self.known = url, out, known
        self.part, self.size, self.etag = None, None, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.part:
            self.part.close()

    def progress(self):
        return os.fstat(self.part.fileno()).st_size if self.part else 0

    def begin(self):
        """Ask what the file is, and open its part."""
        name, folder = os.path.basename(self.out), os.path.dirname(self.out) or "."
        self.size, self.etag = describe(self.url)
        if self.known and len(self.etag) == 64 and self.etag != self.known:
            raise Failed(f"{name}: expected SHA-256 {self.known}, the hub has {self.etag}")
        self.etag = self.known or self.etag
        is_hash = re.fullmatch(HASH, self.etag)
        safe = self.etag if is_hash else re.sub(r"\W", "", self.etag)[:64] or "unknown"
        self.part = open_part(os.path.join(folder, f".{name}.{safe}.part"))
        if safe == "unknown":
            self.part.truncate(0)  # nothing says that what is there belongs to this file
        have, free = self.progress(), shutil.disk_usage(folder).free
        if self.size is not None and self.size - have > free:
            raise Failed(f"{folder}: expected room for {self.size - have} bytes more, got {free}")
        size = "unknown size" if self.size is None else f"{self.size / 1e6:,.1f} MB"
        note(f"downloading {name} ({size})" + (f", from byte {have} on" if have else ""))

    def __call__(self):
        if self.part is None:
            self.begin()
        try:
            receive(self.url, self.part, self.size)
        finally:
            self.part.flush()
        if self.size is not None and self.progress() < self.size:
            raise Passing(f"{self.url}: expected {self.size} bytes, got {self.progress()}")

    def finish(self):
        """The part, if it is right, becomes the file; a wrong one goes."""
        try:
            check(self.part, self.size, self.etag, os.path.basename(self.out))
        except Failed:
            os.remove(self.part.name)
            raise
        umask = os.umask(0o022)
        os.umask(umask)
        os.fchmod(self.part.fileno(), 0o666 & ~umask)
        os.fsync(self.part.fileno())
        os.replace(self.part.name, self.out)


class Listing:
    """Work for patiently: (name, size or None) of a repository's files."""

    def __init__(self, url):
        self.url, self.files = url, []

    def progress(self):
        return 0

    def __call__(self):
        with follow("GET", self.url) as answer:
            if answer.status != 200:
                raise explain(answer.status, self.url)
            try:
                found = json.loads(answer.read(LISTING_BYTES))["siblings"]
                self.files = [(str(f["rfilename"]), f.get("size")) for f in found]
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                raise Failed(f"{self.url}: expected a list of files, got something else") from None


class Repository:
    """A model's or a data set's repository at one revision."""

    def __init__(self, kind, name, revision):
        self.kind, self.name, self.revision = kind, name, urllib.parse.quote(revision, safe="")

    def begin(self, what):
        if is_offline():
            raise Failed(f"{what}: HF_HUB_OFFLINE is set, and it is not there yet")
        if os.environ.get("HF_TOKEN", "").strip() and not is_token_safe():
            note(f"HF_TOKEN is not sent to {endpoint()}: plain http (--token-over-http sends it)")

    def fetch(self, name, out, known=None):
        """One file; `known` is its SHA-256 if that does not come from the hub."""
        self.begin(name)
        check_name(name)
        os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
        place = ("/datasets/" if self.kind == "dataset" else "/") + self.name
        with Download(f"{endpoint()}{place}/resolve/{self.revision}/{urllib.parse.quote(name)}", out, known) as work:
            patiently(work)
            work.finish()
        note(f"wrote {out}")

    def files(self, with_sizes=False):
        """(name, size or None) of each file."""
        self.begin(f"the list of {self.name}")
        sizes = "?blobs=true" if with_sizes else ""
        listing = Listing(f"{endpoint()}/api/{self.kind}s/{self.name}/revision/{self.revision}{sizes}")
        patiently(listing)
        for name, _ in listing.files:
            check_name(name)
        return sorted((n, s) for n, s in listing.files if not os.path.basename(n).startswith("."))


def check_name(name):
    parts = name.split("/")
    if any(p in ("", ".", "..") for p in parts) or not name.isprintable() or "\\" in name:
        raise Failed(f"expected the name of a file in the repository, got {name!r}")
