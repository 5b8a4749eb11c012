"""What `sanity-compare` prints beside means and verdicts, in tables that fit a terminal."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from sanity.report.console import bare_table, means_parts

if TYPE_CHECKING:
    import pandas as pd


def rank_parts(ranks: "pd.DataFrame", width: int) -> Iterable[RenderableType]:
    """The ranks of methods, by metric.

    Args:
        ranks: See `analysis.pairs.rank_methods`.
        width: Columns of text that there are.
    """
    yield from _title(
        "methods by rank in each image and seed, 1: least like the original; share first"
    )
    shown = ranks.assign(
        rank=_estimates(ranks, "rank", ".2f"), first=_numbers(ranks["first"], ".2f")
    )
    yield from _measured(shown, ["metric", "method"], ["rank", "first"], width)


def pair_parts(tests: "pd.DataFrame", width: int) -> Iterable[RenderableType]:
    """Paired tests, by metric and the first method.

    Args:
        tests: See `analysis.pairs.pairwise_tests`.
        width: Columns of text that there are.
    """
    yield from _title(
        "areas under the curve, method − other, paired over images and seeds; p after Holm"
    )
    shown = tests.assign(
        method=tests["method"] + " −",
        difference=_estimates(tests, "difference"),
        p=_numbers(tests["p_holm"], ".2g"),
        null=_numbers(tests["null"], ".2g"),
    )
    columns = ["difference", "p", "null"]
    yield from _measured(shown, ["metric", "method", "other"], columns, width)


def threshold_parts(moved: "pd.DataFrame", width: int) -> Iterable[RenderableType]:
    """How verdicts move with each threshold.

    Args:
        moved: See `analysis.stability.by_threshold`.
        width: Columns of text that there are.
    """
    yield from _title("verdicts with each threshold moved alone")
    grid = bare_table()
    for name in ("threshold", "value", "changed"):
        grid.add_column(name, justify="left" if name == "threshold" else "right", no_wrap=True)
    grid.add_column("which", overflow="fold")
    last = ""
    for row in moved[["threshold", "value", "changed", "moved"]].itertuples(index=False):
        key = "" if str(row.threshold) == last else str(row.threshold)
        last = str(row.threshold)
        said = str(row.moved).replace("; ", "\n") or "–"
        grid.add_row(key, str(row.value), str(row.changed), Text(said))
    yield grid


def width_parts(needed: "pd.DataFrame", wanted: float, width: int) -> Iterable[RenderableType]:
    """How many images a wanted width of the intervals takes.

    Args:
        needed: See `analysis.stability.for_width`.
        wanted: The width of the interval.
        width: Columns of text that there are.
    """
    yield from _title(f"images that an interval of width {wanted:g} takes")
    if needed.empty:
        yield Text("– (no method has an early similarity over two images)")
        return
    shown = needed.rename(columns=lambda name: name.removeprefix("with "))
    columns = [str(name) for name in shown if name not in ("method", "images", "seeds")]
    yield from _measured(shown, ["method"], columns, width)


def difference_parts(
    keys: Sequence[tuple[str, str, str]], found: "pd.DataFrame", width: int
) -> Iterable[RenderableType]:
    """What differs between two runs.

    Args:
        keys: See `analysis.differences.differing_keys`.
        found: See `analysis.differences.differences`.
        width: Columns of text that there are.
    """
    for key, old, new in keys:
        yield from _paragraph(f"{key}: {old} → {new}", width, "  ")
    if not keys:
        yield Text("no key differs")
    yield from _title("scores at randomized stages, B − A, mean over images (p after Holm)")
    if alone := int(found["alone"].sum()):
        counted = "1 score is" if alone == 1 else f"{alone} scores are"
        yield from _paragraph(f"{counted} in one of the two alone, and left out", width)
    shown = found.assign(
        p=_numbers(found["p"], ".2g"),
        largest=_numbers(found["largest"], ".2g"),
        **{"B − A": _estimates(found, "mean")},
    )
    yield from _measured(shown, ["metric", "method"], ["B − A", "p", "largest"], width)


def _measured(
    table: "pd.DataFrame", keys: list[str], columns: list[str], width: int
) -> Iterable[RenderableType]:
    """The table by its keys; how many images and seeds once, where that holds for all."""
    if "scheme" in table:
        keys = ["scheme", *keys]
    counts = [name for name in ("images", "seeds") if name in table]
    if table[counts].drop_duplicates().shape[0] > 1:
        columns = [*columns, *counts]
    elif len(table):
        numbers = [int(table[name].iloc[0]) for name in counts]
        said = [f"{n} {c[:-1] if n == 1 else c}" for c, n in zip(counts, numbers, strict=True)]
        estimated = "; mean [95 %]" if any("[" in str(x) for x in table[columns[0]]) else ""
        yield from _paragraph(", ".join(said) + estimated, width)
    yield from means_parts(table.set_index(keys)[columns], width)


def _title(words: str) -> Iterable[RenderableType]:
    yield Text(f"\n{words}")  # which wraps


def _paragraph(words: str, width: int, indent: str = "") -> Iterable[RenderableType]:
    lines = textwrap.wrap(words, width, subsequent_indent=indent, break_on_hyphens=False)
    yield Text("\n".join(lines))


def _estimates(table: "pd.DataFrame", name: str, form: str = ".3g") -> list[str]:
    """A mean with its interval; without one where there is none."""
    rows = zip(table[name], table["low"], table["high"], strict=True)
    return [
        _number(mean, form)
        if math.isnan(low)
        else f"{_number(mean, form)} [{_number(low, form)}, {_number(high, form)}]"
        for mean, low, high in rows
    ]


def _numbers(values: "Iterable[float]", form: str) -> list[str]:
    return [_number(value, form) for value in values]


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:z{form}}"
