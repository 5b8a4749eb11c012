"""What each variable of a flat graph is: kernel, bias or batch norm, its fans, its block."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.graph import FlatGraph, op_of

Kind = Literal["kernel", "bias", "scale", "offset", "moving_mean", "moving_variance", "other"]

_BY_NAME: dict[str, Kind] = {
    "gamma": "scale",
    "beta": "offset",
    "moving_mean": "moving_mean",
    "running_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "moving_var": "moving_variance",
    "running_var": "moving_variance",
}
_BATCH_NORM: dict[int, Kind] = {1: "scale", 2: "offset", 3: "moving_mean", 4: "moving_variance"}
_PASSES = {"ReadVariableOp", "Identity", "Cast", "Reshape", "Transpose", "ExpandDims", "Squeeze"}
_ADDS = {"BiasAdd", "Add", "AddV2"}


@dataclass(frozen=True)
class Parameter:
    """One variable of a network.

    Attributes:
        name: As the model's author named it, without ":0".
        shape: Its shape.
        kind: What it does; `"other"` is never randomized.
        block: The block it belongs to, or `""`.
        fan_in: How many inputs one output of a kernel sums over; 0 if it is no kernel.
        fan_out: How many outputs one input of a kernel feeds; 0 if it is no kernel.
        depth: How many ops lie between the images and its first use, at the most.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    block: str
    fan_in: int
    fan_out: int
    depth: int

    @property
    def size(self) -> int:
        """The number of its entries."""
        return math.prod(self.shape)


def describe(
    graph: FlatGraph,
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    blocks: Sequence[str],
) -> dict[str, Parameter]:
    """The network's parameters by name, from input to output.

    Args:
        graph: The network.
        names: The variable behind each placeholder.
        shapes: The shape of each variable.
        blocks: Names of the blocks.
    """
    parameters = []
    for placeholder, name in names.items():
        users = _users(graph, placeholder)
        kind, fan_in, fan_out = _role(name, shapes[name], users)
        block, met = block_of(name, blocks), meeting(graph, placeholder)
        depth = graph.depths[met] if met else 0
        parameters.append(Parameter(name, shapes[name], kind, block, fan_in, fan_out, depth))
    return {p.name: p for p in sorted(parameters, key=lambda p: (p.depth, p.name))}


def block_of(name: str, blocks: Sequence[str]) -> str:
    """The block whose path components stand in a variable's name, whole and in a row, or `""`.

    Of several, the one that stands first in the name, and of those the longest. A `*` in a block's
    name stands for anything within a component: `block2*` for `block2a_expand_conv`.
    """
    parts = name.split("/")
    best: tuple[int, int, str] | None = None
    for block in blocks:
        wanted = block.split("/")
        for start in range(len(parts) - len(wanted) + 1):
            if all(map(fnmatchcase, parts[start:], wanted)):
                best = min(best or (start, -len(wanted), block), (start, -len(wanted), block))
                break
    return best[2] if best else ""


def _users(graph: FlatGraph, placeholder: str) -> list[tuple[NodeDef, int]]:
    """The ops that use a variable's value, each with the index of that input."""
    users: list[tuple[NodeDef, int]] = []
    waiting = [placeholder]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        for node in graph.consumers[source]:
            if node.op in _PASSES:
                if node.name not in seen:
                    seen.add(node.name)
                    waiting.append(node.name)
            else:
                index = [op_of(i) for i in node.input].index(source)
                users.append((node, index))
    return users


def meeting(graph: FlatGraph, placeholder: str) -> str | None:
    """The first op in which a variable meets the images; None if it never does."""
    met: list[str] = []
    waiting, seen = [placeholder], {placeholder}
    while waiting:
        for node in graph.consumers[waiting.pop()]:
            if node.name in graph.depths:
                met.append(node.name)
            elif node.name not in seen:
                seen.add(node.name)
                waiting.append(node.name)
    return min(met, key=lambda name: (graph.depths[name], name), default=None)


def _role(
    name: str, shape: tuple[int, ...], users: list[tuple[NodeDef, int]]
) -> tuple[Kind, int, int]:
    by_name = _BY_NAME.get(name.split("/")[-1])
    if by_name:
        return by_name, 0, 0
    for node, index in users:
        if node.op.startswith("FusedBatchNorm") and index in _BATCH_NORM:
            return _BATCH_NORM[index], 0, 0
        if (
            node.op in ("Conv2D", "Conv3D", "Conv2DBackpropInput")
            and len(shape) >= 4
            and index == 1
        ):
            window = math.prod(shape[:-2])
            fans = window * shape[-2], window * shape[-1]
            # A transposed convolution's kernel is stored as (h, w, outputs, inputs).
            return "kernel", *(fans[::-1] if node.op == "Conv2DBackpropInput" else fans)
        if node.op == "DepthwiseConv2dNative":
            # One output of a depthwise convolution sums over one channel only.
            return "kernel", math.prod(shape[:2]), math.prod(shape[:2]) * shape[3]
        if node.op == "Einsum" and len(shape) >= 2:
            return "kernel", *_einsum_fans(node.attr["equation"].s.decode(), index, shape)
        if node.op in ("MatMul", "BatchMatMulV2", "BatchMatMulV3") and len(shape) >= 2:
            fan_in, fan_out = math.prod(shape[:-1]), shape[-1]
            flipped = node.op == "MatMul" and node.attr["transpose_b"].b
            return "kernel", *((fan_out, fan_in) if flipped else (fan_in, fan_out))
    one = len(shape) == 1 or name.split("/")[-1] in ("bias", "biases")
    if one and any(node.op in _ADDS for node, _ in users):
        return "bias", 0, 0
    return "other", 0, 0


def _einsum_fans(equation: str, index: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Fans of an operand of `tf.einsum`: it sums over the axes that the result lacks."""
    operands, result = equation.replace(" ", "").split("->")
    axes = operands.split(",")[index].replace("...", "")
    sizes = dict(zip(reversed(axes), reversed(shape), strict=False))
    fan_in = math.prod(size for axis, size in sizes.items() if axis not in result)
    return fan_in, math.prod(size for axis, size in sizes.items() if axis in result)
