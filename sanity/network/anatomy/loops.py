"""Loops and branches: which parts of a graph are functions that other ops run.

A loop that repeats a fixed number of times (a recurrent layer's) has TensorFlow's own gradient. A
branch, or a loop whose end depends on the images, is decided once for all images of a batch.
"""

from collections.abc import Iterable, Mapping

from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.graph import FlatGraph, op_of

LOOPS = ("While", "StatelessWhile")
_NESTED = ("then_branch", "branches", "body", "f")  # attributes that hold functions
_SIZES = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "TensorListLength")


def check_branches(graph: FlatGraph, tensor: str, model: str) -> None:
    """Makes sure that each image of a batch goes through the network by itself.

    Raises:
        ConfigError: The images decide which parts run, or how often one repeats.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    reached = _reached(graph)
    for name in graph.path(tensor):
        node = graph.nodes[name]
        if node.op in LOOPS:
            if _ends_by(node, functions, reached):
                raise ConfigError(_decided(f"{model} decides by the images how often", node))
        elif any(key in node.attr for key in _NESTED):
            raise ConfigError(_decided(f"{model} decides by the images which of its parts", node))


def _decided(said: str, node: NodeDef) -> str:
    runs = "it repeats one of its parts" if node.op in LOOPS else "it runs"
    return (
        f"{said} {runs} ({node.op}, {node.name}), once for all images of a batch, so that the mask "
        "of one would depend on the others: such a network is not supported"
    )


def ops_in_loops(graph: FlatGraph, path: Iterable[str]) -> set[str]:
    """The types of ops that the loops among some nodes run."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    found: set[str] = set()
    waiting = [graph.nodes[n].attr["body"].func.name for n in path if graph.nodes[n].op in LOOPS]
    seen = set(waiting)
    while waiting:
        for node in functions[waiting.pop()].node_def:
            found.add(node.op)
            inner = {value.func.name for value in node.attr.values()} & functions.keys() - seen
            seen |= inner
            waiting += inner
    return found


def _reached(graph: FlatGraph) -> set[str]:
    """The nodes whose values depend on the images' values, and not on their number or size only."""
    reached = {graph.input}
    for node in graph.nodes.values():
        inputs = {op_of(i) for i in node.input if not i.startswith("^")}
        if node.op not in _SIZES and inputs & reached:
            reached.add(node.name)
    return reached


def _ends_by(loop: NodeDef, functions: Mapping[str, FunctionDef], reached: set[str]) -> bool:
    """Whether a loop's end depends on the images."""
    body = functions[loop.attr["body"].func.name]
    inputs = [i for i in loop.input if not i.startswith("^")]
    touched = {index for index, source in enumerate(inputs) if op_of(source) in reached}
    while (grown := touched | _touched(body, touched)) != touched:
        touched = grown
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
            if node.name not in reached and node.op not in _SIZES and sources & reached:
                reached.add(node.name)
                grew = True
    results = [function.ret[argument.name] for argument in function.signature.output_arg]
    return {index for index, source in enumerate(results) if source.split(":")[0] in reached}
