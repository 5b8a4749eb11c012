"""Keras models: files of one's own, and the architectures Keras ships."""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.models.keras_initializers import own_initializers
from sanity.models.module import first_line
from sanity.models.source import Positive, ScaledSource, Source

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

# The module with each one's preprocessing. Literal, so that a name is checked without Keras.
APPLICATIONS: dict[str, str] = {
    name: module
    for module, names in {
        "convnext": "ConvNeXtBase ConvNeXtLarge ConvNeXtSmall ConvNeXtTiny ConvNeXtXLarge",
        "densenet": "DenseNet121 DenseNet169 DenseNet201",
        "efficientnet": "EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 "
        "EfficientNetB4 EfficientNetB5 EfficientNetB6 EfficientNetB7",
        "efficientnet_v2": "EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 "
        "EfficientNetV2L EfficientNetV2M EfficientNetV2S",
        "inception_resnet_v2": "InceptionResNetV2",
        "inception_v3": "InceptionV3",
        "mobilenet": "MobileNet",
        "mobilenet_v2": "MobileNetV2",
        "mobilenet_v3": "MobileNetV3Large MobileNetV3Small",
        "nasnet": "NASNetLarge NASNetMobile",
        "resnet": "ResNet50 ResNet101 ResNet152",
        "resnet_v2": "ResNet50V2 ResNet101V2 ResNet152V2",
        "vgg16": "VGG16",
        "vgg19": "VGG19",
        "xception": "Xception",
    }.items()
    for name in names.split()
}


@checked
class Keras(ScaledSource):
    """A Keras model from a file, `.keras` or `.h5`.

    Attributes:
        path: The file.
        trust: Whether code in the file (a Lambda layer) may run.
    """

    path: str
    trust: bool = False

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The file cannot be read, would run code, or is no image classifier.
        """
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ConfigError(f"model.path={self.path} is no file")
        if not self.trust:
            _refuse_code(path, self.path)
        keras = _keras()
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=not self.trust)
        except Exception as error:  # a file of any age and origin: Keras raises what it comes upon
            raise ConfigError(
                f"model.path={self.path} cannot be loaded as a Keras model: {first_line(error)}"
            ) from error
        classifier = self.classifier(
            lambda images: model(self.scaled(images), training=False),
            self.shape(_own_shape(model, f"model.path={self.path}")),
            path.stem,
            {variable.path: variable.value for variable in model.variables},
        )
        classifier.initializers = own_initializers(model)
        return classifier


@checked
class KerasApplication(Source):
    """An architecture of `keras.applications`, with its own preprocessing.

    Attributes:
        application: Its name there.
        weights: `imagenet`, which Keras downloads, a file of weights, or None for random ones.
    """

    application: str
    weights: str | None = "imagenet"
    n_classes: Positive = 1000

    @field_validator("application")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in APPLICATIONS:
            raise ValueError(f"must be one of: {', '.join(APPLICATIONS)}")
        return name

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The weights cannot be had, or don't fit.
        """
        key = f"model.weights={self.weights}"
        if self.weights not in (None, "imagenet") and not Path(str(self.weights)).is_file():
            raise ConfigError(f"{key} must be imagenet, null or a file of weights")
        if self.weights == "imagenet" and self.n_classes != 1000:
            raise ConfigError(f"model.n_classes={self.n_classes} must be 1000 with {key}")
        keras = _keras()
        module = getattr(keras.applications, APPLICATIONS[self.application])
        try:
            model = getattr(keras.applications, self.application)(
                weights=self.weights,
                input_shape=None if self.input_shape is None else tuple(self.input_shape),
                classes=self.n_classes,
                classifier_activation=None,
            )
        except Exception as error:  # a download or a file: Keras raises what it comes upon
            hint = (
                ": fetch the file it names by hand and give it as model.weights=FILE"
                if self.weights == "imagenet"
                else ""
            )
            raise ConfigError(
                f"model.application={self.application} {key} cannot be made "
                f"({first_line(error)}){hint}"
            ) from error
        classifier = self.classifier(
            lambda images: model(module.preprocess_input(images * 255.0), training=False),
            self.shape(_own_shape(model, self.application)),
            self.application,
            {variable.path: variable.value for variable in model.variables},
        )
        classifier.initializers = own_initializers(model)
        return classifier


def _keras() -> Any:
    """Keras on TensorFlow.

    Raises:
        ConfigError: It was started on something else.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()} must be tensorflow")
    return keras


def _own_shape(model: Any, key: str) -> tuple[int | None, ...] | None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(str(list(one.shape)) for one in inputs)
        raise ConfigError(
            f"{key} must have one input, images (batch × height × width × channels); it takes "
            f"{shapes}"
        )
    return tuple(inputs[0].shape[1:])


def _refuse_code(path: Path, shown: str) -> None:
    """Looks for code in a model file before Keras opens it: not all versions of Keras refuse."""
    if any(layer == "Lambda" for layer in _class_names(_architecture(path))):
        raise ConfigError(
            f"model.path={shown} has a Lambda layer, Python code that would run on this machine: "
            "model.trust=true allows it, if you know where the file comes from"
        )


def _architecture(path: Path) -> Any:
    """The model's description in a Keras file, as JSON; None where there is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            return None if config is None else json.loads(config)
    except (OSError, KeyError, ValueError):
        return None  # Keras will say what is wrong with it


def _class_names(node: Any) -> Iterator[str]:
    """The class of each layer, however deep."""
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            yield node["class_name"]
        for value in node.values():
            yield from _class_names(value)
    elif isinstance(node, list):
        for value in node:
            yield from _class_names(value)
