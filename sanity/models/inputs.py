"""What a model takes, and how images (n, height, width, channels) become that."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import ConfigError

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

Size = tuple[int | None, ...]
_WHAT = "batch × height × width × channels"


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: As the model calls it.
        shape: With the batch, None for what it leaves open; None as a whole if all is open.
        dtype: TensorFlow's.
        channels: Which of its four axes has them, where the network says so.
    """

    name: str
    shape: Size | None
    dtype: Any
    channels: int | None = None

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else [*self.shape]
        return f"{self.name}: {self.dtype.name} {shape}"


@dataclass(frozen=True)
class Fitted:
    """A model as a function of images.

    Attributes:
        function: From float32 images (n, height, width, channels), scaled as the model wants them.
        shape: (height, width, channels), None for what it leaves open.
        scale: What 0 and 1 become, a number a channel, where the model itself says so.
        decodes: Whether it decodes files, and so scales its images itself.
        variables: Those that TensorFlow would no longer know it uses, by name.
    """

    function: Callable[[Any], Any]
    shape: Size
    scale: tuple[np.ndarray, np.ndarray] | None = None
    decodes: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)


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
    import tensorflow as tf

    from sanity.network.network import as_dict

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
        from sanity.models.entering import enter

        return enter(of_images, image, asked, key)
    image = replace(image, channels=_channels(of_images, image))
    shape, arranged = arrangement(image, asked, key)
    return Fitted(lambda images: of_images(tf.cast(arranged(images), image.dtype)), shape)


def _chosen(
    inputs: Sequence[Input], given: Mapping[str, Any], key: str
) -> tuple[Input, dict[str, tuple[Any, bool]]]:
    """The input for the images; the others' values, and whether each is one for all images."""
    import tensorflow as tf

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
        raise ConfigError(f"{key} must have one input, images ({_WHAT}); it has: {described}{hint}")
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


def arrangement(
    image: Input, asked: Sequence[int] | None, key: str
) -> tuple[Size, Callable[[Any], Any]]:
    """(height, width, channels) of an input, and what brings images into its arrangement.

    Raises:
        ConfigError: It takes no images.
    """
    import tensorflow as tf

    if image.shape is None:
        return (None, None, None), lambda images: images
    own = image.shape[1:]
    if len(own) == 3:
        if _is_first(image, asked):
            log.info("%s takes its channels before height and width: %s", key, list(own))
            return (own[1], own[2], own[0]), lambda images: tf.transpose(images, [0, 3, 1, 2])
        return own, lambda images: images
    if len(own) == 2:
        log.info("%s takes images without a channel: %s", key, list(own))
        return (*own, 1), lambda images: tf.squeeze(images, -1)
    if len(own) == 1 and asked is not None and own[0] in (None, int(np.prod(asked))):
        log.info("%s takes images as vectors: %s", key, list(own))
        length = int(np.prod(asked))
        return tuple(asked), lambda images: tf.reshape(images, [-1, length])
    hint = "; model.input_shape=[height,width,channels] says which images make the vector"
    raise ConfigError(
        f"{key} takes no images (float32, {_WHAT}), but {image}{hint if len(own) == 1 else ''}"
    )


_MOST_CHANNELS = 13  # as Sentinel-2's; where more stand last, they are a width


def _channels(function: Callable[[Any], Any], image: Input) -> int | None:
    """Which axis of an input has the channels, where its shape leaves a doubt and the network none.

    Args:
        function: From the input to the outputs.
        image: The input.
    """
    if image.shape is None or len(image.shape) != 4 or _is_last(image.shape[1:]):
        return None
    import tensorflow as tf

    from sanity.network.anatomy.channels import channel_axis
    from sanity.network.flatten import flatten

    spec = tf.TensorSpec(image.shape, image.dtype, name="images")
    return channel_axis(flatten(tf.function(function).get_concrete_function(spec)))


def _is_last(own: Size) -> bool:
    """Whether a shape of three is that of channels last, beyond doubt."""
    return own[2] in (1, 3) and own[0] not in (1, 3)


def _is_first(image: Input, asked: Sequence[int] | None) -> bool:
    """Whether an input has its channels before height and width.

    It is what the network says, else what fits the images asked for, else what is usual.
    """
    assert image.shape is not None
    own = image.shape[1:]
    if image.channels is not None or _is_last(own):
        return image.channels == 1
    if asked is not None:
        height, width, channels = asked
        fits = [
            all(size in (None, wanted) for size, wanted in zip(own, order, strict=True))
            for order in ((channels, height, width), (height, width, channels))
        ]
        if fits[0] != fits[1]:
            return fits[0]
    few = own[0] is not None and own[0] <= _MOST_CHANNELS
    wide = own[2] is None or own[2] > _MOST_CHANNELS
    return few and wide and (own[0] in (1, 3) or own[1] == own[2])
