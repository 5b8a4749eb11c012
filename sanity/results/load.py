"""Reading results: all runs below a folder as one DataFrame, a run's masks as a dataset.

Each run costs one small JSON file and, where its configuration passes the filters, the columns of
one Parquet file. Strings stay dictionary-encoded from the file to the DataFrame.
"""

import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import ConfigError
from sanity.results.columns import RUN_COLUMNS
from sanity.results.listing import (
    TRAINED,
    Paths,
    Run,
    among,
    describe,
    find_runs,
    once,
    read_run,
    say_missing,
    say_unmatched,
    several,
)
from sanity.results.tables import PREDICTIONS, SCORES, damage

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

log = logging.getLogger(__name__)

_THREADS = min(8, os.cpu_count() or 1)

# A column of some rows: numbers as they are, strings as codes (-1: none) and what they stand for.
Coded = tuple[np.ndarray, list[str]]
Column = np.ndarray | Coded


def load_runs(
    path: Paths,
    *,
    status: str | Collection[str] | None = None,
    columns: Collection[str] | None = None,
    varying: bool = False,
    categories: bool = False,
    **filters: Any,
) -> "pd.DataFrame":
    """The scores of all runs below a path, one row per image, method, stage and metric.

    Beside the columns of scores.parquet stand each run's choices (`model`, `randomization`, …) and
    values (`seed`, `method.smoothgrad.samples`, …), `target` as `target_rule`, then `run`, `path`
    and `status`. A value that some runs do not have is NaN there. The layer of stage 0 is
    "trained". Runs that are not completed come with the units they have finished; a killed one is
    `interrupted` where this machine can tell. A run that lies in several folders counts once. What
    of a filter matches nothing is logged as a warning, with the values that there are.

    `attrs` of the table has `units` (by column), `metrics` (by name: identity, range, direction and
    more, as far as the runs recorded it and agree) and `controls` (methods that never look at the
    network).

    Args:
        path: A folder or several, each a run or above runs.
        status: Only runs with this status, or one of these.
        columns: Only these columns; all by default.
        varying: Of the configuration only columns in which the runs differ.
        categories: Strings are categorical, which takes a fraction of the memory; but `fillna` and
            `replace` then refuse what is no category yet.
        filters: A column and the value, or the values, its rows shall have, such as
            `metric="ssim", seed=[0, 1]`, or `**{"data.shards": 4}`. They are applied while reading.

    Raises:
        ConfigError: There is no run, a filter or column that no run has, or a damaged file.
    """
    asked = _Asked(status, columns, varying, categories)
    return _load(read_runs(path), "scores", SCORES, asked, filters)


def load_completed(found: list[Run]) -> "pd.DataFrame":
    """The scores of those runs that are completed, see `load_runs`; strings are categorical."""
    return _load(found, "scores", SCORES, _Asked("completed", None, False, True), {})


def read_runs(path: Paths) -> list[Run]:
    """What all runs below a path say of themselves, sorted by folder.

    Raises:
        ConfigError: There is no run, or a damaged file.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read_run, find_runs(path)))


def load_predictions(
    path: Paths,
    *,
    status: str | Collection[str] | None = None,
    columns: Collection[str] | None = None,
    varying: bool = False,
    categories: bool = False,
    **filters: Any,
) -> "pd.DataFrame":
    """The predictions of all runs below a path, one row per image and stage; see `load_runs`."""
    asked = _Asked(status, columns, varying, categories)
    return _load(read_runs(path), "predictions", PREDICTIONS, asked, filters)


def load_masks(run: str | os.PathLike[str]) -> "xr.Dataset":
    """A run's masks, read from disk when their values are asked for.

    Args:
        run: The run's folder.

    Returns:
        One float32 variable per method, dimensions image, stage, y, x[, channel], labelled by
        `image`, `stage`, `layer` (of the stage) and `channel`. NaN is what is not written yet.

    Raises:
        ConfigError: The run has no masks, or they are damaged.
    """
    import xarray as xr

    from sanity.files import check_codecs, quiet

    path = Path(run) / "masks.zarr"
    if not path.exists():
        raise ConfigError(f"{run} holds no masks: either no run, or one with masks.keep=none")
    check_codecs(path)
    try:
        with quiet():
            dataset = xr.open_dataset(path, engine="zarr", chunks=None, consolidated=False)
            labels = {name: (c.dims, c.values) for name, c in dataset.coords.items()}
    except Exception as error:  # Zarr's errors have nothing in common
        raise damage(path) from error
    # Zarr's strings come as NumPy's variable-width ones, which few tools know yet.
    return dataset.assign_coords({k: (d, np.array(v.tolist())) for k, (d, v) in labels.items()})


def load_images(run: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """A run's explained images, the first of those whose masks are stored, as the model saw them.

    Args:
        run: The run's folder.

    Returns:
        uint8 (H, W, C) by name, in the images' order; none where the run did not store them.

    Raises:
        ConfigError: The file is damaged.
    """
    path = Path(run) / "images.npz"
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(zip(file["names"].tolist(), file["images"], strict=True))
    except Exception as error:  # zip's, NumPy's and the operating system's
        raise damage(path) from error


@dataclass(frozen=True)
class _Asked:
    """What a caller wants; see `load_runs`."""

    status: str | Collection[str] | None
    columns: Collection[str] | None
    varying: bool
    categories: bool


@dataclass
class _Rows:
    """Some rows of one run."""

    run: Run
    n: int
    columns: dict[str, Column]
    seen: dict[str, list[Any]] = field(default_factory=dict)  # the values of filtered columns


def _load(
    found: list[Run],
    table: str,
    schema: dict[str, str],
    asked: _Asked,
    filters: dict[str, Any],
) -> "pd.DataFrame":
    import pandas as pd

    status, columns = asked.status, asked.columns

    with ThreadPoolExecutor(_THREADS) as pool:
        runs = once(found, say=table == "scores")
        known = dict.fromkeys([*schema, *(k for run in runs for k in run.values)])
        for name in [*filters, *(columns or ())]:
            if name not in known:
                raise ConfigError(
                    f"{name} is no column of these runs (columns: {', '.join(known)})"
                )
        if status is not None:
            filters = {**filters, "status": status}
        wanted = {name: several(value) for name, value in filters.items()}
        of_runs = {name: values for name, values in wanted.items() if name not in schema}
        of_rows = {name: values for name, values in wanted.items() if name in schema}
        if table == "scores":
            say_unmatched(runs, of_runs)
        runs = [
            run
            for run in runs
            if all(among(run.values.get(name), values) for name, values in of_runs.items())
        ]
        names = [name for name in schema if columns is None or name in columns]
        read = partial(_read_rows, table=table, names=names, wanted=of_rows)
        every = list(pool.map(read, runs))
        rows = [r for r in every if r.n]
    if table == "scores":
        for name, values in of_rows.items():
            there = dict.fromkeys(value for r in every for value in r.seen.get(name, ()))
            say_missing(name, values, there)
        if not rows and (failed := sum(run.status == "failed" for run in runs)):
            log.warning(
                "%d of these runs failed without scores: sanity.runs(path) has their errors",
                failed,
            )

    # Each piece is let go as soon as it is joined, so that nothing is held twice.
    data = {name: _stack([r.columns.pop(name) for r in rows], schema[name]) for name in names}
    counts = np.array([r.n for r in rows], int)
    keys = dict.fromkeys(k for run in runs for k in run.values) or known
    for name in keys:
        if name not in schema and (columns is None or name in columns):
            values = [r.run.values.get(name) for r in rows]
            if asked.varying and name not in RUN_COLUMNS and len(set(map(str, values))) < 2:
                continue
            data[name] = _repeat(values, counts)
    last = {name: data.pop(name) for name in RUN_COLUMNS if name in data}
    frame = pd.DataFrame({**data, **last}, copy=False)
    if not asked.categories:
        frame = _without_categories(frame)
    frame.attrs.update(describe([r.run for r in rows], frame.columns))
    return frame


def _read_rows(run: Run, table: str, names: list[str], wanted: dict[str, list[Any]]) -> _Rows:
    """A run's rows that have the wanted values."""
    for _ in range(3):
        before = run.status
        try:
            seen: dict[str, dict[Any, None]] = {name: {} for name in wanted}
            read = [_read_file(file, names, wanted, seen) for file in _files(run, table)]
        except FileNotFoundError:
            read, before = [], "gone"
        if before != "completed":  # it may have been completed, or begun anew, while we looked
            if not (run.folder / "run.json").exists():
                return _Rows(run, 0, {})
            run = read_run(run.folder)
            if run.status != before:
                continue
        n = sum(count for count, _ in read)
        pieces = [columns for count, columns in read if count]
        columns = {name: _join([piece[name] for piece in pieces]) for name in names if pieces}
        return _Rows(run, n, columns, {name: list(values) for name, values in seen.items()})
    raise ConfigError(f"{run.folder} has no {table}.parquet; force=true computes the run anew")


def _files(run: Run, table: str) -> list[Path]:
    """The files that hold a run's table: its parts as long as it is not completed."""
    whole = run.folder / f"{table}.parquet"
    if run.status == "completed":
        return [whole] if table == "scores" or whole.exists() else []
    parts = sorted((run.folder / "parts").glob("*.parquet"))
    if table == "scores":
        return [p for p in parts if "." not in p.stem]
    return [p for p in parts if p.stem.endswith(f".{table}")] or [whole] * whole.exists()


def _read_file(
    path: Path, names: list[str], wanted: dict[str, list[Any]], seen: dict[str, dict[Any, None]]
) -> tuple[int, dict[str, Column]]:
    """How many of a file's rows have the wanted values, and their columns.

    Raises:
        FileNotFoundError: It is gone.
        ConfigError: It is damaged, unless it is a part, which will be computed again.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    needed = list(dict.fromkeys([*wanted, *names]))
    try:
        content = path.read_bytes()  # one open file less to care for, and they are small
        strings = [n for n in needed if {**SCORES, **PREDICTIONS}[n] == "string"]
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=strings) as file:
            table = file.read(needed, use_threads=False)
        columns = {name: _column(table[name]) for name in needed}
        if isinstance(layer := columns.get("layer"), tuple):
            columns["layer"] = layer[0], [label or TRAINED for label in layer[1]]
    except FileNotFoundError:
        raise
    except (OSError, KeyError, pa.ArrowException) as error:
        if path.parent.name != "parts":
            raise damage(path) from error
        log.warning("%s is damaged; its run has to be resumed.", path)
        return 0, {}
    keep = np.ones(table.num_rows, bool)
    for name, values in wanted.items():
        column = columns[name]
        if isinstance(column, tuple):
            codes, labels = column
            seen[name] |= dict.fromkeys([*labels, *[None] * bool((codes < 0).any())])
            hits = [label in values for label in [*labels, None]]  # the code -1 finds the last
            keep &= np.array(hits)[codes]
        else:
            seen[name] |= dict.fromkeys(np.unique(column).tolist())
            numbers = [v for v in values if isinstance(v, (int, float, np.number))]
            keep &= np.isin(column, np.array(numbers, float))
    if not keep.all():
        columns = {
            name: (c[0][keep], c[1]) if isinstance(c, tuple) else c[keep]
            for name, c in columns.items()
        }
    return int(keep.sum()), {name: columns[name] for name in names}


def _column(chunks: Any) -> Column:
    """A column of an Arrow table."""
    import pyarrow as pa

    if not pa.types.is_dictionary(chunks.type):
        values: np.ndarray = chunks.to_numpy()
        return values
    parts: list[Coded] = []
    for chunk in chunks.chunks:
        codes = chunk.indices.fill_null(-1) if chunk.indices.null_count else chunk.indices
        labels = chunk.dictionary.to_pylist()
        parts.append((codes.to_numpy().astype(_code_type(labels)), labels))
    return _join(parts)


def _code_type(labels: Collection[str]) -> np.dtype:
    """The smallest signed integers that count the labels, as pandas has them."""
    return np.min_scalar_type(-len(labels) - 1)


def _join(parts: list[Any]) -> Column:
    """The same column of one or several files."""
    if len(parts) == 1:
        only: Column = parts[0]
        return only
    if parts and not isinstance(parts[0], tuple):
        values: np.ndarray = np.concatenate(parts)
        return values
    labels: dict[str, int] = {}  # in order of appearance, which for layers and methods means much
    tables = [[labels.setdefault(n, len(labels)) for n in names] + [-1] for _, names in parts]
    kind = _code_type(labels)
    # A table's last entry is what the code -1 finds.
    codes = [np.array(t, kind)[part] for t, (part, _) in zip(tables, parts, strict=True)]
    return np.concatenate(codes) if codes else np.empty(0, kind), list(labels)


def _without_categories(frame: "pd.DataFrame") -> "pd.DataFrame":
    """With plain strings, which take any value that `fillna` or `replace` puts among them."""
    kinds = {name: object for name in frame.select_dtypes("category")}
    plain: pd.DataFrame = frame.astype(kinds)
    return plain


def _stack(parts: list[Any], kind: str) -> Any:
    """A column of the DataFrame from the same column of several runs."""
    if kind == "string":
        codes, labels = _join(parts)
        return _categorical(codes, labels)
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _repeat(values: list[Any], counts: np.ndarray) -> Any:
    """A column of the DataFrame from one value a run."""
    import pandas as pd

    present = [v for v in values if v is not None]
    kinds = {bool if isinstance(v, bool) else type(v) for v in present}
    if kinds and kinds <= {int, float}:
        whole = kinds == {int} and len(present) == len(values) and max(present) < 2**63
        numbers = np.array([np.nan if v is None else v for v in values], int if whole else float)
        return np.repeat(numbers, counts)
    if kinds == {bool}:
        whole = len(present) == len(values)
        return pd.array(values, dtype=bool if whole else "boolean").repeat(counts)
    labels: dict[str, int] = {}
    codes = [-1 if v is None else labels.setdefault(str(v), len(labels)) for v in values]
    return _categorical(np.repeat(np.array(codes, _code_type(labels)), counts), list(labels))


def _categorical(codes: np.ndarray, labels: list[str]) -> Any:
    """A categorical column without the categories that no row has."""
    import pandas as pd

    used = np.zeros(len(labels) + 1, bool)
    used[codes] = True
    used = used[:-1]  # the last entry is what -1 marks
    if not used.all():
        codes = np.append(np.cumsum(used) - 1, -1).astype(codes.dtype)[codes]
    categories = pd.Index([n for n, u in zip(labels, used, strict=True) if u], dtype=str)
    return pd.Categorical.from_codes(codes, categories, validate=False)
