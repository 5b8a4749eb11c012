"""The network with its batch norms switched to the batch's own moments."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.batch_norm import BatchNorm
from sanity.network.graph import FlatGraph, dtype_of, op_of, search, trace_graph
from sanity.network.passes.segments import Chain, Segment


@dataclass(frozen=True)
class Calibrated:
    """A graph whose batch norms can take the moments of the batch for their moving statistics.

    Attributes:
        graph: The graph.
        moments: The two tensors (mean, variance) that each batch norm uses.
        switches: The name that stands for each one's switch, a boolean: the batch's moments or the
            moving statistics; to be replaced by a tensor in `FlatGraph.build`.
    """

    graph: FlatGraph
    moments: list[tuple[str, str]]
    switches: list[str]


def build_calibrated(
    graph: FlatGraph, placeholders: Mapping[str, str], norms: Sequence[BatchNorm]
) -> Calibrated:
    """The graph in which each batch norm may use the moments of what it normalises.

    So one pass gives them all: each batch norm sees what those before it let through, as in
    training. The variance is the population's (divided by n, not n - 1), which is what normalises
    a batch.
    """
    added: list[NodeDef] = []
    instead: dict[str, str] = {}
    moments, switches = [], []
    for index, norm in enumerate(norms):
        scope = f"calibration_{index}"
        reads, kinds = {}, []
        for moment, variable in (("mean", norm.mean), ("variance", norm.variance)):
            found = _reads(graph, placeholders[variable])
            reads[moment] = found[0]
            kinds.append(dtype_of(graph.nodes[found[0]]))
            instead |= dict.fromkeys(found, f"{scope}/used_{moment}")
        inputs = {
            f"{scope}/x": norm.tensor,
            f"{scope}/kept_mean": reads["mean"],
            f"{scope}/kept_variance": reads["variance"],
        }
        normalised = graph.nodes.get(op_of(norm.tensor))
        given = dtype_of(normalised) if normalised is not None else tf.float32
        for one in _moments(norm.shape, given, tuple(kinds)).node:
            if one.op != "Placeholder":
                node = NodeDef()
                node.CopyFrom(one)
                node.name = f"{scope}/{one.name}"
                own = [f"{scope}/{name}" for name in one.input]
                node.input[:] = [inputs.get(op_of(i), i) for i in own]
                added.append(node)
        moments.append((f"{scope}/used_mean:0", f"{scope}/used_variance:0"))
        switches.append(f"{scope}/switch")
    graph_def = GraphDef()
    graph_def.CopyFrom(graph.graph_def)
    for node in graph_def.node:
        node.input[:] = [i if i.startswith("^") else instead.get(op_of(i), i) for i in node.input]
    graph_def.node.extend(added)
    return Calibrated(replace(graph, graph_def=graph_def), moments, switches)


def calibration_chain(
    network: Calibrated,
    norms: Sequence[BatchNorm],
    tensors: Sequence[str],
    images: tf.TensorSpec,
    placeholders: Mapping[str, str],
) -> Chain:
    """The network in segments that keep the two moments of each batch norm within.

    A segment is given the switches of its batch norms: its settings, by the names in `network`.

    Args:
        network: The graph.
        norms: Its batch norms.
        tensors: Where segments end, see `segments.cuts`; what follows the last does not count.
        images: What the network takes.
        placeholders: The placeholder of each variable.
    """
    names = {placeholder: name for name, placeholder in placeholders.items()}
    graph = network.graph
    place = _places(graph, tensors[:-1])
    inside: list[list[int]] = [[] for _ in tensors]
    for index, norm in enumerate(norms):
        inside[place.get(op_of(norm.tensor), 0)].append(index)
    found, spec = [], images
    for start, end, indices in zip([graph.input, *tensors], tensors, inside, strict=False):
        switches = [network.switches[i] for i in indices]
        wanted = [end, *(moment for i in indices for moment in network.moments[i])]
        part = graph.between([start, *switches], wanted)
        passing = _passing(part, wanted, switches, spec)
        variables = tuple(names[p] for p in part.captures if p in names)
        found.append(Segment(passing, variables, settings=tuple(switches)))
        output = passing.structured_outputs[0]
        spec = tf.TensorSpec(output.shape, output.dtype)
    return Chain(found)


def _places(graph: FlatGraph, cuts: Sequence[str]) -> dict[str, int]:
    """How many of some tensors each node is computed from; each is computed from those before."""
    ends = {op_of(tensor): number for number, tensor in enumerate(cuts, start=1)}
    found = {graph.input: 0}
    for name, node in graph.nodes.items():  # what a node reads stands before it
        above = max((found.get(op_of(source), 0) for source in node.input), default=0)
        found[name] = max(above, ends.get(name, 0))
    return found


def _passing(part: FlatGraph, wanted: list[str], switches: list[str], spec: tf.TensorSpec) -> Any:
    """A function of a segment's input and its switches."""
    booleans = [tf.TensorSpec([], tf.bool)] * len(switches)

    def passing(x: Any, *given: Any) -> list[Any]:
        return part.build(x, wanted, replace=dict(zip(switches, given, strict=True)))

    return trace_graph(passing, [spec, *booleans])


def _reads(graph: FlatGraph, placeholder: str) -> list[str]:
    """The ops that read a variable."""

    def passed_on(name: str) -> list[str]:
        node = graph.nodes.get(name)
        # An Identity is left over from a nested function's argument.
        if node is not None and node.op != "Identity":
            return []
        users = graph.consumers.get(name, ())
        return [user.name for user in users if user.op in ("Identity", "ReadVariableOp")]

    found = search([placeholder], passed_on)
    return [n for n in found if n in graph.nodes and graph.nodes[n].op == "ReadVariableOp"]


@lru_cache(64)
def _moments(shape: tuple[int, ...], given: tf.DType, kinds: tuple[tf.DType, tf.DType]) -> GraphDef:
    """Ops that choose between a batch's moments and those kept, of whichever precision they are.

    Not to be written to.
    """
    with tf.Graph().as_default() as graph:
        x = tf.cast(tf.compat.v1.placeholder(given, name="x"), tf.float32)
        switch = tf.compat.v1.placeholder(tf.bool, [], name="switch")
        kept = [
            tf.compat.v1.placeholder(kind, shape, name=f"kept_{moment}")
            for moment, kind in zip(("mean", "variance"), kinds, strict=True)
        ]
        # Image by image first: a sum over all positions at once would lose digits in float32.
        rows = tf.reshape(x, [tf.shape(x)[0], -1, math.prod(shape)])
        mean = _mean(rows)
        variance = _mean(tf.math.squared_difference(rows, mean))
        for moment, own, used in zip((mean, variance), kept, ("mean", "variance"), strict=True):
            moment = tf.cast(tf.reshape(moment, shape), own.dtype)
            tf.where(switch, moment, own, name=f"used_{used}")
    return graph.as_graph_def()


def _mean(rows: Any) -> Any:
    """The mean over images and positions; a product with ones is faster than a sum."""
    ones = tf.ones_like(rows[:, :, :1])
    sums = tf.matmul(ones, rows, transpose_a=True)[:, 0]
    return tf.reduce_mean(sums / tf.cast(tf.shape(rows)[1], tf.float32), 0)
