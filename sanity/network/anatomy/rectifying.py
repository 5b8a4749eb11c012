"""ReLUs that are written out: max(x, 0), where(x > 0, x, 0), x · (x > 0), as JAX's exports are."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of, tensor_of

_ABOVE, _BELOW = ("Greater", "GreaterEqual"), ("Less", "LessEqual")
_PASSES = ("Identity", "Cast", "BroadcastTo", "Reshape")


def find_rectified(graph: FlatGraph, node: NodeDef) -> str | None:
    """The tensor x of which an op gives max(x, 0), if it is not ReLU itself; None if it does not.

    Args:
        graph: The network.
        node: The op.
    """
    inputs = [tensor_of(i) for i in node.input if not i.startswith("^")]
    if node.op == "Maximum":
        values = [i for i in inputs if not _is_zero(graph, i)]
        return values[0] if len(values) == 1 else None
    if node.op in ("Select", "SelectV2"):
        compared = _compared(graph, inputs[0])
        if compared is not None:
            x, above = compared
            chosen, other = inputs[1:] if above else inputs[:0:-1]
            return x if chosen == x and _is_zero(graph, other) else None
    if node.op == "Mul":
        for x, factor in (inputs, inputs[::-1]):
            if _compared(graph, factor) == (x, True):
                return x
    return None


def _compared(graph: FlatGraph, tensor: str) -> tuple[str, bool] | None:
    """The tensor that is compared with 0, and whether it is asked to be above."""
    node = graph.through(tensor, _PASSES)
    if node is None or node.op not in (*_ABOVE, *_BELOW):
        return None
    first, second = (tensor_of(i) for i in node.input[:2])
    if _is_zero(graph, second):
        return first, node.op in _ABOVE
    return (second, node.op in _BELOW) if _is_zero(graph, first) else None


def _is_zero(graph: FlatGraph, tensor: str) -> bool:
    """Whether all values of a tensor are 0, whatever the images."""
    node = graph.through(tensor, _PASSES)
    if node is None:
        captured = graph.captures.get(op_of(tensor))
        if captured is None or captured.dtype == tf.resource:
            return False
        value = tf.get_static_value(captured)
        return value is not None and not np.any(value)
    if node.op in ("ZerosLike", "Fill"):
        return node.op == "ZerosLike" or _is_zero(graph, node.input[1])
    return node.op == "Const" and not np.any(tf.make_ndarray(node.attr["value"].tensor))
