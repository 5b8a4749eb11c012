"""Tables for papers and notes: verdicts and means as Markdown and LaTeX."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sanity.analysis.meaning import holds_for_all
from sanity.analysis.means import caption
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.wording import ORDER, is_control, records, word

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table that is not yet Markdown or LaTeX.

    Attributes:
        caption: A sentence, without its full stop.
        head: What stands above each column.
        blocks: Rows, by what they share: a metric is named once.
        keys: So many columns on the left are names, the others numbers.
    """

    caption: str
    head: list[str]
    blocks: list[tuple[str, list[list[str]]]]
    keys: int = 1


def verdict_table(
    found: "pd.DataFrame", last: int, thresholds: Thresholds, scheme: str = "", digits: int = 2
) -> Table:
    """Verdicts with the similarity and what it is made of, a block a metric, the primary one first.

    Args:
        found: See `analysis.verdicts.verdicts`.
        last: How many randomized stages there are.
        thresholds: The verdicts'.
        scheme: What sets these runs apart from others.
        digits: After the point.
    """
    rows = sorted(records(found), key=lambda row: (not row["primary"], is_control(row)))
    blocks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        blocks.setdefault(row["metric"], []).append(row)
    first = next(iter(blocks.values()))
    common = holds_for_all(first, last, thresholds).split(" over ", 1)[1]
    about = f"Verdicts{f' of {scheme}' if scheme else ''}: early similarity over {common}"
    if len(blocks) > 1:
        about += f"; {next(iter(blocks))} decides, the others stand beside it"
    return Table(
        about,
        ["method", "verdict", "similarity", "score", "null"],
        [
            (_titled(part[0]), [_cells(row, digits) for row in sorted(part, key=_rank)])
            for part in blocks.values()
        ],
        keys=2,
    )


def means_table(table: "pd.DataFrame", wide: "pd.DataFrame") -> Table:
    """Means with their intervals.

    Args:
        table: See `analysis.means.means`.
        wide: The same as text, see `analysis.means.pivot`.
    """
    about = caption(table)
    blocks = [
        (heading, part.reset_index().astype(str).to_numpy().tolist())
        for heading, part in by_heading(wide)
    ]
    head = [str(wide.index.names[-1]), *map(str, wide.columns)]
    return Table(f"{about[0].upper()}{about[1:]}", head, blocks)


def by_heading(wide: "pd.DataFrame") -> Iterable[tuple[str, "pd.DataFrame"]]:
    """The parts of a table whose rows share all but the last of several keys: their heading."""
    shared = list(range(wide.index.nlevels - 1))
    if not shared:
        yield "", wide
        return
    last = wide.index.names[-1]
    headings = _headings(wide)
    for heading in dict.fromkeys(headings):
        part = wide[[one == heading for one in headings]]
        yield heading, part.set_axis(part.index.get_level_values(-1).rename(last))


def _headings(wide: "pd.DataFrame") -> list[str]:
    """All but the last key of each row."""
    return [" · ".join(map(str, key[:-1])) for key in wide.index]


def markdown(tables: Sequence[Table]) -> str:
    """Tables as Markdown, a caption below each."""
    return "\n\n".join(map(_markdown, tables)) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """Tables as LaTeX's floats with captions; the package booktabs is needed."""
    return "\n\n".join(map(_latex, tables)) + "\n"


def _titled(row: Mapping[str, Any]) -> str:
    return f"{row['metric']} ({row['speaks_for']})" if row["speaks_for"] else str(row["metric"])


def _rank(row: Mapping[str, Any]) -> tuple[bool, int]:
    return is_control(row), ORDER.index(row["verdict"])


def _cells(row: Mapping[str, Any], digits: int) -> list[str]:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:z.{digits}f}"

    between = "" if row["low"] is None else f" [{number(row['low'])}, {number(row['high'])}]"
    similarity = number(row["early"]) + between
    return [row["method"], word(row), similarity, number(row["score"]), number(row["null"])]


def _markdown(table: Table) -> str:
    rule = ["---"] * table.keys + ["---:"] * (len(table.head) - table.keys)
    parts = []
    for title, rows in table.blocks:
        lines = [table.head, rule, *rows]
        text = "\n".join(
            f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines
        )
        parts.append(f"**{title}**\n\n{text}" if title else text)
    return "\n\n".join([*parts, f"{table.caption}."])


def _latex(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(_escape, cells)) + r" \\"

    body = []
    for title, rows in table.blocks:
        body.append("\\midrule")
        if title:
            body.append(
                f"\\multicolumn{{{len(table.head)}}}{{l}}{{\\emph{{{_escape(title)}}}}} \\\\"
            )
        body += map(line, rows)
    columns = "l" * table.keys + "r" * (len(table.head) - table.keys)
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{_escape(table.caption)}.}}",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            line(table.head),
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
    )


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"} | {"–": "--"}
    text = "".join(special.get(char, char) for char in text)
    # After \\ a bracket would be taken for an optional argument, and a minus is no hyphen.
    return f"{{{text}}}" if text.startswith("[") else text.replace("-0.", "$-$0.")
