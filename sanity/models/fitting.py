"""A model as a function of images alone, whatever else it takes and however it takes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.entering import enter
from sanity.models.inputs import WHAT, Fitted, Input, arrangement, is_last
from sanity.network.anatomy.channels import channel_axis
from sanity.network.flatten import flatten
from sanity.network.network import as_dict


def fit(
    function: Callable[[dict[str, Any]], Any],
    inputs: Sequence[Input],
    given: Mapping[str, Any],
    asked: Sequence[int] | None,
    key: str,
) -> Fitted:
    """The model as a function of images alone.

    Whole numbers and encoded files have no gradient: such a model is entered where it has turned
    them into floating point. A fixed batch size is opened, if that changes no output.

    Args:
        function: From all inputs by name to the outputs.
        inputs: What it takes.
        given: Values of the inputs that are no images.
        asked: `model.input_shape`.
        key: What messages call it: `model.path=…`.

    Raises:
        ConfigError: There is not one input for images, or no gradient would lead to it.
    """
    image, constants = _chosen(inputs, given, key)

    def of_images(images: Any) -> dict[str, Any]:
        count = tf.shape(images)[0]
        repeated = {
            name: value if value.shape.rank == 0 and fixed else tf.repeat(value[None], count, 0)
            for name, (value, fixed) in constants.items()
        }
        return as_dict(function({image.name: images, **repeated}))

    batch = image.shape[0] if image.shape else None
    if image.dtype == tf.string or not image.dtype.is_floating or batch is not None:
        return enter(of_images, image, asked, key)
    image = replace(image, channels=_channels(of_images, image))
    shape, arranged = arrangement(image, asked, key)
    return Fitted(lambda images: of_images(tf.cast(arranged(images), image.dtype)), shape)


def _chosen(
    inputs: Sequence[Input], given: Mapping[str, Any], key: str
) -> tuple[Input, dict[str, tuple[Any, bool]]]:
    """The input for the images; the others' values, and whether each is one for all images."""
    known = {one.name: one for one in inputs}
    described = ", ".join(map(str, inputs)) or "none"
    for name in given:
        if name not in known:
            raise ConfigError(f"model.inputs.{name} is no input of {key}; there are: {described}")
    left = [one for one in inputs if one.name not in given]
    if len(left) != 1:
        others = [one for one in left if one.shape is not None and len(one.shape) < 3]
        example = (others or left or [Input("NAME", None, None)])[-1].name
        way = f"model.inputs.{example}=VALUE"
        if "/" in example:  # no key of Hydra's
            way = f"'model.inputs={{{example}: VALUE}}'"
        hint = f"; {way} gives one that takes no images a value"
        raise ConfigError(f"{key} must have one input, images ({WHAT}); it has: {described}{hint}")
    constants = {}
    for name, value in given.items():
        one = known[name]
        shape = [] if one.shape is None else [1 if size is None else size for size in one.shape[1:]]
        try:
            array = np.asarray(value, one.dtype.as_numpy_dtype)
            array = np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(shape)))
            if one.shape is not None and array.ndim != len(shape):
                raise ValueError("too many dimensions")
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"model.inputs.{name}={value} does not fit: {key} takes {one}, a value of shape "
                f"{shape} for all images"
            ) from error
        constants[name] = tf.constant(array), one.shape == ()
    return left[0], constants


def _channels(function: Callable[[Any], Any], image: Input) -> int | None:
    """Which axis of an input has the channels, where its shape leaves a doubt and the network none.

    Args:
        function: From the input to the outputs.
        image: The input.
    """
    if image.shape is None or len(image.shape) != 4 or is_last(image.shape[1:]):
        return None
    spec = tf.TensorSpec(image.shape, image.dtype, name="images")
    return channel_axis(flatten(tf.function(function).get_concrete_function(spec)))
