"""Outputs whose entries are no classes: sorted values, or the number of the greatest."""

from sanity.errors import ConfigError
from sanity.network.graph import FlatGraph, op_of, search

_NUMBERS = ("ArgMax", "ArgMin")
_SORTED = ("TopK", "TopKV2")
# An entry behind these is an entry in front, perhaps times a number.
_CHOICES = frozenset(
    "Identity Reshape Squeeze ExpandDims Transpose Cast Neg Gather GatherV2 GatherNd StridedSlice "
    "Slice Split SplitV Pack Unpack ConcatV2 ReverseV2".split()
)
_SCALINGS = frozenset("Mul RealDiv Add AddV2 Sub Round".split())


def check_classes(graph: FlatGraph, tensor: str, output: str, model: str) -> None:
    """Makes sure that an entry of an output stands for the same class whatever the image.

    Args:
        graph: The network.
        tensor: The output's.
        output: Its name.
        model: What messages call the model.

    Raises:
        ConfigError: Its entries are sorted by size, or are numbers of classes.
    """

    def sources(name: str) -> list[str]:
        node = graph.nodes.get(name)
        if node is None:
            return []
        valued = [op for op in map(op_of, node.input) if op in graph.valued]
        alike = node.op in _CHOICES or (node.op in _SCALINGS and len(valued) == 1)
        return valued if alike else []

    for name in search([op_of(tensor)], sources):
        kind = graph.nodes[name].op if name in graph.nodes else ""
        what = "the number of a class" if kind in _NUMBERS else "sorted by their size"
        if kind in _NUMBERS + _SORTED:
            raise ConfigError(
                f"The entries of {output} of {model} are {what} ({kind}), no class each: name "
                "another output by model.output, or export the network in front of that op"
            )
