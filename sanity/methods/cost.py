"""What a method asks of the network, for the announcement before a run."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Cost:
    """What a method asks for an image at a stage, beside the points that it leaves to the plan.

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
