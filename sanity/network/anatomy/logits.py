"""Which output of a network is explained, and the logits in front of its probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.anatomy.loops import check_branches, check_certain
from sanity.network.anatomy.probabilities import back, find_activation, is_mixed
from sanity.network.anatomy.ranking import check_classes
from sanity.network.anatomy.reduction import (
    Reduce,
    check_reduce,
    describe_reduction,
    make_vector,
)
from sanity.network.graph import FlatGraph, dtype_of, op_of, tensor_of

_USUAL = ("logits", "default")  # what Hub modules call them
Activation = Literal["softmax", "sigmoid", "none"]
Link = Literal["softmax", "logistic", "sigmoid", "said", "none"]


@dataclass(frozen=True)
class Vector:
    """An output that is one vector an image, or one number, or a vector at each of many places.

    Attributes:
        size: Its length.
        rank: 1 where the output is a number an image, (n,), else 2 and one for each axis of places.
        dtype: Its type.
        places: How many there are, along each axis.
    """

    size: int
    rank: int
    dtype: Any
    places: tuple[int, ...] = ()

    @property
    def shape(self) -> list[int | None]:
        """Of the output."""
        return [None, *self.places, self.size][: self.rank]

    def turned(self) -> "Vector":
        """The same output with its first axis of places for its vectors': channels came first."""
        first, *places = self.places
        return replace(self, size=first, places=(*places, self.size))

    def spread(self) -> "Vector":
        """The same output with one number at each place: its last axis is one of places."""
        return replace(self, size=1, rank=self.rank + 1, places=(*self.places, self.size))


@dataclass(frozen=True)
class Ending:
    """How the explained output ends.

    Attributes:
        output: Its name among the function's outputs.
        taken_off: What was taken off, by the types of its ops, or `""`.
        op: Type of the op that computes what is explained.
        n_classes: How many logits are explained: two where the output is one probability.
        link: What makes probabilities of the logits: their softmax; `logistic`, the sigmoid of a
            logit z and of -z, which are those of two classes; `sigmoid`, that of each, of labels
            that do not exclude each other; `said`, what the model itself says; or `none`: they are
            numbers and no logits of anything.
        probabilities: The tensor (n, classes) of what the model says, for `said`.
        reduced: What was made of an output's places, in words, or `""`.
    """

    output: str
    taken_off: str
    op: str
    n_classes: int
    link: Link
    probabilities: str = ""
    reduced: str = ""


def vectors(function: Any, output: str | None = None) -> dict[str, Vector]:
    """The outputs of a ConcreteFunction that may be explained.

    Those that are one vector an image; else those that are one number; else those that are vectors
    at many places. An output that is asked for by its name may be any of them.
    """
    outputs = function.structured_outputs
    shapes = {key: tensor.shape for key, tensor in outputs.items()}
    if any(_is_open(shape, output in (None, key)) for key, shape in shapes.items()):
        images = tf.zeros([2, *function.inputs[0].shape[1:]])
        shapes = {key: tensor.shape for key, tensor in function(images).items()}
    found: dict[int, dict[str, Vector]] = {1: {}, 2: {}, 3: {}}
    for key, shape in shapes.items():
        dtype, rank = outputs[key].dtype, int(shape.rank)
        if dtype.is_floating and (rank > 1 or (rank == 1 and outputs[key].shape[0] is None)):
            places = tuple(int(length) for length in shape[1:-1])
            vector = Vector(int(shape[-1]) if rank > 1 else 1, rank, dtype, places)
            found[min(rank, 3)][key] = vector
    likely = found[2] or found[1] or found[3]
    return likely | {key: vector for key, vector in found[3].items() if key == output}


def _is_open(shape: Any, wanted: bool) -> bool:
    """Whether a shape has to be seen: unknown, but for the number of images."""
    if shape.rank is None:
        return True
    return None in shape[1:] and (shape.rank == 2 or wanted)


def choose_logits(
    graph: FlatGraph,
    vectors: Mapping[str, Vector],
    output: str | None,
    model: str,
    activation: Activation | None = None,
    reduce: Reduce | None = None,
) -> tuple[FlatGraph, str, Ending]:
    """The logits' tensor, in a graph that has it, and where it came from.

    Args:
        graph: The network.
        vectors: Those of its outputs that may be explained, see `vectors`.
        output: The one wanted; None where there is but one, or one with its softmax.
        model: What messages call it.
        activation: What makes probabilities of an output that ends in logits; None for a softmax,
            and of one number for nothing.
        reduce: What makes one vector of those at many places.

    Raises:
        ConfigError: The output is no vector, there are several to choose from, it does not end
            as `activation` says, or `reduce` does not fit it.
    """
    allowed = ", ".join(sorted(vectors)) or "none"
    if output is None:
        output = _only(graph, vectors)
        if output is None:
            raise ConfigError(
                f"model.output must say which output of {model} is explained; vectors: {allowed}"
            )
    elif output not in vectors:
        raise ConfigError(
            f"model.output={output} is no vector output of {model}; vectors: {allowed}"
        )
    said, vector = graph.outputs[output], vectors[output]
    check_reduce(reduce, vector.places, vector.size, output, model)
    check_branches(graph, said, model)
    check_certain(graph, said, model)
    check_classes(graph, said, output, model)
    graph, logits, taken = _peel(graph, said)
    off = " and ".join(taken)
    if activation and taken:
        raise ConfigError(
            f"model.activation={activation} is for an output that ends in logits: {output} of "
            f"{model} ends in {off}, which is taken off"
        )
    if activation == "softmax" and vector.size == 1:
        raise ConfigError(
            f"model.activation=softmax is none of {output} of {model}, which is one number: of two "
            "classes it is the logit with model.activation=sigmoid"
        )
    reduced = describe_reduction(reduce, vector.places)
    if vector.places:

        def one(values: Any) -> Any:
            return make_vector(values, reduce, whole.places)

        whole, plain = vector, logits == said
        graph, logits = _with(graph, logits, whole, one)
        graph, said = (graph, logits) if plain else _with(graph, said, whole, one)
        vector = Vector(whole.size, 2, whole.dtype)
    if vector.rank == 1:
        graph, logits = _with(graph, logits, vector, _column)
        graph, said = _with(graph, said, vector, _column)
        vector = replace(vector, rank=2)
    op = back(graph, logits)[1].op
    ending = Ending(output, off, op, vector.size, "none", reduced=reduced)
    link = _link(graph, said, taken or _beside(graph, output, vectors), vector.size, activation)
    if vector.size == 1 and link not in ("none", "softmax"):
        mixed = link == "said" and not taken
        graph, logits = _with(graph, logits, vector, _of_two if mixed else _signed)
        ending = replace(ending, n_classes=2)
        if link == "said" and taken:
            graph, said = _with(graph, said, vector, _of_two)
        elif mixed:
            said = logits
    elif link == "said" and taken[:1] == ["LogSoftmax"]:
        graph, said = _with(graph, said, vector, tf.exp)
    elif vector.size == 1:
        link = "none"  # the softmax of one number is 1, whatever it is
    size = ending.n_classes
    graph, logits = _in_single(graph, logits, size)
    if link != "said":
        return graph, logits, replace(ending, link=link)
    graph, said = _in_single(graph, said, size)
    return graph, logits, replace(ending, link=link, probabilities=said)


def _in_single(graph: FlatGraph, tensor: str, size: int) -> tuple[FlatGraph, str]:
    """Vectors in single precision, also of a network that computes in half or double."""
    given = dtype_of(graph.nodes[op_of(tensor)])
    if given == tf.float32:
        return graph, tensor
    return _with(graph, tensor, Vector(size, 2, given), lambda z: tf.cast(z, tf.float32))


def _beside(graph: FlatGraph, output: str, vectors: Mapping[str, Vector]) -> list[str]:
    """The activation of the same logits that another output has."""
    origin = _origin(graph, graph.outputs[output])
    others = [graph.outputs[k] for k in vectors if k != output]
    others = [tensor for tensor in others if op_of(tensor) in graph.nodes]  # not just captured
    alike = [_peel(graph, other)[2] for other in others if _origin(graph, other) == origin]
    return next((taken for taken in alike if len(taken) == 1), [])


def _link(
    graph: FlatGraph, said: str, taken: list[str], size: int, activation: Activation | None
) -> Link:
    """What makes probabilities of what is explained; of one number, `logistic` stands for two."""
    if len(taken) > 1:
        return "said"
    if activation == "none":
        return "none"
    if "Sigmoid" in taken or activation == "sigmoid":
        return "logistic" if size == 1 else "sigmoid"
    if taken or activation == "softmax":
        return "softmax"
    if is_mixed(graph, said):
        return "said"
    return "softmax" if size > 1 else "none"


def _column(z: Any) -> Any:
    """Numbers (n,) as vectors (n, 1)."""
    return tf.reshape(z, [-1, 1])


def _signed(z: Any) -> Any:
    """The logits of two classes, where z is the second's.

    The sigmoid of z is that one's probability, that of -z the other's; and the gradient of either
    logit is that of z, but for the sign.
    """
    return tf.concat([-z, z], 1)


def _of_two(p: Any) -> Any:
    """The probabilities of two classes, from the second's."""
    return tf.concat([1 - p, p], 1)


def _with(
    graph: FlatGraph, tensor: str, vector: Vector, function: Callable[[Any], Any]
) -> tuple[FlatGraph, str]:
    """A graph with what a function makes of a tensor, and its name."""
    return graph.append(tensor, tf.TensorSpec(vector.shape, vector.dtype), function)


def _peel(graph: FlatGraph, tensor: str) -> tuple[FlatGraph, str, list[str]]:
    """What lies in front of all softmaxes and sigmoids at a tensor, and what these are, last first.

    It is shaped as the tensor.
    """
    taken: list[str] = []
    shaping: list[NodeDef] = []
    while True:
        after, found = _last_activation(graph, tensor)
        if found is None:
            break
        shaping += after
        taken.append(found[0])
        tensor = found[1]
    if taken:
        graph, tensor = _bypass(graph, shaping, tensor)
    return graph, tensor, taken


def _last_activation(graph: FlatGraph, tensor: str) -> tuple[list[NodeDef], tuple[str, str] | None]:
    """The nodes that shape what an activation at a tensor gives, last first, and the activation.

    A part of sigmoids is the sigmoid of that part.
    """
    after, node = back(graph, tensor)
    found = find_activation(graph, node)
    if node.op == "StridedSlice" and op_of(node.input[0]) in graph.nodes:
        more, inside = back(graph, tensor_of(node.input[0]))
        whole = find_activation(graph, inside)
        if whole is not None and whole[0] == "Sigmoid":
            return [*after, node, *more], whole
    return after, found


def _only(graph: FlatGraph, vectors: Mapping[str, Vector]) -> str | None:
    """The output to explain, where there is no doubt about it."""
    origins: dict[str, list[str]] = {}
    for key in vectors:
        origins.setdefault(_origin(graph, graph.outputs[key]), []).append(key)
    usual = [name for name in _USUAL if name in vectors]
    if len(origins) == 1:
        # One vector under several names: the one without softmax or sigmoid, else the first.
        (keys,) = origins.values()
        plain = [k for k in keys if not _ends_in_activation(graph, graph.outputs[k])]
        return next((name for name in usual if name in plain), (plain or keys)[0])
    return usual[0] if usual else None


def _ends_in_activation(graph: FlatGraph, tensor: str) -> bool:
    return _last_activation(graph, tensor)[1] is not None


def _origin(graph: FlatGraph, tensor: str) -> str:
    """The op that computes what lies in front of a tensor's activations."""
    while (found := _last_activation(graph, tensor)[1]) is not None:
        tensor = found[1]
    return str(back(graph, tensor)[1].name)


def _bypass(graph: FlatGraph, after: list[NodeDef], logits: str) -> tuple[FlatGraph, str]:
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
