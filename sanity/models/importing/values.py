"""Values of an ONNX graph in TensorFlow: what is known is an array, what is computed a tensor.

ONNX has channels before places, (n, c, h, w); TensorFlow's convolutions on a CPU take (n, h, w, c).
A value stays in whichever arrangement it was computed, and is turned where an operator wants the
other, so that a chain of convolutions is turned at its ends only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import tensorflow as tf

Sizes = list[int | None]
Arranged = Literal["", "full", "depthwise"]


@dataclass(frozen=True)
class Value:
    """One value.

    Attributes:
        data: An array where it is known while the graph is built, else a tensor. A shape of which
            only a part is known is an array of objects, numbers and scalar tensors.
        last: Whether ONNX's second axis, the channels, stands last here.
        kernel: `full` or `depthwise` where it is a kernel in the order of axes that TensorFlow's
            convolutions of that kind take.
        inner: In a graph for one image that is to take any number: by how much the open axis counts
            before it counts images.
    """

    data: Any
    last: bool = False
    kernel: Arranged = ""
    inner: int = 1

    @property
    def known(self) -> bool:
        """Whether its numbers are known while the graph is built."""
        return isinstance(self.data, np.ndarray) and self.data.dtype != object

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.data.shape)

    @property
    def sizes(self) -> Sizes:
        """Along ONNX's axes, None where unknown."""
        own = [*self.data.shape]
        return [own[0], own[-1], *own[1:-1]] if self.last else own

    def axis(self, axis: int) -> int:
        """Where an axis of ONNX's stands here."""
        axis %= self.rank
        if not self.last or not axis:
            return axis
        return self.rank - 1 if axis == 1 else axis - 1

    def like(self, data: Any) -> "Value":
        """Another value in this one's arrangement."""
        return replace(self, data=data, kernel="")


@dataclass(frozen=True)
class Node:
    """An operator of a graph, without its inputs.

    Attributes:
        op: Its type.
        name: What messages and tensors call it.
        attributes: By name.
        outputs: How many it gives.
        opset: The version of the operators.
        sizes: Of its first output along ONNX's axes, where they are known beforehand.
        opened: Whether these are of one image, in a graph that is to take any number.
    """

    op: str
    name: str
    attributes: dict[str, Any]
    outputs: int
    opset: int
    sizes: Sizes | None = None
    opened: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is where it does not stand."""
        return self.attributes.get(name, default)


Operator = Callable[..., Any]


class Unsupported(Exception):
    """Something about an operator that is not converted; its text ends a sentence."""


def tensor(value: Value) -> Any:
    """A value as a tensor in its own arrangement."""
    if isinstance(value.data, np.ndarray) and value.data.dtype == object:
        parts = tf.stack([tf.cast(one, tf.int64) for one in value.data.ravel()])
        return tf.reshape(parts, value.data.shape)
    return tf.convert_to_tensor(value.data)


def first(value: Value) -> Any:
    """A value as a tensor in ONNX's arrangement."""
    if not value.last:
        return tensor(value)
    return tf.transpose(value.data, [0, value.rank - 1, *range(1, value.rank - 1)])


def last(value: Value) -> Any:
    """A value as a tensor with channels last."""
    if value.last or value.rank < 3:
        return tensor(value)
    return tf.transpose(tensor(value), [0, *range(2, value.rank), 1])


def array(value: Value, what: str) -> np.ndarray:
    """A value that has to be known.

    Raises:
        Unsupported: It is computed of the images.
    """
    if value.known:
        return np.asarray(value.data)
    if not isinstance(value.data, np.ndarray):
        static = tf.get_static_value(value.data)
        if static is not None:
            return np.asarray(static)
    raise Unsupported(f"{what} depends on the image")


def numbers(value: Value, what: str) -> list[int]:
    """A vector of whole numbers that has to be known."""
    return [int(one) for one in array(value, what).ravel()]


def split_pads(pads: Sequence[int]) -> tuple[list[int], list[int]]:
    """ONNX's pads, all beginnings and all ends."""
    half = len(pads) // 2
    return [*pads[:half]], [*pads[half:]]


def entries(value: Value) -> list[Any]:
    """A shape's entries: numbers where they are known, else scalar tensors."""
    if isinstance(value.data, np.ndarray):
        return [one if tf.is_tensor(one) else int(one) for one in value.data.ravel()]
    static = tf.get_static_value(value.data, partial=True)
    if static is not None:
        found = np.asarray(static).ravel()
        if all(one is not None for one in found):
            return [int(one) for one in found]
    return [*tf.unstack(value.data)]


def aligned(values: Sequence[Value]) -> tuple[list[Any], bool]:
    """Tensors that broadcast as ONNX's do, and whether they have channels last."""
    rank = max(value.rank for value in values)
    turned = any(value.last and value.rank == rank for value in values) and rank > 2
    if not turned:
        return [first(value) for value in values], False
    return [_widened(value, rank) for value in values], True


def _widened(value: Value, rank: int) -> Any:
    """A value with channels last, of a rank that it broadcasts to."""
    if value.rank == rank:
        return last(value)
    if value.rank == 0:
        return tensor(value)
    data = first(value)
    if value.known:
        data = np.asarray(value.data)
        data = data.reshape((1,) * (rank - data.ndim) + data.shape)
        return tf.constant(np.moveaxis(data, 1, -1))
    sizes = tf.shape(data)
    data = tf.reshape(
        data,
        [1] * (rank - value.rank)
        + [size if size is not None else sizes[k] for k, size in enumerate(data.shape)],
    )
    return tf.transpose(data, [0, *range(2, rank), 1])
