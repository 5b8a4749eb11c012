"""The contract of metrics (`sanity.metrics.base`), for every option and for one's own."""

from functools import cache

import numpy as np
import pytest

from sanity.checked import checked, make
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.metrics import MaskMetric, Metric, reasons
from sanity.metrics.base import as_metric, score
from tests.contracts import check_repr, options


@checked
class Own(Metric):
    """A minimal metric of one's own: the share of pixels of equal sign."""

    identity = 1.0
    range = (0.0, 1.0)
    channels: str = "sum"

    def parts(self, masks):
        return {"sign": np.sign(masks)}

    def similarity(self, a, b):
        return (a["sign"] == b["sign"]).mean((1, 2, 3))


class Structural:
    """A class that is derived from nothing: the difference of two masks' greatest values."""

    identity = 0.0

    def __repr__(self):
        return "Structural()"

    def features(self, masks):
        return np.abs(masks.reshape(len(masks), -1)).max(1).astype(float)

    def compare(self, a, b):
        return b - a


OWN = {"own": Own(), "structural": Structural()}
NAMES = [*options("metric"), *OWN]
REGIONS = np.zeros((4, 48, 48), bool)
REGIONS[:, 10:30, 5:25] = True
SHAPES = [(48, 48), (48, 48, 3)]


@cache
def every_metric():
    """All options, by name, as their YAMLs have them, on images with regions, which one needs."""
    return compose([f"metric=[{','.join(options('metric'))}]", "data=two_regions"]).metrics


def metric_of(name):
    """An option as its YAML has it, or a metric of one's own."""
    return as_metric(OWN[name], f"metric.{name}") if name in OWN else every_metric()[name]


def masks(shape, seed=0):
    return np.random.default_rng(seed).standard_normal((4, *shape)).astype(np.float32)


def scores(name, a, b):
    metric = metric_of(name).of(REGIONS[: len(a)])
    return metric.compare(metric.features(a), metric.features(b))


@pytest.mark.parametrize("shape", SHAPES, ids=["plane", "channels"])
@pytest.mark.parametrize("name", NAMES)
def test_a_score_for_each_pair(name, shape):
    a, b = masks(shape), masks(shape, 1)
    kept = a.copy()
    found = scores(name, a, b)
    assert found.shape == (4,)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(a, kept)  # what it is given stays as it is
    low, high = metric_of(name).range
    assert low is None or (found >= low).all()
    assert high is None or (found <= high).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_score_depends_on_its_two_masks_alone(name):
    a, b = masks((48, 48, 3)), masks((48, 48, 3), 1)
    found = scores(name, a, b)
    np.testing.assert_allclose(scores(name, a[[3, 1]], b[[3, 1]]), found[[3, 1]], rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if metric_of(n).identity is not None])
def test_the_identity_is_the_score_of_a_mask_with_itself(name):
    found = scores(name, masks((48, 48, 3)), masks((48, 48, 3)))
    np.testing.assert_allclose(found, metric_of(name).identity, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_its_features_can_be_taken_apart(name):
    """A null is made of them: what an image's mask scores with another image's."""
    metric = metric_of(name).of(REGIONS)
    a, b = metric.features(masks((48, 48))), metric.features(masks((48, 48), 1))
    null = metric.null(a.take([1, 0, 2, 3]), b)
    assert null.shape == (4,)
    if name not in ("emprt", "region_share"):  # a mask's own value: by chance, see their classes
        np.testing.assert_allclose(null[2:], metric.compare(a, b)[2:], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"structural"}))
def test_a_mask_without_a_score_has_a_reason(name):
    a, b = masks((48, 48)), masks((48, 48), 1)
    b[1] = np.nan
    metric = metric_of(name).of(REGIONS)
    before, after = metric.features(a), metric.features(b)
    assert np.isnan(metric.compare(before, after)).tolist() == [False, True, False, False]
    assert [bool(why) for why in reasons(before, after)] == [False, True, False, False]


@pytest.mark.parametrize("shape", [(1, 1), (4, 4, 3), (48, 48, 3)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_what_check_lets_pass_can_be_scored(name, shape):
    try:
        metric_of(name).check(shape, f"metric.{name}")
    except ConfigError as error:
        assert str(error).startswith(f"metric.{name}")
        assert shape != (48, 48, 3)
        return
    metric = metric_of(name).of(np.ones((4, *shape[:2]), bool))
    metric.compare(metric.features(masks(shape)), metric.features(masks(shape, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_needs_regions(name):
    metric = metric_of(name)
    if not metric.needs_regions:
        metric.check_regions(False, "some data")
        assert metric.of(None).features(masks((48, 48))) is not None
        return
    for refuse in (lambda: metric.check_regions(False, "some data"), lambda: metric.of(None)):
        with pytest.raises(ConfigError, match="region"):
            refuse()


@pytest.mark.parametrize("name", NAMES)
def test_its_repr(name):
    check_repr(metric_of(name))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"identity": "1"}, "identity='1' must be a number, or None"),
        ({"unrelated": float("nan")}, "unrelated=nan must be a number"),
        ({"range": None}, "range=None must be two numbers"),
        ({"range": (1, 0)}, "the least and the greatest"),
        ({"range": (0, "1")}, r"range=\(0, '1'\) must be two numbers"),
        ({"range": (0, 1, 2)}, r"range=\(0, 1, 2\) must be two numbers"),
    ],
    ids=str,
)
@pytest.mark.parametrize("base", [MaskMetric, object])
def test_what_a_metric_says_of_itself_is_numbers(said, message, base):
    calls = {"features": lambda self, masks: masks, "compare": lambda self, a, b: np.zeros(len(a))}
    with pytest.raises(ConfigError, match=rf"metric\.mine=Mine: .*{message}"):
        as_metric(type("Mine", (base,), {**calls, **said})(), "metric.mine")
    assert as_metric(type("Mine", (base,), {**calls, "range": [0, None]})(), "metric.mine").range


def test_a_class_derived_from_nothing_is_given_the_originals_first():
    found = score(as_metric(Structural(), "metric.mine"), np.ones((2, 3, 3)), np.zeros((2, 3, 3)))
    assert found.tolist() == [-1, -1]


def test_what_is_no_metric():
    with pytest.raises(ConfigError, match=r"metric\.mine=object is no metric: derive it from"):
        as_metric(object(), "metric.mine")


@pytest.mark.parametrize(
    ("base", "lacks"),
    [(MaskMetric, "compare, features"), (Metric, "parts, similarity")],
    ids=["MaskMetric", "Metric"],
)
def test_a_class_that_lacks_something(base, lacks):
    class Half(base):
        pass

    with pytest.raises(ConfigError, match=f"metric.half: the class .*Half lacks {lacks}, which "):
        make(Half, {}, "metric.half")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("parts", lambda self, masks: None, "Wrong.parts must give arrays by name"),
        ("parts", lambda self, masks: {"m": masks[:1]}, "the 4 masks along its first axis"),
        ("similarity", lambda self, a, b: 1.0, "Wrong.similarity gives one number for 4 masks"),
    ],
    ids=["nothing", "fewer", "one_number"],
)
def test_a_metric_that_gives_something_else(field, value, said):
    wrong = type("Wrong", (Own,), {field: value})()
    with pytest.raises(ConfigError, match=said):
        wrong.compare(*(wrong.features(masks((48, 48), seed)) for seed in (0, 1)))


@pytest.mark.parametrize("name", sorted(set(options("metric")) - {"region_share"}))
def test_a_score_is_the_same_to_the_bit_whatever_is_scored_beside_it(name):
    """Large enough for sums in several steps."""
    metric, random = metric_of(name), np.random.default_rng(0)
    a = random.random((5, 100, 96, 3), np.float32) - 0.3
    b = a + 0.3 * random.random(a.shape, np.float32)
    whole = metric.compare(metric.features(a), metric.features(b))
    for count in (1, 2):
        parts = [slice(i, i + count) for i in range(0, len(a), count)]
        found = [metric.compare(metric.features(a[p]), metric.features(b[p])) for p in parts]
        np.testing.assert_array_equal(np.concatenate(found), whole)
