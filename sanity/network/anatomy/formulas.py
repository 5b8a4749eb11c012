"""Arrays that a formula gives, as coordinates, masks and sinusoids of positions: not learned."""

import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np

from sanity.errors import name_some

log = logging.getLogger(__name__)

_FEW = 8  # entries, of which less tells nothing
_SOME = 64  # places that tell coordinates from most weights
_MOST = 4  # coordinates of a place
_SHOWN = 5  # names in a message
_LARGEST = 2**22  # entries of such an array


def follows_formula(values: np.ndarray) -> bool:
    """Whether an array is of coordinates or sinusoids, which training does not lead to.

    Args:
        values: Of floating-point numbers, of any shape.
    """
    if not _FEW <= values.size <= _LARGEST or not np.isfinite(values).all():
        return False
    return _is_even_row(values) or _is_grid(values) or _is_sinusoidal(values)


def has_two_values(values: np.ndarray) -> bool:
    """Whether an array has two values, as what masks attention."""
    first = values.flat[0]
    other = values[values != first]
    return bool(other.size and (other == other[0]).all())


def say_made_up(model: str, names: Sequence[str]) -> None:
    """Says once which constants of a model are no weights, as a formula gives them.

    Args:
        model: What messages call it.
        names: Of the constants.
    """
    if names:
        log.info(
            "%s: not randomized, as coordinates, masks and the like: %s",
            model,
            name_some(names, _SHOWN),
        )


def _is_even_row(values: np.ndarray) -> bool:
    """Whether these are numbers at equal distances, 0 to n - 1 or -1 to 1."""
    row = np.squeeze(values).astype(np.float64)
    if row.ndim != 1:
        return False
    steps = np.diff(row)
    return bool(steps[0] and np.allclose(steps, steps[0], rtol=0, atol=_rounding(values)))


def _is_grid(values: np.ndarray) -> bool:
    """Whether these are coordinates of all places of a grid, along the first or last axis.

    Each number of one coordinate then stands beside each of the others, equally often; of learned
    numbers hardly two are equal, but of kernels of few bits.
    """
    for axis in (-1, 0):
        count = values.shape[axis] if values.ndim else 0
        if not 2 <= count <= _MOST:
            continue
        places = np.moveaxis(values, axis, -1).reshape(-1, count)
        some = places[:_SOME]
        if all(np.unique(one).size == len(some) for one in some.T):
            continue
        lengths = [np.unique(one).size for one in places.T]
        cells = math.prod(lengths)
        if min(lengths) > 1 and _FEW <= cells <= len(places):
            _, counts = np.unique(places, axis=0, return_counts=True)
            if len(counts) == cells and (counts == counts[0]).all():
                return True
    return False


def _is_sinusoidal(values: np.ndarray) -> bool:
    """Whether each place has sines beside cosines of the same angles, and not one angle only."""
    if values.ndim < 2 or values.shape[-1] % 2 or np.abs(values).max() > 1 + _rounding(values):
        return False
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    rows = rows[rows.any(axis=1)]  # a class token has none
    if len(rows) < 2 or (rows == rows[0]).all():
        return False
    return any(
        np.allclose(a**2 + b**2, 1, rtol=0, atol=4 * _rounding(values)) for a, b in _pairs(rows)
    )


def _pairs(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns that may be of sines and of cosines: halves, halves of halves, one after another."""
    half = rows.shape[1] // 2
    yield rows[:, :half], rows[:, half:]
    yield rows[:, ::2], rows[:, 1::2]
    if half % 2 == 0:
        parts = rows.reshape(len(rows), 2, 2, half // 2)
        yield parts[:, :, 0], parts[:, :, 1]


def _rounding(values: np.ndarray) -> float:
    """How far the numbers of a formula may be off."""
    exact = 1e-5 if values.dtype.itemsize > 2 else 4e-3
    return exact * max(1.0, float(np.abs(values.astype(np.float64)).max()))
