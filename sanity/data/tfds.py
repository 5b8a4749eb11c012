"""Data sets that TensorFlow Datasets has prepared on disk."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sanity.checked import Text, checked
from sanity.contents import Content, hash_parts
from sanity.data.base import ImageSpec
from sanity.data.encoded import Encoded
from sanity.data.folder import Label
from sanity.data.images import (
    Fit,
    Images,
    Resample,
    check_channels,
)
from sanity.data.parquet import known_label
from sanity.data.selection import Selection
from sanity.errors import ConfigError, name_some

_SUFFIXES = (".tfrecord", ".array_record")  # of the two formats that are read
_BEFORE, _AFTER = 12, 4  # bytes of a TFRecord's length with its checksum, and of the content's


@checked
class Tfds(Selection):
    """The images of a split of a data set that TensorFlow Datasets has prepared.

    Nothing is downloaded, and only the records that are chosen are read. An image's name is its
    file's and the record's number: `mnist-test-00000-of-00001_0007`.

    Attributes:
        source: The data set's name, with a configuration or version if need be (`mnist`,
            `cifar10:3.0.2`), or the folder that it was prepared in (with `dataset_info.json`).
        split: As TensorFlow Datasets has it: `test`, `train[:10%]`, `train+test`.
        data_dir: Where data sets are prepared; None for TFDS_DATA_DIR, else ~/tensorflow_datasets.
        images: The feature of images; None for the only one.
        labels: The feature of class labels, `auto` for the only one if there is one; None for none.
    """

    source: Text
    split: Text = "test"
    data_dir: str | None = None
    images: str | None = None
    labels: Text | None = "auto"
    resample: Resample = "bilinear"
    fit: Fit = "stretch"

    def check(self) -> None:
        """Refuses what can be refused without the model; reads what is said of the data only.

        Raises:
            ConfigError: The extra is missing; there is no such data set, split, feature or name.
        """
        self._features()
        self.select(self.available())

    def available(self) -> list[str]:
        """The names of all records of the split."""
        return [name for part in self._parts() for name in part.names]

    def sources(self) -> dict[str, Content]:
        """The files of the split, by their names, which are part of the images'."""
        files: dict[str, Path | str] = {part.path.name: part.path for part in self._parts()}
        return {"source": files, "data_dir": {"": ""}}

    def read(self, spec: ImageSpec) -> Images:
        """The images, with their labels in the data's numbering.

        Raises:
            ConfigError: As `check`; or a record is damaged, the channels don't fit, the model does
                not have a label's class.
        """
        check_channels(spec.shape)
        image, label, named = self._features()
        parts = self._parts()
        where = [(part, row) for part in parts for row in part.rows]
        names = [name for part in parts for name in part.names]
        chosen = self.select(names)
        taken = [names[i] for i in chosen]
        pixels = _InRecords(
            names=taken,
            size=spec.shape,
            resample=self.resample,
            fit=self.fit,
            where=[where[i] for i in chosen],
            feature=image,
        )
        labels = [Label()] * len(chosen)
        if label is not None:
            key, values = f"data.labels={label}", pixels.values(label)
            labels = [known_label(value, named, spec, key) for value in values]
        return Images(
            x=pixels,
            names=taken,
            labels=[label.number for label in labels],
            label_names=[label.name for label in labels],
            sha256=hash_parts(
                {part.path.name: part.path for part in parts},
                f"{self.split} {image}",
                chosen,
                pixels.hashes,
            ),
        )

    def _builder(self) -> Any:
        """What TensorFlow Datasets knows of the data set, which must have been prepared."""
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise ConfigError(
                "data=tfds needs TensorFlow Datasets: pip install saliency-sanity[tfds]"
            ) from error
        folder = Path(self.source).expanduser()
        if (folder / "dataset_info.json").exists():
            return tfds.builder_from_directory(str(folder))
        where = self.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        data_dir = Path(where).expanduser()
        from tensorflow_datasets.core.read_only_builder import builder_from_files

        try:  # of what is on disk, whatever code made it
            return builder_from_files(self.source, data_dir=str(data_dir))
        except Exception as error:  # of several kinds, for a name that makes no sense
            raise ConfigError(
                f"data.source={self.source} is no data set prepared in {data_dir}, nor a folder "
                f"with dataset_info.json: tfds.builder({self.source!r}).download_and_prepare() in "
                "Python prepares one, data.data_dir says where they are"
            ) from error

    def _features(self) -> tuple[str, str | None, list[str] | None]:
        """The features of images and labels, and the classes' names."""
        builder = self._builder()
        import tensorflow_datasets as tfds

        features = dict(builder.info.features.items())
        kinds = {
            "images": [n for n, f in features.items() if type(f) is tfds.features.Image],
            "labels": [n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel)],
        }
        image = self._one("images", self.images, kinds["images"], list(features))
        label = self.labels
        if label == "auto":
            label = kinds["labels"][0] if len(kinds["labels"]) == 1 else None
        if label is None:
            return image, None, None
        label = self._one("labels", label, kinds["labels"], list(features))
        feature = features[label]
        named = [feature.int2str(n) for n in range(feature.num_classes or 0)]
        plain = named == [str(n) for n in range(len(named))]  # MNIST's digits, or no names at all
        return image, label, None if plain else named

    def _one(self, key: str, asked: str | None, fitting: list[str], known: list[str]) -> str:
        what = {"images": "images", "labels": "class labels"}[key]
        if asked is None and len(fitting) == 1:
            return fitting[0]
        if asked in fitting:
            return str(asked)
        if fitting:
            raise ConfigError(
                f"data.{key}={asked} must name a feature of {what} in data.source={self.source}: "
                f"{name_some(fitting)}"
            )
        raise ConfigError(
            f"data.{key}: data.source={self.source} has no feature of {what} among its own: "
            f"{name_some(known)}"
        )

    def _parts(self) -> list["_Part"]:
        """Which records of which files the split has."""
        builder = self._builder()
        try:
            instructions = builder.info.splits[self.split].file_instructions
        except Exception as error:  # of several kinds, for what is no split or no slice
            raise ConfigError(
                f"data.split={self.split} is no split of data.source={self.source}, nor slices of "
                f"them such as {next(iter(builder.info.splits), 'test')}[:10%]; there are: "
                f"{name_some(list(builder.info.splits))}"
            ) from error
        found = []
        for instruction in instructions:
            path, first = Path(instruction.filename), instruction.skip
            if not any(suffix in path.name for suffix in _SUFFIXES):
                raise ConfigError(
                    f"data.source={self.source} is stored as {path.suffix or path.name}, and only "
                    "TFRecord and ArrayRecord files are read"
                )
            if not path.is_file():
                raise ConfigError(f"data.source={self.source}: there is no file {path}")
            rows = range(first, first + instruction.take)
            found.append(_Part(path, rows, instruction.examples_in_shard))
        if not found:
            raise ConfigError(f"data.split={self.split} of data.source={self.source} is empty")
        return found


@dataclass(frozen=True)
class _Part:
    """Some records of a file.

    Attributes:
        path: The file.
        rows: The records' numbers.
        count: How many the whole file has.
    """

    path: Path
    rows: range
    count: int

    @property
    def names(self) -> list[str]:
        """The records' names."""
        stem, width = self.path.name, len(str(max(0, self.count - 1)))
        for suffix in _SUFFIXES:
            stem = stem.replace(suffix, "")
        return [f"{stem}_{row:0{width}d}" for row in self.rows]

    @cached_property
    def _starts(self) -> list[tuple[int, int]]:
        """Where each record of a TFRecord file begins, and how long it is: from the lengths."""
        found, at, size = [], 0, self.path.stat().st_size
        with self.path.open("rb") as file:
            while at + _BEFORE <= size:
                file.seek(at)
                (length,) = struct.unpack("<Q", file.read(8))
                found.append((at + _BEFORE, length))
                at += _BEFORE + length + _AFTER
        if at != size or len(found) != self.count:
            raise ConfigError(f"{self.path} is damaged: it does not hold {self.count} records")
        return found

    def record(self, row: int) -> bytes:
        """A record's content."""
        if ".array_record" in self.path.name:
            from array_record.python.array_record_module import ArrayRecordReader

            reader = ArrayRecordReader(str(self.path))
            try:
                return bytes(reader.read([row])[0])
            finally:
                reader.close()
        start, length = self._starts[row]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)


@dataclass(frozen=True, repr=False, kw_only=True)
class _InRecords(Encoded):
    """The pixels of images encoded in records.

    Attributes:
        where: The file and the record's number, of each image.
        feature: That of the image in its record.
    """

    where: list[tuple[_Part, int]]
    feature: str

    def values(self, feature: str) -> Iterator[int]:
        """A feature of all images' records that is a number."""
        for index in range(len(self)):
            (value,) = self._example(index)[feature].int64_list.value
            yield int(value)

    def content(self, index: int) -> bytes:
        found = self._example(index)[self.feature].bytes_list.value
        if len(found) != 1:
            raise ConfigError(f"{self.names[index]} has no encoded image in {self.feature}")
        return bytes(found[0])

    def _example(self, index: int) -> Any:
        from google.protobuf.message import DecodeError
        from tensorflow.train import Example

        part, row = self.where[index]
        try:
            return Example.FromString(part.record(row)).features.feature
        except DecodeError as error:
            raise ConfigError(f"{part.path} is damaged at record {row}") from error
