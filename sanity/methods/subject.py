"""Subject: one image that is explained, and what draws for it are keyed to."""

from dataclasses import dataclass

import numpy as np

from sanity.checked import read_only
from sanity.randomness import Key, generator


@dataclass(frozen=True, eq=False)
class Subject:
    """An image that is explained.

    Attributes:
        image: (H, W, C) float32 in [0, 1]; read-only, as all methods see it.
        name: Its name, to which draws are keyed.
        seed: The run's seed.
    """

    image: np.ndarray
    name: str
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", read_only(self.image))

    def random(self, *key: Key) -> np.random.Generator:
        """A generator keyed by (seed, image, key): the same at every stage."""
        return generator(*key, self.seed, self.name)
