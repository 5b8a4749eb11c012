"""Which output of a network is explained, and the logits in front of its softmax."""

from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.anatomy.loops import check_branches
from sanity.network.graph import FlatGraph, op_of, tensor_of

_SHAPING = {"Identity", "Reshape", "Squeeze", "Cast", "StopGradient"}
_SOFTMAX = {"Softmax", "LogSoftmax"}
_USUAL = ("logits", "default")  # what Hub modules call them


@dataclass(frozen=True)
class Ending:
    """How the explained output ends.

    Attributes:
        output: Its name among the function's outputs.
        taken_off: The softmax that was taken off, by the type of its op, or `""`.
        op: Type of the op that computes what is explained.
    """

    output: str
    taken_off: str
    op: str


def vectors(function: Any) -> dict[str, int]:
    """The length of each output of a ConcreteFunction that is one vector an image."""
    outputs = function.structured_outputs
    shapes = {key: tensor.shape for key, tensor in outputs.items()}
    if any(
        shape.rank is None or (shape.rank == 2 and shape[1] is None) for shape in shapes.values()
    ):
        images = tf.zeros([2, *function.inputs[0].shape[1:]])
        shapes = {key: tensor.shape for key, tensor in function(images).items()}
    return {
        key: int(shape[1])
        for key, shape in shapes.items()
        if shape.rank == 2 and outputs[key].dtype.is_floating
    }


def choose_logits(
    graph: FlatGraph, sizes: dict[str, int], output: str | None, model: str
) -> tuple[FlatGraph, str, Ending]:
    """The logits' tensor, in a graph that has it, and where it came from.

    Args:
        graph: The network.
        sizes: Length of each output that is a vector.
        output: The output wanted; None where there is but one, or one with its softmax.
        model: What messages call it.

    Raises:
        ConfigError: The output is no vector, or there are several to choose from.
    """
    allowed = ", ".join(sorted(sizes)) or "none"
    if output is None:
        output = _only(graph, sizes)
        if output is None:
            raise ConfigError(
                f"model.output must say which output of {model} is explained; vectors: {allowed}"
            )
    elif output not in sizes:
        raise ConfigError(
            f"model.output={output} is no vector output of {model}; vectors: {allowed}"
        )
    tensor = graph.outputs[output]
    after, node = _back(graph, tensor)
    check_branches(graph, tensor, model)
    if node.op not in _SOFTMAX:
        return graph, tensor, Ending(output, "", node.op)
    graph, tensor = _bypassed(graph, after, tensor_of(node.input[0]))
    return graph, tensor, Ending(output, node.op, _back(graph, tensor)[1].op)


def _only(graph: FlatGraph, sizes: dict[str, int]) -> str | None:
    """The output to explain, where there is no doubt about it."""
    origins: dict[str, list[str]] = {}
    for key in sizes:
        origins.setdefault(_origin(graph, graph.outputs[key]), []).append(key)
    usual = [name for name in _USUAL if name in sizes]
    if len(origins) == 1:
        # One vector under several names: the one without softmax, else the first.
        (keys,) = origins.values()
        plain = [k for k in keys if _back(graph, graph.outputs[k])[1].op not in _SOFTMAX]
        return next((name for name in usual if name in plain), (plain or keys)[0])
    return usual[0] if usual else None


def _back(graph: FlatGraph, tensor: str) -> tuple[list[NodeDef], NodeDef]:
    """The nodes at an output that only shape it, last first, and the node that computes it."""
    shaping = []
    node = graph.nodes[op_of(tensor)]
    while node.op in _SHAPING and op_of(node.input[0]) in graph.nodes:
        shaping.append(node)
        node = graph.nodes[op_of(node.input[0])]
    return shaping, node


def _origin(graph: FlatGraph, tensor: str) -> str:
    node = _back(graph, tensor)[1]
    while node.op in _SOFTMAX:
        node = _back(graph, tensor_of(node.input[0]))[1]
    return node.name


def _bypassed(graph: FlatGraph, after: list[NodeDef], logits: str) -> tuple[FlatGraph, str]:
    """What shapes the probabilities, once more, on the logits."""
    if not after:
        return graph, logits
    graph_def = GraphDef()
    graph_def.CopyFrom(graph.graph_def)
    for node in reversed(after):
        new = graph_def.node.add()
        new.CopyFrom(node)
        new.name = f"{node.name}_of_logits"
        new.input[0] = logits
        logits = f"{new.name}:0"
    return replace(graph, graph_def=graph_def), logits
