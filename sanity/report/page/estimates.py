"""What a page shows of scores: means by stage, and early similarities image by image."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sanity.analysis import intervals
from sanity.report.page.data import Curve, Each

MOST_DOTS = 200  # images of which a method's early similarities are carried one by one


@dataclass(frozen=True)
class Table:
    """Scores of runs that differ in their seed and their images alone, as one array.

    Attributes:
        metrics: Names.
        methods: Names.
        images: Names.
        values: (metrics, methods, stages, images, seeds); NaN where there is none or not finite.
        nulls: Of the same shape.
        present: Of the same shape: whether there is a score, be it finite or not.
    """

    metrics: list[str]
    methods: list[str]
    images: list[str]
    values: np.ndarray
    nulls: np.ndarray
    present: np.ndarray

    @classmethod
    def of(
        cls,
        scores: pd.DataFrame,
        seeds: pd.Series,
        metrics: Sequence[str],
        methods: Sequence[str],
        stages: int,
    ) -> "Table":
        """The table of some scores.

        Args:
            scores: As in scores.parquet.
            seeds: Of each row.
            metrics: Whose scores.
            methods: Whose scores.
            stages: How many.
        """
        image_codes, images = pd.factorize(scores["image"].astype(str))
        codes = [
            code(scores["metric"], metrics),
            code(scores["method"], methods),
            scores["stage"].to_numpy(),
            image_codes,
            pd.factorize(seeds)[0],
        ]
        known = (codes[0] >= 0) & (codes[1] >= 0)
        where: tuple[Any, ...] = tuple(c[known][::-1] for c in codes)  # of doubles, the first
        shape = (len(metrics), len(methods), stages, len(images), int(codes[4].max(initial=-1)) + 1)
        values, nulls = np.full(shape, np.nan), np.full(shape, np.nan)
        present = np.zeros(shape, bool)
        value = scores["value"].to_numpy(float)[known][::-1]
        values[where] = np.where(np.isfinite(value), value, np.nan)
        nulls[where] = scores["null"].to_numpy(float)[known][::-1]
        present[where] = True
        return cls(list(metrics), list(methods), list(images), values, nulls, present)

    def curves(self) -> dict[str, dict[str, Curve]]:
        """Means over images and seeds with their 95 % intervals, by metric and method."""
        places = np.argwhere(self.present.any(axis=(2, 3, 4))).tolist()
        stages = self.values.shape[2]
        tables, scales = [], []
        for i, j in places:
            values, nulls = self.values[i, j], self.nulls[i, j]
            tables += list(values)
            scales += [None, *(intervals.scale(nulls[k], values[0]) for k in range(1, stages))]
        means = intervals.means(tables, scales)
        found: dict[str, dict[str, Curve]] = {}
        for number, (i, j) in enumerate(places):
            own = means[number * stages : (number + 1) * stages]
            one = _curve(self.values[i, j], self.nulls[i, j], self.present[i, j], own)
            found.setdefault(self.metrics[i], {})[self.methods[j]] = one
        return found

    def each(
        self, identities: Mapping[str, float | None], early: int
    ) -> dict[str, dict[str, Each]]:
        """Early similarities image by image, by metric and method.

        Args:
            identities: What a mask has with itself, by metric.
            early: The early stages are 1 to this one.
        """
        found: dict[str, dict[str, Each]] = {}
        for i, metric in enumerate(self.metrics):
            identity = identities.get(metric)
            for j, method in enumerate(self.methods if identity is not None and early else ()):
                both = [
                    table[i, j, 1 : early + 1].mean(axis=0) for table in (self.values, self.nulls)
                ]
                whole = np.flatnonzero(np.isfinite(both[0] + both[1]).all(axis=1))
                values, nulls = (table[whole].mean(axis=1) for table in both)
                below = float((identity - nulls).mean()) if len(whole) else 0.0
                if abs(below) < 1e-9:
                    continue
                order = np.argsort((values - nulls) / below, kind="stable")
                if len(order) > MOST_DOTS:
                    order = order[np.linspace(0, len(order) - 1, MOST_DOTS).round().astype(int)]
                found.setdefault(metric, {})[method] = {
                    "image": whole[order].tolist(),
                    "value": ((values - nulls) / below)[order].tolist(),
                }
        return found


def _curve(
    values: np.ndarray,
    nulls: np.ndarray,
    present: np.ndarray,
    means: Sequence[intervals.Estimate],
) -> Curve:
    """Of one method and metric, arrays (stages, images, seeds); the means are by stage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of stages without a null
        null = np.nanmean(nulls, axis=(1, 2))
    return {
        "mean": [one.mean for one in means],
        "low": [one.low for one in means],
        "high": [one.high for one in means],
        "null": null.tolist(),
        "images": [one.images for one in means],
        "missing": (present & np.isnan(values)).sum(axis=(1, 2)).tolist(),
    }


def code(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """The number of each value in the names, -1 for others."""
    return pd.Index(names).get_indexer(pd.Index(column.astype(str)))
