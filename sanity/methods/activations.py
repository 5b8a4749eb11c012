"""Methods that weigh a layer's activations: Grad-CAM and what is made of it."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sanity.checked import checked
from sanity.data import Images
from sanity.methods.backprop import GuidedBackprop
from sanity.methods.base import Method
from sanity.methods.cost import Cost
from sanity.methods.subject import Subject

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class GradCam(Method):
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2).

    Attributes:
        layer: A spatial tensor (n, h, w, channels) on the way to the logits, by its name in the
            graph or, if the model names outputs, by theirs; None for the last one.
    """

    draws: ClassVar[bool] = False

    layer: str | None = None

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W) float32 in [0, 1]: the map divided by its maximum, resized as PAIR does.

        A map that is nowhere positive is 0.
        """
        return resize_maps(self.maps(classifier, images.x, targets), images.x.shape[1:3])

    def maps(self, classifier: "Classifier", x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The maps (n, h, w) in the layer's own size, not negative."""
        tensor = classifier.network.spatial_tensor(self.layer)
        (activations,), (gradients,) = classifier.gradients_at(x, targets, [tensor])
        a, g = activations.astype(np.float64), gradients.astype(np.float64)
        maps: np.ndarray = np.maximum(np.einsum("nhwc,nc->nhw", a, self.weights(a, g)), 0)
        return maps

    def weights(self, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """The weight (n, channels) of each channel."""
        means: np.ndarray = gradients.mean((1, 2))
        return means

    def check(self, classifier: "Classifier") -> None:
        """Refuses a layer that is not there, not spatial or without a gradient (ConfigError)."""
        classifier.network.check_layer(self.layer)

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """A gradient, though it ends at the layer."""
        return Cost(gradients=1)


@checked
class GradCamPlusPlus(GradCam):
    """Grad-CAM++ (Chattopadhay et al. 2018, equations 5 and 19), of the logit's exponential.

    Its second and third derivatives are powers of the gradient where the layers above are
    piecewise linear; elsewhere that is the usual approximation.
    """

    draws: ClassVar[bool] = False

    def weights(self, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Σ α · relu(gradient), α = g² / (2g² + g³ ΣA), 0 where the gradient is 0."""
        sums = activations.sum((1, 2), keepdims=True)
        # g² cancelled; a negative or vanishing denominator is the method's own, a zero one is not
        # defined in the paper and weighs nothing.
        denominator = 2 + gradients * sums
        usable = (gradients != 0) & (denominator != 0)
        alphas = np.divide(1.0, denominator, out=np.zeros_like(gradients), where=usable)
        weights: np.ndarray = (alphas * np.maximum(gradients, 0)).sum((1, 2))
        return weights


@checked
class GuidedGradCam(GuidedBackprop):
    """Guided Backprop × Grad-CAM in the image's size (Selvaraju et al. 2017, section 3.2).

    Attributes:
        layer: As for Grad-CAM.
    """

    draws: ClassVar[bool] = False

    layer: str | None = None

    def complete(
        self,
        masks: np.ndarray,
        classifier: "Classifier",
        subjects: list[Subject],
        targets: np.ndarray,
    ) -> np.ndarray:
        """Guided Backprop (n, H, W, C) × Grad-CAM."""
        x = np.stack([subject.image for subject in subjects])
        maps = GradCam(layer=self.layer).maps(classifier, x, targets)
        product: np.ndarray = masks * resize_maps(maps, x.shape[1:3])[..., None]
        return product

    def check(self, classifier: "Classifier") -> None:
        """Refuses a model without ReLUs, and a layer that does not serve (ConfigError)."""
        classifier.network.check_rule(self.rule)
        classifier.network.check_layer(self.layer)

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """Grad-CAM's."""
        return Cost(gradients=1)


def resize_maps(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Maps (n, h, w), each divided by its maximum, in the image's size (bilinear): float32."""
    from skimage.transform import resize

    peaks = maps.max((1, 2), keepdims=True)
    scaled = np.divide(maps, peaks, out=np.zeros_like(maps), where=~(peaks <= 0))
    return np.stack([resize(one, size) for one in scaled]).astype(np.float32)
