"""Parquet files of scores."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sanity.results.tables import (
    SCORES,
    is_whole,
    make_table,
    mark,
    read_table,
    write_table,
    write_tables,
)


def scores(stage, rows):
    """Scores of a stage, of so many images."""
    known = {"method": "m", "metric": "ssim", "layer": "", "target": 0, "null": 0.0, "reason": ""}
    frame = pd.DataFrame({"image": [f"i{k}" for k in range(rows)], "stage": stage, **known})
    return frame.assign(value=np.arange(rows, dtype=float))


@pytest.mark.parametrize("counts", [[], [2], [3, 3], [1, 1, 1, 1, 1, 1, 1], [7, 0, 1]])
def test_rows_of_several_tables_are_all_written(counts, tmp_path, monkeypatch):
    """However many of them are held at a time."""
    monkeypatch.setattr("sanity.results.tables._ROWS_HELD", 3)
    tables = [make_table(scores(stage, rows), SCORES) for stage, rows in enumerate(counts)]
    assert write_tables(tmp_path / "all.parquet", tables, SCORES) == sum(counts)
    found = read_table(tmp_path / "all.parquet", SCORES).to_pandas()
    assert found["stage"].tolist() == np.repeat(np.arange(len(counts)), counts).tolist()
    assert found["value"].tolist() == [float(k) for rows in counts for k in range(rows)]


def test_a_file_that_is_damaged_between_its_ends_is_not_whole(tmp_path):
    """Which only reading it tells."""
    path = tmp_path / "scores.parquet"
    write_table(path, make_table(scores(0, 50), SCORES))
    assert is_whole(path) and is_whole(path, read=False)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    assert not is_whole(path) and is_whole(path, read=False)


def test_a_reason_is_given_where_there_is_none_yet():
    frame = pd.concat([scores(0, 3), scores(1, 3)])
    own = ["", None, "constant mask"]
    table = make_table(frame.assign(reason=own * 2), SCORES)
    marked = mark(table, {1: "dead"})
    assert isinstance(marked, pa.Table) and marked.schema.names == table.schema.names
    assert marked["reason"].to_pylist() == [*own, "dead", "dead", "constant mask"]
