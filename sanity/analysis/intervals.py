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

from sanity.analysis.weighted import Weighted, quantiles

LEVEL = 0.95
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
        values: (images,) or (images, seeds); images with NaN or infinity are left out.
        ends: Of the scale, see `scale`: the null, and the identity, beyond which there is no score.
            Without, the interval over images is Student's, which saturated scores make too short.
        level: Of confidence.
    """
    return means([values], [ends], level)[0]


def means(
    tables: Sequence[np.ndarray],
    scales: Sequence[tuple[float, float] | None],
    level: float = LEVEL,
) -> list[Estimate]:
    """The means of many tables of scores with their intervals, in a fraction of their time.

    Args:
        tables: See `mean`.
        scales: The ends of each one's scale.
        level: Of confidence.
    """
    tables = [_table(values) for values in tables]
    over_images = _scaled_intervals(tables, scales, level)
    found = []
    for k, (values, ends) in enumerate(zip(tables, scales, strict=True)):
        images, seeds = values.shape
        centre = float(values.mean()) if images else float("nan")
        if images < 2:
            found.append(Estimate(centre, float("nan"), float("nan"), images, seeds))
            continue
        within = (-np.inf, np.inf)
        if ends is not None:
            within = (-np.inf, ends[1]) if ends[0] < ends[1] else (ends[1], np.inf)
        low, high = over_images[k] if ends else _student(values.mean(axis=1), level)
        found.append(_with_seeds(centre, low, high, values.mean(axis=0), images, level, within))
    return found


def _scaled_intervals(
    tables: Sequence[np.ndarray], scales: Sequence[tuple[float, float] | None], level: float
) -> dict[int, tuple[float, float]]:
    """The intervals over images of the means that have a scale: all of as many images at once."""
    of_images: dict[int, list[tuple[int, Weighted]]] = {}
    for k, (values, ends) in enumerate(zip(tables, scales, strict=True)):
        if ends is not None and len(values) > 1:
            one = Weighted(values.mean(axis=1), np.ones(len(values)), *ends)
            of_images.setdefault(len(values), []).append((k, one))
    found: dict[int, tuple[float, float]] = {}
    for chosen in of_images.values():
        lows, highs = quantiles([one for _, one in chosen], [(1 - level) / 2, (1 + level) / 2])
        numbers = [k for k, _ in chosen]
        found |= dict(zip(numbers, zip(lows.tolist(), highs.tolist(), strict=True), strict=True))
    return found


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
        numerators: (images,) or (images, seeds); images with NaN or infinity are left out.
        denominators: Of the same shape and of one sign; the ratio is at most 1.
        least: The least ratio that there can be.
        level: Of confidence.
    """
    top, bottom = _tables(numerators, denominators)
    images, seeds = top.shape
    centre = float(top.mean() / bottom.mean()) if images else float("nan")
    if images < 2:
        return Estimate(centre, float("nan"), float("nan"), images, seeds)
    low, high = Weighted(top.mean(axis=1), bottom.mean(axis=1)).interval(level)
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
    weighted = Weighted(top.mean(axis=1), bottom.mean(axis=1))
    centre = float(top.mean() / bottom.mean())
    by_seed = top.mean(axis=0) / bottom.mean(axis=0)
    return min(1.0, max(_LEAST, _p_of_end(weighted, centre, by_seed, threshold)))


def _p_of_end(weighted: Weighted, centre: float, by_seed: np.ndarray, threshold: float) -> float:
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
        weighted = Weighted(top.mean(axis=1), bottom.mean(axis=1), times=count / images)
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
        weighted = Weighted(top.mean(axis=1), bottom.mean(axis=1), times=count / images)
        if not over_seeds:  # the ends need not be looked for to know what lies beyond
            below = weighted.below(threshold)
            return min(below, 1 - below) < (1 - level) / 2
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


def _table(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    usable: np.ndarray = values[np.isfinite(values).all(axis=1)]
    return usable


def _tables(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, of the images that have finite numbers in either."""
    first, second = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    whole = np.isfinite(first + second).all(axis=1)
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
