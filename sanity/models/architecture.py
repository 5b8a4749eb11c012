"""What a small network trained here is made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sanity.randomness import generator


@dataclass(frozen=True)
class Layers(ABC):
    """The layers of a network that can be trained here; what it is, its fields say.

    Attributes:
        input_shape: (H, W, C).
    """

    input_shape: tuple[int, int, int]

    @property
    @abstractmethod
    def blocks(self) -> list[str]:
        """The blocks' names, from output to input."""

    @abstractmethod
    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """The weights to begin with, float32, each keyed by (seed, its name)."""

    @abstractmethod
    def network(self, weights: Mapping[str, Any]) -> Callable[[Any], Any]:
        """The function from images (n, H, W, C) to logits (n, classes), of variables by name."""


@dataclass(frozen=True)
class Architecture(Layers):
    """Convolutions, each with ReLU and 2×2 max pooling, then dense layers with ReLU, then logits.

    Attributes:
        filters: Of each convolution; none for a multilayer perceptron.
        kernel: Side of the convolutions' kernels, in pixels.
        units: Of each dense layer before the logits.
        classes: Number of logits.
    """

    filters: tuple[int, ...]
    kernel: int
    units: tuple[int, ...]
    classes: int

    @property
    def blocks(self) -> list[str]:
        """The layers' names, from output to input."""
        return list(self.shapes())[::-1]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The kernels' shapes by layer, from input to output."""
        height, width, channels = self.input_shape
        shapes: dict[str, tuple[int, ...]] = {}
        for i, filters in enumerate(self.filters, start=1):
            shapes[f"conv{i}"] = (self.kernel, self.kernel, channels, filters)
            height, width, channels = -(-height // 2), -(-width // 2), filters
        inputs = height * width * channels
        for i, units in enumerate(self.units, start=1):
            shapes[f"dense{i}"] = (inputs, units)
            inputs = units
        return {**shapes, "logits": (inputs, self.classes)}

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """The weights to begin with, float32, each keyed by (seed, its name).

        Kernels are normal with variance 2/fan_in (He et al. 2015, equation 10), biases 0.
        """
        weights = {}
        for name, shape in self.shapes().items():
            draw = generator("initial", seed, f"{name}/kernel").standard_normal(shape, np.float32)
            weights[f"{name}/kernel"] = draw * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
            weights[f"{name}/bias"] = np.zeros(shape[-1], np.float32)
        return weights

    def network(self, weights: Mapping[str, Any]) -> Callable[[Any], Any]:
        """The function from images (n, H, W, C) to logits (n, classes), of variables by name."""
        import tensorflow as tf

        def activated(x: Any, name: str) -> Any:
            return tf.nn.relu(tf.nn.bias_add(x, weights[f"{name}/bias"]), name=f"{name}/relu")

        def logits(images: Any) -> Any:
            x = images
            for name in (f"conv{i}" for i in range(1, len(self.filters) + 1)):
                x = tf.nn.conv2d(x, weights[f"{name}/kernel"], 1, "SAME", name=f"{name}/conv")
                x = tf.nn.max_pool2d(activated(x, name), 2, 2, "SAME", name=f"{name}/pool")
            x = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
            for name in (f"dense{i}" for i in range(1, len(self.units) + 1)):
                x = activated(tf.linalg.matmul(x, weights[f"{name}/kernel"]), name)
            x = tf.linalg.matmul(x, weights["logits/kernel"], name="logits/matmul")
            return tf.nn.bias_add(x, weights["logits/bias"], name="logits/add")

        return logits
