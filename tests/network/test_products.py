"""Products of stacks of matrices, against NumPy's."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from sanity.network.flatten import flatten
from sanity.network.products import has_stacks, multiply, stack_rightly


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 1, 16, 8), (8, 8)),
        ((3, 1, 16, 8), (1, 1, 8, 24)),
        ((8, 1, 49, 8), (1, 8, 8)),
        ((2, 3, 5, 8), (8, 4)),
        ((2, 3, 5, 8), (2, 3, 8, 4)),
        ((2, 1, 5, 8), (1, 3, 8, 4)),
        ((5, 8), (1, 1, 8, 4)),
    ],
)
def test_products_are_numpys(left, right, turned, opened):
    """Of some, TensorFlow's own are noise on some processors, or end the process."""
    draw = np.random.default_rng(0)
    values = [draw.standard_normal(shape).astype(np.float32) for shape in (left, right)]
    given = [np.swapaxes(x, -1, -2) if turn else x for x, turn in zip(values, turned, strict=True)]
    sizes = [list(x.shape) for x in given]
    if opened:
        sizes[0][0] = None
    specs = [tf.TensorSpec(size) for size in sizes]
    function = tf.function(
        lambda a, b: multiply(a, b, transpose_a=turned[0], transpose_b=turned[1])
    )
    found = function.get_concrete_function(*specs)(*map(tf.constant, given))
    np.testing.assert_allclose(found, values[0] @ values[1], rtol=1e-4, atol=1e-4)


def network_of(product, opened=False):
    """A classifier with a product of windows (n, 1, 16, 12) and a matrix, and its windows."""
    draw = np.random.default_rng(1)
    top = tf.Variable(draw.standard_normal((20, 4)).astype(np.float32), name="top/kernel")

    def network(x):
        front = [tf.shape(x)[0], tf.shape(x)[1] // 8] if opened else [-1, 1]
        windows = tf.reshape(x, [*front, 16, 12])
        return tf.reduce_mean(product(windows) ** 2, [1, 2]) @ top

    return Classifier(network, (8, 8, 3)), top.numpy().astype(np.float64)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("shape", [(12, 20), (1, 12, 20), (1, 1, 12, 20), (1, 20, 12)])
def test_products_of_one_window_are_rewritten_with_their_gradient(shape, opened):
    """In a network of whatever source: TensorFlow's are noise on some processors, or end it."""
    turned = shape[-1] == 12
    kernel = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    variable = tf.Variable(kernel, name="one/kernel")
    classifier, top = network_of(lambda w: tf.matmul(w, variable, transpose_b=turned), opened)
    draw = np.random.default_rng(2)
    images, classes = draw.random((4, 8, 8, 3), np.float32), np.array([0, 1, 3, 2])
    matrix = np.swapaxes(kernel, -1, -2) if turned else kernel
    matrix = matrix.reshape(12, 20).astype(np.float64)
    seen = images.reshape(4, 16, 12).astype(np.float64) @ matrix
    np.testing.assert_allclose(classifier.logits(images), (seen**2).mean(1) @ top, rtol=1e-4)
    upper = 2 * seen * top.T[classes][:, None] / 16
    found = classifier.gradients(images, classes).reshape(4, 16, 12)
    np.testing.assert_allclose(found, upper @ matrix.T, rtol=1e-3, atol=1e-3)
    assert has_stacks(classifier.graph)
    assert [p.name for p in classifier.parameters.values()] == ["one/kernel", "top/kernel"]


@pytest.mark.parametrize(
    "product",
    [
        lambda w: tf.matmul(w, w, transpose_b=True),
        lambda w: tf.matmul(tf.reshape(w, [-1, 2, 8, 12]), tf.ones([12, 20])),
        lambda w: tf.matmul(w, tf.ones([1, 3, 12, 20])),
        lambda w: tf.matmul(w[:, 0], tf.ones([1, 12, 20])),
        lambda w: tf.matmul(w, tf.ones([16, 20]), transpose_a=True),
    ],
    ids=["attention", "windows", "heads", "one axis", "turned"],
)
def test_other_products_stay_as_they_are(product):
    def whole(windows):
        return tf.reduce_mean(product(windows), -1, keepdims=True) * tf.ones([20])

    images = tf.TensorSpec([None, 1, 16, 12])
    graph = flatten(tf.function(lambda x: {"y": whole(x)}).get_concrete_function(images))
    assert stack_rightly(graph, images) is graph


def looped(shape):
    """A classifier that multiplies stacks by one matrix in a loop."""
    matrix = tf.Variable(np.eye(12, dtype=np.float32), name="one/kernel")

    def network(x):
        seen = tf.reshape(x, shape)
        _, seen = tf.while_loop(
            lambda i, y: i < 3, lambda i, y: (i + 1, tf.tanh(tf.matmul(y, matrix))), [0, seen]
        )
        return tf.reduce_mean(tf.reshape(seen, [-1, 16, 12]), 1)

    return Classifier(network, (8, 8, 3))


def test_in_a_loop_they_are_refused():
    with pytest.raises(
        ConfigError, match=r"in a loop \(.*MatMul.* in .*hile.*\), which TensorFlow"
    ):
        looped([-1, 1, 16, 12])
    for shape in ([-1, 16, 12], [-1, 2, 8, 12]):
        assert looped(shape).n_classes == 12
