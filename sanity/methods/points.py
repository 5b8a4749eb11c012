"""Points: the inputs at which methods ask for gradients, as recipes.

Equal recipes are the same point, however many methods ask for it: its gradient is computed once.
`noisy` and `on_path` give the one recipe of points that can be described in several ways.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sanity.checked import read_only
from sanity.contents import digest_of
from sanity.data.base import Dataset
from sanity.methods.baselines import BaselineKey, baseline_image
from sanity.methods.subject import Subject


class Point(ABC):
    """A recipe for an input: a frozen dataclass, equal to every other of the same input."""

    @abstractmethod
    def at(self, subject: Subject) -> np.ndarray:
        """The input (H, W, C) float32."""

    def reference(self, subject: Subject) -> np.ndarray | None:
        """What the backprop rule compares it with (H, W, C), where the rule compares."""
        return None


@dataclass(frozen=True)
class Original(Point):
    """The image itself."""

    def at(self, subject: Subject) -> np.ndarray:
        """The image."""
        return subject.image


@dataclass(frozen=True)
class Noisy(Point):
    """The image under one draw of Gaussian noise (Smilkov et al. 2017).

    Attributes:
        noise: Standard deviation as a share of the image's range, max − min.
        sample: Number of the draw.
    """

    noise: float
    sample: int

    def at(self, subject: Subject) -> np.ndarray:
        """Image + noise, not clipped, as PAIR's SmoothGrad."""
        return _noisy_image(self, subject)


# Paths to the same noisy image follow each other in a plan: a few are enough, and one a thread.
@lru_cache(maxsize=32)
def _noisy_image(point: Noisy, subject: Subject) -> np.ndarray:
    image = subject.image
    draw = subject.random("noise", point.noise, point.sample).standard_normal(
        image.shape, np.float32
    )
    noisy: np.ndarray = image + np.float32(point.noise * (image.max() - image.min())) * draw
    noisy.flags.writeable = False
    return noisy


@dataclass(frozen=True)
class AtBaseline(Point):
    """A baseline.

    Attributes:
        baseline: See `baseline_image`.
    """

    baseline: BaselineKey

    def at(self, subject: Subject) -> np.ndarray:
        """The baseline."""
        return baseline_image(self.baseline, subject)


@dataclass(frozen=True)
class OnPath(Point):
    """A point on the straight path from a baseline (Sundararajan et al. 2017).

    Attributes:
        end: Where the path ends.
        baseline: Where it starts.
        alpha: Position, from 0 at the baseline to 1 at the end.
    """

    end: Original | Noisy
    baseline: BaselineKey
    alpha: float

    def at(self, subject: Subject) -> np.ndarray:
        """Baseline + alpha · (end − baseline), in PAIR's order and precision.

        An input that is rounded otherwise falls on the other side of some ReLU.
        """
        start = baseline_image(self.baseline, subject)
        way = (self.end.at(subject) - start).astype(np.float64)
        point: np.ndarray = (start + self.alpha * way).astype(np.float32)
        return point


@dataclass(frozen=True)
class Against(Point):
    """The image, beside the baseline that the rule compares it with.

    Attributes:
        baseline: See `baseline_image`.
    """

    baseline: BaselineKey

    def at(self, subject: Subject) -> np.ndarray:
        """The image."""
        return subject.image

    def reference(self, subject: Subject) -> np.ndarray:
        """The baseline."""
        return baseline_image(self.baseline, subject)


class References:
    """Images that baselines are drawn from: all that a data spec gives, whatever is explained.

    Two are equal if their specs read the same and what they are made from holds the same.
    """

    def __init__(self, spec: Dataset):
        self._spec = spec
        held = {name: digest_of(content) for name, content in spec.sources().items()}
        self._text = f"{spec!r} {held}" if held else repr(spec)

    def __repr__(self) -> str:
        return f"References({self._text})"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, References) and other._text == self._text

    @lru_cache(maxsize=4)  # noqa: B019 - a spec is small, and few are ever made
    def images(self, shape: tuple[int, int, int]) -> np.ndarray:
        """The images (n, H, W, C) float32 as a model with inputs of this shape takes them."""
        images: np.ndarray = read_only(self._spec.load(shape).x)
        return images


@dataclass(frozen=True)
class FromReference(Point):
    """A uniform draw on the path from a drawn reference image to the image (Erion et al. 2021).

    Attributes:
        references: Where the reference is drawn from.
        sample: Number of the draw.
    """

    references: References
    sample: int

    def start(self, subject: Subject) -> np.ndarray:
        """The reference image."""
        return self._drawn(subject)[0]

    def at(self, subject: Subject) -> np.ndarray:
        """Reference + alpha · (image − reference)."""
        start, alpha = self._drawn(subject)
        point: np.ndarray = start + alpha * (subject.image - start)
        return point

    def _drawn(self, subject: Subject) -> tuple[np.ndarray, np.float32]:
        height, width, channels = subject.image.shape
        images = self.references.images((height, width, channels))
        draw = subject.random("reference", self.sample)
        return images[draw.integers(len(images))], np.float32(draw.random())


def noisy(noise: float, sample: int) -> Original | Noisy:
    """The image under a draw of noise; without noise, the image."""
    return Noisy(float(noise), sample) if noise else Original()


def on_path(
    baseline: BaselineKey, alpha: float, end: Original | Noisy | None = None
) -> Original | Noisy | AtBaseline | OnPath:
    """The point at `alpha` on the path from a baseline to `end`, or to the image."""
    end = end or Original()
    alpha = round(float(alpha), 12)  # 1/5 is 1/5, however it was computed
    if alpha == 1:
        return end
    return OnPath(end, baseline, alpha) if alpha else AtBaseline(baseline)
