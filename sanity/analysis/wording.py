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


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame as JSON can hold them: NaN as None."""
    rows = frame.astype(object).where(frame.notna(), None)
    return rows.to_dict("records")  # type: ignore[return-value]  # its columns have names
