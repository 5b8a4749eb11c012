"""The paper's data randomization test: the same network, trained on permuted labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.randomization.base import Loadable, Scheme
from sanity.randomization.stage import Stage
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

LAYER = "permuted labels"


@checked
class PermutedLabels(Scheme):
    """Stage 0 is the network trained on the true labels, stage 1 on permuted ones.

    Adebayo et al. 2018, section 4. Both begin with the same weights and see the images in the same
    order; only the labels differ, by one permutation keyed by the seed.
    """

    of_layers: ClassVar[bool] = False

    def check_model(self, model: Loadable, name: str, n_classes: int | None) -> None:
        """Refuses a model that is not trained here (ConfigError), before it is loaded."""
        if not model.retrainable:
            raise _refused(name)

    def stages(self, classifier: "Classifier", layers: Sequence[str], seed: int) -> list[Stage]:
        """The two stages; trains the second network unless that has been done before.

        Args:
            classifier: A network trained here.
            layers: Not used: every layer is learned anew.
            seed: Of the permutation.

        Raises:
            ConfigError: The network is not trained here, or does not learn the permuted labels.
        """
        training = classifier.training
        if training is None:
            raise _refused(classifier.name)
        labels = generator("labels", seed).permutation(training.labels)
        fitted = training.fit(labels, LAYER)
        facts = {**fitted.facts, "labels_changed": float((labels != training.labels).mean())}
        learned = tuple(classifier.parameters)
        return [
            Stage(0, "", (), fitted.weights.__getitem__),
            Stage(1, LAYER, learned, fitted.weights.__getitem__, new=learned, facts=facts),
        ]


def _refused(model: str) -> ConfigError:
    return ConfigError(
        "randomization=labels trains the network again, on permuted labels, so it needs one that "
        f"is trained here, model=cnn or model=mlp, not {model}"
    )
