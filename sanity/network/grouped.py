"""Convolutions in groups and with holes on a CPU, where TensorFlow has no gradient of some of them.

With oneDNN it has none of those in groups, or with holes (dilations), with explicit padding, as
PyTorch's are; without, of none in groups and of none with holes.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.custom_gradients import KIND
from sanity.network.graph import GROUPED, FlatGraph, tensor_of

_LIKE = ("strides", "padding", "explicit_paddings", "dilations", "data_format")


def make_differentiable(graph: FlatGraph, images: tf.TensorSpec) -> FlatGraph:
    """The graph, its convolutions in groups with a gradient group by group where that is needed.

    Args:
        graph: A network.
        images: What it takes.
    """
    convolutions = [
        node
        for node in graph.graph_def.node
        if node.op == "Conv2D"
        and not (has_gradient(_is_explicit(node.attr["padding"].s)) and _holes_have(node))
    ]
    if not convolutions:
        return graph
    specs = graph.specs([tensor_of(i) for node in convolutions for i in node.input[:2]], images)
    names = {node.name for node in convolutions}
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    for node in new.node:
        if node.name in names:
            channels, own = (specs[tensor_of(i)].shape for i in node.input[:2])
            if _count(channels, own) > 1 or not _holes_have(node):
                node.attr[KIND].s = GROUPED.encode()
    return replace(graph, graph_def=new)


@cache
def has_gradient(explicit: bool = False, groups: int = 2, holes: int = 1) -> bool:
    """Whether a convolution has a gradient here.

    Args:
        explicit: With padding given as numbers.
        groups: In so many.
        holes: With so many steps from one weight to the next.
    """
    padding = ("EXPLICIT", [0] * 8) if explicit else ("VALID", [])
    with tf.init_scope():
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.constant([1, 1, 1, groups]),
                filter=tf.ones([1, 1, 1, groups]),
                out_backprop=tf.ones([1, 1, 1, groups]),
                strides=[1, 1, 1, 1],
                padding=padding[0],
                explicit_paddings=padding[1],
                dilations=[1, holes, holes, 1],
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


def _holes_have(node: NodeDef) -> bool:
    """Whether a convolution has no holes, or they have a gradient here."""
    explicit = _is_explicit(node.attr["padding"].s)
    if max(node.attr["dilations"].list.i, default=1) == 1:
        return True
    return has_gradient(explicit, groups=1, holes=2)


def _is_explicit(padding: bytes) -> bool:
    return padding == b"EXPLICIT"


def _count(images: tf.TensorShape, kernel: tf.TensorShape) -> int:
    """How many groups a convolution has; 1 where its channels are not known beforehand."""
    if images.rank != 4 or kernel.rank != 4 or not images[3] or not kernel[2]:
        return 1
    return int(images[3] // kernel[2])


def _gradient(op: tf.Operation, upper: Any) -> list[Any]:
    """Of a convolution with respect to its input and its kernel."""
    images, kernel = op.inputs
    like = {name: op.get_attr(name) for name in _LIKE}
    _, *steps, _ = like["dilations"]
    explicit = _is_explicit(like["padding"])
    spread = max(steps) > 1 and not has_gradient(explicit, groups=1, holes=2)
    if spread:
        kernel, like["dilations"] = _with_holes(kernel, steps), [1, 1, 1, 1]
    groups = _count(images.shape, kernel.shape)
    *size, channels = tf.unstack(tf.shape(images))
    size.append(channels // groups)
    back: list[list[Any]] = [[], []]
    parts = (tf.split(tensor, groups, 3) for tensor in (images, kernel, upper))
    for x, own, above in zip(*parts, strict=True):
        back[0].append(
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.stack(size), filter=own, out_backprop=above, **like
            )
        )
        back[1].append(
            tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=tf.shape(own), out_backprop=above, **like
            )
        )
    of_images, of_kernel = (tf.concat(found, 3) for found in back)
    return [of_images, of_kernel[:: steps[0], :: steps[1]] if spread else of_kernel]


def _with_holes(kernel: tf.Tensor, steps: Sequence[int]) -> tf.Tensor:
    """A kernel (h, w, …) with zeros between its weights, which are so many steps apart."""
    height, width, *rest = tf.unstack(tf.shape(kernel))
    down, across = steps
    apart = tf.reshape(kernel, [height, 1, width, 1, *rest])
    apart = tf.pad(apart, [[0, 0], [0, down - 1], [0, 0], [0, across - 1], [0, 0], [0, 0]])
    whole = tf.reshape(apart, [height * down, width * across, *rest])
    return whole[: (height - 1) * down + 1, : (width - 1) * across + 1]


tf.RegisterGradient(GROUPED)(_gradient)
