"""The network as a chain of segments, so that what a stage has not changed is not computed again.

A segment lies between two tensors through which everything passes on its way from the images to
the logits. It is computed forward, keeping what the backward pass needs. In a cascade from the
output all segments before the randomized one are as they were, and so are their activations for the
same images: only gradients go through them again, from the logits to the images in one call.
"""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.network.anatomy.parameters import meeting
from sanity.network.graph import FlatGraph, op_of, tensor_of, trace_graph
from sanity.network.passes.parallel_convolutions import join_gradients

# Computed again in the backward pass: TensorFlow's gradient of these takes some ten times as long
# where the op itself is not in the same graph.
_AGAIN = {"MaxPool"}
_SMALL = 2**14  # entries up to which two arrays are compared, not only their identities


@dataclass(frozen=True)
class Segment:
    """A part of the network with one input and one output.

    Attributes:
        forward: From its input, and its settings, to its output and to what else is wanted of this
            pass: what the backward pass needs, if there is one.
        variables: Names of the variables that it reads.
        settings: Names of further values that it is given.
    """

    forward: Callable[..., list[Any]]
    variables: tuple[str, ...]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """The network from images to logits.

    Attributes:
        segments: In this order.
        backward: From what all segments kept of their passes, one after the other, and the gradient
            at the logits, to the gradient at the images; None if there is no backward pass.
    """

    segments: list[Segment]
    backward: Callable[..., Any] | None = None


@dataclass(frozen=True)
class _BackwardPass:
    """A segment's backward pass, from what its forward pass kept.

    Attributes:
        graph: From the gradient at its output to the one at its input.
        gradient: Name of the latter.
        saved: Names of the tensors that are kept.
        kept: Their shapes and types.
    """

    graph: FlatGraph
    gradient: str
    saved: list[str]
    kept: list[tf.TensorSpec]

    def build(self, kept: Sequence[Any], upper: Any) -> Any:
        """Builds it into the current graph."""
        replaced = dict(zip(self.saved, kept, strict=True))
        return self.graph.build(upper, [self.gradient], replace=replaced)[0]


def chain_segments(
    graph: FlatGraph,
    tensors: Sequence[str],
    images: tf.TensorSpec,
    placeholders: Mapping[str, str],
    rows: int = 2,
) -> Chain:
    """The network in segments, with a backward pass.

    Args:
        graph: The network, a backprop rule applied to it.
        tensors: Where segments end: the `cuts`, then the logits.
        images: What the network takes.
        placeholders: The placeholder of each variable.
        rows: How many images there will be most often: kernels are made ready for so many.
    """
    names = {placeholder: name for name, placeholder in placeholders.items()}
    segments: list[Segment] = []
    ways: list[_BackwardPass] = []
    spec = images
    # TensorFlow prepares a function, and its kernels, at the first call: beside the next's tracing.
    with ThreadPoolExecutor(1) as beside:
        passes = [beside.submit(lambda: [tf.zeros([rows, *images.shape[1:]], images.dtype)])]
        for start, end in zip([graph.input, *tensors], tensors, strict=False):
            part = graph.between([start], [end])
            segment, way, spec = _segment(part, end, spec, names)
            segments.append(segment)
            ways.append(way)
            passes.append(beside.submit(_pass_on, segment, passes[-1]))
        backward = _backward(ways, spec)
        found = [each.result() for each in passes]
        backward(*(tensor for _, *kept in found for tensor in kept), tf.zeros_like(found[-1][0]))
    return Chain(segments, backward)


def _pass_on(segment: Segment, before: Future[Any]) -> list[Any]:
    return segment.forward(before.result()[0])


def _backward(ways: Sequence[_BackwardPass], top: tf.TensorSpec) -> Any:
    """The backward pass through all segments: one call, whatever their number."""

    def backward(*given: Any) -> Any:
        *kept, gradient = given
        for way in reversed(ways):
            own = [kept.pop() for _ in way.kept][::-1]
            gradient = way.build(own, gradient)
        return gradient

    return trace_graph(backward, [*(spec for way in ways for spec in way.kept), top])


class Walk:
    """One batch on its way through the segments; keeps what holds while only weights change.

    Args:
        chain: The network.
        inputs: The batch.
    """

    def __init__(self, chain: Chain, inputs: np.ndarray):
        self._chain = chain
        self._steps: list[_Step] = []
        self._inputs = tf.constant(inputs)

    def forward(self, values: Mapping[str, np.ndarray]) -> list[list[Any]]:
        """What each segment keeps of the pass forward, with the weights in place.

        Args:
            values: Of the settings, and of the variables that are not as trained: by them it is
                seen which segments are as they were at the last call.
        """
        same = 0
        while same < len(self._steps) and self._steps[same].holds(values):
            same += 1
        del self._steps[same:]
        x = self._steps[-1].output if self._steps else self._inputs
        for segment in self._chain.segments[same:]:
            x, *kept = segment.forward(x, *[tf.constant(values[name]) for name in segment.settings])
            known = {name: values.get(name) for name in (*segment.variables, *segment.settings)}
            self._steps.append(_Step(x, kept, known))
        return [step.kept for step in self._steps]

    def gradient(self, values: Mapping[str, np.ndarray], top: Any) -> Any:
        """The gradient (n, H, W, C) with respect to the batch, with the weights in place: a tensor.

        Args:
            values: See `forward`.
            top: The gradient (n, classes) at the logits.
        """
        assert self._chain.backward is not None
        kept = [tensor for each in self.forward(values) for tensor in each]
        return self._chain.backward(*kept, top)


@dataclass(frozen=True)
class _Step:
    """A segment's pass: its output, what else is kept of it, and the values it was made with."""

    output: Any
    kept: list[Any]
    values: dict[str, np.ndarray | None]

    def holds(self, values: Mapping[str, np.ndarray]) -> bool:
        return all(_same(value, values.get(name)) for name, value in self.values.items())


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is b:
        return True
    if a is None or b is None or a.size > _SMALL:
        return False
    return np.array_equal(a, b)  # moving statistics are estimated again at each stage


def time_segments(chain: Chain, inputs: np.ndarray) -> list[float]:
    """Seconds that a batch takes forward through each segment, which has no settings."""
    x, found = tf.constant(inputs), []
    for segment in chain.segments:
        start = time.perf_counter()
        x, *_ = segment.forward(x)
        tf.test.experimental.sync_devices()  # a graphics card is only told what to do
        found.append(time.perf_counter() - start)
    return found


def cuts(
    graph: FlatGraph,
    output: str,
    images: tf.TensorSpec,
    placeholders: Mapping[str, str],
    starts: Sequence[Sequence[str]],
    among: Container[str],
) -> list[str]:
    """Tensors through which everything passes, the last one before each group of variables.

    Args:
        graph: The network.
        output: Its logits.
        images: What it takes.
        placeholders: The placeholder of each variable.
        starts: Groups of variables, e.g. a block's.
        among: Names of the ops whose output may be chosen.
    """
    path = graph.path(output)
    position = {graph.input: -1} | {name: i for i, name in enumerate(path)}
    reach = dict.fromkeys(position, -1)  # the last op that reads each
    for name in path:
        for source in graph.nodes[name].input:
            if op_of(source) in position:
                reach[op_of(source)] = position[name]
    candidates, far = [], reach[graph.input]
    for i, name in enumerate(path[:-1]):
        if far <= i and name in among:  # nothing from before is read after it
            candidates.append((i, name))
        far = max(far, reach[name])
    specs = graph.specs([f"{name}:0" for _, name in candidates], images)
    usable = []
    for i, name in candidates:
        spec = specs[f"{name}:0"]
        reads = {i for user in graph.consumers[name] for i in user.input if op_of(i) == name}
        one = reads <= {name, f"{name}:0"}
        if one and spec.dtype.is_floating and spec.shape.rank and spec.shape[0] is None:
            usable.append(i)
    met = {name: meeting(graph, placeholder) for name, placeholder in placeholders.items()}
    at = {name: position[op] for name, op in met.items() if op in position}
    firsts = [min((at[name] for name in group if name in at), default=0) for group in starts]
    # What lies before all variables, such as preprocessing, is not worth a segment.
    bottom = min(at.values(), default=0)
    before = [[i for i in usable if i < first] for first in firsts if first > bottom]
    return [f"{path[i]}:0" for i in sorted({below[-1] for below in before if below})]


def _segment(
    part: FlatGraph,
    end: str,
    spec: tf.TensorSpec,
    names: Mapping[str, str],
) -> tuple[Segment, _BackwardPass, tf.TensorSpec]:
    """A segment from the graph between its ends, its backward pass, and what it gives."""

    def both(x: Any) -> list[Any]:
        (y,) = part.build(x, [end])
        upper = tf.compat.v1.placeholder(y.dtype, y.shape)
        return [y, upper, tf.gradients(y, x, upper)[0]]

    together = trace_graph(both, [spec])
    x, (y, upper, gradient) = together.inputs[0], together.structured_outputs
    shapes = {t.name: t.shape for op in together.graph.get_operations() for t in op.outputs}
    whole = join_gradients(_flat(together.graph), shapes)
    behind, saved = _backward_pass(whole, gradient.name, upper.name)
    ahead = whole.between([x.name], [y.name, *saved])
    forward = trace_graph(lambda x: ahead.build(x, [y.name, *saved]), [spec])
    output, *kept = [tf.TensorSpec(t.shape, t.dtype) for t in forward.structured_outputs]
    variables = tuple(names[p] for p in part.captures if p in names)
    return Segment(forward, variables), _BackwardPass(behind, gradient.name, saved, kept), output


def _flat(graph: Any) -> FlatGraph:
    """The graph of a function of ours, which nests no other."""
    given = {tensor.op.name for tensor in graph.inputs}
    graph_def = graph.as_graph_def()
    kept = [node for node in graph_def.node if node.name not in given]
    for node in kept:
        node.attr.pop("_class", None)  # to be placed beside an op that may lie in the other half
    del graph_def.node[:]
    graph_def.node.extend(kept)
    captures = {inner.op.name: outer for outer, inner in graph.captures}
    return FlatGraph(graph_def, graph.inputs[0].op.name, {}, captures)


def _backward_pass(graph: FlatGraph, gradient: str, upper: str) -> tuple[FlatGraph, list[str]]:
    """The backward pass from `upper` to the gradient, and what it reads of the forward pass."""
    back = graph.behind([op_of(upper)])
    back |= {name for name, node in graph.nodes.items() if node.op in _AGAIN}
    borders = dict.fromkeys(
        tensor_of(source)
        for name, node in graph.nodes.items()
        if name in back
        for source in node.input
        if op_of(source) not in back and _is_computed(graph, source)
    )
    part = graph.between([upper, *borders], [gradient])
    read = {tensor_of(source) for node in part.nodes.values() for source in node.input}
    return part, [tensor for tensor in borders if tensor in read]


def _is_computed(graph: FlatGraph, source: str) -> bool:
    """Whether a tensor is more than a variable's or a constant's value."""
    if op_of(source) in graph.depths:
        return True
    node = graph.nodes.get(op_of(source))
    while node is not None and node.op == "Identity":
        node = graph.nodes.get(op_of(node.input[0]))
    return node is not None and node.op not in ("Const", "ReadVariableOp", "Placeholder")
