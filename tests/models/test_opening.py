"""Networks of a fixed number of images give what the same networks of any number give."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.methods import AttentionRollout
from sanity.models import SavedModel
from sanity.network.classifier import Classifier
from tests.models.test_fitting import saved

X = np.random.default_rng(1).random((4, 12, 8, 3), np.float32)
TARGETS = np.array([0, 3, 4, 1])
DRAW = np.random.default_rng(0)
SHAPES = {
    "patches": (4, 4, 3, 8),
    "token": (1, 1, 8),
    "query": (8, 8),
    "key": (8, 8),
    "value": (8, 8),
    "grow": (3, 3, 4, 8),
    "top": (8, 5),
}
WEIGHTS = {name: DRAW.normal(0, 0.4, shape).astype(np.float32) for name, shape in SHAPES.items()}


def transformer(images, batch):
    """A class token, attention in two heads on rows of all images, its size said in numbers."""
    w, n = {k: tf.constant(v, name=k) for k, v in WEIGHTS.items()}, batch or -1
    x = tf.reshape(tf.nn.conv2d(images, w["patches"], 4, "VALID"), [n, 6, 8])
    if batch:
        token = tf.constant(np.repeat(WEIGHTS["token"], batch, 0), name="tokens")
    else:
        token = tf.tile(w["token"], [tf.shape(x)[0], 1, 1])
    x = tf.concat([token, x], 1)
    rows = tf.reshape(x, [n * 7, 8] if batch else [-1, 8])

    def heads(name):
        return tf.transpose(tf.reshape(rows @ w[name], [n, 7, 2, 4]), [0, 2, 1, 3])

    weights = tf.nn.softmax(tf.matmul(heads("query"), heads("key"), transpose_b=True) / 2)
    mixed = tf.transpose(tf.matmul(weights, heads("value")), [0, 2, 1, 3])
    x += tf.reshape(mixed, [n, 7, 8])
    first = tf.slice(x, [0, 0, 0], [n, 1, 8])
    return tf.reshape(first, [n, 8]) @ w["top"]


def decoder(images, batch):
    """A transposed convolution, whose size is said in numbers, and a slice."""
    w = {k: tf.constant(v, name=k) for k, v in WEIGHTS.items()}
    count = batch or tf.shape(images)[0]
    x = tf.tanh(tf.nn.conv2d(images, w["patches"], 4, "SAME"))
    x = tf.tanh(tf.nn.conv2d_transpose(x, w["grow"], [count, 6, 4, 4], 2))
    x = x[:batch, 1:5]
    return tf.reduce_mean(tf.nn.conv2d(x, w["grow"][..., :4, :], 1, "SAME"), [1, 2]) @ w["top"]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("network", [transformer, decoder])
def test_a_fixed_number_is_opened(network, batch, tmp_path):
    path = saved(
        tmp_path / "net",
        lambda net, images: network(images, batch),  # noqa: ARG005
        tf.TensorSpec([batch, 12, 8, 3]),
    )
    opened = SavedModel(path=path).load()
    free = Classifier(lambda x: network(x, None), X.shape[1:])
    np.testing.assert_allclose(opened.logits(X), free.logits(X), rtol=1e-4, atol=1e-5)
    found, expected = (one.gradients(X, TARGETS) for one in (opened, free))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    kinds = [sorted((p.kind, p.shape[1:]) for p in c.parameters.values()) for c in (opened, free)]
    assert kinds[0] == kinds[1]
    if network is transformer:
        masks = [AttentionRollout().masks(one, Some(X), TARGETS, 0) for one in (opened, free)]
        np.testing.assert_allclose(masks[0], masks[1], rtol=1e-4, atol=1e-5)


class Some:
    """Images as methods see them."""

    def __init__(self, x):
        self.x = x
