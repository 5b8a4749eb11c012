"""What each variable of a flat graph is: kernel, bias or batch norm, its fans, its block."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import tensorflow as tf

from sanity.network.anatomy.roles import Kind, find_role
from sanity.network.anatomy.ways import Ways
from sanity.network.graph import FlatGraph

_MEASURED = ("moving_mean", "moving_variance")  # on images, not learned from the loss
_SOME = 256  # entries that tell most weights from a mask
# Kinds that are never randomized, as what would take their place is not known.
UNKNOWN = ("range", "preprocessing", "other")


@dataclass(frozen=True)
class Declared:
    """A variable as its source describes it.

    Attributes:
        name: As the model's author named it, without ":0".
        shape: Its shape.
        floating: Whether it holds floating-point numbers.
        trainable: Whether training changes it.
        selects: Whether it is known to be fixed, and picks rather than weighs: of zeros and ones
            (see `selects`), an index or a switch.
    """

    name: str
    shape: tuple[int, ...]
    floating: bool = True
    trainable: bool = True
    selects: bool = False

    @property
    def size(self) -> int:
        """The number of its entries."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Parameter:
    """One variable of a network.

    Attributes:
        name: As the model's author named it, without ":0".
        shape: Its shape.
        kind: What the network does with it: `kernel` (multiplies and sums; an embedding too),
            `bias`, `scale` and `offset` (of a normalization, or of a layer), `moving_mean`,
            `moving_variance`, `slope` (of a PReLU's negative part), `token` (stands beside the
            images' features), `position` (is added, other values at other places), `range`
            (of quantization), `preprocessing` (not trainable, before all kernels) or `other`. The
            last three are never randomized.
        block: The block it belongs to, or `""`.
        fan_in: How many inputs one output of a kernel sums over; for a token or positions, how many
            channels these have; else 0.
        fan_out: How many outputs one input of a kernel feeds; as `fan_in` otherwise.
        depth: How many ops lie between the images and its first use, at the most.
        trainable: Whether its source says so.
        reaches: Whether the explained output depends on it.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    block: str
    fan_in: int
    fan_out: int
    depth: int
    trainable: bool = True
    reaches: bool = True

    @property
    def size(self) -> int:
        """The number of its entries."""
        return math.prod(self.shape)

    @property
    def learned(self) -> bool:
        """Whether the explained output depends on what training made of it.

        A frozen kernel was learned elsewhere; moving statistics are measured.
        """
        known = self.kind not in UNKNOWN
        return self.reaches and self.kind not in _MEASURED and (known or self.trainable)


def describe(
    graph: FlatGraph,
    sources: Mapping[str, Declared],
    blocks: Sequence[str],
    images: tf.TensorSpec,
    output: str | None = None,
) -> dict[str, Parameter]:
    """The network's parameters by name, from input to output.

    Args:
        graph: The network.
        sources: The variable behind each placeholder.
        blocks: Names of the blocks.
        images: What the network takes.
        output: The tensor that is explained; None for all that the graph gives.
    """
    explained = graph.between([graph.input], [output] if output else [*graph.outputs.values()])
    parameters = _describe(explained, sources, blocks, images, reaches=True)
    rest = {p: source for p, source in sources.items() if source.name not in parameters}
    parameters |= _describe(graph, rest, (), images, reaches=False)
    ordered = sorted(parameters.values(), key=lambda p: (p.depth, p.name))
    return {parameter.name: parameter for parameter in _before_kernels(ordered)}


def selects(values: np.ndarray) -> bool:
    """Whether an array is of zeros and ones, and has both: a mask, or what picks and reorders."""
    some = values.ravel()[:_SOME]
    if not np.isin(some, (0, 1)).all():
        return False
    return bool(np.isin(values, (0, 1)).all() and values.any() and not values.all())


def block_of(name: str, blocks: Sequence[str]) -> str:
    """The block whose path components stand in a variable's name, whole and in a row, or `""`.

    Of several, the one that stands first in the name, and of those the longest. A `*` in a block's
    name stands for anything within a component: `block2*` for `block2a_expand_conv`.
    """
    parts = name.split("/")
    best: tuple[int, int, str] | None = None
    for block in blocks:
        wanted = block.split("/")
        for start in range(len(parts) - len(wanted) + 1):
            if all(map(fnmatchcase, parts[start:], wanted)):
                best = min(best or (start, -len(wanted), block), (start, -len(wanted), block))
                break
    return best[2] if best else ""


def meeting(graph: FlatGraph, placeholder: str) -> str | None:
    """The first op in which a variable meets the images' values; None if it never does."""
    return min(
        graph.meetings(placeholder), key=lambda name: (graph.depths[name], name), default=None
    )


def _describe(
    graph: FlatGraph,
    sources: Mapping[str, Declared],
    blocks: Sequence[str],
    images: tf.TensorSpec,
    *,
    reaches: bool,
) -> dict[str, Parameter]:
    """The parameters that a graph computes with, or all where `reaches` is not asked for."""
    used = {p: s for p, s in sources.items() if not reaches or p in graph.captures}
    ways = Ways(graph, {placeholder: source.shape for placeholder, source in used.items()}, images)
    found = {}
    for placeholder, source in used.items():
        kind, fan_in, fan_out = find_role(ways, placeholder, source.shape)
        if not source.floating or (kind == "kernel" and source.selects):
            whole = kind == "kernel" and not source.selects
            kind, fan_in, fan_out = "quantized" if whole else "other", 0, 0
        met = meeting(graph, placeholder)
        found[source.name] = Parameter(
            source.name,
            source.shape,
            kind,
            block_of(source.name, blocks),
            fan_in,
            fan_out,
            graph.depths[met] if met else 0,
            source.trainable,
            reaches and met is not None,
        )
    return found


def _before_kernels(parameters: Sequence[Parameter]) -> list[Parameter]:
    """The parameters, those of the images' normalization told from what was learned.

    And from scales of layers those of quantization.
    """
    if any(p.kind == "quantized" for p in parameters):
        parameters = [
            replace(p, kind="range") if p.kind == "scale" and not p.trainable else p
            for p in parameters
        ]
    first = min((p.depth for p in parameters if p.kind == "kernel" and p.reaches), default=0)
    return [
        replace(p, kind="preprocessing")
        if not p.trainable and p.depth < first and p.kind in ("scale", "offset", "bias")
        else p
        for p in parameters
    ]
