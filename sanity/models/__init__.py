"""Where classifiers come from. Nothing here imports TensorFlow before a model is loaded."""

from sanity.models.base import Declared, Model, as_model
from sanity.models.efficientnet_lite import EfficientNetLite
from sanity.models.frozen import Frozen
from sanity.models.hub import Hub
from sanity.models.keras import Keras, KerasApplication
from sanity.models.known import KnownTruth
from sanity.models.onnx import Onnx
from sanity.models.saved_model import SavedModel
from sanity.models.tflite import TFLite
from sanity.models.torch import Torch
from sanity.models.trained import Cnn, Mlp, Vit

__all__ = [
    "Cnn",
    "Declared",
    "EfficientNetLite",
    "Frozen",
    "Hub",
    "Keras",
    "KerasApplication",
    "KnownTruth",
    "Mlp",
    "Model",
    "Onnx",
    "SavedModel",
    "TFLite",
    "Torch",
    "Vit",
    "as_model",
]
