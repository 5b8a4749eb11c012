"""Convolutions in groups, where TensorFlow has no gradient of them: on a CPU without oneDNN."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.network import grouped
from sanity.network.classifier import Classifier
from tests.network.test_custom_gradients import near


@pytest.fixture
def without_gradient(monkeypatch):
    monkeypatch.setattr(grouped, "has_gradient", lambda *about, **more: False)


def kernel_of(groups, channels=6, filters=12):
    """A kernel in groups, and the dense one that has zeros where channels of others meet."""
    draw = np.random.default_rng(0)
    own = draw.normal(0, 0.3, (3, 3, channels // groups, filters)).astype(np.float32)
    met = np.kron(np.eye(groups), np.ones((channels // groups, filters // groups)))
    return own, (np.tile(own, (1, 1, groups, 1)) * met).astype(np.float32)


def classifier_of(kernel, kind, channels=6):
    draw = np.random.default_rng(1)
    stem = tf.constant(draw.normal(0, 0.3, (3, 3, 3, channels)).astype(np.float32))
    variable = tf.Variable(kernel, name="middle/kernel")
    top = tf.Variable(
        draw.normal(0, 0.3, (kernel.shape[3], 4)).astype(np.float32), name="top/kernel"
    )

    def network(x):
        x = tf.tanh(tf.nn.conv2d(x, stem, 1, "SAME"))
        x = tf.nn.conv2d(x, variable, **kind)
        return tf.reduce_mean(tf.nn.relu(x + 0.1), [1, 2]) @ top

    return Classifier(network, (9, 8, 3))


@pytest.mark.parametrize(
    ("groups", "kind"),
    [
        (1, {"strides": 1, "padding": "SAME"}),
        (2, {"strides": 2, "padding": "VALID"}),
        (6, {"strides": 1, "padding": "SAME", "dilations": 2}),
        (1, {"strides": 1, "padding": "VALID", "dilations": [2, 3]}),
        (3, {"strides": 1, "padding": [[0, 0], [2, 1], [0, 1], [0, 0]]}),
    ],
    ids=["one group", "strides", "dilated", "dilated alone", "padded"],
)
def test_it_is_the_gradient_of_a_kernel_with_zeros(groups, kind, without_gradient):
    own, dense = kernel_of(groups)
    found, expected = classifier_of(own, kind), classifier_of(dense, kind)
    x, targets = np.random.default_rng(2).random((3, 9, 8, 3), np.float32), np.array([0, 3, 1])
    assert near(found.logits(x), expected.logits(x))
    for rule in ("plain", "guided_backprop"):
        assert near(found.gradients(x, targets, rule), expected.gradients(x, targets, rule))
    with found.weights.holding({"middle/kernel": 2 * own}):
        with expected.weights.holding({"middle/kernel": 2 * dense}):
            assert near(found.gradients(x, targets), expected.gradients(x, targets))
    (values, gradients), (others, theirs) = (
        one.gradients_at(x, targets, ["Tanh:0"]) for one in (found, expected)
    )
    assert near(values[0], others[0]) and near(gradients[0], theirs[0])


def check_holes(groups, padding):
    """A kernel with holes has the gradient of a larger one that has zeros there."""
    own, dense = kernel_of(groups)
    larger = np.zeros((5, 7, *dense.shape[2:]), np.float32)
    larger[::2, ::3] = dense
    found = classifier_of(own, {"strides": 1, "padding": padding, "dilations": [2, 3]})
    expected = classifier_of(larger, {"strides": 1, "padding": padding})
    x, targets = np.random.default_rng(2).random((3, 9, 8, 3), np.float32), np.array([0, 3, 1])
    for rule in ("plain", "guided_backprop"):
        assert near(found.gradients(x, targets, rule), expected.gradients(x, targets, rule))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_holes_are_zeros_in_a_larger_kernel(padding, without_gradient):
    check_holes(1, padding)


def test_one_with_padding_given_as_numbers_has_a_gradient_here():
    kind = {"strides": 1, "padding": [[0, 0], [1, 1], [1, 1], [0, 0]]}
    found, expected = (classifier_of(kernel, kind) for kernel in kernel_of(2))
    x, targets = np.random.default_rng(2).random((3, 9, 8, 3), np.float32), np.array([0, 3, 1])
    assert near(found.gradients(x, targets), expected.gradients(x, targets))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [[0, 0], [2, 1], [3, 2], [0, 0]]], ids=str)
def test_holes_have_a_gradient_here(padding, groups):
    """Whatever kernels this processor has: of holes with padding as numbers oneDNN has none."""
    check_holes(groups, padding)


def test_it_is_that_of_the_kernel_as_well(without_gradient):
    """Where a network computes a kernel from the image."""
    own, dense = kernel_of(2)
    x = tf.constant(np.random.default_rng(2).random((2, 5, 5, 6), np.float32))

    def gradient(kernel):
        def traced(kernel):
            y = tf.nn.conv2d(x, kernel, 1, "SAME")
            y.op._set_attr(grouped.KIND, tf.compat.v1.AttrValue(s=grouped.GROUPED.encode()))
            return tf.gradients(tf.reduce_sum(y**2), kernel)[0]

        spec = tf.TensorSpec(kernel.shape, tf.float32)
        return tf.compat.v1.wrap_function(traced, [spec])(tf.constant(kernel)).numpy()

    found, expected = gradient(own), gradient(dense)
    parts = [expected[:, :, 3 * i : 3 * i + 3, 6 * i : 6 * i + 6] for i in range(2)]
    assert near(found, np.concatenate(parts, 3))


def test_whether_there_is_one_is_found_by_trying(monkeypatch):
    grouped.has_gradient.cache_clear()
    assert grouped.has_gradient(False) in (True, False)

    def none(**_):
        raise tf.errors.InvalidArgumentError(None, None, "not supported on CPU")

    grouped.has_gradient.cache_clear()
    monkeypatch.setattr(tf.raw_ops, "Conv2DBackpropInput", none)
    assert not grouped.has_gradient(False) and not grouped.has_gradient(True)
    grouped.has_gradient.cache_clear()
