"""Masks on disk: a Zarr group that xarray reads as one dataset with labelled coordinates.

Written directly, one chunk for each mask, as xarray's own writing by region costs far more than
the masks themselves.
"""

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from sanity.errors import ConfigError
from sanity.files import check_codecs, quiet, remove, sync, writing
from sanity.results.tables import damage

COORDINATES = ("image", "stage", "layer", "channel")
DIMENSIONS = ("image", "stage", "y", "x", "channel")
TAKEN = tuple(dict.fromkeys(COORDINATES + DIMENSIONS))  # names that no method can have

Shapes = Mapping[str, tuple[int, ...]]
Layout = tuple[list[str], list[str], dict[str, tuple[int, ...]]]


def masks_nbytes(n_images: int, n_stages: int, shapes: Shapes | Iterable[tuple[int, ...]]) -> int:
    """The size in bytes of the masks before compression, which saves some 5 to 40 %.

    Args:
        n_images: How many images' masks are kept.
        n_stages: How many stages there are, stage 0 included.
        shapes: Each method's mask shape, (H, W) or (H, W, C).
    """
    each = shapes.values() if isinstance(shapes, Mapping) else shapes
    return 4 * n_images * n_stages * sum(math.prod(shape) for shape in each)


def pack_images(names: Sequence[str], images: np.ndarray) -> bytes:
    """The content of `images.npz`: names, and images (n, H, W, C) in [0, 1] with 8 bits."""
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array(list(names), dtype=str), images=pixels)
    return buffer.getvalue()


class MaskStore:
    """The masks of a run's first images, float32, NaN where nothing is written yet."""

    def __init__(self, path: Path, n_images: int, arrays: dict[str, Any]):
        self.path = path
        self.n_images = n_images
        self._arrays = arrays
        self._unsynced: list[Path] = []

    @classmethod
    def create(cls, path: Path, layout: Layout) -> Self:
        """Makes an empty store in place of what is at `path`."""
        temporary = path.with_name(f".{path.name}.tmp")
        with writing(path):
            remove(temporary)
            _create(temporary, *layout)
            remove(path)
            os.replace(temporary, path)
        return cls.open(path, layout)

    @classmethod
    def open(cls, path: Path, layout: Layout) -> Self:
        """Opens a store that has this layout, and removes what a killed process left in it."""
        with writing(path):
            for stray in path.rglob("*.partial"):
                stray.unlink()
        with quiet():
            group = _open(path, "r+")
            return cls(path, len(layout[0]), {name: group[name] for name in layout[2]})

    def write(self, method: str, start: int, stage: int, masks: np.ndarray) -> None:
        """Stores the masks, (n, H, W[, C]), of the images from `start` on; drops those beyond."""
        array = self._arrays[method]
        if masks.shape[1:] != array.shape[2:]:
            raise ConfigError(
                f"method.{method} gives masks of the shape {masks.shape[1:]} after those of the "
                f"shape {array.shape[2:]}: they must be of one shape at all stages"
            )
        stop = min(start + len(masks), self.n_images)
        if stop <= start:
            return
        with writing(self.path):
            array[start:stop, stage] = np.asarray(masks[: stop - start], np.float32)
        tail = [str(stage)] + ["0"] * (masks.ndim - 1)
        folder = self.path / method / "c"
        self._unsynced += [folder.joinpath(str(image), *tail) for image in range(start, stop)]

    def read(self, method: str, start: int, stop: int, stage: int) -> np.ndarray:
        """The masks of some images at one stage, float32 (n, H, W[, C]).

        Raises:
            ConfigError: The store is damaged.
        """
        if not 0 <= start <= stop <= self.n_images:
            raise ValueError(f"images {start} to {stop}, but the first {self.n_images} are kept")
        try:
            return np.asarray(self._arrays[method][start:stop, stage])
        except Exception as error:  # the codecs' errors have nothing in common
            raise damage(self.path / method) from error

    def sync(self) -> None:
        """Puts what was written on the disk, so that a power cut cannot take it back."""
        with writing(self.path):
            for path in self._unsynced:
                with suppress(FileNotFoundError):  # a chunk of nothing but NaN is not stored
                    sync(path)
        self._unsynced = []


def layout_of(images: Sequence[str], stages: Sequence[str], methods: Shapes) -> Layout:
    """What tells one store from another: names of images, layers of stages, shapes of masks.

    Raises:
        ConfigError: The methods' masks do not fit into one dataset.
    """
    shapes = {name: tuple(shape) for name, shape in methods.items()}
    if clash := set(shapes) & {*TAKEN}:
        raise ConfigError(f"no method can be called {clash.pop()}: give it another name")
    if (
        len({s[:2] for s in shapes.values()}) > 1
        or len({s[2:] for s in shapes.values()} - {()}) > 1
    ):
        raise ConfigError(
            "masks of one run need one height, width and number of channels, if they have any, "
            f"which is not so of {', '.join(f'{k} {v}' for k, v in shapes.items())}"
        )
    return list(images), list(stages), shapes


def read_layout(path: Path) -> Layout | None:
    """The layout of the store at `path`; None if there is no whole one."""
    try:
        with quiet():
            group = _open(path, "r")
            images, layers = ([str(v) for v in np.asarray(group[k])] for k in ("image", "layer"))
            arrays = {k: v for k, v in group.arrays() if k not in COORDINATES}
            return images, layers, {k: tuple(v.shape[2:]) for k, v in arrays.items()}
    except Exception:  # whatever is wrong with it, it has to be made anew
        return None


def _open(path: Path, mode: Any) -> Any:
    import zarr

    check_codecs(path)
    return zarr.open_group(path, mode=mode, zarr_format=3, use_consolidated=False)


def _create(
    path: Path, images: list[str], stages: list[str], methods: dict[str, tuple[int, ...]]
) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    labels: dict[str, tuple[str, Any, Any]] = {
        "image": ("image", str, images),
        "stage": ("stage", np.int64, range(len(stages))),
        "layer": ("stage", str, stages),
    }
    if depth := max(methods.values(), key=len)[2:]:
        names = list("rgb") if depth == (3,) else [str(i) for i in range(depth[0])]
        labels["channel"] = ("channel", str, names)
    # Blosc reads beyond a truncated chunk and returns what it finds; Zstandard with a checksum
    # refuses it, and is no slower.
    compressor = ZstdCodec(level=1, checksum=True)
    group = zarr.create_group(path, zarr_format=3)
    for name, shape in methods.items():
        group.create_array(
            name,
            shape=(len(images), len(stages), *shape),
            chunks=(1, 1, *shape),
            dtype=np.float32,
            fill_value=np.nan,
            compressors=compressor,
            dimension_names=DIMENSIONS[: 2 + len(shape)],
            attributes={
                "coordinates": "layer",  # CF: `layer` labels the stages
                "note": "a mask that float32 cannot hold is stored times the power of two by which "
                "its largest absolute value lies in [1, 2)",
            },
        )
    with quiet():
        for name, (dimension, kind, values) in labels.items():
            n = len(values)
            array = group.create_array(
                name, shape=(n,), chunks=(n,), dtype=kind, dimension_names=[dimension]
            )
            array[:] = np.array(values, object if kind is str else kind)
        zarr.consolidate_metadata(path, zarr_format=3)  # xarray warns where they are missing
