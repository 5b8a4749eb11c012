"""Small images for networks trained here: silhouettes, handwritten digits, clothes."""

import gzip
import hashlib
import io
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sanity.checked import Text, checked
from sanity.data.base import ImageSpec, Split, TrainingData
from sanity.data.folder import package_folder
from sanity.data.idx import read_splits
from sanity.data.images import Images, Resample, Shape, check_channels, to_input
from sanity.data.pixels import Pixels
from sanity.data.selection import Selection
from sanity.errors import ConfigError


@dataclass(frozen=True)
class _Source:
    """A whole data set: pixels (n, height, width), of which `white` is white; (n,) each."""

    pixels: np.ndarray
    white: float
    labels: np.ndarray
    names: list[str]
    test: np.ndarray

    def of(self, split: Split) -> "_Source":
        return self.at(np.flatnonzero(self.test == (split == "test")))

    def at(self, where: np.ndarray) -> "_Source":
        names = [self.names[i] for i in where]
        return _Source(self.pixels[where], self.white, self.labels[where], names, self.test[where])

    def grey(self) -> np.ndarray:
        return self.pixels.astype(np.float32) / np.float32(self.white)


@dataclass(frozen=True, repr=False)
class _Resized(Pixels):
    """Small images made as large as a model wants them."""

    source: _Source
    size: Shape
    resample: Resample

    def __len__(self) -> int:
        return len(self.source.names)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        from PIL import Image

        grey = self.source.at(np.array(indices, int)).grey()
        resized = [to_input(Image.fromarray(g), self.size, self.resample, "stretch") for g in grey]
        return np.stack(resized)


@checked
class SmallImages(Selection, TrainingData):
    """What the small data sets have in common: grey images of one size, labels, two splits."""

    split: Split = "test"
    resample: Resample = "bilinear"

    class_names: ClassVar[list[str]]
    image_shape: ClassVar[Shape]

    def _source(self) -> _Source:
        raise NotImplementedError

    def check(self) -> None:
        """Refuses what can be refused without the model (ConfigError)."""
        self.select(self.available())

    def idle(self, shape: Shape) -> dict[str, str]:
        """As `Selection.idle`, and how images are resized that have the model's size."""
        found = super().idle(shape)
        if shape[:2] == self.image_shape[:2]:
            found["resample"] = "the images have the model's size"
        return found

    def available(self) -> list[str]:
        """The names of the split's images."""
        return self.image_names(self.split)

    def arrays(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """A whole split: images (n, *image_shape) float32 in [0, 1], labels (n,) int64."""
        source = self._source().of(split)
        return source.grey()[..., None], source.labels.astype(np.int64)

    def image_names(self, split: Split) -> list[str]:
        """The images' names, in the order of `arrays`."""
        return self._source().of(split).names

    def read(self, spec: ImageSpec) -> Images:
        """The images, resized where the size differs, grey repeated where the model wants RGB."""
        check_channels(spec.shape)
        source = self._source().of(self.split)
        source = source.at(np.array(self.select(source.names)))
        return Images(
            x=_Resized(source, spec.shape, self.resample),
            names=source.names,
            labels=[int(label) for label in source.labels],
            label_names=[self.class_names[label] for label in source.labels],
            sha256=[hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in source.pixels],
        )


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return rank


def _every_fifth(rank: np.ndarray) -> np.ndarray:
    """A split for data that has none: the fifth, the tenth, … image of each class is test."""
    chosen: np.ndarray = rank % 5 == 4
    return chosen


@checked
class AnimalMnist(SmallImages):
    """10,000 silhouettes of animals, 28×28, from the package animal-mnist.

    Every fifth image of each class is test. One of each class comes in turn, so that the first
    few differ. 284 images repeat an earlier one pixel by pixel.

    Attributes:
        deduplicate: Keep only the first of equal images, so that none is in both splits.
    """

    deduplicate: bool = True

    class_names: ClassVar[list[str]] = (
        "bear bird cat cow dog elephant giraffe horse sheep zebra".split()
    )
    image_shape: ClassVar[Shape] = (28, 28, 1)

    def _source(self) -> _Source:
        folder = package_folder("animal_mnist", "animal_mnist") / "data" / "Animal_MNIST"
        pixels = _read_array(folder / "animal_data_version_3.gz")
        labels = _read_array(folder / "animal_label_version_3.gz")
        names = [f"animal_{i:04d}" for i in range(len(pixels))]
        rank = _rank_in_class(labels)
        order = np.lexsort((labels, rank))
        if self.deduplicate:
            order = order[np.isin(order, _first_of_equals(pixels))]
        # the split counts the duplicates too: an image's split doesn't depend on the option
        return _Source(pixels, 255, labels, names, _every_fifth(rank)).at(order)


@checked
class Digits(SmallImages):
    """1,797 handwritten digits, 8×8, 17 levels of grey, from scikit-learn.

    Every fifth image of each class is test.
    """

    class_names: ClassVar[list[str]] = list("0123456789")
    image_shape: ClassVar[Shape] = (8, 8, 1)

    def _source(self) -> _Source:
        from sklearn.datasets import load_digits

        digits = load_digits()
        names = [f"digit_{i:04d}" for i in range(len(digits.images))]
        test = _every_fifth(_rank_in_class(digits.target))
        return _Source(digits.images, 16, digits.target, names, test)


@checked
class _KerasImages(SmallImages):
    """60,000 images to train and 10,000 to test, in MNIST's format or of `keras.datasets`.

    Attributes:
        path: A folder with the four files. None for the system's, where Debian's package put them,
            else what Keras fetches on first use.
    """

    path: Text | None = None

    option: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    subfolder: ClassVar[str] = ""
    system: ClassVar[Path | None] = None
    image_shape: ClassVar[Shape] = (28, 28, 1)

    def check(self) -> None:
        """Refuses unknown names, and a folder without the files (ConfigError).

        Whether Keras can fetch the data shows on loading.
        """
        if self.path is not None:
            super().check()
            return
        count = {"train": 60_000, "test": 10_000}[self.split]
        self.select([self._name(self.split, i) for i in range(count)])

    def _name(self, split: str, i: int) -> str:
        return f"{self.option}_{split}_{i:05d}"

    def _source(self) -> _Source:
        (x_train, y_train), (x_test, y_test) = self._parts()
        names = [self._name("train", i) for i in range(len(x_train))]
        names += [self._name("test", i) for i in range(len(x_test))]
        return _Source(
            np.concatenate([x_train, x_test]),
            255,
            np.concatenate([y_train, y_test]),
            names,
            np.arange(len(names)) >= len(x_train),
        )

    def _parts(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Images and labels to train and to test."""
        folder = None if self.path is None else Path(self.path).expanduser()
        if folder is None and self.system is not None and self.system.is_dir():
            folder = self.system
        if folder is not None:
            splits = read_splits(folder, "data.path")
            return splits["train"], splits["test"]
        return self._fetched()

    def _fetched(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        import keras

        try:
            train, test = getattr(keras.datasets, self.option).load_data()
        except Exception as error:  # Keras raises bare Exception without a network
            home = Path(os.environ.get("KERAS_HOME") or "~/.keras")
            raise ConfigError(
                f"data={self.option} could not be fetched: get {', '.join(self.files)} from "
                f"{_KERAS_URL}/ by hand and put what you get into "
                f"{home / 'datasets' / self.subfolder}, or give a folder with the data set's four "
                f"files as data.path ({' '.join(str(error).split())})"
            ) from error
        return train, test


_KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"


@checked
class Mnist(_KerasImages):
    """MNIST, 28×28 handwritten digits."""

    option: ClassVar[str] = "mnist"
    files: ClassVar[tuple[str, ...]] = ("mnist.npz",)
    class_names: ClassVar[list[str]] = list("0123456789")


@checked
class FashionMnist(_KerasImages):
    """Fashion-MNIST, 28×28 pieces of clothing (Xiao et al. 2017)."""

    option: ClassVar[str] = "fashion_mnist"
    system: ClassVar[Path | None] = Path("/usr/share/datasets/fashion-mnist")
    files: ClassVar[tuple[str, ...]] = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    subfolder: ClassVar[str] = "fashion-mnist"
    class_names: ClassVar[list[str]] = [
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ]


class _ArrayUnpickler(pickle.Unpickler):
    """Admits the names that one NumPy array needs; anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return np.empty(0).__reduce__()[0]  # where it lies depends on NumPy's version
        elif module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of an array")


def _read_array(path: Path) -> np.ndarray:
    try:
        array = _ArrayUnpickler(io.BytesIO(gzip.decompress(path.read_bytes()))).load()
    except Exception as error:  # a damaged pickle can lead to any
        raise ConfigError(
            f"data=animal_mnist: {path} cannot be read, install animal-mnist anew: {error}"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "ui":
        raise ConfigError(f"data=animal_mnist: {path} holds no array of whole numbers")
    return array


def _first_of_equals(pixels: np.ndarray) -> np.ndarray:
    first: dict[bytes, int] = {}
    for i, image in enumerate(pixels):
        first.setdefault(image.tobytes(), i)
    return np.array(list(first.values()))
