"""The columns of the stored tables, and reading and writing them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sanity.errors import ConfigError
from sanity.files import replace_file

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


def damage(path: Path) -> ConfigError:
    """The sentence on a file that should be whole and is not."""
    return ConfigError(f"{path} is damaged; force=true computes the run anew")


def arrow_schema(columns: dict[str, str]) -> "pa.Schema":
    """`SCORES` or `PREDICTIONS` as an Arrow schema."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def write_frame(path: Path, frame: "pd.DataFrame", columns: dict[str, str]) -> None:
    """Replaces a Parquet file by a frame that has exactly these columns, in any order."""
    import pyarrow as pa

    frame = frame.assign(**{k: None for k in OPTIONAL if k in columns and k not in frame.columns})
    if set(frame.columns) != set(columns):
        raise ValueError(f"columns {list(frame.columns)}, not {list(columns)}")
    write_table(path, pa.Table.from_pandas(frame, arrow_schema(columns), preserve_index=False))


def write_table(path: Path, table: "pa.Table") -> None:
    """Replaces a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), buffer, compression="zstd")
    replace_file(path, buffer.getvalue().to_pybytes())


def join_tables(paths: Iterable[Path], columns: dict[str, str]) -> "pa.Table":
    """The rows of several Parquet files, in their order.

    Raises:
        ConfigError: One of them cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(columns)
    tables = [schema.empty_table()]
    for path in paths:
        try:
            tables.append(pq.read_table(path, partitioning=None).cast(schema))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise damage(path) from error
    return pa.concat_tables(tables)


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
