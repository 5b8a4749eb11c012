"""Outputs (n, classes, places): their classes are told from their places."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

X = np.random.default_rng(0).random((3, 8, 12, 3), np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 5)).astype(np.float32)


def first(z):
    """Channels first."""
    return tf.transpose(z, [0, 3, 1, 2])


def row(z):
    """(n, classes, rows · columns)."""
    return tf.reshape(first(z), [-1, 5, z.shape[1] * z.shape[2]])


def scales(z):
    """Of two scales, classes first, as a detector's boxes."""
    two = (row(z), row(tf.nn.max_pool2d(z, 2, 2, "SAME")))
    return tf.concat([tf.concat([part[:, :2], part[:, 2:]], 1) for part in two], 2)


def by_hand(z, axis=1):
    powers = tf.exp(z)
    return powers / tf.reduce_sum(powers, axis, keepdims=True)


def logits():
    return tf.nn.conv2d(X, KERNEL, 2, "SAME").numpy()


def network(ending, reduce="mean"):
    kernel = tf.Variable(KERNEL, name="head/kernel")
    return Classifier(
        lambda x: ending(tf.nn.conv2d(x, kernel, 2, "SAME")), X.shape[1:], reduce=reduce
    )


@pytest.mark.parametrize(
    ("ending", "taken_off"),
    [
        (row, ""),
        (lambda z: row(tf.nn.softmax(z)), "Softmax"),
        (lambda z: tf.nn.softmax(row(z), axis=1), "Softmax"),
        (lambda z: by_hand(row(z)), "Softmax"),
        (lambda z: tf.nn.softmax(first(z), axis=1), "Softmax"),
        (lambda z: tf.transpose(tf.reshape(z, [-1, 24, 5]), [0, 2, 1]), ""),
        (lambda z: tf.reshape(z, [-1, 24, 5]), ""),
        (lambda z: tf.nn.softmax(tf.reshape(z, [-1, 24, 5])), "Softmax"),
    ],
)
def test_classes_are_told_from_places(ending, taken_off):
    classifier = network(ending)
    expected = logits().mean((1, 2))
    np.testing.assert_allclose(classifier.logits(X), expected, rtol=1e-4, atol=1e-5)
    assert classifier.ending.taken_off == taken_off
    assert classifier.ending.reduced.endswith((" 24 places", " 4×6 places"))


def scores(z):
    """Of a dense layer: no axis is one of rows or columns."""
    return tf.reshape(tf.reshape(z, [-1, 120])[:, :12], [-1, 3, 4])


def test_where_nothing_tells_classes_from_places_it_is_said(caplog):
    classifier = network(scores)
    (line,) = [record.getMessage() for record in caplog.records if "axis" in record.getMessage()]
    assert "the last one is taken, 4 classes at each of 3 places" in line
    assert "model.output" in line and classifier.n_classes == 4
    caplog.clear()
    for ending in (row, scales, lambda z: tf.nn.softmax(scores(z)), lambda z: scores(z)[:, 0]):
        network(ending, None if ending(logits()).shape.rank == 2 else "mean")
    assert not [record for record in caplog.records if "axis" in record.getMessage()]


@pytest.mark.parametrize(
    "ending",
    [
        lambda z: tf.nn.softmax(tf.reduce_mean(z, [1, 2]), axis=0),
        lambda z: by_hand(z[:, 0, 0], 0),
    ],
    ids=["op", "by hand"],
)
def test_a_softmax_along_the_images_is_refused(ending):
    with pytest.raises(ConfigError, match="softmax of output of .* goes along the images of a"):
        network(ending, None)


def test_a_place_and_its_gradient():
    classifier = network(lambda z: tf.nn.softmax(row(z), axis=1), [7])
    with tf.GradientTape() as tape:
        x = tf.constant(X)
        tape.watch(x)
        z = tf.nn.conv2d(x, KERNEL, 2, "SAME")[:, 1, 1]
        chosen = tf.gather(z, [4, 0, 2], batch_dims=1)
    found = classifier.gradients(X, np.array([4, 0, 2]))
    np.testing.assert_allclose(found, tape.gradient(chosen, x), rtol=1e-4, atol=1e-5)


def test_boxes_of_several_scales():
    """Rows and columns of different lengths, one behind the other, are places all the same."""
    classifier = network(scales, "max")
    assert classifier.n_classes == 5 and classifier.ending.reduced == "the maximum over 30 places"
    np.testing.assert_allclose(classifier.logits(X), logits().max((1, 2)), rtol=1e-4, atol=1e-5)


def test_one_place_behind_the_classes_needs_no_word():
    classifier = network(
        lambda z: tf.squeeze(first(tf.reduce_mean(z, [1, 2], keepdims=True)), 3), None
    )
    np.testing.assert_allclose(classifier.logits(X), logits().mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_a_map_without_channels_is_a_number_at_each_place():
    """(n, rows, columns), as of a mask: columns are no classes."""
    classifier = network(lambda z: tf.sigmoid(z[..., 0:1])[..., 0])
    z = logits()[..., :1].mean((1, 2))
    np.testing.assert_allclose(classifier.logits(X), np.hstack([-z, z]), rtol=1e-4, atol=1e-5)
    assert classifier.ending.reduced == "the mean over 4×6 places"
