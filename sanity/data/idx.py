"""Images and labels in MNIST's file format."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from sanity.errors import ConfigError

PARTS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_BYTES = 0x08  # the code of unsigned bytes, the only type that such data sets have


def read_splits(folder: Path, key: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (n, height, width) and labels (n,), uint8, of both splits in a folder.

    The four files have their original names, packed (`.gz`) or not.

    Raises:
        ConfigError: One is missing or damaged, or images and labels are not equally many.
    """
    found = {}
    for split, (images, labels) in PARTS.items():
        x, y = (_read(_file(folder, name, key), key) for name in (images, labels))
        if x.ndim != 3 or y.shape != x.shape[:1]:
            raise ConfigError(
                f"{key}={folder}: {images} and {labels} hold arrays of shape {x.shape} and "
                f"{y.shape}, not of so many images and as many labels"
            )
        found[split] = (x, y)
    return found


def _file(folder: Path, name: str, key: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise ConfigError(
        f"{key}={folder} has no {name}.gz; all four files of the data set belong there"
    )


def _read(path: Path, key: str) -> np.ndarray:
    """An array of bytes: two zeros, type, number of dimensions, their sizes, values."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise ConfigError(f"{key}: {path} cannot be read, get it anew: {error}") from error
    if zeros or kind != _BYTES or values.size != np.prod(shape, dtype=np.int64):
        raise ConfigError(f"{key}: {path} is no whole file of MNIST's format, get it anew")
    return values.reshape(shape)
