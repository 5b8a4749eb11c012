import numpy as np
import pytest

from sanity.metrics import Ssim
from sanity.randomness import generator
from sanity.report.display import (
    absolute_limits,
    scaled,
    shrink,
    signed_limits,
    whole_factor,
)


def noise(*shape):
    return generator("noise", *shape).standard_normal(shape)


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.arange(101.0), 99),
        (np.arange(101.0) - 50, 49),
        (np.arange(101.0) - 200, 199),  # its percentile is -101; that of -200 … -100 negated, 199
        (np.r_[np.zeros(100), -np.arange(1.0, 102)], 99),  # its percentile is 0
        (np.r_[np.zeros(999), 5.0], 5),  # that of its absolute values is 0 too
        (np.r_[np.zeros(999), -5.0], 5),
    ],
)
def test_signed_limits(values, limit):
    assert signed_limits(values[None]) == pytest.approx((-limit, limit), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        (np.arange(101.0), (0, 99)),
        (np.arange(101.0) + 7, (7, 106)),
        (np.r_[np.zeros(999), 5.0], (0, 5)),
    ],
)
def test_absolute_limits(values, limits):
    assert absolute_limits(values[None]) == pytest.approx(limits, abs=1e-12)


def test_absolute_is_what_ssim_compares():
    mask = noise(20, 24, 3)
    shown, special = scaled(mask, "absolute")
    compared = Ssim().prepare(mask[None])[0]
    assert special == ""
    np.testing.assert_allclose(shown, compared.reshape(shown.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "side", "factor"),
    [
        ((224, 224), 160, 2),
        ((224, 100), 112, 2),
        ((224, 100), 111, 3),
        ((28, 28), 160, 1),
        ((299, 299, 3), 160, 2),
        ((5, 5), 0.5, 5),
    ],
)
def test_masks_shrink_by_whole_factors(shape, side, factor):
    assert whole_factor(shape, side) == factor


def test_shrinking_takes_means_of_squares_and_of_what_is_left_of_them():
    values = noise(5, 7)
    small = shrink(values, 3)
    assert small.shape == (2, 3)
    assert small[0, 1] == pytest.approx(values[:3, 3:6].mean())
    assert small[1, 2] == pytest.approx(values[3:, 6:].mean())
    np.testing.assert_array_equal(shrink(values, 1), values)


def test_shrunk_noise_has_no_lattice():
    """All rows of pixels spread alike, whichever they are."""
    small = shrink(noise(224, 224, 64), whole_factor((224, 224), 160))
    spread = small.std(axis=(1, 2))
    assert spread.max() / spread.min() < 1.1


def test_clipped_before_shrunk():
    mask = np.zeros((10, 20))
    mask[:, ::2] = 1
    mask[0, 0] = 1e6
    shown, _ = scaled(mask, "signed", 2)
    np.testing.assert_allclose(shown, 0.5)


@pytest.mark.parametrize("style", ["signed", "absolute"])
@pytest.mark.parametrize(
    ("value", "special"), [(np.nan, "NaN"), (np.inf, "infinite"), (1.0, "constant"), (2.0, "")]
)
def test_what_is_special_is_said(style, value, special):
    mask = np.ones((6, 6, 1))
    mask[1, 2] = value
    shown, said = scaled(mask, style, 4)
    assert said == special and shown.shape == (2, 2)
    assert shown.any() == (not special)
