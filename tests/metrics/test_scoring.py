import numpy as np
import pytest

from sanity.experiment.explaining import explain
from sanity.methods import EdgeDetector, Gradient
from sanity.metrics import Pearson, Ssim, score
from sanity.metrics.scoring import Scorer
from sanity.randomization.weights import Randomization

METRICS = {"pearson": Pearson(), "ssim": Ssim()}
METHODS = {"gradient": Gradient(), "edge_detector": EdgeDetector()}
TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


def names(n):
    return [f"image_{i}" for i in range(n)]


def rows(frame, metric="pearson"):
    return frame[frame["metric"] == metric].set_index("image")


def test_value_and_null_by_hand():
    draw = np.random.default_rng(0)
    original, randomized = draw.standard_normal((2, 3, 16, 16, 3))
    scorer = Scorer(METRICS, names(3))
    first = scorer.score(range(3), 0, "", {"m": original}, TARGETS[:3])
    later = scorer.score(range(3), 1, "layer1", {"m": randomized}, TARGETS[:3])
    for name, metric in METRICS.items():
        np.testing.assert_allclose(rows(first, name)["value"], 1)
        np.testing.assert_array_equal(
            rows(later, name)["value"], score(metric, original, randomized)
        )
        np.testing.assert_array_equal(
            rows(later, name)["null"], score(metric, original[[2, 0, 1]], randomized)
        )
    assert rows(later)["target"].tolist() == [0, 3, 6]
    assert set(later["layer"]) == {"layer1"}


def test_a_single_image_is_held_against_itself_flipped():
    draw = np.random.default_rng(0)
    original, randomized = draw.standard_normal((2, 1, 16, 16))
    scorer = Scorer(METRICS, names(1))
    scorer.score(range(1), 0, "", {"m": original}, TARGETS[:1])
    later = scorer.score(range(1), 1, "layer1", {"m": randomized}, TARGETS[:1])
    expected = score(METRICS["pearson"], original[:, :, ::-1], randomized)
    np.testing.assert_array_equal(rows(later)["null"], expected)


def test_shuffled_keeps_the_marginals():
    draw = np.random.default_rng(0)
    original = draw.standard_normal((2, 16, 16, 3)) ** 3
    scorer = Scorer(METRICS, names(2), "shuffled")
    found = [scorer.score(range(2), 0, "", {"m": original}, TARGETS[:2]) for _ in range(2)]
    np.testing.assert_array_equal(found[0]["null"], found[1]["null"])
    assert (rows(found[0])["null"].abs() < 0.3).all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_groups_change_no_null(small, noise_images, monkeypatch, size):
    def scores():
        scorer = Scorer(METRICS, noise_images.names)
        stages = Randomization().stages(small, ["top", "middle"], 0)
        parts = explain(small, noise_images, TARGETS, METHODS, stages)
        found = [
            scorer.score(p.group, p.stage.index, p.stage.layer, p.masks, p.targets, p.before)
            for p in parts
        ]
        keys = ["image", "method", "stage", "metric"]
        import pandas as pd

        return pd.concat(found).sort_values(keys).set_index(keys)[["value", "null"]]

    together = scores()
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", size)
    np.testing.assert_array_equal(scores(), together)
    assert not together.isna().any(axis=None)


def test_constant_and_nan_masks_have_a_reason():
    masks = np.random.default_rng(0).standard_normal((3, 16, 16))
    broken = masks.copy()
    broken[0], broken[1, 3, 3] = 2.0, np.nan
    scorer = Scorer(METRICS, names(3))
    scorer.score(range(3), 0, "", {"m": masks}, TARGETS[:3])
    found = rows(scorer.score(range(3), 1, "layer1", {"m": broken}, TARGETS[:3]))
    assert found["value"].isna().tolist() == [True, True, False]
    assert all(found["reason"][:2])
    assert found["reason"].iloc[2] == ""
