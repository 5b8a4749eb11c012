"""The run folder: written, resumed, damaged."""

import json

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from sanity.errors import ConfigError
from sanity.results import RunFolder, load_predictions, load_runs, recorded
from sanity.results.tables import PREDICTIONS, SCORES
from tests.results.runs import (
    CONFIG,
    GROUPS,
    HYDRA,
    IMAGES,
    INFO,
    KEPT,
    LAYERS,
    METHODS,
    UNITS,
    assert_same_results,
    cut,
    everything,
    experiment,
    interrupted,
    masks_of,
    predictions_of,
    scores_of,
    write_units,
)


def test_a_run_from_start_to_end(reference):
    files = {name.partition("/")[0] for name in everything(reference)}
    assert files == {"run.json", "scores.parquet", "predictions.parquet", "masks.zarr", ".hydra"}

    expected = pd.concat([scores_of(g, s) for g in GROUPS for s in range(2)], ignore_index=True)
    stored = pd.read_parquet(reference / "scores.parquet")
    assert list(stored) == list(SCORES)
    pd.testing.assert_frame_equal(stored, expected, check_dtype=False)

    expected = pd.concat([predictions_of(g, s) for g in GROUPS for s in range(2)])
    stored = pd.read_parquet(reference / "predictions.parquet")
    assert list(stored) == list(PREDICTIONS)
    expected = expected[list(PREDICTIONS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, expected, check_dtype=False)

    info = json.loads((reference / "run.json").read_text())
    assert info["status"] == "completed"
    assert info["run"] == "run"
    assert info["batch_size"] == 8
    assert info["gradients"] == 12
    assert info["rows"] == len(pd.read_parquet(reference / "scores.parquet"))
    assert info["started"] <= info["finished"]
    assert "resumed" not in info

    assert OmegaConf.load(reference / ".hydra" / "config.yaml") == CONFIG
    assert OmegaConf.load(reference / ".hydra" / "overrides.yaml") == ["seed=3"]
    saved = OmegaConf.to_container(OmegaConf.load(reference / ".hydra" / "hydra.yaml"))
    assert saved == {"hydra": HYDRA}


def test_a_completed_run_is_not_touched(reference):
    parent = reference.parent
    before = {p: p.stat().st_mtime_ns for p in parent.rglob("*")}
    with RunFolder.open(reference, CONFIG) as run:
        assert run.status == "completed"
        assert run.info["rows"] == 24
        pd.testing.assert_frame_equal(run.scores(), pd.read_parquet(reference / "scores.parquet"))
        with pytest.raises(ValueError, match="is completed"):
            run.start(INFO)
        with pytest.raises(ValueError, match="not open for writing"):
            run.write_unit("u", scores_of(GROUPS[0], 0))
    assert {p: p.stat().st_mtime_ns for p in parent.rglob("*")} == before


def test_opening_makes_no_run_folder(tmp_path):
    with RunFolder.open(tmp_path / "a" / "run", CONFIG) as run:
        assert run.status == "new"
        assert run.info == {}
        assert run.done() == set()
        assert run.log_path == tmp_path / "a" / "run" / "sanity.log"
    assert not (tmp_path / "a" / "run").exists()


def test_resuming_computes_only_what_is_missing(tmp_path, reference):
    path = tmp_path / "run"
    interrupted(path)
    (path / "parts" / ".g0001_s00.parquet.tmp").write_bytes(b"half")
    stray = path / "masks.zarr" / "gradient" / "c" / "0" / "0" / ".0f.partial"
    stray.write_bytes(b"half")
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        assert run.status == "interrupted"
        assert run.info["batch_size"] == 8
        run.start(INFO)
        run.create_masks(IMAGES[:KEPT], LAYERS, METHODS)
        assert run.done() == set(UNITS[:2])
        assert run.kept == KEPT
        np.testing.assert_array_equal(
            run.read_masks("edges", slice(0, 2), 1), masks_of("edges", range(2), 1)
        )
        assert len(run.scores()) == 16
        write_units(run)
        run.complete()
    assert_same_results(path, reference)
    assert len(run.info["resumed"]) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(ZeroDivisionError("by nought"), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_an_exception_is_recorded_and_the_run_resumed(tmp_path, reference, error, status):
    path = tmp_path / "run"
    with pytest.raises(type(error)), RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        run.start(INFO)
        write_units(run, UNITS[1])
        raise error
    info = json.loads((path / "run.json").read_text())
    assert info["status"] == status
    if status == "failed":
        assert info["error"] == "ZeroDivisionError: by nought"
        assert "raise error" in info["traceback"]
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        assert run.status == status
        run.start(INFO)
        assert run.done() == {UNITS[0]}
        assert not {"error", "traceback"} & set(json.loads((path / "run.json").read_text()))
        write_units(run)
        run.complete()
    assert_same_results(path, reference)


def test_an_exception_before_the_start_or_after_the_end_changes_nothing(tmp_path, reference):
    for path, start in ((tmp_path / "run", False), (tmp_path / "other", True)):
        with pytest.raises(ZeroDivisionError), RunFolder.open(path, CONFIG) as run:
            if start:
                run.start(INFO)
                write_units(run)
                run.complete()
            raise ZeroDivisionError
    assert not (tmp_path / "run").exists()
    assert json.loads((tmp_path / "other" / "run.json").read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("sha256", "message"),
    [
        ({"model": "zz", "images": {"zebra.jpg": "bb"}}, "model has changed"),
        ({"model": "aa", "images": {"zebra.jpg": "zz"}}, "images.zebra.jpg has changed"),
        ({"model": "aa", "images": {"gnu.jpg": "bb"}}, "images.zebra.jpg has appeared or vanished"),
        ({"model": "aa"}, "images.zebra.jpg has appeared or vanished"),
    ],
)
def test_changed_files_are_refused(tmp_path, sha256, message):
    path = tmp_path / "run"
    interrupted(path)
    before = everything(path)
    with RunFolder.open(path, CONFIG) as run:
        with pytest.raises(ConfigError, match=f"^{message} .*force=true"):
            run.start({**INFO, "sha256": sha256})
        run.check_files(INFO["sha256"])
    assert everything(path) == before
    with RunFolder.open(path, CONFIG, force=True) as run:
        run.start({**INFO, "sha256": sha256})
        assert run.done() == set()


def test_images_of_which_no_hash_was_known_go_on(tmp_path):
    recorded.refuse_other_files(tmp_path, {"images": {"a": ""}}, {"images": {"a": "aa"}})
    for after in ({"images": {"b": "aa"}}, {"images": {}}):
        with pytest.raises(ConfigError, match="^images.a has appeared or vanished"):
            recorded.refuse_other_files(tmp_path, {"images": {"a": ""}}, after)


def test_other_versions_on_resuming_are_told(tmp_path, caplog):
    path = tmp_path / "run"
    for version in ("2.21.0", "2.22.0"):
        with RunFolder.open(path, CONFIG) as run:
            run.start({**INFO, "versions": {"tensorflow": version, "numpy": "2.3"}})
    assert "The run goes on with tensorflow 2.22.0 instead of 2.21.0." in caplog.messages
    assert len(caplog.messages) == 1


def test_force_clears_what_the_run_owns_and_not_before_the_start(tmp_path, reference):
    path = tmp_path / "run"
    experiment(path)
    (path / "figures").mkdir()
    (path / "figures" / "grid.png").write_bytes(b"old")
    (path / "notes.txt").write_text("mine")
    (path / "sanity.log").write_text("log")
    before = everything(path)
    with RunFolder.open(path, CONFIG, force=True) as run:
        assert run.status == "new"
        assert run.info == {}
        assert run.done() == set()
    assert everything(path) == before
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA, force=True) as run:
        run.start(INFO)
        assert {p.name for p in path.iterdir()} == {"notes.txt", "sanity.log", "run.json", ".hydra"}
        write_units(run)
        run.complete()
    for name in ("notes.txt", "sanity.log"):
        (path / name).unlink()
    assert_same_results(path, reference)


def test_a_stage_s_reason_comes_to_its_scores_at_the_end(tmp_path):
    path = tmp_path / "run"
    with RunFolder.open(path, CONFIG) as run:
        run.start(INFO)
        for stage in (0, 1):
            scores = scores_of(range(3), stage)
            own = np.resize(np.array(["constant mask", "", None], object), len(scores))
            run.write_unit(f"u{stage}", scores.assign(reason=own))
        before = run.scores({1: "exploded"})
        run.complete(reasons={1: "exploded"})
    stored = pd.read_parquet(path / "scores.parquet")
    pd.testing.assert_frame_equal(stored, before, check_dtype=False)
    assert set(stored.loc[stored["stage"] == 1, "reason"]) == {"constant mask", "exploded"}
    first = stored.loc[stored["stage"] == 0, "reason"]
    assert "exploded" not in set(first) and first.isna().any()


def test_a_linked_mask_store_loses_the_link_only(tmp_path):
    path = tmp_path / "run"
    experiment(path)
    (path / "masks.zarr").rename(tmp_path / "elsewhere")
    (path / "masks.zarr").symlink_to(tmp_path / "elsewhere")
    with RunFolder.open(path, CONFIG, force=True) as run:
        run.start(INFO)
    assert not (path / "masks.zarr").exists()
    assert (tmp_path / "elsewhere" / "zarr.json").exists()


def test_predictions_at_once(tmp_path):
    path = tmp_path / "run"
    frame = pd.concat([predictions_of(range(3), s) for s in range(2)])
    with RunFolder.open(path, CONFIG) as run:
        run.start(INFO)
        run.write_predictions([frame])
        run.write_unit("a", scores_of(range(3), 0).drop(columns=["null", "reason"]))
        assert len(load_predictions(path)) == 6
        run.complete()
    stored = load_predictions(path, columns=list(PREDICTIONS))
    expected = frame[list(PREDICTIONS)].reset_index(drop=True)
    expected["layer"] = expected["layer"].replace("", "trained")
    pd.testing.assert_frame_equal(stored, expected, check_dtype=False, check_categorical=False)
    assert load_runs(path)[["null", "reason"]].isna().all(axis=None)


@pytest.fixture
def started(tmp_path):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        yield run


@pytest.mark.parametrize("unit", ["", "a/b", "a.b", "../a"])
def test_a_unit_needs_a_name_that_a_file_can_have(started, unit):
    with pytest.raises(ValueError, match="no name for a unit"):
        started.write_unit(unit, scores_of(range(1), 0))


@pytest.mark.parametrize("name", ["image", "stage", "layer", "channel", "x"])
def test_no_method_is_called_like_an_axis(started, name):
    with pytest.raises(ConfigError, match="no method can be called"):
        started.create_masks(IMAGES, LAYERS, {name: (2, 2)})


def test_programming_mistakes(tmp_path):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        with pytest.raises(ValueError, match="nothing to complete"):
            run.complete()
        with pytest.raises(ValueError, match="columns"):
            run.write_unit("a", scores_of(range(1), 0).drop(columns="value"))
        with pytest.raises(ValueError, match="columns"):
            run.write_unit("a", scores_of(range(1), 0).assign(more=1))
        with pytest.raises(ValueError, match="no masks are kept"):
            run.read_masks("gradient", slice(0, 1), 0)
        for other in ((3, 2), (2, 2, 1)):
            with pytest.raises(ConfigError, match="need one height, width and number of channels"):
                run.create_masks(IMAGES, LAYERS, {"a": (2, 2), "b": (2, 2, 3), "c": other})


@pytest.mark.parametrize("size", [0, 3, 200, -1])
@pytest.mark.parametrize("kind", ["", ".predictions"])
def test_a_torn_part_is_computed_again(tmp_path, reference, caplog, size, kind):
    path = tmp_path / "run"
    interrupted(path)
    cut(path / "parts" / f"{UNITS[0]}{kind}.parquet", size)
    rows = load_runs(path) if not kind else load_predictions(path)
    assert len(rows) == (8 if not kind else 2)
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        run.start(INFO)
        assert run.done() == {UNITS[1]}
        write_units(run)
        run.complete()
    assert_same_results(path, reference)
    assert any("is damaged; it is computed again" in m for m in caplog.messages)


def test_a_part_torn_while_running_is_not_passed_over(tmp_path):
    path = tmp_path / "run"
    with (
        pytest.raises(ConfigError, match=r"g0000_s00.parquet is damaged"),
        RunFolder.open(path, CONFIG) as run,
    ):
        run.start(INFO)
        write_units(run)
        cut(path / "parts" / "g0000_s00.parquet", 100)
        run.complete()
    assert json.loads((path / "run.json").read_text())["status"] == "failed"
    assert not (path / "scores.parquet").exists()


def test_units_lost_after_they_were_done_are_not_passed_over(tmp_path, reference):
    """Whoever asks what is done before the masks are laid out may be told too much."""
    path = tmp_path / "run"
    interrupted(path)
    with (
        pytest.raises(ConfigError, match=r"g0000_s00.parquet and 1 more have been lost"),
        RunFolder.open(path, CONFIG) as run,
    ):
        run.start(INFO)
        assert run.mask_shapes() == METHODS
        assert run.done() == set(UNITS[:2])
        run.create_masks(IMAGES[:1], LAYERS, METHODS)
        run.write_unit(UNITS[2], scores_of(GROUPS[1], 0))
        run.complete()
    assert not (path / "scores.parquet").exists()
    experiment(path)
    assert_same_results(path, reference)


@pytest.mark.parametrize("content", [b"", b'{"status": "runn', b"null", b"\xff\x00"])
def test_a_torn_run_json_of_an_unfinished_run_starts_it_again(tmp_path, reference, content):
    path = tmp_path / "run"
    interrupted(path)
    (path / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"run.json is damaged"):
        load_runs(path)
    with RunFolder.open(path, CONFIG) as run:
        assert run.status == "new"
        assert run.done() == set()
    experiment(path)
    assert_same_results(path, reference)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("run.json", 0),
        ("run.json", 20),
        ("scores.parquet", 0),
        ("scores.parquet", 500),
        ("scores.parquet", -1),
        ("scores.parquet", None),
        ("predictions.parquet", 500),
    ],
)
def test_a_damaged_completed_run_is_named(tmp_path, reference, name, size):
    path = tmp_path / "run"
    experiment(path)
    if size is None:
        (path / name).unlink()
    else:
        cut(path / name, size)
    before = everything(path)
    with pytest.raises(ConfigError) as error:
        RunFolder.open(path, CONFIG)
    assert str(error.value) == f"{path / name} is damaged; force=true computes the run anew"
    with pytest.raises(ConfigError, match=rf"{name}.*force=true computes the run anew"):
        load_predictions(path) if name.startswith("predictions") else load_runs(path)
    assert everything(path) == before
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA, force=True) as run:
        run.start(INFO)
        write_units(run)
        run.complete()
    assert_same_results(path, reference)


def test_a_crash_between_the_last_steps_is_repaired(tmp_path, reference, monkeypatch):
    path = tmp_path / "run"

    def crash(run):
        raise SystemError

    run = RunFolder.open(path, CONFIG, ["seed=3"], HYDRA)
    run.start(INFO)
    write_units(run)
    monkeypatch.setattr(RunFolder, "_write_info", crash)
    with pytest.raises(SystemError):
        run.complete()
    run.close()
    monkeypatch.undo()
    assert (path / "scores.parquet").exists()
    assert set(load_runs(path).status) == {"interrupted"}
    assert len(load_runs(path)) == 24

    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        run.start(INFO)
        assert run.done() == set(UNITS)
        monkeypatch.setattr(RunFolder, "_tidy", lambda run: None)
        run.complete()
    monkeypatch.undo()
    assert (path / "parts").exists()
    assert len(load_runs(path, status="completed")) == 24
    with RunFolder.open(path, CONFIG) as run:
        assert run.status == "completed"
    assert_same_results(path, reference)
