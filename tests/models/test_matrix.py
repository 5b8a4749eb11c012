"""Every source against itself: logits, gradients, guided backprop, weights."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.data import ImageNetSamples
from sanity.errors import ConfigError
from tests.float64 import as_it_is, near, tape_gradient, twin
from tests.models.standins import MAKERS, make

SLOW = ("tf1_hub_references", "ResNet50", "DenseNet121", "EfficientNetB0", "ConvNeXtTiny")


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in MAKERS],
)
def pair(request, tmp_path_factory):
    standin = make(request.param, tmp_path_factory.mktemp(request.param))
    with standin.around():
        return standin, standin.source.load()


def images_and_targets(classifier):
    random = np.random.default_rng(0)
    x = random.random((3, *classifier.input_shape), np.float32)
    return x, np.array([0, 3, 2], np.int32)


def by_its_own_graph(standin, x):
    """The source's logits, in one graph as a user's would be.

    Op by op where TensorFlow has no fused kernel for it, as for grouped convolutions without
    oneDNN; other kernels round otherwise, ResNet50's logits by 3e-5.
    """
    try:
        return tf.function(standin.logits)(x)
    except tf.errors.OpError:
        return standin.logits(x)


def test_logits_are_the_sources_own(pair):
    standin, classifier = pair
    assert classifier.input_shape == standin.shape
    x, _ = images_and_targets(classifier)
    logits = by_its_own_graph(standin, tf.constant(x))
    assert classifier.n_classes == logits.shape[1]
    near(classifier.logits(x), logits, 1e-5)


def test_gradients_are_a_tapes_on_the_source(pair):
    """In float32 where the network is smooth, else in double precision.

    Where a rounding opens or closes a ReLU, some hundredths of an image's float32 gradient change.
    """
    standin, classifier = pair
    x, targets = images_and_targets(classifier)
    found = classifier.gradients(x, targets)
    expected = tape_gradient(standin.logits, x, targets, double=standin.has_relu)
    if standin.has_relu:
        with as_it_is():
            near(twin(classifier).gradients(x, targets), expected)
        error, size = ([np.linalg.norm(image) for image in g] for g in (found - expected, expected))
        assert np.median(np.divide(error, size)) < 0.02
    else:
        near(found, expected, 1e-4)


def test_guided_backprop_is_not_the_gradient(pair):
    standin, classifier = pair
    x, targets = images_and_targets(classifier)
    if not standin.has_relu:
        with pytest.raises(ConfigError, match=r"no such op"):
            classifier.gradients(x, targets, "guided_backprop")
        return
    plain = classifier.gradients(x, targets)
    guided = classifier.gradients(x, targets, "guided_backprop")
    assert np.abs(plain - guided).max() > 0.01 * np.abs(plain).max()


def test_randomizing_one_block_changes_that_block_only(pair):
    standin, classifier = pair
    x, _ = images_and_targets(classifier)
    trained, before = classifier.weights.read(), classifier.logits(x)
    inside = [p.name for p in classifier.parameters.values() if p.block == standin.block]
    assert any(classifier.parameters[name].kind == "kernel" for name in inside)
    random = np.random.default_rng(1)
    drawn = {name: random.random(trained[name].shape, np.float32) + 0.1 for name in inside}
    with classifier.weights.restored():
        classifier.weights.put(drawn)
        now = classifier.weights.read()
        for name, value in trained.items():
            expected = drawn.get(name, value)
            assert np.array_equal(now[name], expected), name
            assert (name in drawn) == (not np.array_equal(now[name], value)), name
        assert not np.allclose(classifier.logits(x), before)
    for name, value in classifier.weights.read().items():
        np.testing.assert_array_equal(value, trained[name])
    np.testing.assert_array_equal(classifier.logits(x), before)


def test_every_variable_of_a_layer_is_in_a_block(pair):
    _, classifier = pair
    assert len(set(classifier.blocks)) == len(classifier.blocks)
    for block in classifier.blocks:
        kinds = {p.kind for p in classifier.parameters.values() if p.block == block}
        assert "kernel" in kinds, block
    left = [p.name for p in classifier.parameters.values() if not p.block]
    assert all("normalization" in name or name == "training" for name in left), left
    depths = [
        min(p.depth for p in classifier.parameters.values() if p.block == b and p.kind == "kernel")
        for b in classifier.blocks
    ]
    assert depths == sorted(depths, reverse=True)


def test_reestimated_statistics_fit_the_activations(pair):
    """Every source's batch norms are found, and normalise by the images' own moments."""
    from sanity.randomization.weights import Randomization

    _, classifier = pair
    count = sum(p.kind == "moving_variance" for p in classifier.parameters.values())
    norms = classifier.batch_norms
    assert len({norm.mean for norm in norms}) == len(norms) == count
    source = ImageNetSamples()
    stage = Randomization().stages(classifier, classifier.blocks, 0)[-1]
    weights = stage.make_weights()
    with classifier.weights.restored():
        classifier.weights.put(weights)
        x = source.load(classifier.input_shape).x
        read = classifier.read(x, [f"{norm.tensor.split(':')[0]}:0" for norm in norms])
    for norm, values in zip(norms, read, strict=True):
        if norm.mean in weights:
            axes, scale = tuple(range(values.ndim - 1)), np.abs(values).max()
            mean, variance = values.mean(axes, dtype=float), values.var(axes, dtype=float)
            np.testing.assert_allclose(weights[norm.mean], mean, rtol=0, atol=1e-5 * scale)
            np.testing.assert_allclose(
                weights[norm.variance], variance, rtol=1e-3, atol=1e-8 * scale**2
            )
