"""How verdicts move with each threshold, and how much data a wanted width takes."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sanity.analysis import intervals
from sanity.analysis.verdict_tables import Evidence
from sanity.analysis.verdicts import Measured, early_scores, early_stages
from sanity.analysis.wording import records, word

# What is tried in place of each threshold, the others as they are.
TRIED: dict[str, tuple[float, ...]] = {
    "threshold": (0.3, 0.4, 0.5, 0.6, 0.7),
    "early": (1, 2, 3, 4, 6),
    "dead": (0.0, 0.02, 0.05, 0.1),
    "images": (3, 5, 10, 20),
    "alike": (0.7, 0.8, 0.9, 0.95),
}
_SEEDS = (1, 2, 3, 5, 10)


def by_threshold(evidence: Evidence, changes: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The verdicts by the primary metric, with each threshold moved alone.

    Args:
        evidence: Of runs of one scheme.
        changes: Of the thresholds that the runs were made with.

    Returns:
        Columns threshold (its name), value, changed (how many verdicts differ from those by the
        thresholds as they are), moved (which, as text) and one a method, its word.
    """
    measured = Measured()
    as_is = _words(evidence, changes or {}, measured)
    rows = []
    for key, values in TRIED.items():
        for value in values:
            found = _words(evidence, {**(changes or {}), key: value}, measured)
            moved = {name: said for name, said in found.items() if said != as_is[name]}
            about = {"threshold": key, "value": f"{value:g}", "changed": len(moved)}
            said = "; ".join(f"{name}: {word_}" for name, word_ in moved.items())
            rows.append({**about, "moved": said, **found})
    return pd.DataFrame(rows)


def for_width(
    evidence: Evidence, width: float, changes: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """How many images, by how many seeds, make early similarities' intervals so narrow.

    They are taken to spread as those that there are. By the primary metric.

    Args:
        evidence: Of runs of one scheme.
        width: Of the 95 % interval, from end to end.
        changes: Of the thresholds that the runs were made with.

    Returns:
        Columns method, now (the width), images, seeds (that there are) and `with N seeds` (how many
        images that takes; "–": no number is enough, or one seed cannot say how seeds differ).
    """
    found = evidence.verdicts(changes)
    rows = []
    for row in found[found["primary"] & ~found["method"].isin(evidence.controls)].to_dict(
        "records"
    ):
        mine = evidence.scores[
            (evidence.scores["method"].astype(str) == row["method"])
            & (evidence.scores["metric"].astype(str) == row["metric"])
        ]
        last = int(evidence.scores["stage"].max())
        stages = early_stages(last, evidence.thresholds(changes).early)
        values, nulls = early_scores(mine, stages)
        if len(values) < 2 or math.isnan(row["early"]):
            continue
        identity = evidence.metrics[row["metric"]].identity
        needed = {}
        for seeds in _SEEDS:
            count = intervals.images_needed(values - nulls, identity - nulls, width, seeds)
            needed[f"with {seeds} seed{'s' * (seeds > 1)}"] = "–" if count is None else str(count)
        now = f"{row['high'] - row['low']:.2f}"
        about = {"method": row["method"], "now": now}
        rows.append({**about, "images": row["images"], "seeds": row["seeds"], **needed})
    return pd.DataFrame(rows)


def _words(evidence: Evidence, changes: Mapping[str, Any], measured: Measured) -> dict[str, str]:
    """What is said of each method by the primary metric, controls left out."""
    found = evidence.verdicts(changes, measured)
    judged = found[found["primary"] & ~found["method"].isin(evidence.controls)]
    return {row["method"]: word(row) for row in records(judged)}
