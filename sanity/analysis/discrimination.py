"""Whether a metric discriminates: masks that hardly changed from masks of which little is left."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.relative import relative
from sanity.metrics import MaskMetric
from sanity.metrics.base import Features, all_features
from sanity.randomness import generator

if TYPE_CHECKING:
    import pandas as pd


TILE = 16  # pixels a side; less where a mask would not have four of them a side
SHARES = (0.25, 0.75)  # of tiles from another image: what is hardly changed, and what hardly stays


def blend(masks: np.ndarray, names: Sequence[str], share: float) -> np.ndarray:
    """Masks of which some tiles are those of the next image's mask (of the last: the first one's).

    With one or two images the other mask is flipped upside down, since the next image is also the
    one that the null is made with.

    Args:
        masks: (n, H, W[, C]).
        names: Of the n images: the choice of tiles is keyed by them.
        share: Of tiles from the other mask.
    """
    others = np.roll(masks, -1, axis=0)
    if len(masks) < 3:
        others = others[:, ::-1]
    chosen = np.stack([_tiles(masks.shape[1:3], name, share) for name in names])
    return np.where(chosen.reshape(*chosen.shape, *[1] * (masks.ndim - 3)), others, masks)


def discrimination(
    masks: Mapping[str, np.ndarray], names: Sequence[str], metrics: Mapping[str, MaskMetric]
) -> "pd.DataFrame":
    """What metrics make of masks that hardly changed, and of masks of which little is left.

    A metric for which masks with 25 % of their tiles from another image are not above the
    threshold is too strict to say sensitive; one for which those with 75 % are not below it is too
    lenient to say insensitive.

    Args:
        masks: Original masks (n, H, W[, C]) by method.
        names: Of the n images.
        metrics: By name; those without identity are passed over.

    Returns:
        Columns method, metric, mostly_own and mostly_other (mean similarities of the two blends,
        relative to the null as in `verdicts`).
    """
    import pandas as pd

    known = {name: metric for name, metric in metrics.items() if metric.identity is not None}
    rows = []
    for method, own in masks.items():
        several = (own, *(blend(own, names, share) for share in SHARES))
        original, *blends = (all_features(known, masks) for masks in several)
        null = _foreign(original, known, own)
        for name, metric in known.items():
            assert metric.identity is not None
            found = []
            for features in (blended[name] for blended in blends):
                values = metric.compare(original[name], features)
                nulls = metric.compare(null[name], features)
                found.append(relative(values, nulls, metric.identity).mean)
            rows.append((method, name, *found))
    return pd.DataFrame(rows, columns=["method", "metric", "mostly_own", "mostly_other"])


def _foreign(
    original: Mapping[str, Any], metrics: Mapping[str, MaskMetric], masks: np.ndarray
) -> Mapping[str, Any]:
    """What metrics keep of other masks, from what they keep of these: each is the next one's."""
    if len(masks) == 1:
        return all_features(metrics, masks[:, :, ::-1])
    order = np.roll(np.arange(len(masks)), 1)
    return {
        name: kept.take(order)
        if isinstance(kept, Features)
        else metrics[name].features(masks[order])
        for name, kept in original.items()
    }


def _tiles(shape: tuple[int, int], name: str, share: float) -> np.ndarray:
    """Which pixels (H, W) lie in the tiles chosen."""
    side = max(1, min(TILE, min(shape) // 4))
    rows, columns = (-(-length // side) for length in shape)
    order = generator("tiles", name).permutation(rows * columns)
    chosen = np.zeros(rows * columns, bool)
    chosen[order[: round(share * len(order))]] = True
    grid = chosen.reshape(rows, columns).repeat(side, 0).repeat(side, 1)
    return grid[: shape[0], : shape[1]]
