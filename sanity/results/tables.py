"""The columns of the stored tables, and reading and writing them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sanity.errors import ConfigError
from sanity.files import replace_by, replace_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


SCORES = {
    "image": "string",
    "target": "int32",
    "method": "string",
    "stage": "int32",
    "layer": "string",
    "metric": "string",
    "value": "float64",
    "null": "float64",
    "reason": "string",
}
PREDICTIONS = {
    "image": "string",
    "stage": "int32",
    "layer": "string",
    "predicted": "int32",
    "predicted_name": "string",
    "probability": "float64",
    "target": "int32",
    "target_probability": "float64",
    "target_logit": "float64",
    "logit_std": "float64",
    "between_share": "float64",
    "entropy": "float64",
}
UNITS = {  # of the measured columns; what "score" means, `attrs["metrics"]` says
    "value": "score",
    "null": "score",
    "probability": "1",
    "target_probability": "1",
    "target_logit": "logit",
    "logit_std": "logit",
    "between_share": "1",
    "entropy": "nat",
    "seconds": "s",
    "bytes": "B",
}
OPTIONAL = ("null", "reason")  # empty unless there is something to explain
_BESIDE = b"sanity"
_ROWS_HELD = 2**17


def damage(path: Path) -> ConfigError:
    """The sentence on a file that should be whole and is not."""
    return ConfigError(f"{path} is damaged; force=true computes the run anew")


def arrow_schema(columns: dict[str, str]) -> "pa.Schema":
    """`SCORES` or `PREDICTIONS` as an Arrow schema."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def write_frame(
    path: Path, frame: "pd.DataFrame", columns: dict[str, str], beside: bytes | None = None
) -> None:
    """Replaces a Parquet file by a frame that has exactly these columns, in any order.

    Args:
        path: The file.
        frame: The rows.
        columns: `SCORES` or `PREDICTIONS`.
        beside: What else the file is to hold, see `read_beside`.
    """
    write_table(path, make_table(frame, columns), beside)


def make_table(frame: "pd.DataFrame", columns: dict[str, str]) -> "pa.Table":
    """A frame that has exactly these columns, in any order, as a table."""
    import pyarrow as pa

    frame = frame.assign(**{k: None for k in OPTIONAL if k in columns and k not in frame.columns})
    if set(frame.columns) != set(columns):
        raise ValueError(f"columns {list(frame.columns)}, not {list(columns)}")
    return pa.Table.from_pandas(frame, arrow_schema(columns), preserve_index=False)


def write_table(path: Path, table: "pa.Table", beside: bytes | None = None) -> None:
    """Replaces a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    table = table.replace_schema_metadata(None if beside is None else {_BESIDE: beside})
    pq.write_table(table, buffer, compression="zstd")
    replace_file(path, buffer.getvalue().to_pybytes())


def write_tables(path: Path, tables: Iterable["pa.Table"], columns: dict[str, str]) -> int:
    """Replaces a Parquet file by the rows of several tables, held a part at a time.

    Returns how many rows there are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, rows = arrow_schema(columns), 0

    def write(file: BinaryIO) -> None:
        nonlocal rows
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            held = [schema.empty_table()]
            for table in tables:
                held.append(table)
                rows += table.num_rows
                if sum(map(len, held)) >= _ROWS_HELD:
                    writer.write_table(pa.concat_tables(held))
                    held = [schema.empty_table()]
            writer.write_table(pa.concat_tables(held))

    replace_by(path, write)
    return rows


def read_table(path: Path, columns: dict[str, str]) -> "pa.Table":
    """The rows of a Parquet file.

    Raises:
        ConfigError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, partitioning=None).cast(arrow_schema(columns))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damage(path) from error


def read_beside(path: Path) -> bytes | None:
    """What a Parquet file holds beside its rows, see `write_frame`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damage(path) from error
    return metadata.get(_BESIDE)


def join(tables: Iterable["pa.Table"], columns: dict[str, str]) -> "pa.Table":
    """The rows of several tables, in their order."""
    import pyarrow as pa

    return pa.concat_tables([arrow_schema(columns).empty_table(), *tables])


def mark(table: "pa.Table", reasons: Mapping[int, str]) -> "pa.Table":
    """Scores with a reason to distrust them, by stage, where they have none of their own."""
    import pyarrow.compute as pc

    own = table["reason"]
    for stage, reason in reasons.items():
        empty = pc.or_(pc.is_null(own), pc.equal(own, ""))
        here = pc.and_(pc.equal(table["stage"], stage), pc.fill_null(empty, True))
        own = pc.if_else(here, reason, own)
    return table.set_column(table.schema.get_field_index("reason"), "reason", own)


def is_whole(path: Path, read: bool = True) -> bool:
    """Whether a Parquet file is in order; without `read` only its footer is looked at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if read:
                file.read()
    except (OSError, pa.ArrowException):
        return False
    return True
