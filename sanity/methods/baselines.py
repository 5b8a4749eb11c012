"""Baselines: the images without information from which attributions are counted."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from sanity.checked import read_only
from sanity.errors import ConfigError
from sanity.methods.coordinates import PIXELS, zero_of

if TYPE_CHECKING:
    from sanity.methods.subject import Subject

Value = Annotated[float, Field(ge=0, le=1)]
# A kind, one value for every pixel, or one a channel.
Baseline = (
    Literal["black", "white", "zero", "mean", "blurred", "uniform"]
    | Value
    | Annotated[list[Value], Field(min_length=1)]
)
# The same as a key that is equal for equal baselines: "black" is 0.0.
BaselineKey = str | float | tuple[float, ...]

_CONSTANTS = {"black": 0.0, "white": 1.0}
_BLUR = 0.1  # standard deviation, as a share of the shorter side: leaves colours, no objects


def baseline_key(baseline: Baseline, coordinates: Sequence[float] = PIXELS) -> BaselineKey:
    """The key of a baseline as it is configured; "zero" is the 0 of the coordinates."""
    if baseline == "zero":
        return zero_of(coordinates)
    if isinstance(baseline, list):
        values = tuple(map(float, baseline))
        return values[0] if len(set(values)) == 1 and len(values) > 1 else values
    return _CONSTANTS.get(baseline, baseline) if isinstance(baseline, str) else float(baseline)


def idle_coordinates(baseline: str | float | list[float]) -> dict[str, str]:
    """Why coordinates change nothing, where they do not: see `Method.idle`."""
    return {} if baseline == "zero" else {"coordinates": "they are taken with baseline=zero alone"}


def check_baseline(baseline: Baseline, shape: tuple[int, int, int]) -> None:
    """Refuses values a channel that are more or fewer than the channels (ConfigError)."""
    if isinstance(baseline, list) and len(baseline) != shape[2]:
        raise ConfigError(
            f"baseline={baseline} has {len(baseline)} values, but the model's images have the "
            f"shape {shape}: give {shape[2]}, one a channel, or a single number"
        )


@lru_cache(maxsize=64)
def baseline_image(key: BaselineKey, subject: "Subject") -> np.ndarray:
    """The baseline (H, W, C) float32 of an image, read-only.

    "mean" is the image's mean colour, "blurred" the image under a Gaussian whose standard
    deviation is a tenth of its shorter side, "uniform" noise over [0, 1], one draw an image.
    """
    made: np.ndarray = read_only(_make(key, subject))
    return made


def _make(key: BaselineKey, subject: "Subject") -> np.ndarray:
    image = subject.image
    if key == "mean":
        return np.broadcast_to(image.mean((0, 1), np.float64).astype(np.float32), image.shape)
    if key == "uniform":
        return subject.random("baseline", "uniform").random(image.shape, np.float32)
    if key == "blurred":
        from scipy.ndimage import gaussian_filter

        sigma = _BLUR * min(image.shape[:2])
        blurred: np.ndarray = gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
        return blurred
    return np.broadcast_to(np.asarray(key, np.float32), image.shape)
