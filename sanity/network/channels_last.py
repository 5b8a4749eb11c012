"""Networks whose channels stand before rows and columns, rewritten to have them last.

A CPU without oneDNN has kernels and gradients for channels last alone; and maps, batch norms and
grids are looked for in one order. Each op on (n, channels, rows, columns) becomes the same op on
(n, rows, columns, channels) under its own name. Transposes stay where the order matters, as before
a reshape, or where an op is not known here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.channels import (
    ELEMENTWISE,
    IN_BOTH,
    PADS,
    TO_FIRST,
    TO_LAST,
    as_tuple,
    constant,
    has_channels_first,
    is_first,
)
from sanity.network.custom_gradients import KIND
from sanity.network.graph import FlatGraph, find_needed, op_of, tensor_of
from sanity.network.orders import fix_orders

_PLACE = (0, 3, 1, 2)  # where each axis of channels first stands when they are last
_BY_AXIS = ("strides", "ksize", "dilations", "explicit_paddings")  # of these, lists
_REDUCTIONS = frozenset("Mean Sum Max Min Prod EuclideanNorm".split())
_FIRST, _LAST = "/channels_first", "/channels_last"  # ends of names
_ADDING_MASKS = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def put_channels_last(graph: FlatGraph, images: tf.TensorSpec) -> FlatGraph:
    """The graph with channels last; as it is where none stand first.

    Args:
        graph: A network.
        images: What it takes.
    """
    fixed = fix_orders(graph)
    if not has_channels_first(fixed):
        return graph
    graph = fixed
    writer = _Writer(graph, images)
    for node in graph.nodes.values():
        writer.write(node)
    outputs = {key: writer.plain(tensor) for key, tensor in graph.outputs.items()}
    needed = find_needed(writer.new, [*outputs.values()])
    new = GraphDef(versions=graph.graph_def.versions, library=graph.graph_def.library)
    new.node.extend(node for node in writer.new.node if node.name in needed)
    for node in new.node:
        node.input[:] = [source.removesuffix(":0") for source in node.input]
    return replace(graph, graph_def=new, outputs=outputs)


class _Writer:
    """A graph written anew, op by op, from input to output.

    Args:
        graph: The network.
        images: What it takes.
    """

    def __init__(self, graph: FlatGraph, images: tf.TensorSpec):
        self.new = GraphDef()
        self._graph = graph
        self._last: dict[str, str] = {}  # the tensor that has the values of one, channels last
        self._plain: dict[str, str] = {}  # and that has them as they were, if it is not itself
        self._moved: set[str] = set()  # the tensors that have channels last by their own name
        self._taken = set(graph.nodes) | set(graph.captures) | {graph.input}
        read = {tensor_of(i) for n in graph.nodes.values() for i in n.input if i[0] != "^"}
        read |= set(graph.outputs.values())
        known = [tensor for tensor in read if op_of(tensor) in graph.nodes]
        specs: dict[str, Any] = {**graph.specs(known, images), f"{graph.input}:0": images}
        specs |= {f"{name}:0": tensor for name, tensor in graph.captures.items()}
        self._shapes = {name: spec.shape for name, spec in specs.items()}
        self._types = {name: spec.dtype for name, spec in specs.items()}

    def write(self, node: NodeDef) -> None:
        """Writes an op, on channels last where it can be."""
        new = NodeDef()
        new.CopyFrom(node)
        way = None if KIND in node.attr else self._way(node)
        if way is None or not way(new):
            new.CopyFrom(node)
            new.input[:] = [self.plain(source) for source in node.input]
        self.new.node.append(new)

    def plain(self, source: str) -> str:
        """A tensor with its axes as they were."""
        tensor = tensor_of(source)
        if source.startswith("^") or (tensor not in self._moved and tensor not in self._plain):
            return source
        if tensor not in self._plain:
            made = self._transpose(self._last[tensor], TO_FIRST, tensor, _FIRST)
            self._plain[tensor] = made
        return self._plain[tensor]

    def _way(self, node: NodeDef) -> Callable[[NodeDef], bool] | None:
        """What rewrites an op; it may find that it cannot. None for what stays as it is."""
        if node.op in IN_BOTH:
            return self._in_both if is_first(node) else None
        if not any(tensor_of(source) in self._last for source in node.input):
            return self._remember if node.op == "Transpose" else None
        if node.op in ELEMENTWISE:
            return self._elementwise
        if node.op in _REDUCTIONS or node.op == "Squeeze":
            return self._reduction
        if node.op in PADS:
            return self._pad
        ways = {
            "Transpose": self._transposed,
            "ConcatV2": self._concatenation,
            "Shape": self._shape,
            "Slice": self._slice,
            "StridedSlice": self._strided_slice,
            "Split": self._split,
            "SplitV": self._split,
            "Reshape": self._reshape,
        }
        return ways.get(node.op)

    # Each of these rewrites an op in place, and says whether it could.

    def _in_both(self, node: NodeDef) -> bool:
        index = IN_BOTH[node.op]
        if self._rank(node.input[index]) != 4:
            return False
        image = self._to_last(node.input[index])
        sources = [self.plain(source) for source in node.input]
        sources[index] = image
        if index == 2:
            if self._shapes[tensor_of(node.input[0])] != [4]:
                return False
            sources[0] = self._gathered(node.input[0], TO_LAST, node.name)
        node.input[:] = sources
        node.attr["data_format"].s = b"NHWC"
        for name in _BY_AXIS:
            if name in node.attr and (values := list(node.attr[name].list.i)):
                width = len(values) // 4
                parts = [values[width * axis : width * (axis + 1)] for axis in TO_LAST]
                node.attr[name].list.i[:] = [value for part in parts for value in part]
        return self._has_moved(node)

    def _elementwise(self, node: NodeDef) -> bool:
        if self._rank(node.name) != 4:
            return False
        found = [self._fitting(i) if i[0] != "^" else i for i in node.input]
        if None in found:
            return False
        node.input[:] = [source for source in found if source is not None]
        return self._has_moved(node)

    def _reduction(self, node: NodeDef) -> bool:
        """Of a sum over axes, or of what drops axes of length 1."""
        squeezes = node.op == "Squeeze"
        known = (
            list(node.attr["squeeze_dims"].list.i)
            if squeezes
            else constant(self._graph, node.input[1])
        )
        if known is None or (squeezes and not known):
            return False
        axes = [int(axis) % 4 for axis in np.ravel(known)]
        kept = not squeezes and node.attr["keep_dims"].b
        left = [_PLACE[axis] for axis in range(4) if axis not in axes]
        if not kept and left != sorted(left):
            return False
        node.input[0] = self._to_last(node.input[0])
        if squeezes:
            node.attr["squeeze_dims"].list.i[:] = sorted(_PLACE[axis] for axis in axes)
            return True
        node.input[1] = self._numbers(node.name, "axes", sorted(_PLACE[axis] for axis in axes))
        node.attr["Tidx"].type = tf.int32.as_datatype_enum
        return self._has_moved(node) if kept else True

    def _pad(self, node: NodeDef) -> bool:
        node.input[0] = self._to_last(node.input[0])
        node.input[1] = self._gathered(node.input[1], TO_LAST, node.name)
        return self._has_moved(node)

    def _concatenation(self, node: NodeDef) -> bool:
        count = node.attr["N"].i
        axis = constant(self._graph, node.input[count])
        shapes = [self._shapes.get(tensor_of(source)) for source in node.input[:count]]
        if axis is None or any(shape is None or shape.rank != 4 for shape in shapes):
            return False
        node.input[:count] = [self._to_last(source) for source in node.input[:count]]
        node.input[count] = self._numbers(node.name, "axis", _PLACE[int(axis) % 4])
        node.attr["Tidx"].type = tf.int32.as_datatype_enum
        return self._has_moved(node)

    def _slice(self, node: NodeDef) -> bool:
        node.input[0] = self._to_last(node.input[0])
        for index in range(1, len(node.input)):
            if not node.input[index].startswith("^"):
                node.input[index] = self._gathered(node.input[index], TO_LAST, node.name)
        return self._has_moved(node)

    def _strided_slice(self, node: NodeDef) -> bool:
        """Of a slice that says begin, end and step of each axis, and keeps them all."""
        whole = all(self._shapes[tensor_of(source)] == [4] for source in node.input[1:4])
        if not whole or any(node.attr[name].i for name in _ADDING_MASKS):
            return False
        for name in ("begin_mask", "end_mask"):
            bits = node.attr[name].i
            node.attr[name].i = sum((bits >> axis & 1) << _PLACE[axis] for axis in range(4))
        return self._slice(node)

    def _split(self, node: NodeDef) -> bool:
        value, where = (1, 0) if node.op == "Split" else (0, 2)
        axis = constant(self._graph, node.input[where])
        if axis is None or self._rank(node.input[value]) != 4:
            return False
        node.input[value] = self._to_last(node.input[value])
        node.input[where] = self._numbers(node.name, "axis", _PLACE[int(axis) % 4])
        return self._has_moved(node, node.attr["num_split"].i)

    def _transposed(self, node: NodeDef) -> bool:
        order = as_tuple(constant(self._graph, node.input[1]))
        if len(order) != 4:
            return False
        source = self._last[tensor_of(node.input[0])]
        order = tuple(_PLACE[axis] for axis in order)
        node.input[0] = source
        node.input[1] = self._numbers(node.name, "order", order)
        node.attr["Tperm"].type = tf.int32.as_datatype_enum
        if order == (0, 1, 2, 3):
            self._plain[f"{node.name}:0"] = source
        return True

    def _remember(self, node: NodeDef) -> bool:
        """Of a transpose to channels first: what it transposes has them last."""
        if as_tuple(constant(self._graph, node.input[1])) == TO_FIRST:
            self._last[f"{node.name}:0"] = self.plain(node.input[0])
        return False

    def _shape(self, node: NodeDef) -> bool:
        if "out_type" in node.attr and node.attr["out_type"].type != tf.int32.as_datatype_enum:
            return False
        of_last = self.new.node.add(name=self._free(f"{node.name}{_LAST}"))
        name = of_last.name
        of_last.MergeFrom(node)
        of_last.name = name
        of_last.input[0] = self._to_last(node.input[0])
        self._gather(node, name, TO_FIRST)
        return True

    def _reshape(self, node: NodeDef) -> bool:
        """Of a vector a place, the order does not matter where there is but one place."""
        shape = self._shapes[tensor_of(node.input[0])]
        if list(shape[2:]) != [1, 1]:
            return False
        node.input[0] = self._to_last(node.input[0])
        node.input[1] = self.plain(node.input[1])
        return True

    # What they are made of.

    def _has_moved(self, node: NodeDef, results: int = 1) -> bool:
        tensors = [f"{node.name}:{index}" for index in range(results)]
        self._last |= {tensor: tensor for tensor in tensors}
        self._moved |= {*tensors}
        node.attr.pop("_output_shapes", None)
        return True

    def _rank(self, tensor: str) -> int | None:
        shape = self._shapes.get(tensor_of(tensor))
        return None if shape is None else shape.rank

    def _to_last(self, source: str) -> str:
        """A tensor of four axes with channels last."""
        tensor = tensor_of(source)
        if tensor not in self._last:
            self._last[tensor] = self._transpose(self.plain(source), TO_LAST, tensor, _LAST)
        return self._last[tensor]

    def _fitting(self, source: str) -> str | None:
        """What stands beside channels last in an op that stretches axes; None if unknown."""
        tensor = tensor_of(source)
        if tensor in self._last:
            return self._last[tensor]
        shape = self._shapes.get(tensor)
        if shape is None or shape.rank is None or shape.rank > 4:
            return None
        if shape.rank == 4 and op_of(tensor) in self._graph.valued:
            return self._to_last(source)
        if not shape.is_fully_defined():
            return None
        sizes = [1] * (4 - shape.rank) + shape.as_list()
        if all(size == 1 for size in sizes):
            return self.plain(source)
        turned = [sizes[axis] for axis in TO_LAST]
        if sizes[1] == max(sizes) and turned[:3] == [1, 1, 1]:
            turned = turned[3:]
        if sum(size > 1 for size in sizes) == 1:
            return self._reshaped(source, turned)
        return self._transpose(self._reshaped(source, sizes), TO_LAST, tensor, _LAST)

    def _reshaped(self, source: str, sizes: Sequence[int]) -> str:
        node = self.new.node.add(name=self._free(f"{op_of(source)}{_LAST}"), op="Reshape")
        node.input[:] = [self.plain(source), self._numbers(node.name, "sizes", sizes)]
        node.attr["T"].type = self._type(source)
        node.attr["Tshape"].type = tf.int32.as_datatype_enum
        return str(node.name)

    def _transpose(self, source: str, order: Sequence[int], named: str, end: str) -> str:
        node = self.new.node.add(name=self._free(f"{op_of(named)}{end}"), op="Transpose")
        node.input[:] = [source, self._numbers(node.name, "order", order)]
        node.attr["T"].type = self._type(named)
        node.attr["Tperm"].type = tf.int32.as_datatype_enum
        return f"{node.name}:0"

    def _gathered(self, source: str, order: Sequence[int], name: str) -> str:
        """The rows of a tensor, one an axis, in another order of the axes."""
        node = self.new.node.add(name=self._free(f"{name}/rows"))
        node.attr["Tparams"].type = self._type(source)
        self._gather(node, self.plain(source), order)
        return str(node.name)

    def _gather(self, node: NodeDef, source: str, order: Sequence[int]) -> None:
        """Makes an op that of rows; it has a type already, or is that of a shape."""
        kind = node.attr["Tparams"].type if "Tparams" in node.attr else tf.int32.as_datatype_enum
        waits = [i for i in node.input if i.startswith("^")]
        node.op = "GatherV2"
        node.attr.clear()
        node.attr["Tparams"].type = kind
        node.attr["Tindices"].type = node.attr["Taxis"].type = tf.int32.as_datatype_enum
        indices = self._numbers(node.name, "order", order)
        node.input[:] = [source, indices, self._numbers(node.name, "axis", 0), *waits]

    def _numbers(self, name: str, what: str, values: Any) -> str:
        node = self.new.node.add(name=self._free(f"{name}/{what}"), op="Const")
        node.attr["dtype"].type = tf.int32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, tf.int32))
        return str(node.name)

    def _type(self, tensor: str) -> int:
        return int(self._types[tensor_of(tensor)].as_datatype_enum)

    def _free(self, name: str) -> str:
        """A name that no op has."""
        found = name
        number = 0
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found
