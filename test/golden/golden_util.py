"""What the golden tests share: where data, weights and tools are, runs of the tools, and the comparisons themselves.

A comparison returns a list of complaints, empty when all is well, so that test_selfcheck.py can prove that it complains.
"""
import json
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "test" / "golden"
BUILD = ROOT / os.environ.get("MIDISIM_BUILD", "build/release")
WEIGHTS = ROOT / "weights" / "midisim-small.safetensors"
SHIPPED = ROOT / "test" / "data" / "midi"
ALL = pathlib.Path(os.environ.get("MIDISIM_TEST_DATA", ROOT.parent / "shared" / "midi")).resolve()
CI = os.environ.get("CI", "") not in ("", "0", "false")
MAX_TOKENS = 3072

# Six that the scalar level does in seconds, fourteen more up to 1,024 tokens, four that fill 3,072.
SHORT = """\
jazz-soft-conformance/midi/test-track-length.mid
midifile-conformance/MIDIOkFormat2.mid
partitura-tests/tests/data/midi/test_basic_midi.mid
music21-tests/music21/midi/testPrimitive/test14.mid
easyrpg-rtp/Music/JInn 1.mid
muspy-tests/key-signatures.mid
""".splitlines()
MIDDLE = """\
tonejs-tests/pitchBendTest.mid
note-seq-tests/note_seq/testdata/melody.mid
easyrpg-rtp/Music/JFanfare 6.mid
jazz-soft-conformance/midi/test-sysex-7x-08-0x-scale-tuning.mid
freedoom/d_intro.mid
js-fakes/midi/99.mid
note-seq-tests/note_seq/testdata/english2.mid
muspy-tests/pitches.mid
js-fakes/jsf-extended/344.mid
js-fakes/jsf-extended/298.mid
easyrpg-rtp/Music/Church.mid
freedink/love.mid
js-fakes/jsf-extended/93.mid
easyrpg-rtp/Music/Opening 2.mid
""".splitlines()
LONG = """\
freedoom/d_dm05.mid
simutrans/21-Dusty-Eyes.mid
giantmidi-piano/midis_for_evaluation/giantmidi-piano/Debussy_Estampes_R-YcnPXY2yE_cut_no_3.mid
jazz-soft-conformance/midi/test-all-gs-sounds.mid
""".splitlines()
FIXED = SHORT + MIDDLE + LONG

# ---- What is there --------------------------------------------------------------------------------------------------


def absent(what):
    """Something the tests bring themselves is not there: skipped by name, but a failure in CI."""
    (pytest.fail if CI else pytest.skip)(what)


def tool(name):
    path = BUILD / f"midisim-{name}"
    if not path.exists():
        pytest.fail(f"{path} is not built")
    return str(path)


def weights():
    if not WEIGHTS.exists():
        absent(f"no {WEIGHTS.relative_to(ROOT)}: run weights/fetch.sh")
    return str(WEIGHTS)


def all_data():
    """The whole collection, which is not published; elsewhere its tests are skipped."""
    if not (ALL / "MANIFEST.tsv").exists() or not (ALL.parent / "golden" / "embeddings.npz").exists():
        pytest.skip("MIDISIM_TEST_DATA: the whole collection is not here")
    return ALL


def golden_tokens(everything=False):
    """{path: array of ids}; empty where the original gives none."""
    z = np.load(all_data().parent / "golden" / "tokens.npz" if everything else HERE / "shipped_tokens.npz")
    ids, starts = z["tokens"], z["offsets"]
    return {str(p): ids[starts[i]:starts[i + 1]].astype(np.int64) for i, p in enumerate(z["paths"])}


def golden_vectors(everything=False):
    """{kind: {path: row}} for kinds f32, f32_weighted_1_1_2, bf16."""
    z = np.load(all_data().parent / "golden" / "embeddings.npz" if everything else HERE / "shipped_embeddings.npz")
    return {k: dict(zip(map(str, z["paths"]), z[k])) for k in ("f32", "f32_weighted_1_1_2", "bf16")}


def golden_queries(everything=False):
    """{path: [12, dim] f32 vectors of the variants -6..+5}."""
    z = np.load(all_data().parent / "golden" / "queries.npz" if everything else HERE / "shipped_queries.npz")
    return {str(q): z[f"q{n}_f32"] for n, q in enumerate(z["queries"])}


# ---- Levels ---------------------------------------------------------------------------------------------------------


def levels():
    """{level: {precision: what it asks of the CPU}}, slowest first, as the
    tools say it. Before they are built: the names of the kernel files, so that tests are there and fail."""
    bench = BUILD / "midisim-bench"
    if not bench.exists():
        return {path.stem[len("encoder_"):]: {} for path in sorted((ROOT / "src/cpu/kernels").glob("*/encoder_*.c"))}
    found = {}
    for line in subprocess.run([bench, "--generate-levels"], check=True, stdout=subprocess.PIPE).stdout.decode().splitlines():
        level, precision, _, needs = line.split("\t")
        found.setdefault(level, {})[precision] = set(needs.split())
    return found


def cpu_flags():
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return set(found[1].split()) if found else set()


LEVELS = levels()
FAST_LEVELS = [level for level in LEVELS if level != "ref"]
# Of these, levels that have kernels of their own for a precision. avx512bf16 and amxbf16 run avx512's for f32, and for most of
# int8: make test-slow repeats what avx512 has shown.
OWN = {precision: [pytest.param(level, marks=[pytest.mark.slow] if level.endswith("bf16") and precision != "bf16" else [])
                   for level in FAST_LEVELS] for precision in ("f32", "bf16", "int8")}
FAST_KINDS = [pytest.param(*level.values, precision, marks=level.marks)
              for precision in ("f32", "bf16") for level in OWN[precision]]


def own_only(kinds):
    """Without the levels that repeat another's kernels: for tests of everything, which take minutes a level."""
    return [kind.values if len(kind.values) > 1 else kind.values[0] for kind in kinds if not kind.marks]


def has_level(level, precision="f32"):
    needs = LEVELS[level].get(precision)
    return not LEVELS[level] or (needs is not None and needs <= cpu_flags())


def need_level(level, precision="f32"):
    """Skip where the CPU lacks the level; a level that it has must run (the tool refuses otherwise, and the test fails)."""
    if not has_level(level, precision):
        pytest.skip(f"this CPU has no {level} for {precision}")


def best_level():
    return [level for level in LEVELS if has_level(level)][-1]


# ---- Runs -----------------------------------------------------------------------------------------------------------


def run(command, cwd=ROOT, ok=(0,), stdin=None, limit=3600):
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}  # libreadline plants them in pytest
    done = subprocess.run([str(c) for c in command], cwd=cwd, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=env, timeout=limit)
    if done.returncode not in ok:
        pytest.fail(f"{' '.join(map(str, command))[:400]}: exit {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done


def embed(out, names, root=SHIPPED, isa="auto", precision="f32", options=()):
    """Embed files by name in one run; {name: row}. Rows must be exactly the files asked for, in bytewise order."""
    run([tool("embed"), "-m", weights(), "-o", out, "--force", "--quiet", "--isa", isa, "--precision", precision,
         "--files-from", "-", *options], cwd=root, stdin="".join(n + "\n" for n in names).encode())
    rows = np.load(out, mmap_mode="r", allow_pickle=False)
    found = [str(n) for n in rows["midi_names"]]
    assert found == sorted(set(names), key=os.fsencode)
    return {n: np.array(row) for n, row in zip(found, rows["midi_embeddings"])}


def tokens(arguments, root=SHIPPED):
    """Objects that midisim-tokens prints; damaged files among them make its exit code 1."""
    done = run([tool("tokens"), "--max-tokens", "0", *arguments], cwd=root, ok=(0, 1))
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


# ---- Comparisons ----------------------------------------------------------------------------------------------------


def distance(a, b):
    """1 - cosine in f64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def complaints_f32(ours, theirs):
    """Two faithful f32 implementations (torch and ONNX Runtime) differ by up to 4.8e-6 in a component; four times that."""
    bad = []
    for name, row in ours.items():
        largest, apart = np.max(np.abs(row - theirs[name])), distance(row, theirs[name])
        if not (largest <= 2e-5 and apart <= 1e-9):
            bad.append(f"{name}: largest component difference {largest:.3g}, 1-cosine {apart:.3g}")
    return bad


def complaints_bf16(ours, theirs_f32, theirs_bf16):
    """The original's own bf16 is the yardstick: our distance from its f32 must be of the size of its own."""
    bad = []
    mine = {n: distance(row, theirs_f32[n]) for n, row in ours.items()}
    own = {n: distance(theirs_bf16[n], theirs_f32[n]) for n in ours}
    for name in ours:
        if not (mine[name] <= 2 * own[name] + 1e-5 and mine[name] <= 2e-4):
            bad.append(f"{name}: 1-cosine {mine[name]:.3g}, the original's own {own[name]:.3g}")
    median, own_median = np.median(list(mine.values())), np.median(list(own.values()))
    if not median <= 1.5 * own_median:
        bad.append(f"median 1-cosine {median:.3g}, the original's own {own_median:.3g}")
    return bad


def complaints_int8(ours, theirs_f32):
    """Precision int8 gives up what its name says, and no more."""
    bad = [f"{n}: 1-cosine {distance(row, theirs_f32[n]):.3g}" for n, row in ours.items()
           if not distance(row, theirs_f32[n]) <= 2e-3]
    median = np.median([distance(row, theirs_f32[n]) for n, row in ours.items()])
    if not 1e-5 < median <= 3e-4:
        bad.append(f"median 1-cosine {median:.3g}")
    return bad


def complaints_top10_int8(matches, names, queries, rows):
    """The ten best are those of the original's f32, in its order, but for rows whose scores are closer than 0.002."""
    best = dict(zip(names, (unit(queries) @ unit(rows).T).max(0)))
    found = [m["name"] for m in matches]
    bad = [] if len(set(found)) == min(10, len(names)) == len(found) else [f"{len(found)} rows: {found}"]
    for place, name in enumerate(found):
        below = set(best) - set(found[:place + 1])
        bad += [f"rank {place + 1}: {name} ({best[name]:.5f}) before {n} ({best[n]:.5f})" for n in sorted(below)
                if not best[n] - best[name] < 2e-3]
    return bad


def complaints_tokens(ours, theirs):
    """ours: {path: ids or None}; theirs: {path: ids, empty for none}."""
    bad = []
    for name, ids in ours.items():
        if ids is None or len(theirs[name]) == 0:
            if not (ids is None and len(theirs[name]) == 0):
                bad.append(f"{name}: {'none' if ids is None else len(ids)} tokens, expected {len(theirs[name])}")
        elif not np.array_equal(ids, theirs[name]):
            n = min(len(ids), len(theirs[name]))
            at = int(np.argmax(np.append(np.asarray(ids[:n]) != theirs[name][:n], True)))
            bad.append(f"{name}: {len(ids)} tokens, expected {len(theirs[name])}; first difference at {at}")
    return bad


def complaints_ranking(matches, names, queries, rows, k=16, slack=1e-5):
    """matches: the tool's, against the original's vectors ranked in f64 by best variant. Order and membership at the cut
    may differ only between rows whose scores are closer than `slack`."""
    scores = unit(queries) @ unit(rows).T
    best = dict(zip(names, scores.max(0)))
    variants = dict(zip(names, scores.T))
    wanted = sorted(best.values(), reverse=True)[:k]
    bad = []
    if [m["rank"] for m in matches] != list(range(1, min(k, len(names)) + 1)):
        bad.append(f"ranks {[m['rank'] for m in matches]}")
    if len({m["name"] for m in matches}) != len(matches):
        bad.append("a row twice")
    for m, score in zip(matches, wanted):
        if not abs(best[m["name"]] - score) < slack:
            bad.append(f"rank {m['rank']}: {m['name']} ({best[m['name']]:.7f}), expected a row of {score:.7f}")
        if not abs(m["score"] - best[m["name"]]) < slack:
            bad.append(f"{m['name']}: score {m['score']:.7f}, expected {best[m['name']]:.7f}")
        if not variants[m["name"]][m["transpose"] + 6] > best[m["name"]] - slack:
            bad.append(f"{m['name']}: transposition {m['transpose']}")
    return bad
