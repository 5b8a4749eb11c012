import numpy as np
import pytest
from scipy import stats

from sanity.analysis.weighted import probability_below


@pytest.mark.parametrize(("terms", "shapes"), [([-1, 1, 2], [0.5, 1, 3]), ([-3, 1e-3], [0.5, 9])])
def test_probability_below_is_that_of_draws(terms, shapes):
    drawn = np.random.default_rng(0).gamma(shapes, size=(200_000, len(shapes))) @ terms
    found = probability_below(np.array(terms, float), np.array(shapes, float))
    assert found == pytest.approx((drawn < 0).mean(), abs=0.005)


@pytest.mark.parametrize(("images", "ones"), [(2, 2), (7, 6), (300, 150), (3000, 2000)])
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 0.65, 0.9])
def test_small_probabilities_are_as_exact_as_others(images, ones, ratio):
    terms = np.array([1 - ratio, -ratio])
    shapes = np.array([ones + 0.5, images - ones + 0.5])
    found = probability_below(terms, shapes)
    expected = stats.beta.cdf(ratio, *shapes)
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-14)
    assert probability_below(1e-30 * terms, shapes) == pytest.approx(found, rel=1e-9)
    assert probability_below(-terms, shapes) == pytest.approx(1 - found, abs=1e-12)


def test_below_terms_of_one_sign_there_is_nothing():
    terms = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 1.0]])
    assert probability_below(terms, np.ones(2)).tolist() == [0, 1, 0]
