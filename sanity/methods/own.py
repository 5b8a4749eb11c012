"""Methods of one's own, and what is not taken of their masks."""

from typing import TYPE_CHECKING

import numpy as np

from sanity.errors import ConfigError
from sanity.methods.masks import sound_masks

if TYPE_CHECKING:
    from sanity.data.images import Images
    from sanity.methods.base import Method
    from sanity.network.classifier import Classifier

_APART = 1e-4  # of a mask's greatest value: more than the rounding of two equal computations
_BESIDE = 0.1  # of a mask's length: more than that of batches of other sizes, at ReLUs' kinks too


def check_apart(
    name: str,
    method: "Method",
    classifier: "Classifier",
    images: "Images",
    targets: np.ndarray,
    seed: int,
    masks: np.ndarray,
) -> None:
    """Refuses a method of one's own whose mask of an image depends on more than it may.

    The last image and the first one are explained by themselves, the last one first and twice: so
    a mask shows that depends on the images beside, or on those before.

    Args:
        name: The method's.
        method: It, as it was before it was asked for any mask.
        classifier: The network, as trained.
        images: n of them.
        targets: (n,), the classes explained.
        seed: Of what is drawn.
        masks: What it gave of them together.

    Raises:
        ConfigError: A mask is another one when it is asked for again, or by itself.
    """

    def mask(place: int) -> np.ndarray:
        # Copies, to which it may write.
        given = method.masks(classifier, images.take([place]), targets[[place]], seed)
        (found,) = sound_masks(given, name, 1, images.x.shape[1:])
        return np.asarray(found)

    places = [len(images) - 1, 0][: len(images)]
    alone = [mask(place) for place in places]
    if _difference(alone[0], mask(places[0]), np.inf) > _APART:
        raise ConfigError(
            f"method.{name} gives other masks of the same images when it is asked again: it must "
            "keep nothing from call to call, and draw from generators keyed by seed and image: "
            "sanity.randomness.generator('mine', seed, image_name), or subject.random('mine')"
        )
    for place, one in zip(places, alone, strict=True):
        if _difference(one, masks[place], 2) > _BESIDE:
            raise ConfigError(
                f"method.{name} gives another mask of {images.names[place]} by itself than in a "
                "group of images: a mask may depend on its own image alone, and nothing may be "
                "kept from call to call"
            )


def _difference(a: np.ndarray, b: np.ndarray, norm: float) -> float:
    """The norm of the difference of two masks over the larger one's; inf if only one is finite."""
    finite = np.isfinite(a)
    if a.shape != b.shape or not np.array_equal(finite, np.isfinite(b)):
        return np.inf
    a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
    if np.array_equal(a, b):
        return 0.0
    return float(
        np.linalg.norm(a - b, norm) / max(np.linalg.norm(a, norm), np.linalg.norm(b, norm))
    )
