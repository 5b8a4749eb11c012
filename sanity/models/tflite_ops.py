"""What the operators of TensorFlow Lite compute, in TensorFlow's own.

Each is a function of an `Op`: its inputs, its options as the file has them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from sanity.network.products import multiply


class Op(Protocol):
    """An operator of a file, as what computes it sees it."""

    @property
    def options(self) -> Any:
        """As the schema of TensorFlow Lite names them; None where it has none."""

    @property
    def name(self) -> str:
        """What it is to be called in the graph."""

    @property
    def count(self) -> int:
        """How many inputs it has."""

    def tensor(self, position: int) -> Any:
        """An input; None where an optional one is left out."""

    def numbers(self, position: int) -> Any:
        """An input that says sizes or axes: an array where it is known, else a tensor."""

    def kernel(self, position: int, order: Sequence[int]) -> Any:
        """An input that is a kernel, its axes in another order."""

    def bias(self, position: int) -> Any:
        """An input that is a kernel's bias; None where there is none."""


@dataclass(frozen=True)
class _Of:
    """An operator that is a function of TensorFlow, of all inputs."""

    function: Callable[..., Any]

    def __call__(self, op: Op) -> Any:
        found = self.function(*(op.tensor(i) for i in range(op.count)))
        return _activated(op, found)


def _activated(op: Op, values: Any) -> Any:
    """Values with the activation that an operator has at its end."""
    kind = getattr(op.options, "fusedActivationFunction", 0)
    if kind == 0:
        return values
    if kind == 2:
        return tf.clip_by_value(values, -1.0, 1.0, name=op.name)
    return {1: tf.nn.relu, 3: tf.nn.relu6, 4: tf.tanh}[kind](values, name=op.name)


def _padding(op: Op) -> str:
    return "VALID" if op.options.padding else "SAME"


def _biased(op: Op, values: Any, position: int) -> Any:
    bias = op.bias(position)
    return _activated(op, values if bias is None else tf.nn.bias_add(values, bias))


def _convolution(op: Op) -> Any:
    steps, holes = (
        [getattr(op.options, first), getattr(op.options, second)]
        for first, second in (("strideH", "strideW"), ("dilationHFactor", "dilationWFactor"))
    )
    kernel = op.kernel(1, (1, 2, 3, 0))
    return _biased(op, tf.nn.conv2d(op.tensor(0), kernel, steps, _padding(op), dilations=holes), 2)


def _depthwise(op: Op) -> Any:
    x, kernel = op.tensor(0), op.kernel(1, (1, 2, 3, 0))
    height, width, outputs, _ = kernel.shape
    kernel = tf.reshape(kernel, [height, width, x.shape[3], outputs // x.shape[3]])
    steps = [1, op.options.strideH, op.options.strideW, 1]
    holes = [op.options.dilationHFactor, op.options.dilationWFactor]
    y = tf.nn.depthwise_conv2d(x, kernel, steps, _padding(op), dilations=holes)
    return _biased(op, y, 2)


def _transposed_convolution(op: Op) -> Any:
    kernel, steps = op.kernel(1, (1, 2, 0, 3)), [op.options.strideH, op.options.strideW]
    size = op.numbers(0)
    y = tf.nn.conv2d_transpose(op.tensor(2), kernel, size, steps, _padding(op))
    return _biased(op, y, 3)


def _dense(op: Op) -> Any:
    x, kernel = op.tensor(0), op.kernel(1, (1, 0))
    y = _biased(op, tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel), 2)
    if op.options.keepNumDims and x.shape.rank != 2:
        y = tf.reshape(y, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], 0))
    return y


def _pooled(pool: Callable[..., Any]) -> Callable[[Op], Any]:
    def compute(op: Op) -> Any:
        window = [op.options.filterHeight, op.options.filterWidth]
        steps = [op.options.strideH, op.options.strideW]
        return _activated(op, pool(op.tensor(0), window, steps, _padding(op)))

    return compute


def _reduced(reduce: Callable[..., Any]) -> Callable[[Op], Any]:
    def compute(op: Op) -> Any:
        return reduce(op.tensor(0), op.numbers(1), bool(op.options.keepDims))

    return compute


def _resized(resize: Callable[..., Any]) -> Callable[[Op], Any]:
    def compute(op: Op) -> Any:
        return resize(
            images=op.tensor(0),
            size=op.numbers(1),
            align_corners=bool(op.options.alignCorners),
            half_pixel_centers=bool(op.options.halfPixelCenters),
        )

    return compute


def _softmax(op: Op) -> Any:
    x, beta = op.tensor(0), op.options.beta
    return tf.nn.softmax(x if beta == 1 else x * beta, name=op.name)


def _prelu(op: Op) -> Any:
    # By this name it is known for a weight, though it may be a single number.
    x, slope = op.tensor(0), tf.identity(op.tensor(1), name=f"{op.name}/slope/read")
    return tf.nn.relu(x) - slope * tf.nn.relu(-x)


def _hard_swish(op: Op) -> Any:
    x = op.tensor(0)
    return x * (tf.nn.relu6(x + 3.0) * (1 / 6))


def _normalized(op: Op) -> Any:
    x = op.tensor(0)
    squares = tf.reduce_sum(tf.square(x), -1, keepdims=True)
    return x * tf.math.rsqrt(tf.maximum(squares, 1e-6))


def _local_response(op: Op) -> Any:
    o = op.options
    return tf.nn.local_response_normalization(op.tensor(0), o.radius, o.bias, o.alpha, o.beta)


def _reshaped(op: Op) -> Any:
    shape = op.numbers(1) if op.count > 1 else op.options.newShape
    return tf.reshape(op.tensor(0), shape)


def _strided_slice(op: Op) -> Any:
    o = op.options
    return tf.strided_slice(
        op.tensor(0),
        *(op.numbers(i) for i in (1, 2, 3)),
        begin_mask=o.beginMask,
        end_mask=o.endMask,
        ellipsis_mask=o.ellipsisMask,
        new_axis_mask=o.newAxisMask,
        shrink_axis_mask=o.shrinkAxisMask,
    )


def _inputs(op: Op) -> list[Any]:
    return [op.tensor(i) for i in range(op.count)]


def _mirrored(op: Op) -> Any:
    return tf.pad(op.tensor(0), op.numbers(1), "SYMMETRIC" if op.options.mode else "REFLECT")


def _cast(op: Op) -> Any:
    return tf.cast(op.tensor(0), TYPES[op.options.outDataType])


def _squeezed(op: Op) -> Any:
    axes = op.options.squeezeDims
    x = op.tensor(0)
    if axes is None or not len(axes):  # all of length 1, but for the number of images
        axes = [axis for axis in range(1, x.shape.rank) if x.shape[axis] == 1]
    return tf.squeeze(x, [int(axis) for axis in axes])


# TensorFlow's types, by the schema's numbers.
TYPES: Mapping[int, tf.DType] = {
    **{0: tf.float32, 1: tf.float16, 2: tf.int32, 3: tf.uint8, 4: tf.int64, 5: tf.string},
    **{6: tf.bool, 7: tf.int16, 9: tf.int8, 10: tf.float64},
}

OPS: Mapping[str, Callable[[Op], Any]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": lambda op: multiply(
        *_inputs(op), transpose_a=bool(op.options.adjX), transpose_b=bool(op.options.adjY)
    ),
    "AVERAGE_POOL_2D": _pooled(tf.nn.avg_pool2d),
    "MAX_POOL_2D": _pooled(tf.nn.max_pool2d),
    # Element by element
    "ADD": _Of(tf.add),
    "SUB": _Of(tf.subtract),
    "MUL": _Of(tf.multiply),
    "DIV": _Of(tf.divide),
    "ADD_N": lambda op: tf.add_n(_inputs(op)),
    "POW": _Of(tf.pow),
    "MAXIMUM": _Of(tf.maximum),
    "MINIMUM": _Of(tf.minimum),
    "SQUARED_DIFFERENCE": _Of(tf.math.squared_difference),
    "ABS": _Of(tf.abs),
    "NEG": _Of(tf.negative),
    "EXP": _Of(tf.exp),
    "LOG": _Of(tf.math.log),
    "SQRT": _Of(tf.sqrt),
    "RSQRT": _Of(tf.math.rsqrt),
    "SQUARE": _Of(tf.square),
    "SIN": _Of(tf.sin),
    "COS": _Of(tf.cos),
    "FLOOR": _Of(tf.floor),
    "CEIL": _Of(tf.math.ceil),
    "ROUND": _Of(tf.round),
    "GREATER": _Of(tf.greater),
    "GREATER_EQUAL": _Of(tf.greater_equal),
    "LESS": _Of(tf.less),
    "LESS_EQUAL": _Of(tf.less_equal),
    "EQUAL": _Of(tf.equal),
    "SELECT": _Of(tf.where),
    "SELECT_V2": _Of(tf.where),
    "CAST": _cast,
    # Nonlinearities
    "RELU": lambda op: tf.nn.relu(op.tensor(0), name=op.name),
    "RELU6": lambda op: tf.nn.relu6(op.tensor(0), name=op.name),
    "RELU_N1_TO_1": lambda op: tf.clip_by_value(op.tensor(0), -1.0, 1.0, name=op.name),
    "RELU_0_TO_1": lambda op: tf.clip_by_value(op.tensor(0), 0.0, 1.0, name=op.name),
    "LEAKY_RELU": lambda op: tf.nn.leaky_relu(op.tensor(0), op.options.alpha, name=op.name),
    "PRELU": _prelu,
    "ELU": lambda op: tf.nn.elu(op.tensor(0), name=op.name),
    "GELU": lambda op: tf.nn.gelu(op.tensor(0), bool(op.options.approximate)),
    "HARD_SWISH": _hard_swish,
    "LOGISTIC": lambda op: tf.sigmoid(op.tensor(0), name=op.name),
    "TANH": lambda op: tf.tanh(op.tensor(0), name=op.name),
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": lambda op: tf.nn.log_softmax(op.tensor(0), name=op.name),
    "L2_NORMALIZATION": _normalized,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    # Along axes
    "MEAN": _reduced(tf.reduce_mean),
    "SUM": _reduced(tf.reduce_sum),
    "REDUCE_MAX": _reduced(tf.reduce_max),
    "REDUCE_MIN": _reduced(tf.reduce_min),
    "REDUCE_PROD": _reduced(tf.reduce_prod),
    "CONCATENATION": lambda op: _activated(op, tf.concat(_inputs(op), op.options.axis)),
    "PACK": lambda op: tf.stack(_inputs(op), op.options.axis),
    "UNPACK": lambda op: tf.unstack(op.tensor(0), op.options.num, op.options.axis),
    "SPLIT": lambda op: tf.split(op.tensor(1), op.options.numSplits, int(op.numbers(0))),
    "SPLIT_V": lambda op: tf.split(op.tensor(0), op.numbers(1), int(op.numbers(2))),
    "GATHER": lambda op: tf.gather(
        op.tensor(0), op.numbers(1), axis=op.options.axis, batch_dims=op.options.batchDims
    ),
    # Shapes
    "SHAPE": lambda op: tf.shape(op.tensor(0), TYPES[op.options.outType]),
    "RESHAPE": _reshaped,
    "SQUEEZE": _squeezed,
    "EXPAND_DIMS": lambda op: tf.expand_dims(op.tensor(0), int(np.ravel(op.numbers(1))[0])),
    "TRANSPOSE": lambda op: tf.transpose(op.tensor(0), op.numbers(1)),
    "SLICE": lambda op: tf.slice(op.tensor(0), op.numbers(1), op.numbers(2)),
    "STRIDED_SLICE": _strided_slice,
    "PAD": lambda op: tf.pad(op.tensor(0), op.numbers(1)),
    "PADV2": lambda op: tf.pad(op.tensor(0), op.numbers(1), constant_values=op.tensor(2)),
    "MIRROR_PAD": _mirrored,
    "TILE": lambda op: tf.tile(op.tensor(0), op.numbers(1)),
    "BROADCAST_TO": lambda op: tf.broadcast_to(op.tensor(0), op.numbers(1)),
    "FILL": lambda op: tf.fill(op.numbers(0), op.tensor(1)),
    "DEPTH_TO_SPACE": lambda op: tf.nn.depth_to_space(op.tensor(0), op.options.blockSize),
    "SPACE_TO_DEPTH": lambda op: tf.nn.space_to_depth(op.tensor(0), op.options.blockSize),
    "RESIZE_BILINEAR": _resized(tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resized(tf.raw_ops.ResizeNearestNeighbor),
}
