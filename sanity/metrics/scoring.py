"""Scores: each randomized mask against the original one, by every metric, beside its null."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sanity.metrics.base import Features, MaskMetric, reasons
from sanity.randomness import generator

if TYPE_CHECKING:
    import pandas as pd

Null = Literal["other_image", "shuffled"]


@dataclass(frozen=True)
class References:
    """Original masks of a few other images, which nulls are made with.

    Attributes:
        names: Of the K images.
        masks: (K, H, W[, C]) by method.
        allowed: (n, K) bool, which of them each of the run's n images is held against.
    """

    names: list[str]
    masks: Mapping[str, np.ndarray]
    allowed: np.ndarray


class Scorer:
    """Compares masks with those of stage 0; what a metric keeps of an original is made once.

    The null is the score that a mask gets with an original that is not its own. `other_image`: the
    mean over the references that are allowed to it; of a single image its own mask, flipped left to
    right. `shuffled`: its own with the pixels in another order, which has the same marginals but
    none of a mask's smoothness, so it is no null for smooth masks.

    Args:
        metrics: By name.
        names: Of the run's images.
        null: Which null.
        regions: (n, H, W) bool, where a mask of each image should look; None if unknown.
        references: For the null `other_image`; without them, or where an image is allowed none, it
            is NaN, unless there is a single image.
    """

    def __init__(
        self,
        metrics: Mapping[str, MaskMetric],
        names: Sequence[str],
        null: Null = "other_image",
        regions: np.ndarray | None = None,
        references: References | None = None,
    ):
        self._metrics = metrics
        self._names = list(names)
        self._null = null
        self._regions = regions
        self._references = references
        self._group: range | None = None
        self._originals: dict[tuple[str, str], Any] = {}  # what a metric keeps of the group's
        self._altered: dict[tuple[str, str], Any] = {}  # and of those flipped or shuffled
        self._foreign: dict[tuple[str, str], Any] = {}  # and of the references

    def score(
        self,
        group: range,
        stage: int,
        layer: str,
        masks: Mapping[str, np.ndarray],
        targets: np.ndarray,
    ) -> "pd.DataFrame":
        """Rows method × metric × image of a group at a stage, as in scores.parquet.

        A group's stage 0 must come before its other stages.

        Args:
            group: Positions of its images.
            stage: The stage's index.
            layer: What is randomized there.
            masks: (n, H, W[, C]) by method.
            targets: (n,), the class explained of each.
        """
        import pandas as pd

        if stage == 0:
            self._group = group
        elif self._group != group:
            raise RuntimeError(f"stage {stage} of {group} came before its stage 0")
        names = [self._names[i] for i in group]
        regions = None if self._regions is None else self._regions[list(group)]
        metrics = {name: metric.of(regions) for name, metric in self._metrics.items()}
        parts = []
        for method, own in masks.items():
            altered = self._alter(own, names) if not stage else None
            for name, metric in metrics.items():
                key = method, name
                features = metric.features(own)
                if not stage:
                    self._originals[key] = features
                    if altered is not None:
                        self._altered[key] = metric.features(altered)
                parts.append(
                    pd.DataFrame(
                        {
                            "image": names,
                            "target": targets,
                            "method": method,
                            "stage": stage,
                            "layer": layer,
                            "metric": name,
                            "value": metric.compare(self._originals[key], features),
                            "null": self._nulls(key, metric, group, features),
                            "reason": reasons(self._originals[key], features),
                        }
                    )
                )
        return pd.concat(parts, ignore_index=True)

    def _alter(self, masks: np.ndarray, names: list[str]) -> np.ndarray | None:
        """What nulls are made with that need no other image's mask; None where they do."""
        if self._null == "shuffled":
            shuffled = map(_shuffle, masks, names)
            return np.stack(list(shuffled))
        return masks[:, :, ::-1] if len(self._names) == 1 and self._references is None else None

    def _nulls(
        self, key: tuple[str, str], metric: MaskMetric, group: range, features: Any
    ) -> np.ndarray:
        """The nulls (n,) of a group's masks, of which the metric keeps `features`."""
        if metric.needs_regions:  # a mask's own region is its null, and no other's mask
            return metric.null(self._originals[key], features)
        if key in self._altered:
            return metric.null(self._altered[key], features)
        references, n = self._references, len(group)
        if references is None or key[0] not in references.masks:
            return np.full(n, np.nan)
        allowed = references.allowed[list(group)]
        total, count = np.zeros(n), np.zeros(n)
        for k, mask in enumerate(references.masks[key[0]]):
            which = np.flatnonzero(allowed[:, k])
            if not len(which):
                continue
            if isinstance(features, Features):
                if key not in self._foreign:
                    self._foreign[key] = metric.features(references.masks[key[0]])
                other, some = self._foreign[key].take([k] * len(which)), features.take(which)
                null = metric.null(other, some)
            else:  # whose features cannot be cut
                null = metric.null(metric.features(np.repeat(mask[None], n, axis=0)), features)
                null = null[which]
            finite = np.isfinite(null)
            total[which] += np.where(finite, null, 0)
            count[which] += finite
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _shuffle(mask: np.ndarray, name: str) -> np.ndarray:
    pixels = mask.reshape(-1, *mask.shape[2:])
    return generator("shuffled_mask", name).permutation(pixels).reshape(mask.shape)
