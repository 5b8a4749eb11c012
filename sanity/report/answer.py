"""The answer of a run: the verdicts as a table, what they mean, what to do next."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from sanity.analysis.judged import (
    ALIKE,
    DEPENDS,
    INCONCLUSIVE,
    INSENSITIVE,
    INVALID,
    NONE,
    SENSITIVE,
)
from sanity.analysis.meaning import counted, holds_for_all, meaning
from sanity.analysis.settling import Settling
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.wording import is_control, records, word
from sanity.report.console import bare_table, command_lines, folded
from sanity.report.summary import ends

if TYPE_CHECKING:
    import pandas as pd

_BAR = (9, 21)  # columns of the bar, at least and at most
_NAME = 16  # columns that a method's name has, at least, beside a bar
_COLORS = {
    INSENSITIVE: "bold red",
    SENSITIVE: "green",
    DEPENDS: "yellow",
    ALIKE: "yellow",
    INVALID: "red",
    INCONCLUSIVE: "",
    NONE: "dim",
}
_OPPOSITE = {INSENSITIVE: SENSITIVE, SENSITIVE: INSENSITIVE}


@dataclass(frozen=True)
class Answer:
    """What is said of the verdicts of one scheme.

    Attributes:
        found: See `analysis.verdicts.verdicts`.
        scores: That they are made from.
        thresholds: The verdicts'.
        settled: What would decide those that are open.
        other_draws: How there would be scores of other draws of the weights: a command, or words.
    """

    found: "pd.DataFrame"
    scores: "pd.DataFrame"
    thresholds: Thresholds
    settled: Settling | None = None
    other_draws: Settling | str | None = None

    def parts(self, width: int) -> list[RenderableType]:
        """Table, what holds for all of it, the other metrics, what it means, what to do next."""
        rows = _in_order(records(self.found))
        first = [row for row in rows if row["primary"]]
        if not any(row["early"] is not None for row in first):
            return [*_without_verdicts(rows, self.scores), *_notes(rows)]
        parts: list[RenderableType] = [_verdicts(first, width, self.thresholds.threshold)]
        last = int(self.scores["stage"].max())
        parts.append(Text(holds_for_all(first, last, self.thresholds), "dim"))
        if len({row["metric"] for row in rows}) > 1:
            parts += ["", *_by_metric(rows, first, self.thresholds.threshold, width)]
        notes = list(_notes(first))
        parts += ["", *notes] if notes else []
        if said := meaning(self.found):
            parts += ["", Text(said, "bold")]
        return [*parts, *self._next(first, width)]

    def _next(self, first: Sequence[Mapping[str, Any]], width: int) -> list[RenderableType]:
        if self.settled is None:
            return self._next_draws(first, width)
        why = "to decide what leans"
        count = f"{self.settled.images} images"
        if self.settled.draws:
            why = "as the draws of the weights differ too much for more images to decide"
            count = f"{self.settled.draws} draws"
        if self.settled.command is None:
            return ["", Text(f"Next, {why}: {self.settled.said}.")]
        return _command(f"Next, {why}, {count}:", self.settled.command, width)

    def _next_draws(self, first: Sequence[Mapping[str, Any]], width: int) -> list[RenderableType]:
        """Where one draw decides, whether others agree."""
        decided = any(row["seeds"] == 1 and row["verdict"] in _OPPOSITE for row in first)
        if not decided or self.other_draws is None:
            return []
        if isinstance(self.other_draws, str):
            return ["", Text(f"Next: other draws of the weights, {self.other_draws}.")]
        why = "whether other draws of the weights agree"
        if self.other_draws.command is None:
            return ["", Text(f"Next, {why}: {self.other_draws.said}.")]
        return _command(f"Next, {why}:", self.other_draws.command, width)


def _command(said: str, command: str, width: int) -> list[RenderableType]:
    return ["", Text(said), *(Text(line, "cyan") for line in command_lines(command, width))]


def _verdicts(first: Sequence[Mapping[str, Any]], width: int, threshold: float) -> RenderableType:
    """A line a method: name, verdict, similarity with its interval, a bar."""
    words, numbers = [_word(row) for row in first], [_number(row) for row in first]
    name = max(map(cell_len, ["method", *(row["method"] for row in first)]))
    fixed = max(map(len, ["verdict", *words])) + max(map(len, ["similarity", *numbers])) + 4
    bar = width - fixed - name - 2
    if bar < _BAR[0]:  # then names break, if enough of them is left
        bar = _BAR[0] if width - fixed - _BAR[0] - 2 >= _NAME else 0
    bar = min(bar, _BAR[1])
    table = bare_table()
    table.add_column("method", overflow="fold")
    name = min(name, width - fixed - (bar + 2 if bar else 0))
    table.add_column("verdict", overflow="fold")
    table.add_column("similarity")
    if bar:
        table.add_column(f"0{'1':>{bar - 1}}", no_wrap=True, min_width=bar)
    for row, said, number in zip(first, words, numbers, strict=True):
        color = _COLORS[row["leans"] or row["verdict"]]
        style = "dim" if is_control(row) else ""
        method = Text(folded(row["method"], name), style)
        cells = [method, Text(said, color), Text(number, style)]
        if bar:
            cells.append(_bar(row, bar, threshold, color))
        table.add_row(*cells)
    return table


def _bar(row: Mapping[str, Any], width: int, threshold: float, color: str) -> Text:
    """From 0 to 1: the threshold, the interval, the mean; arrows where they lie beyond."""
    text = ["─"] * width
    text[_place(threshold, width)] = "┼"
    if row["early"] is None:
        return Text("")
    line = Text("".join(text), "dim")
    low, high = (row[key] if row[key] is not None else row["early"] for key in ("low", "high"))
    for place in range(_place(low, width), _place(high, width) + 1):
        text[place] = "━"
    text[0] = "◂" if low < 0 and high >= 0 else text[0]
    text[-1] = "▸" if high > 1 and low <= 1 else text[-1]
    text[_place(row["early"], width)] = "●" if 0 <= row["early"] <= 1 else "◂▸"[row["early"] > 1]
    line = Text("".join(text))
    for place, char in enumerate(text):
        line.stylize("dim" if char in "─┼" else color, place, place + 1)
    return line


def _place(value: float, width: int) -> int:
    return min(width - 1, max(0, round(value * (width - 1))))


def _by_metric(
    rows: Sequence[Mapping[str, Any]],
    first: Sequence[Mapping[str, Any]],
    threshold: float,
    width: int,
) -> Iterable[RenderableType]:
    """Similarities by each metric, as many side by side as there is room for."""
    known = {row["metric"]: row for row in sorted(rows, key=lambda row: row["place"])}
    metrics = sorted(known.values(), key=lambda row: not row["primary"])
    by = {(row["method"], row["metric"]): row for row in rows}
    name = max(14, min(max(cell_len(row["method"]) for row in first), width // 3))
    blocks: list[list[Mapping[str, Any]]] = [[]]
    room = width - name
    for metric in metrics:
        needed = max(len(metric["metric"]), len(metric["speaks_for"] or ""), 6) + 2
        if blocks[-1] and needed > room:
            blocks.append([])
            room = width - name
        blocks[-1].append(metric)
        room -= needed
    marks: set[str] = set()
    leans: set[bool] = set()  # of those opposite: whether they lean, against a verdict that stands
    for block in blocks:
        table = bare_table()
        table.add_column("by each metric", overflow="fold", min_width=14, max_width=name)
        for metric in block:
            table.add_column(metric["metric"], justify="right", overflow="fold")
        if any(metric["speaks_for"] for metric in block):
            table.add_row("", *(Text(metric["speaks_for"] or "", "dim") for metric in block))
        for row in first:
            cells = [_cell(by.get((row["method"], m["metric"])), row, threshold) for m in block]
            marks |= {mark for _, mark in cells}
            leans |= {row["verdict"] in _OPPOSITE for _, mark in cells if mark == "≠"}
            control = "dim" if is_control(row) else ""
            method = Text(folded(row["method"], name), control)
            table.add_row(method, *(cell for cell, _ in cells))
        yield table
    opposite = f"the opposite of what {metrics[0]['metric']} says"
    said = {"≠": f"≠ leans to {opposite}" if leans == {True} else f"≠ {opposite}"}
    said["?"] = "? cannot decide"
    if len(leans) > 1:
        said["≠"] += ", or leans to it where the verdict is another"
    if marks & set(said):
        yield Text("; ".join(text for mark, text in said.items() if mark in marks), "dim")


def _cell(
    row: Mapping[str, Any] | None, first: Mapping[str, Any], threshold: float
) -> tuple[Text, str]:
    """A method's similarity by a metric, and its mark."""
    if row is None or row["early"] is None:
        return Text("–"), ""
    if is_control(row):
        return Text(f"{row['early']:z.2f} ", "dim"), ""
    verdict = row["leans"] or row["verdict"]
    mark = " "
    if row is not first and verdict not in _OPPOSITE:
        mark = "?"
    elif row is not first and verdict == _OPPOSITE.get(_side(first, threshold)):
        mark = "≠"
    color = "yellow" if mark == "≠" else _COLORS[verdict]
    return Text(f"{row['early']:z.2f}{mark}", color), mark


def _side(first: Mapping[str, Any], threshold: float) -> str:
    """What the primary metric says by itself, also where another one contradicts it."""
    verdict = first["leans"] or first["verdict"]
    if verdict == DEPENDS:
        return INSENSITIVE if first["early"] > threshold else SENSITIVE
    return str(verdict)


def _notes(first: Sequence[Mapping[str, Any]]) -> Iterable[Text]:
    """Why some are not decided, one reason once."""
    why: dict[str, list[str]] = {}
    for row in first:
        if row["verdict"] in (INCONCLUSIVE, INVALID, ALIKE, NONE) and not is_control(row):
            if not row["leans"] and row.get("why"):
                why.setdefault(str(row["why"]), []).append(row["method"])
    several = len({row["method"] for row in first if not is_control(row)})
    for reason, names in why.items():
        names = list(dict.fromkeys(names))
        who = "no verdict" if len(names) == several else ", ".join(names)
        yield Text(f"{who}: {reason}")


def _without_verdicts(
    rows: Sequence[Mapping[str, Any]], scores: "pd.DataFrame"
) -> Iterable[RenderableType]:
    """The means at the first, the middle and the last stage, where no verdict is given."""
    metric = next((row["metric"] for row in rows if row["primary"]), rows[0]["metric"])
    means = ends(scores, metric)
    if not len(means.columns):
        return
    table = bare_table()
    table.add_column("method", overflow="fold")
    for layer in means.columns:
        table.add_column(layer, justify="right", overflow="ellipsis", no_wrap=True)
    for method, values in zip(means.index, means.to_numpy(), strict=True):
        cells = ["–" if math.isnan(value) else f"{value:z.2f}" for value in values]
        table.add_row(str(method), *cells)
    yield table
    over = counted([scores["image"].nunique()], "image")
    yield Text(f"{metric}: similarity to the original mask after these layers, {over}", "dim")


def _word(row: Mapping[str, Any]) -> str:
    return word(row).partition(",")[0]  # how many images lean stands below


def _number(row: Mapping[str, Any]) -> str:
    if row["early"] is None:
        return "–"
    if row["low"] is None:
        return f"{row['early']:z.2f}"
    return f"{row['early']:z.2f} [{row['low']:z.2f}, {row['high']:z.2f}]"


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By similarity, the highest first; controls last."""
    for place, row in enumerate(rows):
        row |= {"leans": row.get("leans") or "", "place": place}

    def rank(row: Mapping[str, Any]) -> tuple[bool, float]:
        return is_control(row), math.inf if row["early"] is None else -row["early"]

    return sorted(rows, key=rank)
