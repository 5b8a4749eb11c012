"""Modules in TF Hub's formats, through `tensorflow_hub`."""

from collections.abc import Callable
from typing import Any


def signature(handle: str, name: str = "serving_default") -> Callable[[Any], dict[str, Any]]:
    """A module's signature as a function from images to its outputs by name.

    Args:
        handle: A URL or a local folder.
        name: Of the signature.
    """
    import tensorflow_hub as hub

    module = hub.load(handle)
    function = module.signatures[name]
    (argument,) = function.structured_input_signature[1]

    def call(images: Any) -> dict[str, Any]:
        return function(**{argument: images})

    call.module = module  # type: ignore[attr-defined] # owns the variables
    return call
