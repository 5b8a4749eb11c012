"""Multiplying by the image, and starting from zeros, in coordinates other than [0, 1]."""

import numpy as np
import pytest
import tensorflow as tf

from sanity import methods
from sanity.config import compose
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.methods.baselines import baseline_image, baseline_key
from sanity.methods.coordinates import image_in, zero_of
from sanity.methods.subject import Subject
from sanity.network.classifier import Classifier
from tests.networks import small_classifier

TARGETS = np.array([0, 3], np.int32)
SYMMETRIC = [-1.0, 1.0]


@pytest.fixture(scope="module")
def pair():
    """A smooth network, and the same behind the scaling of pixels to [-1, 1]."""
    own = small_classifier(relu=tf.math.softplus)
    scaled = Classifier(lambda images: own.source(2 * images - 1), (16, 16, 3))
    return own, scaled


def images(x):
    names = [f"image_{i}" for i in range(len(x))]
    return Images(x, names, [None] * len(x), [None] * len(x), [""] * len(x))


@pytest.mark.parametrize("method", [methods.GradientXInput, methods.EpsilonLRP])
def test_products_are_those_of_the_networks_own_coordinates(pair, method):
    own, scaled = pair
    x = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    expected = method().masks(own, images(2 * x - 1), TARGETS, 0)
    found = method(coordinates=SYMMETRIC).masks(scaled, images(x), TARGETS, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    pixels = method().masks(scaled, images(x), TARGETS, 0)
    assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] < 0.9


def test_integrated_gradients_start_at_the_zero_of_the_networks_own_coordinates(pair):
    own, scaled = pair
    x = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    expected = methods.IntegratedGradients().masks(own, images(2 * x - 1), TARGETS, 0)
    zero = methods.IntegratedGradients(baseline="zero", coordinates=SYMMETRIC)
    found = zero.masks(scaled, images(x), TARGETS, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("coordinates", "zero"), [([0, 1], 0), ([-1, 1], 0.5), ([-128, 127], 128 / 255), ([0, 255], 0)]
)
def test_zero_and_image(coordinates, zero):
    subject = Subject(np.random.default_rng(2).random((4, 4, 3), np.float32), "x", 0)
    assert zero_of(coordinates) == pytest.approx(zero)
    grey = baseline_image(baseline_key("zero", coordinates), subject)
    np.testing.assert_allclose(grey, np.full((4, 4, 3), zero), rtol=1e-6)
    np.testing.assert_allclose(
        image_in(coordinates, subject.image), subject.image - zero, rtol=1e-5
    )


def test_one_key_sets_those_of_all_methods():
    chosen = [
        "gradient_x_input",
        "epsilon_lrp",
        "integrated_gradients",
        "denoised_gradient_x_input",
    ]
    job = compose([f"method=[{','.join(chosen)}]", "coordinates=[-1,1]"])
    found = [job.methods[name].coordinates for name in chosen[:3]]
    assert [*found, job.methods[chosen[3]].method.coordinates] == [[-1, 1]] * 4


@pytest.mark.parametrize("wrong", ["[1,-1]", "[0]", "pixels"])
def test_coordinates_are_two_numbers_in_order(wrong):
    with pytest.raises(ConfigError, match=r"coordinates="):
        compose([f"coordinates={wrong}"])


def test_the_papers_computation():
    job = compose(["experiment=paper"])
    assert job.settings.target == "predicted_each_stage"
    assert job.randomization.draws == "fresh" and job.choices["randomization"] == "paper_code"
    both = job.methods["integrated_gradients_smoothgrad"]
    assert (both.steps, both.samples, both.start) == (50, 50, 0.5)
    assert job.methods["gradient_x_input"].coordinates == SYMMETRIC
    assert job.methods["integrated_gradients"].start == 0.5
