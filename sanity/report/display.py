"""What is shown of a mask, in figures and on the page alike: its channels as one, its limits.

*Signed* is the sum over channels, *absolute* the sum of absolute values, from the minimum to the
99th percentile: what `ssim` and `spearman_abs` compare, and the paper's code (Adebayo et al. 2018).
"""

from typing import Literal

import numpy as np

MaskStyle = Literal["signed", "absolute"]
STYLES: tuple[MaskStyle, ...] = ("signed", "absolute")
PERCENTILE = 99


def channel_sum(mask: np.ndarray) -> np.ndarray:
    """A signed mask (H, W): summed over channels if (H, W, C)."""
    mask = np.asarray(mask)
    mask = mask.astype(np.result_type(mask, np.float32), copy=False)
    if mask.ndim == 2:
        return mask
    total = mask[..., 0].copy()
    with np.errstate(invalid="ignore"):  # of ∞ - ∞, which is NaN
        for channel in range(1, mask.shape[-1]):  # thrice as fast as summing over the last axis
            total += mask[..., channel]
    return total


def channel_abs(mask: np.ndarray) -> np.ndarray:
    """An absolute mask (H, W): the sum of absolute values over channels if (H, W, C)."""
    mask = np.asarray(mask)
    if mask.ndim == 2:
        return channel_sum(np.abs(mask))
    total = channel_sum(np.abs(mask[..., 0]))
    for channel in range(1, mask.shape[-1]):
        total = total + np.abs(mask[..., channel])
    return total


def signed_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of the colours of a signed mask (H, W): ± its 99th percentile.

    That of its absolute values where it is not positive; their maximum where that is 0 too.
    """
    limit = _percentile(values)
    if limit <= 0:
        limit = _percentile(np.abs(values))
    if limit <= 0:
        limit = np.abs(values).max()
    return -float(limit), float(limit)


def absolute_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of the greys of an absolute mask (H, W): its minimum and its 99th percentile.

    Its maximum where that percentile is the minimum.
    """
    low, high = float(values.min()), _percentile(values)
    return low, high if high > low else float(values.max())


def _percentile(values: np.ndarray) -> float:
    """As `np.percentile`, at a fraction of its time.

    Of the two neighbours in order the lower is the greatest of those before the upper.
    """
    at = PERCENTILE / 100 * (values.size - 1)
    below = int(at)
    above = min(below + 1, values.size - 1)
    ordered = np.partition(values, above, axis=None)
    high = float(ordered[above])
    low = float(ordered[:above].max()) if above > below else high
    return low + (at - below) * (high - low)


def check_style(style: str) -> None:
    """Refuses a style that is none (ValueError)."""
    if style not in STYLES:
        raise ValueError(f"style={style} is none of {', '.join(STYLES)}")


def visible(image: np.ndarray) -> np.ndarray:
    """What is shown of an image (H, W, C): of two channels the first, of many the first three."""
    if image.ndim == 2:
        return image
    return image[..., 0] if image.shape[-1] < 3 else image[..., :3]


def whole_factor(shape: tuple[int, ...], side: float) -> int:
    """By how much a picture (H, W, …) is shrunk for its longer side to be at most `side` pixels.

    A whole number: else some pixels would be means of more values than their neighbours, and noise
    would show a lattice that is none of its own.
    """
    return max(1, int(np.ceil(max(shape[:2]) / max(side, 1))))


def shrink(values: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares of `factor` pixels, (⌈H / factor⌉, ⌈W / factor⌉, …).

    At the lower and right edge over what is left of a square.
    """
    if factor == 1:
        return values
    for axis, length in enumerate(values.shape[:2]):
        moved = np.moveaxis(values, axis, 0)
        whole = moved[: length - length % factor]
        small = whole[::factor]
        for k in range(1, factor):
            small = small + whole[k::factor]
        small = small / np.float32(factor)
        if length % factor:
            rest = moved[len(whole) :].mean(0, keepdims=True)
            small = np.concatenate([small, rest])
        values = np.moveaxis(small, 0, axis)
    return values


def scaled(mask: np.ndarray, style: MaskStyle, factor: int = 1) -> tuple[np.ndarray, str]:
    """A mask as it is shown, clipped at its limits, then shrunk.

    Clipped first, or outliers would swamp their neighbours.

    Args:
        mask: (H, W) or (H, W, C).
        style: `signed` or `absolute`.
        factor: See `shrink`.

    Returns:
        Values (⌈H / factor⌉, ⌈W / factor⌉), in [-1, 1] with 0 for 0 if signed, else in [0, 1]; and
        what is special about the mask: `NaN`, `infinite`, `constant`, or ``. Of one that is special
        all values are 0.
    """
    values = channel_sum(mask) if style == "signed" else channel_abs(mask)
    finite = bool(np.isfinite(values).all())
    if not finite or values.min() == values.max():
        rows, columns = (-(-length // factor) for length in values.shape)
        special = "constant" if finite else "NaN" if np.isnan(values).any() else "infinite"
        return np.zeros((rows, columns), np.float32), special
    if style == "signed":
        whole = np.clip(values / signed_limits(values)[1], -1, 1)
    else:
        low, high = absolute_limits(values)
        whole = np.clip((values - low) / (high - low), 0, 1)
    return shrink(whole, factor).astype(np.float32), ""
