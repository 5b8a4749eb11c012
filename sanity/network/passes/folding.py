"""Batch norm folded into the convolution before it: fewer passes over the activations.

At inference a batch norm is a factor and a shift by channel. The factor times the kernel is
computed inside the graph from the live variables, so that randomized ones work as they are.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import NORMS, FlatGraph, op_of, tensor_of

_LINEAR = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
_FLOAT = tf.float32.as_datatype_enum


@dataclass(frozen=True)
class _Chain:
    """Ops in a row, each of which multiplies or shifts channels and is read by the next one only.

    Attributes:
        start: The convolution or matrix product whose output they change; None if there is none.
        links: The ops.
        source: The tensor that the first of them changes.
    """

    start: NodeDef | None
    links: list[NodeDef]
    source: str

    @property
    def pays(self) -> bool:
        """Whether rewriting saves a pass over the activations."""
        if self.start is None:
            # Preprocessing stays as it is: pixels are multiples of 1/255, and 255 x is exact.
            return any(node.op in NORMS for node in self.links)
        return [node.op for node in self.links] != ["BiasAdd"]


def fold(graph: FlatGraph, output: str, images: tf.TensorSpec) -> FlatGraph:
    """The same network in fewer ops; equal but for rounding.

    Factors and shifts by channel behind a convolution (or matrix product) become part of its kernel
    and one `BiasAdd`, which TensorFlow computes together with the convolution; a `FusedBatchNorm`
    that follows no convolution becomes multiply and add, because its own gradient computes more
    than the input needs. A 1 × 1 convolution that makes channels fewer moves before the average
    pooling (as in Inception's pooling branches): fewer are averaged. What was folded away has no
    value of its own any more: activations are read from the plain graph.

    Args:
        graph: The network.
        output: The tensor that stays.
        images: What the network takes.
    """
    graph = graph.between([graph.input], [output])
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    nodes = {node.name: node for node in new.node}
    for chain in _chains(graph, output, images):
        if chain.pays:
            new.node.extend(_rewritten(chain, nodes))
    graph = replace(graph, graph_def=new).between([graph.input], [output])
    return _averaged_late(graph, output, images).between([graph.input], [output])


def _averaged_late(graph: FlatGraph, output: str, images: tf.TensorSpec) -> FlatGraph:
    """Exchanges averages and the 1 × 1 convolutions, with their shift, that follow them."""
    pairs = [(node, row) for node in graph.nodes.values() if (row := _narrowing(graph, node))]
    if not pairs:
        return graph
    tensors = [t for pool, row in pairs for t in (pool.input[0], row[0].input[1])]
    specs = graph.specs([tensor_of(t) for t in tensors], images)
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    nodes = {node.name: node for node in new.node}
    for pool, row in pairs:
        channels = specs[tensor_of(pool.input[0])].shape[-1]
        kernel = specs[tensor_of(row[0].input[1])].shape
        passed = {pool.name, *(node.name for node in row[:-1])}
        if kernel.rank != 4 or kernel[:2] != [1, 1] or op_of(output) in passed:
            continue
        if None in (channels, kernel[-1]) or kernel[-1] >= channels:
            continue
        end, source = row[-1].name, pool.input[0]
        for node in row:  # by new names: the old ones would promise other values
            early = new.node.add()
            early.CopyFrom(node)
            early.name = f"{end}/early/{node.op}"
            early.input[0], source = source, early.name
        late = nodes[end]
        late.CopyFrom(pool)
        late.name, late.input[0] = end, source
    return replace(graph, graph_def=new)


def _narrowing(graph: FlatGraph, pool: NodeDef) -> list[NodeDef]:
    """The convolution, with its shift if there is one, that alone reads averages of neighbours.

    Padding is left out of an average, so that the shift's is the shift itself.
    """
    if pool.op != "AvgPool" or pool.attr["padding"].s != b"SAME" or not _steps_by_one(pool):
        return []
    if pool.attr["T"].type != _FLOAT or not _channels_last(pool) or not _is_alone(graph, pool):
        return []
    (convolution,) = graph.consumers[pool.name]
    if convolution.op != "Conv2D" or not _steps_by_one(convolution):
        return []
    if op_of(convolution.input[0]) != pool.name or not _channels_last(convolution):
        return []
    if convolution.attr["padding"].s == b"EXPLICIT":
        return []
    follower = graph.consumers[convolution.name][0] if _is_alone(graph, convolution) else None
    shifted = follower is not None and follower.op == "BiasAdd" and _channels_last(follower)
    return [convolution, follower] if shifted else [convolution]


def _steps_by_one(node: NodeDef) -> bool:
    return all(step == 1 for step in node.attr["strides"].list.i)


def _chains(graph: FlatGraph, output: str, images: tf.TensorSpec) -> Iterator[_Chain]:
    constants = _channel_constants(graph, images)
    taken: set[str] = set()
    for node in graph.nodes.values():
        if node.name in taken or node.name not in graph.depths:
            continue
        start, links = None, []
        if node.op in _LINEAR:
            if node.attr["T"].type != _FLOAT or not _channels_last(node):
                continue
            if op_of(node.input[0]) not in graph.depths or op_of(node.input[1]) in graph.depths:
                continue
            start = node
        elif _is_link(node, graph, constants):
            links.append(node)
        else:
            continue
        last = node
        while last.name != op_of(output) and _is_alone(graph, last):
            (follower,) = graph.consumers[last.name]
            if not _is_link(follower, graph, constants):
                break
            links.append(follower)
            last = follower
        taken.update(link.name for link in links)
        if links:
            source = f"{start.name}:0" if start is not None else _changed(links[0], graph)
            yield _Chain(start, links, source)


def _is_alone(graph: FlatGraph, node: NodeDef) -> bool:
    """Whether an op's first output is read once, and no other at all."""
    readers = graph.consumers[node.name]
    reads = [i for reader in readers for i in reader.input if op_of(i) == node.name]
    return len(reads) == 1 and reads[0] in (node.name, f"{node.name}:0")


def _is_link(node: NodeDef, graph: FlatGraph, constants: Mapping[str, int]) -> bool:
    """Whether an op multiplies or shifts the channels of what the images have become."""
    if node.attr["T"].type != _FLOAT:
        return False
    if node.op in NORMS:
        return (
            not node.attr["is_training"].b
            and _channels_last(node)
            and op_of(node.input[0]) in graph.depths
            and not any(op_of(i) in graph.depths for i in node.input[1:])
            and all(
                i in (node.name, f"{node.name}:0")
                for reader in graph.consumers[node.name]
                for i in reader.input
                if op_of(i) == node.name
            )
        )
    if node.op == "BiasAdd":
        return _channels_last(node) and op_of(node.input[1]) not in graph.depths
    inside = [op_of(i) in graph.depths for i in node.input]
    if node.op in ("Mul", "Add", "AddV2"):
        return sum(inside) == 1 and node.name in constants
    return node.op in ("Sub", "RealDiv") and inside == [True, False] and node.name in constants


def _channel_constants(graph: FlatGraph, images: tf.TensorSpec) -> dict[str, int]:
    """Size of the constant operand of each op that changes channels by one, or all by a number."""
    operands: dict[str, tuple[str, str]] = {}
    for node in graph.nodes.values():
        if node.op in ("Mul", "Add", "AddV2", "Sub", "RealDiv") and node.name in graph.depths:
            inside = [i for i in node.input if op_of(i) in graph.depths]
            outside = [i for i in node.input if op_of(i) not in graph.depths]
            if len(inside) == len(outside) == 1:
                operands[node.name] = (tensor_of(inside[0]), tensor_of(outside[0]))
    found = graph.specs([t for pair in operands.values() for t in pair], images)
    constants = {}
    for name, (changed, operand) in operands.items():
        channels, shape = found[changed].shape, found[operand].shape
        if channels.rank is None or not shape.is_fully_defined():
            continue
        size = math.prod(shape)
        if channels.rank >= 2 and shape.rank <= channels.rank and channels[-1] is not None:
            if size == 1 or (size == channels[-1] == shape[-1]):
                constants[name] = size
    return constants


def _changed(link: NodeDef, graph: FlatGraph) -> str:
    return str(next(i for i in link.input if op_of(i) in graph.depths))


def _rewritten(chain: _Chain, nodes: Mapping[str, NodeDef]) -> list[NodeDef]:
    """Rewrites a chain's first and last op in place; the ops to be added for their operands."""
    end = nodes[chain.links[-1].name]
    scope = f"{end.name}/folded"
    start = chain.start and nodes[chain.start.name]
    outside = _operands(chain)
    with tf.Graph().as_default() as graph, tf.name_scope(scope):
        inputs = {
            name: tf.compat.v1.placeholder(tf.float32, name=f"operand{index}")
            for index, name in enumerate(outside)
        }
        scale, shift = _affine(chain, inputs)
        if start is not None:
            kernel = tf.compat.v1.placeholder(tf.float32, name="kernel")
            tf.identity(_scaled(start, kernel, scale), name="scaled")
            # Of one entry a channel, whatever it was made of.
            width = tf.shape(kernel)
            channels = width[-1] if start.op != "DepthwiseConv2dNative" else width[-2] * width[-1]
            if start.op == "MatMul" and start.attr["transpose_b"].b:
                channels = width[0]
            shift = tf.broadcast_to(shift, [channels])
        tf.identity(scale, name="scale")
        tf.identity(shift, name="shift")
    mapped = {inputs[name].op.name: name for name in outside}
    if start is not None:
        mapped[f"{scope}/kernel"] = start.input[1]
    added = []
    for node in graph.as_graph_def().node:
        if node.op != "Placeholder":
            node.input[:] = [mapped.get(i, i) for i in node.input]
            added.append(node)
    end.Clear()
    end.name = chain.links[-1].name
    end.attr["T"].type = _FLOAT
    if start is not None:
        start.input[1] = f"{scope}/scaled"
        end.op = "BiasAdd"
        end.input.extend([start.name, f"{scope}/shift"])
    else:
        product = NodeDef(name=f"{scope}/product", op="Mul")
        product.input.extend([chain.source, f"{scope}/scale"])
        product.attr["T"].type = _FLOAT
        added.append(product)
        end.op = "AddV2"
        end.input.extend([product.name, f"{scope}/shift"])
    return added


def _operands(chain: _Chain) -> list[str]:
    """The tensors, other than activations, that a chain's ops read."""
    names = []
    before = op_of(chain.source)
    for link in chain.links:
        names += [i for i in link.input if op_of(i) != before]
        before = link.name
    return list(dict.fromkeys(names))


def _affine(chain: _Chain, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a chain multiplies channels by, and then adds: vectors, or of one entry for all."""
    scale, shift = tf.ones([1]), tf.zeros([1])
    before = op_of(chain.source)
    for link in chain.links:
        values = [tf.reshape(inputs[i], [-1]) for i in link.input if op_of(i) != before]
        if link.op in NORMS:
            gamma, beta, mean, variance = values
            factor = gamma * tf.math.rsqrt(variance + link.attr["epsilon"].f)
            scale, shift = scale * factor, (shift - mean) * factor + beta
        elif link.op == "Mul":
            scale, shift = scale * values[0], shift * values[0]
        elif link.op == "RealDiv":
            scale, shift = scale / values[0], shift / values[0]
        else:
            shift = shift - values[0] if link.op == "Sub" else shift + values[0]
        before = link.name
    return scale, shift


def _scaled(start: NodeDef, kernel: Any, scale: Any) -> Any:
    """A kernel whose outputs come out multiplied."""
    if start.op == "DepthwiseConv2dNative":  # channel i, multiplier j: output i·m + j
        shape = tf.shape(kernel)
        return kernel * tf.reshape(tf.broadcast_to(scale, [shape[2] * shape[3]]), shape[2:])
    if start.op == "MatMul" and start.attr["transpose_b"].b:
        return kernel * tf.reshape(scale, [-1, 1])
    return kernel * scale


def _channels_last(node: NodeDef) -> bool:
    return "data_format" not in node.attr or node.attr["data_format"].s in (b"", b"NHWC")
