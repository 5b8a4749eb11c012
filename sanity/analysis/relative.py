"""Similarity relative to what unrelated masks have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sanity.analysis import intervals
from sanity.metrics.base import Described, MaskMetric

if TYPE_CHECKING:
    import pandas as pd


_CHUNK = 8  # masks held at a time


def relative(values: np.ndarray, nulls: np.ndarray, identity: float) -> intervals.Estimate:
    """(value − null) / (identity − null) as a ratio of means: 1 at the identity, 0 at the null.

    Args:
        values: (images,) or (images, seeds); what has a NaN here or in the nulls is left out.
        nulls: Of the same shape.
        identity: The score of a mask with itself.

    Returns:
        NaN throughout where nothing is left, or the null is the identity; of one image, no
        interval.
    """
    values, nulls = np.asarray(values, float), np.asarray(nulls, float)
    axes = tuple(range(1, values.ndim))
    whole = np.isfinite(values + nulls).all(axis=axes)
    values, nulls = values[whole], nulls[whole]
    below = identity - nulls
    seeds = values.shape[1] if values.ndim > 1 else 1
    if not len(values) or abs(below.mean()) < 1e-9:
        nan = float("nan")
        return intervals.Estimate(nan, nan, nan, len(values), seeds)
    return intervals.ratio(values - nulls, below)


def alikeness(score: float, metric: Described | None) -> float:
    """Where a score lies between that of unrelated masks, 0, and that of equal ones, 1.

    NaN where the metric does not say what unrelated masks score (`unrelated`).
    """
    if metric is None or metric.identity is None or metric.unrelated in (None, metric.identity):
        return float("nan")
    return float((score - metric.unrelated) / (metric.identity - metric.unrelated))


def unrelated(runs: Sequence[Path], metrics: Mapping[str, MaskMetric]) -> "pd.DataFrame | None":
    """Scores between the last stages of runs that differ in their seed alone.

    What two unrelated random networks' masks of one image have in common is what architecture and
    input alone give.

    Args:
        runs: Folders with stored masks; each is compared with the next.
        metrics: By name.

    Returns:
        Columns method, metric, image, value (mean over pairs); None if fewer than two runs have
        masks.
    """
    import pandas as pd

    from sanity.results.load import load_masks

    stored = [load_masks(run) for run in runs if (Path(run) / "masks.zarr").exists()]
    if len(stored) < 2:
        return None
    pairs = [(stored[i], stored[i + 1]) for i in range(len(stored) - 1)]
    if len(stored) > 2:
        pairs.append((stored[-1], stored[0]))
    parts = []
    for a, b in pairs:
        there = set(b.image.values.tolist())
        images = [name for name in a.image.values.tolist() if name in there]
        for method in [name for name in a.data_vars if name in b.data_vars]:
            for start in range(0, len(images), _CHUNK):
                some = images[start : start + _CHUNK]
                x, y = (d[method].sel(image=some).isel(stage=-1).values for d in (a, b))
                for name, metric in metrics.items():
                    values = metric.compare(metric.features(x), metric.features(y))
                    parts.append(
                        pd.DataFrame(
                            {"method": method, "metric": name, "image": some, "value": values}
                        )
                    )
    if not parts:
        return None
    keys = ["method", "metric", "image"]
    return pd.concat(parts).groupby(keys, sort=False)["value"].mean().reset_index()
