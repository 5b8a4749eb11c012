"""Code in a Keras file: what of its description would run on this machine, found before it does.

Keras' own safe mode covers `.keras` files only, and not in all versions; Keras 2 has none for
`.h5`. So the description is searched, however deep it is nested, before any Keras sees it.
"""

import builtins
import re
from collections.abc import Iterator
from typing import Any

# Layers that hold Python code, pickled code, or a SavedModel.
_CODE = {
    "Lambda": "Python code",
    "__lambda__": "Python code",
    "TorchModuleWrapper": "pickled Python objects",
    "TFSMLayer": "a SavedModel, which may read and write files",
}
# Keys under which a layer keeps a marshalled function: `[code, defaults, closure]`.
_FUNCTION_TYPE = "_type"
# Namespaces of TensorFlow whose functions only compute; `io`, `keras.utils`, … do more.
_COMPUTING = (
    *("math", "nn", "linalg", "image", "signal", "bitwise", "random", "sets", "strings", "sparse"),
    *("ragged", "quantization", "dtypes", "__operators__", "keras.activations", "keras.backend"),
)
_ACTING = ("py_function", "numpy_function", "py_func", "load_library", "load_op_library", "print")
_ACTING_OPS = re.compile(r"(Write|Read)File|PyFunc|Save|Restore|PrintV2|Matching(Files)?")
# Where Keras' functions lie that a layer may name; those elsewhere fetch, load or save.
_FUNCTIONS = ("activations", "ops", "initializers", "regularizers", "constraints", "losses")


def code_in(node: Any) -> str | None:
    """What in a Keras model's description would run code: `the layer x: Python code`, or None.

    Args:
        node: The description, as Keras' JSON has it, or a part.
    """
    return next(_codes(node, ""), None)


def _codes(node: Any, layer: str) -> Iterator[str]:
    if isinstance(node, list):
        for value in node:
            yield from _codes(value, layer)
    if not isinstance(node, dict):
        return
    name, config = node.get("class_name"), node.get("config")
    if isinstance(name, str):
        if isinstance(config, dict) and isinstance(config.get("name"), str):
            layer = f"the {name} layer {config['name']}"
        what = _CODE.get(name) or _acting(name, config) or _foreign_function(node)
        if what:
            yield f"{what} ({layer or name})"
    for key, value in node.items():
        marshalled = key.endswith(_FUNCTION_TYPE) and value == "lambda"
        if marshalled and node.get(key.removesuffix(_FUNCTION_TYPE)):
            yield f"Python code ({layer})"
        yield from _codes(value, layer)


def _acting(name: str, config: Any) -> str | None:
    """What an operator layer does besides computing."""
    if not isinstance(config, dict):
        return None
    if name == "TensorFlowOpLayer":
        found = _ACTING_OPS.search(str(config.get("node_def")))
        return f"the TensorFlow op {found[0]}" if found else None
    symbol = {"TFOpLambda": "function", "SlicingOpLambda": "function", "ClassMethod": "cls_symbol"}
    if name not in symbol:
        return None
    function = str(config.get(symbol[name]))
    plain = function.removeprefix("compat.v1.")
    namespace, _, last = plain.rpartition(".")
    if last in _ACTING or not (namespace in ("", *_COMPUTING) or plain.startswith(_SPACES)):
        return f"the TensorFlow function {function}"
    return None


_SPACES = tuple(f"{space}." for space in _COMPUTING)


def _foreign_function(node: dict[str, Any]) -> str | None:
    """A Python function that Keras 2 would import by its name."""
    module, name = node.get("module"), node.get("class_name")
    if name == "function":
        name = node["config"] if isinstance(node.get("config"), str) else ""
    elif not (isinstance(name, str) and name[:1].islower()):
        return None
    if not isinstance(module, str):
        return None
    parts = module.split(".")
    if module == "builtins":
        return f"Python's {name}" if hasattr(builtins, str(name)) else None
    if parts[0] in ("keras", "tf_keras") and not set(parts) & set(_FUNCTIONS):
        return f"the function {module}.{name}"
    return None


def foreign_modules(node: Any) -> Iterator[tuple[str, str, str]]:
    """Name, module and registered name of all that is not Keras' own in a description."""
    if isinstance(node, dict):
        name, module = node.get("class_name"), node.get("module")
        registered = node.get("registered_name")
        own = isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras", "builtins")
        if isinstance(name, str) and isinstance(module, str) and not own:
            called = node["config"] if name == "function" else name
            yield str(called), module, str(registered or called)
        elif isinstance(name, str) and isinstance(registered, str) and ">" in registered:
            yield name, "", registered  # registered without a module of its own
        for value in node.values():
            yield from foreign_modules(value)
    elif isinstance(node, list):
        for value in node:
            yield from foreign_modules(value)
