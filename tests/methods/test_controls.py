"""Controls: what they are, and what they depend on."""

import numpy as np
import pytest

from sanity.methods import Constant, EdgeDetector, Input, RandomMask
from tests.methods.test_perturbation import SHAPES, curved, pictures

CONTROLS = {
    "input": Input(),
    "constant": Constant(),
    "edge_detector": EdgeDetector(),
    "random_mask": RandomMask(),
}
TARGETS = np.array([0, 1, 2])


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def case(request):
    return curved(request.param), pictures(request.param, 3)


def test_the_input_is_the_image(case):
    classifier, images = case
    mask = Input().masks(classifier, images, TARGETS, 0)
    np.testing.assert_array_equal(mask, images.x)
    mask[:] = 0  # a copy
    assert images.x.max() > 0


def test_the_constant_is_constant(case):
    classifier, images = case
    mask = Constant().masks(classifier, images, TARGETS, 0)
    np.testing.assert_array_equal(mask, np.ones(images.x.shape[:3]))


def test_edges_are_sobels(case):
    """Against the filter written out: 3 × 3, horizontal and vertical, root of the mean square."""
    from scipy.ndimage import correlate

    classifier, images = case
    mask = EdgeDetector().masks(classifier, images, TARGETS, 0)
    weights = [0.2125, 0.7154, 0.0721] if images.x.shape[-1] == 3 else [1.0]
    kernel = np.outer([1, 2, 1], [1, 0, -1]) / 4
    for found, image in zip(mask, images.x, strict=True):
        grey = image.astype(np.float64) @ weights
        across, down = (correlate(grey, k, mode="reflect") for k in (kernel, kernel.T))
        expected = np.sqrt((across**2 + down**2) / 2)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_random_masks_are_standard_normal(case):
    classifier, _ = case
    images = pictures((60, 60, classifier.input_shape[2]), 3)
    mask = RandomMask().masks(classifier, images, TARGETS, 0)
    assert abs(mask.mean()) < 0.05
    assert abs(mask.std() - 1) < 0.05
    assert abs(np.corrcoef(mask.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.1


@pytest.mark.parametrize("name", CONTROLS)
def test_what_a_control_depends_on(case, name):
    classifier, images = case
    control = CONTROLS[name]
    mask = control.masks(classifier, images, TARGETS, 0)
    assert mask.dtype == np.float32
    assert mask.shape in (images.x.shape, images.x.shape[:3])
    np.testing.assert_array_equal(
        mask[1:2], control.masks(classifier, images.take([1]), TARGETS, 0)
    )
    np.testing.assert_array_equal(mask, control.masks(classifier, images, TARGETS[::-1], 0))
    drawn = name == "random_mask"
    assert np.array_equal(mask, control.masks(classifier, images, TARGETS, 1)) != drawn
    with classifier.weights.restored():
        classifier.weights.put({k: v + 1 for k, v in classifier.trained.items()})
        assert np.array_equal(mask, control.masks(classifier, images, TARGETS, 0, 1)) != drawn


def test_the_preset_of_all_methods_names_them_all():
    from sanity.config.job import compose
    from sanity.config.options import options

    every = [name for name in options("method") if not name.startswith("known_")]
    assert sorted(compose(["experiment=all_methods"]).methods) == every
