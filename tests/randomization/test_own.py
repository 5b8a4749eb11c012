"""Schemes of one's own with something about them that is easily done wrong."""

import numpy as np
import pytest

from sanity.errors import ConfigError
from sanity.randomization import Scheme, Stage
from sanity.randomization.own import stages_of
from sanity.randomness import generator
from tests.networks import small_classifier

TOP, STEM = "top/kernel", "stem/kernel"


@pytest.fixture(scope="module")
def network():
    return small_classifier()


def keyed(trained, name):
    return generator("own", name).standard_normal(trained[name].shape)


def scheme_of(make):
    class Own(Scheme):
        def stages(self, classifier, layers, seed):
            return make(classifier)

    return Own()


def stages(network, draw=keyed, change=list):
    """Those of a scheme that randomizes two kernels."""

    def make(classifier):
        def value(name):
            return draw(classifier.trained, name)

        one = Stage(1, "top", (TOP,), value, new=(TOP,))
        two = Stage(2, "stem", (TOP, STEM), value, new=(STEM,))
        return change([Stage(0, "", (), value), one, two])

    return stages_of(scheme_of(make), network, [], 0)


def test_draws_of_other_types_are_taken(network):
    """In the type of their variable; what stays is the same array, so that it is seen to stay."""
    one, two = (stage.make_weights() for stage in stages(network)[1:])
    assert one[TOP] is two[TOP]
    assert one[TOP].dtype == np.float32
    np.testing.assert_allclose(one[TOP], keyed(network.trained, TOP), rtol=1e-6)
    again = stages(network, lambda trained, name: keyed(trained, name).tolist())[1]
    np.testing.assert_array_equal(again.draw(TOP), one[TOP])


def test_a_stage_may_leave_some_of_its_variables_as_trained(network):
    """As one that damages some of them; of which none is changed is no stage."""

    def draw(trained, name):
        return keyed(trained, name) if name == TOP else trained[name]

    assert len(stages(network, draw)) == 3


def test_one_array_for_several_draws(network):
    kept = {}

    def draw(trained, name):
        kept.setdefault(name, np.zeros(trained[name].shape))[...] = keyed(trained, name)
        return kept[name]

    (_, one, _) = stages(network, draw)
    value = one.draw(TOP)
    kept[TOP][...] = 0
    np.testing.assert_allclose(value, keyed(network.trained, TOP), rtol=1e-6)


def test_weights_that_a_scheme_puts_in_place_do_not_stay(network):
    def make(classifier):
        classifier.weights.put({TOP: np.zeros_like(classifier.trained[TOP])})
        return [Stage(0, "", (), None), Stage(1, "top", (TOP,), lambda name: np.ones((16, 7)))]

    stages_of(scheme_of(make), network, [], 0)
    np.testing.assert_array_equal(network.weights.read()[TOP], network.trained[TOP])


def in_place(trained, name):
    trained[name][...] = 0
    return trained[name]


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (in_place, "randomization writes to an array that it is given"),
        (lambda trained, name: None, r"draw of top/kernel gives NoneType, .* of \(16, 7\)"),
        (lambda trained, name: trained[name][:1], r"draw of top/kernel gives \(1, 7\), but it"),
        (lambda trained, name: trained[name] * np.nan, "values that are not finite in float32"),
        (
            lambda trained, name: np.where(trained[name] == trained[name].max(), np.inf, 0),
            "values that are not finite in float32",
        ),
        (
            lambda trained, name: np.full(trained[name].shape, 1e300),
            "values that are not finite in float32",
        ),
        (lambda trained, name: trained[name], "stage top changes nothing: it draws the trained"),
        (
            lambda trained, name: RANDOM.standard_normal(trained[name].shape),
            "stage top gives other values of top/kernel when it is asked again",
        ),
        (
            lambda trained, name: (
                keyed(trained, name) if name == TOP else RANDOM.random(trained[name].shape)
            ),
            "stage stem gives other values of stem/kernel when it is asked again",
        ),
    ],
)
def test_draws_that_are_refused(network, draw, said):
    before = network.trained[TOP].copy()
    with pytest.raises(ConfigError, match=said):
        stages(network, draw)
    np.testing.assert_array_equal(network.trained[TOP], before)


def changed(number, **fields):
    """Stages of which one is another."""
    return lambda own: [
        Stage(**{**vars(stage), **fields}) if stage.index == number else stage for stage in own
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda own: None, "must give a list of Stage, not NoneType"),
        (iter, "must give a list of Stage, not list_iterator"),
        (lambda own: own[1:], r"numbered 0, 1, 2, …, .* not \[1, 2\]"),
        (lambda own: own[:1], r"not \[0\]"),
        (changed(2, index=5), r"not \[0, 1, 5\]"),
        (changed(0, variables=(TOP,)), "stage 0 is the network as trained"),
        (changed(1, layer=""), "stage 1 must have a name of its own, not ''"),
        (changed(1, layer="stem"), "two stages are called stem"),
        (changed(1, variables=("nope",)), "stage top .* and 'nope' is none"),
        (changed(1, variables=TOP), "variables of the stage top must be a tuple of names"),
        (changed(1, variables=()), "the stage top changes nothing"),
    ],
)
def test_stages_that_are_refused(network, change, said):
    with pytest.raises(ConfigError, match=f"^randomization: .*{said}"):
        stages(network, change=change)
