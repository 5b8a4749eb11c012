"""The tutorial's commands for a model of one's own, each run on such a model."""

import re
import shlex
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import sanity
from tests.command import ROOT
from tests.inception_v3 import build

pytestmark = pytest.mark.slow
layers = keras.layers
README = (ROOT / "docs/tutorials/own_model.md").read_text()
# Those that need no download.
COMMANDS = re.findall(r"^python -m (sanity\S*) (.*(?:path|handle)=.*)$", README, re.MULTILINE)
QUICK = ["method=[gradient,random_mask]", "metric=[spearman]", "layers.last=1", "data.limit=2"]
QUICK += ["figures=none", "report=false"]


def network(classes, activation=None):
    inputs = keras.Input((24, 24, 3))
    x = layers.Conv2D(6, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(classes, activation=activation)(x))


def make(option, folder):
    """What the command names: a model's file or folder, and images in subfolders."""
    keras.utils.set_random_seed(0)
    network(5).save(folder / "my.keras")
    network(1, "sigmoid").save(folder / "cats_or_dogs.keras")
    if option == "saved_model":
        network(5).export(folder / "FOLDER", verbose=False)
    elif option == "frozen":
        from tests.models.test_frozen import write

        write(folder / "net.pb", switch=False)
    elif option == "tflite":
        from tests.models.test_tflite import convert

        convert(network(5), folder / "net.tflite", (24, 24, 3))
    elif option == "onnx":
        shutil.copy(ROOT / "tests/data/onnx/resnet.onnx", folder / "net.onnx")
    elif option == "inception_v3":
        build(folder / "FOLDER", 1 / 16, 1001, True)
    else:
        for index, name in enumerate(("cats/tom", "dogs/rex")):
            path = folder / "FOLDER" / f"{name}.png"
            path.parent.mkdir(parents=True)
            noise = np.random.default_rng(index).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(noise).save(path)


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(pair) for pair in COMMANDS])
def test_a_model_of_ones_own_as_the_readme_has_it(command, tmp_path, monkeypatch, capsys):
    from sanity.inspect import main

    module, text = command
    words = shlex.split(text)
    option = words[0].partition("=")[2]
    make(option, tmp_path)
    monkeypatch.chdir(tmp_path)
    if module == "sanity.inspect":
        monkeypatch.setattr("sys.argv", ["inspect", *words])
        main()
        assert "conv2d" in capsys.readouterr().out
        return
    if option == "inception_v3":
        words.append("model.input_shape=[79,79,3]")
    run = sanity.run(overrides=[*words, *QUICK, "runtime.progress=none", f"output={tmp_path}/out"])
    scores = sanity.load_runs(str(tmp_path / "out"))
    assert len(scores) == 2 * 2 * 2 and scores.value.notna().any(), run


def test_the_readme_has_a_line_for_each_kind():
    kinds = {words.partition("=")[2].split()[0] for _, words in COMMANDS}
    assert kinds == {"keras", "saved_model", "frozen", "tflite", "onnx", "inception_v3"}
    assert any("cats_or_dogs" in words for _, words in COMMANDS)
