"""What is done to a mask before it is compared."""

from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field, field_validator

from sanity.checked import checked
from sanity.errors import ConfigError

Channels = Literal["sum", "sum_abs", "max_abs", "keep"]
Scale = Literal["none", "min_max", "max_abs", "percentile", "diverging", "second_moment"]
Clip = list[float] | None
FACTORS: tuple[Scale, ...] = ("none", "max_abs", "second_moment")  # scales without an offset
SCALES: tuple[Scale, ...] = get_args(Scale)

HAS_NAN = "mask has NaN"
HAS_INFINITY = "mask has infinity"
CONSTANT = "constant mask"
NO_SCALE = "mask cannot be scaled"


def refuse_idle(made: object, key: str, name: str, taken: bool, only: str) -> None:
    """Refuses a setting that was changed where it has no effect (ConfigError).

    Args:
        made: What has it.
        key: Its path in the configuration, for the message.
        name: Of the setting.
        taken: Whether it has an effect.
        only: Where it has one: a part of a sentence.
    """
    value = getattr(made, name)
    if not taken and value != getattr(type(made), name):
        raise ConfigError(f"{key}.{name}={value} has no effect: it is taken {only} alone")


@checked
class Preparation:
    """What is done to a mask before it is compared, in the order of the attributes.

    Attributes:
        channels: To one channel by the `sum`, by the sum of absolute values (`sum_abs`) or by the
            largest absolute value (`max_abs`), or `keep`. A mask without channels has one.
        sign: `signed`, or `abs` for absolute values.
        pool: Mean over blocks of so many pixels a side; incomplete blocks at the far edges are
            left out.
        scale: (m - low) / (high - low), with low and high of the whole mask, its channels
            together. `min_max`: minimum and maximum. `max_abs`: 0 and the largest absolute value.
            `percentile`: minimum and percentile. `diverging`: -p and p, p the absolute value of
            the percentile. `second_moment`: 0 and the root of the mean square (Binder et al.
            2023). `percentile` and `diverging` are PAIR's VisualizeImageGrayscale and
            VisualizeImageDiverging.
        percentile: For the scales that use one.
        clip: [lowest, highest]; what lies beyond becomes that value.
    """

    channels: Channels = "sum"
    sign: Literal["signed", "abs"] = "signed"
    pool: Annotated[int, Field(ge=1)] = 1
    scale: Scale = "none"
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.0
    clip: Clip = None

    @field_validator("clip")
    @classmethod
    def _interval(cls, clip: Clip) -> Clip:
        if clip is not None and (len(clip) != 2 or not clip[0] < clip[1]):
            raise ValueError("must be two numbers, the lower one first")
        return clip

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        """Whether masks of a shape can be compared.

        Args:
            shape: Of one mask, (H, W[, C]).
            key: The metric's path in the configuration, for the message.

        Raises:
            ConfigError: The masks are too small.
        """
        self._require(1, shape, f"{key}.pool={self.pool}")

    def check_settings(self, key: str) -> None:
        """Refuses a percentile that the scale does not take (ConfigError)."""
        taken = self.scale in ("percentile", "diverging")
        refuse_idle(self, key, "percentile", taken, "with scale=percentile or diverging")

    def _require(self, side: int, shape: tuple[int, ...], key: str) -> None:
        """`side` counts pixels after pooling."""
        needed = side * self.pool
        if min(shape[:2]) < needed:
            pooled = f" with pool={self.pool}" if side > 1 and self.pool > 1 else ""
            raise ConfigError(
                f"{key}{pooled} needs masks of at least {needed}×{needed} pixels, but they have"
                f" {shape[0]}×{shape[1]}"
            )

    def prepare(self, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prepares masks.

        Args:
            masks: (n, H, W[, C]), within float32's range.

        Returns:
            The masks, (n, C, H, W) float64, and (n,) what is wrong with each, "" if nothing: it is
            not finite, is constant in every channel, or has a scale of zero length though it is
            not constant (more than 99 % of its values are its minimum, say). Such a mask is zeros.
        """
        planes = np.moveaxis(masks, -1, 1) if masks.ndim == 4 else masks[:, None]
        x = self._combine(planes)
        nan = finite = np.zeros(len(masks), bool)
        if np.isfinite(x.sum()):  # there is one pass less over most masks
            finite = ~nan
        else:
            flat = masks.reshape(len(masks), -1)
            nan, finite = np.isnan(flat).any(1), np.isfinite(flat).all(1)
            x = self._combine(np.where(finite[:, None, None, None], planes, 0))
        if self.sign == "abs":
            x = np.abs(x)
        if self.pool > 1:
            x = _pool(x, self.pool)
        constant = _constant(x)
        low, high = self._ends(x.reshape(len(x), -1))
        scalable = high > low
        if self.scale != "none":
            span = np.where(scalable, high - low, 1)
            x = (x - low[:, None, None, None]) / span[:, None, None, None]
        if self.clip is not None:
            x = np.clip(x, self.clip[0], self.clip[1])
        problems = np.select(
            [nan, ~finite, constant | (scalable & _constant(x)), ~scalable],
            [HAS_NAN, HAS_INFINITY, CONSTANT, NO_SCALE],
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
            if channel.dtype.kind == "i":  # whose least value has no absolute one
                channel = channel.astype(np.float64)
            if self.channels == "sum":
                total += channel
            elif self.channels == "sum_abs":
                total += np.abs(channel)
            else:
                np.maximum(total, np.abs(channel), out=total)
        return total[:, None]

    def _ends(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ends (n,), (n,) of the scale of values (n, pixels)."""
        zero = np.zeros(len(x))
        if self.scale == "min_max":
            return x.min(1), x.max(1)
        if self.scale == "max_abs":
            return zero, np.abs(x).max(1)
        if self.scale == "percentile":
            return x.min(1), _percentile(x, self.percentile)
        if self.scale == "diverging":
            high = np.abs(_percentile(x, self.percentile))
            return -high, high
        if self.scale == "second_moment":
            return zero, np.sqrt((x * x).sum(1) / x.shape[1])
        return zero, zero + 1


def _percentile(x: np.ndarray, percentile: float) -> np.ndarray:
    """Of each row of (n, values), (n,): `numpy.percentile`, to the bit, several times as fast.

    NumPy looks for two neighbours in the order of values at once; but the lower one is the greatest
    of those that come before the upper.
    """
    place = (x.shape[1] - 1) * (percentile / 100)
    upper = min(int(place) + 1, x.shape[1] - 1)
    ordered = np.partition(x, upper, axis=1)
    high = ordered[:, upper]
    low = ordered[:, :upper].max(1) if upper > place else high
    return _between(low, high, place - int(place))


def _between(low: np.ndarray, high: np.ndarray, share: float) -> np.ndarray:
    """Linear interpolation from the nearer end, as NumPy does it."""
    span: np.ndarray = high - low
    return high - span * (1 - share) if share >= 0.5 else low + span * share


def _pool(x: np.ndarray, pool: int) -> np.ndarray:
    n, channels = x.shape[:2]
    height, width = (side // pool for side in x.shape[2:])
    blocks = x[:, :, : height * pool, : width * pool]
    means: np.ndarray = blocks.reshape(n, channels, height, pool, width, pool).mean((3, 5))
    return means


def _constant(x: np.ndarray) -> np.ndarray:
    """Which of the masks (n, C, H, W) are constant in every channel."""
    constant: np.ndarray = (x.max((2, 3)) == x.min((2, 3))).all(1)
    return constant
