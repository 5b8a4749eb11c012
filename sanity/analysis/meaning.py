"""What the verdicts of a run mean, in a sentence."""

from collections.abc import Mapping, Sequence
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
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdicts import early_stages
from sanity.analysis.wording import records

if TYPE_CHECKING:
    import pandas as pd

_MOST = 4  # names in a list; of more the first two are said
# What is said of one method, and of several.
_SAID = {
    INSENSITIVE: (
        "keeps its masks though the last layers are random: it does not show what they learned",
        "keep their masks though the last layers are random: they do not show what those learned",
    ),
    SENSITIVE: (
        "changes with the weights, which does not make it faithful",
        "change with the weights, which does not make them faithful",
    ),
    DEPENDS: ("changes by one metric and not by another", "change by one metric and not another"),
    ALIKE: ("paints the same for every image", "paint the same for every image"),
    INCONCLUSIVE: ("cannot be told yet", "cannot be told yet"),
    INVALID: ("cannot be judged", "cannot be judged"),
}


def meaning(found: "pd.DataFrame") -> str:
    """A sentence on what the methods do, by the primary metric; "" where none has a verdict.

    Verdicts that lean are taken for what they lean to, and said apart.

    Args:
        found: Verdicts, see `analysis.verdicts.verdicts`.
    """
    rows = [row for row in records(found) if row["primary"] and row["verdict"] != NONE]
    leaning = [row for row in rows if row.get("leans")]
    sentences = [_sentence([row for row in rows if not row.get("leans")])]
    if leaning:
        few = max(row["images"] for row in leaning)
        images = "one image" if few == 1 else f"{few} images"
        sentences.append(f"As far as {images} can tell, {_sentence(leaning)}")
    return " ".join(filter(None, sentences))


def _sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[str, list[str]] = {verdict: [] for verdict in _SAID}
    for row in rows:
        groups[row.get("leans") or row["verdict"]].append(row["method"])
    parts = [_part(names, _SAID[verdict]) for verdict, names in groups.items() if names]
    return "; ".join(parts) + "." if parts else ""


def _part(names: Sequence[str], said: tuple[str, str]) -> str:
    return f"{listed(names)} {said[len(names) > 1]}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: "a, b and c"; of many the first two."""
    if len(names) > _MOST:
        names = [*names[:2], f"{len(names) - 2} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def holds_for_all(rows: Sequence[Mapping[str, Any]], last: int, thresholds: Thresholds) -> str:
    """What the similarities of a table of verdicts have in common, and how they are read.

    Args:
        rows: Of one metric.
        last: How many randomized stages there are.
        thresholds: The verdicts'.
    """
    early = early_stages(last, thresholds.early)
    stages = "stage 1" if len(early) == 1 else f"stages 1–{len(early)}"
    stages = f"early {stages}" if len(early) < last else stages
    images = counted([row["images"] for row in rows if row["images"]], "image")
    draws = counted([row["seeds"] for row in rows if row["seeds"]], "draw")
    several = any(row["images"] > 1 for row in rows)
    return (
        f"by {rows[0]['metric']} over {stages} of {last}; {images}, {draws} of the weights"
        f"{'; 95 % intervals, wide while images are few' if several else ''}. 0: as alike as "
        f"masks of different images, 1: unchanged; insensitive is above {thresholds.threshold:g}"
    )


def counted(counts: Sequence[int], what: str) -> str:
    """How many: "5 images", "4 to 5 images", "one draw"."""
    few, many = min(counts, default=0), max(counts, default=0)
    if many == 1 == few:
        return f"one {what}"
    return f"{few} {what}s" if few == many else f"{few} to {many} {what}s"
