"""Metrics of the values of two masks: by window, by pixel, by histogram."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from sanity.checked import checked
from sanity.metrics.base import Metric, Parts, Range
from sanity.metrics.preparation import SCALES, Channels, Clip, Scale, refuse_idle
from sanity.metrics.windows import gaussian, windowed

_CACHED = 2**15  # windows at a time, so that what is computed of them stays in the cache
_TRUNCATE = 3.5  # a Gaussian window's half width in sigmas, as in scikit-image


@checked
class Ssim(Metric):
    """Structural similarity (Wang et al. 2004), at most 1; the mean over channels that are kept.

    As `skimage.metrics.structural_similarity`, with its K1 = 0.01 and K2 = 0.03, and like it over
    the windows that lie within the mask.

    Attributes:
        gaussian_weights: A Gaussian window, else a uniform square.
        sigma: Of the Gaussian, in pixels; 1.5 makes a window of 11 pixels.
        window: Side of the square, in pixels, odd.
        data_range: What the values may span: 1 for masks scaled to [0, 1].
        use_sample_covariance: Divide by one less than the window's pixels.
    """

    identity: ClassVar[float | None] = 1.0
    range: ClassVar[Range] = (-1.0, 1.0)
    channels: Channels = "sum_abs"
    scale: Scale = "percentile"
    clip: Clip = Field(default_factory=lambda: [0.0, 1.0])
    gaussian_weights: bool = True
    sigma: Annotated[float, Field(ge=0.5, allow_inf_nan=False)] = 1.5
    window: Annotated[int, Field(ge=3)] = 7
    data_range: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    use_sample_covariance: bool = False

    @property
    def unrelated(self) -> float | None:
        """Without covariance there is no structure in common."""
        return 0.0

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError("must be odd")
        return window

    @property
    def _side(self) -> int:
        return 2 * int(_TRUNCATE * self.sigma + 0.5) + 1 if self.gaussian_weights else self.window

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        """As `Preparation.check`: the window must fit into a mask."""
        super().check(shape, key)
        name = "sigma" if self.gaussian_weights else "window"
        self._require(self._side, shape, f"{key}.{name}={getattr(self, name)}")

    def check_settings(self, key: str) -> None:
        """Refuses the window of a square beside Gaussian weights, or the other way round."""
        super().check_settings(key)
        refuse_idle(self, key, "window", not self.gaussian_weights, "with gaussian_weights=false")
        refuse_idle(self, key, "sigma", self.gaussian_weights, "with gaussian_weights=true")

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """The masks, and in each window the mean, and what it and the variance add below.

        Equation 13 is computed of halves, (m m' + c1/2) (cov + c2/2) 4 / ((m² + m'² + c1) (v + v' +
        c2)), so that the sums below are of one term for each mask.
        """
        mean, variance = self._windowed(masks), self._windowed(masks * masks)
        squares = mean * mean
        variance -= squares
        if self.use_sample_covariance:
            variance *= self._norm
        c1, c2 = self._halves
        return {"mask": masks, "mean": mean, "squares": squares + c1, "variance": variance + c2}

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The mean over windows of the product of equation 13."""
        n, _, height, width = a["mean"].shape
        channels = max(a["mean"].shape[1], b["mean"].shape[1])  # one plane is held against all
        rowwise = np.empty((n, height))  # so that a sum does not depend on how many masks there are
        size = max(16, _CACHED // (n * channels * width * 16) * 16)
        for top in range(0, height, size):
            rows = np.s_[:, :, top : top + size]
            wider = np.s_[:, :, top : top + size + self._side - 1]
            covariance = self._windowed(a["mask"][wider] * b["mask"][wider])
            rowwise[:, top : top + size] = self._sums(
                covariance, {k: v[rows] for k, v in a.items()}, {k: v[rows] for k, v in b.items()}
            )
        means: np.ndarray = 4 * rowwise.sum(1) / (channels * height * width)
        return means

    def _sums(self, products: np.ndarray, a: Parts, b: Parts) -> np.ndarray:
        """The sums (n, H) over each row's windows; products, their means, are written to."""
        c1, c2 = self._halves
        means = a["mean"] * b["mean"]
        products -= means
        if self.use_sample_covariance:
            products *= self._norm
        means += c1
        products += c2
        products *= means
        below = a["squares"] + b["squares"]
        below *= np.add(a["variance"], b["variance"], out=means)
        products /= below
        sums: np.ndarray = products.sum((1, 3))
        return sums

    @property
    def _halves(self) -> tuple[float, float]:
        return (0.01 * self.data_range) ** 2 / 2, (0.03 * self.data_range) ** 2 / 2

    @property
    def _norm(self) -> float:
        pixels = self._side**2
        return pixels / (pixels - 1)

    def _windowed(self, x: np.ndarray) -> np.ndarray:
        """Weighted means (…, H, W) over the windows within the mask."""
        side = self._side
        weights = gaussian(self.sigma, side) if self.gaussian_weights else (1 / side,) * side
        means = windowed(x.reshape(-1, *x.shape[-2:]), weights)
        return means.reshape(*x.shape[:-2], *means.shape[-2:])


@checked
class MeanSquaredError(Metric):
    """Mean squared difference of the values, from 0 up: 0 is equal, and more is less similar."""

    identity: ClassVar[float | None] = 0.0
    range: ClassVar[Range] = (0.0, None)
    scale: Scale = "second_moment"

    @property
    def unrelated(self) -> float | None:
        """Of independent masks with mean 0 and mean square 1 it is 2."""
        return 2.0 if self.scale == "second_moment" else None

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """The masks."""
        return {"mask": masks}

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The mean over pixels and channels."""
        means: np.ndarray = ((a["mask"] - b["mask"]) ** 2).mean((1, 2, 3))
        return means


@checked
class MutualInformation(Metric):
    """What the value of one mask at a pixel tells about the other's there, from 0 to 1.

    2 I(a, b) / (H(a) + H(b)), of histograms with equal bins from each mask's minimum to its
    maximum. Of few pixels it is above 0 even for independent masks, by about
    (bins - 1)² / (pixels · (H(a) + H(b))), entropies in nats.

    Attributes:
        bins: Of a mask's histogram; the joint one has their square.
    """

    identity: ClassVar[float | None] = 1.0
    range: ClassVar[Range] = (0.0, 1.0)
    blind_to: ClassVar[tuple[Scale, ...]] = SCALES
    channels: Channels = "sum_abs"
    scale: Scale = "percentile"
    clip: Clip = Field(default_factory=lambda: [0.0, 1.0])
    bins: Annotated[int, Field(ge=2, le=256)] = 16

    @property
    def unrelated(self) -> float | None:
        """One of independent masks tells nothing about the other."""
        return 0.0

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """Each value's bin, and the entropy of each mask's histogram."""
        bins = _bin(masks, self.bins)
        return {"bin": bins, "entropy": np.array([_entropy(row) for row in bins])}

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The normalised mutual information."""
        joint = np.array([_entropy(row) for row in a["bin"] * self.bins + b["bin"]])
        total = a["entropy"] + b["entropy"]
        shares: np.ndarray = np.clip(2 * (total - joint) / total, 0, 1)
        return shares


@checked
class Emprt(Metric):
    """How much more complex the second mask is: (H(b) - H(a)) / H(a) (Hedström et al. 2024).

    H is the entropy of the histogram of a mask's values. A mask that is scored is not constant, so
    its entropy is not zero. With itself a mask has 0, but 0 is no end of the scale, and masks that
    have nothing in common can have it too: there is no identity, and no verdict.

    Attributes:
        bins: Equal ones, from a mask's minimum to its maximum.
    """

    identity: ClassVar[float | None] = None
    range: ClassVar[Range] = (-1.0, None)
    blind_to: ClassVar[tuple[Scale, ...]] = SCALES
    bins: Annotated[int, Field(ge=2)] = 100

    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """The entropy of each mask's histogram, in nats."""
        return {"entropy": np.array([_entropy(row) for row in _bin(masks, self.bins)])}

    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The relative rise in entropy."""
        return (b["entropy"] - a["entropy"]) / a["entropy"]


def _bin(masks: np.ndarray, bins: int) -> np.ndarray:
    """Which of equal bins from its mask's minimum to its maximum each value is in, (n, values)."""
    flat = masks.reshape(len(masks), -1)
    low, high = flat.min(1, keepdims=True), flat.max(1, keepdims=True)
    share = (flat - low) / np.where(high > low, high - low, 1)
    places: np.ndarray = np.minimum((share * bins).astype(np.int32), bins - 1)
    return places


def _entropy(labels: np.ndarray) -> float:
    """Of the frequencies of labels, in nats."""
    counts = np.bincount(labels)
    shares = counts[counts > 0] / len(labels)
    return float(-(shares * np.log(shares)).sum())
