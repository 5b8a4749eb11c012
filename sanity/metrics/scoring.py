"""Scores: each randomized mask against the original one, by every metric, beside its null."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sanity.data import Images
from sanity.experiment.explaining import Explained
from sanity.metrics import reasons
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
        images: The run's images.
        null: Which null.
    """

    def __init__(
        self,
        metrics: Mapping[str, Any],
        images: Images,
        null: Null = "other_image",
    ):
        self._metrics = metrics
        self._images = images
        self._null = null
        self._group: range | None = None
        self._originals: dict[tuple[str, str], _Original] = {}

    def score(self, explained: Explained) -> "pd.DataFrame":
        """Rows method × metric × image of a group at a stage, as in scores.parquet.

        A group's stage 0 must come before its other stages.
        """
        import pandas as pd

        stage, group = explained.stage, explained.group
        if stage.index == 0:
            self._group = group
        elif self._group != group:
            raise RuntimeError(f"stage {stage.index} of {group} came before its stage 0")
        names = [self._images.names[i] for i in group]
        some = self._images.take(group)
        metrics = {k: m.of(some) if hasattr(m, "of") else m for k, m in self._metrics.items()}
        parts = []
        for method, masks in explained.masks.items():
            foreign = self._foreign(explained, method, names) if stage.index == 0 else None
            for name, metric in metrics.items():
                features = metric.features(masks)
                if foreign is not None:
                    self._originals[method, name] = _Original(features, metric.features(foreign))
                original = self._originals[method, name]
                null = getattr(metric, "null", metric.compare)
                parts.append(
                    pd.DataFrame(
                        {
                            "image": names,
                            "target": explained.targets,
                            "method": method,
                            "stage": stage.index,
                            "layer": stage.layer,
                            "metric": name,
                            "value": metric.compare(original.own, features),
                            "null": null(original.null, features),
                            "reason": reasons(original.own, features),
                        }
                    )
                )
        return pd.concat(parts, ignore_index=True)

    def _foreign(self, explained: Explained, method: str, names: list[str]) -> np.ndarray:
        """For each image of a group the original mask that its null is made with."""
        masks = explained.masks[method]
        if self._null == "shuffled":
            return np.stack(
                [_shuffled(mask, name) for mask, name in zip(masks, names, strict=True)]
            )
        if len(self._images) == 1:
            return masks[:, :, ::-1]
        before = explained.before.get(method, masks[-1:])
        return np.concatenate([before, masks[:-1]])


def _shuffled(mask: np.ndarray, name: str) -> np.ndarray:
    pixels = mask.reshape(-1, *mask.shape[2:])
    return generator("shuffled_mask", name).permutation(pixels).reshape(mask.shape)
