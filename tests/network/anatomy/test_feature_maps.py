"""Which tensors are maps of the image."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

layers = keras.layers


def transformed(x):
    """Patches, attention and a residual, as tokens; without a convolution behind it."""
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 2, 2, name="patches")(x))
    return layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])


def laid_out(x):
    """Tokens at their places again."""
    return layers.Reshape((4, 4, 8), name="laid_out")(transformed(x))


def mixed(x):
    """Dense layers of each place, with TensorFlow's own reshapes in between."""
    return layers.Dense(6, activation="gelu", name="mixed")(layers.Conv2D(5, 3)(x))


def channels_first(x):
    x = layers.Permute((3, 1, 2))(layers.Conv2D(5, 3, name="conv")(x))
    return layers.Activation("relu")(x)


def of_channels_first(x):
    return layers.Conv2D(4, 3, name="conv")(layers.Permute((2, 3, 1))(x))


CASES = [
    (transformed, (8, 8, 3), "patches", (4, 4, 8)),
    (laid_out, (8, 8, 3), "laid_out", (4, 4, 8)),
    (mixed, (8, 8, 3), "mixed", (6, 6, 6)),
    (channels_first, (8, 8, 3), "conv", (6, 6, 5)),
    (of_channels_first, (3, 8, 8), "conv", (6, 6, 4)),
]


@pytest.mark.parametrize(("part", "shape", "name", "size"), CASES)
def test_the_last_map(part, shape, name, size):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Dense(5)(layers.Flatten()(part(inputs))))
    network = Classifier(lambda x: model(x, training=False), shape, name="it").network
    tensor = network.spatial_tensor()
    assert f"/{name}" in tensor
    assert network.spatial_tensors[tensor] == size


def test_tokens_by_heads_are_no_map():
    kernel = tf.constant(np.random.default_rng(0).random((3, 8)), tf.float32)

    def function(x):
        tokens = tf.reshape(x, [-1, 16, 3]) @ kernel
        heads = tf.transpose(tf.reshape(tokens, [-1, 16, 2, 4], name="heads"), [0, 2, 1, 3])
        scores = tf.nn.softmax(heads @ tf.transpose(heads, [0, 1, 3, 2]))
        return tf.reduce_mean(scores @ heads, [1, 2])

    network = Classifier(function, (4, 4, 3), name="it").network
    assert not network.spatial_tensors
    with pytest.raises(ConfigError, match="layer=null finds nothing: it has no tensor"):
        network.spatial_tensor()
    with pytest.raises(ConfigError, match="layer=heads is no map"):
        network.spatial_tensor("heads")


def beside(x):
    """Two branches that only meet behind their averages."""
    one = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="one")(x))
    other = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, 2, name="other")(x))
    return layers.Concatenate()([one, other])


def joined(x):
    """A residual and a gate: all that is seen goes through the last map."""
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same")(x)])
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate]))


@pytest.mark.parametrize(("part", "partial"), [(beside, True), (joined, False)])
def test_it_is_said_where_the_last_map_is_not_all(part, partial, caplog):
    given = keras.Input((8, 8, 3))
    model = keras.Model(given, layers.Dense(3)(part(given)))
    network = Classifier(lambda x: model(x, training=False), (8, 8, 3), name="it").network
    network.check_layer()
    assert ("see the images past it too, as through" in caplog.text) == partial
    caplog.clear()
    network.check_layer(network.spatial_tensor())
    assert not caplog.text
