"""What this machine's kernels do: measured on TensorFlow alone, and so not by what is tested.

Which kernel is taken hangs on the processor, and on how many images there are: with AVX-512 and
SSE 4.1 each image's result is the same to the bit in any batch, with AVX2, and without oneDNN,
large matrix products are so but for rounding.
"""

from functools import cache

import numpy as np
import tensorflow as tf

from sanity.network.rows import LEAST_ROWS

ROUNDING = 1e-5  # of the greatest value of an image
_MOST = 16  # images of a batch


@cache
def images_are_independent():
    """Whether an image's convolutions and products are the same bits whatever batch it is in."""
    draw = np.random.default_rng(0).standard_normal
    for size, channels, filters, window, stride in [
        *((12, 3, 6, 3, 2), (17, 8, 12, 3, 1), (9, 32, 24, 3, 1), (33, 3, 32, 3, 2)),
        *((12, 8, 16, 1, 1), (14, 32, 96, 1, 1), (7, 96, 320, 1, 1)),
    ]:
        images = tf.constant(draw((_MOST, size, size, channels)), tf.float32)
        kernel = tf.constant(draw((window, window, channels, filters)), tf.float32)
        features = tf.nn.conv2d(images, kernel, stride, "SAME")

        def convolve(x, kernel=kernel, stride=stride):
            return tf.nn.conv2d(x, kernel, stride, "SAME")

        def convolve_back(y, kernel=kernel, stride=stride, shape=images.shape[1:]):
            return tf.nn.conv2d_transpose(y, kernel, [len(y), *shape], stride, "SAME")

        if not (_the_same(convolve, images) and _the_same(convolve_back, features)):
            return False
    for inputs, outputs in [(6, 4), (16, 7), (24, 7), (320, 1000), (1280, 1000)]:
        kernel = tf.constant(draw((inputs, outputs)), tf.float32)
        features = tf.constant(draw((_MOST, inputs)), tf.float32)
        if not _the_same(lambda x, kernel=kernel: x @ kernel, features):
            return False
    return True


def _the_same(function, images):
    whole = function(images).numpy()
    return all(
        np.array_equal(function(images[:count]), whole[:count])
        for count in range(LEAST_ROWS, len(images))
    )


@cache
def computes(kind):
    """Whether there is a kernel for convolutions of a type of numbers."""
    try:
        tf.nn.conv2d(tf.ones([2, 6, 6, 3], kind), tf.ones([3, 3, 3, 4], kind), 1, "SAME")
    except tf.errors.OpError:
        return False
    return True


def assert_images_equal(found, expected, message=""):
    """To the bit where kernels take images independently, else but for `ROUNDING`.

    Args:
        found: (n, …).
        expected: The same, of other batches.
        message: What failed.
    """
    if images_are_independent():
        np.testing.assert_array_equal(found, expected, message)
        return
    for one, other in zip(found, expected, strict=True):
        limit = ROUNDING * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=limit, err_msg=message)
