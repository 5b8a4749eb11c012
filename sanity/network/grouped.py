"""Convolutions in groups on a CPU without oneDNN, where TensorFlow has no gradient of them."""

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
    convolutions = [node for node in graph.graph_def.node if node.op == "Conv2D"]
    if not convolutions or has_gradient():
        return graph
    specs = graph.specs([tensor_of(i) for node in convolutions for i in node.input[:2]], images)
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    for node in new.node:
        if node.op == "Conv2D":
            channels, own = (specs[tensor_of(i)].shape for i in node.input[:2])
            if _count(channels, own) > 1:
                node.attr[KIND].s = GROUPED.encode()
    return replace(graph, graph_def=new)


@cache
def has_gradient() -> bool:
    """Whether a convolution in two groups has a gradient here."""
    with tf.init_scope():
        sizes, values = tf.constant([1, 1, 1, 2]), tf.ones([1, 1, 1, 2])
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=sizes,
                filter=values,
                out_backprop=values,
                strides=[1, 1, 1, 1],
                padding="VALID",
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
