"""Images in NumPy files, of any number of channels."""

import hashlib
import logging
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data.base import ImageSpec
from sanity.data.folder import Label, find_label
from sanity.data.images import Fit, Images, Resample, Shape, name_some, to_input
from sanity.data.selection import Selection
from sanity.errors import ConfigError

log = logging.getLogger(__name__)

_MOST_CHANNELS = 13  # as Sentinel-2's; where more stand last, they are a width
_COLOURS = 4  # channels of a photograph, at the most
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601


@checked
class Arrays(Selection):
    """The images of a `.npy` file, or of an array in an `.npz` file; only those chosen are read.

    (n, height, width, channels), (n, height, width), or with channels before height and width. An
    image's name is the file's and its number: `scans_007`.

    Attributes:
        images: The array in an `.npz` file; None for the only one that holds images.
        labels: None; an array in the same `.npz` file; or a `.npy` file. A number or a class's name
            for each image, or a row with a 1 for its class.
        range: The values of black and white, which become 0 and 1; None for 0 to 255 of bytes.
    """

    path: Annotated[str, Field(min_length=1)]
    images: str | None = None
    labels: Annotated[str, Field(min_length=1)] | None = None
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
        low, high = self._range(images)
        labels = self._labels(len(images))
        x = np.empty((len(chosen), *spec.shape), np.float32)
        sha256 = []
        for place, index in enumerate(chosen):
            own = np.ascontiguousarray(images[index])
            sha256.append(hashlib.sha256(own.tobytes()).hexdigest())
            if not (own.min() >= low and own.max() <= high):
                raise ConfigError(
                    f"data.range={[low, high]} is not that of {names[index]}, whose values lie "
                    f"from {own.min():g} to {own.max():g}"
                )
            x[place] = self._input((own.astype(np.float32) - low) / (high - low), spec.shape)
        offset = spec.class_offset
        classes = None if spec.class_names is None else list(spec.class_names)[offset:]
        found = [Label() if labels is None else _label(labels[i], classes) for i in chosen]
        return Images(
            x=x,
            names=[names[i] for i in chosen],
            labels=[label.number for label in found],
            label_names=[label.name for label in found],
            sha256=sha256,
        )

    def _input(self, image: np.ndarray, shape: Shape) -> np.ndarray:
        """An image (height, width, channels) in [0, 1] as a model takes it."""
        from PIL import Image

        channels = image.shape[2]
        if channels == 3 and shape[2] == 1:
            image = image @ _LUMINANCE[:, None]
        elif channels != shape[2] and (channels, shape[2]) != (1, 3):
            raise ConfigError(
                f"the model takes images of {shape[2]} channels, but those of "
                f"data.path={self.path} have {channels}"
            )
        one = (shape[0], shape[1], 1)
        parts = [
            to_input(Image.fromarray(image[..., k]), one, self.resample, self.fit)
            for k in range(image.shape[2])
        ]
        return np.broadcast_to(np.concatenate(parts, axis=2), shape)

    def available(self) -> list[str]:
        """The names of all images of the array."""
        return self._names(len(self._images()))

    def _names(self, count: int) -> list[str]:
        width = len(str(count - 1))
        return [f"{Path(self.path).stem}_{i:0{width}d}" for i in range(count)]

    def _images(self) -> np.ndarray:
        """All images (n, height, width, channels), in the file as long as nobody reads them."""
        path, key = Path(self.path).expanduser(), f"data.path={self.path}"
        arrays = _arrays(path, key)
        if self.images is not None and self.images not in arrays:
            raise ConfigError(
                f"data.images={self.images} is no array of {self.path}; there are: "
                f"{name_some(sorted(arrays)) or 'none'}"
            )
        fitting = [n for n, array in arrays.items() if array.ndim in (3, 4) and array.size]
        name = self.images or (fitting[0] if len(fitting) == 1 else None)
        if name is None:
            shapes = ", ".join(f"{n}: {list(array.shape)}" for n, array in arrays.items())
            raise ConfigError(
                f"data.images must name the array of images (n × height × width × channels) in "
                f"{self.path}; there are: {shapes or 'none'}"
            )
        array = arrays[name]
        if array.ndim not in (3, 4) or not array.size or array.dtype.kind not in "buif":
            raise ConfigError(
                f"{key} holds no images (n × height × width × channels, numbers), but an array of "
                f"{array.dtype} {list(array.shape)}"
            )
        if array.ndim == 3 and array.shape[2] <= _COLOURS < min(array.shape[:2]):
            raise ConfigError(
                f"{key} has the shape {list(array.shape)}, that of one image: save image[None], "
                "n × height × width × channels"
            )
        if array.ndim == 3:
            return array[..., None]
        if array.shape[1] <= _MOST_CHANNELS < array.shape[3]:
            log.info("%s has its channels before height and width", key)
            return array.transpose(0, 2, 3, 1)
        return array

    def _range(self, images: np.ndarray) -> tuple[float, float]:
        if self.range is not None:
            low, high = self.range
            if not low < high:
                raise ConfigError(f"data.range={self.range} must be a lower and a higher number")
            return low, high
        if images.dtype == np.uint8:
            return 0.0, 255.0
        if images.dtype == np.bool_:
            return 0.0, 1.0
        first = images[0]
        raise ConfigError(
            f"data.range must say what black and white are in data.path={self.path}, "
            f"data.range=[0,1] for instance: its values are {images.dtype}, in the first image "
            f"from {first.min():g} to {first.max():g}"
        )

    def _labels(self, count: int) -> np.ndarray | None:
        """A number or a name an image."""
        if self.labels is None:
            return None
        key = f"data.labels={self.labels}"
        beside = _arrays(Path(self.path).expanduser(), f"data.path={self.path}")
        if self.labels in beside:
            labels = beside[self.labels]
        elif Path(self.labels).expanduser().is_file():
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


def _label(value: Any, class_names: list[str] | None) -> Label:
    """The class that a number or a name stands for."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return find_label(value, class_names)
    return Label(int(value), dict(enumerate(class_names or ())).get(int(value)))


def _arrays(path: Path, key: str) -> dict[str, np.ndarray]:
    """The arrays of a file by name; that of a `.npy` file is called as the file.

    Raises:
        ConfigError: There is no such file, it is of another kind, or holds Python objects.
    """
    if not path.is_file():
        raise ConfigError(f"{key} is no file: it must be a .npy or .npz file of NumPy")
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
