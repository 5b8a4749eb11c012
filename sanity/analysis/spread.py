"""How much of what a network says lies between images, from sums that images are added to."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

FEW = 10  # outputs; of fewer, what they have in common cannot be told from themselves


@dataclass(frozen=True)
class Spread:
    """How vectors of some images are spread; two of different images add up to that of all.

    Attributes:
        count: How many images.
        mean: (C,) float64, over images.
        variance: (C,) float64, over images, unbiased; 0 of one image.
        low: (C,), the least value; kept of fewer than ten components only, else (0,).
        high: Likewise the greatest.
    """

    count: int
    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Self:
        """That of vectors (n, C), n at least 1."""
        x = x.astype(np.float64)
        few = x if x.shape[1] < FEW else x[:, :0]
        many = len(x) > 1
        variance = x.var(axis=0, ddof=1) if many else np.zeros(x.shape[1])
        return cls(len(x), x.mean(axis=0), variance, few.min(axis=0), few.max(axis=0))

    def __add__(self, other: "Spread") -> "Spread":
        """Both together (Chan, Golub & LeVeque 1983), which does not depend on a common offset."""
        n, apart = self.count + other.count, other.mean - self.mean
        squares = (self.count - 1) * self.variance + (other.count - 1) * other.variance
        squares = squares + apart**2 * (self.count * other.count / n)
        return Spread(
            n,
            self.mean + apart * (other.count / n),
            squares / (n - 1),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def between_share(self) -> float:
        """Share of logits' variance that lies between images, in [0, 1]; NaN for one image.

        Near 1 the network tells images apart; near 0 it says the same of every image, and its
        masks say nothing. The estimate of variance components in a one-way layout: the variance
        over images, averaged over classes, against that plus the variance over classes of the mean
        over images, less what the former contributes to it. So it does not depend on the number of
        images.
        """
        return self._share(float(self.variance.mean()), float(self.mean.var()))

    @property
    def feature_share(self) -> float:
        """The share of many outputs, from what the last kernel reads; NaN for one image.

        A few outputs cannot tell how much they have in common: the variance over classes of their
        means is that of one number or two, and of one output it is 0. But of outputs with weights
        drawn independently around 0, without biases, both variances are known: each is the weights'
        variance times a sum over features h, of their variance over images for what lies between
        these, and of their squared mean for what is common. So this is what `between_share` is on
        average for many outputs of random weights.
        """
        return self._share(float(self.variance.sum()), float((self.mean**2).sum()))

    def _share(self, between: float, common: float) -> float:
        if self.count < 2:
            return float("nan")
        common = max(common - between / self.count, 0.0)
        return 0.0 if between + common == 0 else between / (between + common)


@dataclass(frozen=True)
class Heard:
    """What is kept of a network's answers to some images, to tell what it says of more.

    Attributes:
        logits: Their spread.
        features: Of what the last kernel reads, where there are fewer than ten outputs.
    """

    logits: Spread
    features: Spread | None = None

    def __add__(self, other: "Heard") -> "Heard":
        both = self.features is not None and other.features is not None
        features = self.features + other.features if both else None  # type: ignore[operator]
        return Heard(self.logits + other.logits, features)

    @property
    def share(self) -> float:
        """How much of what the network says lies between images.

        Of fewer than ten outputs it is at most what the last kernel's input has, and of one or two
        it is that, unless they are the same for every image.
        """
        share, logits = self.logits.between_share, self.logits
        if self.features is None:
            return share
        if len(logits.mean) <= 2:
            largest = max(np.abs(logits.low).max(), np.abs(logits.high).max())
            if (logits.high - logits.low).max() > 1e-6 * largest:
                share = 1.0
        return min(share, self.features.feature_share)

    def packed(self) -> bytes:
        """It as bytes, for a file."""
        buffer = io.BytesIO()
        parts = {"logits": self.logits} | ({"features": self.features} if self.features else {})
        arrays: Mapping[str, np.ndarray] = {
            f"{part}.{name}": np.asarray(value)
            for part, spread in parts.items()
            for name, value in vars(spread).items()
        }
        # mypy takes one of the arrays for the keyword `allow_pickle`, a name that none has.
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Self:
        """What `packed` made bytes of."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found: dict[str, dict[str, np.ndarray]] = {}
            for key in file.files:
                part, _, name = key.partition(".")
                found.setdefault(part, {})[name] = file[key]
        spreads = {
            part: Spread(int(values.pop("count")), **values) for part, values in found.items()
        }
        return cls(spreads["logits"], spreads.get("features"))


def between_share(logits: np.ndarray) -> float:
    """See `Spread.between_share`, of logits (n, classes)."""
    return Spread.of(logits).between_share
