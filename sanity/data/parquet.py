"""Encoded images in a column of Parquet files, as Hugging Face writes them."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from sanity.checked import Text, checked
from sanity.contents import Content, hash_parts
from sanity.data.base import ImageSpec
from sanity.data.encoded import Encoded
from sanity.data.folder import Label, find_label
from sanity.data.images import (
    Fit,
    Images,
    Resample,
    check_channels,
)
from sanity.data.selection import Selection
from sanity.data.targets import find_class
from sanity.errors import ConfigError, name_some

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_AT_ONCE = 32  # rows that are read at a time
_HELD = 4  # so often, encoded
_BUFFER = 2**20  # bytes that are read at a time


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

    path: Text
    images: str | None = None
    labels: Text | None = None
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
        labels = list(self._found_labels(spec))
        labels = [labels[row] for row in chosen] if labels else [Label()] * len(chosen)
        taken = [names[row] for row in chosen]
        files = self._files()
        rows = _Rows([(path, self._column(path, _open(path).schema_arrow)) for path in files])
        pixels = _InRows(
            names=taken,
            size=spec.shape,
            resample=self.resample,
            fit=self.fit,
            path=self.path,
            rows=rows,
            chosen=chosen,
        )
        return Images(
            x=pixels,
            names=taken,
            labels=[label.number for label in labels],
            label_names=[label.name for label in labels],
            sha256=hash_parts(self.sources()["path"], rows.columns, chosen, pixels.hashes),
        )

    def _found_labels(self, spec: ImageSpec) -> Iterator[Label]:
        """The labels of all rows, if there are any."""
        for path in self._files() if self.labels is not None else ():
            file = _open(path)
            named = _class_names(file.schema_arrow, self.labels)
            try:
                values = file.read([self.labels]).column(0).to_pylist()
            except Exception as error:  # Arrow's, of a damaged file
                raise _damaged(path) from error
            for value in values:
                yield known_label(value, named, spec, f"data.labels={self.labels}")

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
        fitting: list[str] = [field.name for field in schema if _holds_images(field.type)]
        all_columns = name_some(schema.names)
        if self.labels is not None and self.labels not in schema.names:
            raise ConfigError(
                f"data.labels={self.labels} is no column of {path}; there are: {all_columns}"
            )
        if self.labels is not None:
            kind = schema.field(self.labels).type
            if not _holds_labels(kind):
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


@dataclass(frozen=True, repr=False, kw_only=True)
class _InRows(Encoded):
    """The pixels of images encoded in rows.

    Attributes:
        path: Of the data, as it was given.
        rows: All rows.
        chosen: Numbers of the images' rows.
    """

    path: str
    rows: "_Rows"
    chosen: list[int]

    def content(self, index: int) -> bytes:
        cell = self.rows[self.chosen[index]]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not content:
            raise ConfigError(
                f"data.path={self.path}: {self.names[index]} has no image in its row: save the "
                "files' bytes there, as Hugging Face's Dataset.to_parquet does"
            )
        return bytes(content)


class _Rows:
    """The cells of a column over several files, of which the last few that were read are held.

    Rows are fastest in their order; one before those that are held begins its group of rows anew.

    Args:
        files: Each file and the column in it.
    """

    def __init__(self, files: Sequence[tuple[Path, str]]):
        self.columns = " ".join(column for _, column in files)
        self._files = list(files)
        # By file and group of rows: where it begins among all rows.
        self._groups: list[tuple[int, int]] = []
        self._begins: list[int] = []
        count = 0
        for number, (path, _) in enumerate(files):
            metadata = _open(path).metadata
            for group in range(metadata.num_row_groups):
                self._groups.append((number, group))
                self._begins.append(count)
                count += metadata.row_group(group).num_rows
        self._held: dict[int, list[Any]] = {}  # by the first row's number, in the order of reading
        self._at, self._next = -1, 0
        self._left: Iterator[pa.RecordBatch] = iter(())
        self._lock = Lock()

    def __getitem__(self, row: int) -> Any:
        with self._lock:
            while True:
                for first, cells in self._held.items():
                    if first <= row < first + len(cells):
                        return cells[row - first]
                self._read_on(row)

    def _read_on(self, row: int) -> None:
        """Holds some more rows, nearer to one that is wanted."""
        group = bisect_right(self._begins, row) - 1
        path, column = self._files[self._groups[group][0]]
        if group != self._at or row < self._next:
            # Read by the piece: the column of a group may be larger than memory.
            file = _open(path, buffer_size=_BUFFER)
            batches = file.iter_batches(_AT_ONCE, [self._groups[group][1]], [column])
            self._at, self._next, self._left = group, self._begins[group], iter(batches)
        try:
            cells: list[Any] = next(self._left).column(0).to_pylist()
        except Exception as error:  # Arrow's, of a damaged file
            raise _damaged(path) from error
        while len(self._held) >= _HELD:
            del self._held[next(iter(self._held))]
        self._held[self._next] = cells
        self._next += len(cells)


def known_label(value: Any, named: Sequence[str] | None, spec: ImageSpec, key: str) -> Label:
    """The class that a stored value means; None and -1, as test sets have it, mean unknown.

    Args:
        value: A class's number or name.
        named: What the data call their classes; None if they say nothing.
        spec: What the model calls its own.
        key: Where the value comes from, for messages.

    Raises:
        ConfigError: The model has no such class.
    """
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
        f"{key}: the class {name!r} is not among the model's "
        f"{len(classes)}, and the data have {len(named)}"
    )


def _open(path: Path, buffer_size: int = 0) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, buffer_size=buffer_size)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"data.path: {path} is no Parquet file, or it is damaged")


def _names(path: Path) -> list[str]:
    count = _open(path).metadata.num_rows
    width = len(str(count - 1))
    return [f"{path.stem}_{row:0{width}d}" for row in range(count)]


def _holds_labels(kind: "pa.DataType") -> bool:
    """Whether a column has whole numbers, text of any kind, or categories of these."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    fitting = (types.is_integer, types.is_string, types.is_large_string, types.is_null)
    return any(fits(kind) for fits in fitting)


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
