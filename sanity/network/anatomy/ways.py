"""What a network does with a variable: where its value meets the images, and on which way.

Names say nothing here: a variable's value is followed through all ops that do not depend on the
images (standardization, a factor, a transpose, the sum of a low-rank update, a slice of a stack)
until it meets theirs. What happens there, and on the way, is its role.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.loops import LOOPS, find_body
from sanity.network.graph import NORMS, FlatGraph, op_of, tensor_of, trace_graph

Shape = tuple[int | None, ...]
Root = Literal["", "root", "inverse"]

# Ops that change neither values nor which of them there are.
PASSES = frozenset(
    "ReadVariableOp Identity Cast Reshape Transpose ExpandDims Squeeze BroadcastTo Tile "
    "StopGradient PreventGradient Snapshot EnsureShape CheckNumerics Placeholder "
    "PlaceholderWithDefault".split()
)
PRODUCTS = frozenset(
    "Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2 MatMul "
    "BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum".split()
)
SUMS = frozenset("Add AddV2 BiasAdd Sub AddN".split())
FACTORS = frozenset("Mul RealDiv Div DivNoNan MulNoNan".split())
_DIVISIONS = frozenset("RealDiv Div DivNoNan".split())
_REDUCTIONS = frozenset("Mean Sum Prod Max Min EuclideanNorm L2Loss All Any ArgMax ArgMin".split())
_ROUNDINGS = frozenset("Round Rint Floor Ceil".split())
# What follows from a shape alone, or says no more than yes or no, carries no value on.
_VALUELESS = frozenset(
    "Shape ShapeN Size Rank ZerosLike OnesLike NoOp Assert Greater GreaterEqual Less LessEqual "
    "Equal NotEqual IsNan IsInf IsFinite".split()
)
_FAKE_QUANTIZATION = ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")


@dataclass(frozen=True)
class Way:
    """What has happened to a variable's value on its way to the images.

    Attributes:
        joined: It was multiplied (`factor`) or added (`shift`) to the values of a larger
            parameter, as weight normalization's gain to a kernel.
        root: Its square root (`root`), or that root's inverse (`inverse`), was taken.
        scaled: It was multiplied by the inverse root of some variance.
        added: It was added to other parameters' values.
        offsets: Among them to what such an inverse root multiplies: β - μ/σ.
        divides: Something was divided by it.
        bounds: It says where values are cut off or to what they are rounded.
        fans: Of its entries in a product of parameters, as in a low-rank update.
        turned: What that product gives was transposed since.
        left: It stood on the left in that product, as learned queries do before their kernel.
    """

    joined: Literal["", "factor", "shift"] = ""
    root: Root = ""
    scaled: bool = False
    added: bool = False
    offsets: bool = False
    divides: bool = False
    bounds: bool = False
    fans: tuple[int, int] | None = None
    turned: bool = False
    left: bool = False


@dataclass(frozen=True)
class Meeting:
    """An op in which a variable meets the images' values.

    Attributes:
        node: The op.
        index: Which of its inputs depends on the variable.
        way: From the variable to there.
        ways: Those of the graph that the op is in: the network's, or a loop's body.
    """

    node: NodeDef
    index: int
    way: Way
    ways: "Ways"

    @property
    def tensor(self) -> str:
        """The tensor that comes from the variable."""
        return tensor_of(self.node.input[self.index])


class Ways:
    """The ways from a network's variables to the images' values.

    Args:
        graph: What is computed of the images, and nothing else.
        shapes: Of each variable, by its placeholder.
        images: What the network takes.
    """

    def __init__(self, graph: FlatGraph, shapes: Mapping[str, Shape], images: tf.TensorSpec):
        self.graph = graph
        self._given = shapes
        self.images = images
        self._loops: dict[str, tuple[Ways, list[str]]] = {}

    def of(self, placeholder: str) -> list[Meeting]:
        """Where a variable meets the images' values.

        Statistics of its own, such as the mean that standardization subtracts, count only where
        there is no other way.
        """
        direct = list(self._walk(placeholder, Way(), through=frozenset()))
        return direct or list(self._walk(placeholder, Way(), through=_REDUCTIONS))

    def shape(self, tensor: str) -> Shape | None:
        """Of a tensor that depends on variables and not on the images' values, as far as known."""
        name = op_of(tensor)
        while name not in self._given:
            node = self.graph.nodes[name]
            if node.op not in ("ReadVariableOp", "Identity", "Cast"):
                return self._shapes.get(tensor_of(tensor))
            name = op_of(node.input[0])
        return self._given[name]

    def size(self, tensor: str) -> int:
        """How many entries a tensor has, the batch aside; 0 if that is unknown."""
        shape = self.shape(tensor)
        return 0 if shape is None else math.prod(length or 1 for length in shape)

    def rank(self, name: str) -> int:
        """How many axes an op's result has; 0 if that is unknown."""
        return len(shapes_of(self.graph, [f"{name}:0"], self.images)[f"{name}:0"] or ())

    def inverse_root(self, tensor: str) -> bool:
        """Whether the inverse root of a variable is a factor of a tensor, as in batch norm."""
        return op_of(tensor) in self._inverse_roots

    def depends(self, tensor: str) -> bool:
        """Whether a tensor depends on variables, and not on the images' values."""
        return op_of(tensor) in self._dependent

    def _walk(self, placeholder: str, way: Way, through: frozenset[str]) -> Iterator[Meeting]:
        start = (placeholder, way)
        waiting, seen = [start], {start}
        while waiting:
            name, way = waiting.pop()
            for node in self.graph.consumers.get(name, ()):
                for index, source in enumerate(node.input):
                    if source.startswith("^") or op_of(source) != name:
                        continue
                    if node.op in LOOPS:
                        inner, arguments = self._loop(node)
                        yield from inner._walk(arguments[index], way, through)
                    elif node.name in self.graph.valued:
                        yield Meeting(node, index, way, self)
                    elif (then := self._after(node, index, way, through)) is not None:
                        step = (node.name, then)
                        if step not in seen:
                            seen.add(step)
                            waiting.append(step)

    def _loop(self, loop: NodeDef) -> tuple["Ways", list[str]]:
        """The ways within what a loop repeats, and the names of its arguments."""
        if loop.name not in self._loops:
            outer = [i for i in loop.input if not i.startswith("^")]
            shapes = {k: self.shape(i) for k, i in enumerate(outer) if self.depends(i)}
            known = {k: shape for k, shape in shapes.items() if shape is not None}
            body, arguments = find_body(self.graph, loop, known)
            given = {arguments[k]: known.get(k, ()) for k in shapes}
            self._loops[loop.name] = (Ways(body, given, self.images), arguments)
        return self._loops[loop.name]

    def _after(self, node: NodeDef, index: int, way: Way, through: frozenset[str]) -> Way | None:
        """The way behind an op that depends on no image; None if no value gets there."""
        if node.op in _VALUELESS or (node.op in _REDUCTIONS and node.op not in through):
            return None
        if node.op in _FAKE_QUANTIZATION and index > 0:
            return replace(way, bounds=True)
        if node.op in _ROUNDINGS and way.divides:
            return replace(way, bounds=True)
        if node.op in PRODUCTS and way.fans is None:
            return replace(way, fans=self._fans(node, index), left=index == 0)
        if node.op in FACTORS | SUMS:
            return self._combined(node, index, way)
        if node.op in NORMS and index in (1, 2):  # of a kernel that is standardized
            return replace(way, joined=way.joined or ("factor" if index == 1 else "shift"))
        if node.op == "Transpose" and way.fans and self._turns(node):
            way = replace(way, turned=not way.turned)
        return replace(way, root=self._rooted(node, index, way.root))

    def _turns(self, node: NodeDef) -> bool:
        """Whether a transpose takes a matrix's columns away from the end, where a product sums.

        One that puts heads before tokens does not.
        """
        order = self.graph.nodes.get(op_of(node.input[1]))
        if order is None or order.op != "Const":
            return True
        axes = tf.make_ndarray(order.attr["value"].tensor).ravel()
        return bool(axes[-1] != len(axes) - 1)

    def _rooted(self, node: NodeDef, index: int, root: Root) -> Root:
        if node.op in PASSES or node.op == "Neg":
            return root
        if node.op in ("Sqrt", "Rsqrt"):
            return "root" if node.op == "Sqrt" else "inverse"
        if node.op in ("Reciprocal", "Inv") and root == "root":
            return "inverse"
        if node.op == "Pow" and index == 0:
            power = self._constant(node.input[1])
            return "root" if power == 0.5 else "inverse" if power == -0.5 else ""
        return ""

    def _constant(self, tensor: str) -> float | None:
        node = self.graph.nodes.get(op_of(tensor))
        if node is None or node.op != "Const":
            return None
        value = tf.make_ndarray(node.attr["value"].tensor)
        return float(value.ravel()[0]) if value.size == 1 else None

    def _combined(self, node: NodeDef, index: int, way: Way) -> Way:
        """The way behind a sum, product or quotient of what depends on no image."""
        others = [i for k, i in enumerate(node.input) if k != index and not i.startswith("^")]
        if node.op in _DIVISIONS and index == 1:
            way = replace(way, divides=True, root="inverse" if way.root == "root" else "")
        if not any(self.depends(other) for other in others):
            return way
        factor, normed = node.op in FACTORS, any(map(self.inverse_root, others))
        if factor:
            way = replace(way, scaled=way.scaled or normed)
        else:
            way = replace(way, added=True, offsets=way.offsets or normed)
        if not way.joined and self._is_spread(node, index):
            way = replace(way, joined="factor" if factor else "shift")
        return way

    def _is_spread(self, node: NodeDef, index: int) -> bool:
        """Whether an operand has fewer entries than the result, or fewer axes of as many entries.

        The latter is a bias or gain of a layer that is given a single row of parameters.
        """
        own, whole = self.size(node.input[index]), self.size(node.name)
        axes, all_axes = self.shape(node.input[index]), self.shape(node.name)
        shorter = axes is not None and all_axes is not None and 0 < len(axes) < len(all_axes)
        return bool(own and whole and (own < whole or (own == whole and shorter)))

    def _fans(self, node: NodeDef, index: int) -> tuple[int, int] | None:
        """Rows and columns of a factor in a product of parameters: x · B · A sums over rows."""
        shape = self.shape(node.input[index])
        found = None if shape is None else fans(node, index, shape)
        return found[::-1] if found and index == 0 else found

    @cached_property
    def _dependent(self) -> set[str]:
        return self.graph.behind(self._given) - self.graph.valued

    @cached_property
    def _inverse_roots(self) -> set[str]:
        """What has the inverse root of a variable, each entry its own, for a factor."""
        found: set[str] = set()
        waiting: list[tuple[str, Root]] = [(name, "") for name in self._given]
        seen = set(waiting)
        while waiting:
            name, root = waiting.pop()
            for node in self.graph.consumers.get(name, ()):
                if node.name in self.graph.valued or node.op in _REDUCTIONS | _VALUELESS:
                    continue
                index = [op_of(i) for i in node.input].index(name)
                then: Root
                if node.op in FACTORS:
                    divided = node.op in _DIVISIONS and index == 1
                    then = "inverse" if divided and root == "root" else root
                elif node.op in SUMS:
                    then = root if root != "inverse" else ""
                else:
                    then = self._rooted(node, index, root)
                if then:  # a root counts as well: where it divides, its inverse is the factor
                    found.add(node.name)
                if (node.name, then) not in seen:
                    seen.add((node.name, then))
                    waiting.append((node.name, then))
        return found

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        """Of what is computed of variables alone."""
        sources = {i for node in self.graph.nodes.values() for i in node.input}
        read = {tensor_of(source) for source in sources if not source.startswith("^")}
        inside = self._dependent & self.graph.nodes.keys()
        tensors = sorted(tensor for tensor in read if op_of(tensor) in inside)
        found = shapes_of(self.graph, tensors, self.images)
        return {tensor: shape for tensor, shape in found.items() if shape is not None}


def shapes_of(
    graph: FlatGraph, tensors: list[str], images: tf.TensorSpec
) -> dict[str, Shape | None]:
    """The shapes of tensors, as far as they are known."""
    found: dict[str, Shape | None] = {}
    part = graph.between([graph.input], tensors)
    read = {op_of(source) for node in part.graph_def.node for source in node.input}

    def trace(given: tf.Tensor) -> tf.Tensor:
        here = tf.compat.v1.get_default_graph()
        inputs = {name: here.capture(tensor) for name, tensor in part.captures.items()}
        if part.input in read:
            inputs[part.input] = given
        made = tf.graph_util.import_graph_def(part.graph_def, inputs, tensors, name="shapes")
        for name, tensor in zip(tensors, made, strict=True):
            found[name] = None if tensor.shape.rank is None else tuple(tensor.shape)
        return given

    trace_graph(trace, [images])
    return found


def fans(node: NodeDef, index: int, shape: Shape) -> tuple[int, int] | None:
    """How many inputs an output of a kernel sums over, and how many outputs an input feeds.

    Args:
        node: The product.
        index: Which of its operands the kernel is.
        shape: Of the kernel there.
    """
    if None in shape or len(shape) < 2:
        return None
    known = tuple(int(length or 0) for length in shape)
    *window, inputs, outputs = known
    positions = math.prod(window)
    if node.op in ("Conv2D", "Conv3D"):
        return positions * inputs, positions * outputs
    if node.op in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        # A transposed convolution's kernel is stored as (h, w, outputs, inputs). With strides of s,
        # one output meets every s-th row and column of it only.
        strides = math.prod(node.attr["strides"].list.i) or 1
        return max(round(positions * outputs / strides), 1), positions * inputs
    if node.op == "DepthwiseConv2dNative":
        # One output of a depthwise convolution sums over one channel only.
        return positions, positions * outputs
    if node.op == "Einsum":
        return _einsum_fans(node.attr["equation"].s.decode(), index, known)
    attribute = {"MatMul": ("transpose_a", "transpose_b")}.get(node.op, ("adj_x", "adj_y"))[index]
    flipped = node.attr[attribute].b if attribute in node.attr else False
    return (outputs, inputs) if flipped == (index == 1) else (inputs, outputs)


def _einsum_fans(equation: str, index: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Fans of an operand of `tf.einsum`: it sums over the axes that the result lacks.

    Axes that both operands and the result have are of groups, each with a kernel of its own.
    """
    operands, result = equation.replace(" ", "").split("->")
    parts = operands.split(",")
    axes = parts[index].replace("...", "")
    sizes = dict(zip(reversed(axes), reversed(shape), strict=False))
    others = {*"".join(parts[:index] + parts[index + 1 :])}
    fan_in = math.prod(size for axis, size in sizes.items() if axis not in result)
    feeds = [size for axis, size in sizes.items() if axis in result and axis not in others]
    return fan_in, math.prod(feeds)
