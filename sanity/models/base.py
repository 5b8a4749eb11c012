"""The contract of models: what makes a classifier, and what is known before it is made."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sanity.contents import Made
from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@dataclass(frozen=True)
class Declared:
    """What a configuration says of a model before it is loaded; None where it says nothing.

    Attributes:
        blocks: Their names, from output to input.
        n_classes: How many there are.
        input_shape: (height, width, channels).
    """

    blocks: Sequence[str] | None = None
    n_classes: int | None = None
    input_shape: tuple[int, int, int] | None = None


class Model(Made, ABC):
    """Where a classifier comes from.

    One of one's own derives from it, is a `@checked` dataclass, and gives `load`. Loading twice
    must give the same network with the same weights.

    Attributes:
        retrainable: Whether it is trained here, so that its classifier has a `training`.
    """

    retrainable: ClassVar[bool] = False

    @abstractmethod
    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: It cannot be had, or is no image classifier.
        """

    def load_untrained(self) -> "Classifier":
        """The classifier as a dry run needs it: one that is trained here need not be."""
        return self.load()

    def declared(self) -> Declared:
        """What is known without loading it."""
        return Declared()

    def folder(self) -> Path | None:
        """Where the SavedModel or Hub module lies that it is read from, if it is."""
        return None


class _Adapted(Model):
    """A class of somebody's own that only has a `load()`, and perhaps says what is known."""

    def __init__(self, own: Any):
        self._own = own

    def __repr__(self) -> str:
        return repr(self._own)

    def origin(self) -> Any:
        """The class of one's own."""
        return self._own

    def load(self) -> "Classifier":
        classifier: Classifier = self._own.load()
        return classifier

    def declared(self) -> Declared:
        shape = getattr(self._own, "input_shape", None)
        return Declared(
            blocks=getattr(self._own, "blocks", None),
            n_classes=getattr(self._own, "n_classes", None),
            input_shape=None if shape is None else tuple(shape),
        )


def as_model(value: Any, key: str) -> Model:
    """A model as the contract has it; a class that is not derived from it must have `load`.

    Raises:
        ConfigError: It is no model.
    """
    if isinstance(value, Model):
        return value
    if callable(getattr(value, "load", None)):
        return _Adapted(value)
    raise ConfigError(
        f"{key}={type(value).__name__} is no model: derive it from sanity.models.Model and give it "
        "load()"
    )
