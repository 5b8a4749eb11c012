"""Scores: each randomized mask against the original one, by every metric, beside its null."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sanity.checked import own_code, read_only
from sanity.contents import is_own, untouched
from sanity.errors import ConfigError
from sanity.metrics.base import Features, MaskMetric, all_features, one_number_each, reasons
from sanity.metrics.own import check_apart
from sanity.randomness import generator

if TYPE_CHECKING:
    import pandas as pd

Null = Literal["other_image", "shuffled"]
_CACHED = 2**19  # bytes of masks in float32; scoring needs some ten times as much
_ROUNDING = 1e-5  # of a score
NO_NUMBER = "the metric gives no finite number"
_Score = tuple[np.ndarray, np.ndarray, list[str]]  # (n,) each: values, nulls, reasons


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
        # Metrics of one's own whose scores were not looked at yet, as they were before.
        self._own = {name: untouched(metric) for name, metric in metrics.items() if is_own(metric)}
        self._group: range | None = None
        self._originals: dict[tuple[str, int], _Kept] = {}  # by method and first image
        self._foreign: dict[str, Mapping[str, Any]] = {}  # and of the references, by method

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
            self._originals.clear()
        elif self._group != group:
            raise RuntimeError(f"stage {stage} of {group} came before its stage 0")
        n, count = len(group), len(self._metrics)
        values, nulls = np.empty((2, len(masks), count, n))
        why = np.empty((len(masks), count, n), object)
        for row, (method, own) in enumerate(masks.items()):
            for some in _parts(own):
                found = self._score_some(group[some], stage, method, own[some])
                for column, (value, null, reason) in enumerate(found):
                    values[row, column, some] = value
                    nulls[row, column, some] = null
                    why[row, column, some] = reason
        names = np.array([self._names[i] for i in group], object)
        return pd.DataFrame(
            {
                "image": np.tile(names, len(masks) * count),
                "target": np.tile(targets, len(masks) * count),
                "method": np.repeat(np.array(list(masks), object), count * n),
                "stage": stage,
                "layer": layer,
                "metric": np.tile(np.repeat(np.array(list(self._metrics), object), n), len(masks)),
                "value": values.ravel(),
                "null": nulls.ravel(),
                "reason": why.ravel(),
            }
        )

    def _score_some(self, group: range, stage: int, method: str, masks: np.ndarray) -> list[_Score]:
        """Value, null and reason of a few masks, metric by metric.

        Masks that are still the original ones, as of controls, have the original's.
        """
        key = method, group.start
        kept = self._originals.get(key)
        if stage and kept is not None and _are_same(masks, kept.masks):
            return kept.scores
        found = list(self._scores(group, stage, method, masks))
        if not stage:
            self._originals[key].scores.extend(found)
        return found

    def _scores(self, group: range, stage: int, method: str, masks: np.ndarray) -> Iterator[_Score]:
        regions = None if self._regions is None else self._regions[list(group)]
        metrics = {name: metric.of(regions) for name, metric in self._metrics.items()}
        features = all_features(metrics, masks)
        key = method, group.start
        if not stage:
            altered = self._alter(masks, [self._names[i] for i in group])
            self._originals[key] = _Kept(
                masks, features, {} if altered is None else all_features(metrics, altered)
            )
        kept = self._originals[key]
        for name, metric in metrics.items():
            values = _compare(name, metric.compare, kept.own[name], features[name], len(group))
            _check_scale(name, metric, values, itself=not stage)
            if stage and name in self._own:
                own = self._own.pop(name)
                check_apart(name, own, kept.masks, masks, regions, values)
            nulls = self._nulls(method, name, metric, group, features[name], kept)
            yield _finite(values), _finite(nulls), _why(values, kept.own[name], features[name])

    def _alter(self, masks: np.ndarray, names: list[str]) -> np.ndarray | None:
        """What nulls are made with that need no other image's mask; None where they do."""
        if self._null == "shuffled":
            shuffled = map(_shuffle, masks, names)
            return np.stack(list(shuffled))
        return masks[:, :, ::-1] if len(self._names) == 1 and self._references is None else None

    def _nulls(
        self,
        method: str,
        name: str,
        metric: MaskMetric,
        group: range,
        features: Any,
        kept: "_Kept",
    ) -> np.ndarray:
        """The nulls (n,) of a few masks, of which a metric keeps `features`."""
        references, n = self._references, len(group)
        compare = partial(_compare, name, metric.null)
        if metric.needs_regions:  # a mask's own region is its null, and no other's mask
            return compare(kept.own[name], features, n)
        if kept.altered:
            return compare(kept.altered[name], features, n)
        if references is None or method not in references.masks:
            return np.full(n, np.nan)
        allowed, foreign = references.allowed[list(group)], self._foreign_of(method, references)
        values = np.full(allowed.shape, np.nan)
        if not isinstance(features, Features):  # which cannot be cut
            for k in np.flatnonzero(allowed.any(0)):
                repeated = np.repeat(references.masks[method][k][None], n, axis=0)
                values[:, k] = compare(metric.features(repeated), features, n)
            values[~allowed] = np.nan
        elif n < len(foreign[name]):  # all others at once, image by image
            for i, which in enumerate(map(np.flatnonzero, allowed)):
                others = foreign[name].take(which)
                values[i, which] = compare(others, features.repeat(i, len(which)), len(which))
        else:
            for k, which in enumerate(map(np.flatnonzero, allowed.T)):
                others = foreign[name].repeat(k, len(which))
                values[which, k] = compare(others, features.take(which), len(which))
        finite = np.isfinite(values)
        count = finite.sum(1)
        total = np.where(finite, values, 0).sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _foreign_of(self, method: str, references: References) -> Mapping[str, Any]:
        """What each metric keeps of the references' masks, computed once."""
        if method not in self._foreign:
            metrics = {k: m for k, m in self._metrics.items() if not m.needs_regions}
            self._foreign[method] = all_features(metrics, references.masks[method])
        return self._foreign[method]


@dataclass(frozen=True)
class _Kept:
    """A few original masks.

    Attributes:
        masks: (n, H, W[, C]).
        own: What metrics keep of them, by name.
        altered: And of those flipped or shuffled.
        scores: Theirs, metric by metric.
    """

    masks: np.ndarray
    own: Mapping[str, Any]
    altered: Mapping[str, Any]
    scores: list[_Score] = field(default_factory=list)


def _compare(
    name: str, compare: Callable[[Any, Any], np.ndarray], a: Any, b: Any, n: int
) -> np.ndarray:
    """What a metric makes of the features of n masks each, (n,); it changes nothing of them.

    Raises:
        ConfigError: It gives something else, or writes to what is kept of the originals.
    """
    with own_code(f"metric.{name}"):
        found = compare(_guarded(a), b)
    return one_number_each(found, n, f"metric.{name}")


def _check_scale(name: str, metric: MaskMetric, values: np.ndarray, itself: bool) -> None:
    """Refuses scores that are not as the metric says, by which verdicts are made.

    Args:
        name: The metric's.
        metric: It.
        values: (n,), its scores.
        itself: Whether they are of masks with themselves.

    Raises:
        ConfigError: They are not its identity though they should, or out of its range.
    """
    known = values[np.isfinite(values)]
    low, high = metric.range
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    outside = known[(known < low - _ROUNDING) | (known > high + _ROUNDING)]
    if len(outside):
        raise ConfigError(
            f"metric.{name} has range={metric.range}, and gives {outside[0]:g}: it must say what "
            "it can give, None for an end that is not known"
        )
    if itself and metric.identity is not None:
        off = known[np.abs(known - metric.identity) > _ROUNDING * max(1, abs(metric.identity))]
        if len(off):
            raise ConfigError(
                f"metric.{name} has identity={metric.identity:g}, and gives {off[0]:g} for a mask "
                "with itself: identity must be that score, or None where there is none"
            )


def _guarded(features: Any) -> Any:
    """Features of originals, which are compared with every stage; a copy if they can be changed."""
    if isinstance(features, Features):
        return features
    if isinstance(features, np.ndarray):
        return read_only(features)
    try:
        return deepcopy(features)
    except Exception:  # as of PyTorch's tensors with a gradient, which cannot be copied
        return features


def _finite(values: np.ndarray) -> np.ndarray:
    """Values, NaN for infinite ones."""
    return np.where(np.isfinite(values), values, np.nan)


def _why(values: np.ndarray, *features: Any) -> list[str]:
    """Why each of the masks compared has no score, "" if it has one."""
    known = reasons(*features)
    sound = np.isfinite(values)
    return [why or ("" if ok else NO_NUMBER) for why, ok in zip(known, sound, strict=True)]


def _are_same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether all values are the same; of most masks their first rows tell."""
    return np.array_equal(a[:, 0], b[:, 0]) and np.array_equal(a, b)


def _parts(masks: np.ndarray) -> Iterator[slice]:
    """Cuts (n, …) masks into as many at a time as a processor's cache holds, at least one."""
    at_once = max(1, _CACHED // max(masks[0].nbytes, 1))
    return (slice(i, min(i + at_once, len(masks))) for i in range(0, len(masks), at_once))


def _shuffle(mask: np.ndarray, name: str) -> np.ndarray:
    pixels = mask.reshape(-1, *mask.shape[2:])
    return generator("shuffled_mask", name).permutation(pixels).reshape(mask.shape)
