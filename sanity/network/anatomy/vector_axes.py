"""Along which axis an output of several places has its vectors: channels may come before places."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.anatomy.channels import TO_FIRST, as_tuple, constant
from sanity.network.anatomy.grids import Layout, lay_out
from sanity.network.anatomy.logits import Vector
from sanity.network.anatomy.probabilities import find_activation
from sanity.network.graph import FlatGraph, op_of, tensor_of
from sanity.network.orders import fix_orders

_FEWEST = 3  # axes of an output that has several places
_ALIKE = frozenset("Identity Cast StopGradient EnsureShape CheckNumerics Snapshot Log Exp".split())


Kind = Literal["first", "none", "unclear"]


@dataclass(frozen=True)
class Turned:
    """A network whose outputs of several places have their vectors along the last axis.

    Attributes:
        graph: The network.
        first: Outputs whose channels stood first.
        single: Those that had none, but one number at each place.
        unclear: Those of which nothing tells, and which are left as they are.
    """

    graph: FlatGraph
    first: frozenset[str]
    single: frozenset[str]
    unclear: frozenset[str]


def turn_outputs(graph: FlatGraph, images: tf.TensorSpec) -> Turned:
    """The graph with its outputs' channels last.

    Be it that the transpose to channels first is the network's own, or that of `put_channels_last`.

    Args:
        graph: A network.
        images: What it takes.
    """
    sources = {}
    for key, tensor in graph.outputs.items():
        node = graph.nodes.get(op_of(tensor))
        if node is None or node.op != "Transpose":
            continue
        if as_tuple(constant(graph, node.input[1])) == TO_FIRST:
            sources[key] = tensor_of(node.input[0])
    graph = replace(graph, outputs={**graph.outputs, **sources})
    found = {k: kind for k, kind in find_kinds(graph, images).items() if k not in sources}
    specs = graph.specs([graph.outputs[key] for key in found], images)
    made = {}
    for key in sorted(key for key, kind in found.items() if kind != "unclear"):
        tensor = graph.outputs[key]
        order = [0, *range(2, specs[tensor].shape.rank), 1]
        turn = partial(tf.transpose, perm=order)
        change = turn if found[key] == "first" else partial(tf.expand_dims, axis=-1)
        graph, made[key] = graph.append(tensor, specs[tensor], change)
    kinds = {**dict.fromkeys(sources, "first"), **found}

    def of(wanted: Kind) -> frozenset[str]:
        return frozenset(key for key, kind in kinds.items() if kind == wanted)

    graph = replace(graph, outputs={**graph.outputs, **made})
    return Turned(graph, of("first"), of("none"), of("unclear"))


def check_along(graph: FlatGraph, vector: Vector, output: str, model: str) -> None:
    """Makes sure that an output's softmax does not go along the images.

    Args:
        graph: The network.
        vector: What the output is.
        output: Its name.
        model: What messages call the model.

    Raises:
        ConfigError: It does.
    """
    graph = fix_orders(graph)
    if _softmax_axis(graph, op_of(graph.outputs[output]), vector.rank) == 0:
        raise ConfigError(
            f"The softmax of {output} of {model} goes along the images of a batch and not along "
            "classes, so that an image's probabilities hang on the others: take it along the last "
            "axis, or name another output by model.output"
        )


def find_kinds(graph: FlatGraph, images: tf.TensorSpec) -> dict[str, Kind]:
    """Outputs of three axes or more whose vectors are not along the last one, by name.

    Those whose channels stand `first`, (n, channels, places, …), and those that have `none` but one
    number at each place, (n, rows, columns). A softmax says so by the axis that it goes along. Else
    it is so where the axes behind the second one are made of the image's rows and columns. Of three
    axes of which none is known to be of rows or columns it is `unclear`.

    Args:
        graph: The network.
        images: What it takes.
    """
    graph = fix_orders(graph)
    tensors = {key: t for key, t in graph.outputs.items() if op_of(t) in graph.valued}
    specs = graph.specs([*tensors.values()], images)
    ranks = {key: specs[tensor].shape.rank or 0 for key, tensor in tensors.items()}
    asked = {key: op_of(tensor) for key, tensor in tensors.items() if ranks[key] > 2}
    said = {key: _softmax_axis(graph, name, ranks[key]) for key, name in asked.items()}
    found: dict[str, Kind]
    found = {key: "first" for key, axis in said.items() if axis == 1}
    rest = {key: name for key, name in asked.items() if said[key] is None}
    if rest:
        path = [name for name in graph.nodes if name in graph.valued and name in graph.depths]
        layouts = lay_out(graph, path, images).layouts
        kinds = {key: _kind_of(layouts.get(name), ranks[key]) for key, name in rest.items()}
        found |= {key: kind for key, kind in kinds.items() if kind}
    return found


def _softmax_axis(graph: FlatGraph, name: str, rank: int) -> int | None:
    """The axis of an op's result that a softmax has gone along; None where there is none."""
    axes = [*range(rank)]  # of what is looked at, by those of the result
    while name in graph.nodes:
        node = graph.nodes[name]
        activation = find_activation(graph, node)
        if activation is not None and activation[0] != "Sigmoid":
            axis = _summed_axis(graph, node.input[1], rank) if node.op == "RealDiv" else rank - 1
            return None if axis is None else axes.index(axis)
        order = as_tuple(constant(graph, node.input[1])) if node.op == "Transpose" else None
        if order is not None and len(order) == rank:
            axes = [order[axis] for axis in axes]
        elif node.op not in _ALIKE:
            return None
        name = op_of(node.input[0])
    return None


def _summed_axis(graph: FlatGraph, total: str, rank: int) -> int | None:
    """The one axis that a sum goes over."""
    node = graph.nodes.get(op_of(total))
    while node is not None and node.op in ("Identity", "Cast"):
        node = graph.nodes.get(op_of(node.input[0]))
    if node is None or node.op != "Sum":
        return None
    axes: Sequence[int] = as_tuple(constant(graph, tensor_of(node.input[1])))
    return axes[0] % rank if len(axes) == 1 else None


def _kind_of(layout: Layout | None, rank: int) -> Kind | None:
    """See `find_kinds`; None where the last axis is of channels, as it is taken to be of a map."""
    kinds = [{kind for kind, length in axis if length != 1} for axis in (layout or ())[1:]]
    if layout is None or any("" in one for one in kinds[1:]):
        known = any(one - {""} for one in kinds)
        return None if known or rank != _FEWEST else "unclear"
    if not kinds[0] - {""} and any(kinds):
        return "first"
    return "none" if all(kinds) and "" not in kinds[0] else None
