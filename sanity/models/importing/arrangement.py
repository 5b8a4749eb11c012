"""Where the channels of an ONNX graph's images stand: before height and width, or behind."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

_MAPS = frozenset(
    "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool BatchNormalization "
    "InstanceNormalization GroupNormalization Resize Upsample DepthToSpace SpaceToDepth LRN".split()
)
# Ops that leave axes where they are.
_KEEP = frozenset(
    "Identity Cast Add Sub Mul Div Pow Clip Relu Sigmoid Tanh Neg Abs Sqrt Exp Log Dropout Pad "
    "Slice Concat Split".split()
)
_USUAL = (1, 3, 4)  # channels


def shape_of(value: "ValueInfoProto") -> tuple[int | None, ...] | None:
    """A value's sizes as the file says them, None for what it leaves open, or if it says none."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)


def find_arrangement(
    graph: "GraphProto", image: str, shape: tuple[int | None, ...]
) -> Literal["first", "last"]:
    """Whether images have channels first or last.

    ONNX's convolutions take channels first; what was exported from TensorFlow turns its images for
    them. Where there is neither, sizes say it, or ONNX's custom: first.

    Args:
        graph: The graph.
        image: Its input.
        shape: The input's, of four axes.
    """
    held, waiting = {image}, True
    while waiting:
        waiting = False
        for node in graph.node:
            if not held.intersection(node.input) or held.issuperset(node.output):
                continue
            if node.op_type in _MAPS and node.input[0] in held:
                return "first"
            if node.op_type == "Transpose" and [*_order(node)] == [0, 3, 1, 2]:
                return "last"
            if node.op_type == "Transpose" and [*_order(node)] == [0, 2, 3, 1]:
                return "first"
            if node.op_type in _KEEP:
                held.update(node.output)
                waiting = True
    before, behind = shape[1] in _USUAL, shape[3] in _USUAL
    return "last" if behind and not before else "first"


def _order(node: "NodeProto") -> list[int]:
    found = [[*entry.ints] for entry in node.attribute if entry.name == "perm"]
    return found[0] if found else []
