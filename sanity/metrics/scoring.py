"""Scores: each randomized mask against the original one, by every metric, beside its null."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sanity.metrics.base import MaskMetric, reasons
from sanity.randomness import generator

if TYPE_CHECKING:
    import pandas as pd

Null = Literal["other_image", "shuffled"]


@dataclass(frozen=True)
class _Original:
    """What a metric keeps of a group's original masks, and of those that the null takes."""

    own: Any
    null: Any


class Scorer:
    """Compares masks with those of stage 0; what a metric keeps of an original is made once.

    The null is the score that a mask gets with an original that is not its own. `other_image`: that
    of the image before it in the run (of the first: the last one's; of a single image: its own,
    flipped left to right). `shuffled`: its own with the pixels in another order, which has the
    same marginals but none of a mask's smoothness, so it is no null for smooth masks.

    Args:
        metrics: By name.
        names: Of the run's images.
        null: Which null.
        regions: (n, H, W) bool, where a mask of each image should look; None if unknown.
    """

    def __init__(
        self,
        metrics: Mapping[str, MaskMetric],
        names: Sequence[str],
        null: Null = "other_image",
        regions: np.ndarray | None = None,
    ):
        self._metrics = metrics
        self._names = list(names)
        self._null = null
        self._regions = regions
        self._group: range | None = None
        self._originals: dict[tuple[str, str], _Original] = {}

    def score(
        self,
        group: range,
        stage: int,
        layer: str,
        masks: Mapping[str, np.ndarray],
        targets: np.ndarray,
        before: Mapping[str, np.ndarray] | None = None,
    ) -> "pd.DataFrame":
        """Rows method × metric × image of a group at a stage, as in scores.parquet.

        A group's stage 0 must come before its other stages.

        Args:
            group: Positions of its images.
            stage: The stage's index.
            layer: What is randomized there.
            masks: (n, H, W[, C]) by method.
            targets: (n,), the class explained of each.
            before: At stage 0, the original mask (1, H, W[, C]) of the image before the group's
                first, by method; where it lacks one, the group's last image is taken.
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
            foreign = self._foreign(own, names, (before or {}).get(method)) if not stage else None
            for name, metric in metrics.items():
                features = metric.features(own)
                if foreign is not None:
                    self._originals[method, name] = _Original(features, metric.features(foreign))
                original = self._originals[method, name]
                parts.append(
                    pd.DataFrame(
                        {
                            "image": names,
                            "target": targets,
                            "method": method,
                            "stage": stage,
                            "layer": layer,
                            "metric": name,
                            "value": metric.compare(original.own, features),
                            "null": metric.null(original.null, features),
                            "reason": reasons(original.own, features),
                        }
                    )
                )
        return pd.concat(parts, ignore_index=True)

    def _foreign(
        self, masks: np.ndarray, names: list[str], before: np.ndarray | None
    ) -> np.ndarray:
        """For each image of a group the original mask that its null is made with."""
        if self._null == "shuffled":
            return np.stack(
                [_shuffled(mask, name) for mask, name in zip(masks, names, strict=True)]
            )
        if len(self._names) == 1:
            return masks[:, :, ::-1]
        return np.concatenate([masks[-1:] if before is None else before, masks[:-1]])


def _shuffled(mask: np.ndarray, name: str) -> np.ndarray:
    pixels = mask.reshape(-1, *mask.shape[2:])
    return generator("shuffled_mask", name).permutation(pixels).reshape(mask.shape)
