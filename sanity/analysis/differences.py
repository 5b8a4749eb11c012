"""What differs between two runs, and how much."""

import json
from pathlib import Path

import pandas as pd

from sanity.analysis import intervals
from sanity.analysis.schemes import load_schemes
from sanity.errors import ConfigError
from sanity.results.columns import flatten
from sanity.results.recorded import configuration


def differing_keys(a: Path, b: Path) -> list[tuple[str, str, str]]:
    """Key and both values, as JSON, "–" where there is no such key, of what differs."""
    left, right = flatten(configuration(a)), flatten(configuration(b))
    rows = []
    for key in dict.fromkeys([*left, *right]):
        old, new = (json.dumps(side[key]) if key in side else "–" for side in (left, right))
        if old != new:
            rows.append((key, old, new))
    return rows


def differences(a: Path, b: Path) -> pd.DataFrame:
    """How much the scores of two runs differ, b - a, one row a metric and method in both.

    Returns:
        Columns metric, method, mean (over randomized stages and images, of the difference), low,
        high, p (of no difference, corrected by Holm for the number of rows), largest (absolute
        difference of any one score), images.

    Raises:
        ConfigError: A run is not completed, they share no scores, or at a stage that they share
            other layers are randomized.
    """
    keys = ["metric", "method", "image", "stage"]
    columns = [*keys, "layer", "value"]
    kinds = {key: str for key in ("metric", "method", "image", "layer")}
    sides = [load_schemes([run])[columns].astype(kinds) for run in (a, b)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("_a", "_b"))
    if both.empty:
        raise ConfigError(f"{a} and {b} share no image, method, stage and metric")
    elsewhere = both[both["layer_a"] != both["layer_b"]]
    if len(elsewhere):
        stage, one, other = elsewhere[["stage", "layer_a", "layer_b"]].iloc[0]
        raise ConfigError(
            f"the scores cannot be paired: at stage {stage} {a} randomizes {one}, {b} {other}"
        )
    rows = []
    for (metric, method), part in both.groupby(["metric", "method"], sort=False):
        apart = (part["value_b"] - part["value_a"]).abs()
        later = part[part["stage"] > 0].groupby("image")[["value_a", "value_b"]].mean()
        estimate, p = intervals.difference(later["value_b"].to_numpy(), later["value_a"].to_numpy())
        rows.append(
            (metric, method, estimate.mean, estimate.low, estimate.high, p, apart.max())
            + (estimate.images,)
        )
    columns = ["metric", "method", "mean", "low", "high", "p", "largest", "images"]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = intervals.holm(table["p"].tolist())
    return table
