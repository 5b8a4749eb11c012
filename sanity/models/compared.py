"""Whether a converted model gives what its own program does."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import ConfigError
from sanity.models.kinds import DETAILS

if TYPE_CHECKING:
    from sanity.models.module import Entry

log = logging.getLogger(__name__)

ROUNDING = 1e-3  # of an output's greatest value, where float32 is computed in another order
HALF = 0.05  # likewise, of float16


def check_outputs(
    expected: Mapping[str, np.ndarray],
    entry: "Entry",
    feeds: Mapping[str, np.ndarray],
    key: str,
    program: str,
    allowed: float = ROUNDING,
) -> None:
    """Makes sure that a model gives here what it gives in the program that it is from.

    Args:
        expected: Outputs of some images there, by name.
        entry: Computes them here; those of more than two axes with channels first or last.
        feeds: The images, and what else the model takes, by name.
        key: What messages call the model.
        program: Where it is from.
        allowed: How far an output may be off, of its greatest value.

    Raises:
        ConfigError: An output differs by more than rounding, or cannot be computed here.
    """
    import tensorflow as tf

    try:
        found = _outputs(entry, feeds)
    except tf.errors.OpError as error:  # as of float16 on a processor that has none
        log.debug("%s", error)
        raise ConfigError(
            f"{key} cannot be computed on this machine ({DETAILS}); export it in float32, if it is "
            "in another precision"
        ) from error
    for name, own in expected.items():
        values = np.asarray(found[name])
        turned = [np.moveaxis(values, -1, 1)] if values.ndim > 2 else []
        if not any(_agree(own, each, allowed) for each in [values, *turned]):
            raise ConfigError(
                f"{key} is not computed here as {program} does: its output {name} differs; have "
                "another converter make a SavedModel of it, for model=saved_model model.path=FOLDER"
            )


def _outputs(entry: "Entry", feeds: Mapping[str, np.ndarray]) -> Any:
    """What the model gives on a processor: a card would multiply in TF32, and then go on so."""
    import tensorflow as tf

    with tf.device("CPU"):
        given = {name: tf.constant(x) for name, x in feeds.items()}
        # A call would count as one of a function that is traced too often, which is warned of.
        return tf.function(entry.function).get_concrete_function(given)(given)


def _agree(a: np.ndarray, b: np.ndarray, allowed: float) -> bool:
    limit = allowed * max(np.abs(a[np.isfinite(a)]).max(initial=0), 1e-6)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=limit, equal_nan=True)
