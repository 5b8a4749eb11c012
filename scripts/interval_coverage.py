"""Prints how often 95 % intervals of a mean hold it, by simulation; docs/verdicts.md has the table.

`python scripts/interval_coverage.py`: scores between 0 and 1, of the shapes that scores have.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy import stats

from sanity.analysis.weighted import probability_below

TAIL = 0.025
RUNS = 1000
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
Holds = Callable[[np.ndarray, float], np.ndarray]  # (runs, images), mean -> (runs,) bool


def saturated(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """1 for nine of ten, anything for the tenth."""
    return np.where(draw.random(shape) < 0.9, 1.0, draw.random(shape))


SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda draw, shape: np.clip(draw.normal(0.5, 0.1, shape), 0, 1), 0.5),
    "Beta(9, 1)": (lambda draw, shape: draw.beta(9, 1, shape), 0.9),
    "1 for nine of ten": (saturated, 0.95),
    "0 or 1, half": (lambda draw, shape: (draw.random(shape) < 0.5) * 1.0, 0.5),
    "0 or 1, 0.9": (lambda draw, shape: (draw.random(shape) < 0.9) * 1.0, 0.9),
}


def holds(low: np.ndarray, value: float, high: np.ndarray) -> np.ndarray:
    """Which of some intervals have a value."""
    inside: np.ndarray = (low <= value) & (value <= high)
    return inside


def round_mean(x: np.ndarray, value: float, width: np.ndarray | float) -> np.ndarray:
    """As `holds`, of intervals so wide to either side of the samples' means."""
    centre = x.mean(axis=1)
    return holds(centre - width, value, centre + width)


def student(x: np.ndarray, mean: float) -> np.ndarray:
    """Student's t."""
    error = x.std(axis=1, ddof=1) / x.shape[1] ** 0.5
    return round_mean(x, mean, stats.t.ppf(1 - TAIL, x.shape[1] - 1) * error + 1e-12)


def student_logit(x: np.ndarray, mean: float) -> np.ndarray:
    """Student's t on the logit of the mean, by the delta method."""
    centre = np.clip(x.mean(axis=1), 1e-9, 1 - 1e-9)
    error = x.std(axis=1, ddof=1) / x.shape[1] ** 0.5 / (centre * (1 - centre))
    logit, width = np.log(centre / (1 - centre)), stats.t.ppf(1 - TAIL, x.shape[1] - 1) * error
    return holds(logit - width - 1e-12, np.log(mean / (1 - mean)), logit + width + 1e-12)


def resampled(x: np.ndarray) -> np.ndarray:
    """Bootstrap samples (runs, resamples, images)."""
    draw = np.random.default_rng(1)
    return x[:, draw.integers(0, x.shape[1], (600, x.shape[1]))]


def bca(x: np.ndarray, mean: float) -> np.ndarray:
    """The bias-corrected and accelerated bootstrap (Efron 1987)."""
    n, centre = x.shape[1], x.mean(axis=1, keepdims=True)
    means = np.sort(resampled(x).mean(axis=2), axis=1)
    below = (means < centre).mean(axis=1) + (means == centre).mean(axis=1) / 2
    bias = stats.norm.ppf(np.clip(below, 1e-6, 1 - 1e-6))
    left_out = centre - (x.sum(axis=1, keepdims=True) - x) / (n - 1)
    size = np.maximum((left_out**2).sum(axis=1), 1e-100)
    acceleration = (left_out**3).sum(axis=1) / (6 * size**1.5)
    ends = []
    for quantile in (TAIL, 1 - TAIL):
        z = bias + stats.norm.ppf(quantile)
        place = stats.norm.cdf(bias + z / (1 - acceleration * z)) * means.shape[1]
        where = np.clip(place, 0, means.shape[1] - 1).astype(int)
        ends.append(means[np.arange(len(x)), where])
    return holds(ends[0] - 1e-12, mean, ends[1] + 1e-12)


def bootstrap_t(x: np.ndarray, mean: float) -> np.ndarray:
    """The studentized bootstrap; samples without spread are left out."""
    samples = resampled(x)
    spread = samples.std(axis=2, ddof=1)
    centre = x.mean(axis=1)
    t = (samples.mean(axis=2) - centre[:, None]) / np.where(spread > 0, spread, np.nan)
    some = ~np.isnan(t).all(axis=1)
    t[~some] = 0
    low, high = (np.nanquantile(t, q, axis=1) * x.std(axis=1, ddof=1) for q in (1 - TAIL, TAIL))
    return holds(centre - low - 1e-12, mean, centre - high + 1e-12)


def empirical_likelihood(x: np.ndarray, mean: float) -> np.ndarray:
    """Owen's, with the F distribution."""
    n, z = x.shape[1], x - mean
    inside: np.ndarray = (z.min(axis=1) < 0) & (z.max(axis=1) > 0)
    low = -(1 - 1 / n) / np.where(inside, z.max(axis=1), 1)
    high = -(1 - 1 / n) / np.where(inside, z.min(axis=1), -1)
    for _ in range(60):
        middle = (low + high) / 2
        up = (z / (1 + middle[:, None] * z)).sum(axis=1) > 0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    tilted = np.where(inside[:, None], 1 + middle[:, None] * z, 1)
    ratio = 2 * np.log(np.maximum(tilted, 1e-300)).sum(axis=1)
    inside &= ratio <= stats.f.ppf(1 - 2 * TAIL, 1, n - 1)
    return inside


def wilson(x: np.ndarray, mean: float) -> np.ndarray:
    """Wilson's: the variance of the mean is at most that of a proportion."""
    bound = stats.norm.ppf(1 - TAIL) * (mean * (1 - mean) / x.shape[1]) ** 0.5
    return round_mean(x, mean, bound)


def hoeffding(x: np.ndarray, mean: float) -> np.ndarray:
    """Hoeffding's bound."""
    return round_mean(x, mean, (np.log(1 / TAIL) / (2 * x.shape[1])) ** 0.5)


def empirical_bernstein(x: np.ndarray, mean: float) -> np.ndarray:
    """Maurer and Pontil's."""
    n, log = x.shape[1], np.log(2 / TAIL)
    bound = (2 * x.var(axis=1, ddof=1) * log / n) ** 0.5 + 7 * log / (3 * (n - 1))
    return round_mean(x, mean, bound)


def betting(x: np.ndarray, mean: float) -> np.ndarray:
    """Hedged capital of Waudby-Smith and Ramdas (2024); it depends on the order of the images."""
    n = x.shape[1]
    up, down, most = np.zeros((3, len(x)))
    total, squares = np.full(len(x), 0.5), np.full(len(x), 0.25)
    for t in range(n):
        bet = (2 * np.log(1 / TAIL) / (n * squares / (t + 1))) ** 0.5
        up += np.log1p(np.minimum(bet, 0.5 / mean) * (x[:, t] - mean))
        down += np.log1p(-np.minimum(bet, 0.5 / (1 - mean)) * (x[:, t] - mean))
        most = np.maximum(most, np.log(0.5) + np.maximum(up, down))
        total = total + x[:, t]
        squares = squares + (x[:, t] - total / (t + 2)) ** 2
    kept: np.ndarray = most < np.log(1 / (2 * TAIL))
    return kept


def anderson(x: np.ndarray, mean: float) -> np.ndarray:
    """From the band of Dvoretzky, Kiefer and Wolfowitz round the distribution."""
    n = x.shape[1]
    band, levels = (np.log(1 / TAIL) / (2 * n)) ** 0.5, np.arange(n + 1) / n
    ends = np.zeros((len(x), 1)), np.ones((len(x), 1))
    steps = np.diff(np.concatenate([ends[0], np.sort(x, axis=1), ends[1]], axis=1), axis=1)
    low = ((1 - np.minimum(1, levels + band)) * steps).sum(axis=1)
    high = ((1 - np.maximum(0, levels - band)) * steps).sum(axis=1)
    return holds(low, mean, high)


def weighted(low: float, high: float) -> Callable[[np.ndarray, float], np.ndarray]:
    """Probability of less than a mean, with so many images added at 0 and at 1."""

    def below(x: np.ndarray, mean: float) -> np.ndarray:
        zeros = np.zeros((len(x), 1))
        terms = np.concatenate([zeros, x, zeros + 1], axis=1) - mean
        shapes = np.array([low, *np.ones(x.shape[1]), high])
        parts = np.array_split(terms, max(1, len(x) // 200))
        return np.concatenate([probability_below(part, shapes) for part in parts])

    return below


def gaffke(x: np.ndarray, mean: float) -> np.ndarray:
    """A whole image at the end that is bounded (Gaffke 2005): Clopper and Pearson's for 0 and 1."""
    return (weighted(1, 0)(x, mean) > TAIL) & (weighted(0, 1)(x, mean) < 1 - TAIL)


def half_an_image(x: np.ndarray, mean: float) -> np.ndarray:
    """Half an image at either end, Jeffreys' for 0 and 1: `sanity.analysis.intervals`."""
    below = weighted(0.5, 0.5)(x, mean)
    return (below > TAIL) & (below < 1 - TAIL)


INTERVALS: dict[str, Holds] = {
    "Student's t": student,
    "Student's t of the logit": student_logit,
    "BCa bootstrap": bca,
    "bootstrap-t": bootstrap_t,
    "empirical likelihood": empirical_likelihood,
    "Wilson": wilson,
    "Hoeffding": hoeffding,
    "empirical Bernstein": empirical_bernstein,
    "betting": betting,
    "Anderson": anderson,
    "Gaffke": gaffke,
    "**half an image**": half_an_image,
}


def coverage(interval: Holds, images: int) -> list[float]:
    """Of each shape, in percent."""
    found = []
    for sample, mean in SHAPES.values():
        x = sample(np.random.default_rng(images), (RUNS, images))
        found.append(100 * float(interval(x, mean).mean()))
    return found


def width(interval: Holds, images: int = 10) -> float:
    """Mean width for normal scores: the means that lie within the interval, on a grid."""
    x = SHAPES["normal"][0](np.random.default_rng(0), (50, images))
    grid = np.linspace(0.005, 0.995, 100)
    return float(np.mean([interval(x, mean) for mean in grid]))


def main() -> None:
    """Prints both tables as Markdown."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"| 5 images | {' | '.join(SHAPES)} | width at 10 |\n|---|{'---:|' * (len(SHAPES) + 1)}")
    for name, interval in INTERVALS.items():
        cells = [f"{value:.0f}" for value in coverage(interval, 5)]
        print(f"| {name} | {' | '.join(cells)} | {width(interval):.2f} |")
    print(f"\n| half an image | {' | '.join(SHAPES)} |\n|---|{'---:|' * len(SHAPES)}")
    for images in (3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 50):
        cells = [f"{value:.0f}" for value in coverage(half_an_image, images)]
        print(f"| {images} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
