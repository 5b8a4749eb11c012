"""ONNX's operators that make maps larger or smaller: resizing, padding, channels as places."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.models.importing.values import (
    Node,
    Operator,
    Unsupported,
    Value,
    array,
    entries,
    last,
    numbers,
    split_pads,
    tensor,
)


def pad(node: Node, x: Value, *inputs: Value | None) -> Value:
    """Pad: with a constant, by reflection, or by what stands at the edge."""
    given = dict(zip(("pads", "value", "axes"), inputs, strict=False))
    amounts = given.get("pads")
    begins, ends = split_pads(
        node.get("pads") if amounts is None else numbers(amounts, "its padding")
    )
    axes_given = given.get("axes")
    axes = [*range(x.rank)] if axes_given is None else numbers(axes_given, "its axes")
    table = [[0, 0] for _ in range(x.rank)]
    for axis, begin, end in zip(axes, begins, ends, strict=True):
        table[x.axis(axis)] = [begin, end]
    data, mode = tensor(x), node.get("mode", b"constant").decode()
    crop = tuple(slice(max(-b, 0), -max(-e, 0) or None) for b, e in table)
    if any(amount < 0 for pair in table for amount in pair):
        data = data[crop]
        table = [[max(b, 0), max(e, 0)] for b, e in table]
    if not any(map(any, table)):
        return x.like(data)
    if mode == "constant":
        value = given.get("value")
        fill = node.get("value", 0.0) if value is None else array(value, "its value").item()
        return x.like(tf.pad(data, table, constant_values=tf.cast(fill, data.dtype)))
    if mode == "reflect":
        return x.like(tf.pad(data, table, "REFLECT"))
    if mode not in ("edge", "wrap"):
        raise Unsupported(f"its mode is {mode}")
    for axis, (begin, end) in enumerate(table):
        size = data.shape[axis]
        if begin or end:
            if size is None:
                raise Unsupported(f"its mode {mode} needs the size of the image")
            places = np.arange(-begin, size + end)
            inside = np.clip(places, 0, size - 1) if mode == "edge" else places % size
            data = tf.gather(data, inside, axis=axis)
    return x.like(data)


def resize(node: Node, x: Value, *inputs: Value | None) -> Value:
    """Resize and Upsample: each axis by the neighbours of each new place, and their weights."""
    if node.op == "Upsample" or len(inputs) == 1:
        inputs = (None, *inputs) if inputs else (None, None)
    _, scales, sizes = (*inputs, None, None, None)[:3]
    axes = node.get("axes", [*range(x.rank)])
    data, mode = tensor(x), node.get("mode", b"nearest").decode()
    factors = node.get("scales")
    if scales is not None and np.prod(scales.data.shape):
        factors = [float(one) for one in array(scales, "its scale").ravel()]
    wanted = entries(sizes) if sizes is not None else None
    for k, axis in enumerate(axes):
        own = data.shape[x.axis(axis)]
        if factors is not None and factors[k] == 1 or wanted is not None and wanted[k] == own:
            continue
        if own is None and not axis:
            continue  # the number of images
        if own is None or (wanted is not None and not isinstance(wanted[k], int)):
            raise Unsupported("it needs the size of the image")
        size = wanted[k] if wanted is not None else math.floor(own * factors[k])
        scale = size / own if factors is None else factors[k]
        data = _resampled(node, data, x.axis(axis), size, scale, mode)
    return x.like(data)


def _resampled(node: Node, data: Any, axis: int, size: int, scale: float, mode: str) -> Any:
    """Values along one axis at other places."""
    own, new = data.shape[axis], np.arange(size, dtype=np.float64)
    legacy = b"asymmetric" if node.op == "Upsample" else b"half_pixel"
    how = node.get("coordinate_transformation_mode", legacy).decode()
    if how == "align_corners":
        places = new * (own - 1) / (size - 1) if size > 1 else new * 0
    elif how == "asymmetric":
        places = new / scale
    elif how in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        places = (new + 0.5) / scale - 0.5
        if how == "pytorch_half_pixel" and size == 1:
            places = new * 0
        if how == "half_pixel_symmetric":
            places = places + own / 2 * (1 - size / (own * scale))
    else:
        raise Unsupported(f"its coordinates are {how}")
    if mode == "nearest":
        how = node.get("nearest_mode", b"round_prefer_floor").decode()
        if node.op == "Upsample":
            how = "floor"
        rounded: dict[str, Callable[[Any], Any]] = {
            "round_prefer_floor": lambda p: np.ceil(p - 0.5),
            "round_prefer_ceil": lambda p: np.floor(p + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }
        return tf.gather(data, np.clip(rounded[how](places), 0, own - 1).astype(int), axis=axis)
    if node.get("antialias", 0) and scale < 1:
        raise Unsupported("it has antialias")
    low = np.floor(places)
    if mode == "linear":
        places = np.clip(places, 0, own - 1)
        low = np.floor(places)
        taps = [(low, 1 - (places - low)), (low + 1, places - low)]
    elif mode == "cubic":
        taps = _cubic(places - low, low, own, node)
    else:
        raise Unsupported(f"its mode is {mode}")
    shape = [1] * len(data.shape)
    shape[axis] = size
    total = None
    for index, weight in taps:
        near = tf.gather(data, np.clip(index, 0, own - 1).astype(int), axis=axis)
        part = near * tf.constant(weight.reshape(shape), data.dtype)
        total = part if total is None else total + part
    return total


def _cubic(
    t: np.ndarray, low: np.ndarray, own: int, node: Node
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Keys' four neighbours of each place and their weights."""
    a = node.get("cubic_coeff_a", -0.75)
    weights = [
        ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a,
        ((a + 2) * t - (a + 3)) * t * t + 1,
        ((a + 2) * (1 - t) - (a + 3)) * (1 - t) ** 2 + 1,
        ((a * (2 - t) - 5 * a) * (2 - t) + 8 * a) * (2 - t) - 4 * a,
    ]
    if node.get("exclude_outside", 0):
        inside = [(low + k - 1 >= 0) & (low + k - 1 < own) for k in range(4)]
        weights = [w * i for w, i in zip(weights, inside, strict=True)]
        total = sum(weights)
        weights = [w / total for w in weights]
    return [(low + k - 1, weight) for k, weight in enumerate(weights)]


def depth_to_space(node: Node, x: Value) -> Value:
    """DepthToSpace, in both orders of ONNX's."""
    size = node.get("blocksize")
    data = last(x)
    if node.get("mode", b"DCR") == b"DCR":
        return Value(tf.nn.depth_to_space(data, size), last=True)
    height, width, channels = data.shape[1:]
    data = tf.reshape(data, [-1, height, width, channels // size**2, size, size])
    data = tf.transpose(data, [0, 1, 4, 2, 5, 3])
    return Value(
        tf.reshape(data, [-1, height * size, width * size, channels // size**2]), last=True
    )


def space_to_depth(node: Node, x: Value) -> Value:
    """SpaceToDepth."""
    return Value(tf.nn.space_to_depth(last(x), node.get("blocksize")), last=True)


OPERATORS: dict[str, Operator] = {
    "DepthToSpace": depth_to_space,
    "Pad": pad,
    "Resize": resize,
    "SpaceToDepth": space_to_depth,
    "Upsample": resize,
}
