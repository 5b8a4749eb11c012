"""Keras files of every age: the same numbers as Keras 2 itself, and no code from strangers."""

import json
import sys
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models import Keras

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tf_keras

L = tf_keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def model_of(layers, shape=(12, 12, 3)):
    """A model of Keras 2 with these layers before an average and a dense one, all disturbed."""
    inputs = L.Input(shape)
    x = layers(inputs)
    outputs = L.Dense(4, name="top")(L.GlobalAveragePooling2D()(x))
    return disturbed(tf_keras.Model(inputs, outputs))


def disturbed(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype.is_floating:
            weight.assign(np.abs(weight.numpy() + random.normal(0, 0.2, weight.shape)) + 0.1)
    return model


def operators(x):
    x = tf.nn.relu(L.Conv2D(4, 3)(x * 2.0 - 1.0))
    return tf.concat([x[:, 1:-1, 1:-1], tf.abs(x[:, :-2, 2:])], -1)


def nested(x):
    inner = tf_keras.Sequential([L.Input((12, 12, 3)), L.Conv2D(4, 3), L.BatchNormalization()])
    return L.Conv2D(4, 3, name="outer")(inner(x))


def twins(x):
    left, right = (tf_keras.Sequential([L.Conv2D(3, 3, name="conv")]) for _ in range(2))
    return L.Concatenate()([left(x), right(x)])


def augmented(x):
    x = tf_keras.Sequential([L.RandomFlip("horizontal"), L.Rescaling(2.0, -1.0)])(x)
    return L.Dropout(0.5)(L.Conv2D(4, 3, activation="swish")(x))


OLD = {
    "depthwise": lambda x: L.DepthwiseConv2D(3, activation="relu")(x),
    "separable": lambda x: L.SeparableConv2D(4, 3, activation="relu")(x),
    "transposed": lambda x: L.Conv2DTranspose(4, 3, activation="relu")(x),
    "operators": operators,
    "nested": nested,
    "twins": twins,
    "augmented": augmented,
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", OLD)
def test_what_keras_2_wrote_gives_its_numbers(name, suffix, tmp_path):
    model = model_of(OLD[name])
    model.save(tmp_path / f"model.{suffix}")
    classifier = Keras(path=str(tmp_path / f"model.{suffix}")).load()
    x = np.random.default_rng(1).random((3, 12, 12, 3), np.float32)
    np.testing.assert_allclose(classifier.logits(x), model(x, training=False), rtol=1e-4, atol=1e-5)
    assert len(classifier.parameters) == len([w for w in model.weights if w.dtype.is_floating])
    kernels = [p for p in classifier.parameters.values() if p.kind == "kernel"]
    assert all(p.block and p.name in classifier.initializers for p in kernels)
    np.testing.assert_array_equal(classifier.weights.read()["top/kernel"], model.layers[-1].kernel)


def teachable():
    """As Teachable Machine makes them: models in a model in a model, none of them named."""
    inputs = L.Input((12, 12, 3))
    x = L.DepthwiseConv2D(3, use_bias=False)(L.ReLU(6.0)(L.Conv2D(8, 3, use_bias=False)(inputs)))
    body = tf_keras.Sequential([tf_keras.Model(inputs, x), L.GlobalAveragePooling2D()])
    head = tf_keras.Sequential([L.Dense(9, activation="relu"), L.Dense(3, activation="softmax")])
    return disturbed(tf_keras.Sequential([body, head]))


def test_a_file_of_teachable_machine(tmp_path):
    model = teachable()
    model.save(tmp_path / "keras_model.h5")
    classifier = Keras(path=str(tmp_path / "keras_model.h5"), range=[-1.0, 1.0]).load()
    assert classifier.ending.taken_off == "Softmax"
    assert len(classifier.blocks) == 4
    x = np.random.default_rng(1).random((3, 12, 12, 3), np.float32)
    logits = classifier.logits(x)
    shares = tf.nn.softmax(logits)
    np.testing.assert_allclose(shares, model(2 * x - 1, training=False), atol=1e-6)


def test_a_file_of_tensorflow_2_15_names_its_modules_otherwise(tmp_path):
    model = model_of(operators)
    model.save(tmp_path / "new.keras")
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"tf_keras.src", b"keras.src"))
    x = np.random.default_rng(1).random((3, 12, 12, 3), np.float32)
    classifier = Keras(path=str(tmp_path / "old.keras")).load()
    np.testing.assert_allclose(classifier.logits(x), model(x, training=False), rtol=1e-4, atol=1e-5)


# The network in JSON beside its weights


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
def test_an_architecture_beside_weights(library, tmp_path):
    layers = library.layers
    inputs = layers.Input((12, 12, 3))
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3, activation="relu")(inputs))
    model = disturbed_by_value(library.Model(inputs, layers.Dense(4)(x)))
    weights, network = tmp_path / "model.weights.h5", tmp_path / "model.json"
    model.save_weights(weights)
    network.write_text(model.to_json())
    x = np.random.default_rng(1).random((3, 12, 12, 3), np.float32)
    classifier = Keras(path=str(weights), architecture=str(network)).load()
    np.testing.assert_allclose(classifier.logits(x), model(x, training=False), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"weights without the network: .*model.architecture=FI"):
        Keras(path=str(weights)).load()
    with pytest.raises(ConfigError, match=r"model.architecture=.*none.json cannot be read"):
        Keras(path=str(weights), architecture=str(tmp_path / "none.json")).load()
    other = layers.Dense(5)(layers.Flatten()(inputs))
    network.write_text(library.Model(inputs, other).to_json())
    with pytest.raises(ConfigError, match=r"does not fit model.architecture=.*another network$"):
        Keras(path=str(weights), architecture=str(network)).load()
    network.write_text("{}")
    with pytest.raises(ConfigError, match=r"describes no Keras model"):
        Keras(path=str(weights), architecture=str(network)).load()


def disturbed_by_value(model):
    model.set_weights([np.random.default_rng(0).random(w.shape) for w in model.get_weights()])
    return model


# Layers of one's own

GAIN = """
import {library} as keras

@keras.saving.register_keras_serializable("mine")
class {name}(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, x):
        return x * self.gain
"""


@pytest.mark.parametrize("registered", [True, False], ids=["registered", "plain"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_a_module_with_layers_of_ones_own(library, suffix, registered, tmp_path, monkeypatch):
    module = f"mylayers_{library}_{suffix}_{registered}".lower()
    text = GAIN.format(library=library, name=f"Gain{registered}")
    if not registered:
        text = text.replace('@keras.saving.register_keras_serializable("mine")', "")
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    gain = getattr(__import__(module), f"Gain{registered}")
    keras_ = sys.modules[library]
    inputs = keras_.layers.Input((12, 12, 3))
    x = gain(name="mine")(keras_.layers.Conv2D(4, 3)(inputs))
    model = keras_.Model(inputs, keras_.layers.Dense(3)(keras_.layers.GlobalMaxPooling2D()(x)))
    disturbed_by_value(model).save(f"model.{suffix}")
    # As in a process that has not seen the class.
    for name in (keras, tf_keras):
        objects = name.saving.get_custom_objects()
        monkeypatch.setattr(name.saving, "get_registered_object", lambda *_, **__: None)
        objects.pop(f"mine>Gain{registered}", None)
    del sys.modules[module]
    with pytest.raises(ConfigError, match=rf"needs .*Gain{registered}.*model.module=\w+ imports"):
        Keras(path=f"model.{suffix}").load()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    classifier = Keras(path=f"model.{suffix}", module=module).load()
    x = np.random.default_rng(1).random((3, 12, 12, 3), np.float32)
    np.testing.assert_allclose(classifier.logits(x), model(x, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"model.module=mine_none is no module that Python finds"),
        ("import nothing_like_it", r"needs the module nothing_like_it, which is missing"),
        ("1 / 0", r"fails when it is run: ZeroDivisionError"),
    ],
    ids=["none", "missing", "failing"],
)
def test_a_module_that_cannot_be_imported(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_of(OLD["depthwise"]).save("model.keras")
    name = "mine_none" if text is None else f"mine_{len(text)}"
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Keras(path="model.keras", module=name).load()


# Code


def lambda_deep(x):
    inner = tf_keras.Sequential([L.Input((12, 12, 3)), L.Lambda(lambda y: y * 2.0)])
    return L.TimeDistributed(L.Conv2D(3, 1))(inner(x)[:, None])[:, 0]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_of_keras_2_is_refused_unless_trusted(suffix, tmp_path):
    model = model_of(lambda_deep)
    path = str(tmp_path / f"model.{suffix}")
    model.save(path)
    with pytest.raises(ConfigError, match=r"holds Python code \(the Lambda layer lambda.*trust=t"):
        Keras(path=path).load()
    x = np.random.default_rng(1).random((3, 12, 12, 3), np.float32)
    logits = Keras(path=path, trust=True).load().logits(x)
    np.testing.assert_allclose(logits, model(x, training=False), rtol=1e-4, atol=1e-5)


MARSHALLED = {"class_name": "__lambda__", "config": {"value": ["4wEAAA==", None, None]}}
CODE = {
    "activation": ({"activation": MARSHALLED}, "Python code"),
    "module": (
        {"activation": {"module": "os", "class_name": "function", "config": "system"}},
        "needs system of the module os",
    ),
    "class": (
        {"kernel_initializer": {"module": "subprocess", "class_name": "Popen", "config": {}}},
        "needs Popen of the module subprocess",
    ),
    "builtins": (
        {"activation": {"module": "builtins", "class_name": "function", "config": "exec"}},
        "Python's exec",
    ),
    "download": (
        {"activation": {"module": "keras.utils", "class_name": "function", "config": "get_file"}},
        "the function keras.utils.get_file",
    ),
    "residual": ({"residual_fn": ["4wEAAA==", None, None], "residual_fn_type": "lambda"}, "Python"),
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("kind", CODE)
def test_code_anywhere_in_the_description_is_found(kind, suffix, tmp_path):
    change, message = CODE[kind]
    path = rewritten(tmp_path, suffix, "Conv2D", change)
    with pytest.raises(ConfigError, match=message):
        Keras(path=path).load()


@pytest.mark.parametrize(
    "function", ["io.write_file", "py_function", "keras.models.load_model", "print", "raw_ops.Save"]
)
def test_an_operator_layer_that_does_more_than_compute_is_refused(function, tmp_path):
    path = rewritten(tmp_path, "h5", "TFOpLambda", {"function": function})
    with pytest.raises(ConfigError, match=rf"the TensorFlow function {function}"):
        Keras(path=path).load()


def rewritten(folder, suffix, class_name, change):
    """The path of a model with a changed description of its layers of some class."""
    path = folder / f"model.{suffix}"
    model_of(operators).save(path)

    def changed(config):
        config = json.loads(config)
        for layer in config["config"]["layers"]:
            if layer["class_name"] == class_name:
                layer["config"] |= change
        return json.dumps(config)

    if suffix == "h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = changed(file.attrs["model_config"])
        return str(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["config.json"] = changed(content["config.json"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return str(path)


# What no Keras understands


def test_the_layer_that_fails_is_named(tmp_path):
    path = rewritten(tmp_path, "h5", "Conv2D", {"no_such_option": 3})
    with pytest.raises(ConfigError) as refused:
        Keras(path=path).load()
    assert str(refused.value).startswith(f"model.path={path} cannot be opened, its layer conv2d")
    assert "(Conv2D), written by Keras 2." in str(refused.value)
    assert "model=saved_model model.path=FOLDER" in str(refused.value)
    assert "no_such_option" not in str(refused.value)


def test_an_activation_that_nobody_knows_is_named(tmp_path):
    path = rewritten(tmp_path, "h5", "Conv2D", {"activation": "snake"})
    with pytest.raises(ConfigError, match=r"the function snake of its layer conv2d.*model.module="):
        Keras(path=path).load()


def test_a_file_of_a_keras_to_come(tmp_path):
    path = tmp_path / "model.keras"
    inputs = keras.Input((12, 12, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["metadata.json"] = json.dumps({"keras_version": "3.999.0"})
    content["config.json"] = content["config.json"].replace(b'"Flatten"', b'"Fold"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(ConfigError, match=r"written by Keras 3.999.0, newer .*pip install -U"):
        Keras(path=str(path)).load()


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_that_is_cut_off(suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    model_of(OLD["depthwise"]).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ConfigError, match=r"damaged .*(copy or save it anew)"):
        Keras(path=str(path)).load()
