"""Methods made of gradients: where they need them, and what they make of them."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.methods.points import BASELINES, Noisy, OnPath, Original, Point, Subject


class GradientMethod:
    """A weighted sum over points of a term in the gradient there, and what finishes it.

    A method says which points it needs; the plan computes the gradients, once for all methods, and
    adds their terms up in double precision. `term` and `finish` may be left as they are.
    """

    rule: ClassVar[str] = "plain"

    def points(self) -> Mapping[Point, float]:
        """The points at which gradients are needed, each with its weight in the sum."""
        raise NotImplementedError

    def term(self, gradient: np.ndarray, point: Point, subject: Subject) -> np.ndarray:
        """What a gradient (H, W, C) contributes: by default itself."""
        return gradient

    def finish(self, total: np.ndarray, subject: Subject) -> np.ndarray:
        """The mask (H, W, C), from the weighted sum of the terms: by default the sum."""
        return total


@checked
class Gradient(GradientMethod):
    """The gradient of the logit with respect to the image (Simonyan et al. 2014)."""

    def points(self) -> Mapping[Point, float]:
        """The image."""
        return {Original(): 1.0}


@checked
class GradientXInput(Gradient):
    """Gradient times image, elementwise (Shrikumar et al. 2016)."""

    def finish(self, total: np.ndarray, subject: Subject) -> np.ndarray:
        """Gradient × image."""
        return total * subject.image


@checked
class GuidedBackprop(Gradient):
    """Gradient whose ReLUs also stop what is negative (Springenberg et al. 2015)."""

    rule: ClassVar[str] = "guided_backprop"


@checked
class SmoothGrad(GradientMethod):
    """Mean gradient over noisy copies of the image (Smilkov et al. 2017, equation 1).

    Attributes:
        samples: Number of copies.
        noise: Standard deviation of the noise, as a share of the image's range max − min.
    """

    samples: Annotated[int, Field(ge=1)] = 25
    noise: Annotated[float, Field(ge=0)] = 0.15

    def points(self) -> Mapping[Point, float]:
        """The noisy copies."""
        return {Noisy(self.noise, sample): 1 / self.samples for sample in range(self.samples)}


@checked
class IntegratedGradients(GradientMethod):
    """Mean gradient on the way from a baseline, times the way (Sundararajan et al. 2017, eq. 3).

    Attributes:
        steps: Number of points on the path.
        baseline: Where the path starts.
    """

    steps: Annotated[int, Field(ge=2)] = 25
    baseline: Literal["black"] = "black"

    def points(self) -> Mapping[Point, float]:
        """Evenly spaced with both ends, equal weights: the rule of PAIR's `saliency`."""
        return {
            Original() if alpha == 1 else OnPath(self.baseline, float(alpha)): 1 / self.steps
            for alpha in np.linspace(0, 1, self.steps)
        }

    def finish(self, total: np.ndarray, subject: Subject) -> np.ndarray:
        """Mean gradient × (image − baseline)."""
        return total * (subject.image - BASELINES[self.baseline](subject))
