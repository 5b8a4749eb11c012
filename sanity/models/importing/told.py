"""What PyTorch's newer exporter tells in its files: which constants the network learned."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sanity.models.importing.weights import Named

if TYPE_CHECKING:
    from onnx import ModelProto

_SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
_KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
_FOLDED = "pkg.onnxscript.optimizer.folded_from"
# `p_fc_weight: PARAMETER target='fc.weight'`, or `InputSpec(kind=<InputKind.PARAMETER: 2>, …`.
_SPEC = re.compile(r"(?:: |InputKind\.)(PARAMETER|BUFFER|CONSTANT_TENSOR)\b.*?target='([^']*)'")


@dataclass(frozen=True)
class Told:
    """What a file tells of its constants.

    Attributes:
        kinds: `PARAMETER`, `BUFFER` or `CONSTANT_TENSOR`, by the network's names; also of those
            that stand no more in the file.
        origins: What constants that were computed before the export were computed of, whatever the
            steps between, by the constants' names.
    """

    kinds: Mapping[str, str]
    origins: Mapping[str, frozenset[str]]


def told_of(model: "ModelProto") -> Told:
    """What a file tells; nothing where another exporter wrote it."""
    kinds: dict[str, str] = {}
    origins: dict[str, frozenset[str]] = {}
    for entry in model.graph.metadata_props:
        if entry.key == _SIGNATURE:
            kinds |= {name: kind for kind, name in _SPEC.findall(entry.value)}
    for value in [*model.graph.value_info, *model.graph.input]:
        for entry in value.metadata_props:
            if entry.key == _KIND:
                kinds.setdefault(value.name, entry.value)
            elif entry.key == _FOLDED:
                origins[value.name] = frozenset(ast.literal_eval(entry.value))
    return Told(kinds, origins)


def named_of(told: Told, constants: Mapping[str, np.ndarray]) -> Named | None:
    """What the network calls its own, from what a file tells; None where it tells nothing.

    Args:
        told: What it tells.
        constants: The file's, by name.
    """
    if not told.kinds:
        return None
    parameters = {name for name, kind in told.kinds.items() if kind == "PARAMETER"}
    others = [name for name in told.kinds if name in constants and name not in parameters]
    tables = {
        name
        for name in others
        if told.kinds[name] != "BUFFER" or sum(n > 1 for n in constants[name].shape) > 1
    }
    computed = {name for name, origins in told.origins.items() if origins & parameters}
    return Named(
        parameters, {*others} - tables, tables | (told.origins.keys() - computed), computed
    )
