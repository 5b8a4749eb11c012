"""What a model takes, and how images (n, height, width, channels) are arranged for it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sanity.errors import ConfigError

log = logging.getLogger(__name__)

Size = tuple[int | None, ...]
WHAT = "batch × height × width × channels"


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
        f"{key} takes no images (float32, {WHAT}), but {image}{hint if len(own) == 1 else ''}"
    )


_MOST_CHANNELS = 13  # as Sentinel-2's; where more stand last, they are a width


def is_last(own: Size) -> bool:
    """Whether a shape of three is that of channels last, beyond doubt."""
    return own[2] in (1, 3) and own[0] not in (1, 3)


def _is_first(image: Input, asked: Sequence[int] | None) -> bool:
    """Whether an input has its channels before height and width.

    It is what the network says, else what fits the images asked for, else what is usual.
    """
    assert image.shape is not None
    own = image.shape[1:]
    if image.channels is not None or is_last(own):
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
