"""ONNX models, from any framework that exports them."""

from pathlib import Path
from typing import TYPE_CHECKING

from sanity.checked import Text, checked
from sanity.contents import Content
from sanity.models.importing.file import files_of, read
from sanity.models.source import ScaledSource

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class Onnx(ScaledSource):
    """An ONNX model: its operators become TensorFlow's, its weights live variables.

    Attributes:
        path: The file; files of weights that it names must lie in its folder.
    """

    path: Text

    def sources(self) -> dict[str, Content]:
        """The model's files, and the file of class names."""
        file = Path(self.path).expanduser()
        return {**super().sources(), "path": dict(files_of(file, f"model.path={self.path}"))}

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The file cannot be read, an operator is not converted, or it is no image
                classifier; or it is not computed as ONNX Runtime does.
        """
        from sanity.models.importing.entry import entry
        from sanity.models.importing.runtime import compare

        key, file = f"model.path={self.path}", Path(self.path).expanduser()
        model = read(file, key)
        found = entry(model, self.input_shape, key)
        compare(model, found, file, self.input_shape, key)
        return self.classifier_of(found, file.stem, key)
