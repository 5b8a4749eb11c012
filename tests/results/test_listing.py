"""Which runs there are, and what is said of those that are not counted or not found."""

import contextlib
import json
import os
import shutil
import socket
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

import sanity
from sanity.errors import ConfigError
from sanity.files import size_of, write_json
from sanity.results import RunFolder, load_predictions, load_runs, runs
from tests.results.runs import (
    CONFIG,
    HYDRA,
    IMAGES,
    INFO,
    KEPT,
    LAYERS,
    METHODS,
    interrupted,
    scores_of,
    write_units,
)
from tests.results.test_load import make_run


@pytest.fixture
def top(tmp_path):
    """Two runs, one that failed, one that is not completed."""
    outputs = tmp_path / "outputs"
    for seed in range(2):
        make_run(outputs / "a" / f"run{seed}", seed)
    make_run(outputs / "a" / "run2", 2, complete=False)
    config = {**CONFIG, "seed": 3, "name": "a"}
    run = RunFolder.open(outputs / "a" / "run3", config, ["seed=3", "target=1"], HYDRA)
    run.start(INFO)
    run.fail(MemoryError("all of it"))
    run.close()
    return outputs


def test_a_run_in_two_folders_counts_once_and_it_is_said(top, tmp_path, caplog):
    whole = load_runs(top, status="completed")
    shutil.copytree(top / "a", tmp_path / "another machine")
    both = load_runs([top, tmp_path / "another machine"], status="completed")
    assert len(both) == len(whole) and both["run"].nunique() == 2
    assert "4 of 8 folders hold a run that lies in another one" in caplog.text
    assert len(load_predictions(tmp_path, status="completed")) == len(
        load_predictions(top, status="completed")
    )
    assert len(runs(tmp_path)) == 8  # folders are shown as they are


def test_of_two_folders_the_completed_one_counts(top, tmp_path):
    other = tmp_path / "z" / "run2"
    make_run(other, 2)
    found = load_runs(tmp_path, seed=2)
    assert set(found["path"]) == {str(other)} and set(found["status"]) == {"completed"}


def test_runs_are_listed_a_row_each(top):
    found = sanity.runs(top).set_index("run")
    assert found["status"].to_dict() == {
        "run0": "completed",
        "run1": "completed",
        "run2": "interrupted",
        "run3": "failed",
    }
    failed = found.loc["run3"]
    assert failed["error"] == "MemoryError: all of it" and "MemoryError" in failed["traceback"]
    assert failed["overrides"] == "seed=3 target=1"
    assert found["bytes"].gt(1000).all() and found.loc["run0", "seconds"] >= 0
    assert np.isnan(found.loc["run2", "seconds"]) and found["seed"].tolist() == [0, 1, 2, 3]
    assert found["path"].tolist() == [str(top / "a" / name) for name in found.index]


def test_runs_are_filtered(top, caplog):
    assert runs(top, status="failed")["run"].tolist() == ["run3"]
    assert runs(top, seed=[0, 1], status="completed")["seed"].tolist() == [0, 1]
    assert not caplog.text
    assert (
        runs(top, seed=17).empty and "seed=17 matches nothing; there is 0, 1, 2, 3" in caplog.text
    )
    with pytest.raises(ConfigError, match="sede is no column"):
        runs(top, sede=1)


def test_failed_runs_are_pointed_to(top, caplog):
    assert load_runs(top, status="failed").empty
    assert "1 of these runs failed without scores: sanity.runs(path)" in caplog.text


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"metric": "ssmi"}, "metric='ssmi' matches nothing; there is 'ssim', 'spearman'"),
        ({"metric": ["ssim", "ssmi"]}, "metric='ssmi' matches nothing"),
        ({"stage": 7}, "stage=7 matches nothing; there is 0, 1"),
        ({"model": "embeded"}, "model='embeded' matches nothing; there is 'embedded'"),
        ({"seed": "0"}, "seed='0' matches nothing; there is 0, 1, 2, 3"),
        ({"status": "complete"}, "status='complete' matches nothing; there is 'completed'"),
        ({"metric": "ssim", "seed": [0, 1], "reason": None, "layer": "trained"}, ""),
    ],
)
def test_a_filter_that_matches_nothing_says_so(top, caplog, filters, said):
    load_runs(top, **filters)
    assert said in caplog.text and bool(said) == bool(caplog.text)


def test_only_columns_in_which_runs_differ(top):
    found = load_runs(top, status="completed", varying=True)
    other = load_runs(top, status="completed")
    extra = [name for name in found if name not in set(scores_of(range(1), 0))]
    assert extra == ["randomization", "seed", "run", "path", "status"]
    assert len(other.columns) > len(found.columns) + 5


def test_the_original_layer_is_called_trained(top):
    for table in (load_runs(top), load_predictions(top)):
        assert set(table.loc[table["stage"] == 0, "layer"]) == {"trained"}
        assert "" not in set(table["layer"])


def test_scores_and_predictions_join_without_suffixes(top):
    scores = load_runs(top, status="completed")
    predictions = load_predictions(top, status="completed").drop(columns="target")
    both = scores.merge(predictions)
    assert len(both) == len(scores) and both["probability"].notna().all()
    assert not [name for name in both if name.endswith(("_x", "_y"))]


def test_any_value_can_be_put_in(top):
    found = load_runs(top, status="completed")
    assert not len(found.select_dtypes("category").columns)
    assert set(found["reason"].fillna("none")) == {"none", "constant"}
    assert "SSIM" in set(found["metric"].replace("ssim", "SSIM"))
    assert found.fillna(0).notna().all(axis=None)
    small = load_runs(top, status="completed", categories=True)
    assert small["metric"].dtype == "category"
    pd.testing.assert_frame_equal(found, small, check_dtype=False, check_categorical=False)


def test_attrs_say_what_columns_and_metrics_are(top, tmp_path):
    ssim = {"identity": 1.0, "range": [-1.0, 1.0], "direction": "higher", "unrelated": 0.0}
    for name, unrelated in (("one", 0.0), ("two", 0.5)):
        folder = tmp_path / name
        shutil.copytree(top / "a" / "run0", folder)
        info = json.loads((folder / "run.json").read_text())
        metrics = {"ssim": {**ssim, "unrelated": unrelated}, "mse": 3}
        changed = {"run": name, "metrics": metrics, "controls": ["edges"]}
        (folder / "run.json").write_text(json.dumps({**info, **changed}))
    one, both = load_runs(tmp_path / "one"), load_runs(tmp_path)
    assert one.attrs["metrics"] == {"ssim": ssim} and one.attrs["controls"] == ["edges"]
    assert both.attrs["metrics"] == {"ssim": {**ssim, "unrelated": None}}  # they do not agree
    assert one.attrs["units"] == {"value": "score", "null": "score"}
    assert load_predictions(tmp_path).attrs["units"]["entropy"] == "nat"
    assert runs(tmp_path).attrs["units"] == {"seconds": "s", "bytes": "B"}
    assert pd.concat([one, one]).attrs == one.attrs
    one.to_parquet(tmp_path / "copy.parquet")
    assert pd.read_parquet(tmp_path / "copy.parquet").attrs == one.attrs


def test_a_damaged_list_of_overrides_is_none(top):
    (top / "a" / "run3" / ".hydra" / "overrides.yaml").write_text("!!python/object:x.y {}")
    assert json.loads((top / "a" / "run3" / "run.json").read_text())["status"] == "failed"
    assert runs(top, status="failed")["overrides"].tolist() == [""]


def test_a_run_is_running_while_a_process_has_it(tmp_path, caplog):
    folder = tmp_path / "a" / "run"
    with RunFolder.open(folder, CONFIG, ["seed=3"], HYDRA) as run:
        run.start(INFO)
        assert runs(tmp_path)["status"].tolist() == ["running"]
    assert runs(tmp_path)["status"].tolist() == ["interrupted"]
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    assert "killed" not in caplog.text


def test_where_it_cannot_be_told_whether_a_run_still_runs_that_is_said(tmp_path, caplog):
    interrupted(tmp_path / "a" / "run")
    holder = {"pid": 1, "host": f"not {socket.gethostname()}", "since": ""}
    write_json(tmp_path / "a" / ".locks" / "run.json", holder)
    shutil.copytree(tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert runs(tmp_path)["status"].tolist() == ["running", "running"]
    assert caplog.text.count("it may have been killed") == 2


def test_the_time_that_a_run_lay_dead_does_not_count(tmp_path):
    """It ran for a minute, two hours ago, and is gone on with now."""
    folder = tmp_path / "run"
    interrupted(folder)
    began = datetime.now(UTC) - timedelta(hours=2)
    last = (began + timedelta(seconds=60)).timestamp()
    for path in (folder / "run.json", *(folder / "parts").glob("*")):
        if path.name == "run.json":
            info = json.loads(path.read_text()) | {"started": began.isoformat(timespec="seconds")}
            write_json(path, info)
        os.utime(path, (last, last))
    with RunFolder.open(folder, CONFIG, ["seed=3"], HYDRA) as run:
        run.start(INFO)
        run.create_masks(IMAGES[:KEPT], LAYERS, METHODS)
        write_units(run)
        run.complete()
    assert 59 <= runs(tmp_path)["seconds"].item() < 600
    del run.info["resumed"][0]["stopped"]  # as of a run of before it was recorded
    write_json(folder / "run.json", run.info)
    assert runs(tmp_path)["seconds"].item() >= 7200


def test_a_file_is_no_folder_of_runs(top):
    with pytest.raises(ConfigError, match=r"run\.json is a file: a run's folder is wanted"):
        runs(top / "a" / "run0" / "run.json")


def test_what_is_removed_while_sizes_are_added_up_counts_for_nothing(tmp_path, monkeypatch):
    for name in ("kept", "inside/kept", "inside/gone"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "inside")
    own = len(str(tmp_path / "inside"))  # a link's size is its target's length
    scan = os.scandir

    def slow(path):
        found = list(scan(path))
        (tmp_path / "inside" / "gone").unlink(missing_ok=True)
        return contextlib.nullcontext(found)

    monkeypatch.setattr("sanity.files.os.scandir", slow)
    assert size_of(tmp_path) == 10 + own
    assert size_of(tmp_path / "nothing") == 0
