"""Tasks whose relevant region is known: what masks should show is settled beforehand."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data.base import ImageSpec, Split, TrainingData
from sanity.data.images import Images, Shape
from sanity.data.selection import Selection
from sanity.data.small import AnimalMnist, Digits, SmallImages
from sanity.errors import ConfigError
from sanity.randomness import generator

_SOURCES: dict[str, type[SmallImages]] = {"animal_mnist": AnimalMnist, "digits": Digits}


@dataclass(frozen=True)
class _Pairs:
    x: np.ndarray
    labels: np.ndarray
    names: list[str]
    regions: np.ndarray


@checked
class TwoRegions(Selection, TrainingData):
    """Two small images side by side, or one and nothing; the label is that of one side's image.

    After Yona & Greenfeld 2021: since the label says nothing of the other side, a mask that
    attributes to it shows what the network does not need.

    Attributes:
        source: Where the images come from; its splits are kept.
        side: Where the image with the label stands: `left`, `right`, or `random` for either.
        other: What stands on the other side: another `image` of the same split, or nothing
            (`blank`); with `side=random` only that, as nothing else would tell the sides apart.
        pairs: How many training images are made of each one of the source, each with another
            image on the other side.
        pairing: Seed of the other images and of the random sides.
        split: What is explained.
    """

    source: Literal["animal_mnist", "digits"] = "animal_mnist"
    side: Literal["left", "right", "random"] = "left"
    other: Literal["image", "blank"] = "image"
    pairs: Annotated[int, Field(ge=1)] = 1
    pairing: Annotated[int, Field(ge=0)] = 0
    split: Split = "test"

    has_regions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side == "random" and self.other == "image":
            raise ConfigError(
                "data.side=random needs data.other=blank: with an image on either side nothing "
                "would tell which of them the label belongs to"
            )

    @property
    def class_names(self) -> list[str]:
        """The source's."""
        return _SOURCES[self.source].class_names

    @property
    def image_shape(self) -> Shape:
        """(H, W, 1), twice as wide as the source's images."""
        height, width, channels = _SOURCES[self.source].image_shape
        return height, 2 * width, channels

    def check(self) -> None:
        """Refuses what can be refused without the model (ConfigError)."""
        self.select(self.available())

    def available(self) -> list[str]:
        """The names of the split's images."""
        return self._made(self.split, 1).names

    def arrays(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """A whole split: images (n, *image_shape) float32 in [0, 1], labels (n,) int64."""
        made = self._made(split, self.pairs if split == "train" else 1)
        return made.x, made.labels

    def read(self, spec: ImageSpec) -> Images:
        """The images with their regions, for a model with inputs of `image_shape`.

        Raises:
            ConfigError: The model takes images of another shape.
        """
        if spec.shape != self.image_shape:
            raise ConfigError(
                f"data=two_regions makes images of {self.image_shape}, but the model takes "
                f"{spec.shape}: choose model=cnn or model=mlp, which are trained on them"
            )
        made = self._made(self.split, 1)
        chosen = self.select(made.names)
        x, labels = made.x[chosen], made.labels[chosen]
        return Images(
            x=x,
            names=[made.names[i] for i in chosen],
            labels=[int(label) for label in labels],
            label_names=[self.class_names[label] for label in labels],
            sha256=[hashlib.sha256(image.tobytes()).hexdigest() for image in x],
            regions=made.regions[chosen],
        )

    def _made(self, split: Split, pairs: int) -> _Pairs:
        """Every image of the source once, then once more with other partners, …."""
        source = _SOURCES[self.source](split=split, limit=None)
        images, labels = source.arrays(split)
        names = source.image_names(split)
        rounds = [self._round(split, number, images, names) for number in range(pairs)]
        x, regions = (np.concatenate(parts) for parts in zip(*(r[:2] for r in rounds), strict=True))
        return _Pairs(x, np.tile(labels, pairs), [n for r in rounds for n in r[2]], regions)

    def _round(
        self, split: Split, number: int, images: np.ndarray, names: list[str]
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        n, _, width, _ = images.shape
        random = generator("two_regions", self.pairing, split, number)
        partners = (np.arange(n) + random.integers(1, n, n)) % n  # never an image with itself
        coin = np.asarray(random.random(n) < 0.5)
        left = coin if self.side == "random" else np.full(n, self.side == "left")
        others = images[partners] if self.other == "image" else np.zeros_like(images)
        wide = left[:, None, None, None]
        x = np.concatenate([np.where(wide, images, others), np.where(wide, others, images)], axis=2)
        columns = np.arange(2 * width) < width
        regions = np.broadcast_to((columns == left[:, None])[:, None, :], x.shape[:3]).copy()
        pairs = []
        for own, partner, first in zip(names, partners, left, strict=True):
            other = names[partner] if self.other == "image" else "blank"
            pairs.append((own, other) if first else (other, own))
        return x, regions, [f"{a}+{b}" for a, b in pairs]
