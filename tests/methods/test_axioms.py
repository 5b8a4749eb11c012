"""What is true of a method whatever the network and the image: checked on drawn ones."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sanity import methods
from sanity.data import Images
from sanity.methods import Plan, Subject
from sanity.methods.points import AtBaseline
from sanity.network.classifier import Classifier

SHAPE, CLASSES = (6, 6, 3), 3
NONLINEARITIES = [
    tf.nn.relu,
    tf.nn.relu6,
    tf.nn.leaky_relu,
    tf.nn.elu,
    tf.nn.selu,
    tf.nn.softplus,
    tf.nn.softsign,
    tf.sigmoid,
    tf.tanh,
]
BASELINES = ["black", "white", "mean", "blurred", "uniform", 0.3, [0.1, 0.5, 0.9]]
seeds = st.integers(0, 2**32 - 1)
examples = settings(max_examples=15, deadline=None, derandomize=True)


def image_of(seed):
    return np.random.default_rng(seed).random(SHAPE, np.float32)


class Net:
    """A network whose weights are drawn anew without tracing it anew."""

    def __init__(self, function, *shapes):
        self.variables = [
            tf.Variable(tf.zeros(shape), name=f"v{i}") for i, shape in enumerate(shapes)
        ]
        self.classifier = Classifier(lambda images: function(images, *self.variables), SHAPE)

    def draw(self, seed, scale=1.0):
        rng = np.random.default_rng([seed, 1])
        values = [
            (scale * rng.standard_normal(v.shape) / np.sqrt(np.prod(v.shape[:-1]))).astype("f")
            for v in self.variables
        ]
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)
        return values


def convolutional(nonlinearity, pool=False):
    def function(images, kernel, bias, dense, dense_bias):
        x = nonlinearity(3 * (tf.nn.conv2d(images, kernel, 1, "SAME") + bias))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME") if pool else x
        x = nonlinearity(3 * tf.reshape(x, [-1, dense.shape[0]]) @ dense + dense_bias)
        return tf.concat([x, -2 * x], 1)[:, :CLASSES]

    return Net(function, (3, 3, 3, 4), (4,), (36 if pool else 144, CLASSES), (CLASSES,))


def mask(classifier, method, image, target, seed=0):
    if isinstance(method, methods.GradientMethod):
        plan = Plan({"m": method})
        made = plan.prepare([Subject(image, "image", seed)], np.array([target]), 8)
        return made.explain(classifier)["m"][0].astype(np.float64)
    images = Images(image[None], ["image"], [None], [None], [""])
    return method.masks(classifier, images, np.array([target], np.int32), seed)[0]


def start(method, image, seed=0):
    from sanity.methods.baselines import baseline_key

    return AtBaseline(baseline_key(method.baseline)).at(Subject(image, "image", seed))


def difference(classifier, image, baseline, target):
    image, baseline = classifier.logits(np.stack([image, baseline]))[:, target].astype(np.float64)
    return image - baseline


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES, ids=lambda f: f.__name__)
def test_deeplift_is_complete(nonlinearity, pool):
    net = convolutional(nonlinearity, pool)

    @examples
    @given(seeds, st.integers(0, CLASSES - 1), st.sampled_from(BASELINES))
    def check(seed, target, baseline):
        net.draw(seed)
        image, method = image_of(seed), methods.DeepLiftRescale(baseline=baseline)
        found = mask(net.classifier, method, image, target)
        expected = difference(net.classifier, image, start(method, image), target)
        assert abs(found.sum() - expected) <= 2e-5 * (1 + np.abs(found).sum())

    check()


@pytest.mark.parametrize(
    ("quadrature", "steps", "tolerance"),
    [("gauss_legendre", 24, 1e-4), ("trapezoid", 200, 2e-4), ("midpoint", 200, 2e-4)],
)
def test_integrated_gradients_is_complete(quadrature, steps, tolerance):
    """On a smooth network, where the quadrature converges."""
    net = convolutional(tf.tanh)

    @examples
    @given(seeds, st.integers(0, CLASSES - 1), st.sampled_from(BASELINES))
    def check(seed, target, baseline):
        net.draw(seed, 0.5)
        image = image_of(seed)
        method = methods.IntegratedGradients(steps=steps, quadrature=quadrature, baseline=baseline)
        found = mask(net.classifier, method, image, target)
        expected = difference(net.classifier, image, start(method, image), target)
        assert abs(found.sum() - expected) <= tolerance * (1 + np.abs(found).sum())

    check()


def test_endpoints_overcount_by_known_terms():
    """PAIR's rule: (steps - 1)/steps of the trapezoid, and half of both ends' gradients more."""
    net = convolutional(tf.tanh)
    net.draw(3)
    image, steps = image_of(3), 5
    way = {"steps": steps, "baseline": "white"}
    found = mask(net.classifier, methods.IntegratedGradients(**way), image, 1)
    trapezoid = mask(
        net.classifier, methods.IntegratedGradients(quadrature="trapezoid", **way), image, 1
    )
    ends = net.classifier.gradients(np.stack([image, np.ones_like(image)]), np.array([1, 1]))
    extra = ends.mean(0, dtype=np.float64) * (image - 1)
    np.testing.assert_allclose(found, (trapezoid * (steps - 1) + extra) / steps, atol=1e-6)


LINEAR_WEIGHTS = {
    "gradient": methods.Gradient(),
    "smoothgrad": methods.SmoothGrad(samples=3),
    "integrated_gradients": methods.IntegratedGradients(steps=4, multiplier=False),
    "smoothed": methods.IntegratedGradientsSmoothGrad(steps=3, samples=2, multiplier=False),
    "expected": methods.ExpectedGradients(samples=4, multiplier=False),
}
LINEAR_TIMES_INPUT = {
    "gradient_x_input": methods.GradientXInput(),
    "integrated_gradients": methods.IntegratedGradients(steps=4),
    "trapezoid": methods.IntegratedGradients(steps=4, quadrature="trapezoid"),
}


def test_of_a_linear_network_the_weights_are_found():
    net = Net(lambda x, w, b: tf.reshape(x, [-1, 108]) @ w + b, (108, CLASSES), (CLASSES,))

    @examples
    @given(seeds, st.integers(0, CLASSES - 1))
    def check(seed, target):
        weights, _ = net.draw(seed)
        image, weight = image_of(seed), weights[:, target].reshape(SHAPE)
        for name, method in LINEAR_WEIGHTS.items():
            found = mask(net.classifier, method, image, target)
            np.testing.assert_allclose(found, weight, atol=1e-6, err_msg=name)
        for name, method in LINEAR_TIMES_INPUT.items():
            found = mask(net.classifier, method, image, target)
            np.testing.assert_allclose(found, weight * image, atol=1e-6, err_msg=name)
        for baseline in BASELINES:
            method = methods.IntegratedGradients(steps=2, baseline=baseline)
            found = mask(net.classifier, method, image, target)
            expected = weight * (image - start(method, image).astype(np.float64))
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=baseline)
        variance = mask(net.classifier, methods.VarGrad(samples=3), image, target)
        np.testing.assert_allclose(variance, 0, atol=1e-12)
        square = mask(net.classifier, methods.SmoothGradSquared(samples=3), image, target)
        np.testing.assert_allclose(square, weight**2, rtol=1e-5)

    check()


def test_of_one_nonlinearity_the_chord_is_found():
    """f(w x + b): DeepLIFT by the chord to the baseline, epsilon-LRP by that to the origin."""
    # Twice the sigmoid: a bare one at the end would be taken off.
    net = Net(lambda x, w, b: 2 * tf.sigmoid(tf.reshape(x, [-1, 108]) @ w + b), (108, 3), (3,))

    @examples
    @given(seeds, st.integers(0, CLASSES - 1), st.sampled_from([1e-4, 0.1]))
    def check(seed, target, epsilon):
        weights, bias = (v.astype(np.float64) for v in net.draw(seed))
        image, weight = image_of(seed), weights[:, target].reshape(SHAPE)
        z, z0 = (weight * image).sum() + bias[target], bias[target]
        f, f0 = 2 / (1 + np.exp(-z)), 2 / (1 + np.exp(-z0))
        found = mask(net.classifier, methods.DeepLiftRescale(), image, target)
        np.testing.assert_allclose(found, weight * image * (f - f0) / (z - z0), atol=2e-5)
        found = mask(net.classifier, methods.EpsilonLRP(epsilon=epsilon), image, target)
        slope = f / (z + (epsilon if z >= 0 else -epsilon))
        scale = np.abs(weight).max() * slope
        np.testing.assert_allclose(found / scale, weight * image * slope / scale, atol=1e-3)

    check()


EVERY = {
    "gradient": methods.Gradient(),
    "gradient_x_input": methods.GradientXInput(),
    "smoothgrad": methods.SmoothGrad(samples=3),
    "smoothgrad_squared": methods.SmoothGradSquared(samples=3),
    "vargrad": methods.VarGrad(samples=3),
    "integrated_gradients": methods.IntegratedGradients(steps=3, baseline="uniform"),
    "integrated_gradients_smoothgrad": methods.IntegratedGradientsSmoothGrad(steps=2, samples=2),
    "expected_gradients": methods.ExpectedGradients(samples=3),
    "guided_backprop": methods.GuidedBackprop(),
    "deconvnet": methods.Deconvnet(),
    "deeplift_rescale": methods.DeepLiftRescale(baseline="blurred"),
    "epsilon_lrp": methods.EpsilonLRP(),
    "guided_grad_cam": methods.GuidedGradCam(),
}


@pytest.mark.parametrize("name", EVERY)
def test_a_channel_that_the_network_ignores_gets_nothing(name):
    net = convolutional(tf.nn.relu)

    @settings(examples, max_examples=5)
    @given(seeds, st.integers(0, 2), st.integers(0, CLASSES - 1))
    def check(seed, channel, target):
        kernel = net.draw(seed)[0]
        kernel[:, :, channel] = 0
        net.variables[0].assign(kernel)
        found = mask(net.classifier, EVERY[name], image_of(seed), target)
        assert not found[..., channel].any()

    check()
    net.draw(0)
    found = [mask(net.classifier, EVERY[name], image_of(0), target) for target in range(CLASSES)]
    assert np.any(found)


def test_grad_cam_weighs_each_channel_by_its_mean_gradient():
    """Global average pooling and a dense layer: class activation mapping (Zhou et al. 2016)."""

    def function(images, kernel, dense):
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME")), [1, 2]) @ dense

    net = Net(function, (3, 3, 3, 4), (4, CLASSES))

    @examples
    @given(seeds, st.integers(0, CLASSES - 1))
    def check(seed, target):
        _, dense = net.draw(seed)
        image = image_of(seed)
        (maps,) = net.classifier.read(image[None], [net.classifier.network.spatial_tensor()])
        cam = np.maximum(maps[0].astype(np.float64) @ dense[:, target], 0)
        found = mask(net.classifier, methods.GradCam(), image, target)
        np.testing.assert_allclose(found * cam.max(), cam, atol=1e-6)
        # Grad-CAM++: of one gradient for a whole channel, alpha = 1 / (2 + gradient x sum).
        gradient = dense[:, target].astype(np.float64) / 36
        sums = maps[0].sum((0, 1), np.float64)
        weights = 36 * np.maximum(gradient, 0) / (2 + gradient * sums)
        cam = np.maximum(maps[0] @ weights, 0)
        found = mask(net.classifier, methods.GradCamPlusPlus(), image, target)
        np.testing.assert_allclose(found * cam.max(), cam, atol=1e-6)

    check()
