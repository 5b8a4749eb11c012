"""Outputs that are a vector at each of many places: segmentation maps, detection boxes."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import tensorflow as tf

from sanity.errors import ConfigError

# Over all places, or the one of these numbers, from 0.
Reduce = Literal["mean", "max"] | Sequence[int]


def make_vector(values: Any, reduce: Reduce | None, places: tuple[int, ...]) -> Any:
    """Values (n, *places, c) as vectors (n, c)."""
    axes = list(range(1, len(places) + 1))
    if reduce == "mean":
        return tf.reduce_mean(values, axes)
    if reduce == "max":
        return tf.reduce_max(values, axes)
    chosen = [0] * len(places) if reduce is None else list(map(int, reduce))
    return values[(slice(None), *chosen)]


def check_reduce(
    reduce: Reduce | None, places: tuple[int, ...], size: int, output: str, model: str
) -> None:
    """Makes sure that one vector an image is left of an output.

    Args:
        reduce: What is asked for.
        places: How many places the output has, along each axis; none if it is a vector.
        size: How many numbers there are at each.
        output: Its name.
        model: What messages call the model.

    Raises:
        ConfigError: It is none of its places, or nothing is asked for and there are several.
    """
    shape = "×".join(map(str, places))
    if not places:
        if reduce is not None:
            raise ConfigError(
                f"model.reduce={_said(reduce)} is for an output with several places: {output} of "
                f"{model} is a vector of {size} already, so leave model.reduce at null"
            )
        return
    one = _said([length // 2 for length in places])
    if reduce is None and prod(places) > 1:
        raise ConfigError(
            f"model.reduce must say how {output} of {model}, {size} numbers at each of {shape} "
            f"places, becomes the vector that is explained: mean or max over the places, or one of "
            f"them, such as model.reduce={one}"
        )
    if reduce is None or isinstance(reduce, str):
        return
    inside = len(reduce) == len(places)
    if not inside or not all(0 <= i < length for i, length in zip(reduce, places, strict=True)):
        raise ConfigError(
            f"model.reduce={_said(reduce)} is no place of {output} of {model}, which has {shape}, "
            f"counted from 0: such as model.reduce={one}"
        )


def describe_reduction(reduce: Reduce | None, places: tuple[int, ...]) -> str:
    """What was made of the places, in words; `""` where there was but one."""
    if reduce is None:
        return ""
    shape = "×".join(map(str, places))
    if isinstance(reduce, str):
        return f"the {'mean' if reduce == 'mean' else 'maximum'} over {shape} places"
    return f"the place {_said(reduce)} of {shape}"


def _said(reduce: Reduce) -> str:
    return reduce if isinstance(reduce, str) else f"[{','.join(map(str, reduce))}]"
