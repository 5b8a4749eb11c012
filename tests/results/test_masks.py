"""Masks in the run folder."""

from pathlib import Path

import numpy as np
import pytest

from sanity.errors import ConfigError
from sanity.results import RunFolder, load_masks, masks_nbytes
from tests.results.runs import (
    CONFIG,
    IMAGES,
    INFO,
    KEPT,
    LAYERS,
    METHODS,
    UNITS,
    cut,
    experiment,
    interrupted,
    masks_of,
)


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
        with pytest.raises(ConfigError, match=r"of the shape \(6, 5\) after .* \(6, 5, 3\)"):
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


def test_mask_shapes_of_no_store(tmp_path):
    with RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.start(INFO)
        assert run.mask_shapes() is None
        run.create_masks(IMAGES, LAYERS, METHODS)
        assert run.mask_shapes() == METHODS
        cut(tmp_path / "run" / "masks.zarr" / "zarr.json", 10)
        assert run.mask_shapes() is None


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
