"""The contract of data sets: what a model asks of them, and what they give."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

from sanity.contents import Made
from sanity.data.images import Images, Shape
from sanity.data.pixels import Pixels
from sanity.errors import ConfigError

Split = Literal["train", "test"]


class Wants(Protocol):
    """What takes images: a classifier."""

    input_shape: Shape
    class_offset: int
    class_names: list[str] | None

    @property
    def n_classes(self) -> int:
        """How many classes it has."""


@dataclass(frozen=True)
class ImageSpec:
    """What a model wants of its images, and calls its classes.

    Attributes:
        shape: (height, width, channels).
        class_offset: The model's number of the data's class 0 (1 where 0 is background).
        class_names: The model's, background included; None if unknown.
        n_classes: Of the model, background included; None if unknown.
    """

    shape: Shape
    class_offset: int = 0
    class_names: Sequence[str] | None = None
    n_classes: int | None = None

    @classmethod
    def of(cls, classifier: Wants) -> Self:
        """What a classifier wants."""
        of = classifier
        return cls(of.input_shape, of.class_offset, of.class_names, of.n_classes)


class Dataset(Made, ABC):
    """Images to be explained.

    One of one's own derives from it, is a `@checked` dataclass, and gives `read`. It must give the
    same images in the same order whenever it is asked. Many or large ones are best given with
    `Pixels` for their `x`: a job then holds a few at a time.

    Attributes:
        has_regions: Whether its images come with the region that their label depends on.
    """

    has_regions: ClassVar[bool] = False

    @abstractmethod
    def read(self, spec: ImageSpec) -> Images:
        """The images, resized to `spec.shape`, float32 in [0, 1].

        Their `x` may be an array, or `Pixels` that are read when they are asked for.

        Raises:
            ConfigError: There are none, one cannot be read, or they do not fit the model.
        """

    def idle(self, shape: Shape) -> dict[str, str]:
        """Settings that change nothing beside the others, by name: why.

        Args:
            shape: Of the images that the model wants.
        """
        return {}

    def open(self, spec: ImageSpec | Shape) -> Images:
        """The images as a model takes them, read when they are asked for where that is possible.

        Args:
            spec: What it wants; a bare (height, width, channels) will do as well.

        Raises:
            ConfigError: See `read`; what is read later is checked then.
        """
        wanted = spec if isinstance(spec, ImageSpec) else ImageSpec(spec)
        images, name, shape = self.read(wanted), type(self.origin()).__name__, wanted.shape
        if not isinstance(images, Images):
            raise ConfigError(
                f"data={name} must give sanity.data.Images, not {type(images).__name__}"
            )
        if isinstance(images.x, Pixels):
            if not len(images):
                raise _unfit(name, shape, np.empty(images.x.shape, np.float32))
            return replace(images, x=_Checked(images.x, name, shape))
        _check(images.x, name, shape)
        return replace(images, sha256=list(map(_hash, images.sha256, images.x)))

    def load(self, spec: ImageSpec | Shape) -> Images:
        """The images as a model takes them, all in memory; see `open`.

        Raises:
            ConfigError: See `read`.
        """
        images = self.open(spec)
        return replace(images, x=np.asarray(images.x))

    def check(self) -> None:
        """Refuses cheaply, before any model is loaded, what cannot be right (ConfigError)."""

    def names_of_all(self) -> list[str] | None:
        """The names of the images of all shards of a job; None if only `read` tells them."""
        return None

    def count(self) -> int | None:
        """How many images there are to choose from; None if that is unknown."""
        return None

    def named(self, names: Sequence[str]) -> "Dataset":
        """Those of all shards' images that have these names."""
        raise NotImplementedError

    def unsharded(self, most: int) -> "Dataset":
        """The same, whatever the shard of a job, and of that at most the first so many."""
        return self


@dataclass(frozen=True, repr=False)
class _Checked(Pixels):
    """Pixels that are looked at when they have been read."""

    pixels: Pixels
    name: str
    size: Shape

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        x = self.pixels.read(indices)
        _check(x, self.name, self.size)
        return x


def _hash(known: str, x: np.ndarray) -> str:
    """An image's hash, of its pixels where its data set knows none."""
    return known or hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()


def _check(x: np.ndarray, name: str, shape: Shape) -> None:
    """Refuses images that are not as a model takes them (ConfigError)."""
    inside = x.size and x.dtype == np.float32 and 0 <= x.min() and x.max() <= 1
    if x.shape[1:] != tuple(shape) or not inside:
        raise _unfit(name, shape, x)


def _unfit(name: str, shape: Shape, x: np.ndarray) -> ConfigError:
    ends = f" from {x.min():g} to {x.max():g}" if x.size else ""
    if x.dtype.kind == "f" and np.isnan(x).any():
        ends = " with NaN among them"
    return ConfigError(
        f"data={name} must give float32 images {shape} in [0, 1], not {x.dtype} {x.shape[1:]}{ends}"
    )


class TrainingData(Dataset):
    """A data set that small networks can be trained on."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """One a class."""

    @property
    @abstractmethod
    def image_shape(self) -> Shape:
        """(height, width, channels) of its images."""

    @abstractmethod
    def arrays(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """A whole split for training or testing, whatever is selected to be explained.

        Returns:
            Images, float32, (n, *image_shape), in [0, 1]; labels, int64, (n,).
        """


class _Adapted(Dataset):
    """A class of somebody's own that only has a `load(shape, offset, class_names, n_classes)`."""

    def __init__(self, own: Any):
        self._own = own

    def __repr__(self) -> str:
        return repr(self._own)

    def origin(self) -> Any:
        """The class of one's own."""
        return self._own

    def read(self, spec: ImageSpec) -> Images:
        images: Images = self._own.load(
            spec.shape, spec.class_offset, spec.class_names, spec.n_classes
        )
        return images

    def check(self) -> None:
        if hasattr(self._own, "check"):
            self._own.check()


def as_dataset(value: Any, key: str) -> Dataset:
    """A data set as the contract has it; a class that is not derived from it must have `load`.

    Raises:
        ConfigError: It is no data set.
    """
    if isinstance(value, Dataset):
        return value
    if callable(getattr(value, "load", None)):
        return _Adapted(value)
    raise ConfigError(
        f"{key}={type(value).__name__} is no data set: derive it from sanity.data.Dataset and give "
        "it read(spec)"
    )
