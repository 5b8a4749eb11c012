import numpy as np
import pytest

from sanity.explain import explain, groups
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
from sanity.randomization import Randomization

ARTICLE = {
    "gradient": Gradient(),
    "smoothgrad": SmoothGrad(),
    "gradient_x_input": GradientXInput(),
    "guided_backprop": GuidedBackprop(),
    "integrated_gradients": IntegratedGradients(),
}
CONTROLS = {"random_mask": RandomMask(), "edge_detector": EdgeDetector()}
TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


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


@pytest.mark.parametrize("name", [*ARTICLE, *CONTROLS])
def test_company_changes_nothing(small, noise_images, name):
    everything = {**ARTICLE, **CONTROLS}
    together = masks(small, noise_images, everything)[name]
    alone = masks(small, noise_images, {name: everything[name]})[name]
    np.testing.assert_array_equal(together, alone)


def test_images_and_batch_size_change_nothing(small, noise_images, monkeypatch):
    everything = {**ARTICLE, **CONTROLS}
    together = masks(small, noise_images, everything)
    monkeypatch.setattr(small, "batch_size", 3)
    monkeypatch.setattr("sanity.explain._GROUP_IMAGES", 2)
    apart = masks(small, noise_images, everything)
    for name in everything:
        np.testing.assert_array_equal(together[name], apart[name])
    first = masks(small, noise_images.take([0]), everything)
    for name in everything:
        np.testing.assert_array_equal(together[name][:1], first[name])


def test_seeds_differ_where_they_should(small, noise_images):
    everything = {**ARTICLE, **CONTROLS}
    zero, one = (masks(small, noise_images, everything, seed) for seed in (0, 1))
    for name in everything:
        same_as_trained = name not in ("smoothgrad", "random_mask")
        assert np.array_equal(zero[name][:, 0], one[name][:, 0]) == same_as_trained, name
        for stage in (1, 2):
            same = np.array_equal(zero[name][:, stage], one[name][:, stage])
            assert same == (name == "edge_detector"), name


def test_the_trained_weights_are_back(small, noise_images):
    before = small.weights()
    parts = explain(
        small, noise_images, TARGETS, ARTICLE, Randomization().stages(small, ["top"], 0)
    )
    next(parts)
    parts.close()  # in the middle of things
    for name, value in small.weights().items():
        np.testing.assert_array_equal(value, before[name])


def test_each_gradient_is_computed_once(small, noise_images, monkeypatch):
    counted = []
    gradients = type(small).gradients

    def counting(self, images, targets, rule="plain", baselines=None):
        counted.append((rule, len(images)))
        return gradients(self, images, targets, rule, baselines)

    monkeypatch.setattr(type(small), "gradients", counting)
    masks(small, noise_images.take([0, 1, 2]), ARTICLE, layers=["top"])
    for rule, expected in [("plain", 2 * 150), ("guided_backprop", 2 * 3)]:
        sizes = [size for used, size in counted if used == rule]
        assert len(set(sizes)) == 1
        assert expected <= sum(sizes) < expected + len(sizes)


@pytest.mark.parametrize("n", [1, 7, 200])
def test_groups_are_bounded_and_complete(n):
    found = groups(n, 224 * 224 * 3 * 4, 51, 7)
    assert [i for group in found for i in group] == list(range(n))
    assert max(map(len, found)) <= 4
