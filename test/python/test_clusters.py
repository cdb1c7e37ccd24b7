"""examples/dask_embed.py and examples/ray_embed.py on their local clusters, and the merge behind them: the bytes of one process."""
import importlib.util
import os
import subprocess
import sys

from cli_util import ROOT, midi
import midisim_native as mn
import pytest


@pytest.fixture
def whole(model, songs, tmp_path):
    for n in range(12):
        (songs / "b" / f"{n:02}ü.mid").write_bytes(midi((50 + n, 62, 64 + n)))
    mn.embed_folder(songs, tmp_path / "whole.npy", model=model)
    return (tmp_path / "whole.npy").read_bytes()


def test_merged_shards_are_one_run(model, songs, whole, tmp_path):
    made = []
    for number in range(1, 4):
        mn.embed_folder(songs, tmp_path / f"{number}.npy", model=model, shard=(number, 3))
        made.append(tmp_path / f"{number}.npy")
    corpus = mn.merge_corpora(made[::-1], tmp_path / "merged.npy")
    assert len(corpus) == 17 and (tmp_path / "merged.npy").read_bytes() == whole
    with pytest.raises(mn.ArgumentError, match="is one of the parts"):
        mn.merge_corpora(made, made[0])
    with pytest.raises(mn.FileError, match="absent"):
        mn.merge_corpora([tmp_path / "absent.npy"], tmp_path / "other.npy")
    mn.embed_folder(songs, tmp_path / "windows.npy", model=model, windows=16)
    with pytest.raises(mn.ArgumentError, match="midisim-convert --merge"):
        mn.merge_corpora([tmp_path / "windows.npy"], tmp_path / "other.npy")
    assert not (tmp_path / "other.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize("program,package", [("dask_embed", "distributed"), ("ray_embed", "ray")])
def test_workers_give_the_bytes_of_one_process(program, package, model_path, songs, whole, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"no {package}: pip install {package}")
    env = dict(os.environ, PYTHONPATH=str(ROOT / "python/src"), CUDA_VISIBLE_DEVICES="", RAY_USAGE_STATS_ENABLED="0")
    for _ in range(2):  # the second time the parts are there
        done = subprocess.run([sys.executable, ROOT / f"examples/{program}.py", songs, tmp_path / "out.npy", "--model", model_path,
                               "--parts", "5"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 and "17 rows" in done.stdout, done.stdout + done.stderr
        assert (tmp_path / "out.npy").read_bytes() == whole
