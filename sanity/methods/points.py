"""Points: the inputs at which methods ask for gradients, as recipes.

Equal recipes are the same point, however many methods ask for it: its gradient is computed once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sanity.randomness import Key, generator


@dataclass(frozen=True)
class Subject:
    """An image that is explained.

    Attributes:
        image: (H, W, C) float32 in [0, 1].
        name: Its name, to which draws are keyed.
        seed: The run's seed.
    """

    image: np.ndarray
    name: str
    seed: int

    def random(self, *key: Key) -> np.random.Generator:
        """A generator keyed by (seed, image, key): the same at every stage."""
        return generator(*key, self.seed, self.name)


class Point(Protocol):
    """A hashable recipe for an input; a frozen dataclass is one."""

    def at(self, subject: Subject) -> np.ndarray:
        """The input (H, W, C) float32."""
        ...


@dataclass(frozen=True)
class Original:
    """The image itself."""

    def at(self, subject: Subject) -> np.ndarray:
        """The image."""
        return subject.image


@dataclass(frozen=True)
class Noisy:
    """The image under one draw of Gaussian noise (Smilkov et al. 2017).

    Attributes:
        noise: Standard deviation as a share of the image's range, max − min.
        sample: Number of the draw.
    """

    noise: float
    sample: int

    def at(self, subject: Subject) -> np.ndarray:
        """Image + noise, not clipped, as PAIR's SmoothGrad."""
        image = subject.image
        draw = subject.random("noise", self.noise, self.sample).standard_normal(
            image.shape, np.float32
        )
        return image + np.float32(self.noise * (image.max() - image.min())) * draw


@dataclass(frozen=True)
class OnPath:
    """A point on the straight path from a baseline to the image (Sundararajan et al. 2017).

    Attributes:
        baseline: Name of the baseline.
        alpha: Position, from 0 at the baseline to 1 at the image.
    """

    baseline: str
    alpha: float

    def at(self, subject: Subject) -> np.ndarray:
        """Baseline + alpha · (image − baseline)."""
        start = BASELINES[self.baseline](subject)
        return start + np.float32(self.alpha) * (subject.image - start)


def black(subject: Subject) -> np.ndarray:
    """Zeros."""
    return np.zeros_like(subject.image)


BASELINES: dict[str, Callable[[Subject], np.ndarray]] = {"black": black}
