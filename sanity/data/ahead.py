"""Images read on threads while those before them are in use."""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import numpy as np

from sanity.data.images import Images

_HELD = 16  # images that are read before they are asked for, or else a group of them
_PIECE = 4  # images that a thread reads at a time
_THREADS = 4  # at the most: they take turns with the network


@contextmanager
def read_ahead(images: Images, groups: Sequence[range]) -> Generator[Iterator[Images]]:
    """Inside, the images of each group in turn, in order, whoever reads them.

    No more are held than a group beside the one in use, or sixteen images of smaller groups.

    Args:
        images: All images.
        groups: Positions of those that are taken together.

    Raises:
        ConfigError: When a group is taken of which one cannot be read.
    """
    if isinstance(images.x, np.ndarray):
        yield map(images.take, groups)
        return
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        yield _taken(images, groups, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _taken(images: Images, groups: Sequence[range], pool: ThreadPoolExecutor) -> Iterator[Images]:
    waiting: deque[tuple[range, list[Future[np.ndarray]]]] = deque()
    left = iter(groups)

    def begin(count: int) -> None:
        for group in islice(left, count):
            pieces = [group[i : i + _PIECE] for i in range(0, len(group), _PIECE)]
            waiting.append((group, [pool.submit(images.x.__getitem__, p) for p in pieces]))

    begin(max(1, _HELD // max(map(len, groups), default=1)))
    while waiting:
        group, pieces = waiting.popleft()
        begin(1)
        yield images.with_pixels(group, np.concatenate([piece.result() for piece in pieces]))
