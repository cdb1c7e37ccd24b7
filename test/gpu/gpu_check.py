#!/usr/bin/env python3
"""Everything that must hold on a machine with an NVIDIA GPU: `make gpu-check`. Needs python3 with numpy and pytest.

  test/gpu/gpu_check.py [--make] [--build build/gpu] [--only CHECK,...] [--model FILE] [--out DIR] [--limit SECONDS] [--json]

With --make it first looks for a GPU (without one: one line, exit code 1), then builds for that card alone. Where the
folder that `make gpu-bundle` makes is present, libraries, headers and weights come from there, so that no network is
needed. Prints each check as it ends, a table, and the exit code: 0 when nothing failed. --json prints one JSON object
instead of the table. --out DIR (default: $OUT, where it is set) keeps the object as check.json, written anew after each
check. --limit SECONDS is for all checks together: the most telling ones come first, and what no time is left for is 'left
out', which is no success.

--emulated runs the same checks at small sizes on a build whose GPU is the emulator of test/emu; --device cpu compares the
CPU with itself, which tries this program alone; --plant spoils a result in each check of the driver, which must fail.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "build" / "gpu-bundle"
NEEDS = ROOT / "build" / "gpu-needs" / "needs"  # the bundle's libraries and headers, unpacked
SMALL_MODEL_SHA256 = "02645aac7b11b973d8f2d8fdc2d87329e9b59f80c1ab93777b2169ec7ed87bbe"
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
# Of compute-sanitizer: kernels of cuBLASLt are left out where a program cannot leave the library itself out. Ours begin with k_.
OURS_ALONE = ["--kernel-name", "kns=k_"]


def note(*words):
    print("gpu-check:", *words, file=sys.stderr, flush=True)


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


class LeftOut(Exception):
    """There was no time left."""


# ---- The machine ----------------------------------------------------------------------------------------------------


def why_no_gpu():
    """None when the driver shows a device, else why not: the same library and functions as the CUDA runtime asks."""
    import ctypes
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no driver (libcuda.so.1 does not open)"
    count = ctypes.c_int(0)
    code = driver.cuInit(0)
    if code == 0:
        code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return f"the driver shows no device (error {code})"
    return None if count.value > 0 else "the driver shows no device"


def card_architecture():
    """What to compile for, from the driver (CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*, cuda.h): nvcc's own -arch=native falls
    back to an architecture too old for these kernels where it cannot ask."""
    import ctypes
    try:
        driver, value, device, found = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0), ctypes.c_int(0), []
        if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
            found = [value.value for a in (75, 76) if driver.cuDeviceGetAttribute(ctypes.byref(value), a, device) == 0]
    except (OSError, AttributeError):
        return "native"
    return "90a" if found == [9, 0] else "{}{}".format(*found) if len(found) == 2 else "native"


def environment():
    """Programs find cuBLASLt also where Python packages brought it."""
    env = dict(os.environ)
    for name in ("MIDISIM_MODEL", "MIDISIM_THREADS"):
        env.pop(name, None)
    places = [p / "nvidia" / name / "lib" for p in map(pathlib.Path, sys.path) for name in ("cu13", "cublas", "cu12")]
    found = [str(p) for p in places if p.is_dir() and list(p.glob("libcublasLt.so.*"))]
    if found:
        env["LD_LIBRARY_PATH"] = ":".join([*filter(None, [env.get("LD_LIBRARY_PATH")]), *found])
    return env


def tool_of_cuda(name):
    """A program of the toolkit: on PATH, or beside nvcc."""
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    return shutil.which(name) or shutil.which(str(pathlib.Path(nvcc).resolve().parent / name))


# ---- Building -------------------------------------------------------------------------------------------------------


def unpack_needs():
    packed = BUNDLE / "needs.tar.xz"
    if packed.exists() and not NEEDS.exists():
        with tarfile.open(packed) as tar:
            tar.extractall(NEEDS.parent, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        for path in NEEDS.rglob("*"):  # nothing that is built looks newer than it is
            os.utime(path)


def make_command(build):
    """For this card alone, in a folder of its own; with the bundle's libraries where it is."""
    if build.parent != ROOT / "build":
        sys.exit(f"gpu-check: --build: expected a folder in {ROOT / 'build'} with --make, got {build}")
    make = os.environ.get("MAKE") or shutil.which("make") or str(NEEDS / "bin/make")
    command = [*make.split(), "--no-print-directory", f"-j{os.cpu_count()}", f"CONFIG={build.name}",
               f"GPU_ARCHS={os.environ.get('GPU_ARCHS') or card_architecture()}", "GPU_PTX="]
    if NEEDS.is_dir():
        nvcc = tool_of_cuda("nvcc")
        home = pathlib.Path(nvcc).resolve().parents[1] if nvcc else pathlib.Path("/usr/local/cuda")
        flags = f"-I{NEEDS}/include"
        if not [*home.glob("include/cublasLt.h"), *home.glob("targets/*/include/cublasLt.h")]:
            flags += f" -I{NEEDS}/cuda"
        if not [*home.glob("lib*/libcudart_static.a"), *home.glob("targets/*/lib/libcudart_static.a")]:
            command.append(f"CUDART={NEEDS}/cuda/libcudart_static.a")
        command += [f"CPPFLAGS={flags}", f"LDFLAGS=-L{NEEDS}/lib -Wl,-rpath,{NEEDS}/lib"]
    return [*command, "all", "gpu-programs"]


def build_all(build):
    began = time.monotonic()
    unpack_needs()
    done = subprocess.run(make_command(build), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")})
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-60:]))
        sys.exit(f"gpu-check: {' '.join(make_command(build))}: exit code {done.returncode}")
    return time.monotonic() - began


# ---- What the checks share ------------------------------------------------------------------------------------------


class Sizes:
    """Of a card, and of the emulator."""

    def __init__(self, is_small):
        self.rows, self.batches, self.rounds, self.leaks = (700, 8, 2, 2) if is_small else (200003, 1000, 20, 20)
        self.pool = 10 if is_small else 48
        self.max_tokens, self.batch_tokens = (70, 256) if is_small else (3072, 16384)
        self.tops = (1, 16, 100) if is_small else (1, 16, 100, 1024)
        self.files = 3 if is_small else 0  # 0: all
        self.sanitized_rows, self.sanitized_tokens = 300, 40 if is_small else 130


class Bench:
    """Where everything is."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.build = args.build
        self.ends = float("inf")
        self.is_real = not args.emulated and args.device == "cuda"
        self.sizes = Sizes(args.emulated or args.device == "cpu")
        self.env = environment() if self.is_real else dict(environment(), EMU_MEMORY="640M")
        self.model = self.find_model()
        self.about = self.model_info()
        self.ends = time.monotonic() + args.limit

    def find_model(self):
        places = [self.args.model] if self.args.model else [ROOT / "weights/midisim-small.safetensors",
                                                            BUNDLE / "weights/midisim-small.safetensors"]
        return next((str(pathlib.Path(p).resolve()) for p in places if pathlib.Path(p).is_file()), None)

    def model_info(self):
        if not self.model:
            return {}
        done = self.call([self.program("midisim-convert"), "--info", "--json", self.model], 120)
        return json.loads(done.stdout)

    def program(self, name):
        path = self.build / name
        if not path.exists() and not self.is_real and name.startswith("midisim-"):
            path = ROOT / "build/release" / name  # tools that have nothing to do with a device
        if not path.exists():
            raise Failed(f"{path} is not built")
        return str(path)

    def seconds_left(self):
        return self.ends - time.monotonic()

    def call(self, command, limit, ok=(0,), stdin=None, cwd=None):
        left = self.seconds_left()
        if left < limit and left < 1:
            raise LeftOut("no time is left")
        limit, own_limit = min(limit, left), limit
        try:
            done = subprocess.run([str(c) for c in command], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=limit, env=self.env, cwd=cwd or ROOT)
        except subprocess.TimeoutExpired:
            if limit < own_limit:
                raise LeftOut(f"stopped after {limit:.0f} s, at the end of --limit") from None
            raise Failed(f"{' '.join(map(str, command))[:200]}: stopped after {limit} s") from None
        if done.returncode not in ok:
            raise Failed(f"{' '.join(map(str, command))[:300]}: exit code {done.returncode}: "
                         f"{' '.join((done.stdout + done.stderr).decode('utf-8', 'replace').split())[-700:]}")
        return done

    def driver(self, command, *options, limit=900):
        """Its ok lines; raises with its FAIL lines."""
        plant = ["--plant"] if self.args.plant else []
        done = self.call([self.program("test/gpu/driver"), "--device", self.args.device, *options, *plant, command], limit,
                         ok=(0, 1))
        lines = done.stdout.decode().splitlines()
        bad = [line[5:] for line in lines if line.startswith("FAIL ")]
        if bad or done.returncode or not lines:
            raise Failed("; ".join(bad) or f"driver {command}: exit code {done.returncode}")
        return "; ".join(line[3:] for line in lines if line.startswith("ok "))

    def need_model(self):
        if not self.model:
            raise Failed("no weights: weights/fetch.sh, make gpu-bundle or --model FILE")
        return ["--model", self.model]

    def corpus(self, name, rows, dim):
        """Made rows with equal ones, zeros, tiny, huge and non-finite ones, and codes of both kinds beside them."""
        import numpy as np
        path = self.folder / f"{name}.npy"
        if path.exists():
            return str(path)
        x = np.random.default_rng(5).standard_normal((rows, dim), dtype=np.float32)
        x[7], x[rows - 1], x[11], x[13], x[17, 3], x[19, 1], x[23] = x[3], x[3], 0, x[13] * 1e-20, np.nan, np.inf, x[23] * 1e15
        np.save(path, x)
        for form in ("bf16", "int8"):
            self.call([self.program("midisim-search"), "--device", "cpu", "-c", path, "--prepare", "--scan", form], 300)
        return str(path)


# ---- Checks: each returns a line to show, or raises Failed or Skipped ---------------------------------------------------


def check_card(b):
    """The device opens and says what it is."""
    if b.args.device == "cpu":
        raise Skipped("--device cpu")
    done = b.call([b.program("test/gpu/driver"), "info"], 60)
    devices = json.loads(done.stdout)["devices"]
    if not devices:
        raise Failed("no device")
    b.card = devices[0]
    return "{name}, compute capability {capability}, {multiprocessors} multiprocessors, ".format(**b.card) + \
        f"{b.card['memory_bytes'] / 2**30:.1f} GiB" + (f"; {len(devices)} devices" if len(devices) > 1 else "")


def count_cmocka(out):
    run = len(re.findall(r"^\[ RUN      \]", out, re.M))
    passed = len(re.findall(r"^\[       OK \]", out, re.M))
    return run, passed, len(re.findall(r"^\[  SKIPPED \]", out.split("[==========]")[1] if "[==========]" in out else "", re.M))


def kernel_programs(b):
    sources = sorted((ROOT / "test/gpu").glob("test_*.c"))
    if b.args.programs:
        sources = [s for s in sources if s.stem in b.args.programs]
    if not sources:
        raise Failed("no test/gpu/test_*.c")
    return [b.program(f"test/gpu/{s.stem}") for s in sources]


def check_kernels(b):
    """Every kernel against the CPU's reference and f64: the programs test/gpu/test_*.c."""
    tests, bad = 0, []
    for program in kernel_programs(b):
        done = b.call([program], 600, ok=range(-64, 256))
        out = (done.stdout + done.stderr).decode("utf-8", "replace")
        run, passed, skipped = count_cmocka(out)
        tests += passed
        if not run and not done.returncode:  # nothing is wrong with the card: this program was not built as it should be
            bad.append(f"{pathlib.Path(program).name}: ran 0 tests: {' '.join(out.split())[:200] or 'it printed nothing'}")
        elif done.returncode or run != passed + skipped:
            wrong = re.findall(r"^\[  (?:FAILED|ERROR)  ?\].*|^.*(?:error|Error|!=).*$", out, re.M)[:4]
            bad.append(f"{pathlib.Path(program).name}: {passed} of {run} passed, exit code {done.returncode}: " +
                       " / ".join(w.strip() for w in wrong))
    if bad:
        raise Failed("; ".join(bad))
    return f"{tests} tests of {len(kernel_programs(b))} programs"


def embed(b, names, out, device, more=()):
    import numpy as np
    b.call([b.program("midisim-embed"), "-m", b.model, "-o", out, "--force", "--quiet", "--device", device, "--precision", "bf16",
            "--files-from", "-", *more], 900, stdin="".join(n + "\n" for n in names).encode(), cwd=ROOT / "test/data/midi")
    rows = np.load(out, allow_pickle=False)
    found = [str(n) for n in rows["midi_names"]]
    if found != sorted(set(names), key=os.fsencode):
        raise Failed(f"{len(found)} rows, expected {len(set(names))}")
    return dict(zip(found, rows["midi_embeddings"]))


def golden(b):
    sys.path.insert(0, str(ROOT / "test/golden"))
    import golden_util
    return golden_util, golden_util.golden_vectors()


def shortest(b, names):
    """For the emulator the shortest files; for a card all of them."""
    import golden_util
    lengths = {n: len(ids) for n, ids in golden_util.golden_tokens().items()}
    names = sorted(names, key=lambda n: (lengths[n], n))
    return names[:b.sizes.files or None]


def check_goldens(b):
    """The shipped files through the tool, within the bounds that the CPU's bf16 is held to; and how far from the CPU."""
    import numpy as np
    b.need_model()
    if b.about.get("sha256") != SMALL_MODEL_SHA256:
        if b.is_real:
            raise Failed(f"{b.model}: expected the original's small model")
        raise Skipped("not the original's small model")
    g, kinds = golden(b)
    names = shortest(b, kinds["bf16"])
    ours = embed(b, names, b.folder / "golden.npy", b.args.device)
    if b.args.plant:
        ours[names[0]] = ours[names[0]] + np.float32(0.05)
    bad = g.complaints_bf16(ours, kinds["f32"], kinds["bf16"])
    if b.sizes.files:  # a median of three says nothing
        bad = [line for line in bad if not line.startswith("median")]
    if bad:
        raise Failed("; ".join(bad[:5]))
    apart = [g.distance(ours[n], kinds["f32"][n]) for n in names]
    cpu = embed(b, names, b.folder / "golden-cpu.npy", "cpu")
    return (f"{len(names)} files: 1 - cosine to the original's f32: median {np.median(apart):.2g}, largest {max(apart):.2g}; "
            f"to our CPU's bf16: largest {max(g.distance(ours[n], cpu[n]) for n in names):.2g}")


def check_batches(b):
    """Sequences alone and in random batches, two contexts of different sizes: the same bits."""
    s = b.sizes
    return b.driver("batches", *b.need_model(), "--count", s.batches, "--max-tokens", s.max_tokens, "--batch-tokens",
                    s.batch_tokens, "--pool", s.pool)


def check_search(b):
    """Every form of scan, K, cosine and inner product, thresholds, excluded rows: bit for bit the CPU's plain scan."""
    return b.driver("search", "--corpus", b.corpus("rows", b.sizes.rows, 512), "--top", ",".join(map(str, b.sizes.tops)))


def check_output(b):
    """midisim-search on both devices prints the same bytes, but for how many scores it took in double. Each scan once, each
    K once: the check search has compared all of them in one process, where starting a program costs nothing."""
    import numpy as np
    corpus, compared = b.corpus("rows", b.sizes.rows, 512), 0
    rows = np.load(corpus, mmap_mode="r")
    rng = np.random.default_rng(9)
    for i, form in enumerate(("f64", "f32", "bf16", "int8")):
        n, k = (1, 12)[i % 2], b.sizes.tops[-1 - i % len(b.sizes.tops)]
        queries = b.folder / f"queries{n}.npy"
        if not queries.exists():
            np.save(queries, rows[30:30 + n] + 0.3 * rng.standard_normal((n, 512), dtype=np.float32))
        command = [b.program("midisim-search"), "-c", corpus, "--query-vectors", queries, "-k", k, "--format", "json",
                   "--scan", form, "-q", "--device"]
        cpu, gpu = (re.sub(rb'"evaluated":\d+', b"", b.call([*command, device], 300).stdout)
                    for device in ("cpu", b.args.device))
        if b.args.plant:
            gpu = gpu.replace(b"7", b"8", 1)
        if cpu != gpu or not cpu:
            raise Failed(f"{n} queries, K {k}, scan {form}: {len(gpu)} bytes differ from the CPU's {len(cpu)}")
        compared += 1
    return f"{compared} outputs of {b.sizes.rows} x 512, 1 and 12 queries"


def check_contexts(b):
    """Two threads with a context each, embedding and searching at once."""
    s = b.sizes
    return b.driver("contexts", *b.need_model(), "--corpus", b.corpus("own", 3 * s.sanitized_rows, b.about["dim"]), "--count",
                    s.rounds, "--max-tokens", s.max_tokens, "--batch-tokens", s.batch_tokens, "--pool",
                    s.pool)


def check_processes(b):
    """Two programs on the card at once give what one alone gives."""
    b.need_model()
    g, kinds = golden(b)
    names = shortest(b, kinds["bf16"])
    text = "".join(n + "\n" for n in names).encode()

    def command(out):
        return [b.program("midisim-embed"), "-m", b.model, "-o", str(out), "--force", "--quiet", "--device", b.args.device,
                "--files-from", "-"]

    outs = [b.folder / f"process{i}.npy" for i in range(3)]
    b.call(command(outs[0]), 900, stdin=text, cwd=g.SHIPPED)
    both = [subprocess.Popen(command(out), cwd=g.SHIPPED, env=b.env, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for out in outs[1:]]
    for process in both:
        process.stdin.write(text)
        process.stdin.close()
    for process in both:
        said = process.stderr.read().decode("utf-8", "replace")
        if process.wait(timeout=900):
            raise Failed(f"exit code {process.returncode}: {said[-300:]}")
    for out in outs[1:]:
        if out.read_bytes() != outs[0].read_bytes():
            raise Failed("the corpus of one of two programs at once is not that of one alone")
    return f"{len(names)} files each"


def check_memory(b):
    """Nothing leaks; a batch too large for the card is an error; rows that do not fit stream, or are an error."""
    rows = b.sizes.rows if b.is_real else b.sizes.sanitized_rows
    return b.driver("memory", *b.need_model(), "--corpus", b.corpus("large" if b.is_real else "few", rows, b.about["dim"]),
                    "--count", b.sizes.leaks, "--max-tokens", b.sizes.max_tokens)


def check_sanitizer(b):
    """compute-sanitizer on small cases: encoder and search whole, then the test programs as far as they end in time."""
    program = tool_of_cuda("compute-sanitizer")
    if not b.is_real and not os.environ.get("GPU_CHECK_SANITIZER"):
        raise Skipped("not for the emulator, which has checks of its own")
    program = os.environ.get("GPU_CHECK_SANITIZER") or program
    if not program:
        raise Skipped("compute-sanitizer is not installed")
    trial = b.call([program, "--tool", "memcheck", b.program("test/gpu/driver"), "info"], 120, ok=range(-64, 256))
    said = (trial.stdout + trial.stderr).decode("utf-8", "replace")
    if trial.returncode or re.search(r"not supported|Internal Sanitizer Error", said):
        raise Skipped(f"compute-sanitizer does not run here: {' '.join(said.split())[:160]}")
    s = b.sizes
    # Our kernels alone: what the library's do inside is not ours to mend, and takes the tools minutes.
    small = [b.program("test/gpu/driver"), "--device", b.args.device, "--product", "own", *b.need_model(), "--corpus",
             b.corpus("sanitized", s.sanitized_rows, 512), "--max-tokens", s.sanitized_tokens, "--batch-tokens",
             8 * s.sanitized_tokens, "small"]
    filtered = b.call([program, *OURS_ALONE, b.program("test/gpu/driver"), "info"], 120, ok=range(-64, 256)).returncode == 0
    shown, filters = [], OURS_ALONE if filtered else []  # releases differ in what they call it
    for kind in SANITIZERS:
        base = [program, "--tool", kind, "--error-exitcode", "99", *(["--leak-check", "full"] if kind == "memcheck" else [])]
        done = b.call([*base, *small], 400, ok=range(-64, 256))
        if done.returncode:
            raise Failed(f"{kind}, driver: exit code {done.returncode}: {sanitizer_says(done)}")
        ended = 0
        for test in kernel_programs(b) if b.args.sanitize_programs else []:
            try:
                done = b.call([program, "--tool", kind, "--error-exitcode", "99", *filters, test], 90, ok=range(-64, 256))
            except Failed:
                continue  # too long under this tool
            if done.returncode:
                raise Failed(f"{kind}, {pathlib.Path(test).name}: exit code {done.returncode}: {sanitizer_says(done)}")
            ended += 1
        shown.append(f"{kind}: clean, {ended} test programs too" if b.args.sanitize_programs else f"{kind}: clean")
        note(f"sanitizer: {shown[-1]}")
    return "; ".join(shown)


def sanitizer_says(done):
    lines = [line.lstrip("= ") for line in (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
             if line.startswith("=========")]
    return " / ".join(lines[1:9])[:600]


CHECKS = {name[len("check_"):]: function for name, function in list(globals().items()) if name.startswith("check_")}


# ---- Running --------------------------------------------------------------------------------------------------------


def run_checks(b, keep):
    results = []
    for name in b.args.only or CHECKS:
        began = time.monotonic()
        try:
            if b.seconds_left() < 1:
                raise LeftOut("no time is left")
            outcome, detail = "ok", CHECKS[name](b)
        except LeftOut as why:
            outcome, detail = "left out", str(why)
        except Skipped as why:
            outcome, detail = "skipped", str(why)
        except Failed as why:
            outcome, detail = "FAIL", str(why)
        except Exception as why:  # a broken check has not passed
            outcome, detail = "FAIL", f"{type(why).__name__}: {why}"
        results.append({"check": name, "result": outcome, "seconds": round(time.monotonic() - began, 2), "detail": detail})
        note(f"{outcome}: {name}: {detail[:1500]}")
        keep(results)
    return results


def report(b, results, build_seconds):
    return {"card": getattr(b, "card", None), "emulated": b.args.emulated, "commit": commit(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "build_seconds": build_seconds, "checks": results,
            "failed": sum(r["result"] in ("FAIL", "left out") for r in results)}


def write_whole(path, text):
    """Anew, in one step: whoever reads it meets one version or the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def commit():
    for command in (["git", "rev-parse", "--short=12", "HEAD"], ["cat", str(BUNDLE / "COMMIT")]):
        try:
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            continue
        if done.returncode == 0:
            return done.stdout.strip()
    return "unknown"


def summary(results):
    width = max(len(r["check"]) for r in results)
    for r in results:
        detail = r["detail"] if len(r["detail"]) <= 110 else r["detail"][:107] + "..."
        yield f"{r['check']:<{width}}  {r['result']:<8}  {r['seconds']:>7.1f} s  {detail}"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", action="store_true", help="look for a GPU and build first")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/gpu", help="where the programs are")
    parser.add_argument("--only", type=lambda t: t.split(","), help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--model", help="weights (default: weights/, then the bundle's)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--emulated", action="store_true", help="small sizes, on a build with the emulator")
    parser.add_argument("--plant", action="store_true", help="spoil results: checks must fail")
    parser.add_argument("--sanitize-programs", action="store_true", help="compute-sanitizer on the test programs too")
    parser.add_argument("--programs", type=lambda t: t.split(","), help="kernels and sanitizer: these of test/gpu alone")
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT"), help="keep check.json there")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds for all checks together")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    args = parser.parse_args()
    args.build = (ROOT / args.build).resolve()
    if set(args.only or ()) - set(CHECKS):
        parser.error(f"--only: expected some of {', '.join(CHECKS)}, got {','.join(args.only)}")
    return args


def main():
    args, build_seconds = parse(), None
    if args.make:
        why = None if args.device == "cpu" else why_no_gpu()
        if why:
            sys.exit(f"gpu-check: no GPU here: {why}")
        build_seconds = build_all(args.build)
        note(f"built in {build_seconds:.0f} s")
    try:
        import numpy  # noqa: F401
        import pytest  # noqa: F401
    except ImportError as error:
        sys.exit(f"gpu-check: {sys.executable}: {error}")
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory(prefix="midisim-gpu-check-") as folder:
        try:
            b = Bench(args, pathlib.Path(folder))
        except Failed as why:
            sys.exit(f"gpu-check: {why}")
        def keep(results):
            if args.out:
                write_whole(pathlib.Path(args.out) / "check.json", json.dumps(report(b, results, build_seconds), indent=1))

        results = run_checks(b, keep)
        found = report(b, results, build_seconds)
    counts = {k: sum(r["result"] == k for r in results) for k in ("ok", "FAIL", "skipped", "left out")}
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(summary(results)))
        print(f"{counts['ok']} passed, {found['failed']} failed" + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return 1 if found["failed"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
