"""Which axes of a tensor are the rows and columns of the image.

A tensor of four axes need not be a feature map: attention has (n, tokens, heads, channels). Rows
and columns are followed from the image through reshapes and transposes; where they are cut up, or
mixed, they are lost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of, trace_graph

# What an axis is made of, slowest first: each part's kind ("n", "h", "w", or "" for the rest) and
# its length.
Axis = tuple[tuple[str, int | None], ...]
Layout = tuple[Axis, ...]
Shape = tuple[int | None, ...]

_RESHAPES = frozenset("Reshape Squeeze ExpandDims".split())
_WINDOWED = frozenset("Conv2D DepthwiseConv2dNative MaxPool AvgPool".split())
_MATRIX = frozenset("BatchMatMul BatchMatMulV2 BatchMatMulV3".split())


@dataclass(frozen=True)
class Laid:
    """The axes of ops' first outputs, by the ops' names.

    Attributes:
        layouts: What they are made of, where rows and columns are known.
        shapes: Their lengths.
        floats: The ops that give single or double precision.
    """

    layouts: Mapping[str, Layout]
    shapes: Mapping[str, Shape]
    floats: frozenset[str]


_IMAGES = 7  # of a batch to infer shapes with: where it is known, so are they


def find_maps(
    graph: FlatGraph, path: Sequence[str], images: tf.TensorSpec
) -> dict[str, tuple[int, ...]]:
    """Shape (h, w, channels) of tensors (n, h, w, channels) of single or double precision, by name.

    Args:
        graph: The network.
        path: The ops whose first outputs are looked at, in topological order.
        images: What the network takes.
    """
    laid = lay_out(graph, path, images)
    return {
        f"{name}:0": tuple(size or 0 for size in laid.shapes[name][1:])
        for name in path
        if name in laid.floats and _is_grid(laid.layouts.get(name))
    }


def lay_out(graph: FlatGraph, path: Sequence[str], images: tf.TensorSpec) -> Laid:
    """What is known of the axes of some ops' first outputs.

    Args:
        graph: The network.
        path: The ops, in topological order.
        images: What the network takes.
    """
    names = [f"{name}:0" for name in path]
    some = tf.TensorSpec([_IMAGES, *images.shape[1:]], images.dtype)
    shapes: dict[str, Shape] = {}
    orders: dict[str, list[int]] = {}
    floats: set[str] = set()

    def trace(given: tf.Tensor) -> tf.Tensor:
        for name, tensor in zip(path, graph.build(given, names), strict=True):
            if tensor.shape.rank is not None:
                shapes[name] = tuple(tensor.shape)
            if tensor.dtype in (tf.float32, tf.float64):
                floats.add(name)
            if graph.nodes[name].op == "Transpose":
                order = tf.get_static_value(tensor.op.inputs[1])
                if order is not None:
                    orders[name] = [int(axis) for axis in order]
        return given

    trace_graph(trace, [some])
    return Laid(_layouts(graph, path, shapes, orders, tuple(some.shape)), shapes, frozenset(floats))


def _is_grid(layout: Layout | None) -> bool:
    """Whether the axes are images, rows, columns, channels."""
    if layout is None or len(layout) != 4:
        return False
    kinds = [{kind for kind, _ in axis} for axis in layout]
    return kinds == [{"n"}, {"h"}, {"w"}, {""}]


def _layouts(
    graph: FlatGraph,
    path: Sequence[str],
    shapes: Mapping[str, Shape],
    orders: Mapping[str, Sequence[int]],
    images: Shape,
) -> dict[str, Layout]:
    """The layout of the first output of each op whose rows and columns are known.

    Args:
        graph: The network.
        path: The ops.
        shapes: Of their first outputs, by the ops' names.
        orders: Of the axes, by the names of the ops that transpose.
        images: Shape of the images.
    """
    found = {graph.input: _grid(images)}
    for name in path:
        node, shape = graph.nodes[name], shapes.get(name)
        known = {
            i: found[op_of(source)]
            for i, source in enumerate(node.input)
            if op_of(source) in found and not source.startswith("^")
        }
        if shape is None:
            continue
        if node.op in _WINDOWED and _is_of_rows(known.get(0), shape):
            found[name] = _grid(shape)
        elif node.op == "Transpose":
            if 0 in known and name in orders:
                found[name] = tuple(known[0][axis] for axis in orders[name])
        elif node.op == "StridedSlice" and 0 in known and len(known[0]) > len(shape):
            kept = _kept(graph, node, len(known[0]))
            if kept is not None and len(kept) == len(shape):
                axes = [_resize(known[0][k], size) for k, size in zip(kept, shape, strict=True)]
                found |= {} if None in axes else {name: tuple(axis for axis in axes if axis)}
        elif known:
            others = sum(op_of(source) in graph.valued for source in node.input) - len(known)
            layout = _after(node, known, others, shape)
            found |= {} if layout is None else {name: layout}
    return found


def _kept(graph: FlatGraph, node: NodeDef, rank: int) -> list[int] | None:
    """The axes that are left of so many where a slice takes one entry of others.

    None if that is unknown.
    """
    begin = graph.nodes.get(op_of(node.input[1]))
    masks = ("new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    added, taken, ellipsis = (node.attr[m].i if m in node.attr else 0 for m in masks)
    if begin is None or begin.op != "Const" or added:
        return None
    count = tf.make_ndarray(begin.attr["value"].tensor).size
    axes = []  # of each index in brackets, as of [..., 0]
    for index in range(count):
        behind = ellipsis and (1 << index) > ellipsis
        axes.append(rank - count + index if behind else index)
    gone = {axis for index, axis in enumerate(axes) if taken & 1 << index}
    return [axis for axis in range(rank) if axis not in gone]


def _grid(shape: Shape) -> Layout:
    return tuple(((kind, size),) for kind, size in zip(("n", "h", "w", ""), shape, strict=True))


def _after(node: NodeDef, known: Mapping[int, Layout], others: int, shape: Shape) -> Layout | None:
    """The layout behind an op.

    Args:
        node: The op.
        known: Layouts of its inputs, by position.
        others: How many other inputs depend on the images.
        shape: Of its output.
    """
    index = max(known, key=lambda i: (len(known[i]) == len(shape), _told(known[i]), -i))
    layout = known[index]
    if node.op in _RESHAPES:
        return _regroup(layout, shape) if index == 0 else None
    if node.op == "Einsum":
        return _sum(layout, node, index, shape) if len(known) + others == 1 else None
    if node.op in _MATRIX and (len(known) + others > 1 or index != 0):
        return None
    if node.op == "MatMul" and (index != 0 or node.attr["transpose_a"].b):
        return None
    if len(layout) != len(shape):
        return None
    if node.op == "ConcatV2" and not others and (joined := _join(known, shape)):
        return joined
    products = node.op in _MATRIX or node.op == "MatMul"
    axes = [*layout[:-1], (("", layout[-1][0][1]),)] if products else layout
    resized = [_resize(axis, size) for axis, size in zip(axes, shape, strict=True)]
    return None if None in resized else tuple(axis for axis in resized if axis is not None)


def _told(layout: Layout) -> int:
    """How many axes have rows or columns in them."""
    return sum(any(kind in ("h", "w") for kind, _ in axis) for axis in layout)


def _is_of_rows(layout: Layout | None, shape: Shape) -> bool:
    """Whether windows over axes 1 and 2 go over rows and columns.

    They do where nothing is known of these, as of an image whose channels came first.
    """
    if layout is not None and any(len(axis) != 1 for axis in layout[1:3]):
        return False
    return len(shape) == 4 and 1 not in shape[1:3]


def _join(known: Mapping[int, Layout], shape: Shape) -> Layout | None:
    """Behind a concatenation of what has rows or columns, however many, in the same axes.

    None where they are not, or where the axes stay what they were.
    """
    kinds = [[{kind for kind, _ in axis} for axis in layout] for layout in known.values()]
    axes = [*next(iter(known.values()))]
    grown = [i for i, axis in enumerate(axes) if _long(axis) != shape[i]]
    if any(other != kinds[0] for other in kinds) or len(grown) != 1:
        return None
    axes[grown[0]] = ((min(kinds[0][grown[0]] - {""}, default=""), shape[grown[0]]),)
    return tuple(axes)


def _long(axis: Axis) -> int | None:
    """How long an axis is; None if that is open."""
    lengths = [length for _, length in axis]
    return None if None in lengths else math.prod(length or 1 for length in lengths)


def _resize(axis: Axis, size: int | None) -> Axis | None:
    """An axis at another length, which only one that is of one part can have."""
    if len(axis) == 1:
        return ((axis[0][0], size),)
    return axis if _long(axis) == size else None  # None where the number of images is a part


def _regroup(layout: Layout, shape: Shape) -> Layout | None:
    """The same parts in other axes; channels may be cut up, images, rows and columns not."""
    parts = [part for axis in layout for part in axis]
    axes: list[Axis] = []
    for size in reversed(shape[1:]):
        axis: list[tuple[str, int | None]] = []
        have = 1
        while have != size:
            if size is None or not parts or parts[-1][1] is None:
                return None
            kind, length = parts.pop()
            assert length is not None
            if size % (have * length) == 0:
                axis.insert(0, (kind, length))
                have *= length
            elif kind == "" and length % (size // have) == 0:
                axis.insert(0, (kind, size // have))
                parts.append((kind, length // (size // have)))
                have = size
            else:
                return None
        axes.insert(0, tuple(axis) or (("", 1),))
    rest = tuple(part for part in parts if part[1] != 1)
    return (rest, *axes) if rest and rest[0][0] == "n" else None


def _sum(layout: Layout, node: NodeDef, index: int, shape: Shape) -> Layout | None:
    """Behind `tf.einsum` with what does not depend on the images; new axes are channels."""
    equation = node.attr["equation"].s.decode().replace(" ", "")
    operands, result = equation.split("->")
    given = operands.split(",")[index]
    if "..." in equation:  # stands for the axes in front
        if not (given.startswith("...") and result.startswith("...")):
            return None
        spread = len(layout) - len(given.replace("...", ""))
        front = "".join(chr(0x100 + i) for i in range(spread))
        given, result = given.replace("...", front), result.replace("...", front)
    axes = dict(zip(given, layout, strict=True))
    return tuple(
        axes.get(letter, (("", size),)) for letter, size in zip(result, shape, strict=True)
    )
