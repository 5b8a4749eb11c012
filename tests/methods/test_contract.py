"""The contract of methods (`sanity.methods.base`), for every option and for one's own."""

from collections import Counter
from copy import copy
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from sanity.checked import checked, make
from sanity.config.job import compose
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.methods import Cost, GradientMethod, Method
from sanity.methods.base import as_method
from sanity.methods.points import noisy
from sanity.randomness import generator
from tests.contracts import check_repr, options
from tests.networks import small_classifier, small_transformer

FEW = {"samples": 20, "steps": 4, "segmentation": "grid", "segments": 9}


@checked
class Own(Method):
    """A minimal method of one's own, which draws."""

    def masks(self, classifier, images, targets, seed, stage=0):
        gradients = classifier.gradients(images.x, targets)
        draws = [generator("own", seed, name).standard_normal() for name in images.names]
        return gradients * np.array(draws, np.float32)[:, None, None, None]

    def cost(self, classifier, images):
        return replace(super().cost(classifier, images), gradients=1)


@checked
class OwnOfGradients(GradientMethod):
    """A minimal gradient method of one's own."""

    samples: int = 3

    def points(self):
        return {noisy(0.1, sample): 1 / self.samples for sample in range(self.samples)}


class Structural:
    """A class that is derived from nothing and only has `masks`."""

    draws = False

    def __repr__(self):
        return "Structural()"

    def masks(self, classifier, images, targets, seed):
        return classifier.gradients(images.x, targets)


OWN = {"own": Own(), "of_gradients": OwnOfGradients(), "structural": Structural()}
NAMES = [*options("method"), *OWN]
OF_TRANSFORMERS = ("attention_rollout", "attention_relevance", "grad_cam_tokens", "attn_lrp")


@cache
def every_method():
    """All options, by name, as their YAMLs have them."""
    return compose([f"method=[{','.join(options('method'))}]"]).methods


@cache
def method_of(name):
    """An option as its YAML has it, with few samples and steps, or a method of one's own."""
    if name in OWN:
        return as_method(OWN[name], f"method.{name}")
    made = every_method()[name]
    few = {f.name: FEW[f.name] for f in fields(made) if f.name in FEW}
    if name == "kernel_shap":
        few["samples"] = 4 * few["segments"]  # fewer are refused
    return replace(made, **few)


def network_for(name, seed=0):
    """A network that the method is for; leave its weights as you found them."""
    return network(small_transformer if name in OF_TRANSFORMERS else small_classifier, seed)


@cache
def network(kind, seed):
    """One for all methods that are for its kind."""
    return kind(seed=seed)


def images(seed=0, prefix="image"):
    x = np.random.default_rng(seed).random((3, 16, 16, 3), np.float32)
    return Images(x, [f"{prefix}_{i}" for i in range(3)], [None] * 3, [None] * 3, [""] * 3)


TARGETS = np.array([1, 5, 2])


@cache
def asked(name):
    """The masks of three images, and how often the network was asked for what."""
    method_of(name).check(network_for(name))
    classifier, calls = copy(network_for(name)), Counter()

    def counted(function, kind):
        def call(x, *args, **kwargs):
            calls[kind] += len(x)
            return function(x, *args, **kwargs)

        return call

    for function, kind in (
        ("read", "forward"),
        ("gradients", "gradients"),
        ("gradients_at", "gradients"),
    ):
        setattr(classifier, function, counted(getattr(classifier, function), kind))
    return method_of(name).masks(classifier, images(), TARGETS, 0), calls


def close(found, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_for_each_image_of_its_size(name):
    masks, _ = asked(name)
    assert masks.shape in ((3, 16, 16), (3, 16, 16, 3))
    assert masks.dtype == np.float32
    assert np.isfinite(masks).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_depends_on_its_own_image_alone(name):
    """Neither on the order, nor on what else is explained, nor on an earlier call."""
    masks, _ = asked(name)
    some = method_of(name).masks(network_for(name), images().take([2, 0]), TARGETS[[2, 0]], 0)
    close(some, masks[[2, 0]])


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_draws(name):
    method, (masks, _) = method_of(name), asked(name)
    other = method.masks(network_for(name), images(prefix="other"), TARGETS, 1)
    if method.depends_on_seed():
        assert not np.allclose(other, masks, rtol=1e-3)
    else:
        close(other, masks)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_looks_at_the_network(name):
    method, (masks, _) = method_of(name), asked(name)
    other = method.masks(network_for(name, 1), images(), TARGETS, 0)
    blind = bool(np.array_equal(other, masks))
    # Those whose verdict is known are blind, and no controls, so that they get one.
    assert blind if name.startswith("known_") else method.control == blind


def test_costs_add_up_and_multiply():
    assert Cost(3, 2) + Cost(1, 5) == Cost(4, 7) and Cost(3, 2) * 4 == Cost(12, 8)


@pytest.mark.parametrize("name", NAMES)
def test_its_cost_is_what_it_asks_for(name):
    method, (_, calls) = method_of(name), asked(name)
    cost = method.cost(network_for(name), images())
    if name == "structural":
        assert (cost.gradients, cost.forward) == (0, 0)  # it does not say
        return
    for kind, said in (("gradients", cost.gradients), ("forward", cost.forward)):
        assert calls[kind] / 3 == pytest.approx(said, rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_its_repr(name):
    check_repr(method_of(name))
    assert repr(method_of(name)).startswith(type(OWN.get(name, method_of(name))).__name__)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if isinstance(method_of(name), GradientMethod)]
)
def test_points_are_the_same_whenever_asked_for(name):
    method = method_of(name)
    assert method.points() == method.points()
    assert all(isinstance(weight, float) for weight in method.points().values())


def test_what_is_no_method():
    with pytest.raises(ConfigError, match=r"method\.mine=object is no method: derive it from"):
        as_method(object(), "method.mine")


@pytest.mark.parametrize(
    ("base", "lacks"), [(Method, "masks"), (GradientMethod, "points")], ids=["Method", "Gradient"]
)
def test_a_class_that_lacks_something(base, lacks):
    class Half(base):
        pass

    with pytest.raises(ConfigError) as refused:
        make(Half, {}, "method.half")
    assert str(refused.value) == (
        f"method.half: the class {__name__}.{Half.__qualname__} lacks {lacks}, which "
        f"sanity.methods.base.{base.__name__} leaves to it: see there what is wanted"
    )
