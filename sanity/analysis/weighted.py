"""Means, and ratios of means, with random weights on the images: their distribution.

It is that of Rubin's Bayesian bootstrap (1981), in closed form but for one integral; see
`intervals`, which takes its intervals and p-values from here.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_END = 0.5  # images at either end of the scale: Jeffreys' prior
_GROUPS = 200  # of images: where there are more, neighbours in size share a weight
_POINTS = 48  # of an integral
_HALVINGS = 16  # of a search for where an integrand does not oscillate
_SHARE = 1e-6  # of a scale, to which ends of intervals are found
_FAR = 1e9  # that a ratio is taken to have no bound beyond
_NOTHING = 25.0  # e-folds below its greatest value, of which nothing is left of an integral


def probability_below(terms: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The probability that a sum of gamma variables, each times its term, is below 0.

    With the mean above 0 it is 1/2π ∫ exp(K(s)) / -s dy along s = -v + iy, K(s) = -Σ a·log(1 - λs),
    for any v > 0 left of which no 1 + λv is 0: taken at v where the integrand is least, it does not
    oscillate, and the smallest probabilities are as exact as others (Helstrom and Ritcey 1985). By
    trapezoids in t with y = w·sinh t, up to where nothing is left. Its relative error is below
    1e-8 down to probabilities of 1e-12.

    Args:
        terms: λ, (…, k), not all 0.
        shapes: a, (k,), of the gamma variables.
    """
    centre = (shapes * terms).sum(-1)
    terms = terms / np.abs(terms).max(-1, keepdims=True)  # it has no unit
    upward = np.where(centre[..., None] < 0, -terms, terms)
    least = upward.min(-1)
    upward = np.where(least[..., None] < 0, upward, -1.0)  # else it is never below 0: replaced
    v, width = _saddle(upward, shapes)
    real = 1 + upward * v[..., None]

    def log_modulus(y: np.ndarray) -> np.ndarray:
        """Of the integrand relative to that at 0; y (…, points)."""
        squares = (upward / real)[..., None] ** 2 * y[..., None, :] ** 2
        sums = (shapes[:, None] * np.log1p(squares)).sum(axis=-2)
        halves: np.ndarray = (sums + np.log1p((y / v[..., None]) ** 2)) / 2
        return -halves

    reach = np.arange(1.0, 25.0)
    left = log_modulus(width[..., None] * np.sinh(reach)) + reach
    last = np.where(left < -_NOTHING, reach, reach[-1]).min(axis=-1)
    step = last[..., None] / _POINTS
    t = step * np.arange(_POINTS + 1)
    y = width[..., None] * np.sinh(t)
    angles = np.arctan((upward / real)[..., None] * y[..., None, :])
    angle = (shapes[:, None] * angles).sum(axis=-2) + np.arctan(y / v[..., None])
    values = np.exp(log_modulus(y)) * np.cos(angle) * width[..., None] * np.cosh(t)
    integral = step[..., 0] * (values.sum(-1) - values[..., 0] / 2)
    with np.errstate(under="ignore"):
        peak = np.exp(-(shapes * np.log(real)).sum(-1)) / v
    below = np.where(least < 0, np.clip(peak * integral / np.pi, 0, 1), 0.0)
    found: np.ndarray = np.where(centre < 0, 1 - below, below)
    return found


def _saddle(terms: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where exp(K(-v)) / v is least, about, and how wide it is there: see `probability_below`.

    By halving, in the logarithm of the odds of v's share of the way to the first 1 + λv = 0.
    """
    end = -1 / terms.min(-1)
    low, high = np.full(end.shape, -24.0), np.full(end.shape, 24.0)
    for _ in range(_HALVINGS):
        odds = (low + high) / 2
        v = end / (1 + np.exp(-odds))
        slope = (shapes * terms / (1 + terms * v[..., None])).sum(-1) + 1 / v
        low, high = np.where(slope > 0, odds, low), np.where(slope > 0, high, odds)
    v = end / (1 + np.exp(-low))
    curvature = (shapes * (terms / (1 + terms * v[..., None])) ** 2).sum(-1) + 1 / v**2
    return v, 1 / np.sqrt(curvature)


def quantiles(means: "Sequence[Weighted]", probabilities: Sequence[float]) -> np.ndarray:
    """What each of some means is below with some probabilities, (probabilities, means).

    All at once: one by one each takes some twenty times as long.

    Args:
        means: Of equally many images, with denominators above 0.
        probabilities: Some.
    """
    from scipy.optimize.elementwise import find_root

    tops, bottoms = (np.array([getattr(one, key) for one in means]) for key in ("tops", "bottoms"))
    low = (tops / bottoms).min(axis=1)
    size = (tops / bottoms).max(axis=1) - low

    def beyond(share: np.ndarray, number: np.ndarray, probability: np.ndarray) -> np.ndarray:
        row = number.astype(int)
        ratio = low[row] + share * size[row]
        terms = tops[row] - ratio[..., None] * bottoms[row]
        below: np.ndarray = probability_below(terms, means[0].shapes) - probability
        return below

    ends = np.zeros((len(probabilities), len(means))), np.ones((len(probabilities), len(means)))
    which = np.arange(len(means)), np.array(probabilities)[:, None]
    found = find_root(beyond, ends, args=which, tolerances={"xatol": _SHARE})
    roots: np.ndarray = low + found.x * size
    return roots


class Weighted:
    """The distribution of Σ w·numerator / Σ w·denominator, w random weights on the images.

    Args:
        numerators: (images,).
        denominators: (images,), the mean of which is not 0.
        zero: The ratio at the one end of the scale, where half an image is added.
        one: That at the other.
        times: How often each image counts.
    """

    def __init__(
        self,
        numerators: np.ndarray,
        denominators: np.ndarray,
        zero: float = 0.0,
        one: float = 1.0,
        times: float = 1.0,
    ):
        scale = denominators.mean()
        tops, bottoms = numerators / scale, denominators / scale
        order = np.argsort(tops, kind="stable")
        groups = np.array_split(order, min(len(order), _GROUPS))
        self.tops = np.array([*[tops[group].mean() for group in groups], zero, one])
        self.bottoms = np.array([*[bottoms[group].mean() for group in groups], 1.0, 1.0])
        self.shapes = np.array([*[times * len(group) for group in groups], _END, _END])

    def below(self, ratio: float) -> float:
        """The probability of less than this ratio."""
        return _below(self.tops - ratio * self.bottoms, self.shapes)

    def interval(self, level: float) -> tuple[float, float]:
        """The ratios that it is below with probability (1 − level) / 2, and above."""
        tail = (1 - level) / 2
        return self.quantile(tail), self.quantile(1 - tail)

    def quantile(self, probability: float) -> float:
        """The ratio that it is below with this probability."""
        rows = (row.tobytes() for row in (self.tops, self.bottoms, self.shapes))
        return _quantile(*rows, probability)


def _below(terms: np.ndarray, shapes: np.ndarray) -> float:
    return float(probability_below(terms, shapes)) if terms.any() else 0.5


@lru_cache(8192)
def _quantile(tops: bytes, bottoms: bytes, shapes: bytes, probability: float) -> float:
    """See `Weighted.quantile`; kept, since verdicts by other thresholds ask for the same again."""
    from scipy.optimize import brentq

    top, bottom, shape = (np.frombuffer(row) for row in (tops, bottoms, shapes))

    def beyond(ratio: float) -> float:
        return _below(top - ratio * bottom, shape) - probability

    ratios = top[bottom > 0] / bottom[bottom > 0]
    low, high = ratios.min(), ratios.max()
    size = high - low
    # Only where a denominator has the other sign. Where their sum may have it with more than
    # this probability, the ratio has no bound.
    while beyond(low) > 0:
        low -= size
        size *= 2
        if size > _FAR:
            return -np.inf
    while beyond(high) < 0:
        high += size
        size *= 2
        if size > _FAR:
            return np.inf
    return float(brentq(beyond, low, high, xtol=_SHARE * size))
