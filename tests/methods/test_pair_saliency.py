"""Methods run by PAIR's `saliency`, against that package called by hand."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import saliency.core as saliency
from saliency.core.base import INPUT_OUTPUT_GRADIENTS

from sanity.checked import make
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.methods import XRAI, BlurIG, GuidedIG
from tests.methods.test_perturbation import SHAPES, curved, pictures

METHODS = {
    "blur_ig": BlurIG(steps=12, max_sigma=4.0),
    "guided_ig": GuidedIG(steps=15),
    "xrai": XRAI(steps=20),
    "xrai_fast": XRAI(steps=20, algorithm="fast"),
}
SEED = 3


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def case(request):
    return curved(request.param), pictures(request.param), np.array([3, 1], np.int32)


def by_hand(name, classifier, image, target, batch_size=7, steps=None):
    """What a user of the package would write."""

    def call_model(x, call_model_args=None, expected_keys=None):
        assert expected_keys == [INPUT_OUTPUT_GRADIENTS]
        x = np.asarray(x, np.float32)
        return {INPUT_OUTPUT_GRADIENTS: classifier.gradients(x, np.full(len(x), target, np.int32))}

    if name == "blur_ig":
        return saliency.BlurIG().GetMask(
            image, call_model, max_sigma=4, steps=steps or 12, batch_size=batch_size
        )
    if name == "guided_ig":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return saliency.GuidedIG().GetMask(image, call_model, x_steps=steps or 15)
    algorithm = "fast" if "fast" in name else "full"
    parameters = saliency.XRAIParameters(steps=steps or 20, algorithm=algorithm)
    return saliency.XRAI().GetMask(
        image, call_model, batch_size=batch_size, extra_parameters=parameters
    )


@pytest.mark.parametrize("name", METHODS)
def test_pairs(case, name):
    classifier, images, targets = case
    mine = METHODS[name].masks(classifier, images, targets, SEED)
    assert mine.dtype == np.float32
    for mask, image, target in zip(mine, images.x, targets, strict=True):
        theirs = by_hand(name, classifier, image, target)
        assert mask.shape == theirs.shape
        assert np.ptp(theirs) > 0
        np.testing.assert_allclose(mask, theirs, atol=2e-6 * np.abs(theirs).max(), rtol=1e-5)


@pytest.mark.slow
def test_pairs_on_the_embedded_model(lite0, samples, monkeypatch):
    from tests.methods.test_perturbation import Occlusion, pairs_occlusion

    # The same function of theirs finds the segments for both.
    segment = cache(lambda data, shape: find(np.frombuffer(data, np.float32).reshape(shape)))
    find = saliency.xrai._get_segments_felzenszwalb
    monkeypatch.setattr(
        saliency.xrai,
        "_get_segments_felzenszwalb",
        lambda image: segment(image.astype(np.float32).tobytes(), image.shape),
    )
    images = samples.take([0])
    image, target = images.x[0], int(lite0.logits(images.x).argmax())
    for name in ("blur_ig", "guided_ig", "xrai_fast"):
        method = replace(METHODS[name], steps=6)
        mine = method.masks(lite0, images, np.array([target]), SEED)[0]
        theirs = by_hand(name, lite0, image, target, steps=6)
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max())
    mine = Occlusion(size=220, stride=1).masks(lite0, images, np.array([target]), SEED)[0]
    theirs = pairs_occlusion(lite0, image.astype(np.float64), target, size=220)[..., 0]
    np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (BlurIG(steps=9, max_sigma=3.0, grad_step=0.05), {"max_sigma": 3, "grad_step": 0.05}),
        (GuidedIG(steps=9, fraction=0.6, max_distance=0.3), {"fraction": 0.6, "max_dist": 0.3}),
    ],
    ids=["blur_ig", "guided_ig"],
)
def test_parameters_arrive(case, method, options):
    classifier, images, targets = case
    image, target = images.x[0], targets[0]

    def call_model(x, call_model_args=None, expected_keys=None):
        x = np.asarray(x, np.float32)
        return {INPUT_OUTPUT_GRADIENTS: classifier.gradients(x, np.full(len(x), target, np.int32))}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(method, BlurIG):
            theirs = saliency.BlurIG().GetMask(image, call_model, steps=9, **options)
        else:
            theirs = saliency.GuidedIG().GetMask(image, call_model, x_steps=9, **options)
    mine = method.masks(classifier, images, targets, SEED)[0]
    np.testing.assert_allclose(mine, theirs, atol=2e-6 * np.abs(theirs).max(), rtol=1e-5)
    default = type(method)(steps=9).masks(classifier, images, targets, SEED)[0]
    assert not np.allclose(mine, default, rtol=1e-2)


def test_guided_ig_sums_to_the_difference():
    """As the path's integral does, whichever way it takes."""
    classifier, images = curved(SHAPES[0]), pictures(SHAPES[0])
    mask = GuidedIG(steps=300).masks(classifier, images, np.array([2, 2]), SEED)
    black = classifier.logits(np.zeros_like(images.x[:1]))[0, 2]
    expected = classifier.logits(images.x)[:, 2] - black
    np.testing.assert_allclose(mask.sum((1, 2, 3)), expected, rtol=0.02)


def test_blur_ig_sums_to_the_difference():
    """To the blurred image: the sharp one's logit minus the most blurred one's."""
    from saliency.core.blur_ig import gaussian_blur

    classifier, images = curved(SHAPES[0]), pictures(SHAPES[0])
    method = BlurIG(steps=400, max_sigma=6.0)
    mask = method.masks(classifier, images, np.array([2, 2]), SEED)
    blurred = np.stack([gaussian_blur(image, 6.0) for image in images.x])
    expected = (classifier.logits(images.x) - classifier.logits(blurred))[:, 2]
    np.testing.assert_allclose(mask.sum((1, 2, 3)), expected, rtol=0.03)


@pytest.mark.parametrize("name", ["blur_ig", "guided_ig"])
def test_a_channel_that_the_network_ignores_gets_zero(name):
    classifier, images = curved(SHAPES[0]), pictures(SHAPES[0])
    kernel = next(name for name, p in classifier.parameters.items() if len(p.shape) == 4)
    blind = classifier.trained[kernel].copy()
    blind[:, :, 1] = 0
    with classifier.weights.restored():
        classifier.weights.put({kernel: blind})
        masks = METHODS[name].masks(classifier, images, np.array([0, 3]), SEED)
    assert (masks[..., 1] == 0).all()
    assert (np.abs(masks[..., [0, 2]]).max((1, 2)) > 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_order_company_and_batch_size_change_nothing(case, name, monkeypatch):
    classifier, images, targets = case
    method = METHODS[name]
    expected = method.masks(classifier, images, targets, SEED)
    np.testing.assert_array_equal(
        method.masks(classifier, images.take([1]), targets[1:], SEED + 1), expected[1:]
    )
    back = method.masks(classifier, images.take([1, 0]), targets[::-1], SEED)
    np.testing.assert_array_equal(back[::-1], expected)
    for size in (2, 5):
        monkeypatch.setattr(classifier, "batch_size", size)
        np.testing.assert_array_equal(method.masks(classifier, images, targets, SEED), expected)


def test_regions_are_found_once_an_image(monkeypatch):
    from saliency.core import xrai

    classifier, images = curved(SHAPES[0]), pictures(SHAPES[0], seed=91)
    find, found = xrai._get_segments_felzenszwalb, []
    monkeypatch.setattr(
        xrai, "_get_segments_felzenszwalb", lambda image: found.append(1) or find(image)
    )
    for algorithm in ("full", "fast", "full"):
        XRAI(steps=3, algorithm=algorithm).masks(classifier, images, np.array([0, 1]), SEED)
    assert len(found) == len(images)


@pytest.mark.parametrize("name", METHODS)
def test_a_dead_network_gives_constants_and_a_broken_one_nan(case, name):
    """PAIR's own GuidedIG never returns from a gradient that is NaN."""
    classifier, images, targets = case
    with classifier.weights.restored():
        classifier.weights.put({k: np.zeros_like(v) for k, v in classifier.trained.items()})
        assert (METHODS[name].masks(classifier, images, targets, SEED) == 0).all()
        broken = {k: np.full_like(v, np.nan) for k, v in classifier.trained.items()}
        classifier.weights.put(broken)
        masks = METHODS[name].masks(classifier, images, targets, SEED)
    assert np.isnan(masks).all()
    assert masks.shape == METHODS[name].masks(classifier, images, targets, SEED).shape


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_an_image_of_one_colour(name, value):
    classifier = curved(SHAPES[0])
    x = np.full((1, *SHAPES[0]), value, np.float32)
    images = Images(x, ["plain"], [None], [None], [""])
    assert np.isfinite(METHODS[name].masks(classifier, images, np.array([1]), SEED)).all()


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_said_is_the_cost_paid(case, name, monkeypatch):
    classifier, images, targets = case
    gradients, asked = classifier.gradients, []

    def counting(x, *more):
        asked.append(len(x))
        return gradients(x, *more)

    monkeypatch.setattr(classifier, "gradients", counting)
    METHODS[name].masks(classifier, images, targets, SEED)
    cost = METHODS[name].cost(classifier, images)
    assert cost.forward == 0
    assert sum(asked) == cost.gradients * len(images)


@pytest.mark.parametrize(
    ("cls", "values", "key"),
    [
        (BlurIG, {"steps": 0}, "steps"),
        (BlurIG, {"max_sigma": 0.0}, "max_sigma"),
        (GuidedIG, {"fraction": 0.0}, "fraction"),
        (GuidedIG, {"max_distance": 1.5}, "max_distance"),
        (XRAI, {"steps": 1}, "steps"),
        (XRAI, {"algorithm": "slow"}, "algorithm"),
    ],
)
def test_mistakes_are_refused(cls, values, key):
    with pytest.raises(ConfigError, match=rf"method\.x\.{key}="):
        make(cls, values, "method.x")
