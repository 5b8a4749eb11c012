"""ONNX's products, and reductions along axes."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sanity.models.importing.values import (
    Node,
    Operator,
    Unsupported,
    Value,
    array,
    first,
    numbers,
    tensor,
)
from sanity.network.products import multiply


def matmul(node: Node, x: Value, y: Value) -> Value:
    """MatMul, as NumPy's."""
    left, right = first(x), first(y)
    if x.rank == 1 or y.rank == 1:
        return Value(tf.linalg.matvec(left, right) if x.rank > 1 else _row(left, right))
    return Value(multiply(left, right))


def _row(left: Any, right: Any) -> Any:
    if len(right.shape) == 1:
        return tf.tensordot(left, right, 1)
    return tf.squeeze(tf.matmul(left[None], right), -2)


def gemm(node: Node, x: Value, y: Value, bias: Value | None = None) -> Value:
    """Gemm: α · x · y + β · bias."""
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    flipped = [bool(node.get(name, 0)) for name in ("transA", "transB")]
    product = tf.matmul(first(x), first(y), transpose_a=flipped[0], transpose_b=flipped[1])
    product = product if alpha == 1 else alpha * product
    if bias is None or beta == 0:
        return Value(product)
    added = first(bias)
    return Value(product + (added if beta == 1 else beta * added))


def einsum(node: Node, *values: Value) -> Value:
    """Einsum."""
    return Value(tf.einsum(node.get("equation").decode(), *map(first, values)))


def _square_sum(data: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return tf.reduce_sum(tf.square(data), axis, keepdims)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceL1": lambda data, axis, keepdims: tf.reduce_sum(tf.abs(data), axis, keepdims),
    "ReduceL2": lambda data, axis, keepdims: tf.sqrt(_square_sum(data, axis, keepdims)),
    "ReduceLogSum": lambda data, axis, keepdims: tf.math.log(tf.reduce_sum(data, axis, keepdims)),
    "ReduceLogSumExp": tf.reduce_logsumexp,
    "ReduceMax": tf.reduce_max,
    "ReduceMean": tf.reduce_mean,
    "ReduceMin": tf.reduce_min,
    "ReduceProd": tf.reduce_prod,
    "ReduceSum": tf.reduce_sum,
    "ReduceSumSquare": _square_sum,
}


def _reduction(function: Callable[..., Any]) -> Operator:
    def apply(node: Node, x: Value, axes: Value | None = None) -> Value:
        chosen = node.get("axes") if axes is None else numbers(axes, "its axes")
        keep = bool(node.get("keepdims", 1))
        if not chosen:
            if node.get("noop_with_empty_axes", 0):
                return x
            chosen = [*range(x.rank)]
        if keep:
            return x.like(function(tensor(x), axis=[x.axis(a) for a in chosen], keepdims=True))
        axis = [a % x.rank for a in chosen]
        if x.last and {*range(2, x.rank)} <= {*axis}:  # what is left is in ONNX's order
            return Value(function(x.data, axis=[x.axis(a) for a in axis], keepdims=False))
        return Value(function(first(x), axis=axis, keepdims=False))

    return apply


def _arg(function: Callable[..., Any]) -> Operator:
    def apply(node: Node, x: Value) -> Value:
        if node.get("select_last_index", 0):
            raise Unsupported("it asks for the last of equal values")
        axis = node.get("axis", 0) % x.rank
        found = function(first(x), axis=axis, output_type=tf.int64)
        return Value(tf.expand_dims(found, axis) if node.get("keepdims", 1) else found)

    return apply


def top_k(node: Node, x: Value, count: Value) -> tuple[Value, Value]:
    """TopK along an axis, of the largest or the smallest, in order."""
    axis = node.get("axis", -1) % x.rank
    order = [*range(axis), *range(axis + 1, x.rank), axis]
    back = [order.index(k) for k in range(x.rank)]
    sign = 1 if node.get("largest", 1) else -1
    data = tf.transpose(first(x), order) * tf.cast(sign, x.data.dtype)
    values, indices = tf.math.top_k(data, numbers(count, "their number")[0])
    values = tf.transpose(values * tf.cast(sign, values.dtype), back)
    return Value(values), Value(tf.transpose(tf.cast(indices, tf.int64), back))


def cumulative(node: Node, x: Value, axis: Value) -> Value:
    """CumSum."""
    return Value(
        tf.cumsum(
            first(x),
            int(array(axis, "its axis").item()),
            bool(node.get("exclusive", 0)),
            bool(node.get("reverse", 0)),
        )
    )


OPERATORS: dict[str, Operator] = {
    **{op: _reduction(function) for op, function in _REDUCTIONS.items()},
    "ArgMax": _arg(tf.argmax),
    "ArgMin": _arg(tf.argmin),
    "CumSum": cumulative,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
    "TopK": top_k,
}
