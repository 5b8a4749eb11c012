"""RISE: the mean of random masks, weighted by what the network sees through them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data import Images
from sanity.methods.base import Method
from sanity.methods.cost import Cost
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class Rise(Method):
    """Mean of random masks, each weighted by the logit of the image seen through it.

    RISE, Petsiuk et al. 2018, equation 6: S(λ) = 1 / (p N) · Σᵢ f(x ⊙ Mᵢ) · Mᵢ(λ). A mask Mᵢ is
    a grid of cells that are 1 with probability p and else 0, bilinearly enlarged to one cell more
    than the image and cropped at a random offset of up to a cell (section 3.2; cell sizes rounded
    up as in the authors' code). f is the logit, where the authors take the probability.

    Attributes:
        samples: Number of masks, N.
        cells: Cells along each side of the grid.
        probability: That a cell is seen, p.
        value: What is seen elsewhere, in [0, 1]: x ⊙ M + value · (1 − M).
    """

    samples: Annotated[int, Field(ge=1)] = 4000
    cells: Annotated[int, Field(ge=1)] = 8
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.5
    value: Annotated[float, Field(ge=0, le=1)] = 0.0

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        return Cost(forward=self.samples)

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W)."""
        found = np.zeros(images.x.shape[:3])
        value = np.float32(self.value)
        for total, image, name, target in zip(found, images.x, images.names, targets, strict=True):
            for seen in self.windows(image.shape, seed, name, classifier.batch_size):
                inputs = value + seen[..., None] * (image - value)
                logits = classifier.logits(inputs)[:, target]
                # One after the other: the sum does not depend on the batch size.
                for logit, mask in zip(logits.astype(np.float64), seen, strict=True):
                    total += logit * mask
        return (found / (self.samples * self.probability)).astype(np.float32)

    def windows(
        self, shape: tuple[int, ...], seed: int, name: str, size: int
    ) -> Iterator[np.ndarray]:
        """The random masks (≤ size, H, W) in [0, 1], batch by batch.

        The first masks are the same whatever their number.
        """
        cells, (height, width) = self.cells, shape[:2]
        draws = generator("rise", seed, name).random((self.samples, cells * cells + 2))
        grids = (draws[:, 2:] < self.probability).astype(np.float32)
        tall, wide = (_enlarge(cells, -(-side // cells)) for side in (height, width))
        shifts = (draws[:, :2] * [-(-height // cells), -(-width // cells)]).astype(int)
        for start in range(0, self.samples, size):
            chosen = slice(start, start + size)
            below, right = shifts[chosen].T
            rows = tall[below[:, None] + np.arange(height)]  # (n, H, cells)
            columns = wide[right[:, None] + np.arange(width)]
            yield rows @ grids[chosen].reshape(-1, cells, cells) @ columns.transpose(0, 2, 1)


def _enlarge(cells: int, pixels: int) -> np.ndarray:
    """Bilinear interpolation as a matrix ((cells + 1) · pixels, cells).

    As the authors' `skimage.transform.resize` of order 1 and mode "reflect": pixels are squares,
    and beyond the outer cells' centres the grid is mirrored.
    """
    long = (cells + 1) * pixels
    last = cells - 1
    position = (np.arange(long) + 0.5) * cells / long - 0.5
    position = np.clip(last - np.abs(last - np.abs(position)), 0, last)
    weights = 1 - np.abs(position[:, None] - np.arange(cells))
    shares: np.ndarray = np.clip(weights, 0, None).astype(np.float32)
    return shares
