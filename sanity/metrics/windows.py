"""Weighted means over sliding windows, by matrix products."""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

_STRIP = 16  # means in a strip: fewer make many small products, more a band that is mostly zeros


@cache
def gaussian(sigma: float, side: int) -> tuple[float, ...]:
    """Weights of a window of so many pixels, odd, that sum to 1."""
    offsets = np.arange(side) - side // 2
    weights = np.exp(-0.5 / sigma**2 * offsets**2)
    return tuple((weights / weights.sum()).tolist())


def windowed(x: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    """Weighted means over all windows that lie within planes.

    The window is separable, with the same weights along rows and columns. Each axis is cut into
    strips, whose means are a product with one small band matrix: several times as fast as a filter
    that goes through the weights.

    Args:
        x: Planes (n, H, W) float64, finite.
        weights: Along either axis, at most H and W of them.

    Returns:
        (n, H - k + 1, W - k + 1) float64 for k weights. A plane's do not depend on the others.
    """
    n, more = len(x), len(weights) - 1
    height, width = x.shape[1] - more, x.shape[2] - more
    down, means = np.empty((n, height, x.shape[2])), np.empty((n, height, width))
    _multiply(x.swapaxes(1, 2), weights, down.swapaxes(1, 2))
    _multiply(down, weights, means)
    return means


def _multiply(x: np.ndarray, weights: tuple[float, ...], out: np.ndarray) -> None:
    """The means (n, H, W - k + 1) along the last axis of (n, H, W)."""
    strip, more, width = max(_STRIP, len(weights)), len(weights) - 1, out.shape[2]
    band, whole = _band(weights, strip), width // strip
    if whole:
        np.matmul(_cut(x, whole, strip, strip + more), band, out=_cut(out, whole, strip, strip))
    if rest := width - whole * strip:
        last = band[: rest + more, :rest]
        np.matmul(x[..., whole * strip :], last, out=out[..., whole * strip :])


def _cut(x: np.ndarray, count: int, step: int, length: int) -> np.ndarray:
    """Strips (n, count, H, length) of (n, H, W), one beginning `step` columns after the other."""
    n, height, _ = x.shape
    every, high, wide = x.strides
    return as_strided(x, (n, count, height, length), (every, step * wide, high, wide))


@cache
def _band(weights: tuple[float, ...], strip: int) -> np.ndarray:
    """(strip + k - 1, strip): the weights in each column, one place lower than in the last."""
    band = np.zeros((strip + len(weights) - 1, strip))
    for column in range(strip):
        band[column : column + len(weights), column] = weights
    return band
