"""SavedModels on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

from sanity.checked import Text, checked
from sanity.contents import Content
from sanity.models.kinds import kind_of
from sanity.models.module import entry
from sanity.models.source import ScaledSource

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class SavedModel(ScaledSource):
    """Any SavedModel that takes images and gives a vector.

    Attributes:
        path: Its folder.
        signature: Which one classifies; None for `serving_default`.
    """

    path: Text
    signature: Text | None = None

    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.path).expanduser()

    def sources(self) -> dict[str, Content]:
        """The SavedModel, and the file of class names."""
        folder = self.folder()
        return super().sources() | ({"path": folder} if kind_of(folder) == "saved_model" else {})

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: It is not there, is broken, or is no image classifier.
        """
        key = f"model.path={self.path}"
        found = entry(self.folder(), self.signature, key, call_first=False)
        return self.classifier_of(found, Path(self.path).name, key)
