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
_A_CONTROL = "a control"  # why it has no verdict


def word(row: Mapping[str, Any]) -> str:
    """A verdict as it is read, in the terminal, on the page and in tables alike.

    An inconclusive one that only lacks images says where it leans, and how many it takes. Of how
    many draws of the weights it is holds for a whole table, and is said beside it.

    Args:
        row: Of a table of verdicts.
    """
    verdict = str(row["verdict"])
    if verdict == NONE:
        return "– (control)" if is_control(row) else "no verdict"
    if verdict == INCONCLUSIVE and row.get("leans"):
        said = "may depend on the metric" if row["leans"] == DEPENDS else f"leans {row['leans']}"
        return f"{said}, {count_of_images(row)}"
    return _SAID.get(verdict, verdict.replace("_", " "))


def is_control(row: Mapping[str, Any]) -> bool:
    """Whether a row of a table of verdicts is a control's."""
    return bool(row["verdict"] == NONE and str(row.get("evidence", "")).startswith(_A_CONTROL))


def count_of_images(row: Mapping[str, Any]) -> str:
    """How many images a verdict that leans has of those it takes: "3 of 8 images"."""
    return f"{row['images']} of {int(row['enough'])} images"


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame as JSON can hold them: NaN as None."""
    rows = frame.astype(object).where(frame.notna(), None)
    return rows.to_dict("records")  # type: ignore[return-value]  # its columns have names
