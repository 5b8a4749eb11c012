"""Where values are probabilities: softmaxes and sigmoids, and what is made of these."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of, tensor_of

SHAPING = set("Identity Reshape Squeeze ExpandDims Transpose Cast StopGradient".split())
_SOFTMAX = {"Softmax", "LogSoftmax"}
# What probabilities go through where they are averaged, multiplied, chosen or put together.
_MIXING = SHAPING | set(
    "Add AddV2 AddN Mul RealDiv Sub Mean Sum ConcatV2 Pack StridedSlice Unpack Maximum "
    "Minimum ClipByValue Max Min Prod Cumsum Cumprod Gather GatherV2 GatherNd Slice Split SplitV "
    "Neg Square Sqrt Pow Round Select SelectV2 Pad PadV2 Tile MaxPool AvgPool ResizeBilinear "
    "ResizeNearestNeighbor".split()
)
_KEPT = ("Identity", "Cast")  # between a constant and what reads it
_ROUNDING = 1e-3  # of a constant in half precision


def find_activation(graph: FlatGraph, node: NodeDef) -> tuple[str, str] | None:
    """The softmax or sigmoid that a node computes, and the tensor it is of; written out as well."""
    if node.op in _SOFTMAX or node.op == "Sigmoid":
        return node.op, tensor_of(node.input[0])
    if node.op == "Log" and op_of(node.input[0]) in graph.nodes:
        inner = find_activation(graph, graph.nodes[op_of(node.input[0])])
        return ("LogSoftmax", inner[1]) if inner and inner[0] == "Softmax" else None
    if node.op != "RealDiv":
        return None
    above, below = (
        back(graph, tensor_of(i))[1] if op_of(i) in graph.nodes else None for i in node.input[:2]
    )
    if above is None or below is None:
        return None
    if above.op == "Exp" and below.op == "Sum":  # exp(z) / Σ exp(z), perhaps of z - max z
        if back(graph, tensor_of(below.input[0]))[1] is not above:
            return None
        z = tensor_of(above.input[0])
        shifted = graph.nodes.get(op_of(z))
        if shifted is not None and shifted.op == "Sub" and op_of(shifted.input[1]) in graph.nodes:
            shift = back(graph, tensor_of(shifted.input[1]))[1]
            if shift.op == "Max" and op_of(shift.input[0]) == op_of(shifted.input[0]):
                z = tensor_of(shifted.input[0])
        return "Softmax", z
    if _is_all(above, 1) and below.op in ("Add", "AddV2"):  # 1 / (1 + exp(-z))
        parts = [graph.nodes[op_of(i)] for i in below.input[:2] if op_of(i) in graph.nodes]
        power = next((part for part in parts if part.op == "Exp"), None)
        if power is not None and any(_is_all(part, 1) for part in parts):
            inside = graph.nodes.get(op_of(power.input[0]))
            if inside is not None and inside.op == "Neg":
                return "Sigmoid", tensor_of(inside.input[0])
    return None


def back(graph: FlatGraph, tensor: str) -> tuple[list[NodeDef], NodeDef]:
    """The nodes at an output that only shape it, last first, and the node that computes it."""
    shaping: list[NodeDef] = []
    node = graph.nodes[op_of(tensor)]
    while node.op in SHAPING and op_of(node.input[0]) in graph.nodes:
        shaping.append(node)
        node = graph.nodes[op_of(node.input[0])]
    return shaping, node


def is_mixed(graph: FlatGraph, tensor: str) -> bool:
    """Whether a tensor is made of probabilities, as an average of several networks' is."""
    found, seen = False, set[tuple[str, bool]]()
    waiting = [(op_of(tensor), False)]  # ops, and whether what they give is divided by 6
    while waiting:
        name, divided = waiting.pop()
        if name not in graph.valued or (name, divided) in seen:
            continue
        seen.add((name, divided))
        if name == graph.input:
            return False
        node = graph.nodes[name]
        if find_activation(graph, node) is not None or _ends_at_one(graph, node, divided):
            found = True
        elif node.op in _MIXING:
            divided = divided or _divides_by_six(graph, node)
            waiting += [(op_of(i), divided) for i in node.input]
        else:
            return False
    return found


def _ends_at_one(graph: FlatGraph, node: NodeDef, divided: bool) -> bool:
    """Whether values are cut off as a hard sigmoid's: at 1, or at 6, where that is divided by."""
    if node.op == "Relu6":
        return divided
    limits = [graph.nodes[op_of(i)] for i in node.input[1:] if op_of(i) in graph.nodes]
    return node.op in ("Minimum", "ClipByValue") and any(_is_all(one, 1) for one in limits)


def _divides_by_six(graph: FlatGraph, node: NodeDef) -> bool:
    factor = {"Mul": 1 / 6, "RealDiv": 6}.get(node.op)
    given = [graph.through(i, _KEPT) for i in node.input]
    return factor is not None and any(one and _is_all(one, factor) for one in given)


def _is_all(node: NodeDef, number: float) -> bool:
    """Whether an op is a constant whose values are all this number, but for rounding."""
    kind = tf.dtypes.as_dtype(node.attr["dtype"].type) if node.op == "Const" else tf.string
    if not (kind.is_floating or kind.is_integer):
        return False
    values = tf.make_ndarray(node.attr["value"].tensor).astype(float)
    return bool(np.allclose(values, number, _ROUNDING, 0))
