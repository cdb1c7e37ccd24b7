"""midisim-serve takes the corpora that midisim-search takes, and gives the same scores."""
import os

import pytest
from cli_util import lines, midi, run, text, write_model
from serve_util import Server, serving
from test_find import tune


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """8 pieces, and a query that is like one of them."""
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "music").mkdir()
    for i in range(8):
        (folder / f"music/{i}.mid").write_bytes(midi(tune(i), ticks=240))
    (folder / "q.mid").write_bytes(midi(tune(3, transpose=2)[10:90], ticks=200))
    return folder


def embed(folder, *arguments):
    done = run("embed", *arguments, "music", cwd=folder)
    assert done.returncode == 0, text(done)


def scores_of_tool(folder, *arguments):
    done = run("search", "-k", 8, "--json", *arguments, "q.mid", cwd=folder)
    assert done.returncode == 0, text(done)
    return {m["name"]: (pytest.approx(m["score"], abs=1e-6), m["transpose"]) for m in lines(done)[0]["matches"]}


def scores_of(server, folder):
    status, answer = server.midi("/api/search?mode=likeness&k=8", (folder / "q.mid").read_bytes())
    assert status == 200, answer
    report = answer["report"]
    return {report["pieces"][m["piece"]]["name"]: (m["alike"]["score"], m["alike"]["by"]) for m in report["queries"][0]["matches"]}


def test_parts_that_differ(music):
    """All parts are described alike, or nothing is served; a part without a description is told."""
    write_model(music / "m.safetensors")
    (music / "parts").mkdir()
    embed(music, "-m", "m.safetensors", "-o", "parts/a.npy")
    embed(music, "-m", "m.safetensors", "--max-tokens", 60, "-o", "parts/b.npy")
    done = run("serve", "-m", "m.safetensors", "--port", 0, "parts", cwd=music)
    assert done.returncode == 2 and "parts of the corpus differ" in text(done) and "--force" not in text(done), text(done)
    os.unlink(music / "parts/b.npy.json")
    server = Server("-m", "m.safetensors", "parts", cwd=music)
    assert scores_of(server, music)
    assert "there is no parts/b.npy.json" in server.end()[1]


def test_published_corpora_of_midisimx(music):
    """Without a description, the weights are those of the published corpora, as in midisim-search."""
    write_model(music / "x.safetensors", dim=32, heads=2, vocab=720)
    embed(music, "-m", "x.safetensors", "-o", "x.npy")
    os.unlink(music / "x.npy.json")
    wanted = scores_of_tool(music, "-m", "x.safetensors", "-c", "x.npy")
    assert scores_of_tool(music, "-m", "x.safetensors", "-c", "x.npy", "--pooling", "mean") != wanted
    with serving("-m", "x.safetensors", "x.npy", cwd=music) as server:
        assert scores_of(server, music) == wanted


def test_quantised_rows(music):
    """What --prepare wrote is used, and what is damaged is not."""
    write_model(music / "m.safetensors")
    embed(music, "-m", "m.safetensors", "-o", "c.npy")
    done = run("search", "-c", "c.npy", "--prepare", cwd=music)
    assert done.returncode == 0, text(done)
    wanted = scores_of_tool(music, "-m", "m.safetensors", "-c", "c.npy")
    with serving("-m", "m.safetensors", "c.npy", cwd=music) as server:
        with open(f"/proc/{server.process.pid}/maps") as maps:
            assert "c.npy.msim" in maps.read()
        assert scores_of(server, music) == wanted
    codes = music / "c.npy.msim"
    codes.write_bytes(codes.read_bytes()[:-40])
    server = Server("-m", "m.safetensors", "c.npy", cwd=music)
    assert scores_of(server, music) == wanted
    assert "quantised rows not used" in server.end()[1]
