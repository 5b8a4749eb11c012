"""Figures: masks by method and stage, the article's panels, similarity by stage; and saving them.

Pure functions from arrays and tables to Matplotlib figures, by the object-oriented interface alone.
Their look depends neither on a matplotlibrc nor on the caller's settings. Names are shown
literally, never read as formulas.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sanity.report.canvas import (
    LINE,
    MARGIN,
    PAD,
    axes,
    fixed,
    heading,
    literal,
    save,
    text_width,
    write,
)
from sanity.report.curves import ORIGINAL, similarity_curves, stage_means
from sanity.report.style import MUTED, RULE

__all__ = [
    "absolute_limits",
    "article_stage",
    "channel_abs",
    "channel_sum",
    "mask_grid",
    "save",
    "signed_limits",
    "similarity_curves",
    "stage_means",
]

MaskStyle = Literal["signed", "absolute"]
COLORMAPS: Mapping[MaskStyle, str] = {"signed": "coolwarm", "absolute": "gray"}
PERCENTILE = 99

_IMSHOW: Mapping[str, Any] = {
    "aspect": "auto",
    "interpolation": "antialiased",
    "interpolation_stage": "rgba",  # clip, then shrink: or outliers would swamp their neighbours
}
_GAP = 0.03  # between cells, inches
_APART = 0.07  # more, between the original and the randomized stages


# What is shown of a mask


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


# Grid


def mask_grid(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    layers: Sequence[str],
    style: MaskStyle = "signed",
    *,
    width_inches: float | None = None,
    names: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """The masks of one image: rows methods, columns stages, the image in the upper left corner.

    Each mask has its own colour limits, see `signed_limits` and `absolute_limits`. One that is not
    finite is hatched, a constant one flat grey, and both say so.

    Args:
        image: (H, W, C) or (H, W), in [0, 1].
        masks: (S, H, W) or (S, H, W, C) by method.
        layers: S names: of stage 0 `""` or `"original"`, then of the block randomized at each.
        style: `signed`, summed over channels, in `coolwarm`; or `absolute`, the sum of absolute
            values, in grey.
        width_inches: Of the figure; by default what its stages need.
        names: What methods are called in the figure, if not by their name.
        title: Above the grid, beside the image.

    Raises:
        ValueError: Nothing to show, numbers of stages differ, no such style, or too little width.
    """
    _check(style)
    if not masks or not layers:
        raise ValueError("there must be a method and a stage to show")
    for method, mask in masks.items():
        if np.ndim(mask) not in (3, 4) or len(mask) != len(layers):
            raise ValueError(
                f"the masks of {method} have shape {np.shape(mask)}: it must be (S, H, W) or "
                f"(S, H, W, C), S the number of layers, {len(layers)}"
            )
    rows = [literal((names or {}).get(method, method)) for method in masks]
    columns = [literal(layer or ORIGINAL) for layer in layers]
    grid = _layout(rows, columns, np.shape(image)[0] / np.shape(image)[1], width_inches, title)
    special = set()
    with fixed():
        fig = Figure(figsize=(grid.width, grid.height))
        if title:
            text, size = heading(title, grid.font + 2, grid.width - grid.left)
            write(fig, grid.left, MARGIN, text, size, va="top", weight="bold")
        corner = grid.left - PAD - grid.image, grid.top - PAD - grid.image * grid.ratio
        _draw_image(axes(fig, *corner, grid.image, grid.image * grid.ratio), image)
        for column in range(0, len(columns), grid.every):
            middle = grid.x(column) + grid.cell / 2
            how = {
                0: {"ha": "center", "va": "baseline"},
                45: {"ha": "left", "va": "baseline", "rotation_mode": "anchor"},
                90: {"ha": "center", "va": "bottom"},
            }[grid.angle]
            write(
                fig, middle, grid.top - PAD, columns[column], grid.font, rotation=grid.angle, **how
            )
        for row, mask in enumerate(masks.values()):
            y = grid.top + row * (grid.cell * grid.ratio + _GAP)
            middle = y + grid.cell * grid.ratio / 2
            write(
                fig,
                grid.left - PAD,
                middle,
                rows[row],
                grid.row_font,
                ha="right",
                va="center_baseline",
            )
            for column, one in enumerate(mask):
                ax = axes(fig, grid.x(column), y, grid.cell, grid.cell * grid.ratio)
                special.add(_draw_mask(ax, one, style, grid.cell))
        _color_key(fig, grid.left, grid.font, style, special)
    return fig


@dataclass(frozen=True)
class _Layout:
    """Where things stand in a grid, in inches from the figure's upper left corner."""

    width: float
    height: float
    left: float  # of the first column
    top: float  # of the first row
    cell: float  # width of a mask
    ratio: float  # its height by its width
    image: float  # width of the image
    angle: int  # of column headers
    every: int  # so many columns has one
    font: float
    row_font: float

    def x(self, column: int) -> float:
        return self.left + column * (self.cell + _GAP) + (_APART if column else 0)


def _layout(
    rows: Sequence[str], columns: Sequence[str], ratio: float, width: float | None, title: str
) -> _Layout:
    font = row_font = 8.0 if width is None or width >= 6 else 6.0
    line = font * LINE
    beside = max(text_width(name, font) for name in rows)
    if width is not None and beside > width / 4:
        row_font = max(4.0, font * width / 4 / beside)
        beside *= row_font / font
    above = [text_width(name, font) for name in columns]
    least = 0.1 * font  # width of the image
    n = len(columns)
    gaps = (n - 1) * _GAP + (_APART if n > 1 else 0)
    for angle in (0, 45, 90):
        right = MARGIN + (0.71 * above[-1] if angle == 45 else 0)
        cell = min(1.7, max(0.55, 12 / n))
        if width is not None:
            free = width - MARGIN - PAD - gaps - right
            cell = (free - max(beside, least)) / n
            if cell > max(beside, least):  # then the image is as wide, and the left column with it
                cell = free / (n + 1)
        if (angle == 0 and max(above) <= cell) or (angle == 45 and cell >= 1.6 * line):
            break
    if cell < 0.05:
        raise ValueError(f"width_inches={width} is too narrow for {n} stages")
    image = max(cell, least)
    left = MARGIN + max(beside, image) + PAD
    head = {0: line, 45: 0.71 * max(above) + line, 90: max(above)}[angle]
    top = MARGIN + max(head + (2 * line if title else 0), image * ratio) + PAD
    return _Layout(
        width=left + n * cell + gaps + right,
        height=top + len(rows) * (cell * ratio + _GAP) + 1.5 * line + MARGIN,
        left=left,
        top=top,
        cell=cell,
        ratio=ratio,
        image=image,
        angle=angle,
        every=max(1, math.ceil(line / (cell + _GAP))) if angle == 90 else 1,
        font=font,
        row_font=row_font,
    )


# The article's figure


def article_stage(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    title: str = "",
    style: MaskStyle = "signed",
    *,
    columns: int = 3,
    width_inches: float | None = None,
) -> Figure:
    """One stage of one image: the image, then its masks, row by row, labelled above.

    Args:
        image: (H, W, C) or (H, W), in [0, 1].
        masks: (H, W) or (H, W, C) by label.
        title: Above the panels, e.g. what was randomized and what is predicted now.
        style: See `mask_grid`.
        columns: Panels in a row.
        width_inches: Of the figure; by default 2.1 a panel.

    Raises:
        ValueError: No such style.
    """
    _check(style)
    columns = min(columns, len(masks) + 1)
    rows = math.ceil((len(masks) + 1) / columns)
    width = width_inches or columns * 2.1
    cell = (width - 2 * MARGIN - (columns - 1) * PAD) / columns
    height = cell * np.shape(image)[0] / np.shape(image)[1]
    font = 9.0 if cell > 1.5 else 6.5
    head = 1.4 * font * LINE
    top = MARGIN + (1.4 * (font + 1) * LINE if title else 0)
    foot = PAD + 1.2 * font * LINE
    special = set()
    with fixed():
        fig = Figure(figsize=(width, top + rows * (head + height + PAD) + foot + MARGIN))
        if title:
            text, size = heading(title, font + 1, width)
            write(fig, MARGIN, MARGIN, text, size, va="top", weight="bold")
        panels: list[tuple[str, np.ndarray | None]] = [("image", None), *masks.items()]
        for index, (label, mask) in enumerate(panels):
            x = MARGIN + index % columns * (cell + PAD)
            y = top + index // columns * (head + height + PAD) + head
            write(fig, x + cell / 2, y - 0.3 * head, literal(label), font, ha="center")
            ax = axes(fig, x, y, cell, height)
            if mask is None:
                _draw_image(ax, image)
            else:
                special.add(_draw_mask(ax, mask, style, cell))
        _color_key(fig, MARGIN, font, style, special)
    return fig


# Parts


def _check(style: str) -> None:
    if style not in COLORMAPS:
        raise ValueError(f"style={style} is none of {', '.join(COLORMAPS)}")


def _draw_image(ax: Axes, image: np.ndarray) -> None:
    image = np.clip(np.asarray(image, np.float64), 0, 1)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, **_IMSHOW)


def _draw_mask(ax: Axes, mask: np.ndarray, style: MaskStyle, inches: float) -> str:
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


def _color_key(fig: Figure, x: float, font: float, style: MaskStyle, special: set[str]) -> None:
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
