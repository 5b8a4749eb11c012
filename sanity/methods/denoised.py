"""Any gradient method averaged over noisy copies of the image: sMPRT's explanations."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.methods.base import GradientMethod
from sanity.methods.gradients import Gradient
from sanity.methods.points import Noisy, Original, Point
from sanity.methods.subject import Subject
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@dataclass(frozen=True)
class OfNoisy(Point):
    """A point as it is for a noisy copy of the image.

    Attributes:
        copy: The noisy copy.
        point: The point.
    """

    copy: Noisy  # first, so that a plan takes one copy's points after each other
    point: Point

    def at(self, subject: Subject) -> np.ndarray:
        """The input."""
        return self.point.at(noisy_subject(self.copy, subject))

    def reference(self, subject: Subject) -> np.ndarray | None:
        """The copy's reference, where the rule compares."""
        return self.point.reference(noisy_subject(self.copy, subject))


@lru_cache(maxsize=32)
def noisy_subject(copy: Noisy, subject: Subject) -> Subject:
    """A noisy copy as an image of its own, with draws of its own."""
    name = f"{subject.name} + noise {copy.noise!r} {copy.sample}"
    return replace(subject, image=copy.at(subject), name=name)


@checked
class Denoised(GradientMethod):
    """A gradient method's mean mask over noisy copies (sMPRT, Hedström et al. 2024).

    Of Gradient that is SmoothGrad; the noise is SmoothGrad's, with which it shares its gradients.

    Attributes:
        method: The method: one whose masks are sums over gradients.
        samples: Number of copies; each asks for all of the method's gradients.
        noise: Standard deviation of the noise, as a share of the image's range max − min.
    """

    method: GradientMethod = Field(default_factory=Gradient)
    samples: Annotated[int, Field(ge=1)] = 50
    noise: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1

    @field_validator("method", mode="before")
    @classmethod
    def _is_of_gradients(cls, value: Any) -> Any:
        if not isinstance(value, GradientMethod):
            raise ValueError("must have the _target_ of a method made of gradients")
        own = type(value).complete, type(value).masks
        if own != (GradientMethod.complete, GradientMethod.masks):
            raise ValueError("must be made of gradients alone")
        return value

    @property
    def rule(self) -> str:
        """The method's."""
        return self.method.rule

    def points(self) -> Mapping[Point, float]:
        """The method's points for each copy."""
        weights: dict[Point, float] = {}
        for point, weight in self.method.points().items():
            for sample in range(self.samples):
                weights[_of_copy(point, Noisy(float(self.noise), sample))] = weight / self.samples
        return weights

    @property
    def card_powers(self) -> tuple[int, ...] | None:
        """The gradient alone, of a method that leaves its masks to `powers`, `factor`, `scale`."""
        plain = type(self).term is Denoised.term
        plain &= type(self.method).finish is GradientMethod.finish
        return (1,) if plain and self.method.card_powers == (1,) else None

    def factor(self, point: Point, subject: Subject) -> np.ndarray | None:
        """The method's factor and scale, for the copy."""
        inner, seen = _seen(point, subject)
        found = [self.method.factor(inner, seen), self.method.scale(seen)]
        known = [array for array in found if array is not None]
        return functools.reduce(np.multiply, known) if known else None

    def term(self, gradient: np.ndarray, point: Point, subject: Subject) -> np.ndarray:
        """What the gradient adds to the copy's mask, which is a sum."""
        inner, seen = _seen(point, subject)
        mask: np.ndarray = self.method.finish(self.method.term(gradient, inner, seen), seen)
        return mask

    def idle(self) -> dict[str, str]:
        """What changes nothing of the method."""
        return {f"method.{name}": why for name, why in self.method.idle().items()}

    def check(self, classifier: "Classifier") -> None:
        """Refuses what the method refuses, and a method whose masks are no sums (ConfigError)."""
        self.method.check(classifier)
        random = generator("linear")
        shape = classifier.input_shape
        subject = Subject(random.random(shape, np.float32), "linear", 0)
        point = next(iter(self.method.points()))
        a, b = (self.method.term(random.random(shape), point, subject) for _ in range(2))
        of_a, of_b, of_mean, of_none = (
            self.method.finish(total, subject) for total in (a, b, (a + b) / 2, 0 * a)
        )
        if np.any(of_none) or not np.allclose(of_mean, (of_a + of_b) / 2, rtol=1e-6):
            raise ConfigError(
                f"method={type(self.method).__name__} makes masks that are no sums over gradients, "
                "so they cannot be averaged this way: choose another method"
            )


def _seen(point: Point, subject: Subject) -> tuple[Point, Subject]:
    """The method's own point, and the copy that it is of."""
    if isinstance(point, Noisy):  # the copy itself, see `_of_copy`
        point = OfNoisy(point, Original())
    assert isinstance(point, OfNoisy)
    return point.point, noisy_subject(point.copy, subject)


def _of_copy(point: Point, copy: Noisy) -> Point:
    if isinstance(point, Original):
        return copy
    return OfNoisy(copy, point)
