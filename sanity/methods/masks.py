"""Masks and points as methods give them, and what is not taken of those of one's own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import ConfigError
from sanity.methods.points import Point

if TYPE_CHECKING:
    from sanity.data.images import Images
    from sanity.methods.base import GradientMethod, Method
    from sanity.network.classifier import Classifier

_SMALLEST = 2.0**-100  # a largest value, below which 24 bits of smaller ones are lost in float32
_APART = 1e-4  # of a mask's greatest value: more than the rounding of two equal computations
_BESIDE = 0.1  # of a mask's length: more than that of batches of other sizes, at ReLUs' kinks too


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


def check_apart(
    name: str,
    method: "Method",
    classifier: "Classifier",
    images: "Images",
    targets: np.ndarray,
    seed: int,
    masks: np.ndarray,
) -> None:
    """Refuses a method of one's own whose mask of an image depends on more than it may.

    The last image and the first one are explained by themselves, the last one first and twice: so
    a mask shows that depends on the images beside, or on those before.

    Args:
        name: The method's.
        method: It, as it was before it was asked for any mask.
        classifier: The network, as trained.
        images: n of them.
        targets: (n,), the classes explained.
        seed: Of what is drawn.
        masks: What it gave of them together.

    Raises:
        ConfigError: A mask is another one when it is asked for again, or by itself.
    """

    def mask(place: int) -> np.ndarray:
        # Copies, to which it may write.
        given = method.masks(classifier, images.take([place]), targets[[place]], seed)
        (found,) = sound_masks(given, name, 1, images.x.shape[1:])
        return np.asarray(found)

    places = [len(images) - 1, 0][: len(images)]
    alone = [mask(place) for place in places]
    if _difference(alone[0], mask(places[0]), np.inf) > _APART:
        raise ConfigError(
            f"method.{name} gives other masks of the same images when it is asked again: it must "
            "keep nothing from call to call, and draw from generators keyed by seed and image: "
            "sanity.randomness.generator('mine', seed, image_name), or subject.random('mine')"
        )
    for place, one in zip(places, alone, strict=True):
        if _difference(one, masks[place], 2) > _BESIDE:
            raise ConfigError(
                f"method.{name} gives another mask of {images.names[place]} by itself than in a "
                "group of images: a mask may depend on its own image alone, and nothing may be "
                "kept from call to call"
            )


def _difference(a: np.ndarray, b: np.ndarray, norm: float) -> float:
    """The norm of the difference of two masks over the larger one's; inf if only one is finite."""
    finite = np.isfinite(a)
    if a.shape != b.shape or not np.array_equal(finite, np.isfinite(b)):
        return np.inf
    a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
    if np.array_equal(a, b):
        return 0.0
    return float(
        np.linalg.norm(a - b, norm) / max(np.linalg.norm(a, norm), np.linalg.norm(b, norm))
    )
