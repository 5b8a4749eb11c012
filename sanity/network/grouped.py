"""Convolutions in groups on a CPU, where TensorFlow has no gradient of some of them.

With oneDNN it has none of those with explicit padding, as PyTorch's are; without, of none at all.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

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
        if node.op == "Conv2D" and not has_gradient(node.attr["padding"].s == b"EXPLICIT")
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
            if _count(channels, own) > 1:
                node.attr[KIND].s = GROUPED.encode()
    return replace(graph, graph_def=new)


@cache
def has_gradient(explicit: bool) -> bool:
    """Whether a convolution in two groups has a gradient here.

    Args:
        explicit: With padding given as numbers.
    """
    padding = ("EXPLICIT", [0] * 8) if explicit else ("VALID", [])
    with tf.init_scope():
        sizes, values = tf.constant([1, 1, 1, 2]), tf.ones([1, 1, 1, 2])
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=sizes,
                filter=values,
                out_backprop=values,
                strides=[1, 1, 1, 1],
                padding=padding[0],
                explicit_paddings=padding[1],
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


def _count(images: tf.TensorShape, kernel: tf.TensorShape) -> int:
    """How many groups a convolution has; 1 where its channels are not known beforehand."""
    if images.rank != 4 or kernel.rank != 4 or not images[3] or not kernel[2]:
        return 1
    return int(images[3] // kernel[2])


def _gradient(op: tf.Operation, upper: Any) -> list[Any]:
    """Of a convolution with respect to its input and its kernel."""
    images, kernel = op.inputs
    like = {name: op.get_attr(name) for name in _LIKE}
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
    return [tf.concat(found, 3) for found in back]


tf.RegisterGradient(GROUPED)(_gradient)
