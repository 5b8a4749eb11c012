"""The contract of randomizations: what gives the stages of a run."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from sanity.contents import Made
from sanity.errors import ConfigError
from sanity.randomization.stage import Stage

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


class Loadable(Protocol):
    """What is known of a model before it is loaded."""

    @property
    def retrainable(self) -> bool:
        """Whether it is trained here."""


class Scheme(Made, ABC):
    """A sequence of states of a network, the trained one first.

    One of one's own derives from it, is a `@checked` dataclass, and gives `stages`. What it draws
    is keyed by the seed and by what the draw is for (`sanity.randomness.generator`), so that a
    stage is the same whichever others there are. It changes no weights itself: a `Stage` says which
    values they take.

    Attributes:
        of_layers: Whether the choice of layers plays a part.
    """

    of_layers: ClassVar[bool] = True

    @abstractmethod
    def stages(self, classifier: "Classifier", layers: Sequence[str], seed: int) -> list[Stage]:
        """The stages; that with index 0 is the network as trained.

        Args:
            classifier: The network.
            layers: The blocks chosen, from output to input.
            seed: Of whatever is drawn.

        Raises:
            ConfigError: It makes no sense for this network.
        """

    def cascade(self) -> str | None:
        """The order in which blocks are randomized, by its name; None if there is none."""
        return None

    def survivors(self, classifier: "Classifier", layers: Sequence[str]) -> list[str] | None:
        """What stays as trained at the end, of the learned parameters that it means to destroy.

        Args:
            classifier: The network.
            layers: The blocks chosen.

        Returns:
            Names, none if all is well; None if it does not mean to destroy the whole network.
        """
        return None

    def idle(self, classifier: "Classifier", layers: Sequence[str]) -> dict[str, str]:
        """Parameters that change nothing beside the others, of this network, by name: why.

        Args:
            classifier: The network.
            layers: The blocks chosen.
        """
        return {}

    def check_model(self, model: Loadable, name: str, n_classes: int | None) -> None:
        """Refuses a model, before it is loaded (ConfigError).

        Args:
            model: What is known of it.
            name: What messages call it.
            n_classes: How many classes it has, None if that is not known yet.
        """

    def check_target(self, target: int | str) -> None:
        """Refuses a target that it does not go with (ConfigError)."""


def as_scheme(value: object, key: str) -> Scheme:
    """A randomization as the contract has it.

    Raises:
        ConfigError: It is not derived from `Scheme`.
    """
    if isinstance(value, Scheme):
        return value
    raise ConfigError(
        f"{key}={type(value).__name__} is no randomization: derive it from "
        "sanity.randomization.Scheme and give it stages(classifier, layers, seed)"
    )
