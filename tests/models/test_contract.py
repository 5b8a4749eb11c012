"""The contract of models (`sanity.models.base`), for every option and for one's own."""

from dataclasses import fields

import numpy as np
import pytest

from sanity.checked import checked, make
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.models import Model
from sanity.models.base import Declared, as_model
from sanity.models.kept import load_kept
from tests.contracts import check_repr, options
from tests.networks import small_classifier
from tests.pieces import Small


@checked
class Own(Model):
    """A minimal model of one's own, which says what is known of it."""

    seed: int = 3

    def load(self):
        return small_classifier(seed=self.seed)

    def declared(self):
        return Declared(["top", "middle", "stem"], 7, (16, 16, 3))


OWN = {"own": Own(), "structural": Small(blocks=["top", "middle", "stem"])}
# What an option wants beside itself; where it names files, these are not read until it is loaded.
NEEDS = {
    "cnn": ["data=animal_mnist"],
    "mlp": ["data=digits"],
    "frozen": ["model.path=."],
    "keras": ["model.path=."],
    "onnx": ["model.path=."],
    "saved_model": ["model.path=."],
    "tflite": ["model.path=."],
    "torch": ["model.module=nets:make", "model.input_shape=[8,8,3]"],
    "vit": ["data=animal_mnist"],
}
# Options that can be had without a network, without files and in a moment, and stand-ins.
LOADED = ["cnn", "mlp", "vit", *OWN]
STANDINS = ["switched", "tf2_hub"]


def model_of(name, tmp_path):
    """An option as its YAML has it, a stand-in of a source, or a model of one's own."""
    if name in OWN:
        return as_model(OWN[name], "model")
    if name in STANDINS:
        from tests.models.standins import make as stand_in

        return stand_in(name, tmp_path).source
    return compose([f"model={name}", *NEEDS.get(name, []), "metric=[mse]"]).model


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [*LOADED, *STANDINS])
def test_it_loads_the_network_that_it_declares_twice_the_same(name, tmp_path):
    model = model_of(name, tmp_path)
    first, second = model.load_untrained(), model.load_untrained()
    declared = model.declared()
    if declared.blocks is not None:
        assert list(first.blocks) == list(declared.blocks)
    if declared.n_classes is not None:
        assert first.n_classes == declared.n_classes
    if declared.input_shape is not None:
        assert tuple(first.input_shape) == tuple(declared.input_shape)
    assert first.weights.sha256 == second.weights.sha256
    x = np.random.default_rng(0).random((3, *first.input_shape), np.float32)
    logits = first.logits(x)
    assert logits.shape == (3, first.n_classes)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(second.logits(x), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LOADED)
def test_it_says_whether_it_is_trained_here(name, tmp_path):
    model = model_of(name, tmp_path)
    assert model.retrainable == (model.load_untrained().training is not None)


@pytest.mark.parametrize("name", [*options("model"), *OWN])
def test_what_is_known_without_loading_it(name, tmp_path):
    model = model_of(name, tmp_path)
    check_repr(model)
    declared = model.declared()
    assert [f.name for f in fields(declared)] == ["blocks", "n_classes", "input_shape"]
    assert declared.n_classes is None or declared.n_classes > 0
    assert declared.input_shape is None or len(declared.input_shape) == 3
    assert declared.blocks is None or len(set(declared.blocks)) == len(declared.blocks)


def test_what_is_no_model():
    with pytest.raises(ConfigError, match="model=object is no model: derive it from"):
        as_model(object(), "model")


def test_what_loads_no_classifier():
    wrong = as_model(type("Wrong", (), {"load": lambda self: None})(), "model")
    with pytest.raises(ConfigError, match="^model=Wrong must load a Classifier, not NoneType: "):
        load_kept(wrong, {})


def test_a_class_that_lacks_something():
    class Half(Model):
        pass

    with pytest.raises(ConfigError, match="model: the class .*Half lacks load, which "):
        make(Half, {}, "model")
