"""ONNX's sequences, which PyTorch's newer exporter makes of `chunk`, `split` and `unbind`.

They are not converted; where known places are taken of one, the same is cut out of the tensor.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def cut_instead(graph: "GraphProto", constants: dict[str, np.ndarray]) -> None:
    """Has a graph cut pieces out of tensors that it would split into a sequence first.

    What else is made of a sequence stays as it is.

    Args:
        graph: Is changed.
        constants: By name; where the pieces lie is added.
    """
    if any(entry.HasField("g") for node in graph.node for entry in node.attribute):
        return  # a branch may take pieces as well
    outputs = {one.name for one in graph.output}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "SplitToSequence"}
    cuts: dict[str, NodeProto] = {}
    for name, maker in makers.items():
        takers = [node for node in graph.node if name in node.input]
        if name in outputs or any(node.op_type != "SequenceAt" for node in takers):
            continue
        made = {taker.output[0]: _cut(maker, taker, constants) for taker in takers}
        known = {output: node for output, node in made.items() if node is not None}
        if len(known) == len(made):
            cuts |= known
            graph.node.remove(maker)
    for node in graph.node:
        if node.output and (cut := cuts.get(node.output[0])) is not None:
            node.CopyFrom(cut)


def _cut(
    maker: "NodeProto", taker: "NodeProto", constants: dict[str, np.ndarray]
) -> "NodeProto | None":
    """The operator that gives a piece, whose inputs are added; None if its place is not known."""
    from onnx import helper

    settings = {entry.name: entry.i for entry in maker.attribute}
    axis, output = settings.get("axis", 0), taker.output[0]
    place = _number(constants, taker.input[1])
    split = [name for name in maker.input[1:] if name]
    if place is None:
        return None
    if not split:  # pieces of one each, which lose the axis or not
        kept = settings.get("keepdims", 1)
        given = {f"{output}/place": np.array([place] if kept else place, np.int64)}
        made = helper.make_node("Gather", [maker.input[0], *given], [output], axis=axis)
    else:
        bounds = _bounds(constants, split[0], place)
        if bounds is None:
            return None
        values = [*bounds, axis]
        given = {f"{output}/{k}": np.array([value], np.int64) for k, value in enumerate(values)}
        made = helper.make_node("Slice", [maker.input[0], *given], [output])
    constants |= given
    made.name = taker.name
    return made


def _bounds(constants: Mapping[str, np.ndarray], split: str, place: int) -> tuple[int, int] | None:
    """Where a piece begins and ends; None if that is not known."""
    lengths = constants.get(split)
    if lengths is None:
        return None
    if not lengths.ndim:  # of each but the last one
        each = int(lengths)
        return None if place < 0 else (place * each, (place + 1) * each)
    if not -len(lengths) <= place < len(lengths):
        return None
    ends = np.cumsum(lengths)
    return int(ends[place] - lengths[place]), int(ends[place])


def _number(constants: Mapping[str, np.ndarray], name: str) -> int | None:
    value = constants.get(name)
    return None if value is None else int(value.ravel()[0])
