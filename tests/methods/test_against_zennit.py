"""Epsilon-LRP and DeepLIFT of a network with all that networks are made of.

Against Zennit, and Captum with a rule of its own for products; `tests/data/zennit_reference.py`.
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from keras import activations

from sanity.network.classifier import Classifier

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "zennit.npz"))
IMAGES, TARGETS = REFERENCE["images"], REFERENCE["targets"]
ACTIVATIONS = {
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "mish": activations.mish,
    "hard_silu": activations.hard_silu,
    "gelu": activations.gelu,
    "tanh_gelu": lambda x: activations.gelu(x, approximate=True),
}


def network(activation):
    w = {
        key.removeprefix("weights/"): tf.Variable(value)
        for key, value in REFERENCE.items()
        if key.startswith("weights/")
    }
    f = ACTIVATIONS[activation]

    def convolved(x, name):
        return tf.nn.conv2d(x, w[f"{name}/kernel"], 1, "SAME")

    def normed(x, name):
        scale, shift = w[f"{name}/gamma"], w[f"{name}/beta"]
        moments = w[f"{name}/moving_mean"], w[f"{name}/moving_variance"]
        return tf.nn.batch_normalization(x, *moments, shift, scale, 1e-3)

    @tf.function
    def logits(x):
        first = f(normed(convolved(x, "conv1") + w["conv1/bias"], "norm1"))
        x = f(first + normed(convolved(first, "conv2") + w["conv2/bias"], "norm2"))
        small = tf.nn.relu(convolved(tf.reduce_mean(x, [1, 2], keepdims=True), "squeeze"))
        x = x * tf.sigmoid(convolved(small, "excite"))
        x = tf.nn.avg_pool2d(tf.concat([x, first], -1), 2, 2, "VALID")
        x = f(convolved(x, "conv3") + w["conv3/bias"])
        return tf.reduce_mean(x, [1, 2]) @ w["dense/kernel"] + w["dense/bias"]

    return Classifier(logits, IMAGES.shape[1:])


def close(mine, theirs, tolerance):
    scale = np.abs(theirs).max()
    assert scale > 1e-3
    np.testing.assert_allclose(mine / scale, theirs / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_relevance(activation):
    classifier, epsilon = network(activation), float(REFERENCE["epsilon"])
    logits = REFERENCE[f"{activation}/logits"]
    close(classifier.logits(IMAGES), logits, 3e-6)
    found = classifier.gradients(IMAGES, TARGETS, f"epsilon_lrp:{epsilon}") * IMAGES
    explained = logits[range(3), TARGETS][:, None, None, None]
    found *= explained / (explained + epsilon * np.sign(explained))  # the last layer's, by Zennit
    for mine, theirs in zip(found, REFERENCE[f"{activation}/lrp"], strict=True):
        close(mine, theirs, 2e-4)
    baseline = REFERENCE["baseline"]
    found = classifier.gradients(IMAGES, TARGETS, "deeplift_rescale", baseline)
    close(found * (IMAGES - baseline), REFERENCE[f"{activation}/deeplift"], 1e-5)
