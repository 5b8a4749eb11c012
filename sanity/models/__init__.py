"""Where classifiers come from. Nothing here imports TensorFlow before a model is loaded."""

from sanity.models.efficientnet_lite import EfficientNetLite

__all__ = ["EfficientNetLite"]
