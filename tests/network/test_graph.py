"""The flat graph as TensorFlow runs it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.network.classifier import Classifier


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


@pytest.mark.parametrize(
    ("function", "expected"), [(tf.tanh, np.tanh), (keras.activations.mish, mish)]
)
def test_what_tensorflow_would_join_without_a_kernel(function, expected):
    """Convolution, batch norm and one of these: "Fusion is not implemented"."""
    draw = np.random.default_rng(0)
    kernel, dense = (
        tf.Variable(draw.standard_normal(shape).astype(np.float32))
        for shape in ((3, 3, 3, 6), (6, 4))
    )
    moments = [tf.Variable(draw.random(6, np.float32) + 0.5) for _ in range(4)]

    @tf.function
    def network(images):
        x = tf.nn.conv2d(images, kernel, 1, "SAME")
        x = tf.compat.v1.nn.fused_batch_norm(x, *moments, is_training=False, epsilon=1e-3)[0]
        return tf.reduce_mean(function(x), [1, 2]) @ dense

    classifier = Classifier(network, (8, 8, 3))
    images = draw.random((3, 8, 8, 3), np.float32)
    norm = next(n for n in classifier.graph.nodes.values() if n.op == "FusedBatchNormV3")
    (before,) = classifier.read(images, [f"{norm.name}:0"])
    activated = expected(before.astype(np.float64))
    logits = activated.mean((1, 2)) @ dense.numpy()
    np.testing.assert_allclose(classifier.logits(images), logits, atol=1e-5)
    tensor = classifier.network.spatial_tensor()
    targets = np.array([0, 3, 1])
    (values,), (gradients,) = classifier.gradients_at(images, targets, [tensor])
    np.testing.assert_allclose(values, activated, atol=1e-5)
    weights = dense.numpy().T[targets] / 64
    np.testing.assert_allclose(gradients, np.broadcast_to(weights[:, None, None], values.shape))
    assert np.isfinite(classifier.gradients(images, targets)).all()
    means = [p.name for p in classifier.parameters.values() if p.kind == "moving_mean"]
    assert len(classifier.batch_moments(images)(means)) == 1


@pytest.mark.parametrize("biased", ["bias_add", "add", "identity", "batch norm"])
def test_depthwise_convolutions_with_padding_as_numbers_take_a_bias(biased):
    """TensorFlow, which makes one op of both, ends the process there with oneDNN."""
    draw = np.random.default_rng(0)
    kernel, bias, top = (
        tf.Variable(draw.normal(0, 0.3, shape).astype(np.float32), name=name)
        for shape, name in [((3, 3, 3, 2), "a/kernel"), (6, "a/bias"), ((6, 4), "top/kernel")]
    )

    def network(x, explicit):
        sizes = [[0, 0], [2, 1], [1, 0], [0, 0]]
        x = x if explicit else tf.pad(x, sizes)
        y = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], sizes if explicit else "VALID")
        if biased == "batch norm":  # which is folded into a bias
            given = tf.ones(6), bias, tf.zeros(6), tf.ones(6)
            y = tf.compat.v1.nn.fused_batch_norm(y, *given, is_training=False)[0]
        else:
            y = tf.identity(y) if biased == "identity" else y
            y = y + bias if biased == "add" else tf.nn.bias_add(y, bias)
        return tf.reduce_mean(tf.tanh(y), [1, 2]) @ top

    found, expected = (
        Classifier(lambda x, explicit=explicit: network(x, explicit), (7, 6, 3))
        for explicit in (True, False)
    )
    x, targets = draw.random((3, 7, 6, 3), np.float32), np.array([0, 3, 1])
    np.testing.assert_allclose(found.logits(x), expected.logits(x), rtol=1e-4, atol=1e-6)
    gradients = (one.gradients(x, targets) for one in (found, expected))
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-6)
