"""Backprop rules on networks whose nonlinearities are made of several ops."""

from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import activations

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

SHAPE, TARGETS = (8, 8, 3), np.array([0, 1, 2])


def hard_sigmoid(x):
    return tf.nn.relu6(x + 3) / 6


def tanh_gelu(x):
    return activations.gelu(x, approximate=True)


def quick_gelu(x):
    return x * tf.sigmoid(1.702 * x)


def divided_silu(x):
    return x / (1 + tf.exp(-x))


def maximum(x):
    return tf.maximum(x, 0.2 * x)


def chosen(x):
    return tf.where(x > 0, x, 0.1 * x)


def prelu(x):
    return tf.nn.relu(x) - 0.2 * tf.nn.relu(-x)


@tf.custom_gradient
def clipped(x):
    """With a gradient of its own, which relevance has nothing to do with."""
    return tf.nn.relu(x), lambda upper: tf.clip_by_value(upper, -1e-3, 1e-3)


def glu(x):
    half, gate = tf.split(x, 2, -1)
    return tf.concat([half, half], -1) * tf.sigmoid(tf.concat([gate, gate], -1))


ACTIVATIONS = [
    tf.nn.relu,
    tf.nn.silu,
    activations.mish,
    activations.gelu,
    tanh_gelu,
    quick_gelu,
    activations.hard_silu,
    divided_silu,
    maximum,
    chosen,
    prelu,
    clipped,
    glu,
    tf.square,
]


def excited(x, squeeze, excite, gate=tf.sigmoid):
    """Squeeze-and-excitation."""
    small = tf.nn.relu(tf.reduce_mean(x, [1, 2], keepdims=True) @ squeeze)
    return x * gate(small @ excite)


def hard_excited(x, squeeze, excite):
    return excited(x, squeeze, excite, hard_sigmoid)


def clipped_excited(x, squeeze, excite):
    return excited(x, squeeze, excite, lambda z: tf.clip_by_value(0.2 * z + 0.5, 0, 1))


def attended(x, squeeze, excite):
    """A gate of each place, after one of each channel."""
    x = excited(x, squeeze, excite)
    return tf.sigmoid(tf.reduce_mean(x, -1, keepdims=True) * 3) * x


def unchanged(x, squeeze, excite):
    return x


def network(activation=tf.nn.relu, gate=unchanged, pool=tf.reduce_mean, scale=1.0, layer=None):
    """Convolutions with a residual, a gate and pooling over all places; without biases."""
    draw = np.random.default_rng(3)

    def variable(*shape):
        values = draw.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        return tf.Variable((1.5 * values).astype(np.float32))

    kernels = [variable(3, 3, 3, 8), variable(3, 3, 8, 8), variable(3, 3, 8, 8)]
    squeeze, excite, dense = variable(8, 4), variable(4, 8), variable(8, 3)
    kernels[0].assign(scale * kernels[0])
    kernels[1].assign(kernels[1] / scale)

    @tf.function
    def logits(x):
        x = activation(tf.nn.conv2d(x, kernels[0], 1, "SAME"))
        x = activation(tf.nn.conv2d(x, kernels[1], 1, "SAME"))
        x = gate(layer(x) if layer else x, squeeze, excite)
        x = activation(x + tf.nn.conv2d(x, kernels[2], 1, "SAME"))
        return pool(x, [1, 2]) @ dense

    return Classifier(logits, SHAPE, name="it")


def images(seed=0):
    return np.random.default_rng(seed).random((3, *SHAPE), np.float32)


def relevance(classifier, x, rule, baseline=None):
    """Summed over each image, and the mean of its absolute values."""
    against = x if baseline is None else x - baseline
    masks = (classifier.gradients(x, TARGETS, rule, baseline) * against).astype(np.float64)
    return masks.sum((1, 2, 3)), np.abs(masks).sum((1, 2, 3))


NETWORKS = [
    *((f, unchanged) for f in ACTIVATIONS if f not in (quick_gelu, maximum, tf.square)),
    *((tf.nn.silu, gate) for gate in (excited, hard_excited, attended)),
]


@pytest.mark.parametrize(("activation", "gate"), NETWORKS, ids=lambda f: f.__name__)
def test_what_is_conserved(activation, gate):
    """Epsilon-LRP sums to the logit of a network without biases, DeepLIFT to the difference."""
    classifier, x, baseline = network(activation, gate), images(), images(1)
    logits, reference = (classifier.logits(i)[range(3), TARGETS] for i in (x, baseline))
    assert np.abs(logits).min() > 0.01
    found, size = relevance(classifier, x, "epsilon_lrp:1e-07")
    assert np.all(np.abs(found - logits) <= 1e-3 * np.abs(logits) + 1e-6 * size)
    found, size = relevance(classifier, x, "deeplift_rescale", baseline)
    assert np.all(np.abs(found - (logits - reference)) <= 1e-5 * (size + np.abs(logits)))


@pytest.mark.parametrize("pool", [tf.reduce_max, tf.reduce_min])
def test_deeplift_through_global_pooling(pool):
    classifier, x, baseline = network(tf.nn.silu, pool=pool), images(), images(1)
    difference = (classifier.logits(x) - classifier.logits(baseline))[range(3), TARGETS]
    found, size = relevance(classifier, x, "deeplift_rescale", baseline)
    np.testing.assert_allclose(found, difference, atol=1e-5 * size.max())


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_deeplift_does_not_depend_on_the_scale_of_layers(scale):
    """A ReLU network whose first layer is multiplied and whose second is divided is the same."""
    x = images()
    baseline = x + 1e-3 * images(1)
    masks, scaled = (
        network(scale=s).gradients(x, TARGETS, "deeplift_rescale", baseline) for s in (1, scale)
    )
    assert np.median(np.abs(masks - scaled)) <= 1e-4 * np.median(np.abs(masks))


def test_deeplift_of_an_image_against_itself_is_the_gradient():
    classifier, x = network(activations.gelu, excited), images()
    plain = classifier.gradients(x, TARGETS)
    found = classifier.gradients(x, TARGETS, "deeplift_rescale", x)
    np.testing.assert_allclose(found, plain, atol=1e-5 * np.abs(plain).max())


@tf.custom_gradient
def guided_relu(x):
    return tf.nn.relu(x), lambda upper: tf.where(x > 0, tf.nn.relu(upper), 0)


@pytest.mark.parametrize("activation", [prelu, activations.hard_silu, tf.nn.silu])
def test_guided_backprop_leaves_other_functions_whole(activation):
    """A network of ReLUs and one other function, whose gradient stays its own."""

    def of(relu):
        draw = np.random.default_rng(5)
        first, second, third = (
            tf.constant(0.4 * draw.standard_normal((3, 3, c, 6)), tf.float32) for c in (3, 6, 6)
        )

        def function(x):
            x = relu(tf.nn.conv2d(x, first, 1, "SAME"))
            x = activation(tf.nn.conv2d(x, second, 1, "SAME"))
            x = relu(tf.nn.conv2d(x, third, 1, "SAME"))
            return tf.reduce_mean(x, [1, 2])

        return function

    x = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(x)
        explained = tf.gather(of(guided_relu)(x), TARGETS, batch_dims=1)
    expected = tape.gradient(explained, x).numpy()
    found = Classifier(of(tf.nn.relu), SHAPE).gradients(x.numpy(), TARGETS, "guided_backprop")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("rule", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize(
    "relu",
    [
        lambda x: tf.maximum(0.0, x),
        lambda x: tf.where(x > 0, x, 0.0),
        lambda x: tf.where(0 >= x, tf.zeros_like(x), x),
        lambda x: x * tf.cast(x > 0, x.dtype),
        lambda x: (x + tf.abs(x)) / 2,
        lambda x: x - tf.minimum(x, 0.0),
        lambda x: -tf.minimum(-x, tf.zeros([6])),
    ],
    ids=["maximum", "where", "where not", "times", "abs", "less", "negated"],
)
def test_relus_that_are_written_out(relu, rule):
    """Beside others; what is cut off the images before the first layer is no ReLU of a layer."""
    written, plain = beside_relu(relu), beside_plain(tf.nn.relu)
    found, expected = (one.gradients(images(), TARGETS, rule) for one in (written, plain))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert (found < 0).any()


@pytest.mark.parametrize("rule", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize(
    "relu",
    [
        lambda x: tf.clip_by_value(x, 0.0, 6.0),
        lambda x: tf.raw_ops.ClipByValue(t=x, clip_value_min=0.0, clip_value_max=6.0),
        lambda x: tf.maximum(tf.minimum(x, 6.0), 0.0),
        lambda x: tf.minimum(tf.nn.relu(x), 6.0),
        lambda x: tf.nn.relu(x) - tf.nn.relu(x - 6),
        lambda x: 6 * tf.clip_by_value(x / 6, 0.0, 1.0),
    ],
    ids=["clip", "clip op", "minimum first", "of relu", "difference", "divided"],
)
def test_capped_relus_that_are_written_out(relu, rule, caplog):
    written, plain = beside_relu(relu, 9.0), beside_plain(tf.nn.relu6, 9.0)
    written.network.check_rule(rule)
    found, expected = (one.gradients(images(), TARGETS, rule) for one in (written, plain))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert not said(caplog)


@pytest.mark.parametrize(
    ("function", "ops"),
    [
        (activations.hard_silu, "Mul·RealDiv·Relu6"),
        (lambda x: x * tf.cast(x > 1.0, x.dtype), "Greater·Mul"),
        (lambda x: tf.clip_by_value(x, -1.0, 1.0), "Maximum, Minimum"),
        (activations.soft_shrink, "Greater·Less·SelectV2"),
    ],
)
def test_what_cuts_off_beside_relus_and_is_none_is_said_once(function, ops, caplog):
    network = beside_relu(function).network
    for rule in ("guided_backprop", "guided_backprop", "plain"):
        network.check_rule(rule)
    (line,) = said(caplog)
    assert "guided_backprop changes the gradient of 1 ReLU of" in line
    assert f"not that of other activation functions that cut values off ({ops})" in line


@pytest.mark.parametrize("function", [tf.nn.silu, prelu, glu, lambda x: x * hard_sigmoid(x[::-1])])
def test_of_smooth_functions_and_gates_nothing_is_said(function, caplog):
    beside_relu(function).network.check_rule("guided_backprop")
    assert not said(caplog)


@pytest.mark.parametrize("relu", [tf.nn.relu, lambda x: tf.maximum(x, 0.0)])
def test_a_relu_in_a_loop_is_refused_however_it_is_written(relu):
    recurrent = keras.layers.SimpleRNN(8, activation=relu)
    classifier = Classifier(
        lambda x: recurrent(tf.reshape(tf.nn.relu(x - 0.5), [-1, 8, 24])), SHAPE
    )
    with pytest.raises(ConfigError, match="changes the gradient of (Relu|Maximum), which .* loop"):
        classifier.network.check_rule("guided_backprop")


def said(caplog):
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if "changes the gradient of" in message]


def beside_relu(relu, scale=1.0):
    """A network of a function and, behind it, a ReLU; the first layer's values times `scale`."""
    draw = np.random.default_rng(5)
    first, second = (
        tf.constant(0.4 * draw.standard_normal((3, 3, c, 6)), tf.float32) for c in (3, 6)
    )

    def function(x):
        x = relu(tf.nn.conv2d(tf.maximum(x, 0.0), scale * first, 1, "SAME"))
        x = tf.nn.relu(tf.nn.conv2d(x, second, 1, "SAME"))
        return tf.reduce_mean(x, [1, 2])

    return Classifier(function, SHAPE)


beside_plain = cache(beside_relu)


def attention(x):
    rows = tf.reshape(x, [-1, 64, 8])
    return tf.reshape(tf.nn.softmax(rows @ tf.transpose(rows, [0, 2, 1])) @ rows, [-1, 8, 8, 8])


REFUSED = {
    "attention": attention,
    "layer and group normalization": keras.layers.LayerNormalization(),
    "and group normalization": keras.layers.GroupNormalization(2),
    "statistic of the image": lambda x: tf.math.l2_normalize(x, -1),
}


@pytest.mark.parametrize("rule", ["deeplift_rescale", "epsilon_lrp:0.01"])
@pytest.mark.parametrize("reason", REFUSED)
def test_what_a_rule_is_not_defined_for(reason, rule):
    classifier = network(layer=REFUSED[reason])
    with pytest.raises(ConfigError, match=rf"{rule} is not defined for .*{reason}.*it has the op"):
        classifier.network.check_rule(rule)
    classifier.network.check_rule("plain")
    classifier.network.check_rule("guided_backprop")


def test_a_product_of_two_maps():
    """DeepLIFT shares the difference out; epsilon-LRP cannot know what is the gate."""

    def doubled(x):
        return x * tf.reverse(x, [1])

    classifier, x, baseline = network(layer=doubled), images(), images(1)
    difference = (classifier.logits(x) - classifier.logits(baseline))[range(3), TARGETS]
    found, size = relevance(classifier, x, "deeplift_rescale", baseline)
    np.testing.assert_allclose(found, difference, atol=1e-5 * size.max())
    with pytest.raises(ConfigError, match="products of two maps of which neither is a gate"):
        classifier.network.check_rule("epsilon_lrp:0.01")


@pytest.mark.parametrize("rule", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize("activation", [prelu, activations.hard_silu])
def test_a_network_whose_relus_are_parts_of_others(rule, activation):
    with pytest.raises(ConfigError, match="no such op but as parts of other functions"):
        network(activation).network.check_rule(rule)
