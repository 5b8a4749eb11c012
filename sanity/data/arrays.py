"""Images in files of NumPy and stores of Zarr, of any number of channels."""

import hashlib
import logging
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from sanity.checked import Text, checked
from sanity.contents import Content, hash_parts, paths_among
from sanity.data.base import ImageSpec
from sanity.data.folder import Label, find_label
from sanity.data.images import Fit, Images, Resample, Shape, to_input
from sanity.data.pixels import Pixels
from sanity.data.selection import Selection
from sanity.errors import ConfigError, name_some
from sanity.files import check_codecs, quiet

log = logging.getLogger(__name__)

_ZARR = ("zarr.json", ".zgroup", ".zarray")  # one of them is in every store of Zarr
_MOST_CHANNELS = 13  # as Sentinel-2's; where more stand last, they are a width
_COLOURS = 4  # channels of a photograph, at the most
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601


@checked
class Arrays(Selection):
    """The images of an array in a `.npy` or `.npz` file or a Zarr store, as far as they are chosen.

    (n, height, width, channels), (n, height, width), or with channels before height and width. An
    image's name is the file's and its number: `scans_007`.

    Attributes:
        images: The array among several; None for the only one that holds images.
        labels: None; an array in the same file or store; or a `.npy` file. A number or a class's
            name for each image, or a row with a 1 for its class.
        range: The values of black and white, which become 0 and 1; None for 0 to 255 of bytes.
    """

    path: Text
    images: str | None = None
    labels: Text | None = None
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    resample: Resample = "bilinear"
    fit: Fit = "stretch"

    def check(self) -> None:
        """Refuses what can be refused without the model; reads the headers of the arrays only.

        Raises:
            ConfigError: No such file or array, one that holds no images, an unknown range, labels
                that are more or fewer than the images.
        """
        images = self._images()
        self.select(self._names(len(images)))
        self._range(images)
        self._labels(len(images))

    def read(self, spec: ImageSpec) -> Images:
        """The images, each channel resized by itself where the size differs.

        Grey images are repeated for a model of three channels, and those of three give one of one
        channel their luminance.

        Raises:
            ConfigError: As `check`; or values outside the range, other channels than the model's.
        """
        images = self._images()
        names = self._names(len(images))
        chosen = self.select(names)
        labels = self._labels(len(images))
        channels = images.channels
        if channels != spec.shape[2] and (channels, spec.shape[2]) not in ((1, 3), (3, 1)):
            raise ConfigError(
                f"the model takes images of {spec.shape[2]} channels, but those of "
                f"data.path={self.path} have {channels}"
            )
        offset = spec.class_offset
        classes = None if spec.class_names is None else list(spec.class_names)[offset:]
        found = [Label() if labels is None else _label(labels[i], classes) for i in chosen]
        taken = [names[i] for i in chosen]
        pixels = _InArray(images, self._range(images), chosen, taken, spec.shape, self)
        content = self.sources()["path"]
        return Images(
            x=pixels,
            names=taken,
            labels=[label.number for label in found],
            label_names=[label.name for label in found],
            sha256=hash_parts(content, images.name, chosen, pixels.hashes),
        )

    def sources(self) -> dict[str, Content]:
        """The file or the store, and a file of labels."""
        return {**paths_among(vars(self)), "path": Path(self.path).expanduser()}

    def available(self) -> list[str]:
        """The names of all images of the array."""
        return self._names(len(self._images()))

    def _names(self, count: int) -> list[str]:
        width = len(str(count - 1))
        return [f"{Path(self.path).stem}_{i:0{width}d}" for i in range(count)]

    def _images(self) -> "_Images":
        """All images, in the file as long as nobody reads them."""
        path, key = Path(self.path).expanduser(), f"data.path={self.path}"
        arrays = _arrays(path, key)
        if self.images is not None and self.images not in arrays:
            raise ConfigError(
                f"data.images={self.images} is no array of {self.path}; there are: "
                f"{name_some(sorted(arrays)) or 'none'}"
            )
        fitting = [n for n, a in arrays.items() if a.ndim in (3, 4) and math.prod(a.shape)]
        name = self.images or (fitting[0] if len(fitting) == 1 else None)
        if name is None:
            shapes = ", ".join(f"{n}: {list(array.shape)}" for n, array in arrays.items())
            raise ConfigError(
                f"data.images must name the array of images (n × height × width × channels) in "
                f"{self.path}; there are: {shapes or 'none'}"
            )
        array = arrays[name]
        if array.ndim not in (3, 4) or not math.prod(array.shape) or array.dtype.kind not in "buif":
            raise ConfigError(
                f"{key} holds no images (n × height × width × channels, numbers), but an array of "
                f"{array.dtype} {list(array.shape)}"
            )
        if array.ndim == 3 and array.shape[2] <= _COLOURS < min(array.shape[:2]):
            raise ConfigError(
                f"{key} has the shape {list(array.shape)}, that of one image: save image[None], "
                "n × height × width × channels"
            )
        first = array.ndim == 4 and array.shape[1] <= _MOST_CHANNELS < array.shape[3]
        if first:
            log.info("%s has its channels before height and width", key)
        return _Images(name, array, first)

    def _range(self, images: "_Images") -> tuple[float, float]:
        if self.range is not None:
            low, high = self.range
            if not low < high:
                raise ConfigError(f"data.range={self.range} must be a lower and a higher number")
            return low, high
        if images.array.dtype == np.uint8:
            return 0.0, 255.0
        if images.array.dtype == np.bool_:
            return 0.0, 1.0
        first, kind = images[0], images.array.dtype
        raise ConfigError(
            f"data.range must say what black and white are in data.path={self.path}, "
            f"data.range=[0,1] for instance: its values are {kind}, in the first image "
            f"from {first.min():g} to {first.max():g}"
        )

    def _labels(self, count: int) -> np.ndarray | None:
        """A number or a name an image."""
        if self.labels is None:
            return None
        key = f"data.labels={self.labels}"
        beside = _arrays(Path(self.path).expanduser(), f"data.path={self.path}")
        labels: np.ndarray
        if self.labels in beside:
            labels = beside[self.labels]
        elif Path(self.labels).expanduser().exists():
            found = list(_arrays(Path(self.labels).expanduser(), key).values())
            if len(found) != 1:
                raise ConfigError(f"{key} must hold one array, not {len(found)}")
            labels = found[0]
        else:
            raise ConfigError(
                f"{key} is neither a file nor an array of {self.path}; there are: "
                f"{name_some(sorted(beside))}"
            )
        labels = np.asarray(labels)
        if labels.dtype.kind in "OT":  # text of a store
            labels = np.array([str(label) for label in labels])
        if labels.ndim == 2 and labels.shape[1] > 1:
            if not np.all(np.sort(labels, axis=1) == [0] * (labels.shape[1] - 1) + [1]):
                raise ConfigError(f"{key} must be one label an image, or rows with one 1 each")
            labels = labels.argmax(axis=1)
        labels = labels.reshape(len(labels), -1)[:, 0] if labels.ndim == 2 else labels
        if labels.shape != (count,):
            raise ConfigError(
                f"{key} has the shape {list(labels.shape)}, but there are {count} images"
            )
        if labels.dtype.kind == "f" and np.all(labels == np.rint(labels)):
            labels = labels.astype(np.int64)
        if labels.dtype.kind not in "uiUS" or (labels.dtype.kind in "ui" and labels.min() < 0):
            raise ConfigError(f"{key} must be class numbers from 0, or names, not {labels.dtype}")
        return labels


@dataclass(frozen=True, repr=False)
class _InArray(Pixels):
    """The pixels of some images of an array.

    Attributes:
        images: All images of the array.
        ends: The values of black and white.
        chosen: Positions of the images among them.
        names: Of the images.
        size: (height, width, channels) that images are made to have.
        how: How they are.
    """

    images: "_Images"
    ends: tuple[float, float]
    chosen: list[int]
    names: list[str]
    size: Shape
    how: Arrays

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        low, high = self.ends
        x = np.empty((len(indices), *self.size), np.float32)
        for place, index in enumerate(indices):
            x[place] = self._input((self._own(index).astype(np.float32) - low) / (high - low))
        return x

    def hashes(self, indices: Sequence[int]) -> Iterator[str]:
        """SHA-256 of some images' own pixels."""
        for index in indices:
            yield hashlib.sha256(self._own(index).tobytes()).hexdigest()

    def _own(self, index: int) -> np.ndarray:
        own = np.ascontiguousarray(self.images[self.chosen[index]])
        low, high = self.ends
        if not (own.min() >= low and own.max() <= high):
            raise ConfigError(
                f"data.range={[low, high]} is not that of {self.names[index]}, whose values lie "
                f"from {own.min():g} to {own.max():g}"
            )
        return own

    def _input(self, image: np.ndarray) -> np.ndarray:
        """An image (height, width, channels) in [0, 1] as a model takes it."""
        from PIL import Image

        if image.shape[2] == 3 and self.size[2] == 1:
            image = image @ _LUMINANCE[:, None]
        one = (*self.size[:2], 1)
        parts = [
            to_input(Image.fromarray(image[..., k]), one, self.how.resample, self.how.fit)
            for k in range(image.shape[2])
        ]
        return np.broadcast_to(np.concatenate(parts, axis=2), self.size)


@dataclass(frozen=True)
class _Images:
    """Images of an array, read one by one.

    Attributes:
        name: Of the array.
        array: Of NumPy or Zarr, (n, height, width[, channels]), or with channels first.
        channels_first: Whether it is so.
    """

    name: str
    array: Any
    channels_first: bool
    # Of a store, the last chunks by number, and who looks at them.
    _held: dict[int, np.ndarray] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def channels(self) -> int:
        """How many an image has."""
        if self.array.ndim == 3:
            return 1
        return int(self.array.shape[1 if self.channels_first else 3])

    def __getitem__(self, index: int) -> np.ndarray:
        """One image, (height, width, channels).

        Raises:
            ConfigError: A chunk of a store is damaged.
        """
        stored = not isinstance(self.array, np.ndarray)
        image: np.ndarray = self._in_chunk(index) if stored else self.array[index]
        if image.ndim == 2:
            return image[..., None]
        return image.transpose(1, 2, 0) if self.channels_first else image

    def _in_chunk(self, index: int) -> np.ndarray:
        """An image of a store, which decodes whole chunks: the last two are held."""
        size = self.array.chunks[0]
        number, place = divmod(index, size)
        with self._lock:
            if number not in self._held:
                while len(self._held) > 1:
                    del self._held[next(iter(self._held))]
                try:
                    chunk = np.asarray(self.array[number * size : (number + 1) * size])
                except Exception as error:  # the codecs' errors have nothing in common
                    raise ConfigError(f"data.path: {self.array.store_path} is damaged") from error
                self._held[number] = chunk
            image: np.ndarray = self._held[number][place]
        return image


def _label(value: Any, class_names: list[str] | None) -> Label:
    """The class that a number or a name stands for."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return find_label(value, class_names)
    return Label(int(value), dict(enumerate(class_names or ())).get(int(value)))


def _arrays(path: Path, key: str) -> dict[str, Any]:
    """The arrays of a file or store by name; that of a `.npy` file is called as the file.

    Raises:
        ConfigError: There is no such file, it is of another kind, or holds Python objects.
    """
    if any((path / name).is_file() for name in _ZARR):
        return _arrays_of_store(path, key)
    if not path.is_file():
        raise ConfigError(
            f"{key} is no file: it must be a .npy or .npz file of NumPy, or a folder of Zarr"
        )
    try:
        if not zipfile.is_zipfile(path):
            return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            return {m.filename[: -len(".npy")]: _member(path, archive, m) for m in members}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        log.debug("%s", error)
        raise ConfigError(
            f"{key} is no .npy or .npz file of NumPy with plain arrays, as numpy.save and "
            "numpy.savez write them"
        ) from error


def _arrays_of_store(path: Path, key: str) -> dict[str, Any]:
    """The arrays of a Zarr group by name, or one that is called as its folder."""
    import zarr

    check_codecs(path)
    try:
        with quiet():
            found: Any = zarr.open(path, mode="r")
            return dict(found.arrays()) if isinstance(found, zarr.Group) else {path.stem: found}
    except Exception as error:  # Zarr's, of its codecs and of damaged JSON have nothing in common
        log.debug("%s", error)
        raise ConfigError(f"{key} is no store of Zarr, or it is damaged") from error


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array of an archive: in the file if it is not compressed, else in memory."""
    form: Any = np.lib.format
    with archive.open(member) as file:
        if member.compress_type != zipfile.ZIP_STORED:
            return np.asarray(form.read_array(file, allow_pickle=False))
        old = form.read_magic(file) == (1, 0)
        header = form.read_array_header_1_0 if old else form.read_array_header_2_0
        shape, fortran, dtype = header(file)
        begin = file.tell()
    if dtype.hasobject or not all(shape):
        with archive.open(member) as file:
            return np.asarray(form.read_array(file, allow_pickle=False))
    with open(path, "rb") as raw:  # the archive's own header before the array may be any length
        raw.seek(member.header_offset + 26)
        lengths = np.frombuffer(raw.read(4), "<u2")
    offset = member.header_offset + 30 + int(lengths.sum()) + begin
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
