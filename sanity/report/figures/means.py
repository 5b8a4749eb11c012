"""Means of scores by stage, with their intervals."""

import math

import numpy as np
import pandas as pd

from sanity.analysis import intervals

ORIGINAL = "original"  # what stage 0 is called


def stage_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over images and seeds with their intervals, one row a metric, method and stage.

    The intervals are those of the tables (`analysis.intervals`). Values that are not finite are
    left out, with all seeds of their image.

    Args:
        scores: Columns image, method, stage, layer, metric, value; perhaps null, seed.

    Returns:
        Columns metric, method, stage, layer, mean, null (its mean), images (that have a value),
        missing (values that are not finite), low and high (NaN below two images).

    Raises:
        ValueError: No scores; or those of several runs: two of one image, method, stage, metric and
            seed, or two layers of one stage.
    """
    if scores.empty:
        raise ValueError("there are no scores to show")
    group = ["metric", "method", "stage", "layer"]
    unit = ["metric", "method", "stage", "image"] + (["seed"] if "seed" in scores else [])
    if scores.duplicated(unit).any():
        raise ValueError(f"there are several scores of one {', '.join(unit)}: choose a run")
    if (scores.groupby("stage")["layer"].nunique() > 1).any():
        raise ValueError("there are several layers of one stage: choose a scheme")
    table = scores[[*group, "image"]].astype({key: str for key in group if key != "stage"})
    table["value"] = scores["value"].where(np.isfinite(scores["value"]))
    table["null"] = scores["null"].astype(float) if "null" in scores else np.nan
    table["missing"] = table["value"].isna()
    table["seed"] = scores["seed"].to_numpy() if "seed" in scores else 0
    originals = {
        key: part["value"].to_numpy()
        for key, part in table[table["stage"] == 0].groupby(["metric", "method"], sort=False)
    }
    parts = list(table.groupby(group, sort=False))
    tables, scales = [], []
    for (metric, method, stage, _), part in parts:
        tables.append(part.pivot(index="image", columns="seed", values="value").to_numpy())
        own = originals.get((metric, method), np.empty(0))
        scales.append(intervals.scale(part["null"].to_numpy(), own) if stage else None)
    rows = []
    for (key, part), found in zip(parts, intervals.means(tables, scales), strict=True):
        nulls = part["null"].to_numpy()
        null = float(np.nanmean(nulls)) if np.isfinite(nulls).any() else math.nan
        missing = int(part["missing"].sum())
        rows.append((*key, found.mean, null, found.images, missing, found.low, found.high))
    columns = ["mean", "null", "images", "missing", "low", "high"]
    return pd.DataFrame(rows, columns=[*group, *columns])
