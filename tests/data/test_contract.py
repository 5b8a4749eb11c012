"""The contract of data sets (`sanity.data.base`), for every option and for one's own."""

import shutil
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sanity.checked import checked, make
from sanity.config.job import compose
from sanity.data import Dataset, Images, ImageSpec, TrainingData, as_dataset
from sanity.errors import ConfigError
from tests.contracts import check_repr, options
from tests.data.beasts import prepare

GREY, COLOUR = ImageSpec((28, 56, 1), n_classes=1000), ImageSpec((30, 20, 3), n_classes=1000)
NEEDS = {
    "folder": ["data.path=."],
    "arrays": ["data.path=four.npy"],
    "parquet": ["data.path=three.parquet"],
    "tfds": ["data.source=./beasts/1.0.0"],
}


def grey(shape):
    x = np.random.default_rng(0).random((4, *shape), np.float32)
    return Images(x, list("abcd"), [None] * 4, [None] * 4, [""] * 4)


@checked
class Own(Dataset):
    """A minimal data set of one's own."""

    def read(self, spec):
        return grey(spec.shape)


class Structural:
    """A class that is derived from nothing and only has `load`."""

    def __repr__(self):
        return "Structural()"

    def load(self, shape, class_offset=0, class_names=None, n_classes=None):
        return grey(shape)


OWN = {"own": Own(), "structural": Structural()}
NAMES = [*options("data"), *OWN]


@cache
def data_of(name):
    """An option as its YAML has it, or data of one's own."""
    if name in OWN:
        return as_dataset(OWN[name], "data")
    return compose([f"data={name}", *NEEDS.get(name, []), "metric=[mse]"]).data


@pytest.fixture(scope="module")
def beasts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder)
    return folder / "beasts"


@pytest.fixture(autouse=True)
def without_a_network(tmp_path, beasts, monkeypatch):
    """Images in the current folder, and what Keras would fetch."""
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 7, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(beasts, "beasts")
    encoded = pa.array([(tmp_path / f"{i}.png").read_bytes() for i in range(3)])
    pq.write_table(pa.table({"image": encoded}), "three.parquet")
    np.save("four.npy", np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3), np.uint8))
    draw = np.random.default_rng(0)

    def split(n):
        return draw.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n, dtype=np.uint8) % 10

    parts = split(30), split(25)
    source = SimpleNamespace(load_data=lambda: parts)
    datasets = SimpleNamespace(mnist=source, fashion_mnist=source)
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(datasets=datasets))


@pytest.mark.parametrize(
    ("name", "spec"),
    [(n, GREY) for n in NAMES if n != "arrays"]
    + [(n, COLOUR) for n in NAMES if n != "two_regions"],
)
def test_images_as_the_model_wants_them_the_same_at_every_call(name, spec):
    data = data_of(name)
    data.check()
    unread, images = data.open(spec), data.load(spec)
    assert unread.x.shape == images.x.shape == (len(images), *spec.shape) and len(images)
    assert unread.x.dtype == images.x.dtype == np.float32
    assert images.x.min() >= 0 and images.x.max() <= 1
    assert images.names == unread.names and images.sha256 == unread.sha256
    some = np.random.default_rng(0).permutation(len(images))[:7]
    np.testing.assert_array_equal(unread.take(some).x, images.x[some])
    np.testing.assert_array_equal(unread.x[1], images.x[1])
    np.testing.assert_array_equal(data.load(spec.shape).x, images.x)  # a bare shape will do


def spec_of(name):
    return COLOUR if name == "arrays" else GREY


@pytest.mark.parametrize("name", sorted(set(options("data")) - {"two_regions"}))
def test_a_model_of_other_channels_is_refused(name):
    with pytest.raises(ConfigError, match="channels"):
        data_of(name).read(ImageSpec((16, 16, 5)))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_knows_regions(name):
    assert data_of(name).has_regions == (data_of(name).read(spec_of(name)).regions is not None)


@pytest.mark.parametrize("name", NAMES)
def test_unsharded_gives_the_first_images(name):
    some = data_of(name).unsharded(2).read(spec_of(name))
    assert some.names[:2] == data_of(name).read(spec_of(name)).names[:2]
    assert len(some) == 2 or name in OWN


@pytest.mark.parametrize("name", NAMES)
def test_training_data_has_two_splits_of_its_classes(name):
    data = data_of(name)
    if not isinstance(data, TrainingData):
        assert not hasattr(data, "arrays")
        return
    for split in ("train", "test"):
        x, labels = data.arrays(split)
        assert x.shape == (len(labels), *data.image_shape)
        assert (x.dtype, labels.dtype) == (np.float32, np.int64)
        assert 0 <= x.min() and x.max() <= 1
        assert set(labels) <= set(range(len(data.class_names)))
    images = data.read(spec_of(name))
    assert images.label_names == [data.class_names[label] for label in images.labels]


@pytest.mark.parametrize("name", NAMES)
def test_its_repr(name):
    check_repr(data_of(name))


def test_images_without_hashes_get_those_of_their_pixels():
    """So a run that goes on sees that they have changed."""
    first, again = (as_dataset(OWN["own"], "data").open(COLOUR) for _ in range(2))
    assert len(set(first.sha256)) == 4 and first.sha256 == again.sha256


def test_what_are_no_images():
    wrong = type("Wrong", (Structural,), {"load": lambda self, *given: None})()
    with pytest.raises(ConfigError, match="data=Wrong must give sanity.data.Images, not NoneType"):
        as_dataset(wrong, "data").open(COLOUR)


def test_what_is_no_data_set():
    with pytest.raises(ConfigError, match="data=object is no data set: derive it from"):
        as_dataset(object(), "data")


@pytest.mark.parametrize(
    ("base", "lacks"),
    [(Dataset, "read"), (TrainingData, "arrays, class_names, image_shape, read")],
    ids=["Dataset", "TrainingData"],
)
def test_a_class_that_lacks_something(base, lacks):
    class Half(base):
        pass

    with pytest.raises(ConfigError, match=f"data: the class .*Half lacks {lacks}, which "):
        make(Half, {}, "data")
