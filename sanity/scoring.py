"""Scores: each randomized mask against the original one, by every metric."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.data import Images
from sanity.explain import Explained
from sanity.metrics import reasons

if TYPE_CHECKING:
    import pandas as pd


class Scorer:
    """Compares masks with those of stage 0; what a metric keeps of an original is made once.

    Args:
        metrics: By name.
    """

    def __init__(self, metrics: Mapping[str, Any]):
        self._metrics = metrics
        self._group: range | None = None
        self._originals: dict[tuple[str, str], Any] = {}

    def score(self, explained: Explained, images: Images, targets: np.ndarray) -> "pd.DataFrame":
        """Rows method × metric × image of a group at a stage, as in scores.parquet.

        A group's stage 0 must come before its other stages.
        """
        import pandas as pd

        stage, group = explained.stage, explained.group
        if stage.index == 0:
            self._group = group
        elif self._group != group:
            raise RuntimeError(f"stage {stage.index} of {group} came before its stage 0")
        parts = []
        for method, masks in explained.masks.items():
            for name, metric in self._metrics.items():
                features = metric.features(masks)
                if stage.index == 0:
                    self._originals[method, name] = features
                original = self._originals[method, name]
                parts.append(
                    pd.DataFrame(
                        {
                            "image": [images.names[i] for i in group],
                            "target": targets[group],
                            "method": method,
                            "stage": stage.index,
                            "layer": stage.layer,
                            "metric": name,
                            "value": metric.compare(original, features),
                            "null": np.nan,
                            "reason": reasons(original, features),
                        }
                    )
                )
        return pd.concat(parts, ignore_index=True)
