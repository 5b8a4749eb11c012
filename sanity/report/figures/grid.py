"""The grid of masks, methods × stages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from sanity.report.display import MaskStyle, check_style
from sanity.report.figures.canvas import (
    LINE,
    MARGIN,
    PAD,
    axes,
    fixed,
    heading,
    literal,
    text_width,
    write,
)
from sanity.report.figures.curves import ORIGINAL
from sanity.report.figures.masks import COLORMAPS, draw_image, draw_mask
from sanity.report.style import MUTED

_GAP = 0.03  # between cells, inches
_APART = 0.07  # more, between the original and the randomized stages


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
    check_style(style)
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
        draw_image(axes(fig, *corner, grid.image, grid.image * grid.ratio), image)
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
                special.add(draw_mask(ax, one, style, grid.cell))
        draw_color_key(fig, grid.left, grid.font, style, special)
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
