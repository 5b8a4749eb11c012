"""Similarity by stage: means over images with their intervals, and the figure."""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE
from matplotlib.patches import Patch
from scipy.optimize import isotonic_regression

from sanity.analysis import intervals
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdicts import early_stages
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
from sanity.report.style import (
    DASHDOT,
    DOTTED,
    INK,
    LONG,
    MUTED,
    RULE,
    SHORT,
    SOLID,
    Style,
    method_style,
)

ORIGINAL = "original"  # what stage 0 is called
_DASHES = (SOLID, LONG, DASHDOT, SHORT)  # of schemes
_AXIS = 0.36  # left of a panel, for its numbers, inches
_LEAD = 0.24  # from a line's end to its name
_LEAST = 1.3  # inches of a panel whose lines are labelled directly
_THRESHOLD: Mapping[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 2))}


def stage_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over images and seeds with their intervals, one row a metric, method and stage.

    The intervals are those of the tables (`analysis.intervals`). Values that are not finite are
    left out, with all seeds of their image.

    Args:
        scores: Columns image, method, stage, layer, metric, value; perhaps null, seed.

    Returns:
        Columns metric, method, stage, layer, mean, null (its mean), images (that have a value),
        missing (values that are not finite), low and high (NaN below two images).

    Raises:
        ValueError: No scores; or those of several runs: two of one image, method, stage, metric and
            seed, or two layers of one stage.
    """
    if scores.empty:
        raise ValueError("there are no scores to show")
    group = ["metric", "method", "stage", "layer"]
    unit = ["metric", "method", "stage", "image"] + (["seed"] if "seed" in scores else [])
    if scores.duplicated(unit).any():
        raise ValueError(f"there are several scores of one {', '.join(unit)}: choose a run")
    if (scores.groupby("stage")["layer"].nunique() > 1).any():
        raise ValueError("there are several layers of one stage: choose a scheme")
    table = scores[[*group, "image"]].astype({key: str for key in group if key != "stage"})
    table["value"] = scores["value"].where(np.isfinite(scores["value"]))
    table["null"] = scores["null"].astype(float) if "null" in scores else np.nan
    table["missing"] = table["value"].isna()
    table["seed"] = scores["seed"].to_numpy() if "seed" in scores else 0
    originals = {
        key: part["value"].to_numpy()
        for key, part in table[table["stage"] == 0].groupby(["metric", "method"], sort=False)
    }
    rows = []
    for key, part in table.groupby(group, sort=False):
        metric, method, stage, _ = key
        wide = part.pivot(index="image", columns="seed", values="value").to_numpy()
        nulls = part["null"].to_numpy()
        scale = (
            intervals.scale(nulls, originals.get((metric, method), np.empty(0))) if stage else None
        )
        found = intervals.mean(wide, scale)
        null = float(np.nanmean(nulls)) if np.isfinite(nulls).any() else math.nan
        numbers = (
            found.mean,
            null,
            found.images,
            int(part["missing"].sum()),
            found.low,
            found.high,
        )
        rows.append((*key, *numbers))
    columns = ["mean", "null", "images", "missing", "low", "high"]
    return pd.DataFrame(rows, columns=[*group, *columns])


def similarity_curves(
    scores: pd.DataFrame,
    *,
    width_inches: float | None = None,
    names: Mapping[str, str] | None = None,
    controls: Collection[str] | None = None,
    title: str = "",
    thresholds: Thresholds | None = None,
    table: pd.DataFrame | None = None,
) -> Figure:
    """Similarity to the original mask by stage: a panel a metric, a line a method.

    Lines are means over images, bands their intervals, dotted lines the mean null: see
    `stage_means`. Of fewer images than a verdict takes each is a dot, in place of bands. Lines are
    labelled at their end where there is room, else in a key. Several schemes of one method (a
    column `scheme`) differ in dash.

    Args:
        scores: As in `scores.parquet`; `seed`, if there, may hold several.
        width_inches: Of the figure; below 5, panels stand one below the other.
        names: What methods are called in the figure, if not by their name.
        controls: The methods that never looked at the network; by default, known ones by name.
        title: Above the panels.
        thresholds: Of verdicts, where these are made from early stages: shades these, and draws
            where the similarity relative to null and original is the threshold.
        table: `stage_means` of scores of one scheme, where they are known.

    Raises:
        ValueError: See `stage_means`.
    """
    scores, shown = _named(scores, names, controls)
    table = stage_means(scores) if table is None else table
    metrics = list(table["metric"].unique())
    methods = sorted(shown, key=lambda method: shown[method].style.control)
    methods = [method for method in methods if (table["method"] == method).any()]
    layers = table.drop_duplicates("stage").set_index("stage")["layer"].sort_index()
    ticks = [literal(layer if stage else ORIGINAL) for stage, layer in layers.items()]
    least = (thresholds or Thresholds()).images
    few = bool(table.loc[table["mean"].notna(), "images"].max() < least)
    marks = _marks(table, few, thresholds)
    sheet = _Sheet.of(
        len(metrics), [shown[m].label for m in methods], ticks, marks, width_inches, bool(title)
    )
    with fixed():
        fig = Figure(figsize=(sheet.width, sheet.height))
        if title:
            text, size = heading(title, sheet.font + 1, sheet.width)
            write(fig, MARGIN, MARGIN, text, size, va="top", weight="bold")
        for index, metric in enumerate(metrics):
            ax = sheet.panel(fig, index)
            ax.set_title(
                literal(metric), loc="left", weight="bold", size=sheet.font, parse_math=False
            )
            rows = table[table["metric"] == metric]
            if thresholds is not None:
                _draw_early(ax, rows, thresholds, len(layers) - 1)
            size = 4 if sheet.width >= 9 else 3
            _draw(ax, rows, methods, shown, layers.index, size, bands=not few)
            if few:
                _draw_images(ax, scores[scores["metric"].astype(str) == metric], methods, shown)
            if sheet.direct:
                _label(ax, rows, methods, shown, layers.index, sheet)
            sheet.tick(ax, ticks, index)
        _write_key(fig, sheet, [shown[method] for method in methods], marks)
    return fig


@dataclass(frozen=True)
class _Shown:
    """How a line is called, and looks."""

    label: str
    style: Style


def _named(
    scores: pd.DataFrame, names: Mapping[str, str] | None, controls: Collection[str] | None
) -> tuple[pd.DataFrame, dict[str, _Shown]]:
    """The scores with a line's key as method; each line's label and look by that."""
    methods = scores["method"].astype(str)
    several = "scheme" in scores and scores["scheme"].nunique() > 1
    schemes = scores["scheme"].astype(str) if several else pd.Series("", index=scores.index)
    dashes = {scheme: _DASHES[k % len(_DASHES)] for k, scheme in enumerate(schemes.unique())}
    shown = {}
    pairs = pd.DataFrame({"method": methods, "scheme": schemes}).drop_duplicates()
    for method, scheme in pairs.itertuples(index=False, name=None):
        look = method_style(method, None if controls is None else method in controls)
        if several:
            look = replace(look, dash=dashes[scheme])
        key = f"{method} · {scheme}" if scheme else method
        called = (names or {}).get(method, method)
        shown[key] = _Shown(literal(f"{called} · {scheme}" if scheme else called), look)
    keys = methods.where(schemes == "", methods + " · " + schemes)
    return scores.assign(method=keys), shown


@dataclass(frozen=True)
class _Sheet:
    """Where things stand in a figure of curves, in inches.

    Attributes:
        width: Of the figure.
        height: Of the figure.
        font: Size of text.
        columns: Panels beside each other.
        count: Panels.
        panel_width: Of one, without what is beside it.
        panel_height: Likewise.
        beside: For labels right of a panel.
        top: Above the first panel's title.
        foot: For the ticks' names below the last.
        direct: Whether lines are labelled at their end.
        upright: Whether the ticks' names are.
        every: So many ticks have one name.
    """

    width: float
    height: float
    font: float
    columns: int
    count: int
    panel_width: float
    panel_height: float
    beside: float
    top: float
    foot: float
    direct: bool
    upright: bool
    every: int

    @classmethod
    def of(
        cls,
        count: int,
        labels: Sequence[str],
        ticks: Sequence[str],
        marks: Sequence[tuple[str, Any]],
        width: float | None,
        title: bool,
    ) -> "_Sheet":
        """What fits."""
        width = width or (10.0 if count > 1 else 7.0)
        font = 8.0 if width >= 9 else 7.0 if width >= 6 else 6.5
        line = font * LINE
        columns = min(count, 2 if width >= 5 else 1)
        rows = math.ceil(count / columns)
        tall = min(2.4, 1.0 + 0.14 * width)
        beside = _LEAD + max(text_width(label, font) for label in labels) + 2 * PAD
        wide = (width - 2 * MARGIN) / columns - _AXIS
        direct = len(labels) * line <= 1.15 * tall and wide - beside >= _LEAST
        wide -= beside if direct else 2 * PAD
        pitch = wide / len(ticks)
        longest = max(text_width(tick, font) for tick in ticks)
        upright = longest > 0.9 * pitch
        every = math.ceil(1.1 * font / 72 / pitch) if upright else 1
        top = MARGIN + (2 * line if title else 0)
        foot = (longest if upright else line) + 0.12
        keys = ([] if direct else list(labels)) + [text for text, _ in marks]
        height = top + rows * (tall + 1.8 * line) + foot + _key_height(keys, font, width) + MARGIN
        return cls(
            width,
            height,
            font,
            columns,
            count,
            wide,
            tall,
            beside if direct else 2 * PAD,
            top,
            foot,
            direct,
            upright,
            every,
        )

    def panel(self, fig: Figure, index: int) -> Axes:
        """The axes of a panel."""
        row, column = divmod(index, self.columns)
        line = self.font * LINE
        x = MARGIN + _AXIS + column * (self.panel_width + self.beside + _AXIS)
        y = self.top + 1.5 * line + row * (self.panel_height + 1.8 * line)
        ax = axes(fig, x, y, self.panel_width, self.panel_height)
        ax.set_axis_on()
        return ax

    def tick(self, ax: Axes, ticks: Sequence[str], index: int) -> None:
        """Names the stages below the last panel of each column."""
        names = list(ticks[:: self.every])
        if index + self.columns < self.count:
            names = [""] * len(names)
        how: dict[str, Any] = {"rotation": 90} if self.upright else {}
        places = range(0, len(ticks), self.every)
        ax.set_xticks(places, names, size=self.font, parse_math=False, **how)
        ax.tick_params(labelsize=self.font, length=2, width=0.6, color=MUTED, labelcolor=INK)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:z.10g}")


def _draw(
    ax: Axes,
    table: pd.DataFrame,
    methods: Sequence[str],
    shown: Mapping[str, _Shown],
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
        ax.plot(x, part["null"], **_null(style.color), zorder=level)
        ax.plot(x, part["mean"], **_look(style, size), zorder=level)
    ax.set_xlim(-0.4, len(stages) - 0.6)
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_images(
    ax: Axes, scores: pd.DataFrame, methods: Sequence[str], shown: Mapping[str, _Shown]
) -> None:
    """A dot an image, its mean over seeds."""
    finite = scores[np.isfinite(scores["value"])]
    for method in methods:
        part = finite[finite["method"] == method]
        each = part.groupby(["stage", "image"], observed=True)["value"].mean().reset_index()
        style = shown[method].style
        ax.plot(each["stage"], each["value"], **_dot(style.color), zorder=2)


def _draw_early(ax: Axes, table: pd.DataFrame, thresholds: Thresholds, last: int) -> None:
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
        ax.plot([0.5, len(early) + 0.5], [level, level], **_THRESHOLD)


def _label(
    ax: Axes,
    table: pd.DataFrame,
    methods: Sequence[str],
    shown: Mapping[str, _Shown],
    stages: pd.Index,
    sheet: _Sheet,
) -> None:
    """Writes each line's name right of its end, the names pushed apart."""
    low, high = ax.get_ylim()
    ends: dict[str, tuple[int, float]] = {}
    for method in methods:
        part = table[(table["method"] == method) & table["mean"].notna()].sort_values("stage")
        if len(part):
            last = part.iloc[-1]
            ends[method] = list(stages).index(last["stage"]), float(last["mean"])
    order = sorted(ends, key=lambda method: ends[method][1])
    apart = sheet.font * LINE / sheet.panel_height * (high - low)
    wanted = np.array([ends[method][1] for method in order])
    right = len(stages) - 0.6
    inch = (right + 0.4) / sheet.panel_width
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
        ax.plot([right + 0.17 * inch], [y], **_look(look, 3), clip_on=False, zorder=4)
        ax.text(
            right + _LEAD * inch,
            y,
            shown[method].label,
            size=sheet.font,
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


def _marks(table: pd.DataFrame, few: bool, thresholds: Thresholds | None) -> list[tuple[str, Any]]:
    """What the key says beyond the methods."""
    marks: list[tuple[str, Any]] = []
    n = table.loc[table["mean"].notna(), "images"]
    if n.size:
        images = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        if few and n.max() > 1:
            marks.append((f"each of {images} images", Line2D([], [], **_dot(MUTED))))
        elif not few:
            label = f"{intervals.LEVEL:.0%} interval, n = {images} images"
            marks.append((label, Patch(facecolor=MUTED, alpha=0.2, linewidth=0)))
    if table["null"].notna().any():
        marks.append(("null, in the method's colour", Line2D([], [], **_null(MUTED))))
    if thresholds is not None and table["stage"].max() > 0:
        marks.append(("early stages", Patch(facecolor=RULE, alpha=0.5, linewidth=0)))
        if table["null"].notna().any():
            label = f"similarity {thresholds.threshold:g} by the median null"
            marks.append((label, Line2D([], [], **_THRESHOLD)))
    missing = table.groupby("method", sort=False)["missing"].sum()
    if missing.any():
        counts = [f"{literal(str(name))}\u00a0{n}" for name, n in missing.items() if n]
        label = f"left out, not finite: {', '.join(counts)}"
        label = textwrap.fill(label, 36, break_long_words=False, break_on_hyphens=False)
        marks.append((label, Patch(alpha=0, linewidth=0)))
    return marks


def _key_columns(labels: Sequence[str], font: float, width: float) -> int:
    """As many as fit beside each other, none of them empty."""
    if not labels:
        return 1
    widest = max(text_width(part, font) for label in labels for part in label.split("\n"))
    most = max(1, int((width - 2 * MARGIN) / (widest + 5 * font / 72 + 0.15)))
    rows = math.ceil(len(labels) / most)
    return math.ceil(len(labels) / rows)


def _key_height(labels: Sequence[str], font: float, width: float) -> float:
    if not labels:
        return 0.0
    rows = math.ceil(len(labels) / _key_columns(labels, font, width))
    extra = max(label.count("\n") for label in labels)
    return 1.32 * font / 72 * (rows + extra) + 0.12


def _write_key(
    fig: Figure, sheet: _Sheet, methods: Sequence[_Shown], marks: Sequence[tuple[str, Any]]
) -> None:
    """Below the panels: what is not labelled directly."""
    entries: list[tuple[str, Any]] = []
    if not sheet.direct:
        entries = [(one.label, Line2D([], [], **_look(one.style))) for one in methods]
    entries += marks
    if not entries:
        return
    labels = [label for label, _ in entries]
    legend = fig.legend(
        [handle for _, handle in entries],
        [str(index) for index in range(len(labels))],  # a label that begins with _ would hide
        loc="lower left",
        bbox_to_anchor=(MARGIN / sheet.width, MARGIN / sheet.height),
        ncols=_key_columns(labels, sheet.font, sheet.width),
        fontsize=sheet.font,
        frameon=False,
        handlelength=3,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.25,
        columnspacing=1.2,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
        text.set_parse_math(False)


def _look(style: Style, size: float = 4) -> dict[str, Any]:
    return {
        "color": style.color,
        "linestyle": style.linestyle,
        "linewidth": (0.27 if style.control else 0.37) * size,
        "marker": style.marker,
        "markersize": size,
    }


def _null(color: str) -> dict[str, Any]:
    return {"color": color, "linestyle": (0, DOTTED), "linewidth": 0.8}


def _dot(color: str) -> dict[str, Any]:
    how = {"linestyle": "none", "marker": ".", "markersize": 4, "markeredgewidth": 0}
    return {"color": color, "alpha": 0.55, **how}
