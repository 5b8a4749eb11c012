"""Networks with channels first: each is the same as its twin with channels last."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.methods import GradCam
from sanity.network.classifier import Classifier

X = np.random.default_rng(0).random((3, 12, 10, 3), np.float32)
TARGETS = np.array([0, 2, 4])
FIRST, LAST = "NCHW", "NHWC"


class Net:
    """What networks are made of, on either order of axes, with the same weights in both."""

    def __init__(self, order):
        self.order, self.first = order, order == FIRST
        self.rows, self.channels = ([2, 3], 1) if self.first else ([1, 2], 3)
        self.weights = {}

    def variable(self, name, *shape):
        if name not in self.weights:
            random = np.random.Generator(np.random.PCG64(len(self.weights)))
            value = random.normal(0, 0.4, shape).astype(np.float32)
            self.weights[name] = tf.Variable(
                np.abs(value) if "variance" in name else value, name=name
            )
        return self.weights[name]

    def axes(self, rows, columns, channels, images=1):
        return (
            [images, channels, rows, columns] if self.first else [images, rows, columns, channels]
        )

    def channel(self, values):
        return tf.reshape(values, self.axes(1, 1, -1)) if self.first else values

    def conv(self, x, name, outputs, stride=1, padding="SAME"):
        kernel = self.variable(f"{name}/kernel", 3, 3, x.shape[self.channels], outputs)
        strides = self.axes(stride, stride, 1)
        if padding == "EXPLICIT":
            padding = self.axes([1, 0], [0, 2], [0, 0], [0, 0])
        y = tf.nn.conv2d(x, kernel, strides, padding, data_format=self.order)
        return tf.nn.bias_add(y, self.variable(f"{name}/bias", outputs), data_format=self.order)

    def norm(self, x, name):
        size = x.shape[self.channels]
        scale, offset, mean, variance = (
            self.variable(f"{name}/{part}", size)
            for part in ("scale", "offset", "mean", "variance")
        )
        y, *_ = tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, mean, variance, data_format=self.order, is_training=False
        )
        return y

    def __call__(self, images):
        x = tf.transpose(images, [0, 3, 1, 2]) if self.first else images
        return self.head(self.body((x - 0.5) * 2.0))

    def head(self, x):
        means = tf.reduce_mean(x, self.rows)
        return means @ self.variable("top/kernel", means.shape[1], 5)


class Pools(Net):
    def body(self, x):
        x = tf.tanh(self.norm(self.conv(x, "a", 6, 2, "EXPLICIT"), "a"))
        small, step = self.axes(2, 2, 1), self.axes(1, 1, 1)
        most = tf.nn.max_pool2d(x, small, step, "SAME", data_format=self.order)
        mean = tf.nn.avg_pool2d(x, small, step, "SAME", data_format=self.order)
        x = tf.nn.silu(self.conv(tf.concat([most, mean], self.channels), "b", 4))
        gate = tf.reduce_mean(x, self.rows, keepdims=True)
        return x * tf.sigmoid(self.conv(gate, "gate", 4))


class Depthwise(Net):
    def body(self, x):
        kernel = self.variable("a/kernel", 3, 3, 3, 2)
        steps = self.axes(2, 2, 1)
        x = tf.pad(x, self.axes([1, 1], [1, 0], [0, 0], [0, 0]))
        x = tf.nn.depthwise_conv2d(x, kernel, steps, "VALID", data_format=self.order)
        slope = self.channel(self.variable("a/slope", 6))
        return tf.nn.relu(x) - slope * tf.nn.relu(-x) + self.channel(self.variable("a/bias", 6))


class Transposed(Net):
    def body(self, x):
        x = tf.tanh(self.conv(x, "a", 4, 2))
        kernel = self.variable("b/kernel", 3, 3, 5, 4)
        count = tf.shape(x)[0]
        size = tf.stack(self.axes(12, 10, 5, count))
        x = tf.nn.conv2d_transpose(x, kernel, size, self.axes(2, 2, 1), data_format=self.order)
        return tf.nn.space_to_depth(tf.tanh(x), 2, data_format=self.order)


class Normed(Net):
    """Layer normalization over channels, and a map of weights added."""

    def body(self, x):
        x = self.conv(x, "a", 6)
        mean, variance = tf.nn.moments(x, [self.channels], keepdims=True)
        x = (x - mean) * tf.math.rsqrt(variance + 1e-3) * self.channel(self.variable("a/scale", 6))
        map_ = self.variable("map", 1, 12, 10, 6)
        return x + (tf.transpose(map_, [0, 3, 1, 2]) if self.first else map_)

    def head(self, x):
        x = tf.nn.max_pool2d(x, self.axes(12, 10, 1), 1, "VALID", data_format=self.order)
        return tf.squeeze(x, self.rows) @ self.variable("top/kernel", 6, 5)


class Flat(Net):
    """Flattened by its size, as frameworks do, in each order its own."""

    def body(self, x):
        return tf.tanh(self.conv(x, "a", 4, 3))

    def head(self, x):
        kernel = self.variable("top/kernel", 4, 4, 4, 5)
        kernel = tf.transpose(kernel, [2, 0, 1, 3]) if self.first else kernel
        sizes = tf.shape(x)
        x = tf.reshape(x, [sizes[0], sizes[1] * sizes[2] * sizes[3]])
        return tf.ensure_shape(x, [None, 64]) @ tf.reshape(kernel, [64, 5])


class Sliced(Net):
    def body(self, x):
        x = tf.tanh(self.conv(x, "a", 6))
        x = tf.slice(x, self.axes(1, 0, 2, 0), self.axes(10, -1, 4, -1))
        x = tf.nn.softplus(x[:, :, 1:-2, ::2] if self.first else x[:, 1:-2, ::2])
        three, one = tf.split(x, [3, 1], self.channels)
        left, right = tf.split(self.conv(three, "b", 8), 2, self.channels)
        return left * tf.tanh(right) + one


class Unknown(Net):
    """Ops that stay as they are: repeated channels, a sum that leaves rows beside channels."""

    def body(self, x):
        x = tf.tanh(self.conv(x, "a", 6))
        return tf.nn.softplus(tf.tile(x, self.axes(1, 1, 2)))

    def head(self, x):
        x = tf.reduce_sum(x, self.rows[0])  # (n, c, w) or (n, w, c)
        x = tf.reshape(tf.transpose(x, [0, 2, 1]) if self.first else x, [-1, 120])
        return x @ self.variable("top/kernel", 120, 5)


@pytest.mark.parametrize("kind", [Pools, Depthwise, Transposed, Normed, Flat, Sliced, Unknown])
def test_it_is_the_twin_with_channels_last(kind):
    first, last = (Classifier(kind(order), X.shape[1:]) for order in (FIRST, LAST))
    formats = [
        n.attr["data_format"].s for n in first.graph.nodes.values() if "data_format" in n.attr
    ]
    assert FIRST.encode() not in formats and formats
    np.testing.assert_allclose(first.logits(X), last.logits(X), rtol=1e-4, atol=1e-5)
    found, expected = (one.gradients(X, TARGETS) for one in (first, last))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert first.blocks == last.blocks
    assert [(p.name, p.kind, p.fan_in) for p in first.parameters.values()] == [
        (p.name, p.kind, p.fan_in) for p in last.parameters.values()
    ]
    if kind is Unknown:
        return
    maps = [set(one.network.spatial_tensors.values()) for one in (first, last)]
    assert maps[1] <= maps[0]
    assert [n.mean for n in first.batch_norms] == [n.mean for n in last.batch_norms]
    masks = [GradCam().maps(one, X, TARGETS) for one in (first, last)]
    np.testing.assert_allclose(masks[0], masks[1], rtol=0, atol=1e-4 * np.abs(masks[1]).max())


def test_batch_norm_is_reestimated():
    first, last = (Classifier(Pools(order), X.shape[1:]) for order in (FIRST, LAST))
    names = ["a/mean", "a/variance"]
    found, expected = (one.batch_moments(X)(names) for one in (first, last))
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


class OwnNorm(Net):
    """Batch norm in single ops, whose parameters have four axes in the order of the maps."""

    def body(self, x):
        x = self.conv(x, "a", 6, 2)
        mean, variance, scale, offset = (
            self.variable(f"a/{part}", *self.axes(1, 1, 6))
            for part in ("mean", "variance", "scale", "offset")
        )
        return tf.tanh(self.normed(x, mean, scale / tf.sqrt(variance + 1e-3), offset))

    def normed(self, x, mean, gain, offset):
        return (x - mean) * gain + offset


class FoldedNorm(OwnNorm):
    def normed(self, x, mean, gain, offset):
        return x * gain + (offset - mean * gain)


@pytest.mark.parametrize("kind", [OwnNorm, FoldedNorm])
def test_statistics_of_four_axes_are_reestimated(kind):
    first, last = (Classifier(kind(order), X.shape[1:]) for order in (FIRST, LAST))
    np.testing.assert_allclose(first.logits(X), last.logits(X), rtol=1e-4, atol=1e-5)
    names = ["a/mean", "a/variance"]
    found, expected = (one.batch_moments(X)(names) for one in (first, last))
    for name in names:
        assert found[name].shape == (1, 6, 1, 1)
        values = found[name].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)


def test_statistics_of_another_axis_are_refused():
    def columns(images):
        mean, variance = (net.variable(f"a/{part}", 1, 1, 10, 1) for part in ("mean", "variance"))
        return net.head((images - mean) / tf.sqrt(variance + 1e-3))

    net = Net(LAST)
    with pytest.raises(ConfigError, match="channels of a/variance are not the last axis"):
        _ = Classifier(columns, X.shape[1:]).batch_norms


ENDINGS = {
    "logits": lambda y, axis: y,
    "sigmoid": lambda y, axis: tf.sigmoid(y),
    "softmax": tf.nn.softmax,
    "log_softmax": tf.nn.log_softmax,
}


@pytest.mark.parametrize("inside", [FIRST, LAST])
@pytest.mark.parametrize("ending", ENDINGS)
def test_maps_put_out_with_channels_first_are_turned(inside, ending):
    class Map(Net):
        """Computed in either order, put out with channels first, or last."""

        def __init__(self, order, turned):
            super().__init__(order)
            self.turned = turned

        def body(self, x):
            return tf.nn.softplus(self.conv(x, "a", 4, 2))

        def head(self, x):
            y = self.conv(x, "top", 5)
            if self.turned and not self.first:
                y = tf.transpose(y, [0, 3, 1, 2])
            return ENDINGS[ending](y, axis=1 if self.turned else 3)

    first = Classifier(Map(inside, True), X.shape[1:], reduce=[2, 3])
    last = Classifier(Map(LAST, False), X.shape[1:], reduce=[2, 3])
    assert first.network.output_shapes == last.network.output_shapes
    assert (first.ending.link, first.ending.taken_off) == (last.ending.link, last.ending.taken_off)
    np.testing.assert_allclose(first.logits(X), last.logits(X), rtol=1e-4, atol=1e-5)
    found, expected = (one.gradients(X, TARGETS) for one in (first, last))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_map_of_classes_is_reduced_as_the_image_lies():
    class Map(Net):
        def head(self, x):
            return self.conv(x, "top", 5)

        def body(self, x):
            return tf.nn.softplus(self.conv(x, "a", 4, 2))

    for reduce in ("mean", [2, 3]):
        first, last = (
            Classifier(Map(order), X.shape[1:], reduce=reduce) for order in (FIRST, LAST)
        )
        assert first.n_classes == 5
        assert first.network.output_shapes == last.network.output_shapes
        np.testing.assert_allclose(first.logits(X), last.logits(X), rtol=1e-4, atol=1e-5)


def test_other_networks_stay_as_they_are(small):
    from sanity.network.channels_last import put_channels_last

    assert put_channels_last(small.graph, small.network.images) is small.graph
