"""What ONNX Runtime gives of a model, against which its conversion is held."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sanity.errors import how_to_install
from sanity.models.compared import HALF, ROUNDING, check_outputs
from sanity.models.importing.arrangement import find_arrangement, shape_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

    from sanity.models.module import Entry

log = logging.getLogger(__name__)

_PROGRAM = "ONNX Runtime"
_COUNT = 2  # images, where the model leaves their number open


def compare(
    model: "ModelProto", entry: "Entry", path: Path, asked: Sequence[int] | None, key: str
) -> None:
    """Makes sure that a converted model gives what ONNX Runtime does, on noise.

    Where that is not installed, or cannot run the model, it is said.

    Args:
        model: The model.
        entry: What was made of it.
        path: Its file.
        asked: `model.input_shape`, for what the model leaves open.
        key: What messages call it: `model.path=…`.

    Raises:
        ConfigError: It gives something else.
    """
    given = _noise(model.graph, entry, asked)
    if given is None:
        return  # refused, or asked for, later on
    feeds, theirs = given
    try:
        import onnxruntime
    except ImportError:
        log.info(
            "%s is not compared with %s, which is not installed: %s",
            key,
            _PROGRAM,
            how_to_install("onnx"),
        )
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its words are said below
    options.intra_op_num_threads = 1  # few images, beside a network's other threads
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        names = [one.name for one in session.get_outputs()]
        expected = dict(zip(names, session.run(names, theirs), strict=True))
    except Exception as error:  # it raises what it comes upon, as of an operator that it lacks
        log.debug("%s", error)
        log.info("%s is not compared with %s, which does not run it", key, _PROGRAM)
        return
    halved = any(one.dtype.name == "float16" for one in entry.variables.values())
    check_outputs(expected, entry, feeds, key, _PROGRAM, HALF if halved else ROUNDING)


def _noise(
    graph: "GraphProto", entry: "Entry", asked: Sequence[int] | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """What the converted model takes, and the same as the file's; None where a size is open.

    The former has images with channels last, as `entry` takes them.
    """
    draw = np.random.Generator(np.random.PCG64(0))
    own: dict[str, np.ndarray] = {}
    theirs: dict[str, np.ndarray] = {}
    shapes = {one.name: shape_of(one) for one in graph.input}
    for one in entry.inputs:
        if one.shape is None or (shape := shapes[one.name]) is None:
            return None
        sizes = list(one.shape[1:])
        if len(sizes) == 3 and asked is not None:
            sizes = [size or given for size, given in zip(sizes, asked, strict=True)]
        if None in sizes:
            return None
        count = [shape[0] or _COUNT] if shape else []
        noise = draw.random([*count, *(size for size in sizes if size is not None)])
        kind = np.dtype(one.dtype.as_numpy_dtype)
        values = (noise if kind.kind == "f" else 255 * noise).astype(kind)
        turned = len(shape) == 4 and find_arrangement(graph, one.name, shape) == "first"
        own[one.name] = values
        theirs[one.name] = np.ascontiguousarray(np.moveaxis(values, -1, 1)) if turned else values
    return own, theirs
