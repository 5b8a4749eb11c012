import numpy as np
import pytest
from scipy.stats import entropy

from sanity.config.job import compose
from sanity.metrics import Emprt, reasons, score


def reference(a, b, bins=100):
    """As Hedström et al. 2024: SciPy's entropy of NumPy's histogram."""
    ha, hb = (entropy(np.histogram(mask.sum(-1), bins)[0]) for mask in (a, b))
    return (hb - ha) / ha


@pytest.mark.parametrize("bins", [2, 10, 100])
def test_equals_scipys_entropy(bins):
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((4, 24, 28, 3)), draw.standard_cauchy((4, 24, 28, 3))
    expected = [reference(x, y, bins) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(score(Emprt(bins=bins), a, b), expected, rtol=1e-12)
    assert (score(Emprt(), a, b) < 0).all()  # heavy tails leave all but a few in one bin


def test_by_hand():
    """Two bins: shares 1/4 and 3/4 against 1/2 and 1/2."""
    a, b = np.array([[[0.0, 1], [1, 1]]]), np.array([[[0.0, 0], [1, 1]]])
    h = -(np.log(1 / 4) / 4 + 3 * np.log(3 / 4) / 4)
    np.testing.assert_allclose(score(Emprt(bins=2), a, b), (np.log(2) - h) / h)
    np.testing.assert_array_equal(score(Emprt(bins=2), a, a), 0)


def test_a_constant_mask_has_no_score_and_divides_by_nothing():
    mask = np.random.default_rng(0).standard_normal((1, 8, 8))
    m, flat = Emprt(), np.ones((1, 8, 8))
    for pair in ((flat, mask), (mask, flat), (np.full((1, 8, 8), np.nan), mask)):
        features = [m.features(x) for x in pair]
        assert np.isnan(m.compare(*features)).all() and reasons(*features) != [""]


def test_option_is_the_default_and_gets_no_verdict():
    assert compose(["metric=[emprt]"]).metrics == {"emprt": Emprt()}
    assert Emprt.identity is None


def test_scale_does_not_matter():
    a, b = np.random.default_rng(1).standard_normal((2, 3, 16, 16))
    np.testing.assert_allclose(score(Emprt(), 8 * a, b), score(Emprt(), a, b))


def test_smprt_is_the_papers():
    """Denoised over 50 noisy inputs, noise 0.1 of the range, from the input to the output."""
    job = compose(["experiment=smprt"])
    method = job.methods["smoothgrad"]
    assert (method.samples, method.noise) == (50, 0.1)
    for name in ("gradient_x_input", "guided_backprop"):
        denoised = job.methods[f"denoised_{name}"]
        assert (denoised.samples, denoised.noise) == (50, 0.1)
        assert denoised.method == job.methods[name]
    assert job.randomization.order == "cascading_bottom_up"
    assert "random_mask" in job.methods
