"""Memory of midisim-embed where files are large: what several threads take together does not grow with their number."""
import random

import pytest

from cli_util import BUILD, ROOT, midi, run_measured

SMALL = ROOT / "weights/midisim-small.safetensors"
TINY = ROOT / "test/data/checkpoints/tiny.safetensors"
MB = 1000000

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif("asan" in str(BUILD) or "tsan" in str(BUILD), reason="a sanitizer takes memory of its own")]


def dense(seed, n_bytes=5 * MB):
    """A MIDI file of nothing but notes with running status: 6 bytes each."""
    rng = random.Random(seed)
    pitches = rng.choices(range(30, 100), k=n_bytes // 6)
    notes = b"".join(bytes((1, p, 80, 2, p, 0)) for p in pitches)
    track = b"\0\x90" + notes[1:]
    return b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk" + len(track).to_bytes(4, "big") + track


def peak(model, out, folder, threads):
    """The most memory in use, resident, of a run that gives a row for every file."""
    done, most = run_measured("embed", "-m", model, "-o", out, "--threads", threads, folder)
    assert done.returncode == 0 and b" 0 skipped" in done.stderr, done.stderr
    return most


def test_many_large_files(tmp_path):
    """12 files of 5 MB on 8 threads take less than 150 MB more than 12 small ones: one such file alone takes some 60."""
    small, large = tmp_path / "small", tmp_path / "large"
    for folder in (small, large):
        folder.mkdir()
    for i in range(12):
        (small / f"{i}.mid").write_bytes(midi([60 + i, 64, 67]))
        (large / f"{i}.mid").write_bytes(dense(i))
    few, many = (peak(TINY, tmp_path / f"{folder.name}.npy", folder, 8) for folder in (small, large))
    assert many - few < 150 * MB, (few / MB, many / MB)


@pytest.mark.skipif(not SMALL.exists(), reason="needs the small model")
def test_small_machine(tmp_path):
    """A machine of 250 MB embeds a folder with large files among others: the run needs less than 200 MB."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(3):
        (songs / f"large{i}.mid").write_bytes(dense(i))
        (songs / f"small{i}.mid").write_bytes(midi([60 + i, 64, 67]))
    needs = peak(SMALL, tmp_path / "songs.npy", songs, 2)
    assert needs < 200 * MB, needs / MB
