"""What every metric has in common: features of masks, and scores from features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from sanity.checked import checked
from sanity.metrics.preparation import Preparation

Parts = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Features:
    """What a metric keeps of n masks.

    Attributes:
        parts: Arrays by name, the masks along the first axis.
        problems: (n,) str, why a mask has no score, "" if it has one; by default all have one.
    """

    parts: Parts
    problems: np.ndarray = field(default_factory=lambda: np.empty(0, object))

    def __post_init__(self) -> None:
        if not len(self.problems):
            n = len(next(iter(self.parts.values())))
            object.__setattr__(self, "problems", np.full(n, "", object))

    def __len__(self) -> int:
        return len(self.problems)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Features":
        """The features of some of the masks, in the order of the indices."""
        rows = np.asarray(indices, np.intp)
        return Features({k: v[rows] for k, v in self.parts.items()}, self.problems[rows])


def score(metric: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The metric of masks `a` with masks `b`, each (n, H, W[, C]): (n,) float64."""
    return metric.compare(metric.features(a), metric.features(b))


def reasons(*features: Any) -> list[str]:
    """Why each image has no score, by what is wrong with the first of its masks; "" if it has one.

    Args:
        features: What is compared, of n masks each: the originals and the randomized ones.
    """
    problems = [f.problems for f in features if hasattr(f, "problems")]
    if not problems:
        return [""] * len(features[0])
    return [next(filter(None, image), "") for image in zip(*problems, strict=True)]


def check_sizes(metrics: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Lets metrics refuse masks that are too small for them, before any is computed.

    Args:
        metrics: By name; one without a `check` takes all.
        shape: Of a mask or image, (H, W) or (H, W, C).

    Raises:
        ConfigError: A metric's windows or cells do not fit.
    """
    for name, metric in metrics.items():
        if hasattr(metric, "check"):
            metric.check(shape, f"metric.{name}")


@checked
class Metric(Preparation):
    """Prepares masks and compares what it keeps of them; NaN where a mask has a problem."""

    identity: ClassVar[float | None] = None

    def features(self, masks: np.ndarray) -> Features:
        """What is kept of masks (n, H, W[, C]).

        Raises:
            ConfigError: The masks are too small.
        """
        masks = np.asarray(masks)
        if masks.ndim not in (3, 4):
            raise ValueError(f"masks must be (n, H, W) or (n, H, W, C), not {masks.shape}")
        self.check(masks.shape[1:], type(self).__name__)
        prepared, problems = self.prepare(masks)
        return Features(self.parts(prepared), problems)

    def compare(self, a: Features, b: Features) -> np.ndarray:
        """The similarity of each mask of `a` with the one at the same place in `b`, (n,)."""
        if len(a) != len(b):
            raise ValueError(f"{len(a)} masks cannot be compared with {len(b)}")
        values = np.full(len(a), np.nan)
        good = (a.problems == "") & (b.problems == "")
        if not good.all():
            a, b = a.take(np.flatnonzero(good)), b.take(np.flatnonzero(good))
        if good.any():
            values[good] = self.similarity(a.parts, b.parts)
        return values

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """What is kept of prepared masks (n, C, H, W), arrays (n, …); all zeros is a valid mask."""
        raise NotImplementedError

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The scores (n,) from what was kept of n masks each, none of which has a problem."""
        raise NotImplementedError
