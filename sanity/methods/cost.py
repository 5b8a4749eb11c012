"""What a method asks of the network, for the announcement before a run."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from sanity.data import Images
    from sanity.network.classifier import Classifier


@dataclass(frozen=True)
class Cost:
    """What a method asks for an image at a stage, beside the points that it leaves to the plan.

    A method says so by `cost(classifier, images) -> Cost`; without one it asks for nothing.

    Attributes:
        gradients: Forward and backward passes.
        forward: Forward passes alone.
    """

    gradients: int = 0
    forward: int = 0

    def __add__(self, other: Self) -> Self:
        return replace(
            self,
            gradients=self.gradients + other.gradients,
            forward=self.forward + other.forward,
        )

    def __mul__(self, times: int) -> Self:
        return replace(self, gradients=self.gradients * times, forward=self.forward * times)


def own_cost(method: Any, classifier: "Classifier", images: "Images") -> Cost:
    """What any method asks for an image at a stage, beside the plan."""
    return method.cost(classifier, images) if hasattr(method, "cost") else Cost()
