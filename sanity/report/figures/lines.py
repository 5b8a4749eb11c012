"""The lines of a panel of curves: bands, nulls, dots of images, names at their ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE
from scipy.optimize import isotonic_regression

from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdicts import early_stages
from sanity.report.figures.canvas import LINE
from sanity.report.style import DOTTED, INK, RULE, Style

LEAD = 0.24  # from a line's end to its name, inches
THRESHOLD: Mapping[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 2))}


@dataclass(frozen=True)
class Shown:
    """How a line is called, and looks."""

    label: str
    style: Style


def draw_lines(
    ax: Axes,
    table: pd.DataFrame,
    methods: Sequence[str],
    shown: Mapping[str, Shown],
    stages: pd.Index,
    size: float,
    bands: bool,
) -> None:
    """Lines, nulls and bands; arrowheads where a band goes on beyond the panel."""
    x = np.arange(len(stages))
    rows = {
        method: table[table["method"] == method].set_index("stage").reindex(stages)
        for method in methods
    }
    drawn = [part[key] for part in rows.values() for key in ("mean", "null")]
    originals = table.loc[table["stage"] == 0, "mean"]
    low, high = _y_limits(np.concatenate(drawn), originals.to_numpy())
    ax.set_ylim(low, high)
    for method, part in rows.items():
        style = shown[method].style
        level = 2 if style.control else 3
        if bands:
            inside = part["low"].clip(low, high), part["high"].clip(low, high)
            band = ax.fill_between(x, *inside, linewidth=0, zorder=level - 1)
            band.set(color=style.color, alpha=0.15 if len(methods) <= 8 else 0.06)
            for cut, end, marker in (
                (part["low"] < low, low, CARETDOWNBASE),
                (part["high"] > high, high, CARETUPBASE),
            ):
                where = x[cut.to_numpy()]
                if where.size:
                    ax.plot(
                        where,
                        np.full(len(where), end),
                        color=style.color,
                        linestyle="none",
                        marker=marker,
                        markersize=4,
                        zorder=level,
                    )
        ax.plot(x, part["null"], **null_look(style.color), zorder=level)
        ax.plot(x, part["mean"], **line_look(style, size), zorder=level)
    ax.set_xlim(-0.4, len(stages) - 0.6)
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def draw_images(
    ax: Axes, scores: pd.DataFrame, methods: Sequence[str], shown: Mapping[str, Shown]
) -> None:
    """A dot an image, its mean over seeds."""
    finite = scores[np.isfinite(scores["value"])]
    for method in methods:
        part = finite[finite["method"] == method]
        each = part.groupby(["stage", "image"], observed=True)["value"].mean().reset_index()
        style = shown[method].style
        ax.plot(each["stage"], each["value"], **dot_look(style.color), zorder=2)


def draw_early(ax: Axes, table: pd.DataFrame, thresholds: Thresholds, last: int) -> None:
    """Shades the early stages, and draws where similarity is the threshold there.

    That depends on the null: the median over methods.
    """
    if last < 1:
        return
    early = early_stages(last, thresholds.early)
    ax.axvspan(0.5, len(early) + 0.5, color=RULE, alpha=0.35, linewidth=0, zorder=0)
    original = table.loc[table["stage"] == 0].set_index("method")["mean"]
    nulls = table[table["stage"].isin(early)].groupby("method", sort=False)["null"].mean()
    level = (nulls + thresholds.threshold * (original - nulls)).median()
    if np.isfinite(level):
        ax.plot([0.5, len(early) + 0.5], [level, level], **THRESHOLD)


def label_lines(
    ax: Axes,
    table: pd.DataFrame,
    methods: Sequence[str],
    shown: Mapping[str, Shown],
    stages: pd.Index,
    font: float,
    size: tuple[float, float],
) -> None:
    """Writes each line's name right of its end, the names pushed apart.

    `size` is the panel's width and height in inches, `font` the text's in points.
    """
    low, high = ax.get_ylim()
    ends: dict[str, tuple[int, float]] = {}
    for method in methods:
        part = table[(table["method"] == method) & table["mean"].notna()].sort_values("stage")
        if len(part):
            last = part.iloc[-1]
            ends[method] = list(stages).index(last["stage"]), float(last["mean"])
    order = sorted(ends, key=lambda method: ends[method][1])
    apart = font * LINE / size[1] * (high - low)
    wanted = np.array([ends[method][1] for method in order])
    right = len(stages) - 0.6
    inch = (right + 0.4) / size[0]
    for method, y in zip(order, _pushed_apart(wanted, apart, low, high), strict=True):
        look, (x, value) = shown[method].style, ends[method]
        ax.plot(
            [x, right + 0.04 * inch, right + 0.12 * inch],
            [value, y, y],
            color=look.color,
            linewidth=0.5,
            clip_on=False,
            zorder=1,
        )
        ax.plot([right + 0.17 * inch], [y], **line_look(look, 3), clip_on=False, zorder=4)
        ax.text(
            right + LEAD * inch,
            y,
            shown[method].label,
            size=font,
            va="center_baseline",
            parse_math=False,
        )


def _pushed_apart(wanted: np.ndarray, apart: float, low: float, high: float) -> np.ndarray:
    """Ascending places at least so far apart, near those wanted and inside if there is room."""
    n = len(wanted)
    steps = apart * np.arange(n)
    # The nearest places in the least squares' sense are those of an isotonic regression.
    placed = isotonic_regression(wanted - steps).x + steps
    most = max(high, low + (n - 1) * apart)
    placed = np.minimum(placed, most - steps[::-1])
    return np.asarray(np.maximum(placed, low + steps))


def _y_limits(drawn: np.ndarray, originals: np.ndarray) -> tuple[float, float]:
    """Of a similarity, at most 1 and that at stage 0: -0.1 to 1.05, or lower if need be."""
    drawn, originals = drawn[np.isfinite(drawn)], originals[np.isfinite(originals)]
    if not drawn.size:
        return -0.1, 1.05
    low, high = drawn.min(), drawn.max()
    if low >= -1.001 and high <= 1.001 and (not originals.size or originals.max() > 0.5):
        return min(-0.1, low - 0.05), 1.05
    pad = 0.05 * (high - low) or 0.05
    return low - pad, high + pad


def line_look(style: Style, size: float = 4) -> dict[str, Any]:
    """How a method's line is drawn, with markers of so many points."""
    return {
        "color": style.color,
        "linestyle": style.linestyle,
        "linewidth": (0.27 if style.control else 0.37) * size,
        "marker": style.marker,
        "markersize": size,
    }


def null_look(color: str) -> dict[str, Any]:
    """How a null is drawn."""
    return {"color": color, "linestyle": (0, DOTTED), "linewidth": 0.8}


def dot_look(color: str) -> dict[str, Any]:
    """How an image's score is drawn."""
    how = {"linestyle": "none", "marker": ".", "markersize": 4, "markeredgewidth": 0}
    return {"color": color, "alpha": 0.55, **how}
