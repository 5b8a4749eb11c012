"""Models of one output, from a file and a folder of images to the results."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import sanity
from sanity.errors import ConfigError

pytestmark = pytest.mark.slow  # each is a whole job, with its page


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, level in (("cats", 60), ("dogs", 160)):
        (folder / name).mkdir()
        for i in range(3):
            pixels = level + random.integers(0, 90, (8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def saved(folder, activation=None, scale=1.0):
    keras.utils.set_random_seed(0)
    given = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="tanh")(given)
    x = keras.layers.Dense(1)(keras.layers.Flatten()(x))
    x = keras.layers.Activation(activation)(x * scale)
    model = keras.Model(given, x)
    model.save(folder / "model.keras")
    return model, f"model.path={folder / 'model.keras'}"


def run(folder, pictures, *overrides):
    asked = ["model=keras", "data=folder", f"data.path={pictures}", "method=[gradient]"]
    asked += ["metric=[spearman]", "layers.last=1", "figures=none", f"output={folder}"]
    return sanity.run(overrides=[*asked, *overrides])


def test_class_folders_of_a_model_with_one_sigmoid(tmp_path, pictures):
    model, path = saved(tmp_path, "sigmoid")
    folder = run(tmp_path, pictures, path, "data.labels=folders", "target=label")
    found = sanity.load_predictions(folder)
    found = found[found["stage"] == 0]
    files = [pictures / f"{name}.png" for name in found["image"]]
    x = [np.asarray(Image.open(file), np.float32) / 255 for file in files]
    said = np.asarray(model(np.stack(x)))[:, 0]
    assert found["target"].tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(found["predicted"], said > 0.5)
    np.testing.assert_allclose(found["probability"], np.maximum(said, 1 - said), rtol=1e-4)
    labels = found["target"].to_numpy()
    np.testing.assert_allclose(
        found["target_probability"], np.where(labels, said, 1 - said), rtol=1e-4
    )
    own = np.log(said / (1 - said))
    np.testing.assert_allclose(found["target_logit"], np.where(labels, own, -own), rtol=1e-3)
    explained = json.loads((folder / "run.json").read_text())["explained"]
    assert (explained["taken_off"], explained["link"]) == ("Sigmoid", "logistic")


def test_a_number_has_no_probability_and_takes_no_labels(tmp_path, pictures):
    _, path = saved(tmp_path)
    with pytest.raises(ConfigError, match=r"a regression: .* model\.activation=sigmoid"):
        run(tmp_path, pictures, path, "data.labels=folders")
    found = sanity.load_predictions(run(tmp_path, pictures, path))
    assert found["probability"].isna().all() and (found["predicted"] == 0).all()
    assert (
        np.isfinite(found["target_logit"]).all() and (found["predicted_name"] == "the number").all()
    )


def test_scores_of_an_exploded_network_are_marked(tmp_path, pictures):
    _, path = saved(tmp_path, scale=1e9)
    scores = sanity.load_runs(run(tmp_path, pictures, path))
    assert scores["value"].notna().all()
    assert scores["reason"].astype(str).str.startswith("the network has exploded").all()
