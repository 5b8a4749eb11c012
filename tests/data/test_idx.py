"""Files of MNIST's format: what is in them, and what is said of those that are none."""

import gzip
import struct

import numpy as np
import pytest

from sanity.data import FashionMnist, Mnist
from sanity.errors import ConfigError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.uint8([7, 8, 9, 1, 2])


def idx(array, kind=8):
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.tobytes()


def write(folder, suffix=".gz"):
    pack = gzip.compress if suffix else bytes
    for part, of in {"train": slice(0, 3), "t10k": slice(3, 5)}.items():
        for kind, array in {"images-idx3": PIXELS[of], "labels-idx1": LABELS[of]}.items():
            (folder / f"{part}-{kind}-ubyte{suffix}").write_bytes(pack(idx(array)))
    return str(folder)


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("dataset", [Mnist, FashionMnist])
def test_a_folder_is_read(tmp_path, dataset, suffix):
    images = dataset(path=write(tmp_path, suffix), split="train").load((28, 28, 1))
    assert images.labels == [7, 8, 9]
    np.testing.assert_array_equal(images.x[..., 0], PIXELS[:3] / np.float32(255))
    x, y = dataset(path=str(tmp_path)).arrays("test")
    assert y.tolist() == [1, 2]
    np.testing.assert_array_equal(x[..., 0], PIXELS[3:] / np.float32(255))


def test_the_systems_own_copy_is_read(monkeypatch, tmp_path):
    write(tmp_path)
    monkeypatch.setattr(FashionMnist, "system", tmp_path)
    assert FashionMnist().load((28, 28, 1)).label_names == ["trouser", "pullover"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (gzip.compress(idx(LABELS[:3]))[:-9], "cannot be read"),
        (gzip.compress(idx(LABELS[:3])[:-1]), "no whole file"),
        (gzip.compress(idx(LABELS[:3].astype(">f4"), kind=0x0D)), "no whole file"),
        (gzip.compress(b"<html>not found</html>"), "no whole file|cannot be read"),
        (gzip.compress(idx(LABELS[:2])), "not of so many images and as many labels"),
        (gzip.compress(idx(PIXELS[:3])), "not of so many images and as many labels"),
    ],
    ids=["empty", "cut gzip", "cut", "floats", "html", "too few", "images"],
)
def test_what_is_damaged_is_refused_beforehand(tmp_path, content, message):
    path = write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as refused:
        Mnist(path=path).check()
    assert "data.path" in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="has no train-images-idx3-ubyte.gz"):
        Mnist(path=str(tmp_path)).check()
