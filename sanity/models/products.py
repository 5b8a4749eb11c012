"""Products of stacks of matrices, as converted models have them."""

from typing import Any

import tensorflow as tf


def multiply(left: Any, right: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """As `tf.matmul`, with one axis before the last two where the right has a single matrix.

    With more of them, one of which is 1, TensorFlow 2.21 computes it wrongly by oneDNN's kernels
    for AVX512 and AMX, or falls: windowed attention has such where an image is one window.
    """
    single = all(size == 1 for size in right.shape[:-2])
    known = None not in left.shape[-2:] and (len(right.shape) == 2 or None not in right.shape)
    if not (single and known and 3 < len(left.shape) >= len(right.shape)):
        return tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)
    left = tf.linalg.matrix_transpose(left) if transpose_a else left
    right = right if len(right.shape) == 2 else tf.reshape(right, right.shape[-2:])
    shape = tf.shape(left)
    opened = [size for size in left.shape if size is None]
    sizes = [
        size if size is not None else -1 if len(opened) == 1 else shape[axis]
        for axis, size in enumerate(left.shape)
    ]
    product = tf.matmul(tf.reshape(left, [-1, *sizes[-2:]]), right, transpose_b=transpose_b)
    return tf.reshape(product, [*sizes[:-1], product.shape[-1] or tf.shape(product)[-1]])
