"""What is shown of a mask: its channels as one, its limits, its colours."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from sanity.report.figures.canvas import text_width
from sanity.report.style import RULE

MaskStyle = Literal["signed", "absolute"]
COLORMAPS: Mapping[MaskStyle, str] = {"signed": "coolwarm", "absolute": "gray"}
PERCENTILE = 99
_IMSHOW: Mapping[str, Any] = {
    "aspect": "auto",
    "interpolation": "antialiased",
    "interpolation_stage": "rgba",  # clip, then shrink: or outliers would swamp their neighbours
}


def channel_sum(mask: np.ndarray) -> np.ndarray:
    """A signed mask (H, W): summed over channels if (H, W, C), in double precision."""
    mask = np.asarray(mask, np.float64)
    with np.errstate(invalid="ignore"):  # of ∞ - ∞, which is NaN
        return mask.sum(-1) if mask.ndim == 3 else mask


def channel_abs(mask: np.ndarray) -> np.ndarray:
    """An absolute mask (H, W): the sum of absolute values over channels if (H, W, C)."""
    return channel_sum(np.abs(mask))


def signed_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of the colours of a signed mask (H, W): ± its 99th percentile.

    That of its absolute values where it is not positive; their maximum where that is 0 too.
    """
    limit = np.percentile(values, PERCENTILE)
    if limit <= 0:
        limit = np.percentile(np.abs(values), PERCENTILE)
    if limit <= 0:
        limit = np.abs(values).max()
    return -float(limit), float(limit)


def absolute_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of the greys of an absolute mask (H, W): its minimum and its 99th percentile.

    Its maximum where that percentile is the minimum.
    """
    low, high = float(values.min()), float(np.percentile(values, PERCENTILE))
    return low, high if high > low else float(values.max())


def check_style(style: str) -> None:
    """Refuses a style that is none (ValueError)."""
    if style not in COLORMAPS:
        raise ValueError(f"style={style} is none of {', '.join(COLORMAPS)}")


def visible(image: np.ndarray) -> np.ndarray:
    """What is shown of an image (H, W, C): of two channels the first, of many the first three."""
    if image.ndim == 2:
        return image
    return image[..., 0] if image.shape[-1] < 3 else image[..., :3]


def draw_image(ax: Axes, image: np.ndarray) -> None:
    """Draws an image (H, W, C) in [0, 1], see `visible`."""
    image = visible(np.clip(np.asarray(image, np.float64), 0, 1))
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, **_IMSHOW)


def draw_mask(ax: Axes, mask: np.ndarray, style: MaskStyle, inches: float) -> str:
    """Draws a mask, and returns what is special about it: `NaN`, `infinite`, `constant`, or ``."""
    values = channel_sum(mask) if style == "signed" else channel_abs(mask)
    finite = bool(np.isfinite(values).all())
    if finite and values.min() < values.max():
        low, high = signed_limits(values) if style == "signed" else absolute_limits(values)
        ax.imshow(values, cmap=COLORMAPS[style], vmin=low, vmax=high, **_IMSHOW)
        return ""
    special = "constant" if finite else "NaN" if np.isnan(values).any() else "infinite"
    whole = Rectangle((0, 0), 1, 1, transform=ax.transAxes, linewidth=0)
    whole.set(
        facecolor=RULE if finite else "white", edgecolor=RULE, hatch=None if finite else "////"
    )
    ax.add_patch(whole)
    size = min(7.0, 0.9 * inches / text_width(special, 1))
    if size >= 3:  # smaller could not be read, and the key below says what it is
        ax.text(0.5, 0.5, special, size=size, transform=ax.transAxes, ha="center", va="center")
    return special
