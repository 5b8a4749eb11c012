"""A Keras model's variables: what they are called, and what they were made with."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def variables(model: Any) -> dict[str, Any]:
    """TensorFlow's variables by their paths in a model of Keras 3 or 2: `conv/kernel`."""
    return {path: variable for _, path, variable in _named(model)}


def own_initializers(model: Any) -> dict[str, Draw]:
    """What `Classifier.initializers` takes, by the variables' paths.

    A layer says so by the attributes that Keras' own layers have: `kernel_initializer` for
    `kernel`, `gamma_initializer` for `gamma`. Layers that don't are left out.

    Args:
        model: Of Keras 3 or 2.
    """
    found: dict[str, Draw] = {}
    owners: dict[int, dict[int, list[Any]]] = {}  # of variables, by their layers
    for layer, path, variable in _named(model):
        name = variable.name.split(":")[0].split("/")[-1]
        if id(layer) not in owners:
            owners[id(layer)] = _owners(layer)
        for owner in owners[id(layer)].get(id(variable), ()):
            initializer = _initializer(owner, name)
            if initializer is not None:
                forgets = name == "bias" and getattr(owner, "unit_forget_bias", False)
                found[path] = _forgetting(_keyed(initializer)) if forgets else _keyed(initializer)
                break
    return found


def _owners(layer: Any) -> dict[int, list[Any]]:
    """A layer and those within it, by the ids of the variables they hold, the innermost first.

    A wrapper (TimeDistributed, Bidirectional) or a recurrent layer knows less than what it wraps.
    """
    inside = layer._flatten_layers() if hasattr(layer, "_flatten_layers") else [layer]
    held = [(one, one.variables) for one in inside]
    found: dict[int, list[Any]] = {}
    for one, variables in sorted(held, key=lambda pair: len(pair[1])):
        for variable in variables:
            found.setdefault(id(_own(variable)), []).append(one)
    return found


def _named(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """Layer, path and variable.

    A model within the model stands in a path only where the path would not be unique without it,
    and what is still equal gets a number, as TensorFlow's own names do.
    """
    found = list(_variables(model))
    often = Counter(path for _, _, path, _ in found)
    taken: Counter[str] = Counter()
    for layer, prefix, path, variable in found:
        path = prefix + path if often[path] > 1 else path
        number = taken[path]
        taken[path] += 1
        yield layer, f"{path}_{number}" if number else path, variable


def _variables(model: Any, prefix: str = "") -> Iterator[tuple[Any, str, str, Any]]:
    """Layer, the models around it, path and variable."""
    held: set[int] = set()
    for layer in model.layers:
        if hasattr(layer, "layers"):
            for found in _variables(layer, f"{prefix}{layer.name}/"):
                held.add(id(found[3]))
                yield found
            continue
        for variable in layer.variables:
            held.add(id(_own(variable)))
            yield layer, prefix, _path(variable), _own(variable)
    for variable in model.variables:  # of a model that is a class of its own
        if id(_own(variable)) not in held:
            yield model, prefix, _path(variable), _own(variable)


def _own(variable: Any) -> Any:
    return variable.value if hasattr(variable, "path") else variable


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", variable.name)).split(":")[0]


def _initializer(layer: Any, variable: str) -> Any:
    names = [variable, variable.removesuffix("_kernel")]  # depthwise_kernel: depthwise_initializer
    if variable == "kernel":
        names.append("depthwise")  # DepthwiseConv2D calls its kernel just that
    for name in names:
        initializer = getattr(layer, f"{name}_initializer", None)
        if hasattr(initializer, "get_config"):
            equation = getattr(layer, "equation", None)
            return _along(initializer, equation) if equation and name == "kernel" else initializer
    return None


def _along(initializer: Any, equation: str) -> Any:
    """An initializer told along which axes `EinsumDense` sums, as that layer tells its own."""
    config = initializer.get_config()
    if config.get("input_axes", ()) is not None:  # of no fans, of an older Keras, or told already
        return initializer
    operands, result = equation.replace(" ", "").split("->")
    given, kernel = operands.split(",")
    summed = [axis for axis, letter in enumerate(kernel) if letter not in result]
    new = [axis for axis, letter in enumerate(kernel) if letter in result and letter not in given]
    return type(initializer).from_config({**config, "input_axes": summed, "output_axes": new})


def _forgetting(draw: Draw) -> Draw:
    """An LSTM's biases: its forget gate's, the second of four, begin at 1 (`unit_forget_bias`)."""

    def with_ones(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = np.array(draw(random, shape))
        values[shape[0] // 4 : shape[0] // 2] = 1
        return values

    return with_ones


def _keyed(initializer: Any) -> Draw:
    """The initializer with a seed that is drawn for each call, if it takes one."""
    config = initializer.get_config()

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        seeded = {"seed": int(random.integers(2**31))} if "seed" in config else {}
        made = type(initializer).from_config({**config, **seeded})
        return np.asarray(made(shape, dtype="float32"))

    return draw
