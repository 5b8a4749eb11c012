"""Keras models: files of one's own, and the architectures Keras ships."""

import importlib.util
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from sanity.checked import Text, checked
from sanity.contents import Content, files_among
from sanity.errors import ConfigError
from sanity.models.inputs import Input
from sanity.models.keras_file import keras_3, open_model, own_objects, read, refuse_code
from sanity.models.keras_variables import own_initializers, variables
from sanity.models.kinds import DETAILS
from sanity.models.module import Entry
from sanity.models.source import Positive, ScaledSource, Source

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

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
        path: The file, or a file of weights beside an `architecture`.
        architecture: A JSON file of the network (`model.to_json()`), where `path` holds weights.
        module: A module of one's own that defines layers of the model; it is imported, so it runs.
        trust: Whether code in the file (a Lambda layer) may run.
    """

    path: Text
    architecture: Text | None = None
    module: Text | None = None
    trust: bool = False

    def sources(self) -> dict[str, Content]:
        """The model's files, a module of one's own, and the file of class names."""
        found = {
            **super().sources(),
            **files_among(path=self.path, architecture=self.architecture),
        }
        if self.module is not None:
            file = _module_file(self.module)
            found |= {} if file is None else {"module": file}
        return found

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The file cannot be read, would run code, or is no image classifier.
        """
        file = read(self.path, self.architecture)
        if not self.trust:
            refuse_code(file)
        own = {} if self.module is None else own_objects(self.module)
        model = open_model(file, self.trust, own)
        entry, name = _entry(model), file.path.stem
        return self.classifier_of(entry, name, file.key, own_initializers(model))


@checked
class KerasApplication(Source):
    """An architecture of `keras.applications`, with its own preprocessing.

    Attributes:
        application: Its name there.
        weights: `imagenet`, which Keras downloads, a file of weights, or None for random ones.
    """

    application: str
    weights: Text | None = "imagenet"
    n_classes: Positive = 1000

    @field_validator("application")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in APPLICATIONS:
            raise ValueError(f"must be one of: {', '.join(APPLICATIONS)}")
        return name

    def sources(self) -> dict[str, Content]:
        """A file of weights, and that of class names."""
        found = super().sources()
        if self.weights in (None, "imagenet"):
            return found
        return {**found, **files_among(weights=self.weights)}

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
        keras = keras_3()
        module = getattr(keras.applications, APPLICATIONS[self.application])
        if self.weights == "imagenet":
            try:
                model = self._made(keras, "imagenet")
            except Exception as error:  # a download: Keras raises what it comes upon
                self._made(keras, None)  # or it is not the download
                raise ConfigError(_not_downloaded(self.application, error)) from error
        else:
            model = self._made(keras, None)
            self._take_weights(model)
        return self.classifier(
            lambda images: model(module.preprocess_input(images * 255.0), training=False),
            self.shape(model.inputs[0].shape[1:]),
            self.application,
            variables(model),
            own_initializers(model),
        )

    def _made(self, keras: Any, weights: str | None) -> Any:
        make = getattr(keras.applications, self.application)
        shape = None if self.input_shape is None else tuple(self.input_shape)
        options = {"classes": self.n_classes, "classifier_activation": None}
        if weights is not None:
            return make(weights=weights, input_shape=shape, **options)
        try:
            return make(weights=None, input_shape=shape, **options)
        except ValueError as error:
            log.debug("%s", error)
            raise ConfigError(
                f"model.input_shape={self.input_shape} is not what {self.application} takes: "
                f"null gives its own ({DETAILS})"
            ) from error

    def _take_weights(self, model: Any) -> None:
        if self.weights is None:
            return
        try:
            model.load_weights(self.weights)
        except Exception as error:  # a file of any age: Keras raises what it comes upon
            log.debug("%s", error)
            raise ConfigError(
                f"model.weights={self.weights} does not fit model.application={self.application} "
                f"with model.n_classes={self.n_classes}: it must be what model.save_weights(FILE) "
                f"writes of the same network ({DETAILS})"
            ) from error


def _module_file(module: str) -> Path | None:
    """The file of a module that Python finds, or the current folder holds, without running it."""
    beside = Path(module.replace(".", "/") + ".py")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin and Path(spec.origin).is_file():
        return Path(spec.origin)
    return beside if beside.is_file() else None


def _not_downloaded(application: str, error: Exception) -> str:
    log.debug("%s", error)
    address = re.search(r"https?://\S+?(?=:?\s|$)", str(error))
    what = address[0] if address else "the file of weights that Keras' documentation names"
    return (
        f"model.application={application} model.weights=imagenet cannot be downloaded: fetch "
        f"{what} by hand and give it as model.weights=FILE ({DETAILS})"
    )


def _entry(model: Any) -> Entry:
    """A model of Keras 3 or 2 as a function of its inputs by name."""
    import tensorflow as tf

    tensors = getattr(model, "inputs", None)
    if not tensors:
        inputs = [Input("images", None, tf.float32)]
    else:
        inputs = [Input(t.name, tuple(t.shape), tf.as_dtype(t.dtype)) for t in tensors]
    nested = _structure(model) if tensors else None

    def function(values: dict[str, Any]) -> Any:
        ordered = [values[one.name] for one in inputs]
        packed = ordered[0] if nested is None else tf.nest.pack_sequence_as(nested, ordered)
        return model(packed, training=False)

    return Entry(function, inputs, variables(model), "call")


def _structure(model: Any) -> Any:
    """How a model wants its inputs: one, a list or a dict; None where it does not say."""
    try:
        return model.input
    except (AttributeError, ValueError):
        return None
