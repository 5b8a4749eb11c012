"""One flat TensorFlow graph: every op under its own name, variables live.

Any tensor of a flat graph can be read and any op's gradient replaced.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.custom_gradients import KIND, PASSES, Found, is_differentiable
from sanity.network.determinism import place_on_processor
from sanity.network.devices import has_card

SCOPE = "net"
# What has a gradient of 0 everywhere, or lets none through.
_FLAT = ("Sign", "Round", "Rint", "Floor", "Ceil", "StopGradient", "OneHot")
# What TensorFlow joins with a batch norm before it: tanh, and mish as softplus, tanh and product.
_JOINED = ("Tanh", "Softplus")
# What it takes for a bias, past what changes nothing.
_BIASES = frozenset("BiasAdd Add AddV2 Identity".split())
NORMS = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))
# The gradient of a convolution in groups where TensorFlow has none, see `grouped`.
GROUPED = "SanityGroupedConv2D"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What these give depends on no value of what they are given.
OF_SIZES = frozenset(
    ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "TensorListLength")
)

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class FlatGraph:
    """A graph without nested functions.

    Attributes:
        graph_def: The ops.
        input: Name of the images' placeholder.
        outputs: Tensor name of each of the function's outputs.
        captures: The captured tensor (of a variable: its resource) of each other placeholder.
        custom: The gradients of their own that some of its ops have, or had.
    """

    graph_def: GraphDef
    input: str
    outputs: dict[str, str]
    captures: dict[str, Any]
    custom: Found = field(default_factory=Found)

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

    @cached_property
    def valued(self) -> set[str]:
        """The nodes that depend on the images' values, and not only on their number and size."""
        found = {self.input}
        for node in self.nodes.values():
            if node.op not in OF_SIZES and any(
                op_of(i) in found for i in node.input if not i.startswith("^")
            ):
                found.add(node.name)
        return found

    def before(self, tensor: str) -> set[str]:
        """Names of all nodes that a tensor is computed from, its own among them."""
        return find_needed(self.graph_def, [tensor])

    def behind(self, sources: Iterable[str]) -> set[str]:
        """The ops whose values depend on some ops or placeholders, those included."""
        return set(search(sources, self._readers))

    def meetings(self, placeholder: str) -> dict[str, str]:
        """The ops in which a variable meets the images' values, each with the tensor of these."""

        def alone(name: str) -> list[str]:
            return [] if name in self.valued else self._readers(name)

        met = [name for name in search([placeholder], alone) if name in self.valued]
        return {
            name: next(i for i in self.nodes[name].input if op_of(i) in self.valued) for name in met
        }

    def _readers(self, name: str) -> list[str]:
        return [node.name for node in self.consumers.get(name, ())]

    def through(self, tensor: str, ops: Container[str]) -> NodeDef | None:
        """The op that gives a tensor, some ops on its way aside; None if it is given."""
        node = self.nodes.get(op_of(tensor))
        while node is not None and node.op in ops:
            node = self.nodes.get(op_of(node.input[0])) if node.input else None
        return node

    def path(self, tensor: str) -> list[str]:
        """The nodes through which a tensor depends on the input, from there on."""
        above = self.before(tensor)
        return [name for name in self.nodes if name in above and name in self.depths]

    def gradient_path(self, tensor: str, source: str | None = None) -> list[str]:
        """The nodes through which a gradient leads from a tensor back to the input, from there on.

        Args:
            tensor: Where it begins.
            source: The tensor where it is to end, if not at the input.
        """
        source = self.input if source is None else op_of(source)
        ahead = {source}
        for node in self.nodes.values():
            if not ahead.isdisjoint(map(op_of, passing(node))):
                ahead.add(node.name)

        def passed(name: str) -> list[str]:
            node = self.nodes.get(name)
            if node is None or name == source:
                return []
            return [op for op in map(op_of, passing(node)) if op in ahead]

        start = op_of(tensor)
        back = set(search([start] if start in ahead else [], passed))
        return [name for name in self.nodes if name in back] if source in back else []

    def leads_past(self, tensor: str, other: str) -> bool:
        """Whether a gradient leads from a tensor to the input without going through another."""

        def passed(name: str) -> list[str]:
            node = self.nodes.get(name)
            past = node is not None and name not in (self.input, op_of(other))
            return [*map(op_of, passing(node))] if node is not None and past else []

        return self.input in search([op_of(tensor)], passed)

    def stops(self, tensor: str, source: str | None = None) -> list[NodeDef]:
        """The nodes from which no gradient leads on to the input, though a tensor depends on it."""
        behind = self.behind([self.input if source is None else op_of(source)])
        return [
            node
            for node in map(self.nodes.__getitem__, self.path(tensor))
            if node.name in behind & self.valued and behind.isdisjoint(map(op_of, passing(node)))
        ]

    def between(self, sources: Sequence[str], tensors: Sequence[str]) -> "FlatGraph":
        """The part that computes some tensors from others, and from what is captured.

        Nothing in it waits for anything: where nothing is assigned, no read has to.

        Args:
            sources: Tensors that are given; the first output of the first op becomes the input.
            tensors: Those wanted; the outputs, by their names.
        """
        given, nodes = {tensor_of(source) for source in sources}, self.nodes

        def wanted(inputs: Iterable[str]) -> list[str]:
            computed = (tensor_of(i) for i in inputs if not i.startswith("^"))
            ops = (op_of(tensor) for tensor in computed if tensor not in given)
            return [op for op in ops if op in nodes]

        needed = set(search(wanted(tensors), lambda name: wanted(nodes[name].input)))
        part = GraphDef(versions=self.graph_def.versions, library=self.graph_def.library)
        part.node.extend(node for node in self.graph_def.node if node.name in needed)
        for node in part.node:
            node.input[:] = [i for i in node.input if not i.startswith("^")]
        read = {op_of(i) for node in part.node for i in node.input}
        captures = {name: tensor for name, tensor in self.captures.items() if name in read}
        return FlatGraph(part, op_of(sources[0]), {tensor: tensor for tensor in tensors}, captures)

    def append(
        self, tensor: str, spec: tf.TensorSpec, function: Callable[[Any], Any]
    ) -> tuple["FlatGraph", str]:
        """The graph with what a function makes of a tensor, and the name of that.

        Args:
            tensor: What the function is called with.
            spec: Its shape and type.
            function: Of TensorFlow's ops, without variables.
        """
        with tf.Graph().as_default() as own:
            made = function(tf.compat.v1.placeholder(spec.dtype, spec.shape, "given"))
        scopes = {name.split("/")[0] for name in self.nodes}
        number = next(n for n in range(len(scopes) + 1) if f"explained{n}" not in scopes)
        graph_def = GraphDef()
        graph_def.CopyFrom(self.graph_def)
        for node in own.as_graph_def().node:
            if node.name != "given":
                new = graph_def.node.add()
                new.CopyFrom(node)
                new.name = f"explained{number}/{node.name}"
                new.input[:] = [
                    tensor if i == "given" else f"explained{number}/{i}" for i in node.input
                ]
        return replace(self, graph_def=graph_def), f"explained{number}/{made.name}"

    def specs(self, tensors: Sequence[str], images: tf.TensorSpec) -> dict[str, tf.TensorSpec]:
        """Shape and type of tensors by name, as far as they are known for such images."""
        names = list(dict.fromkeys(tensors))
        found: dict[str, tf.TensorSpec] = {}

        def trace(images: Any) -> Any:
            for name, tensor in zip(names, self.build(images, names), strict=True):
                found[name] = tf.TensorSpec(tensor.shape, tensor.dtype)
            return images

        if names:
            trace_graph(trace, [images])
        return found

    def op_counts(self) -> Counter[str]:
        """How often each type of op stands in the graph."""
        return Counter(node.op for node in self.graph_def.node)

    @cached_property
    def _runnable(self) -> GraphDef:
        """The ops, with an op that changes nothing between two that TensorFlow would join.

        It makes one op of a convolution, its batch norm and tanh or mish, and has no kernel for it
        ("Fusion is not implemented"), nor on a CPU without oneDNN for a convolution in groups and
        what follows. With oneDNN it ends the process where it joins a depthwise one, with padding
        given as numbers, and a bias.
        """
        pairs = [
            (node.name, index)
            for node in self.graph_def.node
            for index, source in enumerate(node.input)
            if (before := self.nodes.get(source)) is not None
            and (
                (not index and node.op in _JOINED and before.op in NORMS)
                or (KIND in before.attr and before.attr[KIND].s == GROUPED.encode())
                or (node.op in _BIASES and is_padded_depthwise(before))
            )
        ]
        if not pairs:
            return self.graph_def
        new = GraphDef()
        new.CopyFrom(self.graph_def)
        nodes = {node.name: node for node in new.node}
        for name, index in pairs:
            source = nodes[nodes[name].input[index]]
            apart = new.node.add(name=f"{name}/apart{index}", op="EnsureShape")
            apart.attr["T"].CopyFrom(source.attr["T"])
            for _ in source.attr["data_format"].s or b"NHWC":
                apart.attr["shape"].shape.dim.add(size=-1)
            apart.input.append(source.name)
            nodes[name].input[index] = apart.name
        return new

    def build(
        self,
        images: Any,
        tensors: list[str],
        replace: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Builds the ops into the current graph, on `images` and on the live variables.

        Args:
            images: The tensor that takes the input's place.
            tensors: Names of the tensors to return, e.g. `"block3/add:0"`.
            replace: Tensors of the current graph that take the place of named ones.
        """
        graph = tf.compat.v1.get_default_graph()
        inputs = {name: graph.capture(tensor) for name, tensor in self.captures.items()}
        built: list[Any] = tf.graph_util.import_graph_def(
            self._runnable,
            input_map={self.input: images, **inputs, **(replace or {})},
            return_elements=tensors,
            name=SCOPE,
        )
        return built


def trace_graph(function: Callable[..., Any], inputs: Sequence[tf.TensorSpec]) -> Any:
    """A ConcreteFunction of ops that assign nothing, at half the cost of `tf.function`.

    No op need wait for another but for its values, so nothing is ordered.
    """

    def placed(*given: Any) -> Any:
        found = function(*given)
        if has_card():
            place_on_processor(tf.compat.v1.get_default_graph())
        return found

    return tf.compat.v1.wrap_function(placed, inputs)


def reshape_rows(tensors: list[Any], images: Any, shape: tuple[int, ...] | None) -> list[Any]:
    """Tensors as (n, *shape), n the number of images; as they are where no shape is given."""
    if shape is None:
        return tensors
    return [tf.reshape(tensor, [tf.shape(images)[0], *shape]) for tensor in tensors]


def passing(node: NodeDef) -> list[str]:
    """The inputs of a node to which a gradient may lead."""
    inputs = [source for source in node.input if not source.startswith("^")]
    if PASSES in node.attr:
        return [inputs[index] for index in node.attr[PASSES].list.i]
    types = [node.attr[key].type for key in ("T", "SrcT", "DstT") if key in node.attr]
    kinds = [tf.dtypes.as_dtype(number) for number in types if number]  # 0: a list of types
    if node.op in _FLAT or not all(kind.is_floating or kind.is_complex for kind in kinds):
        return []
    return inputs if node.op in _CALLS or is_differentiable(node.op) else []


def is_padded_depthwise(node: NodeDef) -> bool:
    """Whether an op is a depthwise convolution with padding given as numbers."""
    return bool(node.op == "DepthwiseConv2dNative" and node.attr["padding"].s == b"EXPLICIT")


def dtype_of(node: NodeDef) -> tf.DType:
    """The type of what an op gives; float32 where its attributes do not say it."""
    named = next((name for name in ("DstT", "dtype", "T") if name in node.attr), None)
    found: tf.DType = tf.as_dtype((node.attr[named].type if named else 0) or tf.float32)
    return found


def op_of(tensor: str) -> str:
    """The node that an input such as `"a/b:1"` or `"^a/b"` refers to."""
    return tensor.lstrip("^").split(":")[0]


def tensor_of(name: str) -> str:
    """The full name of the tensor that an input refers to."""
    return name if ":" in name else f"{name}:0"


def find_needed(graph_def: GraphDef, tensors: list[str]) -> set[str]:
    """Names of the nodes that tensors are computed from."""
    nodes = {node.name: node for node in graph_def.node}

    def known(inputs: Iterable[str]) -> list[str]:
        return [op for op in map(op_of, inputs) if op in nodes]

    return set(search(known(tensors), lambda name: known(nodes[name].input)))


def search(starts: Iterable[T], onward: Callable[[T], Iterable[T]]) -> list[T]:
    """What is reached from some starts, those among it, each once."""
    waiting = list(dict.fromkeys(starts))
    reached = dict.fromkeys(waiting)
    while waiting:
        for one in onward(waiting.pop()):
            if one not in reached:
                reached[one] = None
                waiting.append(one)
    return list(reached)
