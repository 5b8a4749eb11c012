"""Small networks to test with."""

import numpy as np
import tensorflow as tf

from sanity.network.classifier import Classifier


def small_classifier(seed=0, relu=tf.nn.relu, softmax=False, **options):
    """Convolution, batch norm, depthwise, pooling and a dense layer; 16×16×3 to 7 classes."""
    draw = np.random.default_rng(seed)

    def variable(name, *shape, around=0.0):
        values = (around + 0.3 * draw.standard_normal(shape)).astype(np.float32)
        with tf.name_scope(""):
            return tf.Variable(values, name=name)

    kernel = variable("stem/kernel", 3, 3, 3, 8)
    gamma, beta = variable("stem/gamma", 8, around=1), variable("stem/beta", 8)
    mean = variable("stem/moving_mean", 8)
    variance = tf.Variable(draw.random(8, np.float32) + 0.5, name="stem/moving_variance")
    depthwise = variable("middle/depthwise_kernel", 3, 3, 8, 2)
    bias = variable("middle/bias", 16)
    dense, dense_bias = variable("top/kernel", 16, 7), variable("top/bias", 7)

    @tf.function
    def network(images):
        x = tf.nn.conv2d(images, kernel, 1, "SAME")
        x = relu(tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3))
        x = tf.nn.depthwise_conv2d(x, depthwise, [1, 2, 2, 1], "SAME")
        x = relu(tf.nn.bias_add(x, bias))
        x = tf.nn.bias_add(tf.reduce_mean(x, [1, 2]) @ dense, dense_bias)
        return tf.nn.softmax(x) if softmax else x

    options = {"name": "small", "blocks": ["top", "middle", "stem"], **options}
    classifier = Classifier(network, (16, 16, 3), **options)
    classifier.source = network
    return classifier


def small_transformer(seed=0, **options):
    """Two blocks of a vision transformer; 16×16×3 to 7 classes."""
    from sanity.models.transformer import Transformer

    layers = Transformer((16, 16, 3), patch=4, width=8, heads=2, depth=2, units=12, classes=7)
    draw = np.random.default_rng(seed)
    variables = {
        name: tf.Variable(
            value + 0.3 * draw.standard_normal(value.shape), name=name, dtype="float32"
        )
        for name, value in layers.initial(seed).items()
    }
    options = {"name": "transformer", "blocks": layers.blocks, **options}
    return Classifier(layers.network(variables), (16, 16, 3), **options)
