"""Verdicts as words and lines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sanity.analysis.judged import (
    ALIKE,
    DEPENDS,
    INCONCLUSIVE,
    INSENSITIVE,
    INVALID,
    NONE,
    SENSITIVE,
)

if TYPE_CHECKING:
    import pandas as pd

ORDER = (INSENSITIVE, SENSITIVE, DEPENDS, ALIKE, INCONCLUSIVE, INVALID, NONE)
_SAID = {DEPENDS: "depends on the metric"}
_ABOUT_A_DRAW = (INSENSITIVE, SENSITIVE, DEPENDS)


def word(row: Mapping[str, Any]) -> str:
    """A verdict as it is read: of a single draw of the weights it says so.

    An inconclusive one that only lacks images says where it leans, and how many it takes.

    Args:
        row: Of a table of verdicts.
    """
    verdict = str(row["verdict"])
    if verdict == NONE:
        return "no verdict"
    if verdict == INCONCLUSIVE and row.get("leans"):
        return f"leans {_SAID.get(row['leans'], row['leans'])}, {count_of_images(row)}"
    said = _SAID.get(verdict, verdict.replace("_", " "))
    one_draw = row.get("seeds") == 1 and verdict in _ABOUT_A_DRAW
    return f"{said} for this draw" if one_draw else said


def count_of_images(row: Mapping[str, Any]) -> str:
    """How many images a verdict that leans has of those it takes: "3 of 8 images"."""
    return f"{row['images']} of {int(row['enough'])} images"


def table(found: "pd.DataFrame") -> str:
    """The verdicts as text, a line each: the primary metric first, insensitive methods first."""
    lines = [
        "verdicts (sensitive: the masks change with the weights, which does not make them faithful)"
    ]
    rows = records(found)
    width = max((len(row["method"]) for row in rows), default=0)
    words = max((len(word(row)) for row in rows), default=0)
    for metric in sorted({row["metric"]: row for row in rows}.values(), key=_not_primary):
        lines.append(f"{metric['metric']}{_role(metric)}:")
        mine = [row for row in rows if row["metric"] == metric["metric"]]
        for row in sorted(mine, key=lambda row: ORDER.index(row["verdict"])):
            lines.append(
                f"  {row['method']:<{width}}  {word(row):<{words}}  {row['evidence']}".rstrip()
            )
    return "\n".join(lines)


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame as JSON can hold them: NaN as None."""
    rows = frame.astype(object).where(frame.notna(), None)
    return rows.to_dict("records")  # type: ignore[return-value]  # its columns have names


def _not_primary(row: Mapping[str, Any]) -> bool:
    return not row.get("primary", False)


def _role(row: Mapping[str, Any]) -> str:
    """What a metric speaks for, and whether it decides."""
    about = f", of {row['speaks_for']}" if row.get("speaks_for") else ""
    decides = "decides, corrected over methods" if row.get("primary") else "beside it, uncorrected"
    return f" ({decides}{about})"
