"""What is explained of outputs that end in all kinds of ways, and what their probabilities are."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.experiment.predictions import probabilities
from sanity.models.explained import say_what_is_explained
from sanity.network.classifier import Classifier

SHAPE = (9, 9, 3)
softmax, sigmoid = tf.nn.softmax, tf.sigmoid


def by_hand(z):
    powers = tf.exp(z - tf.reduce_max(z, 1, keepdims=True))
    return powers / tf.reduce_sum(powers, 1, keepdims=True)


# What follows the logits z, how many there are, what is said of it, and what is explained.
ENDINGS = {
    "logits": (lambda z: z, 5, "softmax", lambda z: z),
    "softmax": (softmax, 5, "softmax", lambda z: z),
    "log softmax": (tf.nn.log_softmax, 5, "softmax", lambda z: z),
    "softmax by hand": (by_hand, 5, "softmax", lambda z: z),
    "softmax twice": (lambda z: softmax(softmax(z)), 5, "said", lambda z: z),
    "log of two": (lambda z: tf.nn.log_softmax(softmax(z)), 5, "said", lambda z: z),
    "average": (lambda z: (softmax(z) + softmax(2 * z)) / 2, 5, "said", None),
    "log of softmax": (lambda z: tf.math.log(softmax(z)), 5, "softmax", lambda z: z),
    "some of more": (lambda z: tf.gather(softmax(z), [3, 1], axis=1), 5, "said", None),
    "greatest of labels": (
        lambda z: tf.reduce_max(tf.stack([sigmoid(z), sigmoid(-z)]), 0),
        5,
        "said",
        None,
    ),
    "hard sigmoid": (lambda z: tf.nn.relu6(z + 3) / 6, 5, "said", None),
    "hard sigmoid, averaged": (
        lambda z: tf.reduce_mean(tf.nn.relu6(tf.stack([z, -z]) + 3) * (1 / 6), 0),
        5,
        "said",
        None,
    ),
    "rectified": (lambda z: tf.reduce_mean(tf.nn.relu6(tf.stack([z, z])), 0), 5, "softmax", None),
    "rounded": (
        lambda z: tf.cast(tf.cast(softmax(z), tf.float16), tf.float32) + 0.0,
        5,
        "said",
        None,
    ),
    "powers": (lambda z: tf.nn.l2_normalize(z, 1) ** 2, 5, "said", None),
    "labels": (sigmoid, 5, "sigmoid", lambda z: z),
    "average of labels": (lambda z: (sigmoid(z) + sigmoid(2 * z)) / 2, 5, "said", None),
    "two": (sigmoid, 1, "logistic", lambda z: tf.concat([-z, z], 1)),
    "two, squeezed": (lambda z: sigmoid(z)[:, 0], 1, "logistic", lambda z: tf.concat([-z, z], 1)),
    "two, by hand": (
        lambda z: 1 / (1 + tf.exp(-z)),
        1,
        "logistic",
        lambda z: tf.concat([-z, z], 1),
    ),
    "two, twice": (lambda z: sigmoid(sigmoid(z)), 1, "said", lambda z: tf.concat([-z, z], 1)),
    "average of two": (lambda z: (sigmoid(z) + sigmoid(2 * z)) / 2, 1, "said", None),
    "number": (lambda z: z, 1, "none", lambda z: z),
    "numbers": (lambda z: z[:, 0], 1, "none", lambda z: z),
    "softmax of one": (softmax, 1, "none", lambda z: z),
}


def network(ending, size):
    draw = np.random.default_rng(size)
    kernel = tf.Variable(draw.normal(size=(3, 3, 3, 8)).astype(np.float32))
    dense = tf.Variable(draw.normal(size=(8, size)).astype(np.float32))

    def logits(x):
        return tf.reduce_mean(tf.tanh(tf.nn.conv2d(x, kernel, 1, "SAME")), [1, 2]) @ dense

    return logits, lambda x: ending(logits(x))


def images():
    return np.random.default_rng(0).random((4, *SHAPE), np.float32)


@pytest.mark.parametrize("name", ENDINGS)
def test_logits_and_probabilities(name):
    ending, size, link, explained = ENDINGS[name]
    logits, whole = network(ending, size)
    classifier, x = Classifier(whole, SHAPE), images()
    say_what_is_explained(classifier)
    found, said = classifier.logits(x), whole(x).numpy().reshape(len(x), -1)
    if name in ("log of two", "log of softmax"):
        said = np.exp(said)
    assert classifier.ending.link == link
    assert found.shape == (len(x), classifier.n_classes)
    if explained:
        np.testing.assert_allclose(found, explained(logits(x)), rtol=1e-4, atol=1e-5)
    shares, entropy = probabilities(classifier, x, found.astype(np.float64))
    if link == "none":
        assert np.isnan(shares).all() and np.isnan(entropy).all()
        return
    if name in ("logits", "rectified"):
        said = softmax(said).numpy()
    if size == 1:
        said = np.concatenate([1 - said, said], 1)
    if name == "log softmax":
        said = np.exp(said)
    np.testing.assert_allclose(shares, said, rtol=1e-4, atol=1e-6)
    parts = [said] if "labels" not in name or link == "said" else [said, 1 - said]
    wanted = sum(-(p * np.log(p)).sum(1) for p in parts)
    np.testing.assert_allclose(entropy, wanted, rtol=1e-3)


def test_each_of_two_classes_is_explained_by_the_gradient_of_the_logit():
    logits, whole = network(sigmoid, 1)
    classifier, x = Classifier(whole, SHAPE), images()
    given = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.reduce_sum(logits(given))
    wanted = tape.gradient(total, given).numpy()
    for target, sign in ((0, -1), (1, 1)):
        found = classifier.gradients(x, np.full(4, target))
        np.testing.assert_allclose(found, sign * wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("size", "activation", "link", "n_classes"),
    [
        (1, "sigmoid", "logistic", 2),
        (5, "sigmoid", "sigmoid", 5),
        (5, "softmax", "softmax", 5),
        (5, "none", "none", 5),
        (1, "none", "none", 1),
    ],
)
def test_an_activation_is_said_where_the_output_ends_in_logits(size, activation, link, n_classes):
    classifier = Classifier(network(lambda z: z, size)[1], SHAPE, activation=activation)
    assert (classifier.ending.link, classifier.n_classes) == (link, n_classes)


def test_an_activation_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"model\.activation=sigmoid .* ends in Softmax"):
        Classifier(network(softmax, 5)[1], SHAPE, activation="sigmoid")
    with pytest.raises(ConfigError, match=r"softmax is none .* model\.activation=sigmoid"):
        Classifier(network(lambda z: z, 1)[1], SHAPE, activation="softmax")


def test_another_output_tells_what_the_logits_are():
    logits, _ = network(softmax, 1)

    def both(x):
        z = logits(x)
        return {"probability": sigmoid(z), "raw": z}

    assert Classifier(both, SHAPE).ending.link == "logistic"


def test_an_output_beside_may_be_a_constant():
    table = tf.ones((20, 20))  # captured: it has no op of its own
    _, whole = network(tf.identity, 5)
    classifier = Classifier(lambda x: {"a": whole(x), "table": table}, SHAPE, output="a")
    assert classifier.ending.link == "softmax"


def test_attention_is_no_average_of_probabilities():
    def attended(z):
        return softmax(z) @ tf.constant(np.eye(5, 3, dtype=np.float32) * 0.5)

    assert Classifier(network(attended, 5)[1], SHAPE).ending.link == "softmax"
