"""Attention: softmax weights that mix the values of tokens, found in a flat graph.

A layer of attention is a softmax of something of the image that enters a matrix product with
something else of it: weights, and what they weigh. However it is written (Keras, by hand,
converted from elsewhere), both stand in the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.anatomy.probabilities import find_activation
from sanity.network.graph import FlatGraph, op_of, search, tensor_of, trace_graph

_SAME = 1e-6  # of the greatest value: rounding
_IMAGES = 7  # of a batch to infer shapes with: where it is known, so are they
_MATRIX = frozenset("BatchMatMul BatchMatMulV2 BatchMatMulV3".split())
_PRODUCTS = _MATRIX | {"MatMul", "Einsum"}
# Between softmax and product: they keep the order of the entries. PyTorch's newer exporter selects
# 0 where a softmax is not a number.
_KEEPING = frozenset(
    "Identity Cast Snapshot Reshape Squeeze ExpandDims Mul RealDiv Select SelectV2".split()
)
# Between the values and the projection that they come from: heads are split off, or shared.
_SPLITTING = frozenset(
    "Identity Cast Snapshot Reshape Squeeze ExpandDims Transpose Split SplitV StridedSlice Slice "
    "Unpack Gather GatherV2 Add AddV2 BiasAdd Tile BroadcastTo".split()
)


@dataclass(frozen=True)
class Attention:
    """A layer of self-attention.

    Attributes:
        weights: The tensor of its weights, all rows of which sum to 1; as n × heads × queries ×
            keys it has its entries in this order.
        tokens: The tensor that values are made of, n × tokens × channels in this order.
        count: How many tokens there are.
    """

    weights: str
    tokens: str
    count: int


@dataclass(frozen=True)
class TokenGrid:
    """Where the tokens stand in the image.

    Attributes:
        rows: Of patches.
        columns: Of patches.
        first: Number of the first patch's token: class tokens may stand before the patches.
    """

    rows: int
    columns: int
    first: int

    @property
    def patches(self) -> slice:
        """The patches among the tokens."""
        return slice(self.first, self.first + self.rows * self.columns)


def find_attention(
    graph: FlatGraph,
    logits: str,
    images: tf.TensorSpec,
    maps: Mapping[str, tuple[int, ...]],
    model: str,
) -> tuple[list[Attention], TokenGrid]:
    """The layers of self-attention from input to output, and where their tokens stand.

    Args:
        graph: The network.
        logits: What is explained.
        images: What the network takes.
        maps: Name and shape (h, w, channels) of its feature maps, from input to output.
        model: What messages call it.

    Raises:
        ConfigError: There is none; or it is not such that the same tokens, patches of the image,
            are mixed layer after layer.
    """
    reader = _Reader(graph, logits, images, model)
    layers = reader.layers
    if not layers:
        raise ConfigError(
            f"{model} has no attention: no softmax of the image weighs anything of it"
        )
    for before, after in zip(layers, layers[1:], strict=False):
        if op_of(before.weights) not in graph.before(after.weights):
            raise ConfigError(
                f"attention of {model} stands side by side, {op_of(before.weights)} and "
                f"{op_of(after.weights)}, so that it cannot be followed from layer to layer"
            )
    counts = {layer.count for layer in layers}
    if len(counts) > 1:
        raise ConfigError(
            f"attention of {model} is of {' and '.join(map(str, sorted(counts)))} tokens in "
            "different layers, so that it cannot be followed from layer to layer"
        )
    return layers, _grid(graph, layers[0], images, maps, model)


def find_mixing(graph: FlatGraph, output: str) -> list[str]:
    """The ops that give softmaxes of the image which weigh something of it, input to output."""
    found = []
    for name in graph.path(output):
        node = graph.nodes[name]
        activation = find_activation(graph, node) if name in graph.valued else None
        if activation is not None and activation[0] == "Softmax" and _mixing(graph, name):
            found.append(name)
    return found


def _sources(graph: FlatGraph, node: NodeDef) -> list[str]:
    """The inputs whose values depend on the images'."""
    inputs = [tensor_of(i) for i in node.input if not i.startswith("^")]
    return [i for i in inputs if op_of(i) in graph.valued]


def _mixing(graph: FlatGraph, name: str) -> list[tuple[NodeDef, str]]:
    """The products with something of the image that an op's values enter, each with its operand."""

    def onward(name: str) -> list[str]:
        return [n.name for n in graph.consumers.get(name, ()) if n.op in _KEEPING | {"Transpose"}]

    found = []
    for reached in search([name], onward):
        for node in graph.consumers.get(reached, ()):
            if node.op in _PRODUCTS and len(_sources(graph, node)) == 2:
                operand = next(i for i in node.input if op_of(i) == reached)
                found.append((node, tensor_of(operand)))
    return found


@dataclass(frozen=True)
class _Reader:
    """Reads layers of attention from a graph."""

    graph: FlatGraph
    logits: str
    images: tf.TensorSpec
    model: str

    @cached_property
    def layers(self) -> list[Attention]:
        """From input to output."""
        return [self._layer(name) for name in find_mixing(self.graph, self.logits)]

    def _layer(self, name: str) -> Attention:
        product, operand = _mixing(self.graph, name)[0]
        index = [tensor_of(i) for i in product.input].index(operand)
        shape = self._shape(f"{name}:0")
        if not self._is_in_order(name, product, operand, index):
            raise self._refusal(name, "has its queries and keys in axes that are not the last two")
        queries, count = shape[-2:]
        if queries != count:
            raise self._refusal(
                name, f"has {queries} queries for {count} tokens, and is no self-attention"
            )
        tokens = self._tokens(tensor_of(product.input[1 - index]))
        rows = prod(self._shape(tokens)[:-1])
        if rows != _IMAGES * count:
            raise self._refusal(
                name,
                f"is within windows of {count} of the image's {rows // _IMAGES} tokens (Swin and "
                "its like)",
            )
        return Attention(f"{name}:0", tokens, count)

    def _is_in_order(self, name: str, product: NodeDef, operand: str, index: int) -> bool:
        """Whether weights are summed over their last axis, rows standing in the one before it."""
        node, last = self.graph.nodes[op_of(operand)], self._shape(f"{name}:0")[-2:]
        while node.name != name:
            if node.op == "Transpose" or self._shape(f"{node.name}:0")[-2:] != last:
                return False
            node = self.graph.nodes[op_of(_sources(self.graph, node)[0])]
        if product.op == "Einsum":
            operands, result = product.attr["equation"].s.decode().replace(" ", "").split("->")
            own = operands.split(",")[index].replace("...", "")
            return (
                own[-1] not in result
                and own[-2] in result
                and own[-2] not in operands.split(",")[1 - index].replace("...", "")
            )
        flips = {"MatMul": ("transpose_a", "transpose_b")}.get(product.op, ("adj_x", "adj_y"))
        flipped = product.attr[flips[index]].b
        return bool(flipped == (index == 1))

    def _tokens(self, values: str) -> str:
        """What values are made of: the operand of their projection, or where heads split off."""
        tensor = values
        while True:
            node = self.graph.nodes[op_of(tensor)]
            sources = _sources(self.graph, node)
            if len(sources) != 1 or node.op not in _SPLITTING | _PRODUCTS | {"Conv2D"}:
                return tensor
            if node.op in _PRODUCTS | {"Conv2D"}:
                return self._unflattened(sources[0])
            tensor = sources[0]

    def _unflattened(self, tensor: str) -> str:
        """The same entries before they were put into rows: those may be unknown in number."""
        node = self.graph.nodes[op_of(tensor)]
        while node.op in ("Reshape", "Identity") and op_of(node.input[0]) in self.graph.valued:
            before = tensor_of(node.input[0])
            if self._shape(before)[-1:] != self._shape(tensor)[-1:]:
                break
            tensor, node = before, self.graph.nodes[op_of(before)]
        return tensor

    def _shape(self, tensor: str) -> tuple[int, ...]:
        return self._shapes.get(tensor, ())

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors between images and logits, of a batch of `_IMAGES`; 0 where unknown."""
        some = tf.TensorSpec([_IMAGES, *self.images.shape[1:]], self.images.dtype)
        read = {
            tensor_of(i)
            for name in self.graph.path(self.logits)
            for i in (f"{name}:0", *self.graph.nodes[name].input)
            if op_of(i) in self.graph.valued and not i.startswith("^")
        }
        specs = self.graph.specs(sorted(read), some)
        return {
            name: tuple(length or 0 for length in spec.shape)
            for name, spec in specs.items()
            if spec.shape.rank is not None
        }

    def _refusal(self, name: str, what: str) -> ConfigError:
        return ConfigError(f"attention of {self.model} {what}: the op {name}")


def _grid(
    graph: FlatGraph,
    layer: Attention,
    images: tf.TensorSpec,
    maps: Mapping[str, tuple[int, ...]],
    model: str,
) -> TokenGrid:
    """Where tokens stand: in the last map before attention, or in the image's proportions."""
    above = graph.before(layer.weights)
    grids = [shape[:2] for name, shape in maps.items() if op_of(name) in above]
    height, width = images.shape[1:3]
    sizes = grids[-1:] or [
        (side * height // width, side)
        for side in range(layer.count, 0, -1)
        if side * height % width == 0
    ]
    for rows, columns in sizes:
        extra = layer.count - rows * columns
        if 0 <= extra <= max(16, layer.count // 2):
            return TokenGrid(rows, columns, _first(graph, layer, images, extra, model))
    raise ConfigError(
        f"the {layer.count} tokens that attention of {model} mixes are no patches of the image"
        + (f", whose last map before it has {grids[-1][0]}×{grids[-1][1]}" if grids else "")
    )


def _first(
    graph: FlatGraph, layer: Attention, images: tf.TensorSpec, extra: int, model: str
) -> int:
    """Number of the first patch's token, some tokens being of no patch.

    Seen from two images of noise: those are the same for both, in front of the first attention.
    """
    if not extra:
        return 0
    noise = np.random.Generator(np.random.PCG64(0)).random((2, *images.shape[1:]), np.float32)
    build = trace_graph(
        lambda given: graph.build(given, [layer.tokens]), [tf.TensorSpec(noise.shape, images.dtype)]
    )
    one, other = build(tf.constant(noise))[0].numpy().reshape(2, layer.count, -1)
    moved = np.abs(one - other).max(axis=1) > _SAME * np.abs(one).max()
    patches = np.flatnonzero(moved)
    if len(patches) != layer.count - extra:  # they have seen the image by other ways
        return extra if _stand_before(graph, graph.before(layer.weights)) else 0
    if np.ptp(patches) >= len(patches):
        raise ConfigError(
            f"the patches among the {layer.count} tokens of {model} do not stand in a row: others "
            "stand between them"
        )
    return int(patches[0])


def _stand_before(graph: FlatGraph, above: set[str]) -> bool:
    """Whether tokens that are not of the image are put before those that are."""
    for name in graph.nodes:
        node = graph.nodes[name]
        if name in above and node.op in ("ConcatV2", "Concat"):
            parts = node.input[:-1] if node.op == "ConcatV2" else node.input[1:]
            of_image = [op_of(part) in graph.valued for part in parts]
            if sum(of_image) == 1 and len(of_image) > 1:
                return not of_image[0]
    return True
