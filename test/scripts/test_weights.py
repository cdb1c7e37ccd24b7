"""weights/fetch.sh: what it says and does when things go wrong. Nothing here uses a network: what stands for the hub, and
for the place of files that it redirects to, are servers of this process."""
import fcntl
import hashlib
import http.server
import json
import os
import shutil
import threading
import zipfile

import golden_util as g
import pytest


@pytest.fixture
def tree(tmp_path):
    """A copy of the folder with a stand-in for the converter; HOME and cache are empty; pip cannot reach anything."""
    (tmp_path / "tree").mkdir()
    shutil.copytree(g.ROOT / "weights", tmp_path / "tree/weights",
                    ignore=shutil.ignore_patterns("*.safetensors", ".fetch.*"))
    converter = tmp_path / "tree/convert"
    converter.write_text('#!/bin/sh\n[ "$1" = --quiet ] && shift\ncp "$1" "$2"\n')
    converter.chmod(0o755)
    return tmp_path / "tree"


def fetch(tree, *arguments, ok=(0,), **variables):
    env = dict(os.environ, MIDISIM_CONVERT=str(tree / "convert"), PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull,
               **{"HOME": str(tree / "home"), **variables})
    for name in ("XDG_CACHE_HOME", *(n for n in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE") if n not in variables)):
        env.pop(name, None)
    env = {name: value for name, value in env.items() if value is not None}
    env.setdefault("HF_HUB_OFFLINE", "0" if "HF_ENDPOINT" in env else "1")
    env["no_proxy"] = "*"
    done = g.subprocess.run([str(tree / "weights/fetch.sh"), *map(str, arguments)], env=env, cwd=tree,
                            stdin=g.subprocess.DEVNULL, stdout=g.subprocess.PIPE, stderr=g.subprocess.PIPE, text=True)
    assert done.returncode in ok, done.stderr
    assert not list((tree / "weights").glob(".fetch.*"))
    return done


def result(tree):
    path = tree / "weights/midisim-small.safetensors"
    return path.read_bytes() if path.exists() else None


def fake_sums(tree, wheel):
    """Sums of a small wheel, so that no test needs the real one."""
    names = [line.split()[1] for line in (tree / "weights/SHA256SUMS").read_text().splitlines()]
    data = b"not really a checkpoint" * 1000
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("midisim/midisim.py", "")
        z.writestr("midisim/models/" + names[1], data)
    sums = [hashlib.sha256(wheel.read_bytes()).hexdigest(), hashlib.sha256(data).hexdigest()]
    (tree / "weights/SHA256SUMS").write_text("".join(f"{s}  {n}\n" for s, n in zip(sums, names)))
    return names[0], data


def test_help(tree):
    assert "--force" in fetch(tree, "--help").stdout
    assert "unknown option" in fetch(tree, "--wrong", ok=(2,)).stderr


def test_no_network_names_the_alternative(tree):
    done = fetch(tree, ok=(1,))
    assert "weights/fetch.sh PATH" in done.stderr and "weights/README.md" in done.stderr
    assert result(tree) is None


def test_wheel_by_hand(tree, tmp_path):
    wheel = tmp_path / "some name.whl"
    _, data = fake_sums(tree, wheel)
    fetch(tree, wheel)
    assert result(tree) == data
    assert fetch(tree).stderr == ""  # there already: silent


def test_a_package_with_a_corpus(tree, tmp_path):
    """midisimx-tiny: model and corpus out of one package, each with its own sum; the corpus's licence is said."""
    wheel, name = tmp_path / "midisimx.whl", "lakh_midi_dataset_17209_clean_midis_embeddings_1_2_1_2_weighted_cc_by_nc_sa.npy"
    model, corpus = b"a model" * 99, b"a corpus" * 99
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("midisimx/models/m.pth", model)
        z.writestr("midisimx/embeddings/e.npy", corpus)
    sums = tree / "weights/SHA256SUMS"
    real = sums.read_text()
    checkpoint = next(line.split()[1] for line in real.splitlines() if "midisimx_tiny" in line)
    sums.write_text(f"{hashlib.sha256(model).hexdigest()}  {checkpoint}\n{hashlib.sha256(corpus).hexdigest()}  {name}\n")
    done = fetch(tree, wheel)
    assert (tree / "weights/midisimx-tiny.safetensors").read_bytes() == model
    assert (tree / "midisim-embeddings" / name).read_bytes() == corpus and "CC BY-NC-SA" in done.stderr
    assert fetch(tree, "midisimx-tiny").stderr == ""  # both are there
    sums.write_text(sums.read_text().replace(hashlib.sha256(corpus).hexdigest(), "0" * 64))
    assert "expected a corpus with SHA-256 000" in fetch(tree, wheel, ok=(1,)).stderr


def test_checkpoint_by_hand(tree, tmp_path):
    _, data = fake_sums(tree, tmp_path / "w.whl")
    (tmp_path / "small.pth").write_bytes(data)
    fetch(tree, tmp_path / "small.pth")
    assert result(tree) == data


def test_another_checkpoint_is_refused(tree, tmp_path):
    (tmp_path / "other.pth").write_bytes(b"other")
    done = fetch(tree, tmp_path / "other.pth", ok=(1,))
    assert "SHA-256" in done.stderr and "got" in done.stderr
    assert result(tree) is None


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut short"])
def test_damaged_wheel_by_hand(tree, tmp_path, content):
    (tmp_path / "w.whl").write_bytes(content)
    fetch(tree, tmp_path / "w.whl", ok=(1,))
    assert result(tree) is None


def test_cached_wheel_and_a_damaged_cache(tree, tmp_path):
    name, data = fake_sums(tree, tmp_path / "w.whl")
    cache = tree / "home/.cache/midisim"
    cache.mkdir(parents=True)
    shutil.copy(tmp_path / "w.whl", cache / name)
    fetch(tree)
    assert result(tree) == data
    (cache / name).write_bytes((tmp_path / "w.whl").read_bytes()[:-7])
    done = fetch(tree, "--force", ok=(1,))
    assert "damaged, fetched again" in done.stderr
    assert not list(cache.iterdir())  # neither the damaged file nor a part of a download


def test_a_failing_converter_leaves_nothing(tree, tmp_path):
    fake_sums(tree, tmp_path / "w.whl")
    (tree / "convert").write_text("#!/bin/sh\nexit 1\n")
    fetch(tree, tmp_path / "w.whl", ok=(1,))
    assert result(tree) is None


# ---- The hub --------------------------------------------------------------------------------------------------------

TOKEN = "hf_secret.0123"
CORPUS = "discover_midi_dataset_37292_genres_midis_embeddings_cc_by_nc_sa.npy"
LARGE = "midisim_large_pre_trained_model_2_epochs_86275_steps_0.2054_loss_0.9385_acc.pth"


class Hub:
    """Two servers: the hub, which publishes size and SHA-256 of its files and redirects, and where it redirects to."""

    def __init__(self):
        self.files = {}          # path on the hub: bytes
        self.small = set()       # paths served by the hub itself, with git's hash
        self.etags, self.sizes = {}, {}  # wrong ones
        self.damaged = {}        # path: what the place it redirects to has instead
        self.cut = []            # bytes after which the next answers end
        self.busy = 0            # answers of status 503 to give first
        self.ignores_ranges = self.needs_token = self.stays = self.is_page = False
        self.seen = []           # (server, method, path, headers)
        hub, store = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler(n)) for n in ("hub", "store"))
        self.servers = {"hub": hub, "store": store}
        for server in self.servers.values():
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.servers[name].server_port}"

    def close(self):
        for server in self.servers.values():
            server.shutdown()
            server.server_close()

    def asked(self, server, method="GET"):
        return [headers for s, m, _, headers in self.seen if (s, m) == (server, method)]

    def handler(hub, name):  # noqa: N805 (self is the handler's)
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer()

            def do_GET(self):
                self.answer()

            def log_message(self, *_):
                pass

            def head(self, status, **headers):
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()

            def page(self):
                data = b"\n<!DOCTYPE html><title>Sign in</title>"
                self.head(200, Content_Length=len(data), Content_Type=hub.is_page)
                if self.command == "GET":
                    self.wfile.write(data)

            def answer(self):
                hub.seen.append((name, self.command, self.path, dict(self.headers)))
                if hub.is_page:
                    return self.page()
                if hub.busy:
                    hub.busy -= 1
                    return self.head(503, Content_Length=0)
                if name == "hub" and hub.needs_token and self.headers.get("Authorization") != "Bearer " + TOKEN:
                    return self.head(401, Content_Length=0)
                is_blob, self.path = self.path.startswith("/blob"), self.path.removeprefix("/blob")
                if self.path not in hub.files:
                    return self.head(404, Content_Length=0)
                data = hub.files[self.path]
                if name == "hub" and "/resolve/" in self.path and self.path not in hub.small and not is_blob:
                    where = "/blob" if hub.stays else hub.url("store")
                    return self.head(302, Location=where + self.path, Content_Length=0,
                                     X_Linked_Size=hub.sizes.get(self.path, len(data)),
                                     X_Linked_Etag='"%s"' % hub.etags.get(self.path, hashlib.sha256(data).hexdigest()))
                data, begin = hub.damaged.get(self.path, data), 0
                if self.headers.get("Range") and not hub.ignores_ranges:
                    begin = int(self.headers["Range"][6:-1])
                    if begin >= len(data):
                        return self.head(416, Content_Length=0)
                git = "blob-1" if is_blob else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                extra = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
                self.head(206 if begin else 200, Content_Length=len(data) - begin, ETag=f'"{git}"', **extra)
                if self.command == "GET":
                    body = data[begin:]
                    self.wfile.write(body[:hub.cut.pop(0)] if hub.cut and name == "store" else body)
                return None
        return Handler

    def add(self, name, data, repository="datasets/projectlosangeles/midisim-embeddings", revision="main"):
        path = f"/{repository}/resolve/{revision}/{name}"
        self.files[path] = data
        return path


@pytest.fixture
def hub():
    made = Hub()
    yield made
    made.close()


DATA = bytes(range(256)) * 3000


def corpora(tree, hub, *arguments, **more):
    return fetch(tree, *arguments, HF_ENDPOINT=more.pop("endpoint", hub.url("hub")), **more)


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


def test_corpus(tree, hub):
    hub.add(CORPUS, DATA)
    done = corpora(tree, hub, "--token-over-http", "--embeddings", CORPUS, HF_TOKEN=TOKEN)
    assert (tree / "midisim-embeddings" / CORPUS).read_bytes() == DATA and left(tree / "midisim-embeddings") == [CORPUS]
    assert done.stderr.index("CC BY-NC-SA") < done.stderr.index("downloading")
    # The token goes to the hub, and not to where it redirects.
    assert all(h.get("Authorization") == "Bearer " + TOKEN for h in hub.asked("hub") + hub.asked("hub", "HEAD"))
    assert len(hub.asked("store")) == 1 and "Authorization" not in hub.asked("store")[0]
    assert TOKEN not in done.stdout + done.stderr
    n = len(hub.seen)
    assert "is there" in corpora(tree, hub, "--embeddings", CORPUS[:-4], HF_HUB_OFFLINE="1").stderr
    assert len(hub.seen) == n
    corpora(tree, hub, "--force", "--to", tree / "else where", "--embeddings", CORPUS[:-4])
    assert left(tree / "else where") == [CORPUS] and "Authorization" not in hub.asked("hub")[-1]


def test_large(tree, hub):
    hub.add(LARGE, DATA, "projectlosangeles/midisim")
    corpora(tree, hub, "--large")
    assert (tree / "weights/midisim-large.safetensors").read_bytes() == DATA and result(tree) is None
    n = len(hub.seen)
    corpora(tree, hub, "--large")
    assert len(hub.seen) == n
    hub.files.clear()
    corpora(tree, hub, "--large", "--force", ok=(1,))
    assert (tree / "weights/midisim-large.safetensors").read_bytes() == DATA


@pytest.mark.parametrize("ignores_ranges", (False, True))
def test_a_cut_connection_is_resumed(tree, hub, ignores_ranges):
    hub.add(CORPUS, DATA)
    hub.cut, hub.ignores_ranges = [1000, 0, 70000] if not ignores_ranges else [1000, 70000], ignores_ranges
    corpora(tree, hub, "--embeddings", CORPUS)
    assert (tree / "midisim-embeddings" / CORPUS).read_bytes() == DATA
    ranges = [h.get("Range") for h in hub.asked("store")]
    assert ranges == ([None, "bytes=1000-", "bytes=1000-", "bytes=71000-"] if not ignores_ranges else
                      [None, "bytes=1000-", "bytes=70000-"])


def test_a_later_run_goes_on(tree, hub):
    hub.add(CORPUS, DATA)
    hub.cut = [5000] + [0] * 9
    done = corpora(tree, hub, "--embeddings", CORPUS, ok=(1,))
    assert f"expected {len(DATA)} bytes, got 5000" in done.stderr
    folder = tree / "midisim-embeddings"
    assert len(left(folder)) == 1 and left(folder)[0].endswith(".part")
    hub.cut = []
    assert "from byte 5000 on" in corpora(tree, hub, "--embeddings", CORPUS).stderr
    assert hub.asked("store")[-1]["Range"] == "bytes=5000-"
    assert (folder / CORPUS).read_bytes() == DATA and left(folder) == [CORPUS]


def test_wrong_hash(tree, hub):
    hub.etags[hub.add(CORPUS, DATA)] = "0" * 64
    done = corpora(tree, hub, "--embeddings", CORPUS, ok=(1,))
    assert "expected SHA-256 000" in done.stderr and hashlib.sha256(DATA).hexdigest() in done.stderr
    assert left(tree / "midisim-embeddings") == []


def test_wrong_size(tree, hub):
    hub.sizes[hub.add(CORPUS, DATA)] = len(DATA) - 1
    assert f"expected {len(DATA) - 1} bytes, got {len(DATA)}" in corpora(tree, hub, "--embeddings", CORPUS, ok=(1,)).stderr
    assert left(tree / "midisim-embeddings") == []


def test_small_files_have_gits_hash(tree, hub):
    path = hub.add("small.npy", b"small")
    hub.small.add(path)
    corpora(tree, hub, "--embeddings", "small")
    assert (tree / "midisim-embeddings/small.npy").read_bytes() == b"small" and not hub.asked("store")


def test_token_needed(tree, hub):
    hub.add(CORPUS, DATA)
    hub.needs_token = True
    assert "401" in (done := corpora(tree, hub, "--embeddings", CORPUS, ok=(1,))).stderr and "set HF_TOKEN" in done.stderr
    done = corpora(tree, hub, "--token-over-http", "--embeddings", CORPUS, ok=(1,), HF_TOKEN="hf_other")
    assert "HF_TOKEN was not accepted" in done.stderr and "hf_other" not in done.stderr
    assert "one word" in corpora(tree, hub, "--embeddings", CORPUS, ok=(1,), HF_TOKEN="two\nlines").stderr
    corpora(tree, hub, "--token-over-http", "--embeddings", CORPUS, HF_TOKEN=TOKEN)
    assert left(tree / "midisim-embeddings") == [CORPUS]


def test_no_such_file(tree, hub):
    assert "404" in corpora(tree, hub, "--embeddings", "absent", ok=(1,)).stderr
    hub.add(CORPUS, DATA)
    assert "404" in corpora(tree, hub, "--revision", "v2", "--embeddings", CORPUS, ok=(1,)).stderr
    assert "name of a file" in corpora(tree, hub, "--embeddings", "../" + CORPUS, ok=(1,)).stderr
    assert left(tree / "midisim-embeddings") == []
    hub.add(CORPUS, DATA, revision="a%2Fb")
    corpora(tree, hub, "--revision", "a/b", "--embeddings", CORPUS)


def test_offline(tree, hub):
    hub.add(CORPUS, DATA)
    for arguments in (("--embeddings", CORPUS), ("--all-embeddings",), ("--large",)):
        assert "HF_HUB_OFFLINE" in corpora(tree, hub, *arguments, ok=(1,), HF_HUB_OFFLINE="1").stderr
    assert not hub.seen


def test_a_busy_hub_and_one_that_is_away(tree, hub):
    hub.add(CORPUS, DATA)
    hub.busy = 2
    assert "503; trying again" in corpora(tree, hub, "--embeddings", CORPUS).stderr
    hub.close()
    done = corpora(tree, hub, "--force", "--embeddings", CORPUS, ok=(1,))
    assert "Connection refused" in done.stderr
    assert (tree / "midisim-embeddings" / CORPUS).read_bytes() == DATA  # an old file stays until the new one is whole
    assert "expected http" in corpora(tree, hub, "--large", ok=(1,), endpoint="ftp://x").stderr


def test_all_corpora(tree, hub):
    names = ["a.npy", "README.md", "more/b.npy", ".gitattributes"]
    for name in names:
        hub.add(name, DATA + name.encode())
    listing = "/api/datasets/projectlosangeles/midisim-embeddings/revision/main"
    hub.files[listing] = json.dumps({"siblings": [{"rfilename": n} for n in names]}).encode()
    hub.cut = [10]
    corpora(tree, hub, "--all-embeddings", "--to", tree / "all")
    assert left(tree / "all") == ["README.md", "a.npy", "more/b.npy"]
    assert (tree / "all/more/b.npy").read_bytes() == DATA + b"more/b.npy"
    n = len(hub.seen)
    corpora(tree, hub, "--all-embeddings", "--to", tree / "all")
    assert len(hub.seen) == n + 1
    hub.files[listing] = json.dumps({"siblings": [{"rfilename": "../../stolen"}]}).encode()
    assert "name of a file" in corpora(tree, hub, "--all-embeddings", "--to", tree / "all", ok=(1,)).stderr
    hub.files[listing] = b"[]"
    assert "list of files" in corpora(tree, hub, "--all-embeddings", ok=(1,)).stderr


@pytest.mark.parametrize("wrong", (["--large", "--all-embeddings"], ["--embeddings"], ["--embeddings", ""], ["--to", "x"],
                                   ["--large", "--to", "x"], ["--revision", "x"], ["--large", "/"], ["--list", "small"],
                                   ["absent.pth"], ["corpus", "x", "--all"], ["corpus", "--list", "--all"]))
def test_wrong_use_of_the_hub(tree, wrong):
    assert "expected" in fetch(tree, *wrong, ok=(2,)).stderr


def test_the_first_answers_hash_counts(tree, hub):
    """A mirror that redirects to itself: size and hash stand in the first answer alone."""
    path, hub.stays = hub.add(CORPUS, DATA), True
    corpora(tree, hub, "--embeddings", CORPUS)
    assert (tree / "midisim-embeddings" / CORPUS).read_bytes() == DATA
    hub.damaged[path] = b"X" + DATA[1:]
    done = corpora(tree, hub, "--force", "--embeddings", CORPUS, ok=(1,))
    assert "expected SHA-256 " + hashlib.sha256(DATA).hexdigest() in done.stderr
    assert (tree / "midisim-embeddings" / CORPUS).read_bytes() == DATA and left(tree / "midisim-embeddings") == [CORPUS]


def test_a_known_hash_counts_more_than_the_hubs(tree, hub):
    path = hub.add(LARGE, DATA, "projectlosangeles/midisim")
    with open(tree / "weights/SHA256SUMS", "a") as sums:
        sums.write(f"{hashlib.sha256(DATA).hexdigest()}  {LARGE}\n")
    hub.etags[path] = "0" * 64
    assert "the hub has 000" in corpora(tree, hub, "large", ok=(1,)).stderr
    hub.etags[path], hub.damaged[path] = "none", b"X" + DATA[1:]
    assert "expected SHA-256" in corpora(tree, hub, "large", ok=(1,)).stderr
    assert left(tree / "home/.cache/midisim") == []
    hub.damaged.clear()
    corpora(tree, hub, "large")
    assert (tree / "weights/midisim-large.safetensors").read_bytes() == DATA


@pytest.mark.parametrize("kind", ("text/html; charset=utf-8", "application/octet-stream"))
def test_a_web_page_is_no_corpus(tree, hub, kind):
    hub.add(CORPUS, DATA)
    hub.is_page = kind
    assert "got a web page" in corpora(tree, hub, "--embeddings", CORPUS, ok=(1,)).stderr
    assert not (tree / "midisim-embeddings" / CORPUS).exists()


@pytest.mark.parametrize("kind", ("symbolic", "dangling", "hard", "fifo"))
def test_a_planted_part_is_not_written_through(tree, hub, kind):
    hub.add(CORPUS, DATA)
    victim, folder = tree / "victim", tree / "midisim-embeddings"
    folder.mkdir()
    part = folder / f".{CORPUS}.{hashlib.sha256(DATA).hexdigest()}.part"
    if kind != "dangling":
        victim.write_bytes(b"precious")
    {"symbolic": part.symlink_to, "dangling": part.symlink_to, "hard": part.hardlink_to,
     "fifo": lambda _: os.mkfifo(part)}[kind](victim)
    assert "remove it" in corpora(tree, hub, "--embeddings", CORPUS, ok=(1,)).stderr
    assert victim.read_bytes() == b"precious" if kind != "dangling" else not victim.exists()
    assert not (folder / CORPUS).exists()


def test_one_run_at_a_time(tree, hub):
    hub.add(CORPUS, DATA)
    (tree / "midisim-embeddings").mkdir()
    with open(tree / f"midisim-embeddings/.{CORPUS}.{hashlib.sha256(DATA).hexdigest()}.part", "wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        assert "another run is downloading" in corpora(tree, hub, "--embeddings", CORPUS, ok=(1,)).stderr


def test_the_token_does_not_go_over_plain_http(tree, hub):
    hub.add(CORPUS, DATA)
    assert "HF_TOKEN is not sent" in corpora(tree, hub, "--embeddings", CORPUS, HF_TOKEN=TOKEN).stderr
    assert all("Authorization" not in headers for *_, headers in hub.seen)
    hub.needs_token = True
    done = corpora(tree, hub, "--force", "--embeddings", CORPUS, HF_TOKEN=TOKEN, ok=(1,))
    assert "--token-over-http" in done.stderr and TOKEN not in done.stderr


def test_without_a_home(tree, hub, tmp_path):
    """Services and containers have none: nothing but the cache needs one, and a run can do without a cache."""
    _, data = fake_sums(tree, tmp_path / "w.whl")
    for home in (None, ""):
        fetch(tree, "--force", tmp_path / "w.whl", HOME=home)
        assert result(tree) == data
        hub.add(CORPUS, DATA)
        corpora(tree, hub, "--embeddings", CORPUS, HOME=home)
        hub.add(LARGE, DATA, "projectlosangeles/midisim")
        corpora(tree, hub, "--force", "large", HOME=home)
    assert left(tree / "weights") == sorted({"README.md", "SHA256SUMS", "alter.py", "default.whiten", "fetch.py", "fetch.sh",
                                             "fit.py", "hub.py", "midisim-small.safetensors",
                                             "midisim-large.safetensors"})


def test_default_corpus_and_list(tree, hub):
    hub.add(CORPUS, DATA)
    corpora(tree, hub, "corpus")
    assert left(tree / "midisim-embeddings") == [CORPUS]
    listing = "/api/datasets/projectlosangeles/midisim-embeddings/revision/main?blobs=true"
    hub.files[listing] = json.dumps({"siblings": [{"rfilename": CORPUS, "size": 7}, {"rfilename": "new.npy"},
                                                  {"rfilename": "README.md"}]}).encode()
    rows = [line.split("\t") for line in corpora(tree, hub, "--list").stdout.splitlines()]
    assert rows == [[CORPUS, "7", "small", "mean", "default"], ["new.npy", "-", "-", "-"]]
    done = corpora(tree, hub, "--list", HF_HUB_OFFLINE="1")  # what was known when this was written
    assert "HF_HUB_OFFLINE" in done.stderr and len(done.stdout.splitlines()) == 12


def test_quiet(tree, hub):
    hub.add(LARGE, DATA, "projectlosangeles/midisim")
    assert corpora(tree, hub, "--quiet", "large").stderr == ""


def test_without_pip_the_small_model_comes_from_the_hub(tree, hub, tmp_path):
    wheel, data = fake_sums(tree, tmp_path / "w.whl")
    checkpoint = (tree / "weights/SHA256SUMS").read_text().split()[-1]
    path = hub.add(checkpoint, data, "projectlosangeles/midisim")
    (tree / "none/pip").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        (tree / "none/pip" / name).write_text("raise SystemExit(1)")
    corpora(tree, hub, PYTHONPATH=str(tree / "none"))
    assert result(tree) == data and left(tree / "home/.cache/midisim") == [checkpoint]
    hub.damaged[path] = b"X" + data[1:]
    (tree / "home/.cache/midisim" / checkpoint).unlink()
    done = corpora(tree, hub, "--force", PYTHONPATH=str(tree / "none"), ok=(1,))
    assert "expected SHA-256" in done.stderr and "weights/fetch.sh PATH" in done.stderr and result(tree) == data
