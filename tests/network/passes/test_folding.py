"""Folded networks against the plain ones: equal but for rounding, and with fewer ops."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.network.flatten import flatten
from sanity.network.passes.folding import fold
from tests.float64 import in_float64, near

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((3, 9, 8, 4)).astype(np.float32)


def variable(*shape, positive=False):
    values = DRAW.standard_normal(shape).astype(np.float32)
    return tf.Variable(np.abs(values) + 0.1 if positive else values)


def norm(channels, fused):
    gamma, beta, mean = (variable(channels) for _ in range(3))
    variance = variable(channels, positive=True)
    if fused:
        return lambda x: tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, 0.01, is_training=False
        )[0]
    return lambda x: tf.nn.batch_normalization(x, mean, variance, beta, gamma, 0.01)


def conv(channels=4, size=3, strides=1):
    kernel = variable(size, size, channels, 6)
    return lambda x: tf.nn.conv2d(x, kernel, strides, "SAME")


def depthwise(multiplier):
    kernel = variable(3, 3, 4, multiplier)
    return lambda x: tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")


def dense(transposed):
    kernel = variable(5, 4) if transposed else variable(4, 5)
    return lambda x: tf.matmul(tf.reshape(x, [-1, 4]), kernel, transpose_b=transposed)


def shared(x):
    """A convolution that is read twice: its output must stay what it is."""
    y = SHARED(x)
    return SHARED_NORM(y) + y


def one_more_reader(x):
    y = SHARED(x)
    return SHARED_NORM(y) * tf.reduce_mean(y)


def by_position(x):
    return CONV(x) * POSITIONS


SHARED, SHARED_NORM, CONV = conv(), norm(6, False), conv()
POSITIONS = variable(9, 8, 1)
BIAS = variable(6)


def chain(*functions):
    def network(x):
        for function in functions:
            x = function(x)
        return x

    return network


# The network, and how many multiplications by the images' values it has left.
NETWORKS = {
    "norm": (chain(conv(), norm(6, False), tf.nn.relu), 0),
    "fused norm": (chain(conv(strides=2), norm(6, True), tf.nn.relu6), 0),
    "bias and norm": (chain(conv(), lambda x: tf.nn.bias_add(x, BIAS), norm(6, True)), 0),
    "depthwise": (chain(depthwise(1), norm(4, False)), 0),
    "depthwise, 2 a channel": (chain(depthwise(2), norm(8, False), tf.nn.relu), 0),
    "depthwise, one factor": (chain(depthwise(2), lambda x: x * 0.25 - 1.0), 0),
    "product": (chain(dense(False), norm(5, False)), 0),
    "product, transposed": (chain(dense(True), norm(5, False), tf.nn.relu), 0),
    "two norms": (chain(conv(), norm(6, True), norm(6, False)), 0),
    "norm first": (chain(norm(4, True), tf.nn.relu, conv()), 1),
    "preprocessing": (chain(lambda x: (255 * x - 127) / 128, conv()), 1),
    "factors": (chain(conv(), lambda x: 3.0 * ((x - BIAS) / 7.0 + 2.0)), 0),
    "read twice": (shared, 1),
    "by position": (by_position, 1),
    "one more reader": (one_more_reader, 2),
}


def equals_the_plain_network(network):
    spec = tf.TensorSpec([None, *X.shape[1:]], tf.float32)
    plain = flatten(tf.function(lambda x: {"y": network(x)}).get_concrete_function(spec))
    output = plain.outputs["y"]
    fewer = fold(plain, output, spec)

    def both(graph):
        exact = in_float64(graph, spec)

        @tf.function(input_signature=[spec])
        def values(x):
            (y,) = exact.build(x, [output])
            return y, tf.gradients(y**2, x)[0]

        return [tensor.numpy() for tensor in values(X)]

    for got, wanted in zip(both(fewer), both(plain), strict=True):
        near(got, wanted)
    return fewer


def averaged(size=3, padding="SAME", strides=1):
    return lambda x: tf.nn.avg_pool2d(x, size, strides, padding)


def narrow(size=1, channels=4, to=2):
    kernel = variable(size, size, channels, to)
    return lambda x: tf.nn.conv2d(x, kernel, 1, "SAME")


def averages_read_twice(x):
    y = averaged()(x)
    return tf.concat([NARROW(y), y], -1)


NARROW = narrow()
# The network, and whether a convolution in it is better done before the averages.
AVERAGES = {
    "norm": (chain(averaged(), narrow(), norm(2, False), tf.nn.relu), True),
    "fused norm": (chain(averaged(4), narrow(), norm(2, True), tf.nn.relu), True),
    "alone": (chain(averaged(), narrow()), True),
    "twice": (chain(averaged(), narrow(), averaged(2), narrow(channels=2, to=1)), True),
    "wider": (chain(averaged(), narrow(to=6), norm(6, True)), False),
    "3 x 3": (chain(averaged(), narrow(3)), False),
    "no padding": (chain(averaged(padding="VALID"), narrow()), False),
    "strides": (chain(averaged(strides=2), narrow()), False),
    "read twice": (averages_read_twice, False),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_what_is_narrow(name):
    network, late = AVERAGES[name]
    fewer = equals_the_plain_network(network)
    ops = [node.op for node in fewer.nodes.values() if node.name in fewer.depths]
    assert (ops.index("Conv2D") < ops.index("AvgPool")) is late


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_plain_network(name):
    network, left = NETWORKS[name]
    fewer = equals_the_plain_network(network)
    ops = [node.op for node in fewer.nodes.values() if node.name in fewer.depths]
    assert ops.count("Mul") == left
    assert not [op for op in ops if op.startswith("FusedBatchNorm")]


def test_follows_the_variables():
    kernel, gamma = variable(3, 3, 4, 6), variable(6)
    spec = tf.TensorSpec([None, *X.shape[1:]], tf.float32)

    def network(x):
        return {"y": tf.nn.conv2d(x, kernel, 1, "SAME") * gamma}

    plain = flatten(tf.function(network).get_concrete_function(spec))
    graph = fold(plain, plain.outputs["y"], spec)
    values = tf.function(lambda x: graph.build(x, [plain.outputs["y"]]), input_signature=[spec])
    for _ in range(2):
        np.testing.assert_allclose(values(X)[0], network(X)["y"], rtol=1e-4, atol=1e-4)
        gamma.assign(-2 * gamma + 1)
        kernel.assign(kernel[::-1] + 0.1)


def test_the_embedded_model(lite0, samples):
    """Logits within 1e-5 of the plain graph's, relative to their size."""
    graph = fold(lite0.graph, lite0.logits_tensor, lite0.network.images)
    ops = [node.op for node in graph.nodes.values() if node.name in graph.depths]
    assert ops.count("Mul") == 1  # preprocessing
    assert ops.count("AddV2") == 9  # residual sums
    values = tf.function(
        lambda x: graph.build(x, [lite0.logits_tensor]), input_signature=[lite0.network.images]
    )
    plain = lite0.logits(samples.x)
    np.testing.assert_allclose(values(samples.x)[0], plain, rtol=0, atol=1e-5 * np.abs(plain).max())
