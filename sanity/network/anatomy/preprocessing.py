"""What a model does to its images first: the range that its first layer sees."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of, trace_graph

# Of images alone these are affine in each pixel, and these move pixels or channels about.
_AFFINE = {"Mul", "RealDiv", "Sub", "Add", "AddV2", "BiasAdd", "Neg", "Cast", "Identity"}
_MOVING = {"Reshape", "Transpose", "Squeeze", "ExpandDims", "ReverseV2", "StridedSlice"}
_MOVING |= {"ResizeBilinear", "ResizeNearestNeighbor"}
_ASIDE = {"Shape", "NoOp", "Size", "Rank", "StopGradient"}
_FLAT = 1 / 16  # a range this narrow, beside 1 and its distance from 0, is nearly one value
_HIGH = 1000.0


@dataclass(frozen=True)
class Seen:
    """What images in [0, 1] have become where something else than scaling begins.

    Attributes:
        low: The least value of a black or white image, over pixels and channels.
        high: The greatest.
        span: The smallest difference between white and black.
        tensor: Its name.
    """

    low: float
    high: float
    span: float
    tensor: str

    @property
    def complaint(self) -> str | None:
        """Why that cannot be what a network was trained on; None if it can."""
        middle = abs(self.low + self.high) / 2
        if self.span < _FLAT * max(1.0, middle):
            return (
                f"its first layer sees black to white as {self.low:.4g} to {self.high:.4g}, nearly "
                "one grey"
            )
        if self.high - self.low > _HIGH:
            return f"its first layer sees black to white as {self.low:.4g} to {self.high:.4g}"
        return None


def read_seen(
    graph: FlatGraph, images: tf.TensorSpec, learned: Collection[str] = ()
) -> Seen | None:
    """What the first layer sees; None where images go to it as they are.

    Args:
        graph: The network.
        images: What it takes.
        learned: Placeholders of trainable variables: what reads them is a layer.
    """
    tensor = _scaled(graph, graph.behind(learned))
    if tensor is None:
        return None
    part = graph.between([graph.input], [tensor])
    read = trace_graph(lambda x: part.build(x, [tensor])[0], [images])
    shape = [2, *images.shape[1:]]
    black, white = (read(tf.fill(shape, tf.constant(v, images.dtype))).numpy() for v in (0, 1))
    both = np.stack([black, white]).astype(np.float64)
    return Seen(float(both.min()), float(both.max()), float(np.abs(np.ptp(both, 0)).min()), tensor)


def _scaled(graph: FlatGraph, learned: Collection[str]) -> str | None:
    """The last tensor of which each value is an affine function of one pixel."""
    name, found = graph.input, None
    while True:
        readers = [node for node in graph.consumers.get(name, ()) if node.op not in _ASIDE]
        if len(readers) != 1 or not _is_affine(graph, readers[0], name, learned):
            return found
        name = readers[0].name
        found = f"{name}:0"


def _is_affine(graph: FlatGraph, node: NodeDef, source: str, learned: Collection[str]) -> bool:
    inputs = [i for i in node.input if not i.startswith("^")]
    others = [op_of(i) for i in inputs if op_of(i) != source]
    if node.name in learned or len(inputs) - len(others) != 1:
        return False
    if any(name in graph.depths for name in others):
        # the size that an image is resized to, or brought into, may be read from it
        return node.op in _MOVING and all(_is_shape(graph, name) for name in others)
    if node.op == "Cast":
        return bool(tf.dtypes.as_dtype(node.attr["DstT"].type).is_floating)
    if node.op == "RealDiv":
        return op_of(inputs[0]) == source
    return node.op in _AFFINE or (node.op in _MOVING and op_of(inputs[0]) == source)


def _is_shape(graph: FlatGraph, name: str) -> bool:
    """Whether all that a tensor has of the images is their shape."""
    node = graph.nodes.get(name)
    if node is None or name not in graph.depths:
        return node is not None
    return node.op == "Shape" or (
        bool(node.input) and all(_is_shape(graph, op_of(i)) for i in node.input)
    )


def propose_range(seen: Seen, given: tuple[float, float]) -> tuple[float, float] | None:
    """The usual range that a model which scales by itself wants, None if none fits.

    Args:
        seen: What its first layer sees now.
        given: What black and white are given to the model as.
    """
    slope = seen.span / (given[1] - given[0])
    for low, high in ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)):
        first = seen.low + slope * (low - given[0])
        last = seen.high + slope * (high - given[1])
        if 0.4 <= last - first <= 300 and abs(first + last) / 2 <= last - first:
            return low, high
    return None
