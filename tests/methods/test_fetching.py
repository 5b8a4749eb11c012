"""Sums that a graphics card takes, on a processor: against those that the host takes."""

from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from sanity import methods
from sanity.checked import checked
from sanity.methods import GradientMethod, Plan, Subject
from sanity.methods.points import Original, noisy
from sanity.network.classifier import Classifier
from sanity.network.sums import _traced, weighted_sums

SHAPE, TARGETS = (6, 6, 3), np.array([0, 2, 1, 1])


@checked
class Cubes(GradientMethod):
    """The mean cube over noisy copies, one's own."""

    powers: ClassVar[tuple[int, ...]] = (3,)

    def points(self):
        return {noisy(0.1, sample): 0.2 for sample in range(5)}


@checked
class Own(methods.Gradient):
    """What only `finish` says: a sum over channels."""

    def finish(self, total, subject):
        return total.sum(axis=2, keepdims=True) * np.ones(3)


@checked
class OwnTerm(methods.SmoothGradSquared):
    """What only `term` says."""

    def term(self, gradient, point, subject):
        return np.abs(gradient)


@checked
class HalfTheSquare(methods.SmoothGradSquared):
    """What is made of the term of the class that it derives from."""

    def term(self, gradient, point, subject):
        return super().term(gradient, point, subject) / 2


@checked
class HalfOfBoth(methods.VarGrad):
    """The same of several powers."""

    def term(self, gradient, point, subject):
        return super().term(gradient, point, subject) / 2


FEW = {"samples": 7, "noise": 0.2}
PLANS = {
    "gradient": methods.Gradient(),
    "gradient_x_input": methods.GradientXInput(),
    "smoothgrad": methods.SmoothGrad(**FEW),
    "smoothgrad_squared": methods.SmoothGradSquared(**FEW),
    "vargrad": methods.VarGrad(**FEW),
    "half_the_square": HalfTheSquare(**FEW),
    "half_of_both": HalfOfBoth(**FEW),
    "integrated_gradients": methods.IntegratedGradients(steps=6, baseline="mean"),
    "smoothed": methods.IntegratedGradientsSmoothGrad(steps=3, samples=3),
    "expected_gradients": methods.ExpectedGradients(samples=6),
    "denoised": methods.Denoised(method=methods.GradientXInput(), samples=4),
    "of_paths": methods.Denoised(method=methods.ExpectedGradients(samples=2), samples=4),
    "of_own": methods.Denoised(method=Own(), samples=3),
    "guided_backprop": methods.GuidedBackprop(),
    "deeplift_rescale": methods.DeepLiftRescale(),
    "epsilon_lrp": methods.EpsilonLRP(),
    "own": Cubes(),
    "own_term": OwnTerm(**FEW),
}


@pytest.fixture(scope="module")
def network():
    kernel, dense = (
        tf.constant(np.random.default_rng(i).standard_normal(shape), tf.float32)
        for i, shape in enumerate([(3, 3, 3, 4), (4, 3)])
    )
    return Classifier(
        lambda x: (
            tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")) ** 2, [1, 2]) @ dense
        ),
        SHAPE,
    )


@pytest.fixture(scope="module")
def subjects():
    x = np.random.default_rng(5).random((4, *SHAPE), np.float32)
    return [Subject(image, f"image_{number}", 0) for number, image in enumerate(x)]


def explained(network, subjects, chosen, size, on_card):
    """Masks in double precision, of two states: as trained, and of another class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "on_card", on_card)
        patch.setattr("sanity.methods.sums.in_float32", lambda mask: (mask, 0))
        gradients = Plan(chosen).prepare(subjects, TARGETS, size)
        states = [lambda: TARGETS, lambda: 2 - TARGETS]
        return [masks for _, masks in gradients.compute(network, states)]


@pytest.mark.parametrize("size", [11, 64])
def test_sums_are_those_of_the_host(network, subjects, size):
    """Of all methods together, where batches end anywhere in an image's points, or hold many."""
    host, card = (explained(network, subjects, PLANS, size, on_card) for on_card in (False, True))
    for ours, theirs in zip(card, host, strict=True):
        for name in PLANS:
            atol = 1e-12 * np.abs(theirs[name]).max()
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=atol, err_msg=name)
            assert ours[name].any() and ours[name].shape[0] == len(subjects)


@pytest.mark.parametrize(
    ("name", "fetched"),
    [
        ("gradient", 4),  # as many as there are images
        ("smoothgrad", 2 * 4),  # a sum in double precision for each
        ("vargrad", 2 * 2 * 4),
        ("smoothed", 2 * 4),
        ("own_term", 7 * 4),  # all
        ("denoised", 2 * 4),
        ("of_own", 3 * 4),
    ],
)
def test_little_is_fetched(network, subjects, name, fetched, monkeypatch):
    """Counted in gradients, for each of two states."""
    sizes, numpy = Counter(), type(tf.constant(0.0)).numpy

    def counted(tensor):
        if tensor.shape.rank == 4:
            sizes[tensor.dtype] += tensor.dtype.size * int(np.prod(tensor.shape))
        return numpy(tensor)

    monkeypatch.setattr(type(tf.constant(0.0)), "numpy", counted)
    explained(network, subjects, {name: PLANS[name]}, 64, True)
    assert sum(sizes.values()) / (4 * np.prod(SHAPE)) == 2 * fetched


def test_infinite_gradients_stay_where_they_are(network, subjects, monkeypatch):
    """One image's, at one point: neither other images nor other methods see them."""
    chosen = {name: PLANS[name] for name in ("gradient", "smoothgrad", "integrated_gradients")}
    at = Original.at
    bad = subjects[1].name

    def spoilt(point, subject):
        return at(point, subject) * np.float32(np.inf if subject.name == bad else 1)

    monkeypatch.setattr(Original, "at", spoilt)
    host, card = (explained(network, subjects, chosen, 64, on_card)[0] for on_card in (False, True))
    for name in chosen:
        sound = [np.isfinite(mask).all() for mask in card[name]]
        assert sound == [np.isfinite(mask).all() for mask in host[name]]
        assert sound == [True, name == "smoothgrad", True, True]


def test_sums_of_other_sizes_are_not_traced_again():
    """TensorFlow warns of it, in the user's terminal, and takes a second each time."""
    for size, n in [(3, 5), (4, 7), (5, 6), (3, 9), (2, 8), (6, 4)]:
        rows = tf.constant(np.ones((n, size, size, 2), np.float32))
        weighted_sums(rows, [(range(n), [1.0] * n)])
    traced = _traced(4, tf.float32, tf.float64, 1, False)
    assert traced.experimental_get_tracing_count() == 1


def test_weighted_sums_by_hand():
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    factors = np.array([[1.0], [2.0], [3.0], [4.0]])
    wanted = [([0, 2], [0.5, -1.0]), ([3], [2.0])]
    found = weighted_sums(tf.constant(rows), wanted, power=2, factors=tf.constant(factors))
    assert found.dtype == tf.float64
    by_hand = [0.5 * rows[0] ** 2 - 3 * rows[2] ** 2, 2 * 4 * rows[3] ** 2]
    np.testing.assert_allclose(found, by_hand, rtol=1e-15)


@pytest.mark.parametrize("kind", [HalfTheSquare, HalfOfBoth])
def test_a_term_of_ones_own_may_ask_the_class_it_derives_from(kind):
    gradient = np.array([[[3.0, -2.0, 0.5]]])
    term = kind(**FEW).term(gradient, Original(), None)
    powers = {HalfTheSquare: gradient**2, HalfOfBoth: np.stack([gradient, gradient**2])}
    np.testing.assert_array_equal(term, powers[kind] / 2)
    assert kind(**FEW).card_powers is None
