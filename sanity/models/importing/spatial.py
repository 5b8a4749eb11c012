"""ONNX's convolutions and poolings, with channels last."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.models.importing.values import (
    Node,
    Operator,
    Unsupported,
    Value,
    first,
    last,
    split_pads,
    tensor,
)


def conv(node: Node, x: Value, kernel: Value, bias: Value | None = None) -> Value:
    """Conv: (outputs, inputs / groups, *window) kernels, of one to three axes."""
    places = x.rank - 2
    data, groups = last(x), node.get("group", 1)
    if kernel.kernel:
        weights, depthwise = kernel.data, kernel.kernel == "depthwise"
    else:
        given = first(kernel)  # one that is computed may have its channels last
        weights, depthwise = turned_kernel(given, groups), is_depthwise(groups, given.shape)
    window = weights.shape[:places]
    strides = node.get("strides", [1] * places)
    dilations = node.get("dilations", [1] * places)
    pads = _pads(node, data.shape[1:-1], window, strides, dilations)
    if places == 3 and groups > 1:
        raise Unsupported("it is of three axes and in groups")
    if places != 2:
        data = tf.nn.convolution(_padded(data, pads), weights, strides, "VALID", None, dilations)
    elif depthwise and strides[0] == strides[1] and (max(strides) == 1 or max(dilations) == 1):
        # TensorFlow's shape inference stops the process at a depthwise one with explicit padding.
        same = max(strides) == 1 and pads == [
            _same(*one) for one in zip(window, dilations, strict=True)
        ]
        data = data if same else _padded(data, pads)
        how = "SAME" if same else "VALID"
        data = tf.nn.depthwise_conv2d(data, weights, [1, *strides, 1], how, dilations=dilations)
    else:
        if depthwise:
            height, width, inputs, times = weights.shape
            weights = tf.reshape(weights, [height, width, 1, inputs * times])
        data = tf.nn.conv2d(data, weights, strides, _explicit(pads), dilations=dilations)
    return Value(_with_bias(data, bias), last=True)


def is_depthwise(groups: int, shape: Sequence[int]) -> bool:
    """Whether each channel of a map of two axes has kernels of its own, of this ONNX's shape."""
    return groups > 1 and shape[1] == 1 and len(shape) == 4


def turned_kernel(kernel: Any, groups: int) -> Any:
    """A kernel of Conv, array or tensor, as TensorFlow's convolutions take it."""
    places = len(kernel.shape) - 2
    transpose = np.transpose if isinstance(kernel, np.ndarray) else tf.transpose
    reshape = np.reshape if isinstance(kernel, np.ndarray) else tf.reshape
    turned = transpose(kernel, [*range(2, places + 2), 1, 0])
    if is_depthwise(groups, kernel.shape):
        return reshape(turned, (*turned.shape[:2], groups, turned.shape[-1] // groups))
    return turned


def conv_transpose(node: Node, x: Value, kernel: Value, bias: Value | None = None) -> Value:
    """ConvTranspose: (inputs, outputs / groups, *window) kernels, of two axes."""
    if x.rank != 4:
        raise Unsupported("it is not of two axes")
    data, groups = last(x), node.get("group", 1)
    weights = tf.transpose(first(kernel), [2, 3, 1, 0])
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    if max(dilations) > 1 or node.get("output_shape") is not None:
        raise Unsupported("it has dilations or an output_shape")
    if node.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unsupported("it has an auto_pad")
    begins, ends = split_pads(node.get("pads", [0] * 4))
    extra = node.get("output_padding", [0, 0])
    given = tf.shape(data)
    whole = [
        strides[k] * ((data.shape[k + 1] or given[k + 1]) - 1) + weights.shape[k] + extra[k]
        for k in range(2)
    ]
    parts = []
    for values, part in zip(tf.split(data, groups, -1), tf.split(weights, groups, -1), strict=True):
        shape = [given[0], *whole, part.shape[2]]
        parts.append(tf.nn.conv2d_transpose(values, part, shape, strides, "VALID"))
    data = parts[0] if groups == 1 else tf.concat(parts, -1)
    data = data[:, begins[0] : whole[0] - ends[0], begins[1] : whole[1] - ends[1], :]
    return Value(_with_bias(data, bias), last=True)


def _with_bias(data: Any, bias: Value | None) -> Any:
    return data if bias is None else tf.nn.bias_add(data, tensor(bias))


def _pads(
    node: Node,
    sizes: Sequence[int | None],
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """What is put before and behind each axis of a map."""
    auto = node.get("auto_pad", b"NOTSET")
    if auto == b"VALID":
        return [(0, 0)] * len(window)
    if auto == b"NOTSET":
        begins, ends = split_pads(node.get("pads", [0] * 2 * len(window)))
        return [*zip(begins, ends, strict=True)]
    found = []
    for size, length, stride, dilation in zip(sizes, window, strides, dilations, strict=True):
        if size is None:
            raise Unsupported(f"its auto_pad={auto.decode()} needs the size of the image")
        total = max((math.ceil(size / stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == b"SAME_UPPER" else (more, less))
    return found


def _same(length: int, dilation: int) -> tuple[int, int]:
    """Padding by which a window without strides leaves a map's size."""
    total = (length - 1) * dilation
    return total // 2, total - total // 2


def _explicit(pads: Sequence[tuple[int, int]]) -> Any:
    """Padding as TensorFlow's convolutions take it."""
    if not any(map(any, pads)):
        return "VALID"
    return [[0, 0], *map(list, pads), [0, 0]]


def _padded(data: Any, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    if not any(map(any, pads)):
        return data
    return tf.pad(data, [[0, 0], *map(list, pads), [0, 0]], constant_values=value)


def _pool_arguments(node: Node, data: Any) -> tuple[list[int], list[int], list[Any], list[Any]]:
    """Window, strides, pads as given, and pads with what ceil_mode adds behind."""
    window = node.get("kernel_shape")
    strides = node.get("strides", [1] * len(window))
    dilations = node.get("dilations", [1] * len(window))
    pads = _pads(node, data.shape[1:-1], window, strides, dilations)
    if not node.get("ceil_mode", 0):
        return window, strides, pads, pads
    wide = []
    for k, (before, behind) in enumerate(pads):
        size = data.shape[k + 1]
        if size is None:
            raise Unsupported("its ceil_mode needs the size of the image")
        reach = (window[k] - 1) * dilations[k] + 1
        count = math.ceil((size + before + behind - reach) / strides[k]) + 1
        if (count - 1) * strides[k] >= size + before:  # a window that begins behind the map
            count -= 1
        missing = (count - 1) * strides[k] + reach - (size + before)
        wide.append((before, max(missing, 0)))
    return window, strides, pads, wide


def max_pool(node: Node, x: Value) -> Value:
    """MaxPool, without the places of the maxima."""
    if node.outputs > 1:
        raise Unsupported("the places of its maxima are asked for")
    data = last(x)
    window, strides, _, pads = _pool_arguments(node, data)
    dilations = node.get("dilations", [1] * len(window))
    if len(window) == 2 and max(dilations) == 1:
        return Value(tf.nn.max_pool2d(data, window, strides, _explicit(pads)), last=True)
    data = _padded(data, pads, data.dtype.min)
    pooled = tf.nn.pool(data, window, "MAX", strides, "VALID", None, dilations)
    return Value(pooled, last=True)


def average_pool(node: Node, x: Value) -> Value:
    """AveragePool; where it does not count what is padded, means are divided by the share."""
    data = last(x)
    window, strides, pads, wide = _pool_arguments(node, data)
    if max(node.get("dilations", [1])) > 1:
        raise Unsupported("it has dilations")

    def pool(values: Any) -> Any:
        return tf.nn.pool(_padded(values, wide), window, "AVG", strides, "VALID")

    pooled = pool(data)
    counted = node.get("count_include_pad", 0)
    if any(map(any, wide)) and not (counted and wide == pads):
        if None in data.shape[1:-1]:
            raise Unsupported("its padding needs the size of the image")
        ones = np.ones((1, *data.shape[1:-1], 1), np.float32)
        if counted:
            inner = [[0, 0], *map(list, pads), [0, 0]]
            ones = np.pad(ones, inner, constant_values=1.0)
            rest = [(0, w[1] - p[1]) for w, p in zip(wide, pads, strict=True)]
            ones = np.pad(ones, [[0, 0], *map(list, rest), [0, 0]])
        else:
            ones = np.pad(ones, [[0, 0], *map(list, wide), [0, 0]])
        with tf.init_scope():
            share = tf.nn.pool(tf.constant(ones), window, "AVG", strides, "VALID").numpy()
        if not np.allclose(share, 1.0):
            pooled = pooled / tf.constant(share, data.dtype)
    return Value(pooled, last=True)


def _global(reduce: Callable[..., Any]) -> Operator:
    def apply(node: Node, x: Value) -> Value:
        data = last(x)
        return Value(reduce(data, axis=[*range(1, x.rank - 1)], keepdims=True), last=True)

    return apply


OPERATORS: dict[str, Operator] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": _global(tf.reduce_mean),
    "GlobalMaxPool": _global(tf.reduce_max),
    "MaxPool": max_pool,
}
