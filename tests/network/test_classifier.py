import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from tests.float64 import near, tape_gradient, twin
from tests.kernels import computes, images_are_independent
from tests.networks import small_classifier

TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


@pytest.mark.parametrize("relu", [tf.nn.relu, tf.nn.relu6, tf.nn.silu])  # silu: a custom gradient
def test_equals_its_source(noise_images, relu):
    classifier = small_classifier(relu=relu)
    x = noise_images.x
    np.testing.assert_allclose(
        classifier.logits(x), classifier.source(tf.constant(x)), rtol=1e-5, atol=1e-6
    )
    near(twin(classifier).gradients(x, TARGETS), tape_gradient(classifier.source, x, TARGETS))
    near(classifier.gradients(x, TARGETS), twin(classifier).gradients(x, TARGETS), 1e-2)


def test_softmax_is_taken_off(noise_images):
    plain, soft = small_classifier(), small_classifier(softmax=True)
    np.testing.assert_array_equal(plain.logits(noise_images.x), soft.logits(noise_images.x))
    assert soft.logits_tensor == plain.logits_tensor


def test_weights_are_exchanged_without_retracing(small, noise_images):
    x, trained = noise_images.x, small.weights.read()
    before = small.gradients(x, TARGETS)
    changed = {"stem/kernel": np.zeros_like(trained["stem/kernel"])}
    with small.weights.restored():
        small.weights.put(changed)
        assert not small.gradients(x, TARGETS).any()
        small.weights.put({"top/bias": trained["top/bias"] + 1})
        np.testing.assert_array_equal(small.gradients(x, TARGETS), before)
    for name, value in small.weights.read().items():
        np.testing.assert_array_equal(value, trained[name])


def test_weights_return_after_an_exception(small):
    trained = small.weights.read()
    with pytest.raises(ZeroDivisionError), small.weights.restored():
        small.weights.put({"top/bias": trained["top/bias"] * 2})
        raise ZeroDivisionError
    np.testing.assert_array_equal(small.weights.read()["top/bias"], trained["top/bias"])


@pytest.mark.parametrize("size", [2, 3, 5, 32])
def test_batch_size_changes_nothing(noise_images, size):
    x = noise_images.x
    reference, classifier = small_classifier(), small_classifier(batch_size=size)
    np.testing.assert_array_equal(classifier.logits(x), reference.logits(x))
    np.testing.assert_array_equal(classifier.gradients(x, TARGETS), reference.gradients(x, TARGETS))
    np.testing.assert_array_equal(
        classifier.gradients(x[3:4], TARGETS[3:4]), reference.gradients(x, TARGETS)[3:4]
    )


@pytest.mark.slow
def test_batch_size_changes_nothing_on_a_real_network(lite0, samples):
    """Nor does it elsewhere, but for what rounding may do to an image's ReLUs."""
    targets = np.arange(6, dtype=np.int32)
    whole = lite0.gradients(samples.x[:6], targets)
    for size in (2, 3, 4, 5):
        parts = [
            lite0.gradients(samples.x[i : min(i + size, 6)], targets[i : i + size])
            for i in range(0, 6, size)
        ]
        found = np.concatenate(parts)
        if images_are_independent():
            np.testing.assert_array_equal(found, whole)
        else:
            apart, scale = (
                np.linalg.norm(g.reshape(6, -1), axis=1) for g in (found - whole, whole)
            )
            assert np.median(apart / scale) < 1e-2


def test_parameters(small):
    found = {p.name: (p.kind, p.block, p.fan_in, p.fan_out) for p in small.parameters.values()}
    assert found == {
        "stem/kernel": ("kernel", "stem", 27, 72),
        "stem/gamma": ("scale", "stem", 0, 0),
        "stem/beta": ("offset", "stem", 0, 0),
        "stem/moving_mean": ("moving_mean", "stem", 0, 0),
        "stem/moving_variance": ("moving_variance", "stem", 0, 0),
        "middle/depthwise_kernel": ("kernel", "middle", 9, 18),
        "middle/bias": ("bias", "middle", 0, 0),
        "top/kernel": ("kernel", "top", 16, 7),
        "top/bias": ("bias", "top", 0, 0),
    }
    depths = [p.depth for p in small.parameters.values()]
    assert depths == sorted(depths)
    assert next(iter(small.parameters)) == "stem/kernel"
    assert list(small.parameters)[-1] == "top/bias"


def test_last_kernels(small, lite0):
    assert small.network.last_kernels == ["top/kernel"]
    (name,) = lite0.network.last_kernels
    assert lite0.parameters[name].block == "logits"


def test_any_tensor_can_be_read(small, noise_images):
    name = next(n for n, node in small.graph.nodes.items() if node.op == "DepthwiseConv2dNative")
    (values,) = small.read(noise_images.x, [f"{name}:0"])
    assert values.shape == (5, 8, 8, 16)


def test_output_must_be_a_vector():
    scale = tf.Variable(1.0)

    def outputs(images):
        images = images * scale
        return {"map": images, "a": images[:, 0, 0], "b": images[:, 0, 1]}

    with pytest.raises(ConfigError, match=r"reduce must say how map of model, 3 numbers at "):
        Classifier(outputs, (4, 4, 3), output="map")
    with pytest.raises(ConfigError, match=r"model\.output must say .*: a, b"):
        Classifier(outputs, (4, 4, 3))
    assert Classifier(outputs, (4, 4, 3), output="b").n_classes == 3


def test_rule_without_an_op_to_override_is_refused(noise_images):
    smooth = small_classifier(relu=tf.nn.softplus)
    with pytest.raises(ConfigError, match="Relu and Relu6"):
        smooth.gradients(noise_images.x, TARGETS, "guided_backprop")


def test_embedded_model_classifies(lite0, samples):
    predicted = lite0.logits(samples.x).argmax(axis=1)
    assert (predicted == samples.labels).sum() >= 17
    assert len(lite0.parameters) == 247
    assert all(p.block in lite0.blocks for p in lite0.parameters.values())


@pytest.mark.parametrize("kind", [tf.float16, tf.float64])
def test_a_network_of_another_precision(kind):
    if not computes(kind):
        pytest.skip(f"no convolutions of {kind.name} on this processor")
    draw, shape = np.random.default_rng(0), (3, 3, 3, 4)
    drawn = {"stem/kernel": draw.normal(0, 0.3, shape), "top/kernel": draw.normal(size=(4, 5))}
    drawn |= {"norm/gamma": np.ones(4), "norm/moving_mean": np.zeros(4)}
    drawn["norm/moving_variance"] = np.ones(4)

    def network_of(kind):
        own = {name: tf.Variable(value, name=name, dtype=kind) for name, value in drawn.items()}

        def network(images):
            x = tf.nn.conv2d(tf.cast(images, kind), own["stem/kernel"], 1, "SAME")
            spread = tf.math.rsqrt(own["norm/moving_variance"] + tf.cast(1e-3, kind))
            x = (x - own["norm/moving_mean"]) * spread * own["norm/gamma"]
            return tf.reduce_mean(tf.nn.relu(x), [1, 2]) @ own["top/kernel"]

        return Classifier(network, (6, 6, 3), variables=own)

    found, single = network_of(kind), network_of(tf.float32)
    x = np.random.default_rng(1).random((2, 6, 6, 3), np.float32)
    limit = 1e-2 if kind == tf.float16 else 1e-5
    assert found.logits(x).dtype == np.float32
    near(found.logits(x), single.logits(x), limit)
    gradient = found.gradients(x, TARGETS[:2] % 5)
    assert gradient.dtype == np.float32
    assert near_by_norm(gradient, single.gradients(x, TARGETS[:2] % 5), 10 * limit)
    moments, expected = (
        one.batch_moments(x)(["norm/moving_mean", "norm/moving_variance"])
        for one in (found, single)
    )
    for name, value in expected.items():
        near(moments[name], value, limit)


def near_by_norm(found, expected, limit):
    return np.linalg.norm(found - expected) < limit * np.linalg.norm(expected)
