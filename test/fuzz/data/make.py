#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets beside this script: FOLDER/seed-NAME, the folder named like the target. Needs the tools
of a build; run it again when a format changes. Files found-NAME are inputs that once failed, and are kept by hand.

    test/fuzz/data/make.py [--build build/release]
"""
import argparse, gzip, json, os, pathlib, shutil, struct, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "test/data/checkpoints"))
import make as checkpoints  # the writers of .pth and .safetensors


def seed(target, name, data):
    (HERE / target).mkdir(exist_ok=True)
    (HERE / target / f"seed-{name}").write_bytes(data)


def midi(pitches, ticks=480):
    track = b"".join(bytes([0, 0x90, p, 90]) + bytes([0x83, ticks & 127, 0x80, p, 0]) for p in pitches) + b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track)) + track


def model(dtype, write):
    """The smallest model that there is: width 16, one head, one block, eight ids."""
    return write(checkpoints.plain(dtype, 16, 1, 1, 8))


def codes_rows():
    """The rows of fuzz_codes.c as plain .npy."""
    state, rows = 7, []
    for r in range(64):
        row = []
        for i in range(4):
            state = (state * 1664525 + 1013904223) & 0xffffffff
            signed = state - (1 << 32) if state >> 31 else state
            row.append(0.0 if r == 5 else float("nan") if r == 9 and i == 3 else signed / 2147483648.0)
        rows.append(struct.pack("<4f", *row))
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (64, 4), }"
    head += b" " * (117 - len(head)) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + b"".join(rows)


def by_hand():
    song = midi((60, 64, 67, 72))
    for flag, name in ((0, "plain"), (1, "called-gz")):
        seed("gzip", name, bytes([flag]) + song)
    packed = gzip.compress(song, mtime=0)
    seed("gzip", "packed", b"\1" + packed)
    seed("gzip", "packed-mid", b"\0" + packed)
    seed("gzip", "two-members", b"\1" + gzip.compress(song[:30], mtime=0) + gzip.compress(song[30:], mtime=0))
    rmid = b"RIFF" + struct.pack("<I", len(song) + 12) + b"RMIDdata" + struct.pack("<I", len(song)) + song
    seed("midi", "short", song)
    seed("midi", "rmid", rmid)
    meters = (bytes((0, 0xff, 0x58, 4, 3, 3, 24, 8)), bytes((0x83, 0x60, 0xff, 0x58, 4, 4, 2, 24, 8, 0, 0xff, 0x2f, 0)))
    seed("midi", "meters", struct.pack(">4sIHHH", b"MThd", 6, 1, 2, 480) + b"".join(
        b"MTrk" + struct.pack(">I", len(track)) + track for track in (b"".join(meters), midi(range(60, 68))[22:])))
    seed("gzip", "rmid", b"\1" + gzip.compress(rmid, mtime=0))
    rows = [struct.pack("<3f", i, -i, 0.5) for i in range(4)]
    fvecs, fbin = b"".join(struct.pack("<i", 3) + r for r in rows), struct.pack("<II", 4, 3) + b"".join(rows)
    for target in ("corpus", "search", "convert"):
        seed(target, "fvecs", b"\0" + fvecs)
        seed(target, "fbin", b"\1" + fbin)
    for dtype in ("f32", "bf16"):
        seed("model", f"safetensors-{dtype}", model(dtype, lambda t: checkpoints.safetensors(t, {"format": "pt"})))
    seed("model", "zip", model("f16", lambda t: checkpoints.zip_pth("m", t)))
    seed("model", "legacy", model("f16", checkpoints.legacy_pth))
    small = json.dumps({"__metadata__": {"source_sha256": "0" * 64}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                        "b": {"dtype": "BF16", "shape": [1, 3], "data_offsets": [8, 14]}}).encode()
    seed("checkpoint", "safetensors", struct.pack("<Q", len(small)) + small + bytes(14))
    seed("names", "three", "a.mid\nb/ü.mid\r\n\udc80.mid\n".encode("utf-8", "surrogateescape"))
    seed("names", "two", b"a\nb")
    seed("paths", "lines", b"\0c.kar\nd.mid.gz\r\n.\nc/e.mid\nnone.mid\n\n")
    seed("paths", "nul", b"\7c.kar\0d.mid.gz\0..\0")
    seed("text", "name", "a b/ü\U0001f600\t\x1b[1m\x9b\udc80.mid".encode("utf-8", "surrogateescape"))
    seed("text", "json", b'{"a": [1, -2.5e3, "\\udc80\\ud83d\\ude00", null, true], "b": {"a": "c"}}')


def by_tools(build, folder):
    def run(tool, *arguments):
        return subprocess.run([build / f"midisim-{tool}", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=dict(os.environ, CUDA_VISIBLE_DEVICES="")).stdout
    weights = folder / "m.safetensors"
    weights.write_bytes(checkpoints.safetensors(checkpoints.plain("f32", 16, 1, 1, 386), {"format": "pt"}))
    (folder / "in").mkdir()
    for i in range(3):
        (folder / f"in/{i}.mid").write_bytes(midi(range(50 + i, 60)))
    (folder / "in/silent.mid").write_bytes(midi(()))
    (folder / "in/twice.mid").write_bytes((folder / "in/0.mid").read_bytes())
    (folder / "r.npy").write_bytes(codes_rows())
    for path in (*(folder / "in").iterdir(), folder / "r.npy"):
        os.utime(path, (1700000000, 1700000000))  # times stand in what is written
    run("embed", "--device", "cpu", "--isa", "ref", "-m", weights, "--keep-journal", "-o", "c.npy", "in")
    journal = (folder / "c.npy.journal").read_bytes()
    seed("journal", "as-it-is", b"\0" + journal)
    seed("journal", "repaired", b"\1" + journal)
    seed("description", "of-embed", (folder / "c.npy.json").read_bytes())
    run("embed", "--device", "cpu", "--isa", "ref", "-m", weights, "--keep-journal", "--windows", "16/8", "-o", "s.npy", "in/0.mid")
    seed("journal", "of-windows", b"\1" + (folder / "s.npy.journal").read_bytes())
    seed("description", "of-windows", (folder / "s.npy.json").read_bytes())
    seed("lines", "of-tokens", run("tokens", "--max-tokens", "12", "in/0.mid", "in/1.mid")
         + b'{"path":"x","error":"no-notes","detail":"none"}\n')
    run("convert", "--fit-only", "--prior-fit", "none", "r.npy", "r.whiten")
    run("convert", "--fit-only", "--prior-fit", "none", "--altered", "r.npy", "r.npy", "a.whiten")
    run("convert", "--whiten", "--whiten-fit", "r.whiten", "--keep-nonfinite", "r.npy", "w.npy")
    seed("whiten", "fit", b"\0" + (folder / "r.whiten").read_bytes())
    seed("whiten", "repaired", b"\1" + (folder / "r.whiten").read_bytes())
    seed("whiten", "altered", b"\1" + (folder / "a.whiten").read_bytes())
    seed("whiten", "description", b"\2" + (folder / "w.npy.json").read_bytes())
    run("search", "--device", "cpu", "-c", "r.npy", "--prepare")
    codes = (folder / "r.npy.msim").read_bytes()
    for flag in range(1, 4):
        seed("codes", f"{flag}", bytes([flag]) + codes)
    run("index", "-o", "x.notes", "in")
    notes = (folder / "x.notes").read_bytes()
    for i, shift in enumerate((0, 1, 0)):  # pairs: a third of the notes is another one, in two keys
        tune = [60 + (k * k * 7 + k) % 19 + shift for k in range(60)]
        (folder / f"in/long{i}.mid").write_bytes(midi([p + (k % 9 == 0) * i for k, p in enumerate(tune)]))
    run("index", "-o", "long.notes", "in")
    run("groups", "--state", "x.pairs", "long.notes")
    for flag in (0, 1):
        seed("pairs", f"{flag}", bytes([flag]) + (folder / "x.pairs").read_bytes())
    for flag in range(2):
        seed("notes", f"{flag}", bytes([flag]) + notes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    args = parser.parse_args()
    by_hand()
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        by_tools(args.build.resolve(), folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
