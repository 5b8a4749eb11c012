"""The network as a chain of segments, so that what a stage has not changed is not computed again.

A segment lies between two tensors through which everything passes on its way from the images to
the logits. It is computed forward, keeping what the way back needs, and backward from that. In a
cascade from the output all segments before the randomized one are as they were, and so are their
activations for the same images: only gradients go through them again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.graph import FlatGraph, op_of, tensor_of
from sanity.parameters import meeting

_SMALL = 2**14  # entries up to which two arrays are compared, not only their identities


@dataclass(frozen=True)
class Segment:
    """A part of the network with one input and one output.

    Attributes:
        forward: From its input to its output and to what `backward` needs of this pass.
        backward: From that, and the gradient at its output, to the gradient at its input.
        variables: Names of the variables that it reads.
    """

    forward: Callable[[Any], list[Any]]
    backward: Callable[..., Any]
    variables: tuple[str, ...]


def segments(
    graph: FlatGraph,
    output: str,
    images: tf.TensorSpec,
    placeholders: Mapping[str, str],
    starts: Sequence[Sequence[str]],
    overrides: Mapping[str, str] | None = None,
) -> list[Segment]:
    """The segments from images to logits.

    Args:
        graph: The network.
        output: Its logits.
        images: What it takes.
        placeholders: The placeholder of each variable.
        starts: Groups of variables, e.g. a block's: a segment starts as near before each as it can.
        overrides: The gradient that takes the place of each op type's own, see `FlatGraph.build`.
    """
    tensors = [graph.input, *_cuts(graph, output, images, placeholders, starts), output]
    names = {placeholder: name for name, placeholder in placeholders.items()}
    found, spec = [], images
    for start, end in zip(tensors, tensors[1:], strict=False):
        part = graph.between([start], [end])
        segment, spec = _segment(part, end, spec, names, overrides)
        found.append(segment)
    return found


class Walk:
    """One batch on its way through the segments; keeps what holds while only weights change.

    Args:
        chain: The segments.
        inputs: The batch.
        top: The gradient (n, classes) at the logits.
    """

    def __init__(self, chain: Sequence[Segment], inputs: np.ndarray, top: Any):
        self._chain = chain
        self._top = top
        self._steps: list[_Step] = []
        self._inputs = tf.constant(inputs)

    def gradient(self, changed: Mapping[str, np.ndarray]) -> np.ndarray:
        """The gradient (n, H, W, C) with respect to the batch, with the weights in place.

        Args:
            changed: Values of the variables that are not as trained: by them it is seen which
                segments are as they were at the last call.
        """
        same = 0
        while same < len(self._steps) and self._steps[same].holds(self._chain[same], changed):
            same += 1
        del self._steps[same:]
        x = self._steps[-1].output if self._steps else self._inputs
        for segment in self._chain[same:]:
            x, *saved = segment.forward(x)
            values = {name: changed.get(name) for name in segment.variables}
            self._steps.append(_Step(x, saved, values))
        gradient = self._top
        for segment, step in zip(reversed(self._chain), reversed(self._steps), strict=True):
            gradient = segment.backward(*step.saved, gradient)
        return gradient.numpy()


@dataclass(frozen=True)
class _Step:
    """A segment's pass: its output, what the way back needs, and the weights it was made with."""

    output: Any
    saved: list[Any]
    values: dict[str, np.ndarray | None] = field(repr=False)

    def holds(self, segment: Segment, changed: Mapping[str, np.ndarray]) -> bool:
        return all(_same(self.values[name], changed.get(name)) for name in segment.variables)


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is b:
        return True
    if a is None or b is None or a.size > _SMALL:
        return False
    return np.array_equal(a, b)  # moving statistics are estimated again at each stage


def _cuts(
    graph: FlatGraph,
    output: str,
    images: tf.TensorSpec,
    placeholders: Mapping[str, str],
    starts: Sequence[Sequence[str]],
) -> list[str]:
    """Tensors through which everything passes, the last one before each group of variables."""
    above = graph.before(output)
    path = [name for name in graph.nodes if name in above and name in graph.depths]
    position = {graph.input: -1} | {name: i for i, name in enumerate(path)}
    reach = dict.fromkeys(position, -1)  # the last op that reads each
    for name in path:
        for source in graph.nodes[name].input:
            if op_of(source) in position:
                reach[op_of(source)] = position[name]
    candidates, far = [], reach[graph.input]
    for i, name in enumerate(path[:-1]):
        if far <= i:  # nothing from before is read after it
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
    overrides: Mapping[str, str] | None,
) -> tuple[Segment, tf.TensorSpec]:
    """A segment from the graph between its ends, and what it gives."""
    output = part.specs([end], spec)[end]

    @tf.function(autograph=False, input_signature=[spec, output])
    def both(x: Any, upper: Any) -> list[Any]:
        (y,) = part.build(x, [end], overrides)
        return [y, tf.gradients(y, x, upper)[0]]

    traced = both.get_concrete_function().graph
    x, upper = traced.inputs[:2]
    y, gradient = traced.structured_outputs
    whole = _flat(traced)
    saved = _saved(whole, gradient.name, upper.name)
    kept = [tf.TensorSpec(t.shape, t.dtype) for t in map(traced.get_tensor_by_name, saved)]
    ahead = whole.between([x.name], [y.name, *saved])
    behind = whole.between([upper.name, *saved], [gradient.name])

    @tf.function(autograph=False, input_signature=[spec])
    def forward(x: Any) -> list[Any]:
        return ahead.build(x, [y.name, *saved])

    @tf.function(autograph=False, input_signature=[*kept, output])
    def backward(*given: Any) -> Any:
        *tensors, upper = given
        replaced = dict(zip(saved, tensors, strict=True))
        return behind.build(upper, [gradient.name], replace=replaced)[0]

    variables = tuple(names[p] for p in part.captures if p in names)
    # As concrete functions, which are called at half the cost of those that may have to trace.
    made = Segment(forward.get_concrete_function(), backward.get_concrete_function(), variables)
    return made, output


def _flat(traced: Any) -> FlatGraph:
    """The graph of a function of ours, which nests no other."""
    given = {tensor.op.name for tensor in traced.inputs}
    graph_def = traced.as_graph_def()
    kept = [node for node in graph_def.node if node.name not in given]
    for node in kept:
        node.attr.pop("_class", None)  # to be placed beside an op that may lie in the other half
    del graph_def.node[:]
    graph_def.node.extend(kept)
    captures = {inner.op.name: outer for outer, inner in traced.captures}
    return FlatGraph(graph_def, traced.inputs[0].op.name, {}, captures)


def _saved(graph: FlatGraph, gradient: str, upper: str) -> list[str]:
    """The tensors of the way forward that the way back from `upper` to the gradient reads."""
    back = {op_of(upper)}
    for name, node in graph.nodes.items():
        if any(op_of(i) in back for i in node.input):
            back.add(name)
    needed = graph.before(gradient)
    saved = []
    for name in graph.nodes:
        if name in back and name in needed and name != op_of(upper):
            for source in graph.nodes[name].input:
                if op_of(source) not in back and op_of(source) in graph.depths:
                    saved.append(tensor_of(source))
    return list(dict.fromkeys(saved))
