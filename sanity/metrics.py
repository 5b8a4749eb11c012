"""Metrics: the similarity of two masks, one number an image.

A metric of one's own is a `@checked` dataclass with
- `identity`: the value of a mask with itself, None if there is none (then there is no verdict);
- `features(masks)`: what is computed once for each mask, here `Features`, which can be indexed by
  image, so that a null (an image's mask with another image's) costs no second computation;
- `compare(a, b)`: from the features of n masks each, (n,) float64, NaN where there is no score.
It gets preparation, problems and NaN for nothing if it derives from `Metric` and says instead what
its `parts` are and what their `similarity` is.

Importing this module imports neither SciPy nor scikit-image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from sanity.checked import checked
from sanity.errors import ConfigError

Parts = Mapping[str, np.ndarray]

HAS_NAN = "mask has NaN"
HAS_INFINITY = "mask has infinity"
CONSTANT = "constant mask"
NO_SCALE = "mask cannot be scaled"


@dataclass(frozen=True)
class Features:
    """What a metric keeps of n masks.

    Attributes:
        parts: Arrays by name, the masks along the first axis.
        problems: (n,) str, why a mask has no score; empty where it has one.
    """

    parts: Parts
    problems: np.ndarray = field(default_factory=lambda: np.empty(0, object))

    def __post_init__(self) -> None:
        if not self.problems.size:
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
    """For each image why these features have no score together: "" where they have one."""
    problems = [f.problems for f in features if hasattr(f, "problems")]
    if not problems:
        return [""] * len(features[0])
    return [next(filter(None, those), "") for those in zip(*problems, strict=True)]


@checked
class Preparation:
    """What is done to a mask before it is compared, in the order of the attributes.

    Attributes:
        channels: To one channel by the `sum`, by the sum of absolute values (`sum_abs`) or by the
            largest absolute value (`max_abs`), or `keep`. A mask without channels has one.
        sign: `signed`, or `abs` for absolute values.
        pool: Mean over blocks of so many pixels a side; incomplete blocks at the far edges are
            left out.
        scale: (m - low) / (high - low), low and high from the whole mask, all channels together:
            `min_max`: minimum and maximum; `max_abs`: 0 and the largest absolute value;
            `percentile`: minimum and percentile; `diverging`: -p and p, p the absolute value of
            the percentile (PAIR's VisualizeImageDiverging); `second_moment`: 0 and the root of
            the mean square (Binder et al. 2023).
        percentile: For the scales that need one.
        clip: [lowest, highest] value kept; what lies beyond becomes that value.
    """

    channels: Literal["sum", "sum_abs", "max_abs", "keep"] = "sum"
    sign: Literal["signed", "abs"] = "signed"
    pool: Annotated[int, Field(ge=1)] = 1
    scale: Literal["none", "min_max", "max_abs", "percentile", "diverging", "second_moment"] = (
        "none"
    )
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.0
    clip: list[float] | None = None

    @field_validator("clip")
    @classmethod
    def _interval(cls, clip: list[float] | None) -> list[float] | None:
        if clip is not None and (len(clip) != 2 or not clip[0] < clip[1]):
            raise ValueError("must be two numbers, the lower one first")
        return clip

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        """Whether masks of this shape, (H, W[, C]), can be compared.

        Args:
            shape: Of one mask.
            key: The metric's path in the configuration, for the message.

        Raises:
            ConfigError: They are too small for a value of the metric.
        """
        self._need(self.pool, shape, f"{key}.pool={self.pool}", pool=1)

    def _need(self, side: int, shape: tuple[int, ...], what: str, pool: int | None = None) -> None:
        needed = side * (self.pool if pool is None else pool)
        if min(shape[:2]) < needed:
            pooled = f" with pool={self.pool}" if pool is None and self.pool > 1 else ""
            raise ConfigError(
                f"{what}{pooled} needs masks of at least {needed}×{needed} pixels,"
                f" but they have {shape[0]}×{shape[1]}"
            )

    def prepare(self, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prepares masks.

        Args:
            masks: (n, H, W[, C]), of float32's range.

        Returns:
            The masks as (n, C, H, W) float64, and (n,) why one has no score: it is not finite, has
            nothing to be scaled by, or is constant once prepared. Such a mask is all zeros.
        """
        planes = np.moveaxis(masks, -1, 1) if masks.ndim == 4 else masks[:, None]
        flat = masks.reshape(len(masks), -1)
        nan, finite = np.isnan(flat).any(1), np.isfinite(flat).all(1)
        if not finite.all():
            planes = np.where(finite[:, None, None, None], planes, 0)
        x = self._combine(planes)
        if self.sign == "abs":
            x = np.abs(x)
        if self.pool > 1:
            x = _pooled(x, self.pool)
        constant = _is_constant(x)
        x, scalable = self._scaled(x)
        if self.clip is not None:
            x = np.clip(x, *self.clip)
        constant |= _is_constant(x)
        problems = np.select(
            [nan, ~finite, ~scalable & ~constant, constant],
            [HAS_NAN, HAS_INFINITY, NO_SCALE, CONSTANT],
            "",
        ).astype(object)
        x[problems != ""] = 0
        return x, problems

    def _combine(self, planes: np.ndarray) -> np.ndarray:
        if self.channels == "keep":
            return np.array(planes, np.float64, order="C")
        # Channel by channel: several times as fast as a reduction over a short last axis.
        total = np.zeros((len(planes), *planes.shape[2:]))
        for channel in np.moveaxis(planes, 1, 0):
            if self.channels == "sum":
                total += channel
            elif self.channels == "sum_abs":
                total += np.abs(channel)
            else:
                np.maximum(total, np.abs(channel), out=total)
        return total[:, None]

    def _scaled(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = x.reshape(len(x), -1)
        low, high = np.zeros(len(x)), np.ones(len(x))
        if self.scale in ("min_max", "percentile"):
            low = flat.min(1)
        if self.scale in ("percentile", "diverging"):
            high = np.percentile(flat, self.percentile, axis=1)
        if self.scale == "min_max":
            high = flat.max(1)
        elif self.scale == "max_abs":
            high = np.abs(flat).max(1)
        elif self.scale == "diverging":
            high = np.abs(high)
            low = -high
        elif self.scale == "second_moment":
            high = np.sqrt(np.einsum("ij,ij->i", flat, flat) / flat.shape[1])
        span = high - low
        scalable = span > 0
        ends = np.stack([low, np.where(scalable, span, 1)])[:, :, None, None, None]
        return x if self.scale == "none" else (x - ends[0]) / ends[1], scalable


def _pooled(x: np.ndarray, pool: int) -> np.ndarray:
    n, channels, height, width = x.shape[:2] + tuple(side // pool for side in x.shape[2:])
    blocks = x[:, :, : height * pool, : width * pool]
    return blocks.reshape(n, channels, height, pool, width, pool).mean((3, 5))


def _is_constant(x: np.ndarray) -> np.ndarray:
    """Which of the masks (n, C, H, W) are constant in every channel."""
    return (x.max((2, 3)) == x.min((2, 3))).all(1)


@checked
class Metric(Preparation):
    """Compares masks once they are prepared; where one has a problem, the score is NaN."""

    identity: ClassVar[float | None] = None

    def features(self, masks: np.ndarray) -> Features:
        """What is kept of masks (n, H, W[, C]), constant or not finite ones among them.

        Raises:
            ConfigError: The masks are too small for a value of the metric.
        """
        masks = np.asarray(masks)
        self.check(masks.shape[1:], type(self).__name__)
        return Features(*self._kept(*self.prepare(masks)))

    def _kept(self, masks: np.ndarray, problems: np.ndarray) -> tuple[Parts, np.ndarray]:
        return self.parts(masks), problems

    def compare(self, a: Features, b: Features) -> np.ndarray:
        """The similarity of each mask of `a` with that of `b` in the same place, (n,) float64."""
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
        """Arrays (n, …) to be kept of prepared masks (n, C, H, W); zeros are no error."""
        raise NotImplementedError

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The score (n,) from the parts of n masks each, all of them without problems."""
        raise NotImplementedError


@checked
class Directional(Metric):
    """The cosine of the angle between two vectors, from -1 to 1, that a mask is turned into."""

    identity: ClassVar[float | None] = 1.0
    what: ClassVar[str] = "mask"

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """(n, length), from prepared masks (n, C, H, W)."""
        raise NotImplementedError

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """The vectors at length 1; zero stays zero."""
        vectors = self.vectors(masks)
        # By the largest value first: squares of tiny values would vanish.
        for size in (np.abs(vectors).max(1), None):
            if size is None:
                size = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            vectors = vectors / np.where(size > 0, size, 1)[:, None]
        return {"direction": vectors}

    def _kept(self, masks: np.ndarray, problems: np.ndarray) -> tuple[Parts, np.ndarray]:
        parts = self.parts(masks)
        zero = ~parts["direction"].any(1) & (problems == "")
        return parts, np.where(zero, f"constant {self.what}", problems)

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The scalar product."""
        return np.clip(np.einsum("ij,ij->i", a["direction"], b["direction"]), -1, 1)


@checked
class Cosine(Directional):
    """Cosine of two masks as vectors, 1 to -1; blind to scale, not to an offset."""

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The values."""
        return masks.reshape(len(masks), -1)


@checked
class Pearson(Directional):
    """Pearson's correlation of the values, 1 to -1; blind to scale and offset."""

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The values without their mean."""
        return _centred(masks.reshape(len(masks), -1))


@checked
class Spearman(Directional):
    """Pearson's correlation of the ranks, 1 to -1; ties share their mean rank."""

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The ranks without their mean."""
        return _centred(average_ranks(masks.reshape(len(masks), -1)))


@checked
class Hog(Directional):
    """Correlation of two histograms of oriented gradients (Dalal & Triggs 2005), 1 to -1.

    Of channels that are kept, each pixel counts with that of the steepest gradient.

    Attributes:
        orientations: Bins of the angle, from 0 to 180 degrees.
        pixels_per_cell: Side of the square that shares a histogram.
        cells_per_block: Side, in cells, of the square that is normalised together.
        block_norm: How; see `skimage.feature.hog`.
        correlation: Of values, or of ranks.
    """

    what: ClassVar[str] = "HOG"
    channels: Literal["sum", "sum_abs", "max_abs", "keep"] = "sum_abs"
    scale: Literal["none", "min_max", "max_abs", "percentile", "diverging", "second_moment"] = (
        "percentile"
    )
    clip: list[float] | None = Field(default_factory=lambda: [0.0, 1.0])
    orientations: Annotated[int, Field(ge=2)] = 9
    pixels_per_cell: Annotated[int, Field(ge=2)] = 16
    cells_per_block: Annotated[int, Field(ge=1)] = 3
    block_norm: Literal["L1", "L1-sqrt", "L2", "L2-Hys"] = "L2-Hys"
    correlation: Literal["pearson", "spearman"] = "pearson"

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        """As `Preparation.check`; one block must fit into the mask."""
        super().check(shape, key)
        self._need(
            self.pixels_per_cell * self.cells_per_block,
            shape,
            f"{key}.pixels_per_cell={self.pixels_per_cell}"
            f" with cells_per_block={self.cells_per_block}",
        )

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The histograms, or their ranks, without their mean."""
        from skimage.feature import hog

        histograms = np.stack(
            [
                hog(
                    np.moveaxis(mask, 0, -1) if len(mask) > 1 else mask[0],
                    orientations=self.orientations,
                    pixels_per_cell=(self.pixels_per_cell,) * 2,
                    cells_per_block=(self.cells_per_block,) * 2,
                    block_norm=self.block_norm,
                    channel_axis=-1 if len(mask) > 1 else None,
                )
                for mask in masks
            ]
        )
        return _centred(
            average_ranks(histograms) if self.correlation == "spearman" else histograms
        )
