"""Metrics that know where a mask should look."""

from typing import ClassVar, Literal

import numpy as np

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.metrics.base import Features, MaskMetric, Range
from sanity.metrics.preparation import Preparation


@checked
class RegionShare(MaskMetric):
    """Share of a mask's attribution, in absolute values, inside the region the label depends on.

    In [0, 1]; chance is the region's share of the pixels, which scores.parquet has as `null`. It
    measures a mask by itself: the original one plays no part, and has its share in stage 0's row.

    Attributes:
        channels: To one channel by the sum of absolute values or by the absolute value of the sum.
    """

    channels: Literal["sum_abs", "sum"] = "sum_abs"

    needs_regions: ClassVar[bool] = True
    range: ClassVar[Range] = (0.0, 1.0)

    def check_regions(self, known: bool, data: str) -> None:
        """Refuses data whose images come without regions (ConfigError)."""
        if not known:
            raise _refused(data)

    def of(self, regions: np.ndarray | None) -> "SharesOf":
        """The metric of masks of n images with these regions (n, H, W).

        Raises:
            ConfigError: They are unknown.
        """
        if regions is None:
            raise _refused("these images")
        return SharesOf(self, regions)

    def features(self, masks: np.ndarray) -> Features:
        """It has none before it knows the regions, see `of`."""
        raise _refused("masks alone")

    def compare(self, a: Features, b: Features) -> np.ndarray:
        """It has none before it knows the regions, see `of`."""
        raise _refused("masks alone")


class SharesOf(MaskMetric):
    """`RegionShare` of the masks of n images, with their regions (n, H, W), bool."""

    needs_regions: ClassVar[bool] = True

    def __init__(self, metric: RegionShare, regions: np.ndarray):
        self._prepare = Preparation(channels=metric.channels, sign="abs").prepare
        self._regions = regions

    def features(self, masks: np.ndarray) -> Features:
        """The share (n,) of each mask (n, H, W[, C])."""
        prepared, problems = self._prepare(np.asarray(masks))
        planes = prepared[:, 0]
        total = planes.sum(axis=(1, 2))
        inside = np.where(self._regions, planes, 0).sum(axis=(1, 2))
        share = inside / np.where(problems == "", total, 1)
        return Features({"share": share}, problems)

    def compare(self, a: Features, b: Features) -> np.ndarray:
        """The shares of `b`, NaN where it or the original mask has a problem: (n,)."""
        good = (a.problems == "") & (b.problems == "")
        return np.where(good, b.parts["share"], np.nan)

    def null(self, a: Features, b: Features) -> np.ndarray:
        """The share of attribution spread evenly: the region's share of the pixels, (n,)."""
        good = (a.problems == "") & (b.problems == "")
        return np.where(good, self._regions.mean(axis=(1, 2)), np.nan)


def _refused(what: str) -> ConfigError:
    return ConfigError(
        "metric=region_share needs images whose relevant region is known, which is not so for "
        f"{what}: choose data=two_regions"
    )
