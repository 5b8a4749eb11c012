"""ONNX's normalizations."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from sanity.models.importing.values import (
    Node,
    Operator,
    Unsupported,
    Value,
    first,
    last,
    tensor,
)


def batch_norm(
    node: Node, x: Value, scale: Value, offset: Value, mean: Value, variance: Value
) -> Value:
    """BatchNormalization, of maps and of vectors.

    In training mode by the values' own statistics, as kernels are standardized; a network in which
    these are of a batch of images is refused when it is loaded, as all that mix images are.
    """
    data = last(x)
    rank = len(data.shape)
    if node.get("training_mode", 0):
        normed = normalized(data, [*range(rank - 1)], node.get("epsilon", 1e-5))
        return Value(normed * tensor(scale) + tensor(offset), last=rank > 2)
    if rank not in (2, 3, 4):
        raise Unsupported(f"it is of {rank} axes")
    sizes = tf.shape(data)
    known = [size if size is not None else sizes[k] for k, size in enumerate(data.shape)]
    middle = [-1, *known[1:-1], known[-1]]
    wide = data if rank == 4 else tf.reshape(data, [*middle[:-1], *[1] * (4 - rank), middle[-1]])
    normed = tf.raw_ops.FusedBatchNormV3(
        x=wide,
        scale=tensor(scale),
        offset=tensor(offset),
        mean=tensor(mean),
        variance=tensor(variance),
        epsilon=node.get("epsilon", 1e-5),
        is_training=False,
    ).y
    return Value(normed if rank == 4 else tf.reshape(normed, middle), last=rank > 2)


def instance_norm(node: Node, x: Value, scale: Value, offset: Value) -> Value:
    """InstanceNormalization: over the places of each channel."""
    data = last(x)
    axes = [*range(1, x.rank - 1)]
    normed = normalized(data, axes, node.get("epsilon", 1e-5))
    return Value(normed * tensor(scale) + tensor(offset), last=x.rank > 2)


def normalized(data: Any, axes: Sequence[int], epsilon: float) -> Any:
    """Values less their mean, divided by their standard deviation, along axes."""
    centred = data - tf.reduce_mean(data, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    return centred * tf.math.rsqrt(variance + tf.cast(epsilon, data.dtype))


def group_norm(node: Node, x: Value, scale: Value, offset: Value) -> Value:
    """GroupNormalization: over the places and channels of each group."""
    groups, data = node.get("num_groups"), first(x)
    sizes = tf.shape(data)
    rest = [size if size is not None else sizes[k] for k, size in enumerate(data.shape)][1:]
    parts = tf.reshape(data, [-1, groups, rest[0] // groups, *rest[1:]])
    normed = normalized(parts, [*range(2, len(parts.shape))], node.get("epsilon", 1e-5))
    ends = [1] * (x.rank - 2)
    by_group = scale.data.shape[0] == groups and groups != rest[0]
    if by_group:  # up to opset 20
        shape = [1, groups, 1, *ends]
        normed = normed * tf.reshape(tensor(scale), shape) + tf.reshape(tensor(offset), shape)
    normed = tf.reshape(normed, [-1, *rest])
    if not by_group:
        shape = [1, rest[0], *ends]
        normed = normed * tf.reshape(tensor(scale), shape) + tf.reshape(tensor(offset), shape)
    return Value(normed)


def local_response(node: Node, x: Value) -> Value:
    """LRN, over channels."""
    size = node.get("size")
    if size % 2 == 0:
        raise Unsupported("its size is even")
    alpha = node.get("alpha", 1e-4) / size
    bias, beta = node.get("bias", 1.0), node.get("beta", 0.75)
    return Value(tf.nn.local_response_normalization(last(x), size // 2, bias, alpha, beta), True)


def layer_norm(node: Node, x: Value, scale: Value, offset: Value | None = None) -> Value:
    """LayerNormalization: over an axis and all behind it."""
    if node.outputs > 1:
        raise Unsupported("its mean is asked for")
    data = first(x)
    axes = [*range(node.get("axis", -1) % x.rank, x.rank)]
    scaled = normalized(data, axes, node.get("epsilon", 1e-5)) * tensor(scale)
    return Value(scaled if offset is None else scaled + tensor(offset))


def rms_norm(node: Node, x: Value, scale: Value) -> Value:
    """RMSNormalization and SimplifiedLayerNormalization: without subtracting a mean."""
    data = first(x)
    axes = [*range(node.get("axis", -1) % x.rank, x.rank)]
    mean = tf.reduce_mean(tf.square(data), axes, keepdims=True)
    root = tf.math.rsqrt(mean + tf.cast(node.get("epsilon", 1e-5), data.dtype))
    return Value(data * root * tensor(scale))


def lp_norm(node: Node, x: Value) -> Value:
    """LpNormalization."""
    axis, data = x.axis(node.get("axis", -1)), tensor(x)
    if node.get("p", 2) == 1:
        return x.like(data / tf.reduce_sum(tf.abs(data), axis, keepdims=True))
    return x.like(data / tf.sqrt(tf.reduce_sum(tf.square(data), axis, keepdims=True)))


def mean_variance(node: Node, x: Value) -> Value:
    """MeanVarianceNormalization."""
    axes = [x.axis(axis) for axis in node.get("axes", [0, 2, 3])]
    data = tensor(x)
    centred = data - tf.reduce_mean(data, axes, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axes, keepdims=True))
    return x.like(centred / (deviation + 1e-9))


OPERATORS: dict[str, Operator] = {
    "BatchNormalization": batch_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LRN": local_response,
    "LayerNormalization": layer_norm,
    "LpNormalization": lp_norm,
    "MeanVarianceNormalization": mean_variance,
    "RMSNormalization": rms_norm,
    "SimplifiedLayerNormalization": rms_norm,
}
