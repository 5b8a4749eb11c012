"""Methods of PAIR's `saliency`, run by that package on our batched gradients.

Each takes one image at a time. Gradients are asked for in batches of a fixed size, whatever the
classifier's, so that its batch size does not change how a sum is rounded.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data import Images
from sanity.methods.base import Method
from sanity.methods.cost import Cost
from sanity.methods.segments import Recent, fingerprint

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

_BATCH = 32
_SEGMENTS = Recent(64)  # packed, a few MB an image


class _Pair(Method):
    """The mask of each image by itself; NaN where a gradient is not finite."""

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W, C) or (n, H, W)."""
        found = []
        for image, target in zip(images.x, targets, strict=True):
            try:
                mask = self.mask(image, call_model(classifier, int(target)))
            except _NotFinite:  # PAIR's loops would not end, or break
                mask = np.full(self.shape(image), np.nan)
            found.append(np.asarray(mask, np.float32))
        return np.stack(found)

    def check(self, classifier: "Classifier") -> None:
        """Refuses a model without a gradient (ConfigError)."""
        classifier.network.check_gradient()

    def mask(self, image: np.ndarray, model: Callable[..., Any]) -> np.ndarray:
        """The mask of an image (H, W, C)."""
        raise NotImplementedError

    def shape(self, image: np.ndarray) -> tuple[int, ...]:
        """The shape of an image's mask."""
        return image.shape


class _NotFinite(Exception):
    """A gradient is NaN or infinite."""


def call_model(classifier: "Classifier", target: int) -> Callable[..., dict[str, np.ndarray]]:
    """PAIR's `call_model_function` for the gradient of a class's logit."""
    from saliency.core.base import INPUT_OUTPUT_GRADIENTS

    def call(
        x: np.ndarray, call_model_args: Any = None, expected_keys: Any = None
    ) -> dict[str, Any]:
        inputs = np.asarray(x, np.float32)
        gradients = classifier.gradients(inputs, np.full(len(inputs), target, np.int32))
        if not np.isfinite(gradients).all():
            raise _NotFinite
        return {INPUT_OUTPUT_GRADIENTS: gradients}

    return call


@checked
class BlurIG(_Pair):
    """Gradients integrated along a path of blurring (Xu et al. 2020, equation 7), by PAIR.

    Attributes:
        steps: Number of points on the path.
        max_sigma: Standard deviation of the strongest blur, pixels.
        grad_step: Of the difference quotient of the blur, pixels.
    """

    draws: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=1)] = 100
    max_sigma: Annotated[float, Field(gt=0)] = 50.0
    grad_step: Annotated[float, Field(gt=0)] = 0.01

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        return Cost(gradients=self.steps)

    def mask(self, image: np.ndarray, model: Callable[..., Any]) -> np.ndarray:
        """The mask (H, W, C) of an image."""
        from saliency.core import BlurIG as Pair

        mask: np.ndarray = Pair().GetMask(
            image,
            model,
            max_sigma=self.max_sigma,
            steps=self.steps,
            grad_step=self.grad_step,
            batch_size=_BATCH,
        )
        return mask


@checked
class GuidedIG(_Pair):
    """Gradients integrated along a path that avoids steep ones (Kapishnikov et al. 2021), by PAIR.

    The path starts from black. Each step depends on the one before: a gradient at a time, which
    costs that of a batch of two.

    Attributes:
        steps: Number of steps on the path.
        fraction: Share of the values, those with the smallest gradients, that a step moves.
        max_distance: How far a value may stray from the straight path, as a share of it: 0 is
            Integrated Gradients, 1 no bound.
    """

    draws: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=1)] = 200
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    max_distance: Annotated[float, Field(ge=0, le=1)] = 0.02

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        return Cost(gradients=self.steps)

    def idle(self) -> dict[str, str]:
        """Which values move first, on the straight path."""
        only = "with max_distance=0 all values move together"
        return {} if self.max_distance else {"fraction": only}

    def mask(self, image: np.ndarray, model: Callable[..., Any]) -> np.ndarray:
        """The mask (H, W, C) of an image."""
        from saliency.core import GuidedIG as Pair

        with warnings.catch_warnings():
            # np.quantile's old keyword; and 0 · inf where nothing is left to move.
            warnings.simplefilter("ignore", DeprecationWarning)
            mask: np.ndarray = Pair().GetMask(
                image,
                model,
                x_steps=self.steps,
                fraction=self.fraction,
                max_dist=self.max_distance,
            )
            return mask


@checked
class XRAI(_Pair):
    """Regions ranked by their density of Integrated Gradients (Kapishnikov et al. 2019), by PAIR.

    Integrated Gradients from a black and a white baseline (the image's extremes), and
    Felzenszwalb's segments at six scales, which are found once an image.

    Attributes:
        steps: Points on the path from each baseline.
        algorithm: `full`, or `fast`, which ranks regions without regard to their overlap.
    """

    draws: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=2)] = 100
    algorithm: Literal["full", "fast"] = "full"

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        return Cost(gradients=2 * self.steps)

    def mask(self, image: np.ndarray, model: Callable[..., Any]) -> np.ndarray:
        """The mask (H, W) of an image."""
        from saliency.core import XRAI as Pair  # noqa: N811
        from saliency.core import XRAIParameters

        parameters = XRAIParameters(steps=self.steps, algorithm=self.algorithm)
        mask: np.ndarray = Pair().GetMask(
            image,
            model,
            segments=regions(image),
            batch_size=_BATCH,
            extra_parameters=parameters,
        )
        return mask

    def shape(self, image: np.ndarray) -> tuple[int, ...]:
        """The shape of an image's mask."""
        return image.shape[:2]


def regions(image: np.ndarray) -> list[np.ndarray]:
    """XRAI's regions of an image (H, W, C): overlapping masks (H, W), found once an image."""

    def find() -> np.ndarray:
        from saliency.core.xrai import _get_segments_felzenszwalb

        if image.min() == image.max():  # PAIR divides by the range
            return np.packbits(np.ones((1, *image.shape[:2]), bool), axis=-1)
        return np.packbits(_get_segments_felzenszwalb(image), axis=-1)

    packed = _SEGMENTS.get(fingerprint(image), find)
    return list(np.unpackbits(packed, axis=-1, count=image.shape[1]).astype(bool))
