"""Gradients of convolutions that read the same tensor, computed by one convolution.

Where several convolutions stand side by side, as in an Inception block, the gradients at what they
read are added up. If their kernels are of one size, that sum is the gradient of one convolution
with all their channels: nothing is written, and read again, only to be added.
"""

from collections.abc import Mapping
from dataclasses import replace

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of, tensor_of

_LIKE = ("T", "strides", "padding", "explicit_paddings", "dilations", "data_format")


def join_gradients(graph: FlatGraph, shapes: Mapping[str, tf.TensorShape]) -> FlatGraph:
    """The same sums of gradients; equal but for rounding.

    Args:
        graph: A network with its backward pass.
        shapes: Of its tensors, by name.
    """
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    nodes = {node.name: node for node in new.node}
    for node in graph.nodes.values():
        if node.op == "AddN":
            for group in _find_parallel(graph, node, shapes):
                _join(nodes[node.name], [nodes[op_of(source)] for source in group], new)
    return replace(graph, graph_def=new)


def _find_parallel(
    graph: FlatGraph, total: NodeDef, shapes: Mapping[str, tf.TensorShape]
) -> list[list[str]]:
    """Those terms of a sum that can be one convolution's gradient."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for source in total.input:
        node = graph.nodes.get(op_of(source))
        if node is None or node.op != "Conv2DBackpropInput" or len(graph.consumers[node.name]) > 1:
            continue
        kernel = shapes[tensor_of(node.input[1])]
        if node.attr["data_format"].s == b"NHWC" and kernel.is_fully_defined():
            attributes = [node.attr[name].SerializeToString() for name in _LIKE]
            groups.setdefault((*kernel[:3].as_list(), *attributes), []).append(source)
    return [group for group in groups.values() if len(group) > 1]


def _join(total: NodeDef, terms: list[NodeDef], graph_def: GraphDef) -> None:
    """Adds the one gradient, and has the sum take it for its terms."""
    scope = f"{terms[0].name}/joined"
    channels = tf.make_tensor_proto(3, tf.int32)
    axis = graph_def.node.add(name=f"{scope}/axis", op="Const")
    axis.attr["dtype"].type = channels.dtype
    axis.attr["value"].tensor.CopyFrom(channels)
    for name, operand in (("kernels", 1), ("gradients", 2)):
        together = graph_def.node.add(name=f"{scope}/{name}", op="ConcatV2")
        together.input.extend([*(term.input[operand] for term in terms), axis.name])
        together.attr["N"].i = len(terms)
        together.attr["Tidx"].type = channels.dtype
        together.attr["T"].CopyFrom(terms[0].attr["T"])
    one = graph_def.node.add()
    one.CopyFrom(terms[0])
    one.name = f"{scope}/gradient"
    one.input[1:] = [f"{scope}/kernels", f"{scope}/gradients"]
    gone = {term.name for term in terms}
    left = [one.name, *(source for source in total.input if op_of(source) not in gone)]
    total.input[:] = left
    if len(left) > 1:
        total.attr["N"].i = len(left)
    else:
        total.op = "Identity"
        del total.attr["N"]
