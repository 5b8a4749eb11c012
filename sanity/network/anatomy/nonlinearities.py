"""Activation functions, gates and products in a flat graph, told by what its ops compute.

An activation function need not be one op: SiLU is x · sigmoid(x), PReLU relu(x) − α · relu(−x), and
a rule for the backward pass has to see the whole of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.course import Course, Function, Norm, Product
from sanity.network.anatomy.probabilities import find_activation
from sanity.network.anatomy.rectifying import RECTIFIERS, find_rectified, is_flat
from sanity.network.graph import NORMS, FlatGraph, op_of, search, tensor_of

# Functions of one entry that are no multiple of it.
_CURVED = frozenset(
    "Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Erf Erfc Exp Expm1 Log Log1p "
    "Square Sqrt Rsqrt Abs Sin Cos Tan Atan Asinh Sinh Cosh Acosh Reciprocal Inv ClipByValue Sign "
    "Round Rint Floor Ceil".split()
)
# Functions of one entry that multiply and shift it, by channel perhaps.
_STRAIGHT = frozenset(
    "Identity IdentityN Cast Snapshot PreventGradient CheckNumerics EnsureShape Neg BiasAdd "
    "BiasAddV1 StopGradient LogicalNot".split()
)
_SUMS = frozenset("Add AddV2 AddN Sub".split())
# Functions of several entries at one place that are no sum of them.
_PRODUCTS = frozenset(
    "Mul MulNoNan RealDiv Div DivNoNan Maximum Minimum Pow SquaredDifference Select SelectV2 "
    "Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr Xdivy Xlogy".split()
)
_ELEMENTWISE = _CURVED | _STRAIGHT | _SUMS | _PRODUCTS | NORMS
# Linear in whatever depends on the images, or, of two factors, in the one that does.
_LINEAR = frozenset(
    "Identity IdentityN Cast Snapshot PreventGradient CheckNumerics EnsureShape Neg BiasAdd "
    "BiasAddV1 Add AddV2 AddN Sub Reshape Squeeze ExpandDims Transpose AvgPool AvgPool3D Mean Sum "
    "Pad PadV2 MirrorPad Concat ConcatV2 Split SplitV Slice StridedSlice Gather GatherV2 GatherNd "
    "Pack Unpack Tile BroadcastTo Reverse ReverseV2 Roll SpaceToBatch SpaceToBatchND BatchToSpace "
    "BatchToSpaceND SpaceToDepth DepthToSpace ResizeBilinear ResizeNearestNeighbor ResizeBicubic "
    "ResizeArea ScaleAndTranslate ImageProjectiveTransformV3 CropAndResize ExtractImagePatches "
    "Cumsum MatrixBandPart".split()
)
_FACTORS = frozenset(
    "Mul MulNoNan Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2 "
    "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum".split()
)
_QUOTIENTS = frozenset("RealDiv Div DivNoNan".split())
MAXIMA = frozenset("MaxPool MaxPoolV2 MaxPool3D Max Min".split())
# On the way from a gate's function to the product: moved, repeated, but not computed with.
_MOVES = frozenset(
    "Identity IdentityN Cast Snapshot Reshape Squeeze ExpandDims Transpose Tile BroadcastTo Split "
    "SplitV StridedSlice Slice Unpack ResizeBilinear ResizeNearestNeighbor".split()
)
_MATRIX_PRODUCTS = frozenset("MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum".split())
_REDUCTIONS = frozenset("Mean Sum Max Min Prod EuclideanNorm".split())
_DIVIDES = frozenset("Rsqrt Sqrt Reciprocal Inv RealDiv Div DivNoNan".split())
_SLACK = 1 + 1e-5  # 6 · (1/6) in single precision


@dataclass(frozen=True)
class Nonlinearities:
    """What of a network is no linear map of its images.

    Attributes:
        graph: The network.
        output: Its logits.
    """

    graph: FlatGraph
    output: str

    def course(self, through_gates: bool, attention: bool = False) -> Course:
        """What stands between the logits and the images.

        Args:
            through_gates: Whether what a gate's values are computed from belongs to it.
            attention: Whether softmaxes, of however many ops, are one op each and nothing that has
                to be listed, products of matrices are products, and norms stand by themselves.
        """
        course = Course()

        def passed(tensor: str) -> list[str]:
            found = self._attended(tensor, course) if attention else None
            sources = self._passed(tensor, course, through_gates) if found is None else found
            return [source for source in sources if op_of(source) in self.graph.valued]

        search([tensor_of(self.output)], passed)
        return course

    @cached_property
    def rectifiers(self) -> list[str]:
        """The ops that give a ReLU or ReLU6 which is a layer's activation function by itself.

        Not those of which another function is made: of relu(x) − α · relu(−x), x · relu6(x + 3) / 6
        or, as of a gate, relu6(x + 3) / 6. Those that are written out are among them, see
        `find_rectified`, but for what is done to the images before the first layer.
        """
        parts: set[str] = set()
        for name in self.graph.path(self.output):
            node = self.graph.nodes[name]
            if name in self.graph.valued and len(self._sources(node)) > 1:
                function = self._joined(node)
                parts |= function.ops if function else set()
                if self._is_written_out(node):
                    parts.discard(name)
                    continue
                product = self._product(node) if node.op == "Mul" and not function else None
                if product is not None and product.gate is not None:
                    parts |= self._squashing(tensor_of(node.input[product.gate]))
        return [
            node.name
            for node in map(self.graph.nodes.__getitem__, self.graph.gradient_path(self.output))
            if node.name not in parts and (node.op in RECTIFIERS or self._is_written_out(node))
        ]

    @cached_property
    def flat(self) -> list[Function]:
        """Functions with a flat part, as thresholds and hard swish have, that are none of these."""
        inside = {*self.rectifiers}
        for name in self.rectifiers:
            x = find_rectified(self.graph, self.graph.nodes[name])
            inside |= {op_of(tensor) for tensor in self._within(f"{name}:0", x)} if x else set()
        path = [node for node in map(self.graph.nodes.get, self.graph.path(self.output)) if node]
        joined = [self._joined(n) for n in path if len(self._sources(n)) > 1]
        sums = [function for function in joined if function is not None]
        return [
            function
            for function in {*self.course(through_gates=False).functions, *sums}
            if function.y not in inside
            and op_of(function.x) in self._behind_layers
            and not any(function.ops < whole.ops for whole in sums)
            and is_flat(self.graph, function.x, function.y)
        ]

    def _is_written_out(self, node: NodeDef) -> bool:
        """Whether an op gives a ReLU of what a layer has computed, and is none itself."""
        x = find_rectified(self.graph, node)
        return x is not None and op_of(x) in self._behind_layers and not self._is_statistic(x)

    @cached_property
    def _behind_layers(self) -> set[str]:
        """The ops behind a product of images' values with something else."""
        products = [n.name for n in self.graph.nodes.values() if n.op in _FACTORS - {"Mul"}]
        return self.graph.behind(products) & self.graph.valued

    def describe(self, function: Function) -> str:
        """Types of the ops that compute a function, without those that only multiply and shift."""
        ops = sorted(
            {self.graph.nodes[name].op for name in function.ops} - _STRAIGHT - _SUMS - NORMS
        )
        return "·".join(ops)

    def _passed(self, tensor: str, course: Course, through_gates: bool) -> list[str]:
        """Notes what gives a tensor; the tensors that relevance passes on to."""
        name = op_of(tensor)
        if name not in self.graph.valued or name == self.graph.input:
            return []
        node = self.graph.nodes[name]
        sources = self._sources(node)
        function = self._function(node, sources)
        if function is not None:
            course.functions.append(function)
            return [function.x]
        if node.op == "Mul" and len(sources) == 2:
            product = self._product(node)
            course.products.append(product)
            return sources if through_gates or product.gate is None else [sources[1 - product.gate]]
        if node.op in MAXIMA:
            course.maxima.append(name)
        elif not self._is_linear(node, sources):
            course.others.append(name)
        return [sources[int(tensor.split(":")[1])]] if node.op == "IdentityN" else sources

    def _attended(self, tensor: str, course: Course) -> list[str] | None:
        """As `_passed`, of what attention and its norms are made of; None for other ops."""
        node = self.graph.nodes.get(op_of(tensor))
        if node is None or node.name not in self.graph.valued:
            return None
        sources = self._sources(node)
        activation = find_activation(self.graph, node)
        if activation is not None and activation[0] == "Softmax":
            return [activation[1]]
        if node.op in _MATRIX_PRODUCTS and len(sources) == 2:
            course.products.append(Product(node.name, None, False))
            return sources
        if node.op in NORMS and len(sources) == 1 and node.attr["is_training"].b:
            course.norms.append(Norm(node.name, None))
            return sources
        spread = self._spread(node) if len(sources) == 2 else None
        if spread is None:
            return None
        course.norms.append(Norm(node.name, spread))
        return [tensor_of(node.input[1 - spread])]

    def _spread(self, node: NodeDef) -> int | None:
        """The operand by which an op normalizes the other one, see `Norm`."""
        if node.op in _QUOTIENTS and self._is_statistic(node.input[1]):
            return 1
        if node.op == "Mul":
            divisors = [i for i in (0, 1) if self._is_statistic(node.input[i])]
            divisors = [i for i in divisors if self._divided(node.input[i])]
            return divisors[0] if len(divisors) == 1 else None
        return None

    def _is_statistic(self, tensor: str) -> bool:
        """Whether a tensor depends on the image by means, sums or the like of it alone."""

        def back(tensor: str) -> list[str]:
            node = self.graph.nodes.get(op_of(tensor))
            inside = node is not None and node.op in _ELEMENTWISE | _MOVES
            return self._sources(node) if node is not None and inside else []

        ends = [t for t in search([tensor_of(tensor)], back) if not back(t)]
        ops = [self.graph.nodes[op_of(t)].op for t in ends if op_of(t) in self.graph.nodes]
        return len(ops) == len(ends) and all(op in _REDUCTIONS for op in ops)

    def _function(self, node: NodeDef, sources: list[str]) -> Function | None:
        """The function whose values an op gives, as a product of several or by itself."""
        if len(sources) > 1:
            return self._joined(node) if node.op in _PRODUCTS else None
        curved = node.op in _CURVED or node.op in ("Maximum", "Minimum", "Pow", "SquaredDifference")
        over = node.op in _QUOTIENTS and op_of(node.input[1]) in self.graph.valued
        if curved or over:
            return Function(sources[0], node.name, frozenset([node.name]))
        return None

    def _joined(self, node: NodeDef) -> Function | None:
        """The function of the one tensor that all operands of an op are made of, entry by entry."""
        x = self._parents.get(f"{node.name}:0", (None, 0))[0]
        if x is None:
            return None
        tensors = self._within(f"{node.name}:0", x)
        return Function(x, node.name, frozenset(map(op_of, tensors)))

    def _within(self, y: str, x: str) -> list[str]:
        """The tensors of which y is made behind x, which it is a function of; y among them."""

        def inside(tensor: str) -> list[str]:
            return [source for source in self._same_entry(tensor) if source != x]

        return search([y], inside)

    def _product(self, node: NodeDef) -> Product:
        gates = [i for i in (0, 1) if self._squashed(tensor_of(node.input[i]))]
        if (
            len(gates) == 2
        ):  # then the one that is computed from the other, as squeeze-and-excitation
            above = [self.graph.before(node.input[i]) for i in (0, 1)]
            gates = [i for i in (0, 1) if op_of(node.input[1 - i]) in above[i]]
        gate = gates[0] if len(gates) == 1 else None
        return Product(node.name, gate, gate is None and any(map(self._divided, node.input)))

    def _squashing(self, tensor: str) -> set[str]:
        """The ops from the one that puts a tensor's values into [0, 1] on, see `_squashed`."""
        last, found = self._squashed(tensor), {op_of(tensor)}
        while last not in found:
            tensor = self._sources(self.graph.nodes[op_of(tensor)])[0]
            found.add(op_of(tensor))
        return found

    def _squashed(self, tensor: str) -> str:
        """The op that puts a tensor's values into [0, 1]; `""` if none does."""
        scale, low, high = 1.0, -np.inf, np.inf
        while op_of(tensor) in self.graph.valued and op_of(tensor) != self.graph.input:
            node = self.graph.nodes[op_of(tensor)]
            sources = self._sources(node)
            if len(sources) != 1:
                return ""
            if node.op in ("Sigmoid", "Softmax"):
                return str(node.name)
            other = [c for c in map(self._number, node.input) if c is not None]
            if node.op in RECTIFIERS:
                high = min(high, 6 * scale) if node.op == "Relu6" else high
                return str(node.name) if scale > 0 and high <= _SLACK else ""
            if node.op == "Maximum" and other:
                low = max(low, scale * other[0])
            elif node.op == "Minimum" and other:
                high = min(high, scale * other[0])
            elif node.op == "ClipByValue" and len(other) == 2:
                low, high = max(low, scale * min(other)), min(high, scale * max(other))
            elif node.op == "Mul" and other:
                scale *= other[0]
            elif node.op in _QUOTIENTS and other and sources[0] == tensor_of(node.input[0]):
                scale /= other[0]
            elif node.op not in _MOVES:
                return ""
            if scale > 0 and low >= 0 and high <= _SLACK:
                return str(node.name)
            tensor = sources[0]
        return ""

    def _divided(self, tensor: str) -> bool:
        """Whether a tensor was divided by something of the image, not by a constant."""
        waiting, seen = [tensor_of(tensor)], set()
        while waiting:
            node = self.graph.nodes.get(op_of(waiting.pop()))
            if node is None or node.name in seen or node.name not in self.graph.valued:
                continue
            seen.add(node.name)
            sources = self._sources(node)
            if len(sources) > 1 and self._joined(node):
                continue  # an activation function
            if node.op in _DIVIDES and op_of(node.input[-1]) in self.graph.valued:
                return True
            if node.op in _ELEMENTWISE | _MOVES:
                waiting += sources
        return False

    def _is_linear(self, node: NodeDef, sources: list[str]) -> bool:
        if node.op in NORMS:
            return len(sources) == 1 and not node.attr["is_training"].b
        if node.op in _FACTORS:
            return len(sources) == 1
        if node.op in _QUOTIENTS:
            return sources == [tensor_of(node.input[0])]
        if node.op in ("Select", "SelectV2"):
            return op_of(node.input[0]) not in self.graph.valued
        return node.op in _LINEAR

    def _number(self, source: str) -> float | None:
        """The value of a constant of one entry."""
        node = self.graph.nodes.get(op_of(source))
        while node is not None and node.op in ("Identity", "Cast"):
            source = node.input[0]
            node = self.graph.nodes.get(op_of(source))
        value = None
        if node is not None and node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor)
        elif op_of(source) in self.graph.captures:
            captured = self.graph.captures[op_of(source)]
            value = None if captured.dtype == tf.resource else tf.get_static_value(captured)
        return float(np.ravel(value)[0]) if value is not None and np.size(value) == 1 else None

    def _sources(self, node: NodeDef) -> list[str]:
        """The inputs whose values depend on the images'."""
        return [
            tensor_of(i)
            for i in node.input
            if not i.startswith("^") and op_of(i) in self.graph.valued
        ]

    def _same_entry(self, tensor: str) -> list[str]:
        """The inputs that an elementwise op makes an output of."""
        node = self.graph.nodes[op_of(tensor)]
        if node.op == "IdentityN":
            chosen = tensor_of(node.input[int(tensor.split(":")[1])])
            return [chosen] if op_of(chosen) in self.graph.valued else []
        return self._sources(node)

    @cached_property
    def _parents(self) -> dict[str, tuple[str | None, int]]:
        """Of each tensor of an elementwise op, the nearest one that it is a function of, and depth.

        The function is of each entry by itself, and all ways to the images lead through its
        argument: the immediate dominator among elementwise ops. None where there is no such tensor.
        """
        parents: dict[str, tuple[str | None, int]] = {}
        for node in self.graph.nodes.values():
            if node.name not in self.graph.valued or node.op not in _ELEMENTWISE:
                continue
            ports = range(len(node.input)) if node.op == "IdentityN" else (0,)
            for tensor in (f"{node.name}:{port}" for port in ports):
                nearest = _common(self._same_entry(tensor), parents)
                depth = 0 if nearest is None else parents.get(nearest, (None, 0))[1] + 1
                parents[tensor] = (nearest, depth)
        return parents


def _common(tensors: Sequence[str], parents: dict[str, tuple[str | None, int]]) -> str | None:
    """The nearest tensor that all of these are functions of."""
    unknown = (None, 0)
    if not tensors:
        return None
    nearest: str | None = tensors[0]
    for other in tensors[1:]:
        a: str | None = nearest
        b: str | None = other
        while a != b and a is not None and b is not None:
            if parents.get(a, unknown)[1] >= parents.get(b, unknown)[1]:
                a = parents.get(a, unknown)[0]
            else:
                b = parents.get(b, unknown)[0]
        nearest = a if a == b else None
    return nearest
