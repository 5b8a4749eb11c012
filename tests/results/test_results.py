"""The run folder and its readers.

Run as a script, this file is the process that gets killed: see `zygote`.
"""

import builtins
import errno
import importlib
import io
import itertools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from sanity.errors import ConfigError
from sanity.randomness import generator
from sanity.results import RunFolder, load_masks, load_predictions, load_runs, masks_nbytes
from sanity.results import load as load_module
from sanity.results.columns import config_columns
from sanity.results.load import find_runs
from sanity.results.tables import PREDICTIONS, SCORES

ROOT = Path(__file__).parents[2]
IMAGES = ["zebra.jpg", "gnu é.jpg", "cat.jpg"]
LAYERS = ["", "logits"]
METHODS = {"gradient": (6, 5, 3), "edges": (6, 5)}
METRICS = ["ssim", "spearman"]
GROUPS = [range(0, 2), range(2, 3)]
KEPT = 2
UNITS = [f"g{g:04}_s{s:02}" for g in range(2) for s in range(2)]
CONFIG = {
    "name": "test",
    "seed": 3,
    "target": "predicted",
    "precision": "float32",
    "force": False,
    "output": "outputs",
    "runtime": {"batch_size": 8},
    "model": {"_target_": "sanity.models.Embedded", "blocks": ["a", "b"], "scale": 1.0},
    "data": {"_target_": "sanity.data.Samples", "limit": None, "shard": 0, "shards": 1},
    "method": {"gradient": {"_target_": "x.Gradient"}, "edges": {"_target_": "x.E", "sigma": 1.5}},
    "metric": {"ssim": {"window": 5}, "spearman": {"absolute": True}},
}
CHOICES = {
    "model": "embedded",
    "data": "samples",
    "layers": "all",
    "randomization": "cascading",
    "method": ["gradient", "edges"],
    "experiment": None,
    "hydra/launcher": "basic",
}
HYDRA = {"runtime": {"choices": CHOICES, "cwd": "${oc.env:HOME}"}}
INFO = {"sha256": {"model": "aa", "images": {"zebra.jpg": "bb"}}, "batch_size": np.int64(8)}


def masks_of(method: str, images: range, stage: int) -> np.ndarray:
    """Any numbers, the same whenever they are asked for."""
    draws = [generator(method, i, stage).standard_normal(METHODS[method]) for i in images]
    return np.array(draws, np.float32)


def scores_of(images: range, stage: int, seed: int = 0) -> pd.DataFrame:
    keys = [(i, m, k) for i in images for m in METHODS for k in METRICS]
    return pd.DataFrame(
        {
            "image": [IMAGES[i] for i, _, _ in keys],
            "target": [340 + i for i, _, _ in keys],
            "method": [m for _, m, _ in keys],
            "stage": stage,
            "layer": LAYERS[stage],
            "metric": [k for _, _, k in keys],
            "value": [generator(seed, stage, *key).random() for key in keys],
            "null": [None if k == "ssim" else 0.5 for _, _, k in keys],
            "reason": [None if k == "ssim" else "constant" for _, _, k in keys],
        }
    )


def predictions_of(images: range, stage: int) -> pd.DataFrame:
    fixed = {"stage": stage, "layer": LAYERS[stage], "predicted": 340, "predicted_name": "zebra"}
    frame = pd.DataFrame({"image": [IMAGES[i] for i in images], **fixed, "target": 340})
    for column in PREDICTIONS:
        if column not in frame:
            frame[column] = [generator(column, i, stage).random() for i in images]
    return frame


def write_units(run: RunFolder, stop_before: str | None = None) -> None:
    """The experiment's loop."""
    run.create_masks(IMAGES[:KEPT], LAYERS, METHODS)
    done = run.done()
    for g, group in enumerate(GROUPS):
        for stage in range(len(LAYERS)):
            unit = f"g{g:04}_s{stage:02}"
            if unit == stop_before:
                return
            if unit not in done:
                for method in METHODS:
                    run.write_masks(method, group, stage, masks_of(method, group, stage))
                run.write_unit(unit, scores_of(group, stage), predictions_of(group, stage))


def experiment(path: Path) -> None:
    """One launch, from start to end."""
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        if run.status != "completed":
            run.start(INFO)
            write_units(run)
            run.complete({"gradients": 12})


def interrupted(path: Path, stop_before: str = UNITS[2]) -> None:
    """A run that was killed: `running`, some units done."""
    run = RunFolder.open(path, CONFIG, ["seed=3"], HYDRA)
    run.start(INFO)
    write_units(run, stop_before)
    run.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "name" / "run"
    experiment(path)
    return path


def everything(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def assert_same_results(path: Path, reference: Path) -> None:
    """Scores, predictions and masks to the bit, and no other files than an uninterrupted run's."""
    ours, theirs = everything(path), everything(reference)
    assert sorted(ours) == sorted(theirs)
    for name in ("scores.parquet", "predictions.parquet"):
        assert ours[name] == theirs[name]
    for method in METHODS:
        masks, expected = (load_masks(p)[method].to_numpy() for p in (path, reference))
        assert masks.tobytes() == expected.tobytes()
        assert np.isfinite(masks).all()
    assert json.loads(ours["run.json"])["status"] == "completed"


# Writing


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
        run.write_predictions(frame)
        run.write_unit("a", scores_of(range(3), 0).drop(columns=["null", "reason"]))
        assert len(load_predictions(path)) == 6
        run.complete()
    stored = load_predictions(path, columns=list(PREDICTIONS))
    expected = frame[list(PREDICTIONS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, expected, check_dtype=False, check_categorical=False)
    assert load_runs(path)[["null", "reason"]].isna().all(axis=None)


def test_programming_mistakes(tmp_path):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        with pytest.raises(ValueError, match="nothing to complete"):
            run.complete()
        for unit in ("", "a/b", "a.b", "../a"):
            with pytest.raises(ValueError, match="no name for a unit"):
                run.write_unit(unit, scores_of(range(1), 0))
        with pytest.raises(ValueError, match="columns"):
            run.write_unit("a", scores_of(range(1), 0).drop(columns="value"))
        with pytest.raises(ValueError, match="columns"):
            run.write_unit("a", scores_of(range(1), 0).assign(more=1))
        with pytest.raises(ValueError, match="no masks are kept"):
            run.read_masks("gradient", slice(0, 1), 0)
        for name in ("image", "stage", "layer", "channel", "x"):
            with pytest.raises(ValueError, match="no method can be called"):
                run.create_masks(IMAGES, LAYERS, {name: (2, 2)})
        for other in ((3, 2), (2, 2, 1)):
            with pytest.raises(ValueError, match="need one height, width and depth"):
                run.create_masks(IMAGES, LAYERS, {"a": (2, 2), "b": (2, 2, 3), "c": other})


# Masks


def test_masks_are_a_labelled_dataset(reference):
    masks = load_masks(reference)
    assert set(masks.data_vars) == set(METHODS)
    assert masks.gradient.dims == ("image", "stage", "y", "x", "channel")
    assert masks.edges.dims == ("image", "stage", "y", "x")
    assert masks.gradient.dtype == masks.edges.dtype == np.float32
    assert masks.image.values.tolist() == IMAGES[:KEPT]
    assert masks.stage.values.tolist() == [0, 1]
    assert masks.layer.dims == ("stage",)
    assert masks.layer.values.tolist() == LAYERS
    assert masks.channel.values.tolist() == ["r", "g", "b"]
    assert set(masks.indexes) == {"image", "stage", "channel"}
    for i, image in enumerate(IMAGES[:KEPT]):
        for stage in range(2):
            for method in METHODS:
                mask = masks[method].sel(image=image, stage=stage).values
                np.testing.assert_array_equal(mask, masks_of(method, range(i, i + 1), stage)[0])
    blue = masks.gradient.sel(stage=1, channel="b").isel(image=0)
    np.testing.assert_array_equal(blue, masks_of("gradient", range(1), 1)[0, :, :, 2])
    assert masks.gradient.where(masks.layer == "logits", drop=True).sizes["stage"] == 1
    assert masks_nbytes(KEPT, 2, METHODS) == sum(masks[m].nbytes for m in METHODS)
    assert masks_nbytes(KEPT, 2, METHODS.values()) == masks_nbytes(KEPT, 2, METHODS)


@pytest.mark.filterwarnings("ignore:The codec `vlen-utf8`:UserWarning")  # Zarr before 3.1
def test_masks_are_read_with_plain_xarray(reference):
    import xarray as xr

    masks = xr.open_dataset(reference / "masks.zarr", engine="zarr", chunks=None)
    assert masks.gradient.sel(image=IMAGES[1], stage=1).shape == (6, 5, 3)
    assert masks.layer.values.tolist() == LAYERS


def test_masks_not_written_yet_are_nan(tmp_path):
    interrupted(tmp_path / "run", UNITS[1])
    masks = load_masks(tmp_path / "run")
    assert np.isfinite(masks.edges.sel(stage=0)).all()
    assert np.isnan(masks.edges.sel(stage=1)).all()


def test_masks_beyond_the_kept_ones_are_dropped(tmp_path):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        run.create_masks(IMAGES[:2], LAYERS, METHODS)
        run.write_masks("edges", slice(1, 3), 0, masks_of("edges", range(1, 3), 0))
        run.write_masks("edges", slice(2, 3), 1, masks_of("edges", range(2, 3), 1))
        stored = run.read_masks("edges", slice(0, 2), 0)
        assert np.isnan(stored[0]).all()
        np.testing.assert_array_equal(stored[1], masks_of("edges", range(1, 2), 0)[0])
        assert np.isnan(run.read_masks("edges", slice(0, 2), 1)).all()
        with pytest.raises(ValueError, match="the first 2 are kept"):
            run.read_masks("edges", slice(1, 3), 0)
        with pytest.raises(ValueError, match="of shape"):
            run.write_masks("gradient", slice(0, 2), 0, masks_of("edges", range(2), 0))
        with pytest.raises(ValueError, match="1 masks for images 0 to 2"):
            run.write_masks("edges", slice(0, 2), 0, masks_of("edges", range(1), 0))


@pytest.mark.parametrize(("images", "methods"), [([], METHODS), (IMAGES, {})])
def test_no_masks_kept(tmp_path, images, methods):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        run.create_masks(images, LAYERS, methods)
        run.write_masks("edges", slice(0, 2), 0, masks_of("edges", range(2), 0))
        assert run.kept == 0
    with pytest.raises(ConfigError, match="masks.keep=none"):
        load_masks(tmp_path / "run")


@pytest.mark.parametrize(("depth", "labels"), [((3,), ["r", "g", "b"]), ((1,), ["0"]), ((), None)])
def test_channels(tmp_path, depth, labels):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        run.create_masks(IMAGES, LAYERS, {"a": (4, 4), "b": (4, 4, *depth)})
    masks = load_masks(tmp_path / "run")
    assert ("channel" in masks.coords) == bool(depth)
    if labels:
        assert masks.channel.values.tolist() == labels


def test_masks_are_read_lazily(tmp_path, monkeypatch):
    experiment(tmp_path / "run")
    read = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: read.append(p) or whole(p))
    masks = load_masks(tmp_path / "run")
    assert not [p for p in read if "gradient/c" in p.as_posix()]
    masks.gradient.sel(stage=1, image=IMAGES[0]).to_numpy()
    assert len([p for p in read if "gradient/c" in p.as_posix()]) == 1


# Damage


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


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


def test_mask_shapes_of_no_store(tmp_path):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        assert run.mask_shapes() is None
        run.create_masks(IMAGES, LAYERS, METHODS)
        assert run.mask_shapes() == METHODS
        cut(tmp_path / "run" / "masks.zarr" / "zarr.json", 10)
        assert run.mask_shapes() is None


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


@pytest.mark.parametrize("size", [0, 3, 20, 60, -1])
def test_a_damaged_mask_is_named(tmp_path, size):
    path = tmp_path / "run"
    interrupted(path)
    cut(path / "masks.zarr" / "edges" / "c" / "0" / "1" / "0" / "0", size)
    with RunFolder.open(path, CONFIG) as run:
        run.start(INFO)
        run.create_masks(IMAGES[:KEPT], LAYERS, METHODS)
        run.read_masks("edges", slice(0, 2), 0)
        with pytest.raises(ConfigError, match=r"masks.zarr/edges is damaged"):
            run.read_masks("edges", slice(0, 2), 1)
    cut(path / "masks.zarr" / "zarr.json", 20)
    with pytest.raises(ConfigError, match=r"masks.zarr is damaged"):
        load_masks(path)


@pytest.mark.parametrize("damage", ["store", "images", "layers", "shapes", "gone", "metadata"])
def test_a_mask_store_that_does_not_fit_takes_its_units_with_it(tmp_path, caplog, damage):
    path = tmp_path / "run"
    interrupted(path)
    images, layers, methods = IMAGES[:KEPT], LAYERS, METHODS
    if damage == "store":
        cut(path / "masks.zarr" / "zarr.json", 10)
    elif damage == "metadata":
        cut(path / "masks.zarr" / "edges" / "zarr.json", 10)
    elif damage == "gone":
        (path / "masks.zarr").rename(tmp_path / "elsewhere")
    elif damage == "images":
        images = IMAGES
    elif damage == "layers":
        layers = ["", "head"]
    else:
        methods = {"gradient": (6, 5)}
    with RunFolder.open(path, CONFIG) as run:
        run.start(INFO)
        run.create_masks(images, layers, methods)
        assert run.done() == set()
        assert run.kept == len(images)
    assert np.isnan(load_masks(path).gradient).all()
    assert any("does not fit the run" in m for m in caplog.messages)


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
    assert set(load_runs(path).status) == {"running"}
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


# A disk that cannot be written


ERRORS = {errno.ENOSPC: "No space left on device", errno.EROFS: "Read-only file system"}


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("step", ["open", "start", "masks", "mask", "unit", "complete", "sync"])
def test_what_cannot_be_written_gives_one_sentence(tmp_path, reference, monkeypatch, step, code):
    """Whichever step fails, the same command goes on once there is room."""
    path = tmp_path / "run"
    failing = OSError(code, os.strerror(code))

    def fail(*args, **kwargs):
        raise failing

    def open_(function):
        def opened(path, mode="r", *args, **kwargs):
            return fail() if mode != "rb" else function(path, mode, *args, **kwargs)

        return opened

    def break_disk():
        monkeypatch.setattr("os.mkdir", fail)
        monkeypatch.setattr("os.replace", fail)
        monkeypatch.setattr("os.fsync", fail)
        monkeypatch.setattr(Path, "open", open_(Path.open))
        monkeypatch.setattr("builtins.open", open_(open))

    def launch():
        if step == "open":
            break_disk()
        with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
            for name, action in {
                "start": lambda: run.start(INFO),
                "masks": lambda: run.create_masks(IMAGES[:KEPT], LAYERS, METHODS),
                "mask": lambda: run.write_masks(
                    "edges", range(2), 0, masks_of("edges", range(2), 0)
                ),
                "unit": lambda: run.write_unit("u", scores_of(range(2), 0)),
                "sync": lambda: write_units(run),
                "complete": lambda: run.complete(),
            }.items():
                if name == step:
                    break_disk()
                action()

    with pytest.raises(ConfigError) as error:
        launch()
    assert str(error.value).startswith(f"Cannot write {tmp_path}")
    assert str(error.value).endswith(ERRORS[code])
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    status = RunFolder.open(path, CONFIG)
    assert status.status == ("new" if step in ("open", "start") else "interrupted")
    status.close()
    (path / "parts" / "u.parquet").unlink(missing_ok=True)
    experiment(path)
    assert_same_results(path, reference)


def test_a_file_larger_than_allowed_leaves_no_half(tmp_path):
    """A real failure in the midst of a write: the system's limit on the size of files."""
    path = tmp_path / "run"
    interrupted(path)
    code = f"""
import resource, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from test_results import *
path = Path({str(path)!r})
run = RunFolder.open(path, CONFIG)
run.start(INFO)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    run.write_unit("z", scores_of(range(3), 0))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"Cannot write {path / 'parts' / 'z.parquet'}: File too large\n"
    assert not [p for p in (path / "parts").iterdir() if "z.parquet" in p.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can write")
def test_a_folder_that_nobody_can_write():
    with pytest.raises(ConfigError, match=r"^Cannot write /proc/sanity: .*\w$"):
        RunFolder.open("/proc/sanity/run", CONFIG)


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(ConfigError, match=r"^Cannot write .*/run: "),
        RunFolder.open(tmp_path / "run", CONFIG) as run,
    ):
        run.start(INFO)


# Killed processes


def launch(
    path: Path,
    moment: int | None = None,
    torn: bool = False,
    work: Callable[[Path], None] = experiment,
) -> tuple[int, int]:
    """Forks a process that does the work and kills itself at a moment.

    Args:
        path: Where it works.
        moment: The change of its folder or beside it that it dies before: a file opened, renamed
            or removed, a folder made or removed; None lets it live.
        torn: Count writes instead, and die with half of one written.
        work: What it does.

    Returns:
        The process and the pipe it reports to, for `finish`.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        changes, writes = itertools.count(), itertools.count()  # exact even where threads write
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        opened = io.open

        def hook(event: str, args: tuple) -> None:
            changing = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")
            if changing or (event == "open" and args[2] and args[2] & writing):
                target = Path(str(args[0]))
                if not target.is_absolute() or target.is_relative_to(path.parent):
                    if next(changes) == moment and not torn:
                        os.kill(os.getpid(), signal.SIGKILL)

        def open_hooked(file, mode="r", *args, **kwargs):
            stream = opened(file, mode, *args, **kwargs)
            if mode in ("wb", "xb"):
                write = stream.write

                def write_half(data):
                    if next(writes) == moment and torn:
                        content = memoryview(data).cast("B")
                        write(content[: len(content) // 2])
                        stream.flush()
                        os.kill(os.getpid(), signal.SIGKILL)
                    return write(data)

                stream.write = write_half
            return stream

        os.write(theirs, b"!")
        builtins.open = io.open = open_hooked
        sys.addaudithook(hook)
        try:
            work(path)
            os.write(theirs, f"{next(changes)} {next(writes)}".encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(theirs)
    os.read(ours, 1)  # it runs
    return pid, ours


def finish(pid: int, pipe: int) -> tuple[int, int] | None:
    """The changes and writes that a launched process made; None if it was killed."""
    with open(pipe) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    changes, writes = text.split()
    return int(changes), int(writes)


def zygote(top: str, mode: str, count: str) -> None:
    """Kills runs at many moments and completes them; prints what came of it.

    A process of its own, which forks before any thread is started, as importing takes far longer
    than the runs do.

    Args:
        top: Where the run folders go.
        mode: `events` kills at `count` of the changes of the disk and of the writes; `times` kills
            after random times, until `count` runs have each been killed twice.
        count: See `mode`.
    """
    for module in ("filelock", "omegaconf", "pyarrow.parquet", "zarr.codecs"):
        importlib.import_module(module)
    n, killed, runs, torn = int(count), 0, 0, 0
    random = generator("kill", mode)
    made = []
    for _ in range(5):  # threads that make the same folders change the disk now and then once more
        shutil.rmtree(Path(top, "unharmed"), ignore_errors=True)
        begun = time.perf_counter()
        made.append(finish(*launch(Path(top, "unharmed"))))
        duration = time.perf_counter() - begun
    changes, writes = min(made)
    if mode == "events":
        # Between writes, and within them.
        for moment in sorted(random.choice(changes + writes, n, replace=False)):
            path = Path(top, f"event{moment:04}")
            within = bool(moment >= changes)
            at = int(moment - changes if within else moment)
            if finish(*launch(path, at, within)) is None:
                killed, torn = killed + 1, torn + within
            runs += finish(*launch(path)) is not None
    else:
        attempts = iter(range(10 * n))
        while runs < n:
            path = Path(top, f"time{next(attempts):04}")  # StopIteration: it is never hit
            for _ in range(2):
                pid, pipe = launch(path)
                time.sleep(random.uniform(0, duration))
                os.kill(pid, signal.SIGKILL)
                hit = finish(pid, pipe) is None
                killed += hit
                if not hit:  # it had ended: the machine is less busy than when it was timed
                    duration *= 0.7
                    break
            else:
                runs += finish(*launch(path)) is not None
    found = {"killed": killed, "torn": torn, "runs": runs, "seconds": duration}
    print(json.dumps({"changes": changes, "writes": writes, **found}))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("mode", "count"),
    [("times", 20), ("events", 20), pytest.param("events", 50, marks=pytest.mark.slow)],
)
def test_killed_runs_are_resumed_to_the_same_bits(tmp_path, reference, mode, count):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), mode, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(result)
    folders = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    if mode == "events":
        expected = count
        assert result["killed"] == result["runs"] == expected
        assert 0 < result["torn"] < expected
        assert len(folders) == expected + 1
    else:
        assert result["killed"] >= 2 * count
        assert result["runs"] == count
    for folder in folders:
        assert_same_results(folder, reference)
    assert {p.suffix for p in (tmp_path / ".locks").iterdir()} <= {".lock", ".json"}


# Two processes


HOLDER = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from test_results import *
with RunFolder.open(Path(sys.argv[1]), CONFIG, ["seed=3"], HYDRA) as run:
    run.start(INFO)
    print("ready", flush=True)
    sys.stdin.read()
    write_units(run)
    run.complete()
"""


def test_two_processes_on_one_folder(tmp_path, reference, caplog):
    path = tmp_path / "run"
    caplog.set_level(logging.INFO, "sanity")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(ConfigError, match=rf"/run is in use by process {other.pid} on \S+$"):
            RunFolder.open(path, CONFIG, wait=False)
        assert set(load_runs(path, columns=["status"]).status) == set()
        timer = threading.Timer(0.5, other.stdin.close)
        timer.start()
        with RunFolder.open(path, CONFIG) as run:  # waits until the other has done it all
            assert run.status == "completed"
        timer.join()
        assert other.wait() == 0
    assert f"Waiting for process {other.pid} on " in caplog.text
    assert len(caplog.messages) == 1
    assert_same_results(path, reference)


def test_the_lock_ends_with_the_run(tmp_path):
    path = tmp_path / "run"
    with RunFolder.open(path, CONFIG) as run:
        run.start(INFO)
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} "):
            RunFolder.open(path, CONFIG, wait=False)
    with RunFolder.open(path, CONFIG, wait=False) as run:
        assert run.status == "interrupted"


# Reading


def make_run(path: Path, seed: int, complete: bool = True, **changes) -> pd.DataFrame:
    """A run with values of its own; returns its scores."""
    config = {**CONFIG, "seed": seed, "name": path.parent.name, **changes}
    choices = {**CHOICES, "randomization": "independent" if seed % 2 else "cascading"}
    scores = [scores_of(range(3), stage, seed) for stage in range(2)]
    run = RunFolder.open(path, config, [], {"hydra": {"runtime": {"choices": choices}}})
    run.start(INFO)
    for stage, frame in enumerate(scores):
        run.write_unit(f"s{stage}", frame, predictions_of(range(3), stage))
    if complete:
        run.complete()
    run.close()
    return pd.concat(scores, ignore_index=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Five runs, one of them not completed, one with another method's configuration."""
    top = tmp_path_factory.mktemp("outputs")
    for seed in range(3):
        make_run(top / "a" / f"run{seed}", seed)
    make_run(top / "b" / "run3", 3, complete=False)
    method = {"smoothgrad": {"samples": 10, "square": False, "noise": "gauss"}}
    make_run(top / "b" / "run4", 4, method=method, target=340)
    return top


def slow_load(top: Path) -> pd.DataFrame:
    """All runs by the obvious means: the files that Hydra's users know, and pandas."""
    frames = []
    for folder in sorted(p.parent for p in top.rglob("run.json")):
        files = [folder / "scores.parquet"]
        if not files[0].exists():
            files = [p for p in sorted(folder.glob("parts/*")) if "predictions" not in p.name]
        frame = pd.concat([pd.read_parquet(f) for f in files], ignore_index=True)
        config = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"))
        choices = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra.runtime.choices
        for group in ("model", "data", "layers", "randomization"):
            frame[group] = choices[group]
        for key in ("name", "seed", "precision"):
            frame[key] = config[key]
        frame["target_rule"] = str(config["target"])
        frame["model.scale"] = config["model"]["scale"]
        frame["model.blocks"] = f"[{','.join(config['model']['blocks'])}]"
        frame["data.limit"] = np.nan
        frame["data.shard"], frame["data.shards"] = 0, 1
        if sigma := config["method"].get("edges", {}).get("sigma"):
            frame["method.edges.sigma"] = sigma
        for key, value in config["method"].get("smoothgrad", {}).items():
            frame[f"method.smoothgrad.{key}"] = value
        frame["metric.ssim.window"] = 5
        frame["metric.spearman.absolute"] = True
        frame["run"], frame["path"] = folder.name, str(folder)
        frame["status"] = json.loads((folder / "run.json").read_text())["status"]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def assert_same_rows(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    assert sorted(ours) == sorted(theirs)
    theirs = theirs.reset_index(drop=True)
    assert len(ours) == len(theirs)
    for column in theirs:
        a, b = ours[column], theirs[column]
        assert (a.isna() == b.isna()).all(), column
        assert (a.dropna().astype(object) == b.dropna().astype(object)).all(), column


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"metric": "ssim"},
        {"method": ["edges"], "metric": "spearman", "stage": 1},
        {"stage": [0, 1], "image": IMAGES[1]},
        {"stage": range(1, 5), "layer": "logits"},
        {"seed": [0, 3, 99]},
        {"randomization": "independent", "method": "gradient"},
        {"method.smoothgrad.samples": 10},
        {"name": ("a",), "seed": 2},
        {"target_rule": "predicted", "target": 341},
        {"reason": "constant"},
        {"reason": None},
        {"run": {"run3", "run4"}},
    ],
)
def test_load_runs_equals_the_obvious_way(runs, filters):
    expected = slow_load(runs)
    columns = set(expected)
    for name, value in filters.items():
        values = list(value) if isinstance(value, (list, tuple, set, range)) else [value]
        hit = expected[name].isin(values) | (expected[name].isna() & (None in values))
        expected = expected[hit]
    found = load_runs(runs, **filters)
    assert set(found) <= columns
    missing = expected.columns.difference(found.columns)
    assert expected[missing].isna().all(axis=None)  # keys of runs that were filtered out
    assert_same_rows(found, expected.drop(columns=missing))
    assert len(found) > 0


def test_columns_and_their_types(runs):
    frame = load_runs(runs)
    assert list(frame)[:9] == list(SCORES)
    assert list(frame)[-3:] == ["run", "path", "status"]
    numbers = {
        "target": "int32",
        "stage": "int32",
        "value": "float64",
        "null": "float64",
        "seed": "int64",
        "data.shard": "int64",
        "data.shards": "int64",
        "data.limit": "category",
        "model.scale": "float64",
        "method.edges.sigma": "float64",
        "method.smoothgrad.samples": "float64",  # some runs have none
        "method.smoothgrad.square": "boolean",
        "metric.ssim.window": "int64",
        "metric.spearman.absolute": "bool",
    }
    for name, dtype in frame.dtypes.items():
        assert str(dtype) == numbers.get(name, "category"), name
    # In the order of the files, so that layers come from output to input and methods as given.
    assert list(frame.layer.cat.categories) == LAYERS
    assert list(frame.method.cat.categories) == list(METHODS)
    assert list(load_runs(runs, method="edges").method.cat.categories) == ["edges"]
    # No result depends on these.
    assert not [c for c in frame if c.startswith(("runtime", "force", "output", "hydra"))]
    assert not [c for c in frame if c.endswith("_target_")]
    means = frame.groupby(["method", "seed"], observed=True)["value"].mean()
    assert len(means) == 10


def test_only_some_columns(runs):
    frame = load_runs(runs, columns=["seed", "value"], metric="ssim")
    assert list(frame) == ["value", "seed"]
    pd.testing.assert_frame_equal(frame, load_runs(runs, metric="ssim")[["value", "seed"]])
    assert len(load_runs(runs, columns=["seed"])) == len(load_runs(runs))


def test_status(runs):
    frame = load_runs(runs)
    counts = frame.groupby("run", observed=True)["status"].first().value_counts()
    assert counts.to_dict() == {"completed": 4, "running": 1}
    assert set(load_runs(runs, status="completed").run) == {"run0", "run1", "run2", "run4"}
    assert set(load_runs(runs, status=["running", "failed"]).run) == {"run3"}


def test_predictions(runs):
    frame = load_predictions(runs, stage=1, seed=[1, 3])
    assert list(frame)[: len(PREDICTIONS)] == list(PREDICTIONS)
    assert frame.groupby("run", observed=True).size().to_dict() == {"run1": 3, "run3": 3}
    assert set(frame.status) == {"completed", "running"}
    expected = predictions_of(range(3), 1)
    np.testing.assert_array_equal(frame.entropy, [*expected.entropy, *expected.entropy])


def test_several_paths_and_links(runs, tmp_path):
    frame = load_runs(runs)
    for paths in (
        [runs / "a", runs / "b"],
        [str(runs / "a"), runs],
        (p for p in [runs, runs / "b" / "run3"]),
        str(runs),
    ):
        assert len(load_runs(paths)) == len(frame)
    one = load_runs(runs / "a" / "run1")
    assert set(one.run) == {"run1"}
    assert set(one.path) == {str(runs / "a" / "run1")}
    (tmp_path / "link").symlink_to(runs / "a")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / ".hidden").symlink_to(runs / "b")
    assert set(load_runs(tmp_path).run) == {"run0", "run1", "run2"}


def test_nothing_matches(runs):
    frame = load_runs(runs, metric="hog")
    assert len(frame) == 0
    assert list(frame) == list(load_runs(runs))
    assert len(load_runs(runs, seed=99)) == 0
    assert len(load_runs(runs, seed="1")) == 0
    assert len(load_runs(runs, status="done")) == 0


def test_mistakes_in_loading(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"^metrics is no column of these runs \(columns: image"):
        load_runs(runs, metrics="ssim")
    with pytest.raises(ConfigError, match="^sead is no column"):
        load_runs(runs, columns=["sead"])
    with pytest.raises(ConfigError, match=r"^Cannot read .*nowhere: No such file"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=f"^There is no run below {tmp_path}$"):
        load_runs(tmp_path)
    with pytest.raises(ConfigError, match="holds no masks"):
        load_masks(tmp_path)


def test_shards_join(tmp_path):
    for shard in range(2):
        with RunFolder.open(
            tmp_path / f"run{shard}", {"seed": 0, "data": {"shard": shard, "shards": 2}}
        ) as run:
            run.start(INFO)
            run.write_unit("u", scores_of(GROUPS[shard], 0))
            run.complete()
    frame = load_runs(tmp_path, seed=0, method="edges", metric="ssim")
    assert dict(zip(frame.image, frame["data.shard"], strict=True)) == dict(
        zip(IMAGES, [0, 0, 1], strict=True)
    )


def test_a_run_completed_while_it_is_read(tmp_path, monkeypatch):
    """Its parts vanish under the reader, before or after they are listed."""
    for when in ("before", "after"):
        path = tmp_path / when
        make_run(path, 0, complete=False)
        files = load_module._files

        def complete_meanwhile(run, table, path=path, when=when, files=files):
            monkeypatch.undo()
            listed = files(run, table) if when == "after" else None
            with RunFolder.open(path, CONFIG) as own:
                own.start(INFO)
                own.complete()
            return listed or files(run, table)

        monkeypatch.setattr(load_module, "_files", complete_meanwhile)
        frame = load_runs(path)
        assert len(frame) == 24
        assert set(frame.status) == {"completed"}


def test_a_run_removed_while_it_is_read(tmp_path, monkeypatch):
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 1)
    files = load_module._files

    def remove_meanwhile(run, table):
        if run.folder.name == "a":
            for name in ("run.json", "scores.parquet"):
                (run.folder / name).unlink(missing_ok=True)
        return files(run, table)

    monkeypatch.setattr(load_module, "_files", remove_meanwhile)
    assert set(load_runs(tmp_path).run) == {"b"}


def test_values_of_mixed_kinds(tmp_path):
    values = [True, 3, 2.5, "text", None, 2**70]
    for i, value in enumerate(values):
        make_run(
            tmp_path / f"run{i}", 0, mixed=value, number=[1, 2.5][i % 2], big=2**70 + i, maybe=None
        )
    frame = load_runs(tmp_path, metric="ssim", method="edges", stage=0, image=IMAGES[0])
    assert frame.mixed.astype(object).tolist()[:4] == ["True", "3", "2.5", "text"]
    assert pd.isna(frame.mixed[4])
    assert frame.number.tolist() == [1, 2.5] * 3
    assert frame.big.dtype == float
    assert frame.maybe.isna().all()


def test_config_columns_without_hydra():
    columns = config_columns(CONFIG, None)
    assert columns["target_rule"] == "predicted"
    assert columns["method.edges.sigma"] == 1.5
    assert columns["model.blocks"] == "[a,b]"
    assert "model" not in columns
    clips = config_columns({"metric": {"ssim": {"clip": [0, None, [True, 99.5]]}}}, None)
    assert clips == {"metric.ssim.clip": "[0,null,[true,99.5]]"}
    assert config_columns({}, HYDRA) == config_columns({}, {"hydra": HYDRA})
    assert config_columns({}, HYDRA)["model"] == "embedded"


def test_find_runs_does_not_look_into_runs(runs):
    assert [p.name for p in find_runs(runs)] == [f"run{i}" for i in range(5)]


def test_importing_is_quick():
    """Asking whether a run is completed, or `--help`, must not wait for these."""
    code = "import sanity.results, sys; print([m for m in sys.modules if '.' not in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for module in ("pandas", "pyarrow", "zarr", "xarray", "tensorflow", "omegaconf"):
        assert f"'{module}'" not in done.stdout


SCALE = f"""
import re, sys, time
sys.path.insert(0, {str(ROOT)!r})
from sanity import load_runs
start = time.perf_counter()
frame = load_runs(sys.argv[1], method="gradient", metric="ssim")
seconds = time.perf_counter() - start
# The parent's peak stands in getrusage's, as it was when it forked.
status = open("/proc/self/status").read()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 2**20
print(len(frame), frame.seed.nunique(), frame.shape[1], peak, seconds)
"""


@pytest.mark.slow
def test_a_thousand_runs(tmp_path, monkeypatch):
    """1,000 runs of 10,000 rows: memory is asserted, the time only printed."""
    keys = [
        (f"i{i:02}", i, m, s, f"block{s}", k)
        for i in range(25)
        for s in range(20)
        for m in ("gradient", "edges", "smoothgrad", "noise", "vargrad")
        for k in ("ssim", "hog", "spearman", "pearson")
    ]
    frame = pd.DataFrame(keys, columns=["image", "target", "method", "stage", "layer", "metric"])
    assert len(frame) == 10_000
    monkeypatch.setattr("os.fsync", lambda handle: None)
    for seed in range(1000):
        frame["value"] = generator(seed).random(len(frame))
        folder = tmp_path / f"name{seed % 3}" / f"run{seed:04}"
        with RunFolder.open(folder, {**CONFIG, "seed": seed}, [], HYDRA) as run:
            run.start(INFO)
            run.write_unit("u", frame)
            run.complete()
    done = subprocess.run(
        [sys.executable, "-c", SCALE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    rows, seeds, columns, peak, seconds = (float(v) for v in done.stdout.split())
    print(f"{rows:.0f} of 10,000,000 rows in {seconds:.1f} s, peak {peak:.2f} GiB")
    assert rows == 1000 * 25 * 20
    assert seeds == 1000
    assert columns > 20
    assert peak < 0.93  # 1 GB, interpreter and libraries included


if __name__ == "__main__":
    zygote(*sys.argv[1:])
