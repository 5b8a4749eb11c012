import numpy as np
import pandas as pd
import pytest

from sanity.errors import ConfigError
from sanity.experiment.explaining import explain
from sanity.methods import EdgeDetector, Gradient
from sanity.metrics import MaskMetric, Pearson, Ssim, score
from sanity.metrics.base import Features
from sanity.metrics.scoring import NO_NUMBER, References, Scorer
from sanity.randomization.weights import Randomization

METRICS = {"pearson": Pearson(), "ssim": Ssim()}
METHODS = {"gradient": Gradient(), "edge_detector": EdgeDetector()}
TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


def names(n):
    return [f"image_{i}" for i in range(n)]


def rows(frame, metric="pearson"):
    return frame[frame["metric"] == metric].set_index("image")


def references(masks, allowed):
    return References([f"other_{k}" for k in range(len(masks))], {"m": masks}, np.array(allowed))


def test_value_and_null_by_hand():
    """The null is the mean over the references that are allowed."""
    draw = np.random.default_rng(0)
    original, randomized = draw.standard_normal((2, 3, 16, 16, 3))
    others = draw.standard_normal((2, 16, 16, 3))
    allowed = [[True, True], [False, True], [False, False]]
    scorer = Scorer(METRICS, names(3), references=references(others, allowed))
    first = scorer.score(range(3), 0, "", {"m": original}, TARGETS[:3])
    later = scorer.score(range(3), 1, "layer1", {"m": randomized}, TARGETS[:3])
    for name, metric in METRICS.items():
        np.testing.assert_allclose(rows(first, name)["value"], 1)
        np.testing.assert_array_equal(
            rows(later, name)["value"], score(metric, original, randomized)
        )
        a, b = (score(metric, others[[k] * 3], randomized) for k in (0, 1))
        np.testing.assert_array_equal(rows(later, name)["null"], [(a[0] + b[0]) / 2, b[1], np.nan])
    assert rows(later)["target"].tolist() == [0, 3, 6]
    assert set(later["layer"]) == {"layer1"}


def test_masks_that_stay_are_not_scored_again(monkeypatch):
    """They have the scores that they would get, and those that change later get theirs."""
    draw = np.random.default_rng(0)
    original, others = draw.standard_normal((2, 4, 16, 16, 3))
    last = original.copy()
    last[1, -1, -1, -1] += 1
    scorer = Scorer(METRICS, names(4), references=references(others, [[True, False] * 2] * 4))
    first = scorer.score(range(4), 0, "", {"m": original}, TARGETS[:4])
    with monkeypatch.context() as patch:
        patch.setattr("sanity.metrics.scoring.all_features", None)
        later = scorer.score(range(4), 1, "layer1", {"m": original.copy()}, TARGETS[:4])
    for key in ("value", "null", "reason", "image", "metric"):
        assert later[key].tolist() == first[key].tolist()
    changed = rows(scorer.score(range(4), 2, "layer2", {"m": last}, TARGETS[:4]))["value"]
    assert (changed != rows(first)["value"]).tolist() == [False, True, False, False]


def test_a_reference_without_a_score_is_left_out():
    draw = np.random.default_rng(0)
    masks, others = draw.standard_normal((2, 16, 16)), draw.standard_normal((2, 16, 16))
    others[0] = 1.0
    for allowed, known in (([True, True], True), ([True, False], False)):
        scorer = Scorer(METRICS, names(2), references=references(others, [allowed] * 2))
        found = rows(scorer.score(range(2), 0, "", {"m": masks}, TARGETS[:2]))
        assert found["null"].notna().all() == known


def test_a_metric_of_ones_own_whose_features_cannot_be_cut():
    class Own(MaskMetric):
        identity = 1.0

        def features(self, masks):
            return masks.reshape(len(masks), -1)

        def compare(self, a, b):
            return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])

    draw = np.random.default_rng(0)
    masks, others = draw.standard_normal((3, 16, 16)), draw.standard_normal((2, 16, 16))
    allowed = [[True, True], [False, True], [True, False]]
    scorer = Scorer(
        {"own": Own(), "pearson": Pearson(channels="keep")},
        names(3),
        references=references(others, allowed),
    )
    found = scorer.score(range(3), 0, "", {"m": masks}, TARGETS[:3])
    np.testing.assert_allclose(rows(found, "own")["null"], rows(found)["null"], atol=1e-12)


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


@pytest.mark.parametrize("size", [1, 2])
def test_neither_groups_nor_order_change_a_score(small, noise_images, monkeypatch, size):
    """To the bit."""

    def scores(order):
        images, targets = noise_images.take(order), TARGETS[order]
        stages = Randomization().stages(small, ["top", "middle"], 0)
        parts = explain(small, images, targets, METHODS, stages)
        scorer = Scorer(METRICS, images.names, references=fixed)
        found = [
            scorer.score(p.group, p.stage.index, p.stage.layer, p.masks, p.targets) for p in parts
        ]
        keys = ["image", "method", "stage", "metric"]
        return pd.concat(found).sort_values(keys).set_index(keys)[["value", "null"]]

    draw = np.random.default_rng(0)
    shapes = {"gradient": noise_images.x.shape[1:], "edge_detector": noise_images.x.shape[1:3]}
    masks = {name: draw.standard_normal((2, *shape)) for name, shape in shapes.items()}
    fixed = References(["a", "b"], masks, np.ones((5, 2), bool))
    together = scores([0, 1, 2, 3, 4])
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", size)
    np.testing.assert_array_equal(scores([3, 1, 4, 0, 2]), together)
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


class Awkward(MaskMetric):
    """A metric of one's own, with something about it that is easily done wrong."""

    def __init__(self, features=np.array, compare=lambda a, b: (b - a).mean((1, 2))):
        self.features_of, self.compare_with = features, compare

    def features(self, masks):
        return self.features_of(masks)

    def compare(self, a, b):
        return self.compare_with(a, b)


def awkward_scores(metric):
    draw = np.random.default_rng(0)
    own = draw.standard_normal((2, 3, 16, 16)).astype(np.float32)
    kept, scorer = own.copy(), Scorer({"mine": metric, **METRICS}, names(3))
    found = [scorer.score(range(3), k, "", {"m": own[k]}, TARGETS[:3]) for k in (0, 1)]
    np.testing.assert_array_equal(own, kept)
    return found[1]


def test_a_metric_may_write_to_its_masks():
    """What is stored, and what other metrics see, are others."""
    writes = awkward_scores(Awkward(features=lambda masks: np.abs(masks, out=masks)))
    plain = awkward_scores(Awkward())
    for name in METRICS:
        assert rows(writes, name)["value"].tolist() == rows(plain, name)["value"].tolist()
    assert rows(writes, "mine")["value"].tolist() != rows(plain, "mine")["value"].tolist()


@pytest.mark.parametrize(
    "features", [np.array, lambda masks: Features({"m": masks}), list], ids=["array", "own", "list"]
)
def test_originals_that_are_kept_stay_as_they_are(features):
    def compare(a, b):
        inside = a.parts["m"] if isinstance(a, Features) else a
        inside[0][...] = 0
        return np.zeros(len(inside))

    metric = Awkward(features, compare)
    if features is list:  # each time a copy, as one cannot see what is written to
        awkward_scores(metric)
        return
    with pytest.raises(ConfigError, match=r"metric\.mine writes to an array that it is given"):
        awkward_scores(metric)


class Uncopied(list):
    """Features that cannot be copied."""

    def __deepcopy__(self, memo):
        raise RuntimeError("no copy can be made")


def test_features_that_cannot_be_copied_are_compared_as_they_are():
    def compare(a, b):
        return np.mean(np.subtract(b, a), axis=(1, 2))

    found = awkward_scores(Awkward(Uncopied, compare))
    expected = awkward_scores(Awkward(list, compare))
    assert rows(found, "mine")["value"].tolist() == rows(expected, "mine")["value"].tolist()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (0.5, "one number"),
        (np.zeros(1), r"the shape \(1,\)"),
        (np.zeros((3, 1)), r"the shape \(3, 1\)"),
        (None, "NoneType"),
        (np.zeros(3, complex), r"complex128 \(3,\)"),
    ],
    ids=str,
)
def test_a_metric_that_gives_something_else_than_a_number_for_each_mask(scores, said):
    with pytest.raises(ConfigError, match=rf"metric\.mine gives {said} for 3 masks: it must give"):
        awkward_scores(Awkward(compare=lambda a, b: scores))


def test_a_number_that_is_none_has_a_reason():
    known = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)[0, :, 0, 0]
    given = dict(zip(known.tolist(), [1, np.inf, np.nan], strict=True))
    found = awkward_scores(
        Awkward(compare=lambda a, b: np.array([given[one] for one in a[:, 0, 0].tolist()]))
    )
    mine = rows(found, "mine")
    assert mine["value"].isna().tolist() == [False, True, True]
    assert mine["reason"].tolist() == ["", NO_NUMBER, NO_NUMBER]


class Counted:
    """A draw that another one follows."""

    def __init__(self):
        self.draw = np.random.default_rng(0)

    def __call__(self, a, b):
        return (b - a).mean((1, 2)) * self.draw.random(len(a))


class First:
    """Compares with the first mask that it ever saw."""

    first = None

    def __call__(self, a, b):
        self.first = a[0] if self.first is None else self.first
        return (b - self.first).mean((1, 2))


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        (Counted(), "other scores of the same masks when it is asked again"),
        (lambda a, b: np.random.default_rng().random(len(a)), "other scores of the same masks"),
        (lambda a, b: (b - a.mean(0)).mean((1, 2)), "another score of an image by itself"),
        (lambda a, b: np.random.default_rng(0).random(len(a)), "another score of an image"),
        (lambda a, b: np.arange(1.0, len(a) + 1), "another score of an image by itself"),
        (First(), "another score of an image by itself"),
    ],
)
def test_a_score_depends_on_its_two_masks_alone(compare, said):
    with pytest.raises(ConfigError, match=rf"^metric\.mine gives {said}"):
        awkward_scores(Awkward(compare=compare))


def test_a_null_that_is_drawn_is_refused():
    metric = Awkward()
    metric.null = lambda a, b: np.random.default_rng().random(len(a))
    with pytest.raises(ConfigError, match=r"^metric\.mine gives other scores of the same masks"):
        awkward_scores(metric)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("identity", 1.0, "identity=1, and gives 0 for a mask with itself"),
        ("range", (0.1, None), r"range=\(0\.1, None\), and gives 0:"),
        ("range", (None, -0.1), r"range=\(None, -0\.1\), and gives 0:"),
    ],
)
def test_a_metric_gives_what_it_says(field, value, said):
    metric = Awkward()
    awkward_scores(metric)
    setattr(metric, field, value)
    with pytest.raises(ConfigError, match=rf"^metric\.mine has {said}"):
        awkward_scores(metric)


def test_identities_are_given_but_for_rounding():
    """Which is that of large numbers where the identity is one."""
    metric = Awkward(compare=lambda a, b: np.full(len(a), 1000.005))
    metric.identity = 1000.0
    awkward_scores(metric)
    metric.identity = 1000.1
    with pytest.raises(ConfigError, match=r"identity=1000\.1, and gives 1000"):
        awkward_scores(metric)


@pytest.mark.parametrize("group", [range(2), range(1, 3)])
def test_stages_of_a_group_come_after_its_stage_0(group):
    masks = {"m": np.random.default_rng(0).standard_normal((2, 16, 16))}
    scorer = Scorer(METRICS, names(3))
    scorer.score(range(2), 0, "", masks, TARGETS[:2])
    if group == range(2):
        scorer.score(group, 1, "layer1", masks, TARGETS[:2])
        return
    with pytest.raises(RuntimeError, match="came before its stage 0"):
        scorer.score(group, 1, "layer1", masks, TARGETS[:2])
