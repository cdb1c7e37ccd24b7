"""What all tools have in common: help, version, options, exit codes, standard output, terminals."""
import ctypes
import os
import platform
import pty
import re
import shutil
import struct
import subprocess

import pytest
from cli_util import ENV, ROOT, SHIPPED, TOOLS, build_clock, midi, run, text, tool


@pytest.mark.parametrize("name", TOOLS)
def test_help(name):
    done = run(name, "--help")
    out = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    first, examples = out.split("\n\n")[:2]
    assert re.fullmatch(r"[A-Z][^.]*\.", first) and "\n" not in first  # one sentence: what the tool is for
    assert examples.startswith("Examples:\n  midisim-")
    for option in ("--help", "--version", "--quiet"):
        assert option in out
    for option in ("--device", "--isa", "--precision"):  # every tool takes them; those that use them show them
        without = ("tokens", "index", "find", "groups", "report", "convert", "fetch")
        assert bool(re.search(rf"^ +{option} ", out, re.M)) == (name not in without)
    assert bool(re.search("^ +--threads ", out, re.M)) == ("MIDISIM_THREADS" in out) == (name not in ("convert", "fetch"))
    assert "Exit codes:" in out and "130" in out
    assert ("MIDISIM_MODEL" in out) == (name in ("embed", "search", "serve", "eval", "bench"))
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("name", TOOLS)
def test_short_help(name):
    """-h: what the tool is for, the usual options on a line each and one example, in at most 15 lines."""
    full = run(name, "--help").stdout.decode()
    for arguments in (["-h"], ["-qh"], ["-h", "--nonsense"]):
        done = run(name, *arguments)
        lines = done.stdout.decode().splitlines()
        assert done.returncode == 0 and done.stderr == b""
        assert len(lines) <= 15 and max(map(len, lines)) <= 100
        assert lines[0] == full.splitlines()[0] and lines[-1] == f"All options: midisim-{name} --help"
        options = re.findall(r"^  (?:-., |    )(--[a-z0-9-]+)", done.stdout.decode(), re.M)
        assert len(options) >= 3 and all(option in full for option in options)
        assert any(line.startswith(f"Example: midisim-{name} ") for line in lines)


@pytest.mark.parametrize("name", TOOLS)
def test_generated_texts_name_every_option(name):
    listed = re.findall(r"^  (?:-., |    )(--[a-z0-9-]+)", run(name, "--help").stdout.decode(), re.M)
    man = run(name, "--generate-man").stdout.decode().replace("\\-", "-")
    completion = run(name, "--generate-completion").stdout
    fish = run(name, "--generate-fish").stdout.decode()
    assert len(listed) > 7
    for option in listed:
        assert option in man and option.encode() in completion
        assert option[2:] in run(name, "--generate-zsh").stdout.decode() and f" -l {option[2:]} " in fish
    checked = subprocess.run(["bash", "-n"], input=completion, capture_output=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", TOOLS)
def test_version(name):
    out = run(name, "--version").stdout.decode()
    assert re.match(rf"midisim-{name} \d+\.\d+\.\d+ \(commit \w+\)\n", out)
    assert "ref" in out and "devices compiled in: cpu" in out


def test_levels():
    """--isa and --version name the levels of --generate-levels, which has all that there are kernels for, and agrees with
    the kernel of this system about the CPU."""
    rows = [line.split("\t") for line in run("bench", "--generate-levels").stdout.decode().splitlines()]
    names = list(dict.fromkeys(row[0] for row in rows))
    folder = {"x86_64": "x86", "aarch64": "arm"}.get(platform.machine(), "none")
    files = [p.stem for part in ("ref", folder) for p in (ROOT / "src/cpu/kernels" / part).glob("encoder_*.c")]
    assert sorted(f"encoder_{name}" for name in names) == sorted(files)
    assert names[0] == "ref" and f"auto|{'|'.join(names)}, got sse" in text(run("embed", "--isa", "sse", "x"))
    version = run("bench", "--version").stdout.decode()
    assert f"kernel levels compiled in: {' '.join(names)}; best on this CPU: " in version
    flags = set(re.search(r"^(?:flags|Features)\s*:(.*)$", open("/proc/cpuinfo").read(), re.M)[1].split())
    for level, precision, has, needs in rows:
        assert precision in ("bf16", "f32", "int8") and has == ("yes" if set(needs.split()) <= flags else "no"), level
    assert version.splitlines()[1].split()[-1] == [row[0] for row in rows if row[2] == "yes"][-1]


def refuse_tiles():
    """In a child before its program: no permission for the tiles of AMX, as a sandbox might have it."""
    step = struct.Struct("HBBI")  # code, jumps when true and false, operand
    program = b"".join(step.pack(*row) for row in (
        (0x20, 0, 0, 0), (0x15, 0, 3, 158),  # the call: arch_prctl
        (0x20, 0, 0, 16), (0x15, 0, 1, 0x1023),  # its first argument: ARCH_REQ_XCOMP_PERM
        (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)))  # EPERM, or let it pass
    held = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // step.size, ctypes.addressof(held))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, header):
        os._exit(77)


@pytest.mark.skipif("amx_tile" not in open("/proc/cpuinfo").read(), reason="this CPU has no tiles")
def test_refused_tiles():
    """Where the system refuses tiles, auto takes the level below without a word, and the name gets one line."""
    if run("bench", "--version", before=refuse_tiles).returncode == 77:
        pytest.skip("no filters of system calls here")
    rows = [line.split("\t")
            for line in run("bench", "--generate-levels", before=refuse_tiles).stdout.decode().splitlines()]
    assert {row[2] for row in rows if row[0] == "amxbf16"} == {"no"}
    done = run("bench", "--version", before=refuse_tiles)
    best = [row[0] for row in rows if row[2] == "yes"][-1]
    assert done.stderr == b"" and f"best on this CPU: {best}\n" in done.stdout.decode()
    done = run("bench", "encoder", "--isa", "amxbf16", before=refuse_tiles)
    assert done.returncode == 2 and re.fullmatch(
        rf"midisim-bench: [^\n]*best here: {best}[^\n]*, got amxbf16: Linux refused this process the tile registers of "
        r"AMX\n", text(done))


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("wrong", (["--thread-count"], ["--threads", "0"], ["--threads", "1025"], ["--threads", "3x"],
                                   ["--threads", " 3"], ["--threads"], ["--threads="], ["--device", "gpu"],
                                   ["--device", "cuda:x"], ["--isa", "sse"], ["--precision", "f16"], ["-Z"],
                                   ["--quiet=yes"], []))
def test_wrong_use(name, wrong):
    done = run(name, *wrong)
    assert done.returncode == 2 and done.stdout == b""
    assert re.fullmatch(rf"midisim-{name}: [^\n]+\n", text(done))


def test_messages():
    assert "did you mean" not in text(run("tokens", "--qqqqqqqqq", "x"))
    assert "did you mean --max-tokens?" in text(run("tokens", "--max-token-s", "3", "x"))
    assert "expected one of --no-clean, --names, --null, --normalize-midi" in text(run("tokens", "--n", "x"))
    assert "--threads: expected 1..1024, got abc" in text(run("tokens", "--threads", "abc", "x"))
    assert "MIDISIM_THREADS: expected 1..1024, got many" in text(run("tokens", "x", env={"MIDISIM_THREADS": "many"}))


def test_a_misspelt_corpus(tmp_path):
    """Names in the same folder that are near; none for a file that is there, or that is like no other."""
    (tmp_path / "a.mid").write_bytes(midi())
    model = SHIPPED.parent / "checkpoints/tiny.safetensors"
    assert run("embed", "-q", "-m", model, "-o", "corpus.npy", "a.mid", cwd=tmp_path).returncode == 0
    for given, meant in (("corups.npy", "corpus.npy"), ("Corpus.npy", "corpus.npy"), ("corpus", "corpus.npy"),
                         (f"{tmp_path}/copus.npy", f"{tmp_path}/corpus.npy")):
        done = run("search", "-c", given, "--like", "a.mid", cwd=tmp_path)
        assert done.returncode == 1 and text(done).endswith(f"; did you mean {meant}?\n"), text(done)
    (tmp_path / "corpus1.npy").write_bytes(b"")
    said = text(run("search", "-c", "corpsu.npy", "--like", "a.mid", cwd=tmp_path))
    assert "did you mean corpus.npy or corpus1.npy?" in said and "No such file" in said
    for given in ("elsewhere.npy", "none/corpus.npy", "corpus1.npy", "a.mid"):
        said = text(run("search", "-c", given, "--like", "a.mid", cwd=tmp_path))
        assert said and "did you mean" not in said


def test_option_forms(tmp_path):
    (tmp_path / "-a.mid").write_bytes(midi())
    (tmp_path / "list").write_text("-a.mid\n")
    plain = run("tokens", "--", "-a.mid", cwd=tmp_path)
    assert plain.returncode == 0 and plain.stdout
    for arguments in (["--max-tokens=3072", "--", "-a.mid"], ["--max-t", "3072", "./-a.mid"], ["./-a.mid", "--quiet"],
                      ["--files-from", "list"], ["--files-from=list", "-q"]):
        done = run("tokens", *arguments, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stdout.replace(b"./", b"") == plain.stdout
    assert run("tokens", "-q0", "--files-from", "-", cwd=tmp_path, stdin=b"-a.mid\0").stdout == plain.stdout


def test_no_model(tmp_path):
    (tmp_path / "a.mid").write_bytes(midi())
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    copy = tmp_path / "midisim-embed"  # away from the build tree's weights folder
    copy.write_bytes(open(tool("embed"), "rb").read())
    copy.chmod(0o755)
    command = [str(copy), "-o", str(tmp_path / "c.npy"), str(tmp_path / "a.mid")]
    done = subprocess.run(command, env=dict(ENV, **env), capture_output=True)
    assert done.returncode == 1 and b"weights/fetch.sh" in done.stderr and not (tmp_path / "c.npy").exists()
    (tmp_path / "data" / "midisim").mkdir(parents=True)
    for name in ("aaa.safetensors", "midisim-small.pth", "midisim-small.safetensors"):
        (tmp_path / "data" / "midisim" / name).write_bytes(b"")
    done = subprocess.run(command, env=dict(ENV, **env), capture_output=True)
    assert done.returncode == 1 and b"data/midisim/midisim-small.safetensors" in done.stderr


def test_where_a_model_is_found_without_proc_and_home(tmp_path):
    """In the build tree that the program lies in, and beside an installation's folder bin, wherever these were moved."""
    (tmp_path / "a.mid").write_bytes(midi())
    (tmp_path / "none.c").write_text("#include <errno.h>\n#include <unistd.h>\nssize_t readlink(const char *p, char *b, size_t n)"
                                     "{ (void)p; (void)b; (void)n; errno = ENOENT; return -1; }\n")
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", tmp_path / "none.so", tmp_path / "none.c"], check=True)
    env = {name: value for name, value in ENV.items() if name not in ("HOME", "XDG_DATA_HOME")}
    env["LD_PRELOAD"], env["ASAN_OPTIONS"] = str(tmp_path / "none.so"), ENV["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
    for program, model in (("tree/build/release", "tree/weights"), ("moved/bin", "moved/share/midisim")):
        copy = tmp_path / program / "midisim-embed"
        copy.parent.mkdir(parents=True)
        shutil.copy(tool("embed"), copy)
        (tmp_path / model).mkdir(parents=True)
        (tmp_path / model / "midisim-small.safetensors").write_bytes(b"")
        for command in (str(copy), os.path.relpath(copy, tmp_path)):
            done = subprocess.run([command, "-o", "c.npy", "a.mid"], env=env, cwd=tmp_path, capture_output=True)
            assert done.returncode == 1 and f"{model}/midisim-small.safetensors".encode() in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", (["--help"], ["--version"], ["a.mid"]))
def test_full_disk(tmp_path, arguments):
    (tmp_path / "a.mid").write_bytes(midi())
    with open("/dev/full", "wb") as full:
        done = subprocess.run([tool("tokens"), *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, env=ENV)
    assert done.returncode == 1 and b"write error: standard output" in done.stderr


def test_closed_pipe(tmp_path):
    for i in range(300):
        (tmp_path / f"{i}.mid").write_bytes(midi(range(20, 100)))
    read_end, write_end = os.pipe()
    process = subprocess.Popen([tool("tokens"), "-q", "."], cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE,
                               env=ENV)
    os.close(write_end)
    os.read(read_end, 10)
    os.close(read_end)
    assert process.communicate(timeout=60)[1] == b"" and process.returncode == 0


def test_closed_descriptors(tmp_path):
    (tmp_path / "a.mid").write_bytes(midi())
    for arguments, expected in (("a.mid", 1), ("--version", 1), ("-q none", 1)):
        done = subprocess.run(f"'{tool('tokens')}' {arguments} >&- <&- 2>&-", shell=True, cwd=tmp_path, env=ENV)
        assert done.returncode == expected, arguments  # data that cannot be written are a failure
    assert (tmp_path / "a.mid").read_bytes() == midi()


def on_terminal(arguments, env, cwd, stdout=subprocess.DEVNULL):
    """Everything that a tool says on standard error when that is a terminal; on both streams with stdout=None."""
    master, slave = pty.openpty()
    process = subprocess.Popen(arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=slave if stdout is None else stdout,
                               stderr=slave, env=env)
    os.close(slave)
    said = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(master)
    return process.wait(60), said


def test_progress_on_a_terminal_only(tmp_path):
    for i in range(50):
        (tmp_path / f"{i}.mid").write_bytes(midi([*range(20, 100)] * 12))
    base = dict(ENV, TERM="xterm", **build_clock(tmp_path))
    code, said = on_terminal([tool("tokens"), "."], base, tmp_path)
    assert code == 0 and b"/50 files" in said and b"\x1b[36m" in said and b"50 files: 50 sequences" in said
    code, said = on_terminal([tool("tokens"), "."], dict(base, NO_COLOR="1"), tmp_path)
    assert code == 0 and b"/50 files" in said and b"\x1b[36m" not in said
    code, said = on_terminal([tool("tokens"), "--quiet", "."], base, tmp_path)
    assert code == 0 and said == b""
    code, said = on_terminal([tool("tokens"), "."], dict(ENV, TERM="xterm"), tmp_path)
    assert code == 0 and b"/50 files" not in said  # what is done within half a second needs no progress
    assert text(run("tokens", ".", cwd=tmp_path)).count("\n") == 1  # the summary alone
    assert run("tokens", "--quiet", ".", cwd=tmp_path).stderr == b""


UNSAFE = [b"c1\xc2\x9b31mRED", b"esc\x1b[31mRED", b"raw\x9b31m", b"turn\xe2\x80\xaefdp", b"bidi\xe2\x81\xa6", b"del\x7f", b"ret\rurn",
          b"line\xe2\x80\xa8"]


def check_safe(said, color):
    said = said.replace(b"\r\n", b"\n")  # the terminal's own
    if color:  # the tools' own colours and the progress line
        for own in (b"\x1b[1m", b"\x1b[2m", b"\x1b[0m", b"\x1b[33m", b"\x1b[36m", b"\r", b"\x1b[K"):
            said = said.replace(own, b"")
    for point in said.decode("utf-8"):  # raw bytes are an error of their own
        assert point in "\n\t" or (ord(point) >= 0x20 and not 0x7f <= ord(point) < 0xa0), said
        assert point not in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029", said


@pytest.mark.parametrize("name", UNSAFE, ids=range(len(UNSAFE)))
def test_no_text_controls_a_terminal(tmp_path, name):
    (tmp_path / "bad").mkdir()
    for folder, data in ((b"bad", b"neither"), (b"", midi())):
        with open(os.path.join(os.fsencode(tmp_path), folder, name + b".mid"), "wb") as file:
            file.write(data)
    env = dict(ENV, TERM="xterm")
    file = name + b".mid"
    check_safe(run("tokens", b"bad/" + file, b"absent" + name, cwd=tmp_path).stderr, color=False)
    model = SHIPPED.parent / "checkpoints/tiny.safetensors"
    assert run("embed", "-q", "-m", model, "-o", "c.npy", file, cwd=tmp_path).returncode == 0
    shutil.copy(tmp_path / "c.npy", os.path.join(os.fsencode(tmp_path), name + b".npy"))
    for arguments in (["tokens", file], ["tokens", b"bad/" + file], ["search", "-c", "c.npy", "--like", file],
                      *(["search", "-c", "c.npy", "--like", file, "--format", form] for form in ("tsv", "midisim")),
                      ["search", "-c", "c.npy", "--like", file, "--json"], ["search", "-c", "c.npy", "--like", b"no" + file],
                      ["convert", "--info", b"bad/" + file], ["convert", "--info", name + b".npy"],
                      ["convert", "--info", "--json", name + b".npy"], ["embed", b"--" + name],
                      ["embed", "-o", "d.npy", "-m", b"bad/" + file, file]):
        _, said = on_terminal([tool(arguments[0]), *arguments[1:]], env, tmp_path, stdout=None)
        assert said, arguments
        check_safe(said, color=True)


def test_tables_escape_what_ends_a_line(tmp_path):
    (tmp_path / "a\rb\tc\nd\\e.mid").write_bytes(midi())
    model = SHIPPED.parent / "checkpoints/tiny.safetensors"
    assert run("embed", "-q", "-m", model, "-o", "c.npy", ".", cwd=tmp_path).returncode == 0
    done = run("search", "-q", "-c", "c.npy", "--query-vectors", "c.npy", "--format", "tsv", cwd=tmp_path)
    assert done.stdout.splitlines()[1].split(b"\t")[-1] == b"a\\rb\\tc\\nd\\\\e.mid"
