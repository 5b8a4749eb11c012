import numpy as np
import pytest
from scipy import stats

from sanity.analysis.intervals import area, difference, holm, mean, ratio


def test_mean_of_a_few_images_is_students():
    values = np.array([0.1, 0.4, 0.2, 0.6])
    found = mean(values)
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.mean, found.images, found.seeds) == (values.mean(), 4, 1)


def test_mean_of_many_images_is_a_bootstrap():
    values = np.random.default_rng(0).beta(2, 5, 60)
    found = mean(values)
    again = mean(values)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20000, rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.005)
    assert found == again


def test_nan_are_left_out_and_one_image_has_no_interval():
    assert mean(np.array([0.5, np.nan])).images == 1
    assert np.isnan(mean(np.array([0.5])).low)
    assert np.isnan(mean(np.array([np.nan])).mean)
    assert mean(np.array([[1, 2], [np.nan, 2]])).mean == 1.5


@pytest.mark.parametrize("images", [3, 6, 20, 60])
def test_coverage_of_one_seed(images):
    """Bounded, skewed scores: at least 90 % from 3 images on, 92 to 97 % from 50."""
    draw = np.random.default_rng(images)
    truth, hits = 0.3, 0
    for _ in range(1000):
        found = mean(draw.beta(3, 7, images)) if images < 50 else _fast(draw.beta(3, 7, images))
        hits += found.low <= truth <= found.high
    assert hits >= 900
    if images >= 50:
        assert 920 <= hits <= 970


def _fast(values):
    from unittest import mock

    with mock.patch("sanity.analysis.intervals._RESAMPLES", 999):
        return mean(values)


@pytest.mark.parametrize(("images", "seeds"), [(3, 2), (6, 3), (20, 5)])
@pytest.mark.parametrize("seed_effect", [0.0, 0.1])
def test_coverage_crossed_with_seeds(images, seeds, seed_effect):
    draw = np.random.default_rng(images * seeds)
    hits = 0
    for _ in range(1000):
        values = (
            0.4
            + 0.1 * draw.standard_normal((images, 1))
            + seed_effect * draw.standard_normal(seeds)
            + 0.05 * draw.standard_normal((images, seeds))
        )
        found = mean(values)
        hits += found.low <= 0.4 <= found.high
    assert hits >= 900


def test_images_alone_would_be_too_sure_of_themselves():
    """With a seed effect, an interval over images only misses the truth far too often."""
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        values = 0.4 + 0.02 * draw.standard_normal((20, 1)) + 0.1 * draw.standard_normal(3)
        one = mean(values.mean(axis=1))
        hits += one.low <= 0.4 <= one.high
    assert hits < 200


def test_ratio():
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        below = draw.normal(0.9, 0.1, 12)
        above = 0.6 * below + draw.normal(0, 0.1, 12)
        found = ratio(above, below)
        assert found.mean == pytest.approx(above.mean() / below.mean())
        hits += found.low <= 0.6 <= found.high
    assert hits >= 900


def test_difference_is_paired():
    a, b = np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.41, 0.79])
    found, p = difference(a, b)
    assert found.mean == pytest.approx(0.1)
    assert p == pytest.approx(stats.ttest_rel(a, b).pvalue)
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
