"""The flat graph of any function, every nested one inlined.

`tf.function`s, SavedModels and Hub modules hide their ops inside nested functions.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef, FunctionDefLibrary
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.custom_gradients import keep_custom_gradients
from sanity.network.graph import SCOPE, FlatGraph, find_needed, op_of, tensor_of

_CALLS = re.compile(rf"^({SCOPE}/|(Stateful)?PartitionedCall(_\d+)?/)+")
_BRANCHES = {"If": "StatefulPartitionedCall", "StatelessIf": "PartitionedCall"}
# What passes a condition on unchanged; a switch nobody sets has its default.
_SAME = ("Identity", "PlaceholderWithDefault", "ToBool", "StopGradient")


def flatten(function: Any, drop: bool = True) -> FlatGraph:
    """The flat graph of a ConcreteFunction of one argument that returns a dict of tensors.

    Args:
        function: The ConcreteFunction.
        drop: See `keep_custom_gradients`.
    """
    source = function
    graph_def = _inline(function)
    _refuse_old_loops(graph_def)
    while _opened(graph_def, function):
        function = _again(graph_def, function)
        graph_def = _inline(function)
    custom = keep_custom_gradients(graph_def, function, source, _inline, drop)
    captures = dict(custom.captures)
    captures |= {inner.op.name: outer for outer, inner in function.graph.captures}
    images = function.inputs[0].op.name
    mapped = {images, *captures}
    names = {key: tensor.name for key, tensor in function.structured_outputs.items()}
    needed = find_needed(graph_def, list(names.values()))
    kept = [node for node in graph_def.node if node.name in needed - mapped]
    flat = GraphDef(versions=graph_def.versions, library=_functions_of(kept, graph_def))
    for node in kept:
        # The mapped placeholders are gone, so nothing may wait for them or be placed beside them.
        inputs = [i for i in node.input if not (i.startswith("^") and i[1:] in mapped)]
        new = flat.node.add()
        new.CopyFrom(node)
        del new.input[:]
        new.input.extend(inputs)
        new.attr.pop("_class", None)
    outputs = _through_identities(names, flat)
    new_names = _short_names(flat)
    for node in flat.node:
        node.name = new_names[node.name]
        for index, source in enumerate(node.input):
            node.input[index] = _rename(source, new_names)
    read = {op_of(source) for node in flat.node for source in node.input}
    return FlatGraph(
        flat,
        images,
        {key: _rename(tensor, new_names) for key, tensor in outputs.items()},
        {name: tensor for name, tensor in captures.items() if name in read},
        custom.of(new_names),
    )


def _functions_of(nodes: Iterable[NodeDef], graph_def: GraphDef) -> FunctionDefLibrary:
    """The functions that nodes run as loops do, and those that these run in turn."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    found: dict[str, FunctionDef] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        values = node.attr.values()
        names = [
            node.op,
            *(v.func.name for v in values),
            *(f.name for v in values for f in v.list.func),
        ]
        for name in names:
            if name in functions and name not in found:
                found[name] = functions[name]
                waiting += functions[name].node_def
    gradients = [g for g in graph_def.library.gradient if g.function_name in found]
    return FunctionDefLibrary(function=found.values(), gradient=gradients)


def _refuse_old_loops(graph_def: GraphDef) -> None:
    """Refuses loops of TensorFlow 1, which are circles in the graph (ConfigError)."""
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    if any(node.op in ("NextIteration", "RefNextIteration") for node in nodes):
        raise ConfigError(
            "the model has a loop of TensorFlow 1 (tf.while_loop, map_fn, dynamic_rnn), which is "
            "not supported: export it without, or after tf.compat.v1.enable_control_flow_v2()"
        )


def _inline(function: Any) -> GraphDef:
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
                _name_apart(node, branch.name, graph_def)
    changed |= _take_switches(graph_def, captured)
    called = [node for node in graph_def.node if node.op in _BRANCHES.values()]
    for owner in (*called, *graph_def.library.function):
        for attribute in ("_XlaMustCompile", "_noinline"):
            if owner.attr.pop(attribute, None) is not None and owner in called:
                changed = True
    return changed


def _take_switches(graph_def: GraphDef, captured: Mapping[str, Any]) -> bool:
    """Makes conditions of TensorFlow 1 whose value is known their branch; whether there are any.

    There a `Switch` passes a value on as one of two outputs, and what depends on the other is dead;
    a `Merge` takes what is not.
    """
    nodes = FlatGraph(graph_def, "", {}, {}).nodes
    switches = [node for node in graph_def.node if node.op == "Switch"]
    known = {node.name: _known(node.input[1], nodes, captured) for node in switches}
    taken = {name: int(value) for name, value in known.items() if value is not None}
    if not taken:
        return False
    dead: set[str] = set()

    def is_dead(tensor: str) -> bool:
        name = op_of(tensor)
        lost = name in taken and tensor_of(tensor) != f"{name}:{taken[name]}"
        return name in dead or (lost and not tensor.startswith("^"))

    for node in nodes.values():
        gone = [source for source in node.input if is_dead(source)]
        alive = [i for i in node.input if i not in gone and not i.startswith("^")]
        if node.op == "Merge" and gone and len(alive) == 1:
            _become_identity(node, alive[0])
        elif gone:
            dead.add(node.name)
        for index, source in enumerate(node.input):
            if op_of(source) in taken and not source.startswith("^"):
                node.input[index] = op_of(source)
        if node.name in taken and not gone:
            _become_identity(node, node.input[0])
    left = [node for node in graph_def.node if node.name not in dead]
    del graph_def.node[:]
    graph_def.node.extend(left)
    return True


def _become_identity(node: NodeDef, source: str) -> None:
    node.op = "Identity"
    node.input[:] = [source, *(i for i in node.input if i.startswith("^"))]
    node.attr.pop("N", None)


def _name_apart(call: NodeDef, function: str, graph_def: GraphDef) -> None:
    """Renames a call whose ops, once inlined, would have the names of others: grappler aborts."""
    bodies = [f.node_def for f in graph_def.library.function if f.signature.name == function]
    inlined = {f"{call.name}/{node.name}" for body in bodies for node in body}
    taken = {node.name for node in graph_def.node}
    if inlined.isdisjoint(taken):
        return
    old = call.name
    call.name = next(new for i in range(len(taken)) if (new := f"{old}/taken{i}") not in taken)
    for node in graph_def.node:
        for index, source in enumerate(node.input):
            if op_of(source) == old:
                node.input[index] = source.replace(old, call.name, 1)


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

    def rebuilt(images: Any) -> dict[str, Any]:
        graph = tf.compat.v1.get_default_graph()
        inputs = {name: graph.capture(tensor) for name, tensor in captures}
        tensors = tf.graph_util.import_graph_def(
            graph_def,
            input_map={function.inputs[0].op.name: images, **inputs},
            return_elements=[tensor.name for tensor in outputs.values()],
            name=SCOPE,
        )
        for key, tensor in zip(outputs, tensors, strict=True):
            tensor.set_shape(outputs[key].shape)
        return dict(zip(outputs, tensors, strict=True))

    signature = [tf.TensorSpec(images.shape, images.dtype, name="images")]
    return tf.function(rebuilt, input_signature=signature).get_concrete_function()


def _short_names(graph_def: GraphDef) -> dict[str, str]:
    """Names without the calls that were inlined: `"block3/add"`, not `"PartitionedCall/…/add"`."""
    short = {node.name: _CALLS.sub("", node.name) for node in graph_def.node}
    taken = Counter(short.values())
    return {name: new if new and taken[new] == 1 else name for name, new in short.items()}


def _rename(tensor: str, names: Mapping[str, str]) -> str:
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
