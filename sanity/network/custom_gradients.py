"""Gradients of one's own (`tf.custom_gradient`) in a graph whose functions are inlined.

TensorFlow marks such a computation by an `IdentityN` around its results and arguments, whose
registered gradient is a Python function: it closes over tensors of the function it was traced in,
which inlining dissolves. Here each such function is traced once more, what it reads is found again
in the inlined graph and becomes an input of the `IdentityN`: the node then holds all that its
gradient needs, and can be copied, cut out and imported like any other.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

KIND = "_gradient_op_type"
PASSES = "_gradient_inputs"  # of a node: the inputs that its own gradient leads to
# What inlining leaves of a call's arguments and results.
_CALLED = re.compile(r"^((?:.*/)?)Func/(.+)/(input|output)/_(\d+)$")
_OWN_SWISH = "tensorflow.python.ops.nn_impl"
_UNSAVED = "it was not saved with the model"
_numbers = itertools.count()


@dataclass
class Found:
    """The gradients of their own that a graph had.

    Attributes:
        kept: Names of the nodes that keep theirs.
        dropped: Names of those whose ops have the same gradient, as far as their form tells.
        lost: Why, of each node whose own gradient cannot be had.
        captures: Placeholders added for what gradients read, with the tensors captured.
    """

    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    captures: dict[str, Any] = field(default_factory=dict)

    def of(self, names: Mapping[str, str]) -> "Found":
        """Those of the nodes that were renamed so, and are still there."""
        return Found(
            [names[name] for name in self.kept if name in names],
            [names[name] for name in self.dropped if name in names],
            {names[name]: why for name, why in self.lost.items() if name in names},
        )


def keep_custom_gradients(
    graph_def: GraphDef,
    function: Any,
    source: Any,
    inline: Callable[[Any], GraphDef],
    drop: bool = True,
) -> Found:
    """Gives each `IdentityN` with a gradient of its own what that gradient reads, in place.

    Args:
        graph_def: The inlined graph.
        function: The ConcreteFunction that it was inlined from.
        source: The one that this was made from in turn: its functions are those of the registry.
        inline: Gives the inlined graph of a ConcreteFunction.
        drop: Whether x·σ(x) is to have its ops' gradient, which is the same: backprop rules can
            then reach its parts.
    """
    found = Found()
    marked = [node for node in graph_def.node if node.op == "IdentityN" and KIND in node.attr]
    places = _Places.of(graph_def, function) if marked else None
    graphs = _graphs(source)
    for node in marked:
        kind = node.attr[KIND].s.decode()
        gradient = _registered(kind)
        if drop and _is_swish(node, {n.name: n for n in graph_def.node}):
            del node.attr[KIND]
            if gradient is None or not _is_tensorflows(gradient):
                found.dropped.append(node.name)
            continue
        assert places is not None
        try:
            if gradient is None:
                raise LookupError(_UNSAVED)
            _keep(node, kind, gradient, graphs, places, inline, found)
            found.kept.append(node.name)
        except Exception as error:  # a Python function of anyone's: it raises what it comes upon
            found.lost[node.name] = str(error).strip().split("\n")[0][:200] or type(error).__name__
            del node.attr[KIND]
    return found


def _graphs(function: Any) -> set[int]:
    """The ids of the graphs of a ConcreteFunction and of all that it calls."""
    called = function.graph._functions.values()
    return {id(function.graph)} | {id(one.graph) for one in called if hasattr(one, "graph")}


def _registered(kind: str) -> Callable[..., Any] | None:
    """The Python function of a custom gradient, from TensorFlow's registry of them."""
    from tensorflow.python.framework.ops import gradient_registry

    try:
        function: Callable[..., Any] = gradient_registry.lookup(kind)
    except LookupError:
        return None
    return function


def is_differentiable(op: str) -> bool:
    """Whether TensorFlow has a gradient for a type of op."""
    from tensorflow.python.framework.ops import gradient_registry

    try:
        return gradient_registry.lookup(op) is not None
    except LookupError:
        return False


def _is_tensorflows(gradient: Callable[..., Any]) -> bool:
    """Whether a registered gradient is that of `tf.nn.silu`, of this process or saved with it."""
    code = getattr(gradient, "__code__", None)
    names = code.co_freevars if code else ()
    inner = dict(zip(names, getattr(gradient, "__closure__", None) or (), strict=False))
    if "tape_grad_fn" in inner:
        return _is_tensorflows(inner["tape_grad_fn"].cell_contents)
    if "grad_fn" in inner:
        return bool(inner["grad_fn"].cell_contents.__module__ == _OWN_SWISH)
    graph = getattr(inner["func"].cell_contents, "graph", None) if "func" in inner else None
    return graph is not None and _ops(graph) == _swish_ops()


@cache
def _swish_ops() -> Counter[tuple[str, bytes]]:
    """The ops of the gradient of `tf.nn.silu`, as it is saved."""
    function = tf.function(tf.nn.silu).get_concrete_function(tf.TensorSpec([None, 1]))
    (op,) = (op for op in function.graph.get_operations() if op.type == "IdentityN")
    gradient = _registered(op.node_def.attr[KIND].s.decode())
    return _ops(tf.function(gradient).get_concrete_function(None, *op.inputs).graph)


def _ops(graph: Any) -> Counter[tuple[str, bytes]]:
    """How often each op stands in a graph, constants by their values but for integers (axes)."""
    found: Counter[tuple[str, bytes]] = Counter()
    for op in graph.get_operations():
        if op.type not in ("Placeholder", "Identity", "NoOp"):
            real = op.type == "Const" and op.outputs[0].dtype.is_floating
            found[op.type, op.get_attr("value").SerializeToString() if real else b""] += 1
    return found


def _is_swish(node: NodeDef, nodes: Mapping[str, NodeDef]) -> bool:
    """Whether the result is x·σ(x) or x·σ(βx) of the first argument."""

    def behind(name: str) -> NodeDef | None:
        found = nodes.get(name.split(":")[0])
        while found is not None and found.op == "Identity":
            found = nodes.get(found.input[0].split(":")[0])
        return found

    results = [behind(name) for name in node.input]
    product = results[0]
    if product is None or product.op != "Mul" or len(results) < 2:
        return False
    for gate, x in itertools.permutations([behind(name) for name in product.input[:2]]):
        if gate is None or x is None or gate.op != "Sigmoid" or x is not results[1]:
            continue
        inside = behind(gate.input[0])
        if inside is x:
            return True
        if inside is not None and inside.op == "Mul":
            parts = [behind(name) for name in inside.input[:2]]
            others = [part for part in parts if part is not x]
            return len(others) == 1 and others[0] is not None and others[0].op == "Const"
    return False


def _keep(
    node: NodeDef,
    kind: str,
    gradient: Callable[..., Any],
    graphs: Collection[int],
    places: "_Places",
    inline: Callable[[Any], GraphDef],
    found: Found,
) -> None:
    """Traces a gradient, and gives its node all that the gradient reads.

    Raises:
        LookupError: Something that the gradient reads is not in the inlined graph.
    """
    types = [tf.dtypes.as_dtype(number) for number in node.attr["T"].list.type]
    home, path = _home(kind, node.name, _tensors(gradient))
    shapes = [None] * len(types) if home is None else [t.shape for t in home.outputs]
    leads: list[int] = []

    def traced(*upper: Any) -> list[Any]:
        parts = gradient(None, *upper)
        leads[:] = [i for i, part in enumerate(parts[: len(types)]) if part is not None]
        return [tf.convert_to_tensor(parts[i]) for i in leads]

    specs = [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, types, strict=True)]
    concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
    n_upper = len(concrete.inputs) - len(concrete.graph.captures)
    upper = [tensor.op.name for tensor in concrete.inputs[:n_upper]]
    if home is None:
        home, path = _home(kind, node.name, [outer for outer, _ in concrete.graph.captures])
    if home is not None and id(home.graph) not in graphs:
        raise LookupError(_UNSAVED)  # the registry has one of another model by this number
    inner, sources = [], []
    for outer, own in concrete.graph.captures:
        source = places.find(outer, node.name, home, path)
        if source is None and not hasattr(outer, "graph"):
            source = f"{node.name}/captured_{len(found.captures)}"
            found.captures[source] = outer
        if source is None:
            raise LookupError(f"it reads {outer.name}, which is gone once functions are inlined")
        inner.append(own.op.name)
        sources.append((source, own.dtype.as_datatype_enum))
    part = _Gradient(
        _without(inline(concrete), {*upper, *inner}),
        tuple(upper),
        tuple(inner),
        tuple(tensor.name for tensor in concrete.outputs),
        tuple(leads),
    )
    name = f"SanityCustomGradient{next(_numbers)}"
    tf.RegisterGradient(name)(part)
    node.attr[KIND].s = name.encode()
    node.attr[PASSES].list.i.extend(leads)
    data = [source for source in node.input if not source.startswith("^")]
    waits = [source for source in node.input if source.startswith("^")]
    node.input[:] = [*data, *(source for source, _ in sources), *waits]
    node.attr["T"].list.type.extend(number for _, number in sources)
    node.attr.pop("_output_shapes", None)


@dataclass(frozen=True)
class _Gradient:
    """A registered gradient, from its own graph.

    Attributes:
        graph_def: Of the gradient, without nested calls.
        upper: Its placeholders for the gradients at the node's first outputs.
        read: Those for the node's last inputs.
        outputs: The gradients, by tensor.
        leads: The node's inputs that they are of.
    """

    graph_def: GraphDef
    upper: tuple[str, ...]
    read: tuple[str, ...]
    outputs: tuple[str, ...]
    leads: tuple[int, ...]

    def __call__(self, op: tf.Operation, *gradients: Any) -> list[Any]:
        given = dict(zip(self.upper, gradients, strict=False))
        extra = op.inputs[len(self.upper) :]
        given |= dict(zip(self.read, extra, strict=True))
        used = {source.split(":")[0] for node in self.graph_def.node for source in node.input}
        used |= {tensor.split(":")[0] for tensor in self.outputs}
        parts = tf.graph_util.import_graph_def(
            self.graph_def,
            input_map={name: value for name, value in given.items() if name in used},
            return_elements=list(self.outputs),
            name="own_gradient",
        )
        found: list[Any] = [None] * len(op.inputs)
        for index, part in zip(self.leads, parts, strict=True):
            part.set_shape(op.inputs[index].shape)
            found[index] = part
        return found


def _without(graph_def: GraphDef, placeholders: set[str]) -> GraphDef:
    """A graph without the placeholders that will be mapped, and what waits for them."""
    new = GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name not in placeholders:
            copy = new.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [
                i for i in node.input if i.removeprefix("^") == i or i[1:] not in placeholders
            ]
            copy.attr.pop("_class", None)
            copy.attr.pop(KIND, None)  # gradients of gradients are not asked for
    return new


def _tensors(gradient: Callable[..., Any], depth: int = 3) -> list[Any]:
    """The tensors that a Python function closes over, and those of the functions it does."""
    found: list[Any] = []
    for cell in getattr(gradient, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not yet bound
            continue
        if callable(content) and hasattr(content, "__closure__") and depth:
            found += _tensors(content, depth - 1)
        else:
            flat = (
                tf.nest.flatten(content) if isinstance(content, list | tuple | dict) else [content]
            )
            found += [part for part in flat if tf.is_tensor(part)]
    return found


def _home(kind: str, name: str, tensors: Sequence[Any]) -> tuple[Any, str]:
    """The op that a node was before inlining, and the path of calls that led to it.

    Args:
        kind: Of its gradient.
        name: Of the node.
        tensors: That its gradient reads: one of their graphs has the op.

    Returns:
        None and "" if none has it.
    """
    graphs = {
        id(t.graph): t.graph for t in tensors if not hasattr(t, "numpy") and hasattr(t, "graph")
    }
    for graph in graphs.values():
        for op in graph.get_operations():
            if op.type == "IdentityN" and name.endswith(op.name):
                own = op.node_def.attr
                if KIND in own and own[KIND].s.decode() == kind:
                    return op, name[: -len(op.name)]
    return None, ""


@dataclass(frozen=True)
class _Places:
    """Where inlining has put the tensors of the functions that were called.

    Attributes:
        nodes: The inlined graph's, by name.
        captured: The placeholder of each captured tensor, by the tensor's id.
        calls: The arguments and results of each call, by its path of calls and "input" or "output".
    """

    nodes: dict[str, NodeDef]
    captured: dict[int, str]
    calls: dict[tuple[str, str], list[str]]

    @classmethod
    def of(cls, graph_def: GraphDef, function: Any) -> "_Places":
        numbered: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        for node in graph_def.node:
            if match := _CALLED.match(node.name):
                path = f"{match[1]}{match[2]}/"
                numbered[path, match[3]].append((int(match[4]), node.name))
        return cls(
            {node.name: node for node in graph_def.node},
            {id(outer): inner.op.name for outer, inner in function.graph.captures},
            {key: [name for _, name in sorted(pairs)] for key, pairs in numbered.items()},
        )

    def find(self, tensor: Any, name: str, home: Any, path: str) -> str | None:
        """The inlined graph's name of a tensor that a node's gradient reads; None if it is gone.

        Args:
            tensor: Of the function that the node was in, of one around it, or of none.
            name: The node's.
            home: The op that it was, if known.
            path: The calls that led to it, if known.
        """
        if hasattr(tensor, "numpy"):
            return self.captured.get(id(tensor))
        for outer, inner in tensor.graph.captures:
            if inner is tensor:
                return self.find(outer, name, home, path)
        at_home = home is not None and tensor.graph is home.graph
        paths = [path] if at_home else list(_around(name if home is None else path))
        return next((place for each in paths if (place := self._at(tensor, each))), None)

    def _at(self, tensor: Any, path: str) -> str | None:
        op, index = tensor.op, tensor.value_index
        if op.type == "Placeholder":
            inputs = [id(one) for one in tensor.graph.inputs]
            given = self.calls.get((path, "input"), [])
            if len(given) == len(inputs) and id(tensor) in inputs:
                return given[inputs.index(id(tensor))]
        node = self.nodes.get(f"{path}{op.name}")
        if node is not None and node.op == op.type:
            return f"{node.name}:{index}" if index else node.name
        results = self.calls.get((f"{path}{op.name}/", "output"), [])
        return results[index] if len(results) == len(op.outputs) else None


def _around(path: str) -> Iterator[str]:
    """The paths of calls around a path, or a node, from the nearest one to none."""
    parts = path.rstrip("/").split("/")
    for n in range(len(parts) - 1, -1, -1):
        yield "".join(f"{part}/" for part in parts[:n])
