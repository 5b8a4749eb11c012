"""Similarity to the original mask by stage, as a figure."""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sanity.analysis import intervals
from sanity.analysis.thresholds import Thresholds
from sanity.report.figures.canvas import (
    LINE,
    LONGEST,
    MARGIN,
    PAD,
    axes,
    fixed,
    heading,
    literal,
    text_width,
    write,
)
from sanity.report.figures.lines import (
    LEAD,
    THRESHOLD,
    Shown,
    dot_look,
    draw_early,
    draw_images,
    draw_lines,
    label_lines,
    line_look,
    null_look,
)
from sanity.report.figures.means import stage_means
from sanity.report.style import (
    DASHDOT,
    INK,
    LONG,
    MUTED,
    RULE,
    SHORT,
    SOLID,
    method_style,
)
from sanity.results.listing import TRAINED

_DASHES = (SOLID, LONG, DASHDOT, SHORT)  # of schemes
_AXIS = 0.36  # left of a panel, for its numbers, inches
_LEAST = 1.3  # inches of a panel whose lines are labelled directly


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
    ticks = [literal(layer if stage else TRAINED) for stage, layer in layers.items()]
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
                draw_early(ax, rows, thresholds, len(layers) - 1)
            size = 4 if sheet.width >= 9 else 3
            draw_lines(ax, rows, methods, shown, layers.index, size, bands=not few)
            if few:
                draw_images(ax, scores[scores["metric"].astype(str) == metric], methods, shown)
            if sheet.direct:
                size_of_panel = (sheet.panel_width, sheet.panel_height)
                label_lines(ax, rows, methods, shown, layers.index, sheet.font, size_of_panel)
            sheet.tick(ax, ticks, index)
        _write_key(fig, sheet, [shown[method] for method in methods], marks)
    return fig


def _named(
    scores: pd.DataFrame, names: Mapping[str, str] | None, controls: Collection[str] | None
) -> tuple[pd.DataFrame, dict[str, Shown]]:
    """The scores with a line's key as method; each line's label and look by that."""
    methods = scores["method"].astype(str)
    several = "scheme" in scores and scores["scheme"].nunique() > 1
    schemes = scores["scheme"].astype(str) if several else pd.Series("", index=scores.index)
    dashes = {scheme: _DASHES[k % len(_DASHES)] for k, scheme in enumerate(schemes.unique())}
    shown = {}
    pairs = pd.DataFrame({"method": methods, "scheme": schemes}).drop_duplicates()
    longest = max((len((names or {}).get(name, name)) for name in pairs["method"]), default=0)
    said = _short(list(dashes), LONGEST - longest - len(" · "))
    for method, scheme in pairs.itertuples(index=False, name=None):
        look = method_style(method, None if controls is None else method in controls)
        if several:
            look = replace(look, dash=dashes[scheme])
        key = f"{method} · {scheme}" if scheme else method
        called = (names or {}).get(method, method)
        shown[key] = Shown(literal(f"{called} · {said[scheme]}" if scheme else called), look)
    keys = methods.where(schemes == "", methods + " · " + schemes)
    return scores.assign(method=keys), shown


def _short(schemes: Sequence[str], room: int) -> dict[str, str]:
    """What schemes are called: by their value alone, where they are of one key and too long."""
    parts = [scheme.split("=", 1) for scheme in schemes]
    one_key = all(len(part) == 2 and ", " not in part[1] for part in parts)
    one_key &= len({part[0] for part in parts}) == 1
    if not one_key or max(map(len, schemes)) <= room:
        return {scheme: scheme for scheme in schemes}
    return {scheme: part[1] for scheme, part in zip(schemes, parts, strict=True)}


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
        beside = LEAD + max(text_width(label, font) for label in labels) + 2 * PAD
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


def _marks(table: pd.DataFrame, few: bool, thresholds: Thresholds | None) -> list[tuple[str, Any]]:
    """What the key says beyond the methods."""
    marks: list[tuple[str, Any]] = []
    n = table.loc[table["mean"].notna(), "images"]
    if n.size:
        images = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        if few and n.max() > 1:
            marks.append((f"each of {images} images", Line2D([], [], **dot_look(MUTED))))
        elif not few:
            label = f"{intervals.LEVEL:.0%} interval, n = {images} images"
            marks.append((label, Patch(facecolor=MUTED, alpha=0.2, linewidth=0)))
    if table["null"].notna().any():
        marks.append(("null, in the method's colour", Line2D([], [], **null_look(MUTED))))
    if thresholds is not None and table["stage"].max() > 0:
        marks.append(("early stages", Patch(facecolor=RULE, alpha=0.5, linewidth=0)))
        if table["null"].notna().any():
            label = f"similarity {thresholds.threshold:g} by the median null"
            marks.append((label, Line2D([], [], **THRESHOLD)))
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
    fig: Figure, sheet: _Sheet, methods: Sequence[Shown], marks: Sequence[tuple[str, Any]]
) -> None:
    """Below the panels: what is not labelled directly."""
    entries: list[tuple[str, Any]] = []
    if not sheet.direct:
        entries = [(one.label, Line2D([], [], **line_look(one.style))) for one in methods]
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
