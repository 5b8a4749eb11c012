"""A file given to the option that does not take it: the one that does is named."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models import Frozen, Hub, Keras, SavedModel, TFLite
from sanity.models.kinds import kind_of

OPTIONS = {
    "keras": lambda path: Keras(path=path),
    "saved_model": lambda path: SavedModel(path=path),
    "frozen": lambda path: Frozen(path=path),
    "tflite": lambda path: TFLite(path=path),
    "hub": lambda path: Hub(handle=path),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "only.weights.h5")
    module = tf.Module()
    module.kernel = tf.Variable(np.ones((3, 2), np.float32))
    tf.saved_model.save(module, str(folder / "outer" / "module"))
    (folder / "model.json").write_text(model.to_json())
    (folder / "frozen.pb").write_bytes(b"\x0a\x05")
    (folder / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    (folder / "weights.pth").write_bytes(b"\x80\x02")
    (folder / "model.ckpt.index").write_bytes(b"")
    (folder / "module.tar.gz").write_bytes(b"\x1f\x8b")
    (folder / "empty").mkdir()
    with zipfile.ZipFile(folder / "zipped.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return folder


SAID = {
    "model.keras": "is a Keras file: model=keras model.path={path}",
    "model.h5": "is a Keras file: model=keras model.path={path}",
    "only.weights.h5": "without the network: .*model.architecture=FILE.json",
    "outer/module": "is the folder of a SavedModel: model=saved_model model.path={path}$",
    "outer/module/saved_model.pb": "is part of a SavedModel: model=saved_model .*module$",
    "outer": "is a folder without a saved_model.pb; .*model.path={path}/module$",
    "empty": "(is a folder without a|has no) saved_model.pb",
    "model.json": "is a network without weights: .* model.architecture={path}",
    "frozen.pb": "is a frozen graph: model=frozen model.path={path}",
    "model.tflite": "is a TFLite model: model=tflite model.path={path}",
    "model.onnx": "is an ONNX model: model=onnx model.path={path}$",
    "weights.pth": "is a file of PyTorch",
    "zipped.pt": "is a file of PyTorch",
    "model.ckpt": "is a checkpoint, weights without the network",
    "module.tar.gz": "is an archive: unpack it",
    "nothing": "(no such file or folder|is neither a folder nor a URL)",
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", SAID)
def test_the_option_that_fits_is_named(name, option, files):
    takes = {"keras": "keras", "frozen": "frozen_graph", "tflite": "tflite"}.get(
        option, "saved_model"
    )
    path = str(files / name)
    if kind_of(files / name) == takes:
        return
    with pytest.raises(ConfigError, match=SAID[name].format(path=path)) as refused:
        OPTIONS[option](path).load()
    assert "\n" not in str(refused.value)
