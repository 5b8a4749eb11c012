"""Our masks against those of PAIR's `saliency`, on the same noise and steps."""

import numpy as np
import pytest
import tensorflow as tf
from saliency.core import GradCam, GradientSaliency, IntegratedGradients
from saliency.core.base import (
    CONVOLUTION_LAYER_VALUES,
    CONVOLUTION_OUTPUT_GRADIENTS,
    INPUT_OUTPUT_GRADIENTS,
)

from sanity import methods
from sanity.data import Images
from sanity.methods import Noisy, Plan, Subject
from sanity.methods.baselines import baseline_key
from sanity.methods.points import AtBaseline

SEED = 3


@pytest.fixture(params=["small", pytest.param("lite0", marks=pytest.mark.slow)])
def case(request):
    """A classifier, an image, its class, and PAIR's interface to both."""
    classifier = request.getfixturevalue(request.param)
    if request.param == "small":
        image = np.random.default_rng(1).random(classifier.input_shape, np.float32)
    else:
        image = request.getfixturevalue("samples").x[0]
    target = int(classifier.logits(image[None]).argmax())

    def call_model(x, call_model_args=None, expected_keys=None):
        x = np.asarray(x, np.float32)
        targets = np.full(len(x), target, np.int32)
        if INPUT_OUTPUT_GRADIENTS in expected_keys:
            return {INPUT_OUTPUT_GRADIENTS: classifier.gradients(x, targets)}
        layer = classifier.network.spatial_tensor(call_model_args)
        (values,), (gradients,) = classifier.gradients_at(x, targets, [layer])
        return {CONVOLUTION_LAYER_VALUES: values, CONVOLUTION_OUTPUT_GRADIENTS: gradients}

    return classifier, image, target, call_model


def ours(case, **chosen):
    classifier, image, target, _ = case
    plan = Plan(chosen)
    subject = Subject(image, "zebra", SEED)
    return plan.prepare([subject], np.array([target]), classifier.batch_size).explain(classifier)


def close(mine, theirs):
    """Element by element on the small network, by the norm on the deep one.

    PAIR's batches are of another size. Where kernels round by it, a ReLU of a deep network opens or
    closes, and single elements differ.
    """
    scale = np.abs(theirs).max()
    assert scale > 0
    if len(mine) > 100:
        assert np.linalg.norm(mine - theirs) <= 1e-3 * np.linalg.norm(theirs)
    else:
        np.testing.assert_allclose(mine, theirs, atol=2e-6 * scale, rtol=1e-5)


def test_gradient(case):
    _, image, _, call_model = case
    close(
        ours(case, gradient=methods.Gradient())["gradient"][0],
        GradientSaliency().GetMask(image, call_model),
    )


@pytest.fixture
def our_noise(case, monkeypatch):
    """PAIR's global generator draws ours: how much and how often."""
    image, (noise, samples) = case[1], (0.2, 4)
    subject = Subject(image, "zebra", SEED)
    draws = iter([Noisy(noise, i).at(subject) - image for i in range(samples)])
    monkeypatch.setattr(np.random, "normal", lambda mean, std, shape: next(draws))
    return {"stdev_spread": noise, "nsamples": samples}, {"noise": noise, "samples": samples}


@pytest.mark.parametrize(
    ("method", "magnitude"), [(methods.SmoothGrad, False), (methods.SmoothGradSquared, True)]
)
def test_smoothgrad(case, our_noise, method, magnitude):
    _, image, _, call_model = case
    theirs, mine = our_noise
    expected = GradientSaliency().GetSmoothedMask(image, call_model, magnitude=magnitude, **theirs)
    close(ours(case, s=method(**mine))["s"][0], expected)


@pytest.mark.parametrize("baseline", ["black", "white", "mean", "blurred", "uniform"])
def test_integrated_gradients_with_smoothgrad(case, our_noise, baseline):
    _, image, _, call_model = case
    theirs, mine = our_noise
    subject = Subject(image, "zebra", SEED)
    copies = [Noisy(mine["noise"], i).at(subject) for i in range(mine["samples"])]

    def exact(x, *arguments, **options):
        """PAIR's last step is baseline + (copy - baseline), which rounding keeps off the copy."""
        x = np.asarray(x, np.float32)
        for copy in copies:
            x[np.abs(x - copy).max((1, 2, 3)) < 1e-6] = copy
        return call_model(x, *arguments, **options)

    expected = IntegratedGradients().GetSmoothedMask(
        image,
        exact,
        magnitude=False,
        x_steps=3,
        x_baseline=AtBaseline(baseline_key(baseline)).at(subject),
        batch_size=4,
        **theirs,
    )
    method = methods.IntegratedGradientsSmoothGrad(steps=3, baseline=baseline, **mine)
    close(ours(case, s=method)["s"][0], expected)


def test_noise_has_the_right_scale():
    image = np.random.default_rng(0).random((64, 64, 3), np.float32) * 0.5
    noise = Noisy(0.2, 0).at(Subject(image, "a", 0)) - image
    expected = 0.2 * (image.max() - image.min())
    assert abs(noise.std() / expected - 1) < 0.02
    assert abs(noise.mean()) < 0.02 * expected


@pytest.mark.parametrize("baseline", ["black", "blurred", 0.5])
@pytest.mark.parametrize("steps", [2, 9])
def test_integrated_gradients(case, steps, baseline):
    _, image, _, call_model = case
    start = AtBaseline(baseline_key(baseline)).at(Subject(image, "zebra", SEED))
    theirs = IntegratedGradients().GetMask(
        image, call_model, x_steps=steps, x_baseline=start, batch_size=4
    )
    method = methods.IntegratedGradients(steps=steps, baseline=baseline)
    close(ours(case, ig=method)["ig"][0], theirs)


@pytest.mark.parametrize("depth", [1, 4])
def test_grad_cam(case, depth):
    """At the last layer, and further down."""
    classifier, image, target, call_model = case
    name = list(classifier.network.spatial_tensors)[-depth]
    assert depth > 1 or name == classifier.network.spatial_tensor()
    theirs = GradCam().GetMask(image, call_model, name)
    images = Images(image[None], ["zebra"], [None], [None], [""])
    mine = methods.GradCam(layer=name).masks(classifier, images, np.array([target]), SEED)
    close(mine[0], theirs[..., 0])
    guided = ours(case, both=methods.GuidedGradCam(layer=name), one=methods.GuidedBackprop())
    close(guided["both"][0], guided["one"][0] * theirs)


def test_gradient_x_input(case):
    _, image, _, call_model = case
    theirs = GradientSaliency().GetMask(image, call_model) * image
    close(ours(case, m=methods.GradientXInput())["m"][0], theirs)


@pytest.mark.parametrize("relu", [tf.nn.relu])  # PAIR overrides no other
def test_guided_backprop(relu, tmp_path):
    from saliency.tf1 import GuidedBackprop

    from sanity.network.classifier import Classifier

    draw = np.random.default_rng(5)
    values = [0.4 * draw.standard_normal(s).astype(np.float32) for s in [(3, 3, 3, 6), (6, 4)]]
    x = draw.random((12, 12, 3), np.float32)

    def network(images, kernel, dense):
        hidden = relu(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return tf.reduce_mean(relu(hidden - 0.3), [1, 2]) @ dense

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        images = tf.compat.v1.placeholder(tf.float32, [None, 12, 12, 3])
        kernel, dense = (tf.compat.v1.Variable(v) for v in values)
        logits = network(images, kernel, dense)
        session.run(tf.compat.v1.global_variables_initializer())
        theirs = GuidedBackprop(
            graph, session, logits[0, 2], images, tmp_ckpt_path=str(tmp_path / "guided")
        ).GetMask(x, {images: [x]})

    variables = [tf.Variable(v) for v in values]
    classifier = Classifier(lambda images: network(images, *variables), (12, 12, 3))
    mine = classifier.gradients(x[None], np.array([2], np.int32), "guided_backprop")[0]
    close(mine, theirs)
    plain = classifier.gradients(x[None], np.array([2], np.int32))[0]
    assert not np.allclose(mine, plain)
