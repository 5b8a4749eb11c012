"""The random logit test: another class explained instead of another network."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.randomization.base import Loadable, Scheme
from sanity.randomization.stage import Stage
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.data import Images
    from sanity.network.classifier import Classifier

LAYER = "other class"


@checked
class OtherClass(Scheme):
    """Stage 0 explains the class that `target` says, each further stage another one.

    The random logit test (Sixt et al. 2020): the weights stay as trained, and a mask that stays as
    well says nothing of the class it is meant to explain.

    Attributes:
        classes: How many other classes, a stage each, no class twice.
        choice: `random`: drawn uniformly among all others, keyed by (seed, image); the first ones
            are the same whatever their number. `likeliest`: those with the highest logits.
    """

    of_layers: ClassVar[bool] = False

    classes: Annotated[int, Field(ge=1)] = 1
    choice: Literal["random", "likeliest"] = "random"

    def check_model(self, model: Loadable, name: str, n_classes: int | None) -> None:
        """Refuses more classes than a model has (ConfigError), where its options say."""
        if n_classes:
            self._check(name, n_classes)

    def check_target(self, target: int | str) -> None:
        """Refuses a target that would choose the classes of all stages itself (ConfigError)."""
        if target == "predicted_each_stage":
            raise ConfigError(
                "target=predicted_each_stage explains the predicted class at every stage, but "
                "randomization=other_class explains others: choose target=predicted, label, a "
                "class number or a class name"
            )

    def stages(self, classifier: "Classifier", layers: Sequence[str], seed: int) -> list[Stage]:
        """The stages, all with the trained weights.

        Args:
            classifier: The network.
            layers: Not used: no layer is randomized.
            seed: Of the classes drawn.

        Raises:
            ConfigError: The network has too few classes.
        """
        self._check(classifier.name, classifier.n_classes)
        trained = classifier.trained.__getitem__
        stages = [Stage(0, "", (), trained)]
        for index in range(1, self.classes + 1):
            layer = LAYER if self.classes == 1 else f"{LAYER} {index}"
            chosen = partial(self._classes, seed, index)
            stages.append(Stage(index, layer, (), trained, classes=chosen))
        return stages

    def _check(self, model: str, n_classes: int) -> None:
        if self.classes >= n_classes:
            raise ConfigError(
                f"randomization.classes={self.classes} must be at most {n_classes - 1}, as "
                f"{model} has {n_classes} classes, of which one is explained at stage 0"
            )

    def _classes(
        self,
        seed: int,
        index: int,
        classifier: "Classifier",
        images: "Images",
        targets: np.ndarray,
    ) -> np.ndarray:
        """The index-th other class of each image, (n,)."""
        n = classifier.n_classes
        if self.choice == "likeliest":
            orders = np.argsort(-classifier.logits(images.x), axis=1, kind="stable")
        else:
            draws = [generator("other_class", seed, name) for name in images.names]
            orders = np.stack([draw.permutation(n) for draw in draws])
        others = orders[orders != np.asarray(targets)[:, None]].reshape(len(images), n - 1)
        classes: np.ndarray = others[:, index - 1].astype(np.int64)
        return classes
