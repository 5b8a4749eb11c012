"""Means of scores with their intervals, over images and seeds; tests and their correction.

A score table is an array images × seeds. All images of a seed share its draw of the weights, so
seeds are crossed with images, and one seed alone says something about that draw only.

Scores are bounded and few, and where most are equal Student's t covers half of what it claims. So
an interval over images is that of the mean with random weights on the images (Rubin 1981, the
Bayesian bootstrap), to which half an image is added at either end of the scale: for scores that
are 0 or 1 it is Jeffreys' interval of a proportion. It never leaves the scale, it is not empty
where all scores are equal, and docs/verdicts.md has what it covers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
_END = 0.5  # images at either end of the scale: Jeffreys' prior
_GROUPS = 200  # of images: where there are more, neighbours in size share a weight
_POINTS = 48  # of an integral
_HALVINGS = 16  # of a search for where an integrand does not oscillate
_FAR = 1e9  # that a ratio is taken to have no bound beyond
_NOTHING = 25.0  # e-folds below its greatest value, of which nothing is left of an integral
_LEAST = 1e-6  # p-value that is told from 0


@dataclass(frozen=True)
class Estimate:
    """A mean, or a ratio of means, with its confidence interval.

    Attributes:
        mean: Over images and seeds.
        low: Lower end of the 95 % interval; NaN for a single image.
        high: Its upper end.
        images: How many images.
        seeds: How many seeds; with one, the interval is given that seed's draw.
    """

    mean: float
    low: float
    high: float
    images: int
    seeds: int


def mean(
    values: np.ndarray,
    ends: tuple[float, float] | None = None,
    level: float = LEVEL,
) -> Estimate:
    """The mean of scores with its interval.

    Args:
        values: (images,) or (images, seeds); images with NaN are left out.
        ends: Of the scale, see `scale`: the null, and the identity, beyond which there is no score.
            Without, the interval over images is Student's, which saturated scores make too short.
        level: Of confidence.
    """
    values = _table(values)
    images, seeds = values.shape
    centre = float(values.mean()) if images else float("nan")
    if images < 2:
        return Estimate(centre, float("nan"), float("nan"), images, seeds)
    each = values.mean(axis=1)
    within = (-np.inf, np.inf)
    if ends is None:
        low, high = _student(each, level)
    else:
        low, high = _Weighted(each, np.ones(images), *ends).interval(level)
        within = (-np.inf, ends[1]) if ends[0] < ends[1] else (ends[1], np.inf)
    return _with_seeds(centre, low, high, values.mean(axis=0), images, level, within)


def scale(nulls: np.ndarray, originals: np.ndarray) -> tuple[float, float] | None:
    """The scale of some scores: their mean null, and the identity, what a mask has with itself.

    Args:
        nulls: Of the scores.
        originals: Scores at stage 0.

    Returns:
        None where there is no null, no one identity, or no room between them.
    """
    nulls, originals = nulls[np.isfinite(nulls)], originals[np.isfinite(originals)]
    if not nulls.size or not originals.size or np.ptp(originals) > 1e-6:
        return None
    found = float(nulls.mean()), float(originals.mean())
    return None if abs(found[0] - found[1]) < 1e-9 else found


def ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    least: float = -np.inf,
    level: float = LEVEL,
) -> Estimate:
    """The ratio of two means with its interval; half an image is added at 0 and at 1.

    Args:
        numerators: (images,) or (images, seeds); images with a NaN are left out.
        denominators: Of the same shape and of one sign; the ratio is at most 1.
        least: The least ratio that there can be.
        level: Of confidence.
    """
    top, bottom = _tables(numerators, denominators)
    images, seeds = top.shape
    centre = float(top.mean() / bottom.mean()) if images else float("nan")
    if images < 2:
        return Estimate(centre, float("nan"), float("nan"), images, seeds)
    low, high = _Weighted(top.mean(axis=1), bottom.mean(axis=1)).interval(level)
    by_seed = top.mean(axis=0) / bottom.mean(axis=0)
    return _with_seeds(centre, low, high, by_seed, images, level, (least, 1.0))


def p_value(numerators: np.ndarray, denominators: np.ndarray, threshold: float) -> float:
    """The two-sided p-value of a ratio of means being a threshold: see `ratio`, which it inverts.

    1 minus the level of the interval that ends at the threshold; NaN below two images.
    """
    top, bottom = _tables(numerators, denominators)
    images, seeds = top.shape
    if images < 2:
        return float("nan")
    weighted = _Weighted(top.mean(axis=1), bottom.mean(axis=1))
    centre = float(top.mean() / bottom.mean())
    by_seed = top.mean(axis=0) / bottom.mean(axis=0)
    return min(1.0, max(_LEAST, _p_of_end(weighted, centre, by_seed, threshold)))


def _p_of_end(weighted: "_Weighted", centre: float, by_seed: np.ndarray, threshold: float) -> float:
    """The p-value of the interval that ends at a threshold; below `_LEAST`, about that.

    Of several seeds it is searched for by where the images' own interval would end: its level
    says how wide the seeds' one is, and both together are to reach the threshold. To search by
    the level would take a search for the images' interval at each step.
    """
    beneath = threshold < centre

    def p(ratio: float) -> float:
        below = weighted.below(ratio)
        if len(by_seed) == 1:
            return 2 * min(below, 1 - below)
        return min(1.0, 2 * (below if beneath else 1 - below))

    distance, at_once = abs(centre - threshold), p(threshold)
    if len(by_seed) == 1 or at_once >= 1 or not distance:
        return at_once if distance or len(by_seed) == 1 else 1.0
    from scipy.optimize import brentq

    def beyond(ratio: float) -> float:
        alone = max(0.0, centre - ratio if beneath else ratio - centre)
        half = _half(by_seed, len(by_seed), 1 - max(_LEAST, p(ratio)))
        return float(np.hypot(alone, half)) - distance

    end = weighted.quantile(0.5)
    if beyond(threshold) <= 0:  # the seeds are equal
        return at_once
    return p(float(brentq(beyond, threshold, end, xtol=1e-9 * abs(end - threshold))))


def images_needed(
    numerators: np.ndarray,
    denominators: np.ndarray,
    width: float,
    seeds: int,
    most: int = 100_000,
) -> int | None:
    """How many images like these make a ratio's 95 % interval so narrow; None if over `most`.

    Args:
        numerators: See `ratio`.
        denominators: See `ratio`.
        width: Of the interval, from end to end.
        seeds: How many there shall be. Of one measured seed, only one can be asked for.
        most: Images.
    """
    top, bottom = _tables(numerators, denominators)
    images, measured = top.shape
    if images < 2 or (seeds > 1 and measured < 2):
        return None
    by_seed = top.mean(axis=0) / bottom.mean(axis=0)
    over_seeds = _half(by_seed, seeds, LEVEL) if seeds > 1 else 0.0
    centre = float(top.mean() / bottom.mean())
    if 2 * over_seeds >= width:  # which no number of images makes narrower
        return None

    def wide(count: int) -> bool:
        weighted = _Weighted(top.mean(axis=1), bottom.mean(axis=1), times=count / images)
        low, high = _joined(centre, *weighted.interval(LEVEL), over_seeds)
        return high - low > width

    return _least(lambda count: not wide(count), most)


def images_to_exclude(
    numerators: np.ndarray,
    denominators: np.ndarray,
    threshold: float,
    level: float = LEVEL,
    most: int = 100_000,
) -> int | None:
    """How many images like these make a ratio's interval exclude a threshold; None if over `most`.

    Args:
        numerators: See `ratio`; of one image, the others are taken to be as it.
        denominators: See `ratio`.
        threshold: Which is not to be inside.
        level: Of confidence.
        most: Images.
    """
    top, bottom = _tables(numerators, denominators)
    images, seeds = top.shape
    if not images:
        return None
    by_seed = top.mean(axis=0) / bottom.mean(axis=0)
    over_seeds = _half(by_seed, seeds, level) if seeds > 1 else 0.0
    centre = float(top.mean() / bottom.mean())
    if abs(centre - threshold) <= over_seeds:  # inside, however many images there are
        return None

    def outside(count: int) -> bool:
        weighted = _Weighted(top.mean(axis=1), bottom.mean(axis=1), times=count / images)
        low, high = _joined(centre, *weighted.interval(level), over_seeds)
        return not low <= threshold <= high

    return _least(outside, most)


def _least(holds: Callable[[int], bool], most: int) -> int | None:
    """The least number from 2 on from which something holds; None if that is over `most`."""
    few, many = 1, 2
    while not holds(many):
        few, many = many, 2 * many
        if few >= most:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if holds(middle) else (middle, many)
    return many


def difference(a: np.ndarray, b: np.ndarray) -> tuple[Estimate, float]:
    """The mean of a − b over images that have both, and the p-value of no difference.

    The p-value is 1 minus the level of the interval that ends at 0: of one seed that of a paired
    t-test over images; of several it is crossed with them, as the interval is. It is NaN below two
    images, 1 where all differences are zero.
    """
    values = _table(np.asarray(a) - np.asarray(b))
    return mean(values), _p_of_zero(values)


def _p_of_zero(values: np.ndarray) -> float:
    """See `difference`; of values (images, seeds)."""
    from scipy import optimize, stats

    images, seeds = values.shape
    if images < 2:
        return float("nan")
    each = [(values.mean(axis=1), images), (values.mean(axis=0), seeds)]
    errors = [(part.std(ddof=1) / n**0.5, n - 1) for part, n in each if n > 1]
    centre = abs(values.mean())
    if not any(error for error, _ in errors):
        return 1.0 if centre == 0 else 0.0
    if len(errors) == 1:
        error, freedom = errors[0]
        return float(2 * stats.t.sf(centre / error, freedom))

    def beyond(log_p: float) -> float:
        halves = [stats.t.isf(np.exp(log_p) / 2, freedom) * error for error, freedom in errors]
        return float(centre - np.hypot(*halves))

    least = float(np.log(_LEAST))
    if beyond(least) >= 0:
        return _LEAST
    return float(np.exp(optimize.brentq(beyond, least, 0.0))) if centre else 1.0


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values corrected for how many tests are made (Holm 1979); NaN are no tests."""
    p = np.asarray(p_values, np.float64)
    corrected = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected


def area(values: np.ndarray) -> np.ndarray:
    """Area under curves over equally spaced stages, by trapezoids, in units of the scores.

    Args:
        values: (…, stages), at least two.
    """
    means: np.ndarray = np.trapezoid(values, axis=-1) / (np.shape(values)[-1] - 1)
    return means


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
    upward = np.where(centre < 0, -terms.T, terms.T).T
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


class _Weighted:
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
        self._top = np.array([*[tops[group].mean() for group in groups], zero, one])
        self._bottom = np.array([*[bottoms[group].mean() for group in groups], 1.0, 1.0])
        self._shapes = np.array([*[times * len(group) for group in groups], _END, _END])

    def below(self, ratio: float) -> float:
        """The probability of less than this ratio."""
        terms = self._top - ratio * self._bottom
        if not terms.any():
            return 0.5
        return float(probability_below(terms, self._shapes))

    def interval(self, level: float) -> tuple[float, float]:
        """The ratios that it is below with probability (1 − level) / 2, and above."""
        tail = (1 - level) / 2
        return self.quantile(tail), self.quantile(1 - tail)

    def quantile(self, probability: float) -> float:
        """The ratio that it is below with this probability."""
        from scipy.optimize import brentq

        positive = self._bottom > 0
        ratios = self._top[positive] / self._bottom[positive]
        low, high = ratios.min(), ratios.max()
        size = high - low
        # Only where a denominator has the other sign. Where their sum may have it with more than
        # this probability, the ratio has no bound.
        while self.below(low) > probability:
            low -= size
            size *= 2
            if size > _FAR:
                return -np.inf
        while self.below(high) < probability:
            high += size
            size *= 2
            if size > _FAR:
                return np.inf
        found = brentq(lambda r: self.below(r) - probability, low, high, xtol=1e-6 * size)
        return float(found)


def _table(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    usable: np.ndarray = values[~np.isnan(values).any(axis=1)]
    return usable


def _tables(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, of the images that have no NaN in either."""
    first, second = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    whole = ~np.isnan(first + second).any(axis=1)
    return first[whole], second[whole]


def _student(values: np.ndarray, level: float) -> tuple[float, float]:
    half = _half(values, len(values), level)
    return float(values.mean() - half), float(values.mean() + half)


def _half(values: np.ndarray, count: int, level: float) -> float:
    """Half of Student's interval of the mean of so many values that spread like these."""
    from scipy.special import stdtrit  # which `scipy.stats.t.ppf` calls, in a tenth of its time

    return float(stdtrit(count - 1, (1 + level) / 2) * values.std(ddof=1) / count**0.5)


def _with_seeds(
    centre: float,
    low: float,
    high: float,
    by_seed: np.ndarray,
    images: int,
    level: float,
    within: tuple[float, float],
) -> Estimate:
    """The interval over images, made wider by how much seeds differ."""
    half = _half(by_seed, len(by_seed), level) if len(by_seed) > 1 else 0.0
    low, high = np.clip(_joined(centre, low, high, half), *within)
    return Estimate(centre, float(low), float(high), images, len(by_seed))


def _joined(centre: float, low: float, high: float, half: float) -> tuple[float, float]:
    """Two intervals' distances from a mean, added in squares (MOVER: Zou and Donner 2008)."""
    below, above = max(0.0, centre - low), max(0.0, high - centre)
    return centre - np.hypot(below, half), centre + np.hypot(above, half)
