"""Histograms of oriented gradients of many masks at once (Dalal & Triggs 2005)."""

from functools import cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BlockNorm = Literal["L1", "L1-sqrt", "L2", "L2-Hys"]
_EPSILON = 1e-5  # scikit-image's, which keeps a block without gradients from being divided by zero
_CLIP = 0.2  # of L2-Hys


def describe(
    masks: np.ndarray, orientations: int, cell: int, block: int, norm: BlockNorm
) -> np.ndarray:
    """What `skimage.feature.hog` gives of each mask, to 1e-7: that adds up in single precision.

    Args:
        masks: (n, C, H, W) float64; of several channels each pixel counts in the one of its
            steepest gradient.
        orientations: Bins of the angle, from 0 to 180 degrees.
        cell: Side in pixels of the squares, each of which has a histogram.
        block: Side in cells of the squares that are normalised together.
        norm: How they are.

    Returns:
        (n, blocks · block² · orientations) float64.
    """
    rows, columns = _gradients(masks)
    histograms = _histograms(rows, columns, orientations, cell)
    windows = (block, block)
    blocks: np.ndarray = sliding_window_view(histograms, windows, axis=(1, 2))  # type: ignore[call-overload]  # NumPy's stub knows one axis
    # (n, block rows, block columns, orientations, rows, columns) becomes scikit-image's order
    blocks = np.moveaxis(blocks, 3, 5)
    return _normalize(blocks.reshape(*blocks.shape[:3], -1), norm).reshape(len(masks), -1)


def _gradients(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences down and across (n, H, W), zero at the edges."""
    down, across = np.zeros_like(masks), np.zeros_like(masks)
    np.subtract(masks[:, :, 2:], masks[:, :, :-2], out=down[:, :, 1:-1])
    np.subtract(masks[..., 2:], masks[..., :-2], out=across[..., 1:-1])
    if masks.shape[1] == 1:
        return down[:, 0], across[:, 0]
    squares = down**2 + across**2
    steepest, most = squares.argmax(1), squares.max(1)
    # Of those that are equally steep scikit-image takes the first, judging by the rounded length.
    tied = ((squares >= most[:, None] * (1 - 1e-12)).sum(1) > 1) & (most > 0)
    image, row, column = np.nonzero(tied)
    where = image, slice(None), row, column
    steepest[tied] = np.hypot(down[where], across[where]).argmax(1)
    steepest = steepest[:, None]
    rows = np.take_along_axis(down, steepest, 1)[:, 0]
    columns = np.take_along_axis(across, steepest, 1)[:, 0]
    return rows, columns


def _histograms(rows: np.ndarray, columns: np.ndarray, orientations: int, cell: int) -> np.ndarray:
    """The mean magnitude by orientation in each cell, (n, cell rows, cell columns, bins)."""
    n, high, wide = len(rows), rows.shape[1] // cell, rows.shape[2] // cell
    rows, columns = (x[:, : high * cell, : wide * cell] for x in (rows, columns))
    with np.errstate(divide="ignore", invalid="ignore"):
        cotangents = columns / rows  # the same for opposite directions; it falls with the angle
    cotangents[rows == 0] = np.inf
    bins = np.zeros(rows.shape, np.uint8 if orientations < 256 else np.intp)
    for edge in _edges(orientations):
        bins += cotangents <= edge
    places = _places(high * cell, wide * cell, cell, orientations) + bins
    size = high * wide * orientations
    places += size * np.arange(n)[:, None, None]
    magnitudes = np.sqrt(rows * rows + columns * columns)
    sums = np.bincount(places.ravel(), magnitudes.ravel(), n * size)
    means: np.ndarray = sums.reshape(n, high, wide, orientations) / cell**2
    return means


@cache
def _edges(orientations: int) -> list[float]:
    """The cotangents of the angles between bins; those of 45, 90 and 135 degrees exact."""
    angles = np.pi / orientations * np.arange(1, orientations)
    edges: list[float] = np.round(np.cos(angles) / np.sin(angles), 15).tolist()
    return edges


@cache
def _places(height: int, width: int, cell: int, bins: int) -> np.ndarray:
    """Where the histogram of each pixel's cell begins, (height, width)."""
    row, column = np.arange(height)[:, None] // cell, np.arange(width) // cell
    places: np.ndarray = (row * (width // cell) + column) * bins
    return places


def _normalize(blocks: np.ndarray, norm: BlockNorm) -> np.ndarray:
    """Blocks (…, values) at length 1."""
    if norm in ("L1", "L1-sqrt"):
        share: np.ndarray = blocks / (blocks.sum(-1, keepdims=True) + _EPSILON)
        return np.sqrt(share) if norm == "L1-sqrt" else share
    unit = _unit(blocks)
    return _unit(np.minimum(unit, _CLIP)) if norm == "L2-Hys" else unit


def _unit(blocks: np.ndarray) -> np.ndarray:
    unit: np.ndarray = blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + _EPSILON**2)
    return unit
