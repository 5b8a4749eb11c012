"""What a variable is: its role where it meets the images' values, and its fans."""

import math
from typing import Literal

import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.network.anatomy.ways import (
    FACTORS,
    PASSES,
    PRODUCTS,
    SUMS,
    Meeting,
    Shape,
    Ways,
    fans,
    shapes_of,
)
from sanity.network.graph import NORMS, FlatGraph, op_of, tensor_of

Kind = Literal[
    "kernel",
    "bias",
    "scale",
    "offset",
    "moving_mean",
    "moving_variance",
    "slope",
    "token",
    "position",
    "range",
    "preprocessing",
    "quantized",
    "other",
]
# Of a variable that meets the images in several ways, the first of these is what it is.
_PRECEDENCE: tuple[Kind, ...] = (
    "range",
    "moving_variance",
    "kernel",
    "slope",
    "scale",
    "moving_mean",
    "position",
    "token",
    "offset",
    "bias",
    "other",
)
_BATCH_NORM: dict[int, Kind] = {1: "scale", 2: "offset", 3: "moving_mean", 4: "moving_variance"}
_GATHERS = ("Gather", "GatherV2", "GatherNd", "ResourceGather", "ResourceGatherNd")
_SIDE_BY_SIDE = ("ConcatV2", "Concat", "Pack")
_ROOTS = ("Sqrt", "Rsqrt", "Pow")
_SIGNS = PASSES | {"Neg"}

Role = tuple[Kind, int, int]


def find_role(ways: Ways, placeholder: str, shape: tuple[int, ...]) -> Role:
    """What a variable is, and its fans (0 where it has none).

    Args:
        ways: Those of the network.
        placeholder: The variable's.
        shape: The variable's.
    """
    roles: list[tuple[int, Role]] = []
    for met in ways.of(placeholder):
        role = _role(met.ways, shape, met)
        # A sum that multiplies says little: a GRU's first state is 0, and what is left is a bias.
        last = met.way.added and role[0] == "scale"
        roles.append((len(_PRECEDENCE) if last else _PRECEDENCE.index(role[0]), role))
    return min(roles, default=(0, ("other", 0, 0)))[1]


def _role(ways: Ways, own: tuple[int, ...], met: Meeting) -> Role:
    """What a variable is where it meets the images' values, and its fans."""
    node, way = met.node, met.way
    if way.bounds:
        return "range", 0, 0
    if node.op in NORMS and met.index in _BATCH_NORM:
        return _BATCH_NORM[met.index], 0, 0
    divides = node.op in FACTORS and node.op != "Mul" and met.index == 1
    if way.root == "inverse" or (way.root == "root" and divides):
        return "moving_variance", 0, 0
    if way.joined == "factor":
        return "scale", 0, 0
    if node.op in PRODUCTS:
        return ("bias", 0, 0) if way.joined else ("kernel", *_kernel_fans(ways, own, met))
    if node.op in _GATHERS and met.index == 0:  # a product with the rows of an identity
        return "kernel", *(own[0], own[-1])
    if node.op in FACTORS:
        return _factor(ways, own, met)
    if node.op in SUMS and way.fans and not (way.left or way.joined):
        return "kernel", *way.fans  # of what makes positions of coordinates
    if node.op in (*SUMS, "SquaredDifference"):
        return _distance(ways, met) or _summand(ways, own, met)
    if node.op in _SIDE_BY_SIDE:
        return ("token", *_channels(own))
    return "other", 0, 0


def _kernel_fans(ways: Ways, own: tuple[int, ...], met: Meeting) -> tuple[int, int]:
    """Of a kernel as it is where it meets the images."""
    shape = ways.shape(met.tensor)
    found = None if shape is None else fans(met.node, met.index, shape)
    if met.way.fans:  # of one of several factors
        rows, columns = met.way.fans
        if met.node.op != "Einsum" and met.index == 0:  # a learned query: it meets keys of images
            return (columns, rows) if met.way.left else (rows, columns)
        attribute = "transpose_b" if met.node.op == "MatMul" else "adj_y"
        turned = attribute in met.node.attr and met.node.attr[attribute].b
        return (columns, rows) if turned != met.way.turned else (rows, columns)
    return found or fans(met.node, met.index, own) or (math.prod(own),) * 2


def _channels(own: tuple[int, ...]) -> tuple[int, int]:
    channels = next((length for length in reversed(own) if length > 1), 1)
    return channels, channels


def _factor(ways: Ways, own: tuple[int, ...], met: Meeting) -> Role:
    """Of what the images' values are multiplied with: a slope, a kernel or a scale."""
    graph = ways.graph
    others = [i for k, i in enumerate(met.node.input) if k != met.index and not i.startswith("^")]
    if others and _is_negative_part(graph, others[0]) or _is_taken_where_negative(graph, met.node):
        return "slope", 0, 0
    users = graph.consumers.get(met.node.name, [])
    if [user.op in ("Sum", "Mean") for user in users] == [True]:
        if (fan_in := _summed(ways, met, users[0])) > 1:
            return "kernel", fan_in, max(math.prod(own) // fan_in, 1)
    return "scale", 0, 0


def _is_negative_part(graph: FlatGraph, tensor: str) -> bool:
    """Whether values are an x where it is negative and 0 elsewhere, but for their sign."""
    node = graph.through(tensor, _SIGNS)
    if node is None:
        return False
    inner = [graph.nodes.get(op_of(i)) for i in node.input if not i.startswith("^")]
    if node.op == "Relu":
        source = graph.through(node.input[0], PASSES)
        return source is not None and (source.op == "Neg" or _constant(graph, source) == -1)
    if node.op == "Minimum":
        return any(one is not None and _constant(graph, one) == 0 for one in inner)
    if node.op == "Sub" and len(inner) == 2 and inner[1] is not None:
        # x - |x| and x - relu(x)
        return inner[1].op in ("Abs", "Relu") and op_of(inner[1].input[0]) == op_of(node.input[0])
    return False


def _is_taken_where_negative(graph: FlatGraph, node: NodeDef) -> bool:
    """Whether a product α · x is chosen by what x is: where(x > 0, x, α · x), max(x, α · x)."""
    values = {op_of(i) for i in node.input}
    for user in graph.consumers.get(node.name, ()):
        inputs = [op_of(i) for i in user.input if not i.startswith("^")]
        if user.op == "Maximum" and values & {*inputs} - {node.name}:
            return True
        if user.op in ("Select", "SelectV2") and inputs[0] in graph.nodes:
            compared = {op_of(i) for i in graph.nodes[inputs[0]].input}
            if values & compared & graph.valued:
                return True
    return False


def _constant(graph: FlatGraph, node: NodeDef) -> float | None:
    """The one value of a constant, or the factor of a product with one."""
    if node.op == "Mul":
        factors = [graph.nodes.get(op_of(i)) for i in node.input]
        found = [_constant(graph, one) for one in factors if one is not None and one.op == "Const"]
        return found[0] if found else None
    if node.op != "Const":
        return None
    values = tf.make_ndarray(node.attr["value"].tensor)
    return float(values.ravel()[0]) if values.size and (values == values.ravel()[0]).all() else None


def _summed(ways: Ways, met: Meeting, total: NodeDef) -> int:
    """Over how many of a factor's entries a sum behind it goes."""
    axes = ways.graph.nodes.get(op_of(total.input[1]))
    own = ways.shape(met.tensor)
    if axes is None or axes.op != "Const" or own is None:
        return 1
    rank = ways.rank(met.node.name)
    lengths = [1] * (rank - len(own)) + [length or 1 for length in own]
    chosen = {int(axis) % rank for axis in tf.make_ndarray(axes.attr["value"].tensor).ravel()}
    return math.prod(lengths[axis] for axis in chosen) if rank >= len(own) else 1


def _distance(ways: Ways, met: Meeting) -> Role | None:
    """Of centres w whose distances from the images' features x are taken; None of what is none.

    Σ(x − w)² is Σx² − 2 Σxw + Σw², so that w is a kernel. Each x meets several w.
    """
    graph, node = ways.graph, met.node
    total = _sum_of_even(graph, node)
    own, x = ways.shape(met.tensor), tensor_of(node.input[1 - met.index])
    if total is None or own is None:
        return None
    given = op_of(x) == graph.input
    other = tuple(ways.images.shape) if given else shapes_of(graph, [x], ways.images)[x]
    if not other or len(own) > len(other):
        return None
    if not any(a == 1 != b for a, b in zip(other[-len(own) :], own, strict=True)):
        return None
    fan_in = _summed(ways, met, total)
    return ("kernel", fan_in, max(ways.size(met.tensor) // fan_in, 1)) if fan_in > 1 else None


def _sum_of_even(graph: FlatGraph, node: NodeDef) -> NodeDef | None:
    """The sum that alone takes the squares or absolute values of what an op gives."""
    even = node.op == "SquaredDifference"
    while len(users := graph.consumers.get(node.name, [])) == 1:
        node = users[0]
        if even and node.op in ("Sum", "Mean"):
            return node
        if _is_even(graph, node):
            even = True
        elif node.op not in _SIGNS | FACTORS:
            return None
    return None


def _is_even(graph: FlatGraph, node: NodeDef) -> bool:
    """Whether an op gives the square or absolute value of its one input."""
    if node.op == "Pow":
        power = graph.nodes.get(op_of(node.input[1]))
        return power is not None and _constant(graph, power) == 2
    return node.op in ("Square", "Abs") or (node.op == "Mul" and len({*node.input}) == 1)


def _summand(ways: Ways, own: tuple[int, ...], met: Meeting) -> Role:
    """Of what is added to the images' values: a mean, positions, an offset or a bias."""
    graph = ways.graph
    if met.way.scaled or _is_normalized(ways, met):
        return "moving_mean", 0, 0
    others = [i for k, i in enumerate(met.node.input) if k != met.index and not i.startswith("^")]
    before = graph.through(others[0], PASSES) if others else None
    normalizes = before is not None and _is_normalization(ways, before)
    if _extended(own) > 1 and _extended(ways.shape(met.tensor) or own) > 1:
        outputs = _outputs(ways, before)
        if (ways.size(met.tensor) or math.prod(own)) > outputs:
            return ("position", *_channels(own))
    return ("offset" if normalizes or met.way.offsets else "bias"), 0, 0


def _is_normalized(ways: Ways, met: Meeting) -> bool:
    """Whether what is left of the images' values is divided by the root of a variance."""
    negated = ways.graph.nodes.get(op_of(met.tensor))
    if not (met.node.op == "Sub" and met.index == 1) and (negated is None or negated.op != "Neg"):
        return False
    waiting = [met.node.name]
    while waiting:
        for user in ways.graph.consumers.get(waiting.pop(), ()):
            if user.op in PASSES:
                waiting.append(user.name)
            elif user.op in FACTORS and any(map(ways.inverse_root, user.input)):
                return True
    return False


def _is_normalization(ways: Ways, node: NodeDef) -> bool:
    """Whether an op ends a normalization, of which an offset is still to come.

    That is a fused one, or factors among which there is a parameter or an inverse root.
    """
    gains, others = _factors(ways, node)
    return node.op in NORMS or bool(gains) or any(one.op in _ROOTS for one in others)


def _factors(ways: Ways, node: NodeDef) -> tuple[list[str], list[NodeDef]]:
    """What a chain of factors multiplies: tensors of parameters, and ops on images' values."""
    gains: list[str] = []
    others: list[NodeDef] = []
    waiting = [*node.input] if node.op in FACTORS else []
    while waiting:
        source = waiting.pop()
        if ways.depends(source):
            gains.append(source)
        elif (one := ways.graph.through(source, _SIGNS)) is not None:
            if one.op in FACTORS:
                waiting += one.input
            else:
                others.append(one)
    return gains, others


def _outputs(ways: Ways, node: NodeDef | None) -> int:
    """How many outputs a layer has at one place: the entries of its bias; 0 if unknown."""
    if node is None:
        return 0
    if node.op not in PRODUCTS:
        gains = _factors(ways, node)[0]
        return max((ways.size(gain) for gain in gains), default=0)
    for index, source in enumerate(node.input[:2]):
        shape = ways.shape(source) if ways.depends(source) else None
        found = None if shape is None else fans(node, index, shape)
        if shape is not None and found is not None:
            if node.op == "DepthwiseConv2dNative":
                return int(shape[-1] or 0) * int(shape[-2] or 0)
            window = math.prod(length or 1 for length in shape[:-2])
            return found[1] // window if node.op.startswith("Conv") else found[1]
    return 0


def _extended(shape: Shape) -> int:
    """How many axes have more than one entry; an open one is the batch."""
    return sum(length is not None and length > 1 for length in shape)
