"""Loops and branches: which parts of a graph are functions that other ops run.

A loop that repeats a fixed number of times (a recurrent layer's) has TensorFlow's own gradient. A
branch, or a loop whose end depends on the images, is decided once for all images of a batch.
"""

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.op_def_pb2 import OpDef

from sanity.errors import ConfigError
from sanity.network.graph import OF_SIZES, FlatGraph, op_of, search

LOOPS = ("While", "StatelessWhile")
_GIVEN = "given"  # by the images, to a loop's body
_NESTED = ("then_branch", "branches", "body", "f")  # attributes that hold functions
_SWITCHES = ("Switch", "RefSwitch")  # of TensorFlow 1
_RANDOM = ("Random", "StatelessRandom", "StatefulUniform", "StatefulRandom", "Multinomial")


def check_branches(graph: FlatGraph, tensor: str, model: str) -> None:
    """Makes sure that each image of a batch goes through the network by itself.

    Raises:
        ConfigError: The images decide which parts run, or how often one repeats.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    for name in graph.path(tensor):
        node = graph.nodes[name]
        if node.op in LOOPS:
            if _ends_by(node, functions, graph.valued):
                raise ConfigError(_decided(f"{model} decides by the images how often", node))
        elif node.op in _SWITCHES and op_of(node.input[1]) in graph.valued:
            raise ConfigError(_decided(f"{model} decides by the images which of its parts", node))
        elif "is_training" in node.attr and node.attr["is_training"].b:
            raise ConfigError(
                f"{model} normalises by the images of a batch ({node.op}, {name}), as in training, "
                "so that the mask of one would depend on the others: export it with training=False"
            )
        elif any(key in node.attr for key in _NESTED):
            raise ConfigError(_decided(f"{model} decides by the images which of its parts", node))


def check_certain(graph: FlatGraph, tensor: str, model: str) -> None:
    """Makes sure that the same images always give the same logits (ConfigError)."""
    for name in graph.before(tensor):
        node = graph.nodes.get(name)
        if node is not None and node.op.startswith(_RANDOM):
            raise ConfigError(
                f"{model} draws random numbers on the way to its output ({node.op}, {name}), as "
                "dropout does in training: export it with training=False"
            )


def _decided(said: str, node: NodeDef) -> str:
    runs = "it repeats one of its parts" if node.op in LOOPS else "it runs"
    return (
        f"{said} {runs} ({node.op}, {node.name}), once for all images of a batch, so that the mask "
        "of one would depend on the others: such a network is not supported"
    )


def functions_in_loops(graph: FlatGraph, path: Iterable[str]) -> list[FlatGraph]:
    """What the loops among some nodes run, each function as a graph whose arguments are given."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    loops = [graph.nodes[n].attr["body"].func.name for n in path if graph.nodes[n].op in LOOPS]

    def called(name: str) -> set[str]:
        attributes = (a for node in functions[name].node_def for a in node.attr.values())
        return {attribute.func.name for attribute in attributes} & functions.keys()

    found = []
    for function in map(functions.__getitem__, search(loops, called)):
        body = GraphDef(versions=graph.graph_def.versions)
        for argument in function.signature.input_arg:
            _add_given(body, argument)
        _add_nodes(body, function)
        found.append(FlatGraph(body, _GIVEN, {}, {}))
    return found


def find_body(
    graph: FlatGraph, loop: NodeDef, shapes: Mapping[int, Sequence[int | None]]
) -> tuple[FlatGraph, list[str]]:
    """What a loop repeats, as a graph of its own, and the names of its arguments.

    Its input stands for all arguments that depend on the images' values, be it only after some
    rounds; the others are placeholders.

    Args:
        graph: With the loop.
        loop: The op.
        shapes: Of arguments, by their index, where known.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    function = functions[loop.attr["body"].func.name]
    outer = [i for i in loop.input if not i.startswith("^")]
    arguments = function.signature.input_arg
    touched = _touched_at_last(
        function, {k for k, i in enumerate(outer) if op_of(i) in graph.valued}
    )
    body, captures = GraphDef(versions=graph.graph_def.versions), {}
    for index, argument in enumerate(arguments):
        if index in touched:
            _add_given(body, argument)
        elif op_of(outer[index]) in graph.captures:
            captures[argument.name] = graph.captures[op_of(outer[index])]
        else:
            node = body.node.add(name=argument.name, op="Placeholder")
            node.attr["dtype"].type = argument.type
            shape = tf.TensorShape(shapes.get(index))
            node.attr["shape"].shape.CopyFrom(shape.as_proto())
    _add_nodes(body, function)
    return FlatGraph(body, _GIVEN, {}, captures), [argument.name for argument in arguments]


def _add_given(body: GraphDef, argument: OpDef.ArgDef) -> None:
    """Adds an argument of a function that depends on the images."""
    node = body.node.add(name=argument.name, op="Identity", input=[_GIVEN])
    node.attr["T"].type = argument.type


def _add_nodes(body: GraphDef, function: FunctionDef) -> None:
    """Adds a function's ops to a graph that has its arguments."""
    for inner in function.node_def:
        node = body.node.add()
        node.CopyFrom(inner)
        node.input[:] = [_plain(source) for source in inner.input]


def _plain(source: str) -> str:
    """A function's "op:results:1" as a graph's "op:1", which is the same for the first results."""
    op, *_, index = source.split(":") if ":" in source else (source, "0")
    return source if source.startswith("^") else f"{op}:{index}"


def _touched_at_last(body: FunctionDef, touched: set[int]) -> set[int]:
    """The arguments of a loop's body that depend on some of them after enough rounds."""
    while (grown := touched | _touched(body, touched)) != touched:
        touched = grown
    return touched


def _ends_by(loop: NodeDef, functions: Mapping[str, FunctionDef], reached: set[str]) -> bool:
    """Whether a loop's end depends on the images."""
    body = functions[loop.attr["body"].func.name]
    inputs = [i for i in loop.input if not i.startswith("^")]
    touched = {index for index, source in enumerate(inputs) if op_of(source) in reached}
    touched = _touched_at_last(body, touched)
    return bool(_touched(functions[loop.attr["cond"].func.name], touched))


def _touched(function: FunctionDef, arguments: set[int]) -> set[int]:
    """Which results of a function depend on some of its arguments."""
    names = [argument.name for argument in function.signature.input_arg]
    reached = {names[index] for index in arguments}
    grew = True
    while grew:  # nodes of a function stand in any order
        grew = False
        for node in function.node_def:
            sources = {i.split(":")[0] for i in node.input if not i.startswith("^")}
            if node.name not in reached and node.op not in OF_SIZES and sources & reached:
                reached.add(node.name)
                grew = True
    results = [function.ret[argument.name] for argument in function.signature.output_arg]
    return {index for index, source in enumerate(results) if source.split(":")[0] in reached}
