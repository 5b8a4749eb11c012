"""ReLUs that are written out, told by the values of what their ops compute.

So are max(x, 0), where(x > 0, x, 0), x · (x > 0), (x + |x|) / 2, and clip(x, 0, 6), a capped one.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of, tensor_of

RECTIFIERS = ("Relu", "Relu6")
_SHAPED = frozenset(("Reshape", "BroadcastTo"))
_PASSES = _SHAPED | {"Identity", "Snapshot", "PreventGradient", "CheckNumerics", "EnsureShape"}
# Functions of one entry, or of several at one place, that straight pieces are made of.
_PIECES: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "AddV2": np.add,
    "ClipByValue": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "Div": np.divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalNot": np.logical_not,
    "LogicalOr": np.logical_or,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "NotEqual": np.not_equal,
    "RealDiv": np.divide,
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Select": np.where,
    "SelectV2": np.where,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Sub": np.subtract,
}
_FURTHEST = 16  # ops of which a function is made at the most
_SIZES = np.geomspace(1e-3, 1e6, 73)
_SAMPLED = np.concatenate([-_SIZES[::-1], [0], _SIZES])
_SLACK = 1e-5  # 6 · (1/6) in single precision
_FLAT = 8  # samples in a row of one value


def find_rectified(graph: FlatGraph, node: NodeDef) -> str | None:
    """The tensor x of which an op gives max(x, 0), capped perhaps, if it is not ReLU itself.

    None if it does not. Of several, the one nearest to the images.

    Args:
        graph: The network.
        node: The op.
    """
    if node.op in RECTIFIERS or node.op not in _PIECES:
        return None
    rectified = None
    for x in _arguments(graph, node):
        y = _sample(graph, f"{node.name}:0", x)
        if y is not None and _is_rectified(y):
            rectified = x
    return rectified


def is_flat(graph: FlatGraph, x: str, y: str) -> bool:
    """Whether a function of each entry has one value on a part of its axis, as a threshold's has.

    Args:
        graph: The network.
        x: The tensor that it is of.
        y: The op that gives its values.
    """
    values = _sample(graph, f"{y}:0", x)
    if values is None or np.ndim(values) == 0:
        return False
    steps = np.diff(values) == 0
    runs = np.convolve(steps, np.ones(_FLAT), "valid")
    return bool((runs == _FLAT).any() and not steps.all())


def _arguments(graph: FlatGraph, node: NodeDef) -> Iterator[str]:
    """The tensors that an op's values are a function of alone, entry by entry, nearest first.

    They have its shape and type.
    """
    front = {f"{node.name}:0": False}  # tensors, and whether all ways to them change the shape
    for _ in range(_FURTHEST):
        if not front:
            return
        deepest = max(front, key=lambda tensor: graph.depths.get(op_of(tensor), 0))
        last = graph.nodes.get(op_of(deepest))
        if last is None or not (last.op in _PIECES or last.op in _PASSES or _is_mask(last)):
            return
        shaped = front.pop(deepest) or last.op in _SHAPED
        for source in map(tensor_of, _given(last)):
            if op_of(source) in graph.valued:
                front[source] = front.get(source, True) and shaped
        if len(front) == 1:
            (x,) = front
            if front[x]:
                return
            yield x


def _is_mask(node: NodeDef) -> bool:
    """Whether an op makes numbers of what is true."""
    return node.op == "Cast" and bool(tf.as_dtype(node.attr["SrcT"].type).is_bool)


def _given(node: NodeDef) -> list[str]:
    """What an op computes with: of a shape that it is to have, nothing."""
    inputs = [i for i in node.input if not i.startswith("^")]
    return inputs[:1] if node.op in _PASSES else inputs


def _sample(graph: FlatGraph, tensor: str, x: str) -> Any:
    """Values of a tensor where those of another are the samples; None where it is not known."""
    if tensor == x:
        return _SAMPLED
    node = graph.nodes.get(op_of(tensor))
    if node is None or op_of(tensor) not in graph.valued:
        return _constant(graph, tensor)
    if node.op in _PASSES or _is_mask(node):
        found = _sample(graph, tensor_of(node.input[0]), x)
        return None if found is None else np.asarray(found, np.float64)
    if node.op not in _PIECES:
        return None
    values = [_sample(graph, tensor_of(i), x) for i in _given(node)]
    if any(value is None for value in values):
        return None
    with np.errstate(all="ignore"):
        return _PIECES[node.op](*values)


def _constant(graph: FlatGraph, tensor: str) -> float | None:
    """The one value that all entries of a tensor have, whatever the images; None of others."""
    node = graph.through(tensor, _PASSES | {"Cast"})
    if node is None:
        captured = graph.captures.get(op_of(tensor))
        known = captured is not None and captured.dtype != tf.resource
        values = tf.get_static_value(captured) if known else None
    elif node.op in ("ZerosLike", "OnesLike"):
        return float(node.op == "OnesLike")
    elif node.op == "Fill":
        return _constant(graph, node.input[1])
    else:
        values = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
    if values is None or not np.size(values) or values.dtype.kind not in "fiub":
        return None
    first = np.ravel(values)[0]
    return float(first) if (values == first).all() else None


def _is_rectified(y: Any) -> bool:
    """Whether values at the samples are min(max(x, 0), c)."""
    cap = np.max(y)
    if np.ndim(y) == 0 or not cap > _SIZES[0]:
        return False
    return bool(np.allclose(y, np.clip(_SAMPLED, 0, cap), rtol=_SLACK, atol=0))
