"""Stacks of matrices times a single one, which TensorFlow computes wrongly on some processors.

TensorFlow 2.21 gives noise for a stack (n, 1, q, k) times one matrix, or writes past its memory and
falls, with oneDNN's kernels for AVX512 and AMX, in float32 and bfloat16; and so for its gradient.
Windowed attention has such where an image is one window. With the stack turned, with an axis more
or less, or with more than one matrix a row it is right.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.anatomy.loops import LOOPS, find_body
from sanity.network.custom_gradients import KIND
from sanity.network.graph import FlatGraph, op_of, tensor_of, trace_graph

log = logging.getLogger(__name__)

_SCOPE = "as_one_stack"


def multiply(left: Any, right: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """As `tf.matmul`, with one axis before the last two where the right has a single matrix."""
    single = right.shape.rank is not None and all(size == 1 for size in right.shape[:-2])
    if not (single and 3 < len(left.shape) >= len(right.shape)):
        return tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)
    left = tf.linalg.matrix_transpose(left) if transpose_a else left
    shape = tf.shape(left)
    sizes = [shape[axis] if size is None else size for axis, size in enumerate(left.shape)]
    if len(right.shape) > 2:
        right = tf.squeeze(right, [*range(len(right.shape) - 2)])
    product = tf.matmul(tf.reshape(left, [-1, *sizes[-2:]]), right, transpose_b=transpose_b)
    columns = product.shape[-1]
    front = [size for size in left.shape[:-1] if size is None]
    sizes = [
        -1 if len(front) == 1 and left.shape[axis] is None else s for axis, s in enumerate(sizes)
    ]
    return tf.reshape(product, [*sizes[:-1], tf.shape(product)[-1] if columns is None else columns])


def stack_rightly(graph: FlatGraph, images: tf.TensorSpec) -> FlatGraph:
    """The graph, with such products taken as stacks of one axis; as it is where it has none.

    Args:
        graph: A network.
        images: What it takes.
    """
    found = _products(graph)
    wrong = _wrong(graph, found, [images])
    if wrong and images.shape[0] is None:  # some sizes are known only if that of a batch is
        several = [tf.TensorSpec([n, *images.shape[1:]], images.dtype) for n in (2, 3)]
        try:
            wrong = _wrong(graph, [node for node in found if node.name in wrong], several)
        except ValueError as error:  # it takes one number of images only
            log.debug("%s", error)
    if not wrong:
        return graph
    new = GraphDef(versions=graph.graph_def.versions, library=graph.graph_def.library)
    for node in graph.graph_def.node:
        new.node.extend(_as_one_stack(node, *wrong[node.name]) if node.name in wrong else [node])
    return replace(graph, graph_def=new)


def refuse_in_loops(graph: FlatGraph, images: tf.TensorSpec) -> None:
    """Refuses such products in what loops repeat: these are not rewritten.

    Args:
        graph: A network.
        images: What it takes.

    Raises:
        ConfigError: There is one.
    """
    for loop in graph.nodes.values():
        if loop.op not in LOOPS:
            continue
        body, arguments = find_body(graph, loop, {})
        for node in _products(body):
            left, right = _factors(graph, loop, body, arguments, node, images)
            single = right.rank is not None and all(size == 1 for size in right[:-2])
            if single and left.rank == 4 and left[1] == 1:
                raise ConfigError(
                    f"the model multiplies {left} by one matrix {right} in a loop ({node.name} in "
                    f"{loop.name}), which TensorFlow computes wrongly on some processors: export "
                    "it without the loop, or without the second axis, which has one entry"
                )


def has_stacks(graph: FlatGraph) -> bool:
    """Whether products of a graph were taken as stacks of one axis."""
    return any(f"/{_SCOPE}/" in node.name for node in graph.graph_def.node)


def _products(graph: FlatGraph) -> list[NodeDef]:
    """The products of a graph that may be such, by their op."""
    return [
        node
        for node in graph.graph_def.node
        if node.op == "BatchMatMulV2" and not node.attr["adj_x"].b and KIND not in node.attr
    ]


def _factors(
    graph: FlatGraph,
    loop: NodeDef,
    body: FlatGraph,
    arguments: Sequence[str],
    product: NodeDef,
    images: tf.TensorSpec,
) -> list[tf.TensorShape]:
    """The shapes of a product's factors in what a loop repeats, as they are at first.

    Args:
        graph: With the loop.
        loop: The op.
        body: What it repeats, see `find_body`.
        arguments: The names of its arguments.
        product: In the body.
        images: What the graph takes.
    """
    outer = [tensor_of(source) for source in loop.input if not source.startswith("^")]
    computed = [tensor for tensor in outer if op_of(tensor) in graph.nodes]
    whole = GraphDef(library=graph.graph_def.library)
    whole.MergeFrom(body.graph_def)
    found: list[tf.TensorShape] = []

    def trace(images: Any) -> Any:
        into = tf.compat.v1.get_default_graph()
        values = {f"{name}:0": into.capture(tensor) for name, tensor in graph.captures.items()}
        values |= dict(zip(computed, graph.build(images, computed), strict=True))
        values[f"{graph.input}:0"] = images
        given = {name: values[tensor] for name, tensor in zip(arguments, outer, strict=True)}
        for source in product.input[:2]:
            if (tensor := given.get(op_of(source))) is None:
                (tensor,) = replace(body, graph_def=whole).build(images, [tensor_of(source)], given)
            found.append(tensor.shape)
        return images

    trace_graph(trace, [images])
    return found


def _wrong(
    graph: FlatGraph, nodes: Sequence[NodeDef], given: Sequence[tf.TensorSpec]
) -> dict[str, list[tf.TensorSpec]]:
    """The products that are, or may be, of a stack (n, 1, q, k) with one matrix; their factors.

    Args:
        graph: A network.
        nodes: Its products.
        given: What it takes; sizes that differ between these are not known.
    """
    outside = {f"{name}:0": tensor for name, tensor in graph.captures.items()}
    read = [tensor_of(source) for node in nodes for source in node.input[:2]]
    wanted = [tensor for tensor in read if op_of(tensor) in graph.nodes]
    known = [
        {**outside, f"{graph.input}:0": images, **graph.specs(wanted, images)} for images in given
    ]
    found = {}
    for node in nodes:
        left, right = (_common([specs[tensor_of(i)] for specs in known]) for i in node.input[:2])
        front = [2] if right.shape.rank is None else right.shape[:-2]
        single = all(size == 1 or (size is None and len(given) == 1) for size in front)
        if single and left.shape.rank == 4 and left.shape[1] in (1, None):
            found[node.name] = [left, right]
    return found


def _common(specs: Sequence[Any]) -> tf.TensorSpec:
    """The sizes that are the same in all."""
    first, *others = (spec.shape for spec in specs)
    for other in others:
        first = first.most_specific_compatible_shape(other)
    return tf.TensorSpec(first, specs[0].dtype)


def _as_one_stack(node: NodeDef, left: Any, right: Any) -> list[NodeDef]:
    """The ops that take a product's place, the last one by its name."""
    with tf.Graph().as_default() as own:
        given = [tf.compat.v1.placeholder(spec.dtype, spec.shape) for spec in (left, right)]
        made = multiply(*given, transpose_b=node.attr["adj_y"].b)
    places = {x.op.name: source for x, source in zip(given, node.input[:2], strict=True)}
    written = []
    for inner in own.as_graph_def().node:
        if inner.name not in places:
            new = NodeDef()
            new.CopyFrom(inner)
            new.name = node.name if inner.name == made.op.name else _within(node, inner.name)
            new.input[:] = [places.get(i, _within(node, i)) for i in inner.input]
            written.append(new)
    written[-1].input.extend(i for i in node.input if i.startswith("^"))
    return written


def _within(node: NodeDef, name: str) -> str:
    return f"{node.name}/{_SCOPE}/{name}"
