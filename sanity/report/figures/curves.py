"""Similarity by stage: means over images with their intervals, and the figure."""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sanity.analysis import intervals
from sanity.report.figures.canvas import LINE, fixed, heading, literal, text_width
from sanity.report.style import DOTTED, INK, MUTED, RULE, Style, method_style

ORIGINAL = "original"  # what stage 0 is called


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
) -> Figure:
    """Similarity to the original mask by stage: a panel a metric, a line a method.

    Lines are means over images, bands their intervals, dotted lines the mean null: see
    `stage_means`.

    Args:
        scores: As in `scores.parquet`, of one scheme; `seed`, if there, may hold several.
        width_inches: Of the figure; below 5, panels stand one below the other.
        names: What methods are called in the figure, if not by their name.
        controls: The methods that never looked at the network; by default, known ones by name.
        title: Above the panels.

    Raises:
        ValueError: See `stage_means`.
    """
    table = stage_means(scores)
    metrics = list(table["metric"].unique())
    styles = {
        method: method_style(method, None if controls is None else method in controls)
        for method in table["method"].unique()
    }
    methods = sorted(styles, key=lambda method: styles[method].control)
    layers = table.drop_duplicates("stage").set_index("stage")["layer"].sort_index()
    ticks = [literal(layer if stage else ORIGINAL) for stage, layer in layers.items()]
    entries: dict[str, Any] = {
        method: Line2D([], [], **_look(styles[method])) for method in methods
    }
    labels = [literal((names or {}).get(method, method)) for method in methods]
    for label, handle in _marks(table):
        entries[label] = handle
        labels.append(label)

    width = width_inches or (10.0 if len(metrics) > 1 else 7.0)
    font = 8.0 if width >= 6 else 6.5
    line = font * LINE
    columns = min(len(metrics), 2 if width >= 5 else 1)
    rows = math.ceil(len(metrics) / columns)
    spare = columns * rows > len(metrics)  # then the key goes there
    beside = width >= (9 if columns > 1 else 6) and not spare
    key_width = 0.6 + max(text_width(part, font) for label in labels for part in label.split("\n"))
    key_columns = 1 if spare or beside else max(1, int(width / key_width))
    key_height = 1.2 * line * (2 + sum(1 + label.count("\n") for label in labels) / key_columns)
    pitch = ((width - beside * key_width) / columns - 0.6) / len(ticks)
    tick_width = max(text_width(tick, font) for tick in ticks)
    upright = tick_width > 0.9 * pitch
    every = math.ceil(1.1 * font / 72 / pitch) if upright else 1
    panel = 0.9 + 0.14 * width
    foot = (tick_width if upright else line) + 2 * line
    height = rows * panel + foot + 2 * bool(title) * line
    if beside:
        height = max(height, key_height)
    elif not spare:
        height += key_height
    elif key_height > panel:
        height += rows * (key_height - panel)

    with fixed():
        fig = Figure(figsize=(width, height), layout="constrained")
        panels = fig.subplots(rows, columns, squeeze=False).ravel()
        for index, (ax, metric) in enumerate(zip(panels, metrics, strict=False)):
            ax.set_title(literal(metric), loc="left", weight="bold", size=font, parse_math=False)
            _draw(ax, table[table["metric"] == metric], methods, styles, layers.index)
            ax.set_xticks(
                range(0, len(ticks), every),
                ticks[::every],
                rotation=90 if upright else 0,
                parse_math=False,
            )
            lowest = index + columns >= len(metrics)
            ax.tick_params(labelsize=font, color=MUTED, labelcolor=INK, labelbottom=lowest)
            if lowest:
                ax.set_xlabel("stage, by the block randomized", size=font, color=MUTED)
            if index % columns == 0:
                ax.set_ylabel("score against the original", size=font, color=MUTED)
        if title:
            text, size = heading(title, font + 2, width)
            fig.suptitle(text, x=0.01, ha="left", size=size, weight="bold", parse_math=False)
        if spare:
            panels[-1].set_axis_off()
        home: Any = panels[-1] if spare else fig
        where = "upper left" if spare else "outside right upper" if beside else "outside lower left"
        legend = home.legend(
            list(entries.values()),
            [str(index) for index in range(len(labels))],  # a label that begins with _ would hide
            loc=where,
            ncols=key_columns,
            fontsize=font,
            frameon=False,
            handlelength=3,
        )
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
            text.set_parse_math(False)
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # laid out once: again would move things by fractions
    return fig


def _draw(
    ax: Axes,
    table: pd.DataFrame,
    methods: Sequence[str],
    styles: Mapping[str, Style],
    stages: pd.Index,
) -> None:
    x = np.arange(len(stages))
    drawn = []
    for method in methods:
        rows = table[table["method"] == method].set_index("stage").reindex(stages)
        style = styles[method]
        level = 2 if style.control else 3
        band = ax.fill_between(x, rows["low"], rows["high"], linewidth=0, zorder=level - 1)
        band.set(color=style.color, alpha=0.15 if len(methods) <= 8 else 0.06)
        ax.plot(x, rows["null"], **_null(style.color), zorder=level)
        ax.plot(x, rows["mean"], **_look(style), zorder=level)
        drawn += [rows["mean"], rows["null"]]
    originals = table.loc[table["stage"] == 0, "mean"]
    ax.set_ylim(*_y_limits(np.concatenate(drawn), originals.to_numpy()))
    ax.set_xlim(-0.4, len(stages) - 0.6)
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


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


def _marks(table: pd.DataFrame) -> list[tuple[str, Any]]:
    """What the key says beyond the methods."""
    marks: list[tuple[str, Any]] = []
    n = table.loc[table["low"].notna(), "images"]
    if n.size:
        images = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        label = f"{intervals.LEVEL:.0%} interval, n = {images} images"
        marks.append((label, Patch(facecolor=MUTED, alpha=0.2, linewidth=0)))
    if table["null"].notna().any():
        marks.append(("null, in the method's colour", Line2D([], [], **_null(MUTED))))
    missing = table.groupby("method", sort=False)["missing"].sum()
    if missing.any():
        counts = [f"{literal(str(name))}\u00a0{n}" for name, n in missing.items() if n]
        label = f"left out, not finite: {', '.join(counts)}"
        label = textwrap.fill(label, 36, break_long_words=False, break_on_hyphens=False)
        marks.append((label, Patch(alpha=0, linewidth=0)))
    return marks


def _look(style: Style) -> dict[str, Any]:
    return {
        "color": style.color,
        "linestyle": style.linestyle,
        "linewidth": 1.1 if style.control else 1.5,
        "marker": style.marker,
        "markersize": 4,
    }


def _null(color: str) -> dict[str, Any]:
    return {"color": color, "linestyle": (0, DOTTED), "linewidth": 0.8}
