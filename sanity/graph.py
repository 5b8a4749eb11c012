"""One flat TensorFlow graph from any function: every nested function inlined, variables live.

A flat graph has every op under its own name, so that any tensor can be read and any op's gradient
replaced; `tf.function`s, SavedModels and Hub modules hide both inside nested functions.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

_SCOPE = "net"
_CALLS = re.compile(rf"^({_SCOPE}/|(Stateful)?PartitionedCall(_\d+)?/)+")
_BRANCHES = {"If": "StatefulPartitionedCall", "StatelessIf": "PartitionedCall"}
# What passes a condition on unchanged; a switch nobody sets has its default.
_SAME = ("Identity", "PlaceholderWithDefault", "ToBool", "StopGradient")


@dataclass(frozen=True)
class FlatGraph:
    """A graph without nested functions.

    Attributes:
        graph_def: The ops.
        input: Name of the images' placeholder.
        outputs: Tensor name of each of the function's outputs.
        captures: The captured tensor (of a variable: its resource) of each other placeholder.
    """

    graph_def: GraphDef
    input: str
    outputs: dict[str, str]
    captures: dict[str, Any]

    @cached_property
    def nodes(self) -> dict[str, NodeDef]:
        """Nodes by name, in topological order: each stands after all that it reads."""
        nodes = {node.name: node for node in self.graph_def.node}
        ordered: dict[str, NodeDef] = {}
        for root in nodes:
            stack = [root]
            while stack:
                name = stack[-1]
                waiting = [
                    op for op in map(op_of, nodes[name].input) if op in nodes and op not in ordered
                ]
                if waiting and name not in ordered:
                    stack.extend(waiting)
                else:
                    ordered.setdefault(stack.pop(), nodes[name])
        return ordered

    @cached_property
    def consumers(self) -> dict[str, list[NodeDef]]:
        """The nodes that compute with each node or placeholder."""
        consumers = defaultdict(list)
        for node in self.nodes.values():
            for source in dict.fromkeys(op_of(i) for i in node.input if not i.startswith("^")):
                consumers[source].append(node)
        return consumers

    @cached_property
    def depths(self) -> dict[str, int]:
        """How many ops lie between the input and each node that depends on it, at the most."""
        depths = {self.input: 0}
        for node in self.nodes.values():
            before = [depths[op] for op in map(op_of, node.input) if op in depths]
            if before and node.op != "NoOp":
                depths[node.name] = max(before) + 1
        return depths

    def before(self, tensor: str) -> set[str]:
        """Names of all nodes that a tensor is computed from, its own among them."""
        return _needed(self.graph_def, [tensor])

    def behind(self, sources: Iterable[str]) -> set[str]:
        """The ops whose values depend on some ops or placeholders, those included."""
        waiting = list(sources)
        reached = set(waiting)
        while waiting:
            for node in self.consumers.get(waiting.pop(), ()):
                if node.name not in reached:
                    reached.add(node.name)
                    waiting.append(node.name)
        return reached

    def path(self, tensor: str) -> list[str]:
        """The nodes through which a tensor depends on the input, from there on."""
        above = self.before(tensor)
        return [name for name in self.nodes if name in above and name in self.depths]

    def between(self, sources: Sequence[str], tensors: Sequence[str]) -> "FlatGraph":
        """The part that computes some tensors from others, and from what is captured.

        Nothing in it waits for anything: where nothing is assigned, no read has to.

        Args:
            sources: Tensors that are given; the first output of the first op becomes the input.
            tensors: Those wanted; the outputs, by their names.
        """
        given = {tensor_of(source) for source in sources}
        nodes = {node.name: node for node in self.graph_def.node}
        needed: set[str] = set()
        waiting = [tensor for tensor in map(tensor_of, tensors) if tensor not in given]
        while waiting:
            name = op_of(waiting.pop())
            if name in nodes and name not in needed:
                needed.add(name)
                inputs = [tensor_of(i) for i in nodes[name].input if not i.startswith("^")]
                waiting += [i for i in inputs if i not in given]
        part = GraphDef(versions=self.graph_def.versions, library=self.graph_def.library)
        part.node.extend(node for node in self.graph_def.node if node.name in needed)
        for node in part.node:
            node.input[:] = [i for i in node.input if not i.startswith("^")]
        read = {op_of(i) for node in part.node for i in node.input}
        captures = {name: tensor for name, tensor in self.captures.items() if name in read}
        return FlatGraph(part, op_of(sources[0]), {tensor: tensor for tensor in tensors}, captures)

    def specs(self, tensors: Sequence[str], images: tf.TensorSpec) -> dict[str, tf.TensorSpec]:
        """Shape and type of tensors by name, as far as they are known for such images."""
        names = list(dict.fromkeys(tensors))
        found: dict[str, tf.TensorSpec] = {}

        def trace(images: Any) -> Any:
            for name, tensor in zip(names, self.build(images, names), strict=True):
                found[name] = tf.TensorSpec(tensor.shape, tensor.dtype)
            return images

        traced(trace, [images])
        return found

    def op_counts(self) -> Counter[str]:
        """How often each type of op stands in the graph."""
        return Counter(node.op for node in self.graph_def.node)

    def build(
        self,
        images: Any,
        tensors: list[str],
        overrides: Mapping[str, str] | None = None,
        replace: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Builds the ops into the current graph, on `images` and on the live variables.

        Args:
            images: The tensor that takes the input's place.
            tensors: Names of the tensors to return, e.g. `"block3/add:0"`.
            overrides: The registered gradient that takes the place of each op type's own.
            replace: Tensors of the current graph that take the place of named ones.
        """
        graph_def = self.graph_def
        if overrides:
            graph_def = GraphDef()
            graph_def.CopyFrom(self.graph_def)
            for node in graph_def.node:
                if node.op in overrides:
                    node.attr["_gradient_op_type"].s = overrides[node.op].encode()
        graph = tf.compat.v1.get_default_graph()
        inputs = {name: graph.capture(tensor) for name, tensor in self.captures.items()}
        return tf.graph_util.import_graph_def(
            graph_def,
            input_map={self.input: images, **inputs, **(replace or {})},
            return_elements=tensors,
            name=_SCOPE,
        )


def traced(function: Callable, inputs: Sequence[tf.TensorSpec]) -> Any:
    """A ConcreteFunction of ops that assign nothing, at half the cost of `tf.function`.

    No op need wait for another but for its values, so nothing is ordered.
    """
    return tf.compat.v1.wrap_function(function, inputs)


def flatten(function: Any) -> FlatGraph:
    """The flat graph of a ConcreteFunction of one argument that returns a dict of tensors."""
    graph_def = _inlined(function)
    while _opened(graph_def, function):
        function = _again(graph_def, function)
        graph_def = _inlined(function)
    captures = {inner.op.name: outer for outer, inner in function.graph.captures}
    images = function.inputs[0].op.name
    mapped = {images, *captures}
    names = {key: tensor.name for key, tensor in function.structured_outputs.items()}
    needed = _needed(graph_def, list(names.values()))
    kept = [node for node in graph_def.node if node.name in needed - mapped]
    flat = GraphDef(versions=graph_def.versions)
    for node in kept:
        # The mapped placeholders are gone, so nothing may wait for them or be placed beside them.
        inputs = [i for i in node.input if not (i.startswith("^") and i[1:] in mapped)]
        new = flat.node.add()
        new.CopyFrom(node)
        del new.input[:]
        new.input.extend(inputs)
        new.attr.pop("_class", None)
        if new.op == "IdentityN":
            # A tf.custom_gradient such as tf.nn.silu's: a Python function that closes over tensors
            # of its first graph. Without it, the gradient is that of the ops themselves.
            new.attr.pop("_gradient_op_type", None)
    outputs = _through_identities(names, flat)
    new_names = _short_names(flat)
    for node in flat.node:
        node.name = new_names[node.name]
        for index, source in enumerate(node.input):
            node.input[index] = _renamed(source, new_names)
    read = {op_of(source) for node in flat.node for source in node.input}
    return FlatGraph(
        flat,
        images,
        {key: _renamed(tensor, new_names) for key, tensor in outputs.items()},
        {name: tensor for name, tensor in captures.items() if name in read},
    )


def op_of(tensor: str) -> str:
    """The node that an input such as `"a/b:1"` or `"^a/b"` refers to."""
    return tensor.lstrip("^").split(":")[0]


def tensor_of(name: str) -> str:
    """The full name of the tensor that an input refers to."""
    return name if ":" in name else f"{name}:0"


def _needed(graph_def: GraphDef, tensors: list[str]) -> set[str]:
    """Names of the nodes that tensors are computed from."""
    nodes = {node.name: node for node in graph_def.node}
    found: set[str] = set()
    waiting = [op_of(tensor) for tensor in tensors]
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in found:
            found.add(name)
            waiting += [op_of(i) for i in nodes[name].input]
    return found


def _inlined(function: Any) -> GraphDef:
    """Grappler's function inlining: the one internal function of TensorFlow that we use."""
    from tensorflow.python.framework.convert_to_constants import _run_inline_graph_optimization

    return _run_inline_graph_optimization(
        function, lower_control_flow=False, aggressive_inlining=True
    )


def _opened(graph_def: GraphDef, function: Any) -> bool:
    """Prepares what inlining has left, in place, and says whether another round gets further.

    A condition whose value is known (a `training` switch) becomes a call of its branch; a call that
    was to be compiled as a whole, or never to be inlined, becomes an ordinary one.
    """
    nodes = {node.name: node for node in graph_def.node}
    captured = {inner.op.name: outer for outer, inner in function.graph.captures}
    changed = False
    for node in graph_def.node:
        if node.op in _BRANCHES:
            condition = _known(node.input[0], nodes, captured)
            if condition is not None:
                branch = node.attr["then_branch" if condition else "else_branch"].func
                node.attr["f"].func.CopyFrom(branch)
                for attribute in ("Tcond", "then_branch", "else_branch", "output_shapes"):
                    node.attr.pop(attribute, None)
                node.op = _BRANCHES[node.op]
                del node.input[0]
                changed = True
    called = [node for node in graph_def.node if node.op in _BRANCHES.values()]
    for owner in (*called, *graph_def.library.function):
        for attribute in ("_XlaMustCompile", "_noinline"):
            if owner.attr.pop(attribute, None) is not None and owner in called:
                changed = True
    return changed


def _known(tensor: str, nodes: Mapping[str, NodeDef], captured: Mapping[str, Any]) -> bool | None:
    """The value of a condition, where it does not depend on the images."""
    node = nodes[op_of(tensor)]
    if node.op == "Const":
        return bool(tf.make_ndarray(node.attr["value"].tensor).any())
    if node.op in _SAME or node.op == "Cast":
        return _known(node.input[0], nodes, captured)
    if node.op in ("LogicalNot", "LogicalAnd", "LogicalOr"):
        values = [_known(i, nodes, captured) for i in node.input if not i.startswith("^")]
        if None in values:
            return None
        return {"LogicalNot": not values[0], "LogicalAnd": all(values)}.get(node.op, any(values))
    if node.name in captured and captured[node.name].dtype != tf.resource:
        return bool(tf.get_static_value(captured[node.name]))
    if node.op == "ReadVariableOp":
        holder = nodes[op_of(node.input[0])]
        while holder.op == "Identity":
            holder = nodes[op_of(holder.input[0])]
        if holder.name in captured:
            kind = node.attr["dtype"].type
            return bool(tf.raw_ops.ReadVariableOp(resource=captured[holder.name], dtype=kind))
    return None


def _again(graph_def: GraphDef, function: Any) -> Any:
    """A ConcreteFunction of a rewritten graph, with the inputs, captures and outputs it had."""
    images = function.inputs[0]
    outputs = function.structured_outputs
    captures = [(inner.op.name, outer) for outer, inner in function.graph.captures]

    @tf.function(input_signature=[tf.TensorSpec(images.shape, images.dtype, name="images")])
    def rebuilt(images: Any) -> dict[str, Any]:
        graph = tf.compat.v1.get_default_graph()
        inputs = {name: graph.capture(tensor) for name, tensor in captures}
        tensors = tf.graph_util.import_graph_def(
            graph_def,
            input_map={function.inputs[0].op.name: images, **inputs},
            return_elements=[tensor.name for tensor in outputs.values()],
            name=_SCOPE,
        )
        for key, tensor in zip(outputs, tensors, strict=True):
            tensor.set_shape(outputs[key].shape)
        return dict(zip(outputs, tensors, strict=True))

    return rebuilt.get_concrete_function()


def _short_names(graph_def: GraphDef) -> dict[str, str]:
    """Names without the calls that were inlined: `"block3/add"`, not `"PartitionedCall/…/add"`."""
    short = {node.name: _CALLS.sub("", node.name) for node in graph_def.node}
    taken = Counter(short.values())
    return {name: new if new and taken[new] == 1 else name for name, new in short.items()}


def _renamed(tensor: str, names: Mapping[str, str]) -> str:
    op = op_of(tensor)
    return tensor.replace(op, names.get(op, op), 1)


def _through_identities(outputs: dict[str, str], graph_def: GraphDef) -> dict[str, str]:
    """Names the tensors that the function returns as the network calls them."""
    nodes = {node.name: node for node in graph_def.node}

    def origin(tensor: str) -> str:
        node = nodes.get(op_of(tensor))
        while node is not None and node.op == "Identity":
            tensor = tensor_of(node.input[0])
            node = nodes.get(op_of(tensor))
        return tensor

    return {key: origin(tensor) for key, tensor in outputs.items()}
