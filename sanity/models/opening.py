"""Networks made for one number of images, made to take any."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.channels import constant
from sanity.network.graph import FlatGraph, op_of, tensor_of

# What is told the size of its result, and by which input; beside it the one that has the images.
_SIZED = {"Conv2DBackpropInput": (0, 2), "BroadcastTo": (1, 0)}


def open_batch(graph: FlatGraph, images: tf.TensorSpec) -> FlatGraph:
    """The graph with sizes that follow the number of images, where they were that number.

    Reshapes, slices and sizes are opened, and what is put beside the images' values, as a class
    token is, is repeated. Whether an axis that is as long as the batch is the batch is not known:
    the results have to be compared.

    Args:
        graph: A network.
        images: What it takes, of a fixed number.
    """
    batch = int(images.shape[0])
    read = {tensor_of(i) for n in graph.nodes.values() for i in n.input if i[0] != "^"}
    read |= {f"{n.name}:0" for n in graph.nodes.values() if n.op in ("Reshape", "ConcatV2")}
    known = [tensor for tensor in read if op_of(tensor) in graph.nodes]
    specs = {**graph.specs(known, images), f"{graph.input}:0": images}
    specs |= {f"{name}:0": tensor for name, tensor in graph.captures.items()}
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    for node in list(new.node):
        if node.name not in graph.valued:
            continue
        if node.op == "Reshape":
            _open_reshape(new, node, specs[f"{node.name}:0"].shape, batch)
        elif node.op == "ConcatV2":
            _repeat(new, node, graph, specs, batch)
        elif node.op in _SIZED:
            sized, image = _SIZED[node.op]
            size = _constant(graph, node.input[sized])
            if size is not None and len(size) > 2 and size[0] == batch:
                name = f"{node.name}/any_batch"
                source = node.input[image]
                count = _count(new, name, source, specs[tensor_of(source)].dtype)
                rest = _numbers(new, f"{name}/rest", size[1:])
                node.input[sized] = _join(new, f"{name}/size", [count, rest])
        elif node.op in ("Slice", "StridedSlice"):
            _open_slice(new, node, graph, batch)
    return replace(graph, graph_def=new)


def _open_reshape(new: GraphDef, node: NodeDef, shape: tf.TensorShape, batch: int) -> None:
    """Opens the first axis of a reshape, of which the batch is at least a factor."""
    if shape.rank and shape.is_fully_defined() and shape[0] % batch == 0:
        node.input[1] = _numbers(new, f"{node.name}/any_batch", [-1, *shape[1:]])
        node.attr["Tshape"].type = tf.int32.as_datatype_enum


def _repeat(
    new: GraphDef, node: NodeDef, graph: FlatGraph, specs: dict[str, Any], batch: int
) -> None:
    """Repeats what is put beside the images' values, and is not of them, as often as these are."""
    parts = node.input[: node.attr["N"].i]
    axis = _constant(graph, node.input[len(parts)])
    images = [source for source in parts if op_of(source) in graph.valued]
    rank = specs[f"{node.name}:0"].shape.rank
    if axis is None or not rank or int(axis[0]) % rank == 0:
        return
    for index, source in enumerate(parts):
        spec = specs[tensor_of(source)]
        if source in images or spec.shape.rank != rank or spec.shape[0] != batch:
            continue
        name = f"{node.name}/any_batch{index}"
        count = _count(new, name, images[0], spec.dtype)
        one = source if batch == 1 else _first(new, f"{name}/one", source, spec.dtype)
        ones = _numbers(new, f"{name}/ones", [1] * (rank - 1))
        multiples = _join(new, f"{name}/multiples", [count, ones])
        types = {"T": spec.dtype, "Tmultiples": tf.int32}
        node.input[index] = _add(new, name, "Tile", [one, multiples], **types)


def _open_slice(new: GraphDef, node: NodeDef, graph: FlatGraph, batch: int) -> None:
    """Has a slice of all images of a batch take all that there are."""
    begin, end = (_constant(graph, source) for source in node.input[1:3])
    if begin is None or end is None or begin[0] != 0 or end[0] != batch:
        return
    if node.op == "Slice":
        node.input[2] = _numbers(new, f"{node.name}/any_batch", [-1, *end[1:]])
        node.input[1] = _numbers(new, f"{node.name}/any_batch/begin", begin)
        node.attr["Index"].type = tf.int32.as_datatype_enum
    elif not any(
        node.attr[f"{kind}_mask"].i & 1 for kind in ("shrink_axis", "new_axis", "ellipsis")
    ):
        node.attr["end_mask"].i |= 1


def _constant(graph: FlatGraph, tensor: str) -> np.ndarray | None:
    values = constant(graph, tensor)
    return None if values is None else np.ravel(values)


def _count(new: GraphDef, name: str, source: str, dtype: tf.DType) -> str:
    """The number of images that a tensor is of, as a vector of one."""
    shape = _add(new, f"{name}/shape", "Shape", [source], T=dtype, out_type=tf.int32)
    return _first(new, f"{name}/count", shape, tf.int32)


def _first(new: GraphDef, name: str, source: str, dtype: tf.DType) -> str:
    """The first along the first axis, which stays."""
    which, axis = _numbers(new, f"{name}/which", [0]), _numbers(new, f"{name}/axis", 0)
    types = {"Tparams": dtype, "Tindices": tf.int32, "Taxis": tf.int32}
    return _add(new, name, "GatherV2", [source, which, axis], **types)


def _join(new: GraphDef, name: str, parts: Sequence[str]) -> str:
    axis = _numbers(new, f"{name}/axis", 0)
    joined = _add(new, name, "ConcatV2", [*parts, axis], T=tf.int32, Tidx=tf.int32)
    new.node[-1].attr["N"].i = len(parts)
    return joined


def _numbers(new: GraphDef, name: str, values: Any) -> str:
    _add(new, name, "Const", [], dtype=tf.int32)
    new.node[-1].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, tf.int32))
    return name


def _add(new: GraphDef, name: str, op: str, inputs: Sequence[str], **types: tf.DType) -> str:
    node = new.node.add(name=name, op=op, input=inputs)
    for key, dtype in types.items():
        node.attr[key].type = dtype.as_datatype_enum
    return name
