"""Our masks against those of Captum and shap, stored with the script that made them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sanity import methods
from sanity.methods import Plan, Subject
from sanity.methods.points import Noisy
from sanity.network.classifier import Classifier
from tests.float64 import twin

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "captum.npz"))
IMAGES, BASELINE, NOISE = (REFERENCE[key] for key in ("images", "baseline", "noise"))
TARGETS = REFERENCE["targets"].astype(np.int32)
RELUS = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "elu": tf.nn.elu,
    "leaky": lambda x, name=None: tf.nn.leaky_relu(x, 0.2, name=name),
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "softplus": tf.nn.softplus,
}
# Of the largest value, for a network in single precision against one in double.
TOLERANCE = 3e-6


def network(activation="relu", pool=False):
    weights = {
        key.removeprefix("weights/"): tf.Variable(value)
        for key, value in REFERENCE.items()
        if key.startswith("weights/")
    }
    f, dense = RELUS[activation], weights["pooled_dense" if pool else "dense"]

    def logits(images):
        x = f(tf.nn.conv2d(images, weights["kernel1"], 1, "SAME") + weights["bias1"])
        x = tf.nn.max_pool2d(x, 2, 2, "VALID") if pool else x
        x = f(tf.nn.conv2d(x, weights["kernel2"], 1, "SAME") + weights["bias2"], name="last")
        return tf.reshape(x, [-1, dense.shape[0]]) @ dense + weights["dense_bias"]

    return twin(Classifier(logits, IMAGES.shape[1:]))


@pytest.fixture(scope="module")
def relu_network():
    return network()


@pytest.fixture
def given(monkeypatch):
    """The stored baselines and noise in place of our own."""

    def baseline(key, subject):
        return BASELINE[int(subject.name)] if key == "mean" else np.full_like(subject.image, key)

    for module in ("points", "gradients"):
        monkeypatch.setattr(f"sanity.methods.{module}.baseline_image", baseline)
    monkeypatch.setattr(Noisy, "at", lambda self, subject: subject.image + NOISE[self.sample])


def masks(classifier, method):
    if not isinstance(method, methods.GradientMethod):
        images = methods_images()
        return method.masks(classifier, images, TARGETS, 0)
    subjects = [Subject(image, str(i), 0) for i, image in enumerate(IMAGES)]
    return Plan({"m": method}).prepare(subjects, TARGETS, 8).explain(classifier)["m"]


def methods_images():
    from sanity.data import Images

    n = len(IMAGES)
    return Images(IMAGES, [str(i) for i in range(n)], [None] * n, [None] * n, [""] * n)


def close(mine, key, tolerance=TOLERANCE):
    theirs = REFERENCE[key]
    scale = np.abs(theirs).max()
    assert scale > 1e-4
    assert mine.shape == theirs.shape
    np.testing.assert_allclose(mine / scale, theirs / scale, atol=tolerance, rtol=0)


NETWORKS = [(activation, pool) for activation in RELUS for pool in (False, True)]


@pytest.mark.parametrize(("activation", "pool"), NETWORKS)
def test_networks_with_every_nonlinearity(activation, pool, given):
    """Logits, gradient and DeepLIFT: Captum's or, with max pooling, shap's."""
    classifier, key = network(activation, pool), f"{activation}{'_pool' if pool else ''}"
    close(classifier.logits(IMAGES), f"{key}/logits")
    close(masks(classifier, methods.Gradient()), f"{key}/gradient")
    multiplied = masks(classifier, methods.DeepLiftRescale(baseline="mean"))
    if activation == "relu6":  # the references do not know it: their sums would be wrong
        steps = np.arange(len(TARGETS)), TARGETS
        change = (classifier.logits(IMAGES) - classifier.logits(BASELINE))[steps]
        np.testing.assert_allclose(multiplied.sum((1, 2, 3)), change, atol=5e-6)
        return
    close(multiplied, f"{key}/deeplift", 1e-5)
    if not pool:  # shap multiplies always
        alone = masks(classifier, methods.DeepLiftRescale(baseline="mean", multiplier=False))
        close(alone, f"{key}/deeplift_local", 1e-5)


IG = {"steps": 7, "baseline": "mean"}
METHODS = {
    "gradient_x_input": methods.GradientXInput(),
    "guided_backprop": methods.GuidedBackprop(),
    "deconvnet": methods.Deconvnet(),
    "smoothgrad": methods.SmoothGrad(samples=len(NOISE)),
    "smoothgrad_sq": methods.SmoothGradSquared(samples=len(NOISE)),
    "vargrad": methods.VarGrad(samples=len(NOISE)),
    "integrated_gradients_midpoint": methods.IntegratedGradients(quadrature="midpoint", **IG),
    "integrated_gradients_gauss_legendre": methods.IntegratedGradients(
        quadrature="gauss_legendre", **IG
    ),
    "integrated_gradients_local": methods.IntegratedGradients(
        quadrature="gauss_legendre", multiplier=False, **IG
    ),
    "integrated_gradients_smoothgrad": methods.IntegratedGradientsSmoothGrad(
        samples=len(NOISE), steps=5, quadrature="gauss_legendre", baseline=0.25
    ),
}


@pytest.mark.parametrize("key", METHODS)
def test_gradient_methods(relu_network, given, key):
    close(masks(relu_network, METHODS[key]), key)


@pytest.mark.parametrize(
    ("key", "method"),
    [
        ("grad_cam", methods.GradCam(layer="last")),
        ("grad_cam_plus_plus", methods.GradCamPlusPlus(layer="last")),
    ],
)
def test_grad_cam_family(relu_network, key, method):
    """At a layer of the image's size, where nothing is resized; ours have a maximum of 1."""
    close(method.maps(relu_network, IMAGES, TARGETS), key)
    peaks = REFERENCE[key].max((1, 2))
    assert (peaks > 0).all()
    close(masks(relu_network, method) * peaks[:, None, None], key)


def test_guided_grad_cam(relu_network):
    peaks = REFERENCE["grad_cam"].max((1, 2))[:, None, None, None]
    guided = masks(relu_network, methods.GuidedGradCam(layer="last"))
    close(guided * peaks, "guided_grad_cam")


@pytest.mark.parametrize(
    ("key", "activation", "pool"),
    [("lrp", "relu", False), ("lrp_pool", "relu", True), ("lrp_tanh", "tanh", False)],
)
def test_epsilon_lrp(key, activation, pool):
    """Captum stabilises the last linear layer as well, whose output is the logit: one factor."""
    classifier, epsilon = network(activation, pool), float(REFERENCE["epsilon"])
    logits = REFERENCE[f"{activation}{'_pool' if pool else ''}/logits"]
    logit = np.take_along_axis(logits, TARGETS[:, None], 1)[:, 0]
    factor = (logit / (logit + epsilon * np.sign(logit)))[:, None, None, None]
    assert np.abs(factor - 1).max() > 0.01
    close(masks(classifier, methods.EpsilonLRP(epsilon=epsilon)) * factor, key, 1e-5)
    alone = masks(classifier, methods.EpsilonLRP(epsilon=epsilon, multiplier=False))
    close(alone * IMAGES * factor, key, 1e-5)
