import numpy as np
import pytest
import tensorflow as tf

from sanity import methods
from sanity.experiment.explaining import count_at_once, explain, gradient_plan
from sanity.methods import (
    EdgeDetector,
    Gradient,
    GradientXInput,
    GuidedBackprop,
    IntegratedGradients,
    Plan,
    RandomMask,
    SmoothGrad,
)
from sanity.methods.masks import in_float32
from sanity.network.classifier import Classifier
from sanity.randomization.weights import Randomization
from sanity.results.units import cut_groups

ARTICLE = {
    "gradient": Gradient(),
    "smoothgrad": SmoothGrad(),
    "gradient_x_input": GradientXInput(),
    "guided_backprop": GuidedBackprop(),
    "integrated_gradients": IntegratedGradients(),
}
SMOOTHED = {"samples": 3, "noise": 0.2}
MORE = {
    "smoothgrad_squared": methods.SmoothGradSquared(**SMOOTHED),
    "vargrad": methods.VarGrad(**SMOOTHED),
    "gauss_legendre": IntegratedGradients(steps=4, quadrature="gauss_legendre", baseline="mean"),
    "uniform_baseline": IntegratedGradients(steps=3, baseline="uniform", multiplier=False),
    "smoothed": methods.IntegratedGradientsSmoothGrad(steps=3, **SMOOTHED),
    "expected_gradients": methods.ExpectedGradients(samples=3),
    "deconvnet": methods.Deconvnet(),
    "deeplift_rescale": methods.DeepLiftRescale(),
    "deeplift_uniform": methods.DeepLiftRescale(baseline="uniform", multiplier=False),
    "epsilon_lrp": methods.EpsilonLRP(),
    "guided_grad_cam": methods.GuidedGradCam(),
    "grad_cam": methods.GradCam(),
    "grad_cam_plus_plus": methods.GradCamPlusPlus(),
}
CONTROLS = {"random_mask": RandomMask(), "edge_detector": EdgeDetector()}
TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


EVERYTHING = {**ARTICLE, **CONTROLS, **MORE}
DRAWN = {
    "smoothgrad",
    "random_mask",
    "smoothgrad_squared",
    "vargrad",
    "uniform_baseline",
    "smoothed",
    "expected_gradients",
    "deeplift_uniform",
}


def masks(classifier, images, chosen, seed=0, layers=("top", "middle")):
    stages = Randomization().stages(classifier, layers, seed)
    found = {}
    for part in explain(classifier, images, TARGETS[: len(images)], chosen, stages, seed):
        for name, values in part.masks.items():
            found.setdefault(name, {}).setdefault(part.stage.index, []).append(values)
    return {
        name: np.stack([np.concatenate(parts) for _, parts in sorted(stages.items())], axis=1)
        for name, stages in found.items()
    }


def test_the_articles_methods_share_51_gradients():
    plan = Plan(ARTICLE)
    assert plan.asked == {
        "gradient": 1,
        "smoothgrad": 25,
        "gradient_x_input": 1,
        "guided_backprop": 1,
        "integrated_gradients": 25,
    }
    assert {rule: len(points) for rule, points in plan.points.items()} == {
        "plain": 50,
        "guided_backprop": 1,
    }
    assert plan.distinct == 51


@pytest.fixture(scope="module")
def together(small, noise_images):
    """All masks, computed in each other's company."""
    return masks(small, noise_images, EVERYTHING)


@pytest.mark.parametrize("name", EVERYTHING)
def test_company_changes_nothing(small, noise_images, together, name):
    alone = masks(small, noise_images, {name: EVERYTHING[name]})[name]
    np.testing.assert_array_equal(together[name], alone)
    assert alone.any()
    assert np.isfinite(alone).all()


def test_images_and_batch_size_change_nothing(small, noise_images, together, monkeypatch):
    monkeypatch.setattr(small, "batch_size", 3)
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 2)
    apart = masks(small, noise_images, EVERYTHING)
    for name in EVERYTHING:
        np.testing.assert_array_equal(together[name], apart[name], err_msg=name)
    first = masks(small, noise_images.take([0]), EVERYTHING)
    for name in EVERYTHING:
        np.testing.assert_array_equal(together[name][:1], first[name], err_msg=name)


def test_order_changes_nothing(small, noise_images, together):
    backwards = masks(small, noise_images, dict(reversed(EVERYTHING.items())))
    assert list(backwards) == list(reversed(EVERYTHING))
    for name in EVERYTHING:
        np.testing.assert_array_equal(together[name], backwards[name], err_msg=name)


@pytest.mark.parametrize("room", [0, 40_000, 90_000])
def test_memory_changes_nothing(small, noise_images, together, monkeypatch, room):
    """Where there is no room for all stages of a group at once, nor for all images."""
    monkeypatch.setattr("sanity.experiment.explaining._BYTES", room * len(EVERYTHING))
    again = masks(small, noise_images, EVERYTHING)
    for name in EVERYTHING:
        np.testing.assert_array_equal(together[name], again[name], err_msg=name)


def test_seeds_differ_where_they_should(small, noise_images):
    zero, one = (masks(small, noise_images, EVERYTHING, seed) for seed in (0, 1))
    for name in EVERYTHING:
        same_as_trained = name not in DRAWN
        assert np.array_equal(zero[name][:, 0], one[name][:, 0]) == same_as_trained, name
        for stage in (1, 2):
            same = np.array_equal(zero[name][:, stage], one[name][:, stage])
            assert same == (name == "edge_detector"), name


def test_the_trained_weights_are_back(small, noise_images):
    before = small.weights.read()
    parts = explain(
        small, noise_images, TARGETS, ARTICLE, Randomization().stages(small, ["top"], 0)
    )
    next(parts)
    parts.close()  # in the middle of things
    for name, value in small.weights.read().items():
        np.testing.assert_array_equal(value, before[name])


def test_each_gradient_is_computed_once(small, noise_images, monkeypatch):
    counted = []
    gradients = type(small).batch_gradient

    def counting(self, images, rule="plain", baselines=None):
        compute = gradients(self, images, rule, baselines)

        def counted_compute(targets):
            counted.append((rule, len(images)))
            return compute(targets)

        return counted_compute

    monkeypatch.setattr(type(small), "batch_gradient", counting)
    masks(small, noise_images, ARTICLE, layers=["top"])
    for rule, expected in [("plain", 2 * 250), ("guided_backprop", 2 * 5)]:
        sizes = [size for used, size in counted if used == rule]
        assert len(set(sizes)) == 1
        assert expected <= sum(sizes) < expected + len(sizes)


def test_a_stage_is_there_before_the_last_batch_goes_to_the_next(small, noise_images, monkeypatch):
    """So it is scored and stored while gradients are computed, and no stage is entered twice."""
    monkeypatch.setattr(small, "batch_size", 8)
    stages = Randomization().stages(small, ("top", "middle"), 0)
    computed, entered, seen = 0, [], []

    def count(cost):
        nonlocal computed
        computed += cost.gradients

    for part in explain(
        small,
        noise_images.take([0]),
        TARGETS[:1],
        {"smoothgrad": SmoothGrad(samples=20)},
        stages,
        done=count,
        entered=lambda group: entered.append(group.stage.index),
    ):
        seen.append((part.stage.index, computed))
    assert seen == [(0, 2 * 3 * 7 + 6), (1, 2 * 3 * 7 + 2 * 6), (2, 3 * 20)]
    assert entered == [0, 1, 2]


@pytest.mark.parametrize("n", [1, 7, 200])
def test_groups_are_bounded_and_complete(n):
    found = cut_groups(n, count_at_once(n, 7 * 224 * 224 * 3 * 4, 20))
    assert [i for group in found for i in group] == list(range(n))
    assert max(map(len, found)) <= 4


@pytest.mark.parametrize("fewest, images", [(1, 32), (12, 8), (96, 1), (500, 1)])
def test_groups_are_no_larger_than_batches_need(fewest, images):
    assert count_at_once(200, 1, 20, fewest) == images


def test_the_rule_with_the_fewest_gradients_says_how_many_images_fill_batches():
    assert gradient_plan({"m": SmoothGrad(samples=12), "g": GuidedBackprop()}).fewest == 1
    assert gradient_plan({"m": SmoothGrad(samples=12)}).fewest == 12
    assert gradient_plan({}).fewest == 1


@pytest.mark.parametrize("factor", [2.0**-90, 2.0**80])
@pytest.mark.parametrize("name", ["vargrad", "smoothgrad_squared"])
def test_squares_that_single_precision_cannot_hold(name, factor, noise_images, caplog):
    """Of a network whose logits are multiplied: the same masks, but for a power of two."""

    def network(factor):
        kernel, dense = (
            tf.constant(np.random.default_rng(i).standard_normal(shape), tf.float32)
            for i, shape in enumerate([(3, 3, 3, 4), (4, 7)])
        )
        return Classifier(
            lambda x: (
                tf.reduce_mean(tf.tanh(tf.nn.conv2d(x, kernel, 1, "SAME")), [1, 2])
                @ (dense * factor)
            ),
            noise_images.x.shape[1:],
        )

    images = noise_images.take(range(2))
    plain, scaled = (MORE[name].masks(network(f), images, TARGETS[:2], 0) for f in (1, factor))
    assert np.isfinite(scaled).all()
    for mask, other in zip(plain, scaled, strict=True):
        assert 1 <= np.abs(other).max() < 2
        ratio = other.max() / mask.max()
        assert np.log2(ratio) == pytest.approx(round(np.log2(ratio)), abs=1e-4)
        np.testing.assert_allclose(other / ratio, mask, rtol=1e-4, atol=1e-5 * mask.max())
    assert "kept times a power of two" in caplog.text


def test_ordinary_masks_keep_their_numbers():
    draw = np.random.default_rng(0)
    for factor in (1.0, 2.0**-60, 2.0**100):
        mask = factor * draw.standard_normal((4, 4, 3))
        np.testing.assert_array_equal(in_float32(mask)[0], mask.astype(np.float32))
    for values in ([0.0, 0.0], [1e-40, 0.0], [np.inf, 1.0], [np.nan, 1e-300]):
        mask = np.array(values, np.float32).astype(np.float64)
        single, power = in_float32(mask)
        np.testing.assert_array_equal(single, mask.astype(np.float32))
        assert power == 0
