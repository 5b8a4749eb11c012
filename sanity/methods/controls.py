"""Controls: masks that do not look at the network, to show what a score of one such is."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sanity.checked import checked
from sanity.data import Images
from sanity.methods.base import Method
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


def draw_masks(key: str, images: Images, seed: int, stage: int) -> np.ndarray:
    """Standard normal noise (n, H, W) float32, keyed by (key, seed, image's name, stage)."""
    size = images.x.shape[1:3]
    drawn = [
        generator(key, seed, name, stage).standard_normal(size, np.float32) for name in images.names
    ]
    return np.stack(drawn)


@checked
class RandomMask(Method):
    """Independent standard normal noise, another at every stage (Binder et al. 2023)."""

    control: ClassVar[bool] = True

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W), keyed by (seed, image, stage)."""
        return draw_masks("random_mask", images, seed, stage)


@checked
class EdgeDetector(Method):
    """Sobel's gradient magnitude of the image's luminance: the same at every stage."""

    control: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W), not negative."""
        from skimage.color import rgb2gray
        from skimage.filters import sobel

        grey = [rgb2gray(image) if image.shape[-1] == 3 else image.mean(-1) for image in images.x]
        return np.stack([sobel(image) for image in grey]).astype(np.float32)


@checked
class Input(Method):
    """The image itself: what multiplying by the input brings along (Kokhlikyan et al. 2021)."""

    control: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W, C), the same at every stage."""
        return np.array(images.x, np.float32)


@checked
class Constant(Method):
    """Ones: a mask that says nothing, to show what a metric makes of such."""

    control: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W), the same at every stage."""
        return np.ones(images.x.shape[:3], np.float32)
