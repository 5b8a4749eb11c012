"""Masks and points as methods give them, made sound or refused."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import ConfigError
from sanity.methods.points import Point

if TYPE_CHECKING:
    from sanity.methods.base import GradientMethod

_SMALLEST = 2.0**-100  # a largest value, below which 24 bits of smaller ones are lost in float32


def in_float32(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """A mask in single precision, and the exponent of the power of two that it was multiplied by.

    That is 0 unless float32 cannot hold the mask: squares of gradients below 1e-23 or above 1e19
    would become 0 or infinite. Then its largest value comes to lie in [1, 2). Metrics that bring
    masks to one scale, as all do by default, do not see it.
    """
    with np.errstate(over="ignore"):
        single = mask.astype(np.float32)
    largest = np.abs(mask).max()
    if not np.isfinite(largest) or _SMALLEST <= largest <= np.finfo(np.float32).max:
        return single, 0
    if np.array_equal(single, mask):
        return single, 0
    power = 1 - int(np.frexp(largest)[1])
    return np.ldexp(mask, power).astype(np.float32), power


def sound_masks(masks: Any, name: str, n: int, shape: tuple[int, ...]) -> np.ndarray:
    """Masks (n, H, W[, C]) float32, a copy, of what a method gave; NaN where it masked values.

    Args:
        masks: What it gave.
        name: The method's.
        n: Of how many images.
        shape: Of an image, (H, W, C).

    Raises:
        ConfigError: They are not numbers, or not of the images' size.
    """
    if isinstance(masks, np.ma.MaskedArray):
        masks = np.ma.filled(masks.astype(np.float64), np.nan)
    found = _numbers(masks)
    wanted = (n, *shape[:2])
    if found is None or found.ndim not in (3, 4) or found.shape[:3] != wanted:
        given = type(masks).__name__ if found is None else f"masks of the shape {found.shape}"
        height, width = shape[:2]
        raise ConfigError(
            f"method.{name} gives {given} for {n} images of {height} × {width}: they must be real "
            f"numbers of the shape {wanted}, or with channels behind that"
        )
    if found.dtype == np.float32:
        return np.array(found)
    return np.stack([in_float32(mask.astype(np.float64))[0] for mask in found])


def sound_mask(mask: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One image's mask (H, W[, C]), in its own precision: see `sound_masks` (ConfigError)."""
    found = _numbers(mask)
    if found is None or found.ndim not in (2, 3) or found.shape[:2] != shape[:2]:
        given = type(mask).__name__ if found is None else f"a mask of the shape {found.shape}"
        raise ConfigError(
            f"method.{name} gives {given} for an image of {shape[0]} × {shape[1]}: it must be real "
            f"numbers of the shape {shape[:2]}, or with channels behind that"
        )
    return found


def _numbers(values: Any) -> np.ndarray | None:
    """An array of real numbers; None of anything else."""
    try:
        found = np.asarray(values)
    except ValueError:  # a list of arrays of several shapes
        return None
    return found if found.dtype.kind in "fiub" else None


def sound_points(name: str, method: "GradientMethod") -> Mapping[Point, float]:
    """The points of a gradient method, which are the same each time that it is asked.

    Raises:
        ConfigError: They are not, or are no points with their weights.
    """
    points, again = method.points(), method.points()
    if not (
        isinstance(points, Mapping)
        and points
        and all(isinstance(point, Point) for point in points)
        and all(np.isreal(weight) and np.isfinite(weight) for weight in points.values())
    ):
        raise ConfigError(
            f"method.{name}: points() must give at least one point with its weight, as in "
            "{sanity.methods.Original(): 1.0}"
        )
    if points != again:
        raise ConfigError(
            f"method.{name}: points() gives other points when it is asked again: number the draws, "
            "as Noisy(0.1, sample) does, and make points of one's own frozen dataclasses"
        )
    return points
