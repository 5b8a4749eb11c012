"""Outputs whose entries are no classes are refused."""

import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from tests.network.anatomy.test_logits import SHAPE, network, softmax


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (lambda z: tf.math.top_k(softmax(z), 3).values, r"sorted by their size \(TopKV2\)"),
        (lambda z: tf.sort(softmax(z)), r"sorted by their size"),
        (lambda z: 100 * tf.sort(z, direction="DESCENDING"), r"sorted by their size"),
        (lambda z: tf.cast(tf.argmax(z, 1), tf.float32), r"the number of a class \(ArgMax\)"),
    ],
)
def test_entries_that_are_no_classes(ending, message):
    with pytest.raises(ConfigError, match=message):
        Classifier(network(ending, 5)[1], SHAPE)


def test_what_only_weighs_entries_by_the_greatest_is_taken():
    classifier = Classifier(network(lambda z: z - tf.math.top_k(z, 1).values, 5)[1], SHAPE)
    assert classifier.n_classes == 5
