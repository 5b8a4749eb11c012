"""The coordinates of an image: where its 0 lies for methods that multiply by it or start from it.

Pixels are in [0, 1] here, but a network may have been made for others: in [-1, 1], as for Inception
in the code of Adebayo et al. 2018, 0 is mid-grey. Gradient × Input and ε-LRP multiply by the image,
and a baseline of zeros is the zero of these coordinates. What depends on neither is the same in
all: gradients but for a factor, Integrated Gradients from one baseline altogether.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field


def _rising(values: list[float]) -> list[float]:
    if not values[0] < values[1]:
        raise ValueError("must be a lower and a higher number, what pixels of 0 and of 1 are")
    return values


# What black and white are: [low, high].
Coordinates = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_rising)]
PIXELS = (0.0, 1.0)


def zero_of(coordinates: Sequence[float]) -> float:
    """The pixel value that is 0 in these coordinates; it may lie outside [0, 1]."""
    low, high = coordinates
    return -low / (high - low) if low else 0.0


def image_in(coordinates: Sequence[float], image: np.ndarray) -> np.ndarray:
    """What a gradient with respect to pixels is multiplied by, for gradient × image there.

    With x' = low + (high − low) x, the gradient with respect to x' is that with respect to x over
    (high − low); times x' that is the gradient times (x − zero).

    Args:
        coordinates: [low, high].
        image: (H, W, C) in [0, 1].
    """
    zero = np.float32(zero_of(coordinates))
    return image - zero if zero else image
