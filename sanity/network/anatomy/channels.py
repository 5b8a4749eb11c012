"""Where the channels of a network's images stand: before rows and columns, or after them."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.ways import FACTORS, PRODUCTS, SUMS
from sanity.network.graph import NORMS, FlatGraph, op_of, search

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # orders of axes, of transposes
# Ops that know both orders, and which of their inputs has it.
IN_BOTH = {
    **dict.fromkeys((*NORMS, "Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool"), 0),
    **dict.fromkeys(("BiasAdd", "DepthToSpace", "SpaceToDepth"), 0),
    **dict.fromkeys(("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput"), 2),
}
# Each value of the result is made of the values at one place.
ELEMENTWISE = SUMS - {"BiasAdd"} | FACTORS
ELEMENTWISE |= frozenset(
    "Relu Relu6 Elu Selu LeakyRelu Softplus Softsign Sigmoid Tanh Exp Expm1 Log Log1p Sqrt Rsqrt "
    "Square Neg Abs Identity StopGradient PreventGradient Cast Erf Erfc Floor Ceil Round Rint Sign "
    "Reciprocal Inv CheckNumerics Snapshot Sin Cos Maximum Minimum Pow SquaredDifference Xdivy "
    "SelectV2 ClipByValue Greater GreaterEqual Less LessEqual Equal NotEqual LogicalNot LogicalAnd "
    "LogicalOr IsNan IsInf IsFinite ZerosLike OnesLike".split()
)
_ALIKE = frozenset(("Transpose", "Softmax", "LogSoftmax"))
PADS = frozenset(("Pad", "PadV2", "MirrorPad"))


def channel_axis(graph: FlatGraph) -> int | None:
    """Which axis of the input, of four, has the channels; None where the network does not say.

    It says so by the first op on images, such as a convolution, that knows of channels.
    """
    waiting: list[tuple[str, tuple[int, ...]]] = [(graph.input, (0, 1, 2, 3))]
    seen = set(waiting)
    while waiting:
        name, axes = waiting.pop(0)
        for node in graph.consumers.get(name, ()):
            index = [op_of(i) for i in node.input].index(name)
            if node.op in IN_BOTH and index == IN_BOTH[node.op]:
                return axes[1 if is_first(node) else 3]
            if node.op.startswith("Resize") and index == 0:
                return axes[3]
            order = axes
            if node.op == "Transpose":
                moved = None if index else constant(graph, node.input[1])
                if moved is None or len(moved) != len(axes):
                    continue
                order = tuple(axes[axis] for axis in moved)
            elif node.op not in ELEMENTWISE | PADS:
                continue
            if (node.name, order) not in seen:
                seen.add((node.name, order))
                waiting.append((node.name, order))
    return None


def is_first(node: NodeDef) -> bool:
    """Whether an op takes channels before rows and columns."""
    return "data_format" in node.attr and node.attr["data_format"].s == b"NCHW"


def has_channels_first(graph: FlatGraph) -> bool:
    """Whether an op wants channels first, or images are given to some or put out in that order."""
    if any(node.op in IN_BOTH and is_first(node) for node in graph.nodes.values()):
        return True
    products = {node.name for node in graph.nodes.values() if node.op in PRODUCTS}
    learned = graph.behind(products & graph.valued)
    images = graph.valued - learned | _put_out(graph)
    return any(
        node.op == "Transpose"
        and node.name in images
        and as_tuple(constant(graph, node.input[1])) == TO_FIRST
        for node in graph.nodes.values()
    )


def _put_out(graph: FlatGraph) -> set[str]:
    """What outputs are made of place by place, their axes' order aside."""

    def sources(name: str) -> list[str]:
        node = graph.nodes.get(name)
        alike = node is not None and node.op in ELEMENTWISE | _ALIKE and name in graph.valued
        return [op_of(source) for source in node.input] if node is not None and alike else []

    return set(search([op_of(tensor) for tensor in graph.outputs.values()], sources))


def constant(graph: FlatGraph, tensor: str) -> np.ndarray | None:
    """The values of a constant; None of other tensors."""
    node = graph.nodes.get(op_of(tensor))
    if node is None or node.op != "Const":
        return None
    values: np.ndarray = tf.make_ndarray(node.attr["value"].tensor)
    return values


def as_tuple(values: np.ndarray | None) -> tuple[int, ...]:
    """Whole numbers, such as the order of axes; none of None."""
    return () if values is None else tuple(int(value) for value in values.ravel())
