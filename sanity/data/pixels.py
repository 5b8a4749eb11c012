"""Pixels that are read when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np


class Pixels(ABC):
    """Images (n, height, width, channels), float32 in [0, 1], like an array that is not in memory.

    `pixels[3]`, `pixels[2:5]` and `pixels[[4, 0]]` read some of them, `numpy.asarray` all.

    Attributes:
        size: (height, width, channels).
    """

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)
    size: tuple[int, int, int]

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Those at these positions, (k, height, width, channels), float32 in [0, 1].

        It may be called by several threads at a time.

        Raises:
            ConfigError: One cannot be read.
        """

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, height, width, channels)."""
        return (len(self), *self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'×'.join(map(str, self.shape))})"

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        chosen = np.arange(len(self))[which]
        if not np.size(chosen):
            return np.empty((0, *self.size), np.float32)
        found = self.read([int(i) for i in np.atleast_1d(chosen)])
        return found if np.ndim(chosen) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.read(range(len(self))), dtype)
