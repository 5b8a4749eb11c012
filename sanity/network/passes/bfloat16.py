"""A network's products in bfloat16, for processors that multiply it faster."""

from dataclasses import replace
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.devices import processor_name
from sanity.network.graph import FlatGraph, op_of, tensor_of

_FLOAT, _LOW = tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum
_PRODUCTS = ("Conv2D", "MatMul")


@cache
def check_bfloat16() -> None:
    """Tries such products: not every processor has kernels for them.

    Raises:
        ConfigError: TensorFlow has none here.
    """
    x, kernel = tf.zeros([2, 8, 8, 8], tf.bfloat16), tf.zeros([3, 3, 8, 8], tf.bfloat16)
    try:
        tf.function(_products)(x, kernel)
    except tf.errors.OpError as error:
        raise ConfigError(
            f"precision=bfloat16 cannot be computed by TensorFlow on this processor "
            f"({processor_name()}): precision=float32 can be"
        ) from error


def _products(x: Any, kernel: Any) -> Any:
    return tf.matmul(
        tf.reshape(tf.nn.conv2d(x, kernel, 1, "SAME"), [2, -1]), tf.ones([512, 4], x.dtype)
    )


def in_bfloat16(graph: FlatGraph) -> FlatGraph:
    """The network with its convolutions and matrix products in bfloat16, all else in float32.

    Depthwise convolutions and what works element by element stay as they are: on CPUs they are
    slower in bfloat16. Every tensor keeps its name and type, and the variables theirs.
    """
    new = GraphDef(versions=graph.graph_def.versions, library=graph.graph_def.library)
    casts: dict[str, NodeDef] = {}

    def lowered(source: str) -> str:
        cast = f"{op_of(source)}/to_bfloat16/{tensor_of(source).rpartition(':')[2]}"
        casts.setdefault(cast, _cast(cast, source, _FLOAT, _LOW))
        return cast

    for node in graph.graph_def.node:
        copy = new.node.add()
        copy.CopyFrom(node)
        if node.op in _PRODUCTS and node.name in graph.depths and node.attr["T"].type == _FLOAT:
            copy.name = f"{node.name}/bfloat16"
            copy.attr["T"].type = _LOW
            copy.input[:] = [i if i.startswith("^") else lowered(i) for i in node.input]
            new.node.append(_cast(node.name, copy.name, _LOW, _FLOAT))
    new.node.extend(casts.values())
    return replace(graph, graph_def=new)


def _cast(name: str, source: str, before: int, after: int) -> NodeDef:
    node = NodeDef(name=name, op="Cast")
    node.input.append(source)
    node.attr["SrcT"].type = before
    node.attr["DstT"].type = after
    return node
