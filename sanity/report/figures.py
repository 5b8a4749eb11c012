"""Figures: masks by method and stage, similarity by stage, and the article's panels.

Pure functions from arrays and tables to Matplotlib figures, by the object-oriented interface alone.
Their look depends on nothing outside: neither on a matplotlibrc nor on the caller's settings. Names
are shown literally, never read as formulas.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from scipy.stats import t as student

from sanity.report.style import DOTTED, INK, MUTED, RULE, method_style

MaskStyle = Literal["signed", "absolute"]
COLORMAPS: Mapping[MaskStyle, str] = {"signed": "coolwarm", "absolute": "gray"}
PERCENTILE = 99
CONFIDENCE = 0.95
ORIGINAL = "original"

# DejaVu Sans comes with Matplotlib; the others are taken, where installed, for what it lacks.
_FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)
_LINE = 1.35 / 72  # height of a line of text, inches a point of font size


# Masks


def channel_sum(mask: np.ndarray) -> np.ndarray:
    """A signed mask (H, W): summed over channels if (H, W, C), in double precision."""
    mask = np.asarray(mask, np.float64)
    return mask.sum(-1) if mask.ndim == 3 else mask


def channel_abs(mask: np.ndarray) -> np.ndarray:
    """An absolute mask (H, W): the sum of absolute values over channels if (H, W, C)."""
    return channel_sum(np.abs(mask))


def signed_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of the colours of a signed mask (H, W): ± its 99th percentile.

    That of its absolute values where it is not positive, their maximum where that is 0 too.
    """
    limit = np.percentile(values, PERCENTILE)
    if limit <= 0:
        limit = np.percentile(np.abs(values), PERCENTILE)
    if limit <= 0:
        limit = np.abs(values).max()
    return -float(limit), float(limit)


def absolute_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of the greys of an absolute mask (H, W): minimum to 99th percentile.

    To the maximum where that is no more than the minimum.
    """
    low, high = float(values.min()), float(np.percentile(values, PERCENTILE))
    return low, high if high > low else float(values.max())


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

    Each mask has its own colour limits, see `signed_limits` and `absolute_limits`. One that holds
    NaN or infinity is hatched, a constant one flat grey, and both say so.

    Args:
        image: (H, W, C) or (H, W), in [0, 1].
        masks: (S, H, W) or (S, H, W, C) by method.
        layers: S names: of stage 0 `""` or `"original"`, then of the block randomized at each.
        style: `signed`, summed over channels, `coolwarm`; or `absolute`, the sum of absolute
            values, grey.
        width_inches: Of the figure; by default what 20 stages need to be legible.
        names: What methods are called in the figure, if not by their name.
        title: Above the grid, e.g. the image's name.

    Raises:
        ValueError: Numbers of stages differ, nothing to show, or no such style.
    """
    _check_style(style)
    if not masks or not layers:
        raise ValueError("there must be a method and a stage to show")
    for method, mask in masks.items():
        if np.ndim(mask) not in (3, 4) or len(mask) != len(layers):
            raise ValueError(
                f"masks of {method} have shape {np.shape(mask)}: they must be (S, H, W) or "
                f"(S, H, W, C), with S = {len(layers)}, the number of layers"
            )
    rows = [_literal((names or {}).get(method, method)) for method in masks]
    columns = [_literal(layer or ORIGINAL) for layer in layers]
    grid = _Grid.fit(rows, columns, np.shape(image)[0] / np.shape(image)[1], width_inches, title)
    with _fixed():
        fig = Figure(figsize=(grid.width, grid.height))
        corner = _cell(fig, grid.left - grid.gap - grid.image, grid.header, grid.image, grid.ratio)
        _draw_image(corner, image)
        special: set[str] = set()
        for row, mask in enumerate(masks.values()):
            y = grid.header + row * grid.row_pitch + grid.row_pitch
            middle = y - grid.cell * grid.ratio / 2
            x = grid.left - grid.gap - 0.04
            _write(fig, x, middle, rows[row], grid.row_font, ha="right", va="center")
            for column, one in enumerate(mask):
                ax = _cell(fig, grid.x(column), y, grid.cell, grid.ratio)
                special.add(_draw_mask(ax, one, style, grid.cell))
        for column in range(0, len(columns), grid.every):
            x = grid.x(column) + grid.cell / 2
            _write(
                fig,
                x - (grid.font / 72 * 0.3 if grid.angle == 45 else 0),
                grid.header - 0.04,
                columns[column],
                grid.font,
                rotation=grid.angle,
                rotation_mode="anchor",
                ha="left" if grid.angle else "center",
                va="center" if grid.angle == 90 else "bottom",
            )
        if title:
            _write(fig, 0.08, 0.06, _literal(title), grid.font + 2, va="top", weight="bold")
        _color_key(fig, grid, style, special)
    return fig


class _Grid:
    """Where things stand in a grid, in inches from the upper left corner."""

    gap = 0.04

    @classmethod
    def fit(
        cls,
        rows: Sequence[str],
        columns: Sequence[str],
        ratio: float,
        width: float | None,
        title: str,
    ) -> "_Grid":
        return cls(rows, columns, ratio, width, title)

    def __init__(self, rows, columns, ratio, width, title):
        pass


# placeholder
