"""Reference points for verdicts, made from masks: blends, and masks of unrelated networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity import statistics
from sanity.config import Thresholds
from sanity.randomness import generator

if TYPE_CHECKING:
    import pandas as pd

TILE = 16  # pixels a side; less where a mask would not have four of them a side
SHARES = (0.25, 0.75)  # of tiles from another image: what is hardly changed, and what hardly stays
_CHUNK = 8  # masks held at a time


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


def calibrate(
    masks: Mapping[str, np.ndarray],
    names: Sequence[str],
    metrics: Mapping[str, Any],
    thresholds: Thresholds | None = None,
) -> "pd.DataFrame":
    """Whether metrics tell masks that hardly changed from masks of which little is left.

    A mask with 25 % of its tiles from another image must come out as insensitive, with 75 % as
    sensitive, each by its similarity relative to the null, as in `sanity.verdict`: by the interval,
    or by the mean where images are too few for a verdict.

    Args:
        masks: Original masks (n, H, W[, C]) by method.
        names: Of the n images.
        metrics: By name; those without identity are passed over.
        thresholds: Where sensitive ends and insensitive begins.

    Returns:
        Columns method, metric, mostly_own and mostly_other (relative similarities of the two
        blends), tells (bool).
    """
    import pandas as pd

    thresholds = thresholds or Thresholds()
    rows = []
    for method, own in masks.items():
        foreign = np.roll(own, 1, axis=0) if len(own) > 1 else own[:, :, ::-1]
        blends = [blend(own, names, share) for share in SHARES]
        for name, metric in metrics.items():
            if getattr(metric, "identity", None) is None:
                continue
            original, null = metric.features(own), metric.features(foreign)
            found = []
            for masks_blended in blends:
                features = metric.features(masks_blended)
                found.append(
                    relative(
                        metric.compare(original, features),
                        metric.compare(null, features),
                        metric.identity,
                    )
                )
            kept, lost = found
            few = len(own) < thresholds.images
            low, high = (kept.mean, lost.mean) if few else (kept.low, lost.high)
            tells = low > thresholds.threshold > high
            rows.append((method, name, kept.mean, lost.mean, bool(tells)))
    return pd.DataFrame(rows, columns=["method", "metric", "mostly_own", "mostly_other", "tells"])


def relative(values: np.ndarray, nulls: np.ndarray, identity: float) -> statistics.Estimate:
    """(value − null) / (identity − null) as a ratio of means: 1 at the identity, 0 at the null.

    Args:
        values: (images,) or (images, seeds); what has a NaN here or in the nulls is left out.
        nulls: Of the same shape.
        identity: The score of a mask with itself.

    Returns:
        NaN throughout where nothing is left, or the null is the identity. With one image the
        interval is the mean alone.
    """
    values, nulls = np.asarray(values, float), np.asarray(nulls, float)
    axes = tuple(range(1, values.ndim))
    whole = np.isfinite(values + nulls).all(axis=axes)
    values, nulls = values[whole], nulls[whole]
    below = identity - nulls
    seeds = values.shape[1] if values.ndim > 1 else 1
    if not len(values) or abs(below.mean()) < 1e-9:
        nan = float("nan")
        return statistics.Estimate(nan, nan, nan, len(values), seeds)
    found = statistics.ratio(values - nulls, below)
    if found.images == 1:
        return statistics.Estimate(found.mean, found.mean, found.mean, 1, found.seeds)
    return found


def unrelated(runs: Sequence[Path], metrics: Mapping[str, Any]) -> "pd.DataFrame | None":
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

    from sanity.load import load_masks

    stored = [load_masks(run) for run in runs if (Path(run) / "masks.zarr").exists()]
    if len(stored) < 2:
        return None
    pairs = [(stored[i], stored[i + 1]) for i in range(len(stored) - 1)]
    if len(stored) > 2:
        pairs.append((stored[-1], stored[0]))
    parts = []
    for a, b in pairs:
        images = [name for name in a.image.values.tolist() if name in set(b.image.values.tolist())]
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


def _tiles(shape: tuple[int, int], name: str, share: float) -> np.ndarray:
    """Which pixels (H, W) lie in the tiles chosen."""
    side = max(1, min(TILE, min(shape) // 4))
    rows, columns = (-(-length // side) for length in shape)
    order = generator("tiles", name).permutation(rows * columns)
    chosen = np.zeros(rows * columns, bool)
    chosen[order[: round(share * len(order))]] = True
    grid = chosen.reshape(rows, columns).repeat(side, 0).repeat(side, 1)
    return grid[: shape[0], : shape[1]]
