"""Products of stacks of matrices, against NumPy's."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.models.products import multiply


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 1, 16, 8), (8, 8)),
        ((3, 1, 16, 8), (1, 1, 8, 24)),
        ((8, 1, 49, 8), (1, 8, 8)),
        ((2, 3, 5, 8), (8, 4)),
        ((2, 3, 5, 8), (2, 3, 8, 4)),
        ((2, 1, 5, 8), (1, 3, 8, 4)),
        ((5, 8), (1, 1, 8, 4)),
    ],
)
def test_products_are_numpys(left, right, turned, opened):
    """Of some, TensorFlow's own are noise on some processors, or end the process."""
    draw = np.random.default_rng(0)
    values = [draw.standard_normal(shape).astype(np.float32) for shape in (left, right)]
    given = [np.swapaxes(x, -1, -2) if turn else x for x, turn in zip(values, turned, strict=True)]
    sizes = [list(x.shape) for x in given]
    if opened:
        sizes[0][0] = None
    specs = [tf.TensorSpec(size) for size in sizes]
    function = tf.function(
        lambda a, b: multiply(a, b, transpose_a=turned[0], transpose_b=turned[1])
    )
    found = function.get_concrete_function(*specs)(*map(tf.constant, given))
    np.testing.assert_allclose(found, values[0] @ values[1], rtol=1e-4, atol=1e-4)
