"""Frozen graphs: a GraphDef whose weights are constants in it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.checked import Text, checked
from sanity.contents import Content, files_among
from sanity.errors import ConfigError
from sanity.models.inputs import Input
from sanity.models.kinds import DETAILS, file_of_kind
from sanity.models.module import Entry, lacking_op
from sanity.models.source import ScaledSource

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

_KEPT_ELSEWHERE = ("Variable", "VariableV2", "VarHandleOp")
# Since this version of graphs a shape of no axes is a scalar's; before, it was that of anything.
_SHAPES_SAID = 24


@checked
class Frozen(ScaledSource):
    """A frozen graph of TensorFlow, a `.pb` or `.pbtxt` file.

    Its inputs are its placeholders, its outputs what no other op reads; `output` may name any
    tensor of it.

    Attributes:
        path: The file.
    """

    path: Text

    def sources(self) -> dict[str, Content]:
        """The graph, and the file of class names."""
        return {**super().sources(), **files_among(path=self.path)}

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The file is no frozen graph, or no image classifier.
        """
        path, key = file_of_kind(self.path, "frozen_graph", "frozen")
        graph_def = _read(path, key)
        entry = _entry(graph_def, self.output, self.inputs, key)
        return self.classifier_of(entry, path.stem, key)


def _read(path: Path, key: str) -> Any:
    """The GraphDef in a file (ConfigError if there is none)."""
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph_def = GraphDef()
    try:
        if path.suffix.lower() == ".pbtxt":
            text_format.Parse(path.read_text("utf-8"), graph_def)
        else:
            graph_def.ParseFromString(path.read_bytes())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key} is no frozen graph, or is cut off: it cannot be read") from error
    if not graph_def.node:
        raise ConfigError(f"{key} is no frozen graph: there are no ops in it")
    elsewhere = [node.name for node in graph_def.node if node.op in _KEPT_ELSEWHERE]
    if elsewhere:
        shown = ", ".join(elsewhere[:3] + ["…"] * (len(elsewhere) > 3))
        raise ConfigError(
            f"{key} is a graph that is not frozen: it has {len(elsewhere)} variables ({shown}), "
            "whose values are in a checkpoint; freeze it where it was made, with "
            "tf.compat.v1.graph_util.convert_variables_to_constants, or export a SavedModel"
        )
    return graph_def


def _entry(graph_def: Any, output: str | None, given: dict[str, Any], key: str) -> Entry:
    """A frozen graph as a function of its placeholders by name.

    Args:
        graph_def: The graph.
        output: The tensor explained, by name; None for what the graph ends in.
        given: Values of placeholders that take no images, by name.
        key: What messages call the file.
    """
    import tensorflow as tf

    def imported() -> None:
        tf.graph_util.import_graph_def(graph_def, name="")

    try:
        whole = tf.compat.v1.wrap_function(imported, [])
    except (ValueError, tf.errors.OpError) as error:
        log.debug("%s", error)
        raise ConfigError(
            lacking_op(key, error)
            or f"{key} is no usable graph: TensorFlow {tf.__version__} cannot load it ({DETAILS})"
        ) from error
    outputs = _outputs(whole.graph, output, key)
    ends = [whole.graph.get_tensor_by_name(name) for name in outputs.values()]
    images = [op.outputs[0] for op in _before([e.op for e in ends]) if op.type == "Placeholder"]
    said = graph_def.versions.producer >= _SHAPES_SAID
    inputs = [_input(tensor, tensor.op.name in given, said) for tensor in images]
    function = whole.prune(images, ends)

    def classify(tensors: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, function(*(tensors[one.name] for one in inputs)), strict=True))

    return Entry(classify, inputs, {}, "graph")


def _outputs(graph: Any, output: str | None, key: str) -> dict[str, str]:
    """Tensors of a graph by what they are called: the one asked for, or those it ends in."""
    ends = {
        op.name: op.outputs[0].name
        for op in graph.get_operations()
        if op.outputs
        and op.outputs[0].dtype.is_floating
        and not any(tensor.consumers() for tensor in op.outputs)
        and any(one.type == "Placeholder" for one in _before([op]))
    }
    if output is None:
        if not ends:
            raise ConfigError(
                f"{key} computes nothing of a placeholder: model.path must be a network whose "
                "images come in by one"
            )
        return ends
    try:
        found = graph.get_tensor_by_name(output if ":" in output else f"{output}:0")
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"model.output={output} is no tensor of {key}, which ends in: {', '.join(ends)}"
        ) from error
    return {**ends, output: found.name}


def _before(ops: list[Any]) -> list[Any]:
    """The ops that some compute with, those included, in the graph's order."""
    found, waiting = set(ops), list(ops)
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op not in found:
                found.add(tensor.op)
                waiting.append(tensor.op)
    return [op for op in ops[0].graph.get_operations() if op in found] if ops else []


def _input(tensor: Any, given: bool, said: bool) -> Input:
    """A placeholder; in an old graph one that is given is one value, another is of any shape."""
    shape = None if tensor.shape.rank is None else tuple(tensor.shape)
    if not said and shape in (None, ()):
        shape = () if given else None
    return Input(tensor.op.name, shape, tensor.dtype)
