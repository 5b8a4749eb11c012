import numpy as np
import pytest
from scipy import stats

from sanity.analysis.intervals import (
    area,
    difference,
    holm,
    images_needed,
    images_to_exclude,
    mean,
    means,
    p_value,
    ratio,
    scale,
)
from sanity.analysis.weighted import Weighted

SHAPES = {
    "normal": (lambda draw, n: np.clip(draw.normal(0.5, 0.1, n), 0, 1), 0.5),
    "beta": (lambda draw, n: draw.beta(9, 1, n), 0.9),
    "saturated": (lambda draw, n: np.where(draw.random(n) < 0.9, 1, draw.random(n)), 0.95),
    "two-valued, 0.5": (lambda draw, n: (draw.random(n) < 0.5) * 1.0, 0.5),
    "two-valued, 0.9": (lambda draw, n: (draw.random(n) < 0.9) * 1.0, 0.9),
}


@pytest.mark.parametrize(("images", "ones"), [(6, 6), (10, 9), (5, 2)])
def test_of_two_values_the_interval_is_jeffreys(images, ones):
    found = mean(np.repeat([1.0, 0.0], [ones, images - ones]), (0, 1))
    low, high = stats.beta.ppf([0.025, 0.975], ones + 0.5, images - ones + 0.5)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high if ones < images else 1, abs=1e-6)


def test_many_means_are_each_one():
    draw = np.random.default_rng(7)
    tables = [draw.uniform(0, 1, (n, s)) for n, s in [(5, 1), (5, 3), (9, 1), (1, 1), (5, 1)]]
    tables.append(np.array([0.2, np.nan, 0.4, 0.7]))
    scales = [(0.0, 1.0), (-0.2, 1.0), (1.5, 0.0), (0.0, 1.0), None, (0.0, 1.0)]
    for found, values, ends in zip(means(tables, scales), tables, scales, strict=True):
        one = mean(values, ends)
        assert (found.mean, found.images, found.seeds) == (one.mean, one.images, one.seeds)
        assert [found.low, found.high] == pytest.approx([one.low, one.high], abs=1e-9, nan_ok=True)
        if ends and values.ndim == 2 and values.shape[0] > 1 == values.shape[1]:
            alone = Weighted(values[:, 0], np.ones(len(values)), *ends).interval(0.95)
            assert [found.low, found.high] == pytest.approx(alone, abs=1e-5)


def test_without_a_scale_the_interval_is_students():
    values = np.array([0.1, 0.4, 0.2, 0.6])
    found = mean(values)
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.mean, found.images, found.seeds) == (values.mean(), 4, 1)


def test_of_many_images_it_is_about_students():
    values = np.random.default_rng(0).beta(2, 5, 2000)
    found, student = mean(values, (0, 1)), mean(values)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=0.002)


def test_nan_are_left_out_and_one_image_has_no_interval():
    assert mean(np.array([0.5, np.nan])).images == 1
    assert np.isnan(mean(np.array([0.5]), (0, 1)).low)
    assert np.isnan(mean(np.array([np.nan])).mean)
    assert mean(np.array([[1, 2], [np.nan, 2]])).mean == 1.5
    assert mean(np.array([0.5, np.inf, 0.7]), (0, 1)) == mean(np.array([0.5, 0.7]), (0, 1))
    assert ratio(np.array([0.5, 0.7, np.nan]), np.array([1.0, np.nan, 1.0])).images == 1


@pytest.mark.parametrize("ends", [(0.2, 1.0), (1.5, 0.0)])
def test_intervals_stay_on_the_scale(ends):
    """Also where all scores are equal, and with seeds that differ; mse has its identity at 0."""
    draw = np.random.default_rng(2)
    low, high = sorted(ends)
    for values in (np.full(6, ends[1]), draw.uniform(low, high, 6)):
        found = mean(values, ends)
        assert low - 1e-9 <= found.low < found.high <= high + 1e-9
    found = mean(np.full((6, 3), ends[1]) - [0.0, 0.0, 0.0], ends)
    assert ends[1] in (found.low, found.high)
    spread = np.linspace(0.9, 1, 3) * draw.uniform(0.9, 1, (6, 1))
    assert ratio(spread, np.ones((6, 3))).high <= 1


def test_scale_is_from_the_null_to_the_identity():
    nulls = np.array([0.1, np.nan, 0.3])
    assert scale(nulls, np.array([1.0, 1.0])) == pytest.approx((0.2, 1))
    assert scale(nulls, np.array([0.4, 0.6])) is None
    assert scale(np.array([np.nan]), np.array([1.0])) is None
    assert scale(np.ones(2), np.ones(2)) is None


@pytest.mark.parametrize("images", [5, 6, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_of_one_seed(shape, images):
    sample, truth = SHAPES[shape]
    draw = np.random.default_rng(images)
    p = [p_value(sample(draw, images), np.ones(images), truth) for _ in range(500)]
    assert np.mean(np.array(p) > 0.05) >= 0.9


@pytest.mark.parametrize(("images", "seeds"), [(5, 2), (10, 3)])
@pytest.mark.parametrize("seed_effect", [0.0, 0.1])
def test_coverage_crossed_with_seeds(images, seeds, seed_effect):
    draw = np.random.default_rng(images * seeds)
    hits = 0
    for _ in range(100):
        values = (
            0.4
            + 0.1 * draw.standard_normal((images, 1))
            + seed_effect * draw.standard_normal(seeds)
            + 0.05 * draw.standard_normal((images, seeds))
        )
        found = mean(values, (0, 1))
        hits += found.low <= 0.4 <= found.high
    assert hits >= 90


def test_images_alone_would_be_too_sure_of_themselves():
    """With a seed effect, an interval over images only misses the truth far too often."""
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        values = 0.4 + 0.02 * draw.standard_normal((20, 1)) + 0.1 * draw.standard_normal(3)
        one = mean(values.mean(axis=1))
        hits += one.low <= 0.4 <= one.high
    assert hits < 80


@pytest.mark.parametrize("seeds", [1, 3])
def test_p_value_inverts_the_interval(seeds):
    draw = np.random.default_rng(3)
    below = draw.normal(0.9, 0.1, (8, seeds))
    above = below * draw.beta(9, 3, (8, 1)) * np.linspace(0.95, 1, seeds)
    found = ratio(above, below)
    assert found.mean == pytest.approx(above.mean() / below.mean())
    for end in (found.low, found.high):
        assert p_value(above, below, end) == pytest.approx(0.05, abs=1e-4)
    assert p_value(above, below, found.low - 0.05) < 0.05 < p_value(above, below, found.mean)
    assert seeds == 1 or p_value(above, below, found.mean) == 1
    assert np.isnan(p_value(above[:1], below[:1], found.low))


@pytest.mark.parametrize("distance", [0.001, 0.1, 0.3])
def test_p_value_of_many_images_and_seeds_is_that_of_an_interval(distance):
    draw = np.random.default_rng(6)
    below = draw.uniform(0.6, 1, (300, 3))
    above = below * draw.beta(9, 3, (300, 1)) * np.linspace(0.9, 1, 3)
    centre = above.mean() / below.mean()
    for threshold, end in ((centre - distance, "low"), (centre + distance / 2, "high")):
        p = p_value(above, below, threshold)
        found = getattr(ratio(above, below, level=1 - p), end)
        assert found == pytest.approx(threshold, abs=1e-6)


def test_denominators_that_may_have_either_sign_leave_no_bound():
    assert ratio(np.array([0.5, 0.4, 0.3]), np.array([1.0, 1.0, -1.0])).high == 1  # the most
    both = Weighted(np.array([-0.5, -0.4, -0.3]), np.array([1.0, 1.0, -1.0])).interval(0.95)
    assert both == (-np.inf, np.inf)


def test_ratio_does_not_depend_on_the_direction():
    draw = np.random.default_rng(4)
    above, below = draw.uniform(0, 0.5, 7), draw.uniform(0.6, 0.9, 7)
    assert ratio(above, below) == ratio(-above, -below)


def test_images_needed_give_that_width():
    draw = np.random.default_rng(5)
    below = np.full((12, 1), 0.9)
    above = below * draw.beta(9, 3, (12, 1))
    count = images_needed(above, below, 0.03, 1)
    assert count is not None
    repeated = [np.repeat(x, round(count / 12), axis=0) for x in (above, below)]
    found = ratio(*repeated)
    assert found.high - found.low == pytest.approx(0.03, rel=0.05)
    assert images_needed(above, below, 0.1, 2) is None  # one seed does not say how seeds differ
    apart = above * [1, 0.8, 0.6]
    assert images_needed(apart, below * [1, 1, 1], 0.1, 3) is None
    assert images_needed(apart, below * [1, 1, 1], 0.3, 12) is not None
    assert images_needed(above[:1], below[:1], 0.03, 1) is None


@pytest.mark.parametrize(("ratios", "threshold"), [([0.2], 0.5), ([0.9, 0.7, 0.6], 0.5)])
def test_images_to_exclude_are_the_first_number_that_does(ratios, threshold):
    top, bottom = np.array(ratios), np.ones(len(ratios))
    count = images_to_exclude(top, bottom, threshold)
    assert count is not None
    for images, outside in ((count - 1, False), (count, True)):
        each = -(-images // len(ratios))
        if images == each * len(ratios):
            found = ratio(np.tile(top, each), np.tile(bottom, each))
            assert (not found.low <= threshold <= found.high) == outside
    stricter = images_to_exclude(top, bottom, threshold, level=0.99)
    assert stricter is not None and stricter > count
    of_seeds = np.array([[0.9, 0.88, 0.92], [0.6, 0.65, 0.62]])
    count = images_to_exclude(of_seeds, np.ones((2, 3)), threshold)
    for times, outside in (((count - 1) // 2, False), (-(-count // 2), True)):
        found = ratio(np.tile(of_seeds, (times, 1)), np.ones((2 * times, 3)))
        assert (not found.low <= threshold <= found.high) == outside
    two_draws = np.array([[0.9, 0.2]] * 4)
    assert images_to_exclude(two_draws, np.ones((4, 2)), threshold) is None


def test_difference_is_paired():
    a, b = np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.41, 0.79])
    found, p = difference(a, b)
    assert found.mean == pytest.approx(0.1)
    assert p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert difference(a[:2], b[:2])[1] == pytest.approx(stats.ttest_rel(a[:2], b[:2]).pvalue)
    assert difference(a, a)[1] == 1
    assert difference(a + 1, a)[1] < 1e-6
    assert np.isnan(difference(a[:1], b[:1])[1])


def test_holm_by_hand():
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    assert holm([0.5, 0.9]).tolist() == [1, 1]


def test_area():
    assert area(np.array([1.0, 1.0, 1.0])) == 1
    assert area(np.array([[1.0, 0.5, 0.0], [0, 1, 0]])).tolist() == [0.5, 0.5]
