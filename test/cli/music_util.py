"""A small collection for the tests of tools that search by notes and by vectors."""
from cli_util import midi, run, text, write_model
from test_find import tune

PIECES = 12


def make_music(folder, more=()):
    """Pieces below folder/music, their corpus c.npy, its model and its note index; q.mid is 80 notes of piece 3, four semitones up
    and faster. more: {path: bytes} of other files, written before."""
    (folder / "music/b").mkdir(parents=True)
    for i in range(PIECES):
        (folder / f"music/b/{i:02d}.mid").write_bytes(midi(tune(i), ticks=240))
    (folder / "q.mid").write_bytes(midi(tune(3, transpose=4)[20:100], ticks=200))
    for path, data in dict(more).items():
        (folder / path).write_bytes(data)
    write_model(folder / "m.safetensors")
    for name, arguments in (("embed", ("-m", "m.safetensors", "-o", "c.npy")), ("index", ("-o", "c.notes"))):
        done = run(name, *arguments, "music", cwd=folder)
        assert done.returncode == 0, text(done)
    return folder
