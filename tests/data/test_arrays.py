"""NumPy files as data: which array, which range, which labels, and what is read of them."""

import json

import numpy as np
import pytest
import zarr

from sanity.contents import digest_of
from sanity.data import Arrays, ImageSpec
from sanity.errors import ConfigError
from sanity.files import quiet

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (12, 6, 8, 3), np.uint8)
BANDS = (10_000 * RANDOM.random((12, 6, 8, 13))).astype(np.uint16)
NUMBERS = np.arange(12) % 5


def saved(folder, name="scans.npy", **arrays):
    path = folder / name
    if name.endswith(".zarr"):
        group = zarr.create_group(path, overwrite=True)
        for key, array in arrays.items():
            group.create_array(key, data=np.ascontiguousarray(array), chunks=(5, *array.shape[1:]))
    elif name.endswith(".npy"):
        np.save(path, next(iter(arrays.values())))
    else:
        (np.savez_compressed if "compressed" in name else np.savez)(path, **arrays)
    return str(path)


@pytest.mark.parametrize("name", ["scans.npy", "scans.npz", "compressed.npz", "scans.zarr"])
@pytest.mark.parametrize(
    ("stored", "scale", "expected"),
    [
        (BYTES, None, BYTES / 255),
        (BYTES[..., 0], None, BYTES[..., :1] / 255),
        (np.asfortranarray(BYTES), None, BYTES / 255),
        (BANDS, [0.0, 10_000.0], BANDS / 10_000),
        (BANDS[..., :2] / 5000 - 1, [-1.0, 1.0], BANDS[..., :2] / 10_000),
        (BANDS[..., :1] > 5000, None, BANDS[..., :1] > 5000),
        (RANDOM.random((12, 3, 20, 16)), [0.0, 1.0], "channels first"),
    ],
    ids=["bytes", "grey", "fortran", "bands", "signed", "bool", "channels first"],
)
def test_every_kind_of_array_becomes_numbers_from_0_to_1(stored, scale, expected, name, tmp_path):
    if isinstance(expected, str):
        expected = stored.transpose(0, 2, 3, 1)
    data = Arrays(path=saved(tmp_path, name, x=stored), range=scale, limit=4)
    data.check()
    images = data.load(expected.shape[1:])
    assert images.x.dtype == np.float32
    np.testing.assert_allclose(images.x, expected[:4], atol=1e-6)
    stem = name.split(".")[0]
    assert images.names == [f"{stem}_{i:02d}" for i in range(4)]
    assert images.labels == [None] * 4 and len(set(images.sha256)) == 4


def test_names_are_known_without_reading(tmp_path):
    """Nulls are made with images chosen by name from those of all shards."""
    data = Arrays(path=saved(tmp_path, x=BYTES), limit=4, shard=1, shards=2)
    assert data.names_of_all() == [f"scans_{i:02d}" for i in range(4)] and data.count() == 12
    assert data.named(["scans_03"]).load((6, 8, 3)).names == ["scans_03"]


def test_only_the_images_chosen_are_read(tmp_path):
    """A file of which the rest is damaged: the values outside the range are never seen."""
    stored = BANDS.copy()
    stored[:5], stored[6:] = 60_000, 60_000
    for name in ("scans.npy", "scans.npz"):
        data = Arrays(
            path=saved(tmp_path, name, x=stored), range=[0.0, 10_000.0], names=["scans_05"]
        )
        assert isinstance(data._images().array, np.memmap)
        np.testing.assert_allclose(data.load((6, 8, 13)).x, BANDS[5:6] / 10_000, atol=1e-6)


def test_chunks_of_a_store_are_read_once_and_only_where_images_are_chosen(tmp_path, monkeypatch):
    path = saved(tmp_path, "scans.zarr", x=BYTES, y=NUMBERS)
    read, own = [], zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda a, i: read.append(i) or own(a, i))
    data = Arrays(path=path, images="x", names=[f"scans_{i:02d}" for i in (1, 3, 11)])
    data.check()
    assert not read
    np.testing.assert_allclose(data.load((6, 8, 3)).x, BYTES[[1, 3, 11]] / 255, atol=1e-6)
    assert read == [slice(0, 5), slice(10, 15)]
    before = digest_of(data.sources()["path"])
    chunk = tmp_path / "scans.zarr" / "x" / "c" / "0" / "0" / "0" / "0"
    chunk.write_bytes(b"nonsense")
    assert digest_of(data.sources()["path"]) != before
    with pytest.raises(ConfigError, match="scans.zarr/x is damaged"):
        data.load((6, 8, 3))


def test_stores_of_both_formats_with_one_array_or_names_as_labels(tmp_path):
    for version in (2, 3):
        path = tmp_path / f"one{version}"
        zarr.create_array(path, data=BYTES, chunks=(4, 6, 8, 3), zarr_format=version)
        data = Arrays(path=str(path), limit=2)
        data.check()
        np.testing.assert_allclose(data.load((6, 8, 3)).x, BYTES[:2] / 255, atol=1e-6)
    with quiet():
        group = zarr.create_group(tmp_path / "named.zarr")
        group.create_array("x", data=BYTES, chunks=(4, 6, 8, 3))
        names = group.create_array("y", shape=(12,), chunks=(12,), dtype=str)
        names[:] = np.array(["ant", "bee"] * 6, object)
    spec = ImageSpec((6, 8, 3), class_names=["bee", "ant"])
    assert Arrays(path=str(tmp_path / "named.zarr"), labels="y", limit=3).load(spec).labels == [
        1,
        0,
        1,
    ]


@pytest.mark.parametrize("file", ["x/zarr.json", "zarr.json"])
def test_stores_that_could_run_code_are_refused(tmp_path, file):
    saved(tmp_path, "scans.zarr", x=BYTES)
    file = tmp_path / "scans.zarr" / file
    described = json.loads(file.read_text())
    described["codecs"] = [{"name": "pickle"}]
    file.write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="asks for the codec pickle, which is not read"):
        Arrays(path=str(tmp_path / "scans.zarr")).check()


def test_damaged_stores_are_refused(tmp_path):
    path = tmp_path / "scans.zarr"
    saved(tmp_path, "scans.zarr", x=BYTES)
    (path / "zarr.json").write_text("{")
    with pytest.raises(ConfigError, match="scans.zarr is no store of Zarr, or it is damaged"):
        Arrays(path=str(path)).check()


def test_channels_are_resized_each_by_itself(tmp_path):
    path = saved(tmp_path, x=BYTES)
    wide = Arrays(path=path).load((12, 16, 3)).x
    for channel in range(3):
        one = Arrays(path=saved(tmp_path, "one.npy", x=BYTES[..., channel])).load((12, 16, 1)).x
        np.testing.assert_array_equal(wide[..., channel], one[..., 0])
    grey = Arrays(path=path).load((6, 8, 1)).x[..., 0]
    np.testing.assert_allclose(grey, BYTES / 255 @ [0.299, 0.587, 0.114], atol=1e-6)
    repeated = Arrays(path=str(tmp_path / "one.npy")).load((6, 8, 3)).x
    np.testing.assert_allclose(repeated, np.repeat(BYTES[..., 2:], 3, -1) / 255, atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS,
        NUMBERS.astype(np.float32),
        NUMBERS[:, None].astype(np.uint8),
        np.eye(5)[NUMBERS],
        np.array(["ant", "bee", "cow", "dog", "emu"])[NUMBERS],
        np.array([b"ant", b"bee", b"cow", b"dog", b"emu"])[NUMBERS],
    ],
    ids=["numbers", "floats", "column", "rows with a 1", "names", "bytes"],
)
def test_labels_of_every_kind(labels, tmp_path):
    spec = ImageSpec((6, 8, 3), 1, ["background", "ant", "bee", "cow", "dog", "emu"], 6)
    beside = saved(tmp_path, "labels.npy", y=labels)
    for path, where in [
        (saved(tmp_path, "both.npz", x=BYTES, y=labels), "y"),
        (saved(tmp_path, x=BYTES), beside),
    ]:
        images = Arrays(path=path, labels=where, limit=7).load(spec)
        assert images.labels == NUMBERS[:7].tolist()
        assert images.label_names == [["ant", "bee", "cow", "dog", "emu"][i] for i in NUMBERS[:7]]


@pytest.mark.parametrize(
    ("arrays", "keys", "message"),
    [
        ({"x": BANDS}, {}, r"data.range must say .*its values are uint16, in the first image from"),
        ({"x": BYTES}, {"range": [5.0, 5.0]}, r"data.range=\[5.0, 5.0\] must be a lower"),
        ({"x": BYTES, "z": BYTES}, {}, r"data.images must name .*there are: x: \[12, 6, 8, 3\], z"),
        ({"x": BYTES}, {"images": "w"}, r"data.images=w is no array of .*there are: x"),
        ({"y": NUMBERS}, {"images": "y"}, r"holds no images .* an array of int64 \[12\]"),
        ({"x": BYTES}, {"labels": "y"}, r"data.labels=y is neither a file nor an array .*are: x"),
        ({"x": BYTES, "y": NUMBERS[1:]}, {"labels": "y"}, r"shape \[11\], but there are 12"),
        ({"x": BYTES, "y": NUMBERS - 1}, {"labels": "y"}, r"must be class numbers from 0"),
        ({"x": BYTES, "y": NUMBERS / 2}, {"labels": "y"}, r"must be class numbers from 0"),
        ({"x": BYTES, "y": np.ones((12, 2))}, {"labels": "y"}, r"rows with one 1 each"),
        ({"x": BYTES}, {"names": ["scans_12"]}, r"no image scans_12; there are scans_00"),
        ({"x": np.array([{}, {}])}, {}, r"is no .npy or .npz file of NumPy with plain arrays"),
    ],
)
def test_mistakes_are_found_before_the_model_is_there(arrays, keys, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as refused:
        Arrays(path=saved(tmp_path, "scans.npz", **arrays), **keys).check()
    assert "\n" not in str(refused.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"no.npy is no file: it must be a .npy or .npz file"):
        Arrays(path=str(tmp_path / "no.npy")).check()
    (tmp_path / "text.npy").write_text("Dear network")
    with pytest.raises(ConfigError, match=r"text.npy is no .npy or .npz file of NumPy"):
        Arrays(path=str(tmp_path / "text.npy")).check()


def test_mistakes_that_the_model_shows(tmp_path):
    with pytest.raises(ConfigError, match=r"takes images of 3 channels, but .* have 13"):
        Arrays(path=saved(tmp_path, x=BANDS), range=[0.0, 1e5]).load((6, 8, 3))
    data = Arrays(path=saved(tmp_path, x=BANDS), range=[0.0, 1.0], limit=1)
    with pytest.raises(ConfigError, match=r"data.range=\[0.0, 1.0\] is not that of scans_00"):
        data.load((6, 8, 13))
    broken = BANDS.astype(np.float32)
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ConfigError, match=r"not that of scans_00, whose values .* nan"):
        Arrays(path=saved(tmp_path, x=broken), range=[0.0, 1e5], limit=1).load((6, 8, 13))
