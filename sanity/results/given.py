"""Masks that were made elsewhere, in an .npz file or a Zarr store, read without running anything.

One array a method, image × stage × y × x[ × channel], the first stage that of the network as
trained; and beside them, where they are known, arrays of these names: `image` and `layer` (what
images and stages are called), `target` (the class explained of each image), `logits` (image × stage
× class), `images` (the pictures, image × y × x[ × channel], in [0, 1] or of 8 bits).
"""

import math
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sanity.errors import ConfigError
from sanity.files import check_codecs, quiet
from sanity.results.masks import COORDINATES, DIMENSIONS

T = TypeVar("T")
_ABOUT = ("image", "stage", "layer", "target", "logits", "images")
_BESIDE = 0.01  # how far an image's resizing may lead beyond [0, 1]
_FORM = "image × stage × y × x[ × channel]"


@dataclass(frozen=True)
class GivenMasks:
    """Masks by method, and what is known of them.

    Attributes:
        path: Where they lie.
        shapes: Of a mask, (H, W) or (H, W, C), by method.
        images: What the images are called.
        layers: What is randomized at each stage, `""` at stage 0.
        targets: (n,), the class explained of each image; -1 where it is not known.
        logits: (n, stages, classes) float64, None where they are not known.
        pictures: (n, H, W, C) float32 in [0, 1], None where there are none.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    images: list[str]
    layers: list[str]
    targets: np.ndarray
    logits: np.ndarray | None
    pictures: np.ndarray | None
    _read: Mapping[str, Callable[[slice, int], np.ndarray]]

    def read(self, method: str, images: range, stage: int) -> np.ndarray:
        """A method's masks of some images at a stage, (n, H, W[, C]) float64.

        Raises:
            ConfigError: They are damaged.
        """
        some = slice(images.start, images.stop)
        return _whole(self.path, lambda: self._read[method](some, stage))


def read_given(path: str | os.PathLike[str]) -> GivenMasks:
    """Opens masks made elsewhere.

    Args:
        path: An .npz file, or the folder of a Zarr store of either format.

    Raises:
        ConfigError: There are none, they are damaged, do not fit together, or would run code.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise ConfigError(f"{place} does not exist: MASKS is an .npz file or a Zarr folder")
    arrays = _open_zarr(place) if place.is_dir() else _open_npz(place)
    about = {name: arrays.pop(name).all() for name in _ABOUT if name in arrays}
    for name in DIMENSIONS:  # xarray's labels
        arrays.pop(name, None)
    _check_masks(place, arrays)
    first = next(iter(arrays.values())).shape
    n, stages = first[:2]
    about = {k: _checked(place, k, v, n, stages) for k, v in about.items()}
    layers = _names(about.get("layer"), [f"stage {k}" for k in range(stages)])
    pictures = about.get("images")
    if pictures is not None:
        pictures = pictures[..., None] if pictures.ndim == 3 else pictures
        pictures = pictures.astype(np.float32) / (255 if pictures.dtype.kind == "u" else 1)
    return GivenMasks(
        place,
        {name: array.shape[2:] for name, array in arrays.items()},
        _names(about.get("image"), [f"image_{i:0{len(str(n - 1))}}" for i in range(n)]),
        ["", *layers[1:]],
        about["target"].astype(np.int64) if "target" in about else np.full(n, -1),
        about["logits"].astype(np.float64) if "logits" in about else None,
        pictures,
        {name: array.part for name, array in arrays.items()},
    )


@dataclass(frozen=True)
class _Array:
    """An array that is read in parts."""

    shape: tuple[int, ...]
    kind: str  # NumPy's letter
    dimensions: tuple[str, ...]  # their names, none where they have none
    part: Callable[[slice, int], np.ndarray]
    all: Callable[[], np.ndarray]


def _open_npz(path: Path) -> dict[str, _Array]:
    """The arrays of an .npz file; nothing in it is unpickled."""
    if path.suffix.lower() != ".npz":
        raise ConfigError(f"{path} must be an .npz file or the folder of a Zarr store")

    def load() -> dict[str, np.ndarray]:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > (room := _memory()):
            raise ConfigError(
                f"{path} takes {size / 1e9:.3g} GB of the {room / 1e9:.3g} GB of memory: a Zarr "
                "store, which is read piece by piece, can be of any size"
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def opened(array: np.ndarray) -> _Array:
        def part(some: slice, stage: int) -> np.ndarray:
            return array[some, stage]

        return _Array(array.shape, array.dtype.kind, (), part, lambda: array)

    return {name: opened(array) for name, array in _whole(path, load).items()}


def _open_zarr(path: Path) -> dict[str, _Array]:
    """The arrays of a Zarr store; only codecs that make numbers and text are let in."""
    import zarr

    check_codecs(path)

    def load() -> dict[str, _Array]:
        with quiet():
            group: Any = zarr.open_group(path, mode="r", use_consolidated=False)
            return {name: _zarr_array(array) for name, array in group.arrays()}

    return _whole(path, load)


def _zarr_array(array: Any) -> _Array:
    """With its dimensions in order, where they are named."""
    named = array.metadata.to_dict().get("dimension_names") or array.attrs.get("_ARRAY_DIMENSIONS")
    order = list(range(array.ndim))
    known = bool(named) and set(named) <= set(DIMENSIONS) and len(set(named)) == array.ndim
    if known:
        order = [named.index(name) for name in DIMENSIONS if name in named]
    shape = tuple(array.shape[k] for k in order)

    def part(some: slice, stage: int) -> np.ndarray:
        where: list[Any] = [slice(None)] * array.ndim
        where[order[0]], where[order[1]] = some, slice(stage, stage + 1)
        with quiet():
            found = np.asarray(array[tuple(where)]).transpose(order)
        return found[:, 0]

    def everything() -> np.ndarray:
        with quiet():
            return np.asarray(array[...]).transpose(order)

    names = tuple(named[k] for k in order) if known else ()
    return _Array(shape, np.dtype(array.dtype).kind, names, part, everything)


def _check_masks(path: Path, arrays: Mapping[str, _Array]) -> None:
    """Refuses what is no masks of one set of images and stages (ConfigError)."""
    for name, array in arrays.items():
        if not re.fullmatch(r"\w[\w.+-]*", name) or name in COORDINATES:
            raise ConfigError(
                f"{path}: {name!r} must be a plain name of a method: letters, digits, _, -, +, ."
            )
        other = array.dimensions and array.dimensions[:4] != DIMENSIONS[:4]
        if array.kind not in "fiub" or len(array.shape) not in (4, 5) or 0 in array.shape or other:
            kind = f" of type {array.kind!r}" if array.kind not in "fiub" else ""
            shape = " × ".join(array.dimensions) if other else f"of shape {array.shape}"
            raise ConfigError(
                f"{path}: {name} is an array{kind} {shape}, and masks are numbers, {_FORM}"
            )
    if not arrays:
        raise ConfigError(f"{path} holds no masks: an array a method, {_FORM}, is wanted")
    one, first = next(iter(arrays.items()))
    for name, array in arrays.items():
        if array.shape[:4] != first.shape[:4]:
            raise ConfigError(
                f"{path}: {name} is {_times(array.shape[:4])} and {one} {_times(first.shape[:4])} "
                "(image × stage × y × x): all methods need the same"
            )
    depths = {name: array.shape[4] for name, array in arrays.items() if len(array.shape) == 5}
    if len(set(depths.values())) > 1:
        raise ConfigError(f"{path}: methods need one number of channels, not {depths}")
    if first.shape[1] < 2:
        raise ConfigError(f"{path} has one stage: masks of randomized networks come after it")


def _checked(path: Path, name: str, values: np.ndarray, n: int, stages: int) -> np.ndarray:
    """What goes with the masks, if it is of that kind."""
    wanted: dict[str, tuple[tuple[int, ...], str, str]] = {
        "image": ((n,), "USTOiu", "a name an image"),
        "stage": ((stages,), "iuf", "a number a stage"),
        "layer": ((stages,), "USTO", "a name a stage"),
        "target": ((n,), "iu", "a class an image"),
        "logits": ((n, stages), "f", "image × stage × class"),
        "images": ((n,), "fu", "image × y × x[ × channel], in [0, 1] or of 8 bits"),
    }
    shape, kinds, meant = wanted[name]
    deep = {"logits": (3,), "images": (3, 4)}.get(name, (1,))
    if (
        values.shape[: len(shape)] != shape
        or values.ndim not in deep
        or values.dtype.kind not in kinds
    ):
        raise ConfigError(
            f"{path}: {name} has the shape {values.shape} and the type {values.dtype}, and must be "
            f"{meant}, of {n} images and {stages} stages"
        )
    if name == "image" and len({str(v) for v in values.tolist()}) < n:
        raise ConfigError(f"{path}: two images have the same name")
    if wrong := _amiss(name, values):
        raise ConfigError(f"{path}: {name} {wrong}")
    return values


def _amiss(name: str, values: np.ndarray) -> str | None:
    """What is wrong with values that have the right shape and type; None if nothing is."""
    if name == "stage" and values.tolist() != list(range(len(values))):
        shown = ", ".join(f"{value:g}" for value in values[:4]) + ", …" * (len(values) > 4)
        return (
            f"is {shown}, and must be 0, 1, 2, …: all stages in their order, 0 as trained, since "
            "the early ones decide (without this array they are numbered as they stand)"
        )
    if name == "target" and values.min() < -1:
        return f"has {values.min()}, and must be classes from 0 up, -1 where it is not known"
    if name == "images" and values.dtype.kind == "u" and values.dtype.itemsize > 1:
        return f"has the type {values.dtype}, and must be of 8 bits, or numbers in [0, 1]"
    if name == "images" and values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low > -_BESIDE and high < 1 + _BESIDE):
            return f"goes from {low:.3g} to {high:.3g}, and must lie in [0, 1], or be of 8 bits"
    return None


def _names(values: np.ndarray | None, otherwise: list[str]) -> list[str]:
    if values is None:
        return otherwise
    return [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _memory() -> float:
    """Bytes of the machine's memory."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _whole(path: Path, read: Callable[[], T]) -> T:
    """What is read, with one sentence for whatever a damaged file leads to."""
    try:
        return read()
    except ConfigError:
        raise
    except MemoryError as error:
        raise ConfigError(f"{path} does not fit into memory") from error
    except Exception as error:  # zip's, NumPy's, Zarr's and the codecs' have nothing in common
        text = str(error)
        if "allow_pickle" in text or "Object arrays" in text:
            raise ConfigError(
                f"{path} holds pickled objects, which could run code: save numbers and text alone"
            ) from error
        raise ConfigError(f"{path} cannot be read: it is damaged, or no .npz or Zarr") from error
