"""Outputs with vectors at many places, made one: `model.reduce`."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

X = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 5)).astype(np.float32)


def network(reduce=None, ending=lambda z: z, output=None, **more):
    kernel = tf.Variable(KERNEL, name="head/kernel")

    def function(x):
        return {
            "map": ending(tf.nn.conv2d(x, kernel, 2, "SAME")),
            **{k: f(x) for k, f in more.items()},
        }

    return Classifier(function, X.shape[1:], name="net", reduce=reduce, output=output)


def logits():
    return tf.nn.conv2d(X, KERNEL, 2, "SAME").numpy()


@pytest.mark.parametrize("ending", [lambda z: z, tf.nn.softmax], ids=["logits", "softmax"])
@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("mean", lambda z: z.mean((1, 2))),
        ("max", lambda z: z.max((1, 2))),
        ([1, 3], lambda z: z[:, 1, 3]),
    ],
    ids=["mean", "max", "place"],
)
def test_a_map_of_classes(reduce, expected, ending):
    classifier = network(reduce, ending)
    np.testing.assert_allclose(classifier.logits(X), expected(logits()), rtol=1e-4, atol=1e-5)
    assert classifier.n_classes == 5 and classifier.ending.link == "softmax"
    with tf.GradientTape() as tape:
        x = tf.constant(X)
        tape.watch(x)
        z = tf.nn.conv2d(x, KERNEL, 2, "SAME")
        made = {"mean": lambda: tf.reduce_mean(z, [1, 2]), "max": lambda: tf.reduce_max(z, [1, 2])}
        explained = made[reduce]() if isinstance(reduce, str) else z[:, 1, 3]
        explained = tf.gather(explained, [4, 0, 2], batch_dims=1)
    gradients = classifier.gradients(X, np.array([4, 0, 2]))
    np.testing.assert_allclose(gradients, tape.gradient(explained, x), rtol=1e-4, atol=1e-5)


def test_a_box():
    """Boxes, and of each the scores of its classes: sigmoids, which are taken off."""
    classifier = network([7], lambda z: tf.sigmoid(tf.reshape(z, [-1, 16, 5])))
    np.testing.assert_allclose(classifier.logits(X), logits()[:, 1, 3], rtol=1e-4, atol=1e-5)
    assert classifier.ending.link == "sigmoid"
    assert classifier.ending.reduced == "the place [7] of 16"


def test_a_mask_of_one_channel_has_two_classes():
    classifier = network([0, 2], lambda z: tf.sigmoid(z[..., :1]))
    z = logits()[:, 0, 2, :1]
    np.testing.assert_allclose(classifier.logits(X), np.hstack([-z, z]), rtol=1e-4, atol=1e-5)


def test_a_single_place_needs_no_word():
    classifier = network(ending=lambda z: tf.reduce_mean(z, [1, 2], keepdims=True))
    np.testing.assert_allclose(classifier.logits(X), logits().mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_a_map_beside_a_vector_is_explained_if_it_is_named():
    def vector(x):
        return tf.reduce_mean(x, [1, 2])

    assert network(head=vector).n_classes == 3
    assert network("max", output="map", head=vector).n_classes == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"reduce must say how map of net, 5 numbers at each of 4×4 .* model.reduce=\[2,2\]$"),
        ({"reduce": [1]}, r"model\.reduce=\[1\] is no place of map of net, which has 4×4"),
        ({"reduce": [4, 0]}, r"model\.reduce=\[4,0\] is no place of map of net, which has 4×4"),
        (
            {"reduce": "mean", "ending": lambda z: z[:, 0, 0]},
            r"model\.reduce=mean is for an output with several places: map of net is a vector of 5",
        ),
    ],
    ids=["nothing said", "one axis", "outside", "a vector"],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        network(**options)
