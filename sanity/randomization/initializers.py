"""Initializers: what a randomized variable's new values are.

One of one's own is a callable `(random, variable) -> values`, named in a YAML by its `_target_`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from sanity.checked import checked

_CUT = 2.0  # standard deviations at which a truncated normal ends
# Standard deviation of a standard normal truncated at two: what a draw is divided by, so that its
# variance after truncation is the one asked for (as TensorFlow's VarianceScaling does).
_TRUNCATED_STD = 0.8796256610342398

# What each kind of variable is where it does nothing. A PReLU of slope 0 is a ReLU, for which a
# variance of 2/fan_in is right (He et al. 2015, equation 15), and what Keras starts from.
IDENTITY = {
    "bias": 0.0,
    "scale": 1.0,
    "offset": 0.0,
    "moving_mean": 0.0,
    "moving_variance": 1.0,
    "slope": 0.0,
    "token": 0.0,
    "position": 0.0,
}
_DRAWN = ("token", "position")  # at the start of training, where nothing else is known


@dataclass(frozen=True)
class Variable:
    """What an initializer knows about a variable.

    Attributes:
        name: Its name.
        shape: Its shape.
        kind: What it does; see `sanity.network.anatomy.parameters.Parameter`.
        fan_in: How many inputs an output sums over; a vector's is its length, as in Keras, and a
            token's how many channels it has.
        fan_out: How many outputs an input feeds; a vector's is its length.
        trained: Its trained values, not to be written to.
        own: The initializer that its layer was made with, if known: `(random, shape) -> values`.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    fan_in: int
    fan_out: int
    trained: np.ndarray
    own: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None


class Initializer(Protocol):
    """What is called for each variable that is drawn."""

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""


@checked
class TruncatedNormal:
    """A normal around 0 without what lies beyond two standard deviations.

    Attributes:
        std: Standard deviation before truncation; None for that which gives a variance of
            2/fan_in after it (He et al. 2015, equation 10; as `keras.initializers.HeNormal`).
    """

    std: Annotated[float, Field(gt=0)] | None = None

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        std = _he(variable) / _TRUNCATED_STD if self.std is None else self.std
        return _truncate(random, variable.shape) * std


@checked
class Normal:
    """A normal.

    Attributes:
        mean: Its mean.
        std: Its standard deviation; None for sqrt(2/fan_in).
    """

    mean: float = 0.0
    std: Annotated[float, Field(gt=0)] | None = None

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        std = _he(variable) if self.std is None else self.std
        return random.normal(self.mean, std, variable.shape)


@checked
class Uniform:
    """A uniform distribution on [low, high)."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        return random.uniform(self.low, self.high, variable.shape)


Distribution = Literal["normal", "truncated_normal", "uniform"]


@checked
class He:
    """Variance 2/fan_in around 0 (He et al. 2015, equation 10)."""

    distribution: Distribution = "normal"

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        return _standard(random, variable.shape, self.distribution) * _he(variable)


@checked
class Glorot:
    """Variance 2/(fan_in + fan_out) around 0 (Glorot & Bengio 2010, equations 12 and 16)."""

    distribution: Distribution = "uniform"

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        std = np.sqrt(2 / (variable.fan_in + variable.fan_out))
        values: np.ndarray = _standard(random, variable.shape, self.distribution) * std
        return values


@checked
class Permutation:
    """The trained values in another order.

    Attributes:
        axis: None permutes all entries; 0 only the slices along the first axis, which leaves a
            1×1 convolution's kernel as it is.
    """

    axis: Literal[0] | None = None

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        if self.axis == 0:
            return random.permutation(variable.trained, axis=0)
        return random.permutation(variable.trained.ravel()).reshape(variable.shape)


@checked
class MatchedNormal:
    """A normal with the mean and standard deviation of the trained values."""

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        trained = variable.trained.astype(np.float64)
        return random.normal(trained.mean(), trained.std(), variable.shape)


@checked
class Zeros:
    """Zeros."""

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        return np.zeros(variable.shape)


@checked
class Noise:
    """The trained values with normal noise on top: graded damage.

    Attributes:
        sigma: Standard deviation of the noise, in standard deviations of the trained values.
    """

    sigma: Annotated[float, Field(gt=0)] = 0.5

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        trained = variable.trained.astype(np.float64)
        return trained + random.normal(0, self.sigma * trained.std(), variable.shape)


@checked
class Reinitialize:
    """What the variable was before training: by its layer's own initializer where that is known.

    Else by what it is: a kernel by a truncated normal of variance 2/fan_in (TF-Slim's
    `variance_scaling_initializer`), tokens and positions likewise, with their channels for fan_in;
    biases, offsets, slopes and moving means 0, scales and moving variances 1.
    """

    def __call__(self, random: np.random.Generator, variable: Variable) -> np.ndarray:
        """Values of the variable's shape."""
        if variable.own is not None:
            return variable.own(random, variable.shape)
        if variable.kind in IDENTITY and variable.kind not in _DRAWN:
            return np.full(variable.shape, IDENTITY[variable.kind])
        return TruncatedNormal()(random, variable)


INITIALIZERS: Mapping[str, Callable[[], Any]] = {
    "reinitialize": Reinitialize,
    "truncated_normal": TruncatedNormal,
    "normal": Normal,
    "uniform": Uniform,
    "he": He,
    "glorot": Glorot,
    "permutation": Permutation,
    "matched_normal": MatchedNormal,
    "zeros": Zeros,
    "noise": Noise,
}


def _he(variable: Variable) -> float:
    return math.sqrt(2 / variable.fan_in)


def _standard(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Draws with mean 0 and variance 1."""
    if kind == "uniform":
        return random.uniform(-np.sqrt(3), np.sqrt(3), shape)
    if kind == "normal":
        return random.standard_normal(shape)
    return _truncate(random, shape) / _TRUNCATED_STD


def _truncate(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A standard normal truncated at two standard deviations."""
    from scipy.special import ndtr, ndtri

    values: np.ndarray = ndtri(random.uniform(ndtr(-_CUT), ndtr(_CUT), shape))
    return values
