"""What the small vision transformer trained here is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sanity.models.architecture import Layers
from sanity.randomness import generator

_EPSILON = 1e-6  # of layer normalization, as in the paper's code
_SPREAD = 0.02  # of tokens and positions at the beginning, as in the paper's code


@dataclass(frozen=True)
class Transformer(Layers):
    """A vision transformer (Dosovitskiy et al. 2021): patches, a class token, encoder blocks.

    Each block adds attention and then a layer of GELUs to its input, both of what layer
    normalization makes of it; the class token's last state, normalized, gives the logits.

    Attributes:
        patch: Side of a patch, in pixels; it divides the image's sides.
        width: Of a token.
        heads: Of attention; they share the width.
        depth: Number of blocks.
        units: Of the layer of GELUs.
        classes: Number of logits.
    """

    patch: int
    width: int
    heads: int
    depth: int
    units: int
    classes: int

    @property
    def blocks(self) -> list[str]:
        """Their names, from output to input."""
        return ["logits", *(f"block{i}" for i in range(self.depth, 0, -1)), "embedding"]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight, from input to output."""
        height, width, channels = self.input_shape
        tokens = (height // self.patch) * (width // self.patch) + 1
        side = self.width
        shapes: dict[str, tuple[int, ...]] = {
            "embedding/kernel": (self.patch, self.patch, channels, side),
            "embedding/bias": (side,),
            "embedding/class_token": (1, 1, side),
            "embedding/position": (1, tokens, side),
        }

        def dense(name: str, inputs: int, outputs: int) -> None:
            shapes[f"{name}/kernel"], shapes[f"{name}/bias"] = (inputs, outputs), (outputs,)

        def norm(name: str) -> None:
            shapes[f"{name}/scale"] = shapes[f"{name}/offset"] = (side,)

        for block in self.blocks[-2:0:-1]:
            norm(f"{block}/attention/norm")
            for part in ("query", "key", "value", "output"):
                dense(f"{block}/attention/{part}", side, side)
            norm(f"{block}/mlp/norm")
            dense(f"{block}/mlp/dense1", side, self.units)
            dense(f"{block}/mlp/dense2", self.units, side)
        norm("logits/norm")
        dense("logits", side, self.classes)
        return shapes

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """The weights to begin with, float32, each keyed by (seed, its name).

        Kernels are normal with variance 2/(fan_in + fan_out) (Glorot & Bengio 2010, equation 16),
        tokens and positions normal with standard deviation 0.02, scales 1, the rest 0.
        """
        weights = {}
        for name, shape in self.shapes().items():
            kind = name.rsplit("/", 1)[1]
            value = np.full(shape, kind == "scale", np.float32)
            if kind in ("kernel", "class_token", "position"):
                fans = np.prod(shape[:-1]) + shape[-1]
                spread = np.sqrt(2 / fans) if kind == "kernel" else _SPREAD
                draw = generator("initial", seed, name).standard_normal(shape, np.float32)
                value = draw * np.float32(spread)
            weights[name] = value
        return weights

    def network(self, weights: Mapping[str, Any]) -> Callable[[Any], Any]:
        """The function from images (n, H, W, C) to logits (n, classes), of variables by name."""
        import tensorflow as tf

        side, heads = self.width, self.heads

        def dense(x: Any, name: str) -> Any:
            # Of rows, not of (n, tokens, width): one product, and not one an image.
            rows = tf.linalg.matmul(tf.reshape(x, [-1, x.shape[-1]]), weights[f"{name}/kernel"])
            bias = weights[f"{name}/bias"]
            return tf.reshape(tf.nn.bias_add(rows, bias), [-1, *x.shape[1:-1], bias.shape[0]])

        def norm(x: Any, name: str) -> Any:
            mean, variance = tf.nn.moments(x, -1, keepdims=True)
            scale, offset = weights[f"{name}/scale"], weights[f"{name}/offset"]
            return (x - mean) * tf.math.rsqrt(variance + _EPSILON) * scale + offset

        def split(x: Any) -> Any:
            parts = tf.reshape(x, [-1, x.shape[1], heads, side // heads])
            return tf.transpose(parts, [0, 2, 1, 3])

        def attention(x: Any, name: str) -> Any:
            query, key, value = (split(dense(x, f"{name}/{n}")) for n in ("query", "key", "value"))
            scores = tf.linalg.matmul(query, key, transpose_b=True) * (side // heads) ** -0.5
            mixed = tf.linalg.matmul(tf.nn.softmax(scores, name="attention"), value)
            mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, x.shape[1], side])
            return dense(mixed, f"{name}/output")

        def logits(images: Any) -> Any:
            kernel, stride = weights["embedding/kernel"], self.patch
            x = tf.nn.conv2d(images, kernel, stride, "VALID", name="embedding/patches")
            x = tf.reshape(tf.nn.bias_add(x, weights["embedding/bias"]), [-1, *self._tokens, side])
            token = tf.tile(weights["embedding/class_token"], [tf.shape(x)[0], 1, 1])
            x = tf.concat([token, x], 1) + weights["embedding/position"]
            for block in self.blocks[-2:0:-1]:
                with tf.name_scope(block):
                    x += attention(norm(x, f"{block}/attention/norm"), f"{block}/attention")
                    y = dense(norm(x, f"{block}/mlp/norm"), f"{block}/mlp/dense1")
                    x += dense(tf.nn.gelu(y), f"{block}/mlp/dense2")
            return dense(norm(x[:, 0], "logits/norm"), "logits")

        return logits

    @property
    def _tokens(self) -> tuple[int]:
        """How many patches there are."""
        height, width, _ = self.input_shape
        return ((height // self.patch) * (width // self.patch),)
