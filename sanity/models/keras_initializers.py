"""The initializers that a Keras model's variables were made with."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def own_initializers(model: Any) -> dict[str, Draw]:
    """What `Classifier.initializers` takes, by the variables' paths.

    A layer says so by the attributes that Keras' own layers have: `kernel_initializer` for
    `kernel`, `gamma_initializer` for `gamma`. Layers that don't are left out.

    Args:
        model: A Keras 3 model.
    """
    found = {}
    for layer in _layers(model):
        for variable in layer.variables:
            initializer = _initializer(layer, variable.path.split("/")[-1])
            if initializer is not None:
                found[variable.path] = _keyed(initializer)
    return found


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def _initializer(layer: Any, variable: str) -> Any:
    names = [variable, variable.removesuffix("_kernel")]  # depthwise_kernel: depthwise_initializer
    if variable == "kernel":
        names.append("depthwise")  # DepthwiseConv2D calls its kernel just that
    for name in names:
        initializer = getattr(layer, f"{name}_initializer", None)
        if hasattr(initializer, "get_config"):
            return initializer
    return None


def _keyed(initializer: Any) -> Draw:
    """The initializer with a seed that is drawn for each call, if it takes one."""
    config = initializer.get_config()

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        seeded = {"seed": int(random.integers(2**31))} if "seed" in config else {}
        made = type(initializer).from_config({**config, **seeded})
        return np.asarray(made(shape, dtype="float32"))

    return draw
