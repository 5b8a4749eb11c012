"""What is made sure of, and said, of a network that is loaded."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.explained import check_by_itself
from sanity.network.classifier import Classifier


def network(before=lambda x: x, behind=lambda x: x):
    draw = np.random.default_rng(0)
    kernel, head = (
        tf.Variable(draw.normal(size=s).astype(np.float32)) for s in ((3, 3, 3, 8), (8, 5))
    )

    def logits(x):
        x = behind(tf.nn.conv2d(before(x), kernel, 1, "SAME"))
        return tf.reduce_mean(tf.nn.relu(x), [1, 2]) @ head

    return Classifier(logits, (9, 9, 3), name="net")


def normalized(x):
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"behind": normalized},
        {"before": lambda x: x / tf.reduce_max(x)},
        {"before": lambda x: x - tf.reduce_mean(x, 0, keepdims=True)},
    ],
    ids=["batch norm in training mode", "greatest of the batch", "mean of the batch"],
)
def test_a_network_of_batches_is_refused(options):
    with pytest.raises(ConfigError, match=r"What net says of an image hangs on the other images"):
        check_by_itself(network(**options))


def test_a_network_of_single_images_is_taken():
    check_by_itself(network(before=tf.image.per_image_standardization))
