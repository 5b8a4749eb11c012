"""Sums over a batch's rows, taken on the device that holds them."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf


def weighted_sums(
    batch: Any,
    wanted: Sequence[tuple[Sequence[int], Sequence[float]]],
    *,
    power: int = 1,
    factors: Any = None,
) -> Any:
    """The sums of weight · row, or of a power of it, times the row's factor: (sums, …) float64.

    A row that is in no sum has no part in it, not even where it is infinite or NaN.

    Args:
        batch: (n, …), a tensor.
        wanted: Positions of the rows of each sum, and the weight of each.
        power: Of the rows.
        factors: (n, …), what each row is multiplied by, or its power; None for 1.
    """
    chosen = np.concatenate([rows for rows, _ in wanted]).astype(np.int32)
    each = np.concatenate([weights for _, weights in wanted]).astype(np.float64)
    borders = np.cumsum([0, *(len(rows) for rows, _ in wanted)]).astype(np.int32)
    given = tf.ones([1] * batch.shape.rank, tf.float64) if factors is None else factors
    add_up = _traced(batch.shape.rank, batch.dtype, given.dtype, power, factors is not None)
    return add_up(batch, given, chosen, each, borders)


@cache
def _traced(
    rank: int, dtype: tf.DType, kind: tf.DType, power: int, factored: bool
) -> Callable[..., Any]:
    """The sums for batches and factors of any sizes, but of these types: traced once."""

    def add_up(batch: Any, factors: Any, rows: Any, weights: Any, borders: Any) -> Any:
        def one(number: Any) -> Any:
            own = slice(borders[number], borders[number + 1])
            terms = tf.cast(tf.gather(batch, rows[own]), tf.float64)
            if power != 1:
                terms **= power
            if factored:
                terms *= tf.cast(tf.gather(factors, rows[own]), tf.float64)
            return tf.tensordot(weights[own], terms, 1)

        spec = tf.TensorSpec([None] * (rank - 1), tf.float64)
        count = tf.range(tf.size(borders) - 1)
        return tf.map_fn(one, count, fn_output_signature=spec, parallel_iterations=1)

    specs = [
        tf.TensorSpec([None] * rank, dtype),
        tf.TensorSpec([None] * rank, kind),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.float64),
        tf.TensorSpec([None], tf.int32),
    ]
    traced: Callable[..., Any] = tf.function(add_up, input_signature=specs, autograph=False)
    return traced
