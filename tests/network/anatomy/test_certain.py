"""Networks of which one image's logits depend on the others, or on chance, are refused."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

HEAD = tf.Variable(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32), name="head")


def normalized(images):
    ones, zeros = tf.ones(3), tf.zeros(3)
    x, *_ = tf.compat.v1.nn.fused_batch_norm(images, ones, zeros, is_training=True)
    return tf.reduce_mean(x**2, [1, 2]) @ HEAD


def dropped(images):
    return tf.nn.dropout(tf.reduce_mean(images, [1, 2]), 0.5) @ HEAD


@pytest.mark.parametrize(
    ("function", "said"),
    [(normalized, r"normalises by the images of a batch"), (dropped, r"draws random numbers")],
)
def test_what_depends_on_more_than_the_image_is_refused(function, said):
    with pytest.raises(ConfigError, match=rf"mine {said}.*training=False"):
        Classifier(function, (8, 8, 3), name="mine")


def test_constants_that_images_are_multiplied_by_are_known():
    """No randomization reaches them: they count among what survives."""
    kernel = np.random.default_rng(1).standard_normal((3, 3, 3, 3)).astype(np.float32)

    def network(images):
        x = tf.nn.relu(tf.nn.conv2d(images * 2 - 1, tf.constant(kernel), 1, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ HEAD

    classifier = Classifier(network, (8, 8, 3))
    assert list(classifier.network.constant_kernels.values()) == [81]
    assert not Classifier(
        lambda x: tf.reduce_mean(x, [1, 2]) @ HEAD, (8, 8, 3)
    ).network.constant_kernels
