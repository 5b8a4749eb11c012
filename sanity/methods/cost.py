"""What a method asks of the network, for the announcement before a run."""

from dataclasses import dataclass


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
