import numpy as np
import pandas as pd
import pytest

from sanity.config.job import compose
from sanity.data import AnimalMnist, Digits, Images, TwoRegions
from sanity.errors import ConfigError
from sanity.metrics import RegionShare
from sanity.metrics.scoring import Scorer
from sanity.models import Mlp
from sanity.randomization.weights import Randomization


def halves(x):
    width = x.shape[2] // 2
    return {"left": x[:, :, :width], "right": x[:, :, width:]}


@pytest.mark.parametrize("source", ["digits", "animal_mnist"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("other", ["image", "blank"])
def test_the_label_is_that_of_one_side(source, side, other):
    spec = TwoRegions(source=source, side=side, other=other)
    single = {"digits": Digits, "animal_mnist": AnimalMnist}[source]()
    for split in ("train", "test"):
        (x, labels), (images, own_labels) = spec.arrays(split), single.arrays(split)
        assert x.shape == (len(images), *spec.image_shape) and x.dtype == np.float32
        np.testing.assert_array_equal(labels, own_labels)
        np.testing.assert_array_equal(halves(x)[side], images)
        rest = halves(x)["right" if side == "left" else "left"]
        if other == "blank":
            assert not rest.any()
            continue
        known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
        partners = np.array([known[image.tobytes()] for image in rest])  # of the same split
        assert (partners == labels).mean() == pytest.approx(0.1, abs=0.06)  # says nothing
        assert not (rest == images).all(axis=(1, 2, 3)).any()


def test_images_carry_their_regions():
    spec = TwoRegions(source="digits", side="right", limit=7)
    images = spec.load(spec.image_shape)
    assert images.regions.shape == (7, 8, 16) and images.regions.dtype == bool
    assert halves(images.regions)["right"].all() and not halves(images.regions)["left"].any()
    x, labels = spec.arrays("test")
    np.testing.assert_array_equal(images.x, x[:7])
    assert images.labels == labels[:7].tolist()
    assert images.label_names == [str(label) for label in labels[:7]]
    left, right = images.names[0].split("+")
    digits = Digits(names=[left, right]).load((8, 8, 1))
    np.testing.assert_array_equal(images.x[0], np.concatenate(list(digits.x), axis=1))
    some = images.take([3, 1])
    np.testing.assert_array_equal(some.x, images.x[[3, 1]])
    assert (
        TwoRegions(source="digits", names=images.names[2:3], side="right")
        .load(spec.image_shape)
        .names
        == images.names[2:3]
    )


def test_a_random_side():
    spec = TwoRegions(source="digits", side="random", other="blank", limit=None)
    images = spec.load(spec.image_shape)
    left = images.regions[:, 0, 0]
    assert left.mean() == pytest.approx(0.5, abs=0.1)
    assert not images.x[~images.regions].any()
    digits = Digits().arrays("test")[0]
    for side, chosen in (("left", left), ("right", ~left)):
        np.testing.assert_array_equal(halves(images.x)[side][chosen], digits[chosen])
    some = images.take([5, 2])
    np.testing.assert_array_equal(some.regions, images.regions[[5, 2]])


def test_pairs_and_pairing():
    base = TwoRegions(source="digits")
    x, labels = TwoRegions(source="digits", pairs=3).arrays("train")
    n = len(x) // 3
    np.testing.assert_array_equal(x[:n], base.arrays("train")[0])
    np.testing.assert_array_equal(labels.reshape(3, n)[2], base.arrays("train")[1])
    np.testing.assert_array_equal(halves(x)["left"][:n], halves(x)["left"][n : 2 * n])
    assert not np.array_equal(halves(x)["right"][:n], halves(x)["right"][n : 2 * n])
    for split in ("train", "test"):
        other = TwoRegions(source="digits", pairing=1).arrays(split)[0]
        assert not np.array_equal(other, base.arrays(split)[0])
        few = TwoRegions(source="digits", limit=3, split=split)
        np.testing.assert_array_equal(few.arrays(split)[0], base.arrays(split)[0])


def with_regions(regions):
    n, height, width = regions.shape
    x = np.zeros((n, height, width, 1), np.float32)
    unknown = [None] * n
    return Images(x, [f"i{k}" for k in range(n)], unknown, unknown, [""] * n, regions)


@pytest.mark.parametrize("channels", ["sum_abs", "sum"])
@pytest.mark.parametrize("shape", [(4, 6, 10), (4, 6, 10, 3)], ids=["grey", "colour"])
def test_share_against_a_loop(channels, shape):
    draw = np.random.default_rng(0)
    masks = draw.standard_normal(shape).astype(np.float32)
    regions = draw.random(shape[:3]) < 0.3
    metric = RegionShare(channels=channels).of(regions)
    features = metric.features(masks)
    shares, nulls = metric.compare(features, features), metric.null(features, features)
    for mask, region, share, null in zip(masks, regions, shares, nulls, strict=True):
        inside = total = 0.0
        for y in range(shape[1]):
            for x in range(shape[2]):
                value = np.atleast_1d(mask[y, x]).astype(float)
                value = abs(value.sum()) if channels == "sum" else abs(value).sum()
                total += value
                inside += value if region[y, x] else 0
        assert share == pytest.approx(inside / total, rel=1e-9)
        assert null == pytest.approx(region.sum() / region.size)


def test_share_of_what_is_clear():
    regions = np.zeros((4, 6, 8), bool)
    regions[:, :, :2] = True
    masks = np.zeros((4, 6, 8), np.float32)
    masks[0, 1, 1] = -3  # inside, whatever its sign
    masks[1, 1, 5] = 2
    masks[2, 0, 0] = np.nan
    metric = RegionShare().of(regions)
    features = metric.features(masks)
    np.testing.assert_array_equal(metric.compare(features, features), [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(metric.null(features, features), [0.25, 0.25, np.nan, np.nan])
    assert list(features.problems) == ["", "", "mask has NaN", "constant mask"]


def test_scores_have_the_share_of_each_stage_and_chance():
    draw = np.random.default_rng(1)
    regions = np.zeros((5, 4, 6), bool)
    regions[:, :, :2] = True
    images = with_regions(regions)
    scorer = Scorer({"region_share": RegionShare()}, images.names, regions=images.regions)
    frames, expected = [], []
    for group in (range(3), range(3, 5)):
        for index in (0, 1):
            masks = draw.standard_normal((len(group), 4, 6)).astype(np.float32)
            targets = np.zeros(len(group), int)
            frames.append(scorer.score(group, index, "top" * index, {"gradient": masks}, targets))
            expected += list(abs(masks[:, :, :2]).sum((1, 2)) / abs(masks).sum((1, 2)))
    rows = pd.concat(frames)
    np.testing.assert_allclose(rows["value"], expected)
    np.testing.assert_allclose(rows["null"], 1 / 3)
    assert (rows["reason"] == "").all()


def test_gradient_shows_the_region_that_was_learned(tmp_path, monkeypatch):
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path))
    spec = TwoRegions(source="digits", limit=100, pairs=2)
    classifier = Mlp(data=spec, seed=0, units=[128, 64], learning_rate=0.001, stop_at=0.98).load()
    images = spec.load(classifier.input_shape)
    assert classifier.facts["test_accuracy"] > 0.85
    metric = RegionShare().of(images.regions)
    targets = classifier.logits(images.x).argmax(1)

    def share():
        features = metric.features(classifier.gradients(images.x, targets))
        return metric.compare(features, features)

    learned = share()
    assert learned.mean() > 0.65  # 0.5 is chance
    assert (learned > 0.5).mean() > 0.95
    for seed in (0, 1):
        last = Randomization().stages(classifier, classifier.blocks, seed)[-1]
        with classifier.weights.restored():
            classifier.weights.put(last.make_weights())
            assert share().mean() == pytest.approx(0.5, abs=0.03)


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"data\.side=random needs data\.other=blank"):
        TwoRegions(side="random")
    with pytest.raises(ConfigError, match=r"\(28, 56, 1\).*model=cnn or model=mlp"):
        TwoRegions().load((28, 28, 1))
    with pytest.raises(ConfigError, match=r"no image nothing"):
        TwoRegions(names=["nothing"]).check()
    unknown = with_regions(np.ones((2, 3, 3), bool))
    unknown = Images(unknown.x, unknown.names, [None] * 2, [None] * 2, [""] * 2)
    with pytest.raises(ConfigError, match=r"region_share needs .*data=two_regions"):
        RegionShare().of(None)
    with pytest.raises(ConfigError, match=r"region_share .*Digits: choose data=two_regions"):
        compose(["model=mlp", "data=digits", "metric=[region_share]"])
    with pytest.raises(ConfigError, match="regions must be bool, of the height and width"):
        Images(unknown.x, unknown.names, *[[None] * 2] * 2, [""] * 2, np.ones((2, 3, 4), bool))


def test_the_preset():
    digits = ["model=mlp", "data.source=digits", "metric=[spearman]"]
    job = compose(["experiment=known_regions", *digits])
    assert job.model.data == job.data
    assert job.model.architecture.input_shape == (8, 16, 1)
