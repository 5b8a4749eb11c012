"""Means of scores by stage, with their intervals."""

import math

import numpy as np
import pandas as pd

from sanity.analysis import intervals


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
    seeds = scores["seed"] if "seed" in scores else np.zeros(len(scores))
    number = table.groupby(group, sort=False).ngroup().to_numpy()
    keys = list(table.drop_duplicates(group)[group].itertuples(index=False, name=None))
    where = number, pd.factorize(table["image"])[0], pd.factorize(seeds)[0]
    shape = tuple(int(codes.max()) + 1 for codes in where)
    values, nulls = np.full(shape, np.nan), np.full(shape, np.nan)
    present = np.zeros(shape, bool)
    value = scores["value"].to_numpy(float)
    values[where] = np.where(np.isfinite(value), value, np.nan)
    nulls[where] = scores["null"].to_numpy(float) if "null" in scores else np.nan
    present[where] = True
    originals = {key[:2]: values[k] for k, key in enumerate(keys) if key[2] == 0}
    none = np.empty(0)
    scales = [
        intervals.scale(nulls[k], originals.get(key[:2], none)) if key[2] else None
        for k, key in enumerate(keys)
    ]
    tables = [values[k][:, present[k].any(axis=0)] for k in range(len(keys))]
    rows = []
    for k, found in enumerate(intervals.means(tables, scales)):
        null = float(np.nanmean(nulls[k])) if np.isfinite(nulls[k]).any() else math.nan
        missing = int((present[k] & np.isnan(values[k])).sum())
        rows.append((*keys[k], found.mean, null, found.images, missing, found.low, found.high))
    columns = ["mean", "null", "images", "missing", "low", "high"]
    return pd.DataFrame(rows, columns=[*group, *columns])
