"""The contract of randomizations (`sanity.randomization.base`), for every option and one's own."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from sanity.checked import checked, make
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.randomization import Scheme, Stage, as_scheme
from sanity.randomness import generator
from tests.contracts import check_repr, options
from tests.networks import small_classifier

LAYERS = ["top", "middle", "stem"]


@checked
class Own(Scheme):
    """A minimal randomization of one's own: noise on the kernels of each block by itself."""

    def stages(self, classifier, layers, seed):
        def draw(name):
            value = classifier.trained[name]
            return value + generator("own", seed, name).standard_normal(value.shape, np.float32)

        kernels = {layer: (f"{layer}/kernel",) for layer in ("top", "stem")}
        blocks = [layer for layer in layers if layer in kernels]
        return [
            Stage(0, "", (), classifier.trained.__getitem__),
            *(Stage(i, b, kernels[b], draw, new=kernels[b]) for i, b in enumerate(blocks, 1)),
        ]


NAMES = sorted({*options("randomization"), "own"} - {"labels"})  # labels trains: see its tests


@cache
def scheme_of(name):
    """An option as its YAML has it, or one's own."""
    if name == "own":
        return as_scheme(Own(), "randomization")
    needs = ["model=mlp", "data=digits", "metric=[spearman]"] if name == "labels" else []
    return compose([f"randomization={name}", *needs]).randomization


@cache
def network():
    return small_classifier()


def weights(name, seed=0, layers=LAYERS, order=1):
    stages = scheme_of(name).stages(network(), layers, seed)
    return stages, [stage.make_weights() for stage in stages[::order]][::order]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for variable, value in found.items():
        np.testing.assert_array_equal(value, expected[variable])


@pytest.mark.parametrize("name", NAMES)
def test_the_first_stage_is_the_trained_one_and_the_rest_is_counted(name):
    classifier = network()
    stages, values = weights(name)
    assert [stage.index for stage in stages] == list(range(len(stages)))
    assert len(stages) > 1
    assert not stages[0].variables and not stages[0].layer
    for stage, drawn in zip(stages, values, strict=True):
        assert set(drawn) == set(stage.variables) <= set(classifier.parameters)
        assert set(stage.new) <= set(stage.variables)
        for variable, value in drawn.items():
            assert value.shape == classifier.trained[variable].shape
    changed = [s for s in stages[1:] if s.variables or s.classes]
    assert changed == stages[1:]


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_no_weights_itself(name):
    before = network().weights.read()
    weights(name)
    assert_same(network().weights.read(), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_is_the_same_in_any_order(name):
    _, values = weights(name)
    _, backwards = weights(name, order=-1)
    for found, expected in zip(backwards, values, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_draws_others(name, noise_images):
    stages, values = weights(name)
    others, drawn = weights(name, seed=1)
    if stages[-1].classes:
        many = np.zeros(len(noise_images), int)
        ask = [s[-1].explained(network(), noise_images, many) for s in (stages, others)]
        assert (ask[0] != many).all() and (ask[0] != ask[1]).any()
    else:
        assert any(not np.array_equal(values[-1][v], drawn[-1][v]) for v in stages[-1].new)


@pytest.mark.parametrize("name", ["cascading", "independent", "article", "quantus", "own"])
def test_a_stage_is_the_same_whichever_others_there_are(name):
    stages, values = weights(name)
    few, fewer = weights(name, layers=LAYERS[:1])
    assert [stage.layer for stage in few] == [stage.layer for stage in stages[: len(few)]]
    for found, expected in zip(fewer, values, strict=False):
        assert_same(found, expected)


@pytest.mark.parametrize("name", [*NAMES, "labels"])
def test_what_it_refuses_is_a_sentence(name):
    scheme = scheme_of(name)
    check_repr(scheme)
    assert scheme.cascade() is None or isinstance(scheme.cascade(), str)
    foreign = SimpleNamespace(retrainable=False)
    if name == "labels":
        with pytest.raises(ConfigError, match="trained here, .*not foreign"):
            scheme.check_model(foreign, "foreign", 7)
    else:
        scheme.check_model(foreign, "foreign", 7)
    scheme.check_target(3)


def test_what_is_no_randomization():
    with pytest.raises(ConfigError, match="randomization=object is no randomization: derive it"):
        as_scheme(object(), "randomization")


def test_a_class_that_lacks_something():
    class Half(Scheme):
        pass

    with pytest.raises(ConfigError, match="randomization: the class .*Half lacks stages, which "):
        make(Half, {}, "randomization")
