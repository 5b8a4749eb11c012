"""Methods of transformers: what attention mixes, and relevance that passes through it."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sanity.checked import checked
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.methods.activations import resize_maps
from sanity.methods.backprop import EpsilonLRP
from sanity.methods.base import Method
from sanity.methods.cost import Cost

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


class _OfTokens(Method):
    """A value for each token, which is that of its patch of the image."""

    draws: ClassVar[bool] = False

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
        _, grid = classifier.network.attention
        values = self.values(classifier, images.x, targets)[:, grid.patches]
        maps = values.reshape(len(values), grid.rows, grid.columns)
        return resize_maps(maps, images.x.shape[1:3])

    def values(self, classifier: "Classifier", x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The values (n, tokens), float64."""
        raise NotImplementedError

    def check(self, classifier: "Classifier") -> None:
        """Refuses a model without attention, or whose tokens cannot be followed (ConfigError)."""
        layers, _ = classifier.network.attention
        classifier.network.check_gradient(layers[0].weights)
        assert classifier.read_tokens.any()  # asked for while the trained weights are in place


@checked
class AttentionRollout(_OfTokens):
    """Attention rollout (Abnar & Zuidema 2020, section 3, equation 1).

    It depends on no class: the logits are not looked at, only attention.
    """

    draws: ClassVar[bool] = False

    def values(self, classifier: "Classifier", x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """What of each token has got, through all layers, to the tokens that the logits read."""
        layers, _ = classifier.network.attention
        count = layers[0].count
        weights = classifier.read(x, [layer.weights for layer in layers], (-1, count, count))
        mixed = np.eye(count)
        for each in weights:
            mixed = (0.5 * each.astype(np.float64).mean(1) + 0.5 * np.eye(count)) @ mixed
        rolled: np.ndarray = mixed[:, classifier.read_tokens].mean(1)
        return rolled

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """A pass forward."""
        return Cost(forward=1)


@checked
class AttentionRelevance(_OfTokens):
    """Gradient-weighted attention (Chefer et al. 2021, equations 5 and 6: self-attention)."""

    draws: ClassVar[bool] = False

    def values(self, classifier: "Classifier", x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The relevance of each token to those that the logits read."""
        layers, _ = classifier.network.attention
        count = layers[0].count
        tensors = [layer.weights for layer in layers]
        found = classifier.gradients_at(x, targets, tensors, (-1, count, count))
        relevance = np.broadcast_to(np.eye(count), (len(x), count, count))
        for weights, gradients in zip(*found, strict=True):
            product = weights.astype(np.float64) * gradients.astype(np.float64)
            relevance = relevance + np.maximum(product, 0).mean(1) @ relevance
        read: np.ndarray = relevance[:, classifier.read_tokens].mean(1)
        return read

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """A gradient, though it ends at the first layer of attention."""
        return Cost(gradients=1)


@checked
class GradCamTokens(_OfTokens):
    """Grad-CAM (Selvaraju et al. 2017) with patches for pixels.

    Of the tokens as the last layer of attention gets them: behind it, those beside a class token
    no longer matter.
    """

    draws: ClassVar[bool] = False

    def values(self, classifier: "Classifier", x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The map of the patches; other tokens take part in nothing."""
        layers, grid = classifier.network.attention
        last = layers[-1]
        found = classifier.gradients_at(x, targets, [last.tokens], (last.count, -1))
        (tokens,), (gradients,) = ([part.astype(np.float64) for part in each] for each in found)
        weights = gradients[:, grid.patches].mean(1)
        values: np.ndarray = np.maximum(np.einsum("ntc,nc->nt", tokens, weights), 0)
        return values

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """A gradient, though it ends at the last layer of attention."""
        return Cost(gradients=1)


@checked
class AttnLRP(EpsilonLRP):
    """AttnLRP (Achtibat et al. 2024) as a gradient, times the image.

    Attributes:
        epsilon: Added to the size of a nonlinearity's input, by which its output is divided.
        multiplier: Whether the modified gradient is multiplied by the image.
        coordinates: What black and white are where it is, see `methods.coordinates`.
    """

    draws: ClassVar[bool] = False

    @property
    def rule(self) -> str:
        """AttnLRP's, for this ε."""
        return f"attn_lrp:{self.epsilon!r}"

    def check(self, classifier: "Classifier") -> None:
        """Refuses a model without attention, or with ops that no rule is for (ConfigError)."""
        if not classifier.network.has_attention:
            raise ConfigError(
                f"{classifier.name} has no attention, so that AttnLRP would be ε-LRP: take "
                "epsilon_lrp"
            )
        super().check(classifier)
