"""Images that are read while those before them are in use."""

import threading
import time

import numpy as np
import pytest

from sanity.data import Images
from sanity.data.ahead import read_ahead
from sanity.data.pixels import Pixels
from sanity.errors import ConfigError
from sanity.results.units import cut_groups


class Counted(Pixels):
    """Images of one value each, which are told when they are read, the first ones last."""

    size = (2, 3, 1)

    def __init__(self, count, broken=None):
        self.count, self.broken = count, broken
        self.seen, self.lock = [], threading.Lock()

    def __len__(self):
        return self.count

    def read(self, indices):
        time.sleep(0.002 * (indices[0] % 3 == 0))
        with self.lock:
            self.seen += indices
        if self.broken in indices:
            raise ConfigError("it is broken")
        return np.tile(np.array(indices, np.float32)[:, None, None, None], (1, *self.size))


def images_of(x):
    n = len(x)
    return Images(x, [f"i{k}" for k in range(n)], list(range(n)), [None] * n, [""] * n)


@pytest.mark.parametrize("size", [1, 3, 32])
@pytest.mark.parametrize("in_memory", [True, False])
def test_groups_come_in_order_and_few_are_held(size, in_memory):
    pixels = Counted(100)
    images = images_of(np.asarray(pixels) if in_memory else pixels)
    pixels.seen.clear()
    groups = cut_groups(100, size)[1:]  # some are done already
    with read_ahead(images, groups) as read:
        for group, some in zip(groups, read, strict=True):
            assert some.labels == list(group) and isinstance(some.x, np.ndarray)
            assert some.x[:, 0, 0, 0].tolist() == list(group)
            assert len(pixels.seen) <= group.stop + max(16, size)
    assert sorted(pixels.seen) == ([] if in_memory else list(range(size, 100)))


def test_what_cannot_be_read_is_said_when_it_is_asked_for():
    pixels = Counted(100, broken=9)
    with read_ahead(images_of(pixels), cut_groups(100, 4)) as read:
        assert len(next(read)) == len(next(read)) == 4
        with pytest.raises(ConfigError, match="it is broken"):
            next(read)
    assert len(pixels.seen) < 50  # what waited is not read any more
    assert threading.active_count() < 50


def test_pixels_are_like_an_array():
    pixels = Counted(5)
    assert pixels.shape == (5, 2, 3, 1) and repr(pixels) == "Counted(5×2×3×1)"
    assert pixels[-1].shape == (2, 3, 1) and pixels[-1].max() == 4
    assert pixels[1:3].shape == (2, 2, 3, 1) and pixels[[]].shape[0] == 0
    assert np.asarray(pixels)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        pixels[5]
