"""Recurrent layers keep their own gradient; what the images decide for a batch is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

layers = keras.layers


def recurrent(layer):
    """A convolution whose rows a recurrent layer reads."""
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, activation="tanh", name="conv")(inputs)
    x = layers.TimeDistributed(layers.Flatten())(x)
    model = keras.Model(inputs, layers.Dense(5, name="top")(layer(x)))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


def gradient(model, x, targets):
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        explained = tf.gather(model(images, training=False), targets, batch_dims=1)
    return tape.gradient(explained, images).numpy()


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.LSTM(6, name="lstm"),
        lambda: layers.GRU(6, name="gru"),
        lambda: layers.Bidirectional(layers.SimpleRNN(5, return_sequences=False), name="both"),
    ],
    ids=["LSTM", "GRU", "bidirectional"],
)
def test_a_recurrent_layer_has_its_own_gradient(layer):
    keras.utils.set_random_seed(0)
    model = recurrent(layer())
    variables = {variable.path: variable.value for variable in model.variables}
    classifier = Classifier(lambda x: model(x, training=False), (12, 10, 3), variables=variables)
    x = np.random.default_rng(1).random((3, 12, 10, 3), np.float32)
    targets = np.array([0, 4, 2])
    for factor in (1.0, 1.5):
        changed = {name: factor * value for name, value in classifier.trained.items()}
        with classifier.weights.holding(changed):
            np.testing.assert_allclose(classifier.logits(x), model(x), atol=1e-5)
            expected = gradient(model, x, targets)
            found = classifier.gradients(x, targets)
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_rule_does_not_pass_over_what_runs_in_a_loop():
    model = recurrent(layers.LSTM(6))
    classifier = Classifier(lambda x: model(x, training=False), (12, 10, 3))
    with pytest.raises(ConfigError, match=r"not defined for what runs in a loop"):
        classifier.network.check_rule("epsilon_lrp:0.1")


def repeated(x):
    """Halves all images until their sum is below 10, so that one decides for another."""
    return tf.while_loop(lambda y: tf.reduce_sum(y) > 10.0, lambda y: (y / 2.0,), (x,))[0]


def counted(x):
    """Halves all images three times."""
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y / 2.0), (0, x))[1]


def chosen(x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x / 8.0, lambda: x)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (repeated, r"by the images how often it repeats .*once for all images of a batch"),
        (chosen, r"by the images which of its parts it runs .*once for all images of a batch"),
        (counted, None),
    ],
    ids=["repeated", "chosen", "counted"],
)
def test_what_the_images_decide_for_a_batch_is_refused(part, message):
    kernel = tf.Variable(np.random.default_rng(0).random((3, 4), np.float32), name="top/kernel")

    def network(x):
        return tf.reduce_mean(tf.function(part)(x), [1, 2]) @ kernel

    if message:
        with pytest.raises(ConfigError, match=message):
            Classifier(network, (8, 8, 3))
        return
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    found = Classifier(network, (8, 8, 3)).gradients(x, np.array([1, 3]))
    expected = np.broadcast_to(kernel.numpy().T[[1, 3], None, None] / 8 / 64, found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
