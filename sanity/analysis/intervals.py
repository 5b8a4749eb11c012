"""Means of scores with their intervals, over images and seeds; tests and their correction.

A score table is an array images × seeds. All images of a seed share its draw of the weights, so
seeds are crossed with images, and one seed alone says something about that draw only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sanity.randomness import generator

LEVEL = 0.95
_BOOTSTRAP_FROM = 50  # images: below, BCa covers too little (0.70 at 3, 0.85 at 6)
_RESAMPLES = 4999


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval.

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


def mean(values: np.ndarray) -> Estimate:
    """The mean of scores with its interval.

    One seed: over images, Student's t below 50 of them, BCa bootstrap from there (Efron 1987).
    Several: the variance of the grand mean in a crossed two-way random-effects layout, the mean
    squares of images and of seeds less that of the rest, over the number of scores, with
    Satterthwaite's degrees of freedom.

    Args:
        values: (images,) or (images, seeds); images with NaN are left out.
    """
    values = _table(values)
    images, seeds = values.shape
    centre = float(values.mean()) if images else float("nan")
    if images < 2:
        return Estimate(centre, float("nan"), float("nan"), images, seeds)
    if seeds > 1:
        low, high = _crossed(values)
    elif images < _BOOTSTRAP_FROM:
        low, high = _student(values[:, 0])
    else:
        low, high = _bootstrap(values[:, 0], np.mean)
    return Estimate(centre, low, high, images, seeds)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Estimate:
    """The ratio of two means, with its interval by the delta method.

    A ratio r of means varies like the mean of (numerator − r · denominator) / mean(denominator).

    Args:
        numerators: (images,) or (images, seeds).
        denominators: Of the same shape.
    """
    numerators, denominators = np.asarray(numerators), np.asarray(denominators)
    below = float(np.nanmean(denominators))
    centre = float(np.nanmean(numerators)) / below
    around = mean((numerators - centre * denominators) / below)
    return Estimate(centre, centre + around.low, centre + around.high, around.images, around.seeds)


def difference(a: np.ndarray, b: np.ndarray) -> tuple[Estimate, float]:
    """The mean of a − b over images that have both, and the p-value of no difference.

    The p-value is that of a paired t-test over images, each averaged over seeds; NaN below two
    images, 1 where all differences are zero.
    """
    from scipy import stats

    values = _table(np.asarray(a) - np.asarray(b))
    each = values.mean(axis=1)
    if len(each) < 2:
        return mean(values), float("nan")
    error = each.std(ddof=1) / len(each) ** 0.5
    if not error:
        return mean(values), 1.0 if each[0] == 0 else 0.0
    return mean(values), float(2 * stats.t.sf(abs(each.mean()) / error, len(each) - 1))


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
    return np.trapezoid(values, axis=-1) / (np.shape(values)[-1] - 1)


def _table(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    return values[~np.isnan(values).any(axis=1)]


def _student(values: np.ndarray) -> tuple[float, float]:
    from scipy import stats

    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def _bootstrap(values: np.ndarray, statistic: object) -> tuple[float, float]:
    from scipy import stats

    if not values.std():
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,),
        statistic,
        confidence_level=LEVEL,
        n_resamples=_RESAMPLES,
        method="BCa",
        rng=generator("bootstrap"),
    ).confidence_interval
    return float(found.low), float(found.high)


def _crossed(values: np.ndarray) -> tuple[float, float]:
    from scipy import stats

    images, seeds = values.shape
    grand = values.mean()
    by_image, by_seed = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_image[:, None] - by_seed + grand
    squares = np.array(
        [
            seeds * ((by_image - grand) ** 2).sum() / (images - 1),
            images * ((by_seed - grand) ** 2).sum() / (seeds - 1),
            (rest**2).sum() / ((images - 1) * (seeds - 1)),
        ]
    )
    freedom = np.array([images - 1, seeds - 1, (images - 1) * (seeds - 1)])
    signs = np.array([1, 1, -1])
    variance = (signs * squares).sum()
    if variance <= max(squares[:2]):  # the rest explains it all: the larger of the two stands
        which = int(squares[1] > squares[0])
        variance, degrees = squares[which], freedom[which]
    else:
        degrees = variance**2 / (squares**2 / freedom).sum()
    half = stats.t.ppf((1 + LEVEL) / 2, degrees) * (variance / values.size) ** 0.5
    return float(grand - half), float(grand + half)
