"""SavedModels and Hub modules on disk: are they whole, and which function takes the images."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanity.errors import ConfigError
from sanity.models.inputs import Input
from sanity.models.kinds import DETAILS, kind_of, way_out
from sanity.models.tf1 import has_reference_variables, with_live_variables

log = logging.getLogger(__name__)

# In this order: TF1 Hub modules have the first, SavedModels the second.
USUAL = ("image_classification", "serving_default", "default")
# What the call of a Hub module or a Keras SavedModel may take besides images, most telling first.
_CALLS: tuple[dict[str, Any], ...] = (
    {"training": False, "return_endpoints": True},
    {"training": False},
    {},
)


@dataclass(frozen=True)
class Entry:
    """A function of a loaded model.

    Attributes:
        function: From what it takes, by name, to its outputs.
        inputs: What it takes.
        variables: The model's, by name.
        name: Of the signature, or `call`.
    """

    function: Callable[[dict[str, Any]], Any]
    inputs: list[Input]
    variables: dict[str, Any]
    name: str


def load(folder: Path, key: str) -> Any:
    """A SavedModel or a module of either Hub format, from a local folder.

    Args:
        folder: Where it lies.
        key: What messages call the folder: `model.path=…`.

    Raises:
        ConfigError: It is not there, not whole or not readable.
    """
    import tensorflow as tf

    if kind_of(folder) not in ("saved_model", "folder"):
        raise ConfigError(way_out(folder, key, "saved_model"))
    problem = damage(folder)
    if problem:
        if list(folder.glob("*/saved_model.pb")):
            raise ConfigError(way_out(folder, key, "saved_model"))
        raise ConfigError(f"{key} is no usable SavedModel: {problem}")
    tags: list[str] | None = [] if (folder / "tfhub_module.pb").exists() else None
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # TensorFlow warns of TF1's variables, which `tf1` takes care of
    try:
        return tf.saved_model.load(str(folder), tags=tags)
    except (tf.errors.OpError, OSError, ValueError, LookupError, RuntimeError) as error:
        log.debug("%s", error)
        raise ConfigError(_reason(key, error)) from error
    finally:
        logger.setLevel(level)


def _reason(key: str, error: Exception) -> str:
    """Why TensorFlow does not load a module."""
    import tensorflow as tf

    if lacking := lacking_op(key, error):
        return lacking
    return (
        f"{key} is no usable SavedModel: TensorFlow {tf.__version__} cannot load it, it may be "
        f"incomplete ({DETAILS})"
    )


def lacking_op(key: str, error: Exception) -> str:
    """What to say of a graph with an op that TensorFlow does not know; `""` if it is not that."""
    op = re.search(r"Op type not registered '(\w+)'", str(error))
    if op is None:
        return ""
    return (
        f"{key} needs the op {op[1]}, which this TensorFlow does not have: export it without "
        "that op, as a network from images to a vector"
    )


def damage(folder: Path) -> str:
    """What a module's folder lacks, in words, or `""`: downloads break off half-way."""
    if not folder.is_dir():
        return f"{folder} is no folder"
    if not any((folder / f"saved_model.{suffix}").is_file() for suffix in ("pb", "pbtxt")):
        return f"{folder} has no saved_model.pb"
    for name in ("saved_model.pb", "variables/variables.index"):
        if (folder / name).is_file() and not (folder / name).stat().st_size:
            return f"{folder / name} is empty"
    variables = folder / "variables"
    data = sorted(variables.glob("variables.data-*-of-*")) if variables.is_dir() else []
    if data and not (variables / "variables.index").is_file():
        return f"{variables} has no variables.index"
    if (variables / "variables.index").is_file():
        count = int(data[0].name.rpartition("-")[2]) if data else 1
        names = [f"variables.data-{i:05d}-of-{count:05d}" for i in range(count)]
        lacking = [name for name in names if not (variables / name).is_file()]
        if lacking:
            return f"{variables} lacks {', '.join(lacking)}"
    return ""


def entry(folder: Path, signature: str | None, key: str, *, call_first: bool) -> Entry:
    """Loads a module and finds the function that classifies images.

    Args:
        folder: Where the module lies.
        signature: The name of one; None for the usual one.
        key: What messages call the module: `model.path=…`.
        call_first: Whether the module's own call goes before `serving_default`.

    Raises:
        ConfigError: It is not whole, or there is no such signature.
    """
    loaded = load(folder, key)
    signatures = dict(getattr(loaded, "signatures", {}))
    there = ", ".join(sorted(signatures)) or "none"
    variables = {
        variable.name.split(":")[0]: variable for variable in getattr(loaded, "variables", ())
    }
    call = getattr(loaded, "__call__", None) if callable(loaded) else None  # noqa: B004
    if signature is None:
        usual = [name for name in USUAL if name in signatures]
        if call is not None and (not usual or (call_first and usual[0] != USUAL[0])):
            return Entry(_call(loaded, key, there), _inputs_of_call(call), variables, "call")
        if not usual and len(signatures) != 1:
            raise ConfigError(f"model.signature must name a signature of {key}; there are: {there}")
        signature = (usual or list(signatures))[0]
    if signature not in signatures:
        raise ConfigError(f"model.signature={signature} is none of {key}; there are: {there}")
    function = signatures[signature]
    inputs = [_input(*pair) for pair in sorted(function.structured_input_signature[1].items())]
    if has_reference_variables(function):
        live, variables = with_live_variables(folder, function)
        return Entry(live, inputs, variables, signature)

    def classify(tensors: dict[str, Any]) -> Any:
        return function(**tensors)

    classify.module = loaded  # type: ignore[attr-defined]  # owns the variables
    return Entry(classify, inputs, variables, signature)


def _call(module: Any, key: str, there: str) -> Callable[[Any], Any]:
    """The module's call; holds the module, which owns the variables."""

    def classify(tensors: dict[str, Any]) -> Any:
        (images,) = tensors.values()
        for options in _CALLS:
            try:
                return _named(module(images, **options))
            except (TypeError, ValueError) as error:
                log.debug("%s", error)
        raise ConfigError(
            f"{key} cannot be called with images alone: model.signature=NAME takes one of its "
            f"signatures ({there}) instead ({DETAILS})"
        )

    return classify


def _named(outputs: Any) -> Any:
    """Outputs and endpoints in one dict, where they come as a pair."""
    if isinstance(outputs, tuple | list) and any(isinstance(part, dict) for part in outputs):
        named: dict[str, Any] = {}
        for part in outputs:
            named |= part if isinstance(part, dict) else {"default": part}
        return named
    return outputs


def _inputs_of_call(call: Any) -> list[Input]:
    for concrete in getattr(call, "concrete_functions", ()):
        positional = concrete.structured_input_signature[0]
        if positional and hasattr(positional[0], "dtype"):
            return [_input("images", positional[0])]
    import tensorflow as tf

    return [Input("images", None, tf.float32)]


def _input(name: str, spec: Any) -> Input:
    return Input(name, None if spec.shape.rank is None else tuple(spec.shape), spec.dtype)
