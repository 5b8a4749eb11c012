"""Batch norm in a flat graph: which variables are its moving statistics, and what it normalises."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sanity.errors import ConfigError
from sanity.network.anatomy.loops import LOOPS
from sanity.network.anatomy.parameters import Parameter
from sanity.network.anatomy.ways import PRODUCTS
from sanity.network.graph import FlatGraph, op_of


@dataclass(frozen=True)
class BatchNorm:
    """One batch norm.

    Attributes:
        mean: Name of the variable that holds the moving mean.
        variance: Name of the variable that holds the moving variance.
        tensor: What is normalised, channels last.
        shape: Of both variables.
    """

    mean: str
    variance: str
    tensor: str
    shape: tuple[int, ...]


def find(
    graph: FlatGraph, placeholders: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> list[BatchNorm]:
    """The batch norms with moving statistics, from input to output.

    Found are fused ones, `x * scale + shift` and `(x - mean) * scale`, by which ops compute with
    the images' values and with the variables.

    Args:
        graph: The network, as far as it computes the explained output.
        placeholders: The placeholder of each variable.
        parameters: What each variable is.

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
        mean = next(
            (m for m, ops in means.items() if ops.keys() & {*meetings, op_of(tensor)}), None
        )
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
        attributes = graph.nodes[first].attr  # asked with `in`: reading would add what is not there
        last = "data_format" not in attributes or attributes["data_format"].s.endswith(b"C")
        if not last or math.prod(parameter.shape) != parameter.shape[-1]:
            raise ConfigError(
                f"The channels of {variance} are not the last axis, so it cannot be re-estimated: "
                "randomization.moving_statistics=keep leaves it"
            )
        norms.append(BatchNorm(mean, variance, tensor, parameter.shape))
    return sorted(norms, key=lambda norm: graph.depths[op_of(norm.tensor)])
