"""Orders of axes as constants, as far as a graph computes them from constants alone.

A softmax along another axis than the last is computed between two transposes, whose orders
TensorFlow makes of ranges and ranks.
"""

from collections.abc import Iterator
from dataclasses import replace

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.channels import TO_FIRST, TO_LAST, as_tuple, constant
from sanity.network.graph import FlatGraph, op_of, tensor_of, trace_graph

_SWAP = (0, 3, 2, 1)
_SOFTMAX = ("Softmax", "LogSoftmax")


def fix_orders(graph: FlatGraph) -> FlatGraph:
    """The graph with constant orders of its transposes; as it is where they all are.

    A softmax of channels first is taken between transposes to channels last and back, rather than
    between two that swap channels and columns: the same values.
    """
    orders = _computed(graph)
    for node in graph.nodes.values():
        if node.op in _SOFTMAX:
            orders |= dict(_around(graph, node, orders))
    if not orders:
        return graph
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    made = []
    for node in new.node:
        if node.name in orders:
            order = tf.make_tensor_proto(orders[node.name], tf.int32)
            const = NodeDef(name=f"{node.name}/fixed_order", op="Const")
            const.attr["dtype"].type = tf.int32.as_datatype_enum
            const.attr["value"].tensor.CopyFrom(order)
            node.input[1] = const.name
            node.attr["Tperm"].type = tf.int32.as_datatype_enum
            made.append(const)
    new.node.extend(made)
    return replace(graph, graph_def=new)


def _computed(graph: FlatGraph) -> dict[str, tuple[int, ...]]:
    """The orders of transposes that are computed from constants."""
    found = {
        node.name: node.input[1]
        for node in graph.nodes.values()
        if node.op == "Transpose" and constant(graph, node.input[1]) is None
    }
    given = graph.behind([graph.input, *graph.captures])
    known = {name: tensor_of(one) for name, one in found.items() if op_of(one) not in given}
    if not known:
        return {}
    part, wanted = graph.between([graph.input], [*known.values()]), [*known.values()]
    orders = trace_graph(lambda: tf.graph_util.import_graph_def(part.graph_def, {}, wanted), [])()
    return {name: as_tuple(one.numpy()) for name, one in zip(known, orders, strict=True)}


def _around(
    graph: FlatGraph, node: NodeDef, orders: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Other orders of the transposes around a softmax, if all of them swap."""
    before = graph.nodes.get(op_of(node.input[0]))
    if before is None or graph.consumers.get(before.name, []) != [node]:
        return
    behind = graph.consumers.get(node.name, [])
    around = [before, *behind]
    if not behind or any(one.op != "Transpose" for one in around):
        return
    own = [orders.get(one.name) or as_tuple(constant(graph, one.input[1])) for one in around]
    if all(order == _SWAP for order in own) and node.name not in map(op_of, graph.outputs.values()):
        yield before.name, TO_LAST
        yield from ((one.name, TO_FIRST) for one in behind)
