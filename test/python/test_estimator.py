"""MidiEmbedder as a step of scikit-learn, by scikit-learn's own checks where they apply: X is a list of files, not of numbers."""
import pickle
import subprocess
import sys

from cli_util import ROOT, midi, write_model
import midisim_native as mn
import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
CHECKS = ("check_get_params_invariance", "check_set_params", "check_no_attributes_set_in_init", "check_estimator_cloneable",
          "check_estimator_repr", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_get_tags_default_keys",
          "check_mixin_order", "check_do_not_raise_errors_in_init_or_set_param")


@pytest.fixture
def embedder(model_path):
    return mn.MidiEmbedder(model_path, device="cpu", threads=1)


def test_the_checks_of_scikit_learn(embedder):
    from sklearn.utils import estimator_checks
    ran = 0
    for name in CHECKS:
        if check := getattr(estimator_checks, name, None):  # releases differ in their checks
            check("MidiEmbedder", embedder)
            ran += 1
    estimator_checks.check_parameters_default_constructible("MidiEmbedder", embedder)
    assert ran >= 5


def test_it_gives_what_the_model_gives(embedder, model, songs):
    paths = sorted(map(str, songs.glob("*.mid")))
    expected = model.embed(paths)
    assert embedder.fit_transform(paths).tobytes() == expected.tobytes()
    assert embedder.transform(np.array(paths, object)[:, None]).tobytes() == expected.tobytes()
    assert sklearn.base.clone(embedder).transform(paths).tobytes() == expected.tobytes()
    assert pickle.loads(pickle.dumps(embedder)).transform(paths).tobytes() == expected.tobytes()
    assert embedder.get_feature_names_out().tolist() == [f"midiembedder{i}" for i in range(32)]
    assert embedder.set_params(normalize=True).get_params()["normalize"] is True
    assert np.allclose(np.linalg.norm(embedder.transform(paths), axis=1), 1)
    with pytest.raises(mn.ArgumentError, match="expected paths"):
        embedder.transform(np.zeros((2, 3)))
    with pytest.raises(mn.ArgumentError, match="got one"):
        embedder.transform(paths[0])


def test_tokens_of_a_model_of_midisimx(songs, tmp_path):
    path = write_model(tmp_path / "x.safetensors", vocab=720)
    paths = sorted(map(str, songs.glob("*.mid")))
    rows = {order: mn.MidiEmbedder(path, device="cpu", threads=1, token_order=order).fit_transform(paths)
            for order in ("time-first", "chord-first")}
    for order, found in rows.items():
        assert found.tobytes() == mn.load_model(path, device="cpu", threads=1, token_order=order).embed(paths).tobytes()
    assert not np.array_equal(*rows.values())


def test_it_is_a_step_of_a_pipeline(embedder):
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    pieces = [midi((60 + n, 64 + n, 67)) for n in range(6)]
    steps = make_pipeline(embedder, KNeighborsClassifier(1)).fit(pieces, list("aabbcc"))
    assert steps.predict(pieces).tolist() == list("aabbcc")


def test_without_scikit_learn_an_error_names_it():
    program = "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.base'] = None\n" \
              "import midisim_native as mn\ntry: mn.MidiEmbedder\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT / "python/src"), **_library()},
                          capture_output=True, text=True)
    assert "pip install scikit-learn" in done.stdout, done.stderr


def _library():
    import os
    return {"MIDISIM_LIBRARY": os.environ["MIDISIM_LIBRARY"]}
