"""Masks and images as they are drawn: their colours, and the key to these."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sanity.report.display import MaskStyle, scaled, visible
from sanity.report.figures.canvas import LINE, MARGIN, PAD, axes, text_width, write
from sanity.report.style import MUTED, RULE

COLORMAPS: Mapping[MaskStyle, str] = {"signed": "coolwarm", "absolute": "gray"}
_IMSHOW: Mapping[str, Any] = {"aspect": "auto", "interpolation": "antialiased"}


def draw_image(ax: Axes, image: np.ndarray) -> None:
    """Draws an image (H, W, C) in [0, 1], see `visible`."""
    image = visible(np.clip(np.asarray(image, np.float64), 0, 1))
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, **_IMSHOW)


def draw_mask(ax: Axes, mask: np.ndarray, style: MaskStyle, inches: float) -> str:
    """Draws a mask, and returns what is special about it: `NaN`, `infinite`, `constant`, or ``."""
    values, special = scaled(mask, style)
    if special:
        draw_special(ax, special, inches)
    else:
        low = -1 if style == "signed" else 0
        ax.imshow(values, cmap=COLORMAPS[style], vmin=low, vmax=1, **_IMSHOW)
    return special


def draw_special(ax: Axes, special: str, inches: float) -> None:
    """Draws what cannot be shown: hatched where it is not finite, flat grey if constant."""
    finite = special == "constant"
    whole = Rectangle((0, 0), 1, 1, transform=ax.transAxes, linewidth=0)
    whole.set(
        facecolor=RULE if finite else "white", edgecolor=RULE, hatch=None if finite else "////"
    )
    ax.add_patch(whole)
    size = min(7.0, 0.9 * inches / text_width(special, 1))
    if size >= 3:  # smaller could not be read, and the key below says what it is
        ax.text(0.5, 0.5, special, size=size, transform=ax.transAxes, ha="center", va="center")


def draw_color_key(fig: Figure, x: float, font: float, style: MaskStyle, special: set[str]) -> None:
    """At the foot of a figure, from x on: what the colours mean."""
    low, high = ("−", "+ 99th percentile") if style == "signed" else ("minimum", "99th percentile")
    high += " of each mask"
    if special & {"NaN", "infinite"}:
        high += "; hatched: not finite"
    if "constant" in special:
        high += "; flat grey: constant"
    width, height = fig.get_size_inches()
    bar = min(1.0, width / 6)
    words = 1.05 * text_width(low + high, 1)
    font = min(font, 7.0, (width - x - bar - 2 * PAD - MARGIN) / words)
    y = height - MARGIN - font * LINE / 2
    write(fig, x, y, low, font, va="center_baseline", color=MUTED)
    x += text_width(low, font) + PAD
    ax = axes(fig, x, y - 0.4 * font / 72, bar, 0.8 * font / 72)
    ax.imshow(np.linspace(0, 1, 256)[None], cmap=COLORMAPS[style], aspect="auto")
    write(fig, x + bar + PAD, y, high, font, va="center_baseline", color=MUTED)
