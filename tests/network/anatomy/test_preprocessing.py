"""What a model's own scaling makes of images."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.source import check_range
from sanity.network.anatomy.preprocessing import propose_range
from sanity.network.classifier import Classifier

MEAN = np.array([103.9, 116.8, 123.7], np.float32)

# What a model does first, what its first layer then sees of [0, 1], and the range it wants.
FIRST = {
    "nothing": (lambda x: x, None, None),
    "rescaling": (lambda x: x / 255, (0, 1 / 255), (0, 255)),
    "to -1": (lambda x: x * (1 / 127.5) - 1, (-1, -1 + 1 / 127.5), (0, 255)),
    "caffe": (lambda x: x[..., ::-1] - MEAN, (-123.7, -102.9), (0, 255)),
    "normalization": (lambda x: (tf.cast(x, tf.float32) - 120) / 60, (-2, -119 / 60), (0, 255)),
    "its own mean": (lambda x: (x - 0.45) / 0.225, (-2, 2.444), None),
    "for [0, 1]": (lambda x: x * 255 - MEAN, (-123.7, 151.1), None),
    "resized": (lambda x: tf.image.resize(x, (6, 6)) / 255, (0, 1 / 255), (0, 255)),
    "from -1": (lambda x: (x + 1) / 2, (0.5, 1), None),
}


def network(first):
    draw = np.random.default_rng(0)
    kernel = tf.Variable(draw.normal(size=(3, 3, 3, 4)).astype(np.float32))
    dense = tf.Variable(draw.normal(size=(4, 5)).astype(np.float32))

    def function(x):
        return tf.reduce_mean(tf.tanh(tf.nn.conv2d(first(x), kernel, 1, "SAME")), [1, 2]) @ dense

    return Classifier(function, (9, 9, 3), name="net")


@pytest.mark.parametrize("name", FIRST)
def test_what_the_first_layer_sees(name):
    first, wanted, proposed = FIRST[name]
    classifier = network(first)
    seen = classifier.network.seen
    if wanted is None:
        assert seen is None
        return
    np.testing.assert_allclose((seen.low, seen.high), wanted, rtol=1e-3, atol=1e-6)
    if proposed is None:
        assert seen.complaint is None
        check_range(classifier)
        return
    assert propose_range(seen, (0.0, 1.0)) == proposed
    with pytest.raises(ConfigError, match=r"model\.range=\[0,255\] is what it seems to want"):
        check_range(classifier)


def test_a_learned_scale_is_a_layer():
    scale = tf.Variable([0.003, 0.002, 0.004])
    assert network(lambda x: x * scale).network.seen is None
    fixed = tf.Variable([0.003, 0.002, 0.004], trainable=False)
    assert network(lambda x: x * fixed).network.seen.complaint
