"""Constants that are weights, as a frozen graph has them, made live variables."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from sanity.network.anatomy.formulas import follows_formula, say_made_up
from sanity.network.anatomy.parameters import selects
from sanity.network.anatomy.single_numbers import may_be_learned, say_untold, was_variable
from sanity.network.anatomy.ways import FACTORS, PRODUCTS, SUMS
from sanity.network.graph import NORMS, FlatGraph, op_of, search, tensor_of, trace_graph

log = logging.getLogger(__name__)

_FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_WHOLE = {kind.as_datatype_enum for kind in (tf.int8, tf.uint8, tf.int16, tf.uint16)}
_SAME = frozenset("Identity Reshape Squeeze ExpandDims Cast".split())
_JOINS = frozenset("ConcatV2 Concat Pack GatherV2 Gather".split())


def promote_constants(graph: FlatGraph, model: str) -> tuple[FlatGraph, dict[str, Any]]:
    """A network's graph with variables for its weights, and these by name.

    Weights are the arrays that products and norms of the images' values take, and those that are
    added to, multiplied with or put beside these values from the first product on: what stands
    before it is preprocessing. Single numbers are more often of a formula: they are weights where
    products, norms and biases take them as they are, and where they were variables; of others that
    no formula would have it is said that nothing tells. Coordinates and sinusoids of positions are
    none. An array of 8 or 16 bits, with what makes floating-point numbers of it, is one weight,
    called as the op that gives these. A graph that reads variables stays as it is: what is constant
    beside variables is meant to be.

    Args:
        graph: The network.
        model: What messages call it.
    """
    if any(tensor.dtype == tf.resource for tensor in graph.captures.values()):
        return graph, {}
    graph = _fold_whole_numbers(graph)
    values = {name: value for name, value in _arrays(graph).items() if value.size}
    products = [n for n in graph.valued & graph.nodes.keys() if graph.nodes[n].op in PRODUCTS]
    after = graph.behind(products)
    weights = {name: value for name, value in values.items() if _is_weight(graph, name, after)}
    made_up = [name for name, value in weights.items() if follows_formula(value)]
    weights = {name: value for name, value in weights.items() if name not in made_up}
    say_made_up(model, made_up)
    single = [n for n, value in weights.items() if value.size == 1 and not _is_learned(graph, n)]
    untold = {n: value for n in single if may_be_learned(value := weights.pop(n))}
    say_untold(model, untold)
    if not weights:
        return graph, {}
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    nodes = {node.name: node for node in new.node}
    captures, variables = dict(graph.captures), {}
    for name, value in weights.items():
        with tf.init_scope(), tf.name_scope(""):
            variable = tf.Variable(value, name=name, trainable=not selects(value))
        node = nodes[name] if name in nodes else new.node.add(name=name)
        node.Clear()
        node.name, node.op = name, "ReadVariableOp"
        node.input.append(f"{name}/variable")
        node.attr["dtype"].type = variable.dtype.as_datatype_enum
        captures.pop(name, None)
        captures[f"{name}/variable"] = variable.handle
        variables[name] = variable
    log.info(
        "%s has constants for weights: %d of them are variables from here on",
        model,
        len(variables),
    )
    return replace(graph, graph_def=new, captures=captures), variables


def _fold_whole_numbers(graph: FlatGraph) -> FlatGraph:
    """A graph with constants for the operands of products that are computed of whole numbers."""
    whole = [
        node.name
        for node in graph.nodes.values()
        if node.op == "Const"
        and node.attr["dtype"].type in _WHOLE
        and len(node.attr["value"].tensor.tensor_shape.dim) > 1
    ]
    given = graph.behind(whole) - graph.behind([graph.input, *graph.captures])
    found = {
        tensor_of(source)
        for node in graph.nodes.values()
        if node.op in PRODUCTS and node.name in graph.valued
        for source in node.input
        if op_of(source) in given - {*whole}
    }
    if not found:
        return graph
    wanted = sorted(found)
    part = graph.between([graph.input], wanted)
    values = trace_graph(lambda: tf.graph_util.import_graph_def(part.graph_def, {}, wanted), [])()
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    nodes = {node.name: node for node in new.node}
    for tensor, value in zip(wanted, values, strict=True):
        node, name = nodes[op_of(tensor)], op_of(tensor)
        node.Clear()
        node.name, node.op = name, "Const"
        node.attr["dtype"].type = value.dtype.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy()))
    return replace(graph, graph_def=new)


def _arrays(graph: FlatGraph) -> dict[str, np.ndarray]:
    """The floating-point constants, in the graph or captured by it, by name."""
    found = {}
    for node in graph.nodes.values():
        if node.op == "Const" and tf.dtypes.as_dtype(node.attr["dtype"].type) in _FLOATS:
            found[node.name] = tf.make_ndarray(node.attr["value"].tensor)
    for name, tensor in graph.captures.items():
        if tensor.dtype in _FLOATS and (value := tf.get_static_value(tensor)) is not None:
            found[name] = value
    return found


def _is_learned(graph: FlatGraph, name: str) -> bool:
    """Whether a single number was learned: what takes it, or read it, tells."""
    same = search(
        [name], lambda one: [n.name for n in graph.consumers.get(one, ()) if n.op in _SAME]
    )
    return any(map(was_variable, same)) or any(
        node.op in PRODUCTS | NORMS | {"BiasAdd"}
        for one in same
        for node in graph.consumers.get(one, ())
    )


def _is_weight(graph: FlatGraph, name: str, after: set[str]) -> bool:
    """Whether the images' values meet an array where they meet weights."""
    for met in graph.meetings(name):
        op = graph.nodes[met].op
        if op in PRODUCTS | NORMS or (met in after and op in FACTORS | SUMS | _JOINS):
            return True
    return False
