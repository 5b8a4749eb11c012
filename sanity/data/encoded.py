"""Pixels of encoded images, which lie in files, rows or records."""

import hashlib
import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sanity.data.images import Fit, Resample, Shape, decode, open_image, to_input
from sanity.data.pixels import Pixels


@dataclass(frozen=True, repr=False, kw_only=True)
class Encoded(Pixels):
    """Images that are decoded and resized when they are read.

    Attributes:
        names: Of the images, as damaged ones are called.
        size: (height, width, channels) that images are made to have.
        resample: See `Folder`.
        fit: See `Folder`.
    """

    names: Sequence[str]
    size: Shape
    resample: Resample
    fit: Fit

    @abstractmethod
    def content(self, index: int) -> bytes:
        """An image's encoded bytes."""

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Those at these positions, decoded and resized."""
        x = np.empty((len(indices), *self.size), np.float32)
        for place, index in enumerate(indices):
            name = Path(self.names[index])
            with open_image(io.BytesIO(self.content(index)), name) as image:
                picture = decode(image, name)
            x[place] = to_input(picture, self.size, self.resample, self.fit)
        return x

    def hashes(self, indices: Sequence[int]) -> Iterator[str]:
        """SHA-256 of some images' encoded bytes."""
        for index in indices:
            yield hashlib.sha256(self.content(index)).hexdigest()
