"""Where classifiers come from. Nothing here imports TensorFlow before a model is loaded."""

from sanity.models.efficientnet_lite import EfficientNetLite
from sanity.models.trained import Cnn, Mlp

__all__ = ["Cnn", "EfficientNetLite", "Mlp"]
