"""Metrics that turn a mask into a vector and compare directions."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.metrics.base import Aspect, Features, Metric, Parts, Range
from sanity.metrics.oriented import BlockNorm, describe
from sanity.metrics.preparation import FACTORS, SCALES, Channels, Clip, Scale


@checked
class Directional(Metric):
    """The cosine of the angle between two vectors, from -1 to 1."""

    identity: ClassVar[float | None] = 1.0
    range: ClassVar[Range] = (-1.0, 1.0)
    what: ClassVar[str] = "mask"

    @property
    def unrelated(self) -> float | None:
        """Vectors without anything in common are at a right angle."""
        return 0.0

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """What prepared masks (n, C, H, W) are turned into, (n, length)."""
        raise NotImplementedError

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """The vectors at length 1; zero stays zero."""
        vectors = self.vectors(masks)
        length = np.sqrt((vectors * vectors).sum(1))
        return {"direction": vectors / np.where(length > 0, length, 1)[:, None]}

    def keep(self, masks: np.ndarray, problems: np.ndarray) -> Features:
        """As `Metric.keep`; a vector of zeros has no direction and is a problem."""
        found = super().keep(masks, problems)
        zero = ~found.parts["direction"].any(1) & (found.problems == "")
        return Features(found.parts, np.where(zero, f"constant {self.what}", found.problems))

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The scalar products."""
        cosines: np.ndarray = np.clip((a["direction"] * b["direction"]).sum(1), -1, 1)
        return cosines


@checked
class Cosine(Directional):
    """Cosine of two masks as vectors; blind to their scale, not to an offset."""

    blind_to: ClassVar[tuple[Scale, ...]] = FACTORS

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The values."""
        return _rows(masks)


@checked
class Pearson(Directional):
    """Pearson's correlation of the values; blind to scale and offset."""

    blind_to: ClassVar[tuple[Scale, ...]] = SCALES

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The values without their mean."""
        return _centre(_rows(masks))


@checked
class Spearman(Directional):
    """Spearman's correlation, Pearson's of the ranks; tied values share their mean rank."""

    blind_to: ClassVar[tuple[Scale, ...]] = SCALES

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The ranks without their mean."""
        return _centre(average_ranks(_rows(masks)))


@checked
class TopK(Directional):
    """Share of the k largest values that two masks have at the same pixels, from 0 to 1.

    Where a tie straddles the edge of the k largest, its pixels share the places that are left, in
    equal fractions, so that no order of pixels decides. The score is the cosine of such vectors of
    belonging, which without ties is the size of the intersection over k.

    Attributes:
        fraction: k as a share of the pixels, rounded, at least one.
    """

    range: ClassVar[Range] = (0.0, 1.0)
    blind_to: ClassVar[tuple[Scale, ...]] = SCALES
    channels: Channels = "sum_abs"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @property
    def unrelated(self) -> float | None:
        """Of the k largest of one mask, this share is among those of another by chance."""
        return self.fraction

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """How far each pixel belongs to the k largest, from 0 to 1."""
        values = _rows(masks)
        pixels = values.shape[1]
        k = min(max(round(self.fraction * pixels), 1), pixels)
        edge = np.partition(values, pixels - k, axis=1)[:, pixels - k, None]
        above, tied = values > edge, values == edge
        left = k - above.sum(1, keepdims=True)
        shares: np.ndarray = above + tied * (left / tied.sum(1, keepdims=True))
        return shares


@checked
class Hog(Directional):
    """Correlation of histograms of oriented gradients (Dalal & Triggs 2005).

    Of channels that are kept, each pixel counts in the one of the steepest gradient.

    Attributes:
        orientations: Bins of the angle, from 0 to 180 degrees.
        pixels_per_cell: Side of the squares, each of which has a histogram.
        cells_per_block: Side in cells of the squares that are normalised together.
        block_norm: How they are; see `skimage.feature.hog`.
        correlation: Of the values, or of their ranks.
    """

    what: ClassVar[str] = "HOG"
    channels: Channels = "sum_abs"
    scale: Scale = "percentile"
    clip: Clip = Field(default_factory=lambda: [0.0, 1.0])
    orientations: Annotated[int, Field(ge=2)] = 9
    pixels_per_cell: Annotated[int, Field(ge=2)] = 16
    cells_per_block: Annotated[int, Field(ge=1)] = 3
    block_norm: BlockNorm = "L2-Hys"
    correlation: Literal["pearson", "spearman"] = "pearson"

    @property
    def speaks_for(self) -> Aspect | None:
        """Edges and their orientation."""
        return "structure"

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        """As `Preparation.check`: at least one block must fit into a mask."""
        super().check(shape, key)
        self._require(
            self.pixels_per_cell * self.cells_per_block,
            shape,
            f"{key}.pixels_per_cell={self.pixels_per_cell} with"
            f" cells_per_block={self.cells_per_block}",
        )

    def vectors(self, masks: np.ndarray) -> np.ndarray:
        """The histograms, or their ranks, without their mean."""
        histograms = describe(
            masks,
            self.orientations,
            self.pixels_per_cell,
            self.cells_per_block,
            self.block_norm,
        )
        return _centre(average_ranks(histograms) if self.correlation == "spearman" else histograms)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 within each row of (n, length), tied values at their mean rank, float64.

    Equal to `scipy.stats.rankdata(values, axis=1)`, several times as fast: SciPy sorts stably,
    which mean ranks do not need, and only where values are tied are means taken here.
    """
    values = np.ascontiguousarray(values, np.float64)
    ranks = np.empty(values.shape)
    for row, out in zip(values, ranks, strict=True):
        order = _order(row)
        ordered = row[order]
        places = np.arange(1.0, len(row) + 1)
        same = np.flatnonzero(ordered[1:] == ordered[:-1])  # as the next one
        if len(same):
            first = np.concatenate([[True], np.diff(same) > 1])
            starts = same[first]
            lengths = np.diff(np.flatnonzero(first), append=len(same)) + 1
            before = np.cumsum(lengths) - lengths
            tied = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
            places[tied] = np.repeat(starts + (lengths + 1) / 2, lengths)
        out[order] = places
    return ranks


def _order(row: np.ndarray) -> np.ndarray:
    """An order in which values rise: twice as fast as `numpy.argsort` of float64.

    NumPy sorts whole numbers several times as fast as it sorts their places. So a value's bits,
    which as a whole number are in its order once those of negative ones are inverted, give their
    last ones up to its place. Values that differ in these bits alone may come out in the wrong
    order; then they are sorted in earnest.
    """
    bits = row.view(np.int64)
    keys = bits ^ ((bits >> 63) & np.iinfo(np.int64).max)
    low = (1 << (len(row) - 1).bit_length()) - 1
    keys &= ~low
    keys |= np.arange(len(row))
    keys.sort()
    keys &= low
    ordered = row[keys]
    return keys if (ordered[1:] >= ordered[:-1]).all() else np.argsort(row)


def _rows(masks: np.ndarray) -> np.ndarray:
    return masks.reshape(len(masks), -1)


def _centre(vectors: np.ndarray) -> np.ndarray:
    centred: np.ndarray = vectors - vectors.mean(1, keepdims=True)
    return centred
