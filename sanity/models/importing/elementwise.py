"""ONNX's operators that take values entry by entry, and those that choose or compare them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.models.importing.values import Node, Operator, Value, aligned, array, first, tensor

# Of ONNX's TensorProto.DataType.
DTYPES = {
    1: tf.float32,
    2: tf.uint8,
    3: tf.int8,
    4: tf.uint16,
    5: tf.int16,
    6: tf.int32,
    7: tf.int64,
    9: tf.bool,
    10: tf.float16,
    11: tf.float64,
    12: tf.uint32,
    13: tf.uint64,
    16: tf.bfloat16,
}


def _gelu(node: Node, x: Any) -> Any:
    return tf.nn.gelu(x, approximate=node.get("approximate", b"none") == b"tanh")


def _hard_sigmoid(node: Node, x: Any) -> Any:
    return tf.clip_by_value(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


def _elu(node: Node, x: Any) -> Any:
    alpha = node.get("alpha", 1.0)
    return tf.nn.elu(x) if alpha == 1 else tf.where(x > 0, x, alpha * (tf.exp(x) - 1.0))


def _selu(node: Node, x: Any) -> Any:
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    return tf.where(x > 0, gamma * x, gamma * alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0))


def _celu(node: Node, x: Any) -> Any:
    alpha = node.get("alpha", 1.0)
    return tf.maximum(x, 0.0) + tf.minimum(0.0, alpha * (tf.exp(x / alpha) - 1.0))


def _hard_swish(node: Node, x: Any) -> Any:
    return x * (tf.nn.relu6(x + 3.0) * np.float32(1 / 6))


def _shrink(node: Node, x: Any) -> Any:
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    inside = tf.zeros_like(x)
    return tf.where(x > limit, x - bias, tf.where(x < -limit, x + bias, inside))


def _thresholded(node: Node, x: Any) -> Any:
    return tf.where(x > node.get("alpha", 1.0), x, tf.zeros_like(x))


def _plain(function: Callable[[Any], Any]) -> Callable[[Node, Any], Any]:
    return lambda node, x: function(x)


_OF_ONE: dict[str, Callable[[Node, Any], Any]] = {
    **{
        op: _plain(function)
        for op, function in {
            "Abs": tf.abs,
            "Acos": tf.acos,
            "Acosh": tf.acosh,
            "Asin": tf.asin,
            "Asinh": tf.asinh,
            "Atan": tf.atan,
            "Atanh": tf.atanh,
            "Ceil": tf.math.ceil,
            "Cos": tf.cos,
            "Cosh": tf.cosh,
            "Erf": tf.math.erf,
            "Exp": tf.exp,
            "Floor": tf.floor,
            "IsNaN": tf.math.is_nan,
            "Log": tf.math.log,
            "Mish": lambda x: x * tf.tanh(tf.math.softplus(x)),
            "Neg": tf.negative,
            "Not": tf.logical_not,
            "Reciprocal": tf.math.reciprocal,
            "Relu": tf.nn.relu,
            "Round": tf.round,
            "Sigmoid": tf.sigmoid,
            "Sign": tf.sign,
            "Sin": tf.sin,
            "Sinh": tf.sinh,
            "Softplus": tf.math.softplus,
            "Softsign": tf.nn.softsign,
            "Sqrt": tf.sqrt,
            "Tan": tf.tan,
            "Tanh": tf.tanh,
        }.items()
    },
    "Cast": lambda node, x: tf.cast(x, DTYPES[node.get("to")]),
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "IsInf": _plain(tf.math.is_inf),
    "LeakyRelu": lambda node, x: tf.nn.leaky_relu(x, node.get("alpha", 0.01)),
    "Selu": _selu,
    "Shrink": _shrink,
    "Swish": lambda node, x: x * tf.sigmoid(node.get("alpha", 1.0) * x),
    "ThresholdedRelu": _thresholded,
}


def _divide(x: Any, y: Any) -> Any:
    if x.dtype.is_floating:
        return x / y
    return tf.math.sign(x) * tf.math.sign(y) * (tf.abs(x) // tf.abs(y))  # as C does


def _power(x: Any, y: Any) -> Any:
    exponent = tf.get_static_value(y)
    if exponent is not None and np.size(exponent) == 1 and float(np.ravel(exponent)[0]) == 2:
        return tf.square(x)
    if exponent is not None and np.size(exponent) == 1 and float(np.ravel(exponent)[0]) == 0.5:
        return tf.sqrt(x)
    return tf.pow(x, tf.cast(y, x.dtype))


def _modulo(node: Node, x: Any, y: Any) -> Any:
    return tf.truncatemod(x, y) if node.get("fmod", 0) else tf.math.floormod(x, y)


_OF_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "And": tf.logical_and,
    "Div": _divide,
    "Equal": tf.equal,
    "Greater": tf.greater,
    "GreaterOrEqual": tf.greater_equal,
    "Less": tf.less,
    "LessOrEqual": tf.less_equal,
    "Mul": tf.multiply,
    "Or": tf.logical_or,
    "Pow": _power,
    "Sub": tf.subtract,
    "Xor": tf.math.logical_xor,
}


def _sum(values: list[Any]) -> Any:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _extreme(choose: Callable[[Any, Any], Any]) -> Callable[[list[Any]], Any]:
    def reduce(values: list[Any]) -> Any:
        found = values[0]
        for value in values[1:]:
            found = choose(found, value)
        return found

    return reduce


_OF_SEVERAL: dict[str, Callable[[list[Any]], Any]] = {
    "Add": _sum,
    "Max": _extreme(tf.maximum),
    "Mean": lambda values: _sum(values) / float(len(values)),
    "Min": _extreme(tf.minimum),
    "Sum": _sum,
}


def _of_one(function: Callable[[Node, Any], Any]) -> Operator:
    return lambda node, x: x.like(function(node, tensor(x)))


def _of_several(function: Callable[..., Any]) -> Operator:
    def apply(node: Node, *values: Value) -> Value:
        tensors, turned = aligned(values)
        return Value(function(*tensors), turned)

    return apply


def _mod(node: Node, x: Value, y: Value) -> Value:
    tensors, turned = aligned((x, y))
    return Value(_modulo(node, *tensors), turned)


def clip(node: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    """Clip; its limits are attributes up to opset 10."""
    least = node.get("min") if low is None else array(low, "its lower limit").item()
    most = node.get("max") if high is None else array(high, "its upper limit").item()
    data = tensor(x)
    if least == 0 and most == 6:
        return x.like(tf.nn.relu6(data))
    if least == 0 and most is None:
        return x.like(tf.nn.relu(data))
    if least is not None and math.isfinite(least):
        data = tf.maximum(data, tf.cast(least, data.dtype))
    if most is not None and math.isfinite(most):
        data = tf.minimum(data, tf.cast(most, data.dtype))
    return x.like(data)


def cast_like(node: Node, x: Value, other: Value) -> Value:
    """CastLike: the type of another value."""
    return x.like(tf.cast(tensor(x), tensor(other).dtype))


def prelu(node: Node, x: Value, slope: Value) -> Value:
    """PRelu: a slope that broadcasts to the values."""
    tensors, turned = aligned((x, slope))
    return Value(tf.nn.relu(tensors[0]) - tensors[1] * tf.nn.relu(-tensors[0]), turned)


def same(node: Node, x: Value, *rest: Value | None) -> Any:
    """What changes nothing: Identity, and Dropout outside training."""
    if node.outputs == 1:
        return x
    return x, Value(tf.ones_like(tensor(x), tf.bool), x.last)


def where(node: Node, condition: Value, x: Value, y: Value) -> Value:
    """Where."""
    tensors, turned = aligned((condition, x, y))
    return Value(tf.where(*tensors), turned)


def softmax(function: Callable[..., Any]) -> Operator:
    """Softmax or LogSoftmax along an axis; up to opset 12 along all from it on."""

    def apply(node: Node, x: Value) -> Value:
        axis = node.get("axis", -1 if node.opset >= 13 else 1) % x.rank
        if node.opset >= 13 or axis == x.rank - 1:
            return x.like(function(tensor(x), axis=x.axis(axis)))
        data = first(x)
        sizes = tf.shape(data)
        rows = tf.reshape(data, [-1, tf.reduce_prod(sizes[axis:])])
        return Value(tf.ensure_shape(tf.reshape(function(rows), sizes), data.shape))

    return apply


OPERATORS: dict[str, Operator] = {
    **{op: _of_one(function) for op, function in _OF_ONE.items()},
    **{op: _of_several(function) for op, function in _OF_TWO.items()},
    **{
        op: _of_several(lambda *values, _function=function: _function([*values]))
        for op, function in _OF_SEVERAL.items()
    },
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": same,
    "Identity": same,
    "LogSoftmax": softmax(tf.nn.log_softmax),
    "Mod": _mod,
    "PRelu": prelu,
    "Softmax": softmax(tf.nn.softmax),
    "Where": where,
}
