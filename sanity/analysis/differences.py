"""What differs between two runs, and how much."""

import json
from collections import Counter
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
        Columns metric, method, mean (over randomized stages and images, of the difference; of
        images that have all of these in both), low, high, p (of no difference, corrected by Holm
        for the number of rows), largest (absolute difference of any one score), images, alone (how
        many scores one of the two has and the other has not).

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
    alone = _alone(*sides)
    rows = []
    for (metric, method), part in both.groupby(["metric", "method"], sort=False):
        apart = (part["value_b"] - part["value_a"]).abs()
        by_image = part[part["stage"] > 0].groupby("image")[["value_a", "value_b"]]
        whole = by_image.count().eq(by_image.size(), axis="index")
        later = by_image.mean().where(whole)  # or A's and B's would be over other stages
        estimate, p = intervals.difference(later["value_b"].to_numpy(), later["value_a"].to_numpy())
        rows.append(
            (metric, method, estimate.mean, estimate.low, estimate.high, p, apart.max())
            + (estimate.images, alone.get(f"{metric} {method}", 0))
        )
    columns = ["metric", "method", "mean", "low", "high", "p", "largest", "images", "alone"]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = intervals.holm(table["p"].tolist())
    return table


def _alone(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, int]:
    """How many scores, by "METRIC METHOD", are in one of two tables and not in the other."""
    keys = ["metric", "method", "image", "stage"]
    known = [side.loc[side["value"].notna(), keys] for side in (a, b)]
    joined = known[0].merge(known[1], how="outer", indicator="found")
    one = joined[joined["found"] != "both"]
    return dict(Counter(one["metric"] + " " + one["method"]))
