"""ONNX files: are they whole, and do they keep to their folder."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.errors import ConfigError, how_to_install
from sanity.models.kinds import DETAILS, kind_of, way_out

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

log = logging.getLogger(__name__)


def read(path: Path, key: str) -> "ModelProto":
    """The model in a file, with its weights, and with its own functions put in their places.

    Args:
        path: The file.
        key: What messages call it: `model.path=…`.

    Raises:
        ConfigError: It is not there, is no ONNX model, lacks a file of weights or names one outside
            its folder; or the package that reads it is not installed.
    """
    model = _parsed(path, key)
    files = _outside(model, path, key)
    onnx = _onnx(key)
    if files:
        try:
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        except Exception as error:  # the package raises what it comes upon
            log.debug("%s", error)
            raise ConfigError(
                f"{key} keeps weights in {', '.join(sorted(files))} beside it, which cannot be "
                f"read as its weights: copy both anew ({DETAILS})"
            ) from error
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def files_of(path: Path, key: str) -> dict[str, Path]:
    """The files that a model consists of: itself, and those of its weights, by name.

    Raises:
        ConfigError: As `read`.
    """
    if not path.exists():
        raise ConfigError(way_out(path, key, "onnx"))
    if kind_of(path) != "onnx":
        return {path.name: path}
    return {path.name: path, **_outside(_parsed(path, key), path, key)}


def _onnx(key: str) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(
            f"{key} is read by the package onnx, which is not installed: {how_to_install('onnx')}"
        ) from error
    return onnx


def _parsed(path: Path, key: str) -> "ModelProto":
    kind = kind_of(path)
    if kind != "onnx":
        raise ConfigError(way_out(path, key, "onnx"))
    onnx = _onnx(key)
    try:
        model: ModelProto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises what it comes upon
        log.debug("%s", error)
        raise ConfigError(f"{key} is a damaged ONNX file: copy or export it anew") from error
    if not model.graph.node or not model.graph.output:
        raise ConfigError(f"{key} is a damaged ONNX file, without a network: export it anew")
    return model


def _outside(model: "ModelProto", path: Path, key: str) -> dict[str, Path]:
    """The files that hold weights, by the names that the model gives them.

    Raises:
        ConfigError: One is not there, or lies outside the model's folder.
    """
    folder = path.parent.resolve()
    found: dict[str, Path] = {}
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        name = said.get("location", "")
        file = (folder / name).resolve()
        if Path(name).is_absolute() or ".." in Path(name).parts or folder not in file.parents:
            raise ConfigError(
                f"{key} keeps weights in {name}, outside its folder, where nothing is read: put "
                "that file beside it and export it with that name, or with all weights inside"
            )
        if not file.is_file():
            raise ConfigError(
                f"{key} keeps weights in {name}, which is not there: copy it beside the model"
            )
        found[name] = file
    return found


def _tensors(model: "ModelProto") -> Iterator["TensorProto"]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: "GraphProto") -> Iterator["TensorProto"]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator["TensorProto"]:
    for node in nodes:
        for entry in node.attribute:
            if entry.HasField("t"):
                yield entry.t
            yield from entry.tensors
            for graph in [*entry.graphs, *([entry.g] if entry.HasField("g") else [])]:
                yield from _of_graph(graph)
