"""Encoded images in a column of Parquet files, as Hugging Face writes them."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.contents import Content
from sanity.data.base import ImageSpec
from sanity.data.folder import Label, find_label
from sanity.data.images import (
    Fit,
    Images,
    Resample,
    check_channels,
    decode,
    name_some,
    open_image,
    to_input,
)
from sanity.data.selection import Selection
from sanity.data.targets import find_class
from sanity.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_AT_ONCE = 64  # rows that are held encoded


@checked
class Parquet(Selection):
    """The images of a Parquet file, or of all in a folder, encoded (JPEG, PNG, …).

    Only the rows that are chosen are kept, and a few are read at a time. An image's name is its
    file's and the row's number: `train-00000-of-00002_0007`.

    Attributes:
        images: The column of images: bytes, or structs with a field `bytes`, as Hugging Face has
            them; None for the only one.
        labels: None, or a column of class numbers or names. Names that Hugging Face keeps for
            numbers are looked up among the model's, where that has names.
    """

    path: Annotated[str, Field(min_length=1)]
    images: str | None = None
    labels: Annotated[str, Field(min_length=1)] | None = None
    resample: Resample = "bilinear"
    fit: Fit = "stretch"

    def check(self) -> None:
        """Refuses what can be refused without the model; reads the files' metadata only.

        Raises:
            ConfigError: No Parquet file, a damaged one, no such column, an unknown name.
        """
        files = self._files()
        schemas = {path: _open(path).schema_arrow for path in files}
        self._column(files[0], schemas[files[0]])
        for path in files[1:]:
            if schemas[path].names != schemas[files[0]].names:
                raise ConfigError(
                    f"data.path={self.path}: {path.name} has other columns than {files[0].name}"
                )
        self.select(self.available())

    def available(self) -> list[str]:
        """The names of all rows of all files."""
        return [name for path in self._files() for name in _names(path)]

    def sources(self) -> dict[str, Content]:
        """The files, by their names, which are part of the images'."""
        return {"path": {path.stem: path for path in self._files()}}

    def read(self, spec: ImageSpec) -> Images:
        """The images, with their labels in the data's numbering.

        Raises:
            ConfigError: As `check`; or an image is missing or damaged, a label unknown, the
                channels don't fit.
        """
        check_channels(spec.shape)
        names = self.available()
        chosen = self.select(names)
        place = {row: i for i, row in enumerate(chosen)}
        x = np.empty((len(chosen), *spec.shape), np.float32)
        sha256, labels = [""] * len(chosen), [Label()] * len(chosen)
        for row, cell, value, named in self._cells(set(chosen)):
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            if not content:
                raise ConfigError(
                    f"data.path={self.path}: {names[row]} has no image in its row: save the files' "
                    "bytes there, as Hugging Face's Dataset.to_parquet does"
                )
            where = Path(names[row])
            with open_image(io.BytesIO(content), where) as image:
                picture = decode(image, where)
            i = place[row]
            x[i] = to_input(picture, spec.shape, self.resample, self.fit)
            sha256[i] = hashlib.sha256(content).hexdigest()
            labels[i] = self._label(value, named, spec)
        return Images(
            x=x,
            names=[names[row] for row in chosen],
            labels=[label.number for label in labels],
            label_names=[label.name for label in labels],
            sha256=sha256,
        )

    def _cells(self, wanted: set[int]) -> Iterator[tuple[int, Any, Any, list[str] | None]]:
        """Of rows that are wanted: number, image, label, what the file calls labels' numbers."""
        first = 0
        for path in self._files():
            file = _open(path)
            column = self._column(path, file.schema_arrow)
            columns = [column] if self.labels is None else [column, self.labels]
            named = _class_names(file.schema_arrow, self.labels)
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if wanted.isdisjoint(range(first, end)):
                    first = end
                    continue
                for batch in file.iter_batches(_AT_ONCE, [group], columns):
                    for here in sorted(wanted & set(range(first, first + len(batch)))):
                        values = batch.slice(here - first, 1).to_pylist()[0]
                        yield here, values[column], values.get(self.labels), named
                    first += len(batch)

    def _label(self, value: Any, named: list[str] | None, spec: ImageSpec) -> Label:
        """The class that a cell means; None and Hugging Face's -1 mean that it is unknown."""
        names, offset = spec.class_names, spec.class_offset
        classes = None if names is None else list(names)[offset:]
        if value is None or value == -1:
            return Label()
        if isinstance(value, str):
            return find_label(value, classes)
        number = int(value)
        if named is None or not 0 <= number < len(named):
            return Label(number, dict(enumerate(classes or ())).get(number))
        name = named[number]
        if classes is None:
            return Label(number, name)
        found = find_class(name, classes)
        if len(found) == 1:
            return Label(found[0], classes[found[0]])
        if len(named) == len(classes):
            return Label(number, classes[number])
        raise ConfigError(
            f"data.labels={self.labels}: the class {name!r} is not among the model's "
            f"{len(classes)}, and the data have {len(named)}"
        )

    def _files(self) -> list[Path]:
        path = Path(self.path).expanduser()
        if path.is_file():
            return [path]
        found = sorted(path.glob("*.parquet")) if path.is_dir() else []
        if not found:
            raise ConfigError(
                f"data.path={self.path} must be a .parquet file or a folder with some"
            )
        return found

    def _column(self, path: Path, schema: "pa.Schema") -> str:
        """The column of images; that of labels is looked at as well."""
        import pyarrow as pa

        fitting: list[str] = [field.name for field in schema if _holds_images(field.type)]
        all_columns = name_some(schema.names)
        if self.labels is not None and self.labels not in schema.names:
            raise ConfigError(
                f"data.labels={self.labels} is no column of {path}; there are: {all_columns}"
            )
        if self.labels is not None:
            kind = schema.field(self.labels).type
            if not (
                pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_null(kind)
            ):
                raise ConfigError(
                    f"data.labels={self.labels} must be class numbers or names, not {kind}"
                )
        if self.images is None and len(fitting) == 1:
            return fitting[0]
        if self.images in fitting:
            return str(self.images)
        if self.images is None and fitting:
            raise ConfigError(
                f"data.images must name the column of images in {path}: {name_some(fitting)}"
            )
        what = "no column" if self.images is None else f"{self.images} is no column"
        raise ConfigError(
            f"data.images: {what} of {path} with encoded images (bytes, or structs with bytes); "
            f"there are: {all_columns}"
        )


def _open(path: Path) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"data.path: {path} is no Parquet file, or it is damaged") from error


def _names(path: Path) -> list[str]:
    count = _open(path).metadata.num_rows
    width = len(str(count - 1))
    return [f"{path.stem}_{row:0{width}d}" for row in range(count)]


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_images(kind.field(place).type)
    binary: bool = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return binary


def _class_names(schema: "pa.Schema", column: str | None) -> list[str] | None:
    """What the numbers of a column are called, as Hugging Face keeps it in the file."""
    try:
        said = json.loads((schema.metadata or {})[b"huggingface"])
        names = said["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None
