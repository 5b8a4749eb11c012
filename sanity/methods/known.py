"""Methods whose right verdict is known beforehand, to test the check itself.

None of them looks at the weights. They are no controls, so that they get a verdict: see
`models.known`.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data.images import Images
from sanity.methods.base import Method
from sanity.methods.controls import EdgeDetector, draw_masks
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class FixedPattern(Method):
    """One pattern for every image and every network, under noise of its own.

    Attributes:
        noise: Standard deviation of the noise, which is drawn anew for each image and stage, as a
            share of the pattern's.
    """

    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1

    def depends_on_seed(self) -> bool:
        """Where there is noise."""
        return self.noise > 0

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W)."""
        size = tuple(images.x.shape[1:3])
        pattern = generator("fixed_pattern").standard_normal(size, np.float32)
        noise = draw_masks("fixed_pattern", images, seed, stage)
        return pattern + np.float32(self.noise) * noise


@checked
class OtherEachTime(Method):
    """Another pattern for each image at each stage: what a method is that weights decide wholly."""

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W)."""
        return draw_masks("other_each_time", images, seed, stage)


@checked
class BlindEdges(EdgeDetector):
    """The edge detector as if it were an explanation: an image's mask stays, whatever happens."""

    control: ClassVar[bool] = False
    draws: ClassVar[bool] = False
