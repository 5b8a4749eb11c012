"""The precision of a network's products, as `precision` names it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.devices import device_name, has_card
from sanity.network.passes.bfloat16 import check_bfloat16

Precision = Literal["float32", "tf32", "bfloat16"]
_AMPERE = (8, 0)  # compute capability of the first graphics cards that multiply in TF32
_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
_used: set[bool] = set()  # whether this process has multiplied in TF32 on a card, or not in it


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Has products of float32 on a graphics card computed in TF32, or in float32.

    Raises:
        ConfigError: See `check_precision`.
    """
    if has_card():
        _check_alone(precision)
        _used.add(precision == "tf32")
    with setting_tf32(precision == "tf32"):
        yield


@contextmanager
def setting_tf32(wanted: bool) -> Iterator[None]:
    """Turns TF32 on or off, and on or off as it was again afterwards.

    TensorFlow takes it by default where there is any: 10 bits of a factor's 23 then count. The
    setting is the process's own.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(wanted)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def check_precision(precision: Precision) -> None:
    """Refuses what this device would not compute, or compute otherwise.

    Raises:
        ConfigError: This device has none, or this process has multiplied otherwise: TensorFlow
            keeps a convolution's kernel, chosen for the one or the other, by the sizes alone.
    """
    _check_alone(precision)
    if precision == "bfloat16":
        check_bfloat16()
    if precision == "tf32":
        _check_tf32()


def _check_alone(precision: Precision) -> None:
    if _used - {precision == "tf32"}:
        other = "without TF32" if precision == "tf32" else "in TF32"
        raise ConfigError(
            f"precision={precision} cannot follow what this process has computed {other}, whose "
            "kernels TensorFlow keeps on a graphics card: give it a command of its own"
        )


def _check_tf32() -> None:
    cards = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(card) for card in cards]
    if not details or any(_AMPERE > card.get("compute_capability", (0, 0)) for card in details):
        raise ConfigError(
            "precision=tf32 cannot be computed here: it needs a graphics card of NVIDIA's, from "
            f"Ampere on, and TensorFlow finds another device ({device_name()}); take "
            "precision=float32"
        )
    if os.environ.get(_OVERRIDE) == "0":
        raise ConfigError(
            f"precision=tf32 cannot be computed while the environment has {_OVERRIDE}=0: unset it, "
            "or take precision=float32"
        )
