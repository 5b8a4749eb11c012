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
