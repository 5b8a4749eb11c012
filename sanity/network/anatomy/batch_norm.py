"""Batch norm in a flat graph: which variables are its moving statistics, and what it normalises."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.anatomy.loops import LOOPS
from sanity.network.anatomy.parameters import Parameter
from sanity.network.anatomy.ways import PRODUCTS, shapes_of
from sanity.network.graph import NORMS, FlatGraph, op_of, tensor_of


@dataclass(frozen=True)
class BatchNorm:
    """One batch norm.

    Attributes:
        mean: Name of the variable that holds the moving mean.
        variance: Name of the variable that holds the moving variance.
        tensor: What is normalised, channels last.
        shape: Of both variables; one axis at most is longer than 1, that of the channels.
    """

    mean: str
    variance: str
    tensor: str
    shape: tuple[int, ...]


def find(
    graph: FlatGraph,
    placeholders: Mapping[str, str],
    parameters: Mapping[str, Parameter],
    images: tf.TensorSpec,
) -> list[BatchNorm]:
    """The batch norms with moving statistics, from input to output.

    Found are fused ones, `x * scale + shift` and `(x - mean) * scale`, by which ops compute with
    the images' values and with the variables.

    Args:
        graph: The network, as far as it computes the explained output.
        placeholders: The placeholder of each variable.
        parameters: What each variable is.
        images: What the network takes.

    Raises:
        ConfigError: One is shared by several tensors, has no mean of its own (as where it is folded
            into a kernel), or its channels are not the last axis.
    """
    means = {
        name: graph.meetings(placeholders[name])
        for name, parameter in parameters.items()
        if parameter.kind == "moving_mean"
    }
    norms = []
    for variance, parameter in parameters.items():
        if parameter.kind != "moving_variance":
            continue
        meetings = graph.meetings(placeholders[variance])
        if not meetings:
            continue
        first = min(meetings, key=lambda op: graph.depths[op])
        tensor = meetings[first]
        # Where the variance multiplies, the mean is added, or it is taken off right in front. There
        # may be the mean of the norm in front, too.
        beside = [m for m, ops in means.items() if ops.keys() & {*meetings}]
        before = [m for m, ops in means.items() if op_of(tensor) in ops]
        mean = next(iter(beside + before), None)
        if mean is None or graph.nodes[first].op in (*PRODUCTS, *LOOPS):
            raise ConfigError(
                f"The moving variance {variance} normalises nothing whose mean is kept, so it "
                "cannot be re-estimated: randomization.moving_statistics=keep leaves it"
            )
        tensor = means[mean].get(op_of(tensor), tensor)
        inside = {*meetings, *means[mean]}
        if any(meetings[op] != tensor and op_of(meetings[op]) not in inside for op in meetings):
            raise ConfigError(
                f"The moving statistics {variance} belong to several tensors, so they cannot be "
                "re-estimated: randomization.moving_statistics=keep leaves them"
            )
        if not _are_channels_last(graph, first, parameter.shape, images):
            raise ConfigError(
                f"The channels of {variance} are not the last axis, so it cannot be re-estimated: "
                "randomization.moving_statistics=keep leaves it"
            )
        norms.append(BatchNorm(mean, variance, tensor, parameter.shape))
    return sorted(norms, key=lambda norm: graph.depths[op_of(norm.tensor)])


def _are_channels_last(
    graph: FlatGraph, meeting: str, shape: tuple[int, ...], images: tf.TensorSpec
) -> bool:
    """Whether statistics are of the last axis of what they normalise.

    Args:
        graph: The network.
        meeting: The op in which they meet the images' values.
        shape: Of the variable, which may well have been turned or reshaped before it meets them.
        images: What the network takes.
    """
    node = graph.nodes[meeting]
    # Asked with `in`: reading would add what is not there.
    if "data_format" in node.attr and not node.attr["data_format"].s.endswith(b"C"):
        return False
    size = math.prod(shape)
    if size == 1 or node.op in NORMS:
        return True
    others = [i for i in node.input if not i.startswith("^") and op_of(i) not in graph.valued]
    met = tensor_of(others[0])
    found = shapes_of(graph, [met], images)[met]
    if found is None or None in found:
        return size == shape[-1]
    return [length for length in found if length != 1] == [size] == [found[-1]]
