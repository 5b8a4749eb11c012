"""Networks with gradients of their own: the flat graph's is a tape's on the source."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

SHAPE = (10, 10, 3)
TARGETS = np.array([0, 3, 1, 2])


def near(found, wanted):
    """Equal in norm: what single float32 values do hangs on the processor."""
    return np.linalg.norm(found - wanted) <= 1e-4 * np.linalg.norm(wanted)


def images(seed=0):
    return np.random.default_rng(seed).random((len(TARGETS), *SHAPE), np.float32)


def tape_gradient(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        explained = tf.reduce_sum(tf.gather(function(x), TARGETS, batch_dims=1))
    return tape.gradient(explained, x).numpy()


@tf.custom_gradient
def clipped(y):
    return tf.tanh(y), lambda upper: tf.clip_by_value(upper, -1e-3, 1e-3)


@tf.custom_gradient
def straight_through(y):
    """Binary forward; backward it passes where |y| < 1, which it computes for that alone."""
    inside = tf.cast(tf.abs(y) < 1, y.dtype)
    return tf.sign(y), lambda upper: upper * inside


@tf.custom_gradient
def clipped_swish(y):
    gate = tf.sigmoid(y)
    return y * gate, lambda upper: tf.clip_by_value(upper, -1e-3, 1e-3) * gate


@tf.custom_gradient
def two_and_two(y):
    """Two results."""
    return (tf.tanh(y), tf.sigmoid(y)), lambda a, b: 0.5 * a + 2 * b


class Net(tf.Module):
    """A convolution, an activation with a gradient of its own, a dense layer."""

    def __init__(self, activation):
        super().__init__()
        draw = np.random.default_rng(1)
        self.activation = activation
        self.kernel = tf.Variable(draw.normal(size=(3, 3, 3, 6)).astype(np.float32))
        self.dense = tf.Variable(draw.normal(size=(6, 5)).astype(np.float32))
        self.gain = tf.Variable(1.7)  # read by a gradient only

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32)])
    def __call__(self, x):
        y = tf.nn.conv2d(x, self.kernel, 1, "SAME")
        return tf.reduce_mean(self.activation(self, y), [1, 2]) @ self.dense


def nested(net, y):
    """In a function, whose gradient reads an argument, a value on the way and a variable."""

    @tf.function
    def inner(y, scale):
        @tf.custom_gradient
        def scaled(z):
            seen = tf.cast(z > 0.1, tf.float32)
            return tf.tanh(z), lambda upper: upper * scale * seen * net.gain

        return scaled(2 * y)

    return inner(y, tf.reduce_max(y, [1, 2, 3], keepdims=True))


def compiled(net, y):
    return tf.function(lambda y: nested(net, y), jit_compile=True)(y)


ACTIVATIONS = {
    "clipped": lambda net, y: clipped(y),
    "straight_through": lambda net, y: straight_through(y),
    "two results": lambda net, y: tf.add_n(two_and_two(y)),
    "nested": nested,
    "clipped swish": lambda net, y: clipped_swish(y),
    "recomputed": lambda net, y: tf.recompute_grad(tf.tanh)(y),
    "after silu": lambda net, y: clipped(tf.nn.silu(y)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("saved", [False, True])
def test_custom_gradients_are_kept(name, saved, tmp_path):
    net = Net(ACTIVATIONS[name])
    function, x = net, images()
    if saved:
        tf.saved_model.save(net, str(tmp_path / "net"))
        loaded = tf.saved_model.load(str(tmp_path / "net"))
        function = lambda x: loaded.signatures["serving_default"](x=x)["output_0"]  # noqa: E731
    classifier = Classifier(function, SHAPE)
    wanted = tape_gradient(function, x)
    assert len(classifier.graph.custom.kept) == 1 and not classifier.graph.custom.lost
    assert near(classifier.gradients(x, TARGETS), wanted)
    dense = np.linspace(-1, 1, 30, dtype=np.float32).reshape(6, 5)
    name = next(name for name, p in classifier.parameters.items() if p.shape == (6, 5))
    classifier.weights.put({name: dense})  # gradients go on with the weights in place
    assert near(classifier.gradients(x, TARGETS), tape_gradient(function, x))


def test_in_a_function_compiled_as_a_whole():
    compiled_net, net = Net(compiled), Net(nested)  # TensorFlow's own gradient cannot be had there
    found = Classifier(compiled_net, SHAPE).gradients(images(), TARGETS)
    assert near(found, tape_gradient(net, images()))


def test_int8_kernels_of_keras():
    keras.utils.set_random_seed(0)
    given = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="tanh")(given))
    model = keras.Model(given, keras.layers.Dense(5)(keras.layers.Dense(8, "tanh")(flat)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers without int8, and of NumPy's copies in Keras
        model.quantize("int8")
    classifier = Classifier(model, SHAPE)
    assert len(classifier.graph.custom.kept) == 2
    assert near(classifier.gradients(images(), TARGETS), tape_gradient(model, images()))


@pytest.mark.parametrize("saved", [False, True])
def test_the_swish_of_tensorflow_has_the_gradient_of_its_ops(saved, tmp_path):
    net = Net(lambda net, y: tf.nn.silu(y))
    function = net
    if saved:
        tf.saved_model.save(net, str(tmp_path))
        loaded = tf.saved_model.load(str(tmp_path))
        function = lambda x: loaded.signatures["serving_default"](x=x)["output_0"]  # noqa: E731
    classifier = Classifier(function, SHAPE)
    custom = classifier.graph.custom  # not even compared: it is known to be TensorFlow's own
    assert not custom.kept and not custom.dropped
    assert "Sigmoid" in {classifier.graph.nodes[n].op for n in classifier.network.check_gradient()}


def test_one_that_was_not_saved_is_refused_where_gradients_are_needed(tmp_path):
    net = Net(ACTIVATIONS["nested"])  # this process has a gradient of the same number
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(net, str(tmp_path), options=options)
    loaded = tf.saved_model.load(str(tmp_path))
    classifier = Classifier(
        lambda x: loaded.signatures["serving_default"](x=x), SHAPE, name="unsaved"
    )
    assert near(classifier.logits(images()), net(images()).numpy())
    with pytest.raises(
        ConfigError, match="unsaved has a custom gradient that cannot be kept.*not saved"
    ):
        classifier.gradients(images(), TARGETS)


STOPPED = {
    "Sign": tf.sign,
    "Round": tf.round,
    "StopGradient": tf.stop_gradient,
    "Cast": lambda y: tf.cast(tf.cast(20 * y, tf.int32), tf.float32),
    "Greater": lambda y: tf.cast(y > 0, tf.float32),
}


@pytest.mark.parametrize("op", STOPPED)
def test_a_gradient_of_zero_is_said(op):
    classifier = Classifier(Net(lambda net, y: STOPPED[op](y)), SHAPE, name="flat")
    with pytest.raises(ConfigError, match=rf"no gradient leads from the logits of flat.*{op} \("):
        classifier.gradients(images(), TARGETS)


def test_a_stop_beside_the_way_is_none():
    net = Net(lambda net, y: y + tf.stop_gradient(tf.sign(y) - y))
    found = Classifier(net, SHAPE).gradients(images(), TARGETS)
    assert near(found, tape_gradient(net, images()))


def test_a_rule_does_not_reach_what_a_custom_gradient_replaces():
    @tf.custom_gradient
    def own(y):
        return tf.nn.relu(y), lambda upper: upper

    classifier = Classifier(Net(lambda net, y: own(y)), SHAPE)
    with pytest.raises(ConfigError, match="guided_backprop changes the gradient"):
        classifier.network.check_rule("guided_backprop")
