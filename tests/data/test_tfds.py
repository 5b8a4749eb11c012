"""Data sets prepared by TensorFlow Datasets' own writer, in both of its formats."""

import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from sanity.config.job import compose
from sanity.data import ImageSpec, Pixels, Tfds
from sanity.errors import ConfigError
from tests.data.beasts import CLASSES, prepare

FORMATS = ("tfrecord", "array_record")
SPEC = ImageSpec((8, 6, 3), class_names=["owl", "dog", "cat", "cow"], n_classes=4)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of each format."""
    folders = {}
    for form in FORMATS:
        folders[form] = tmp_path_factory.mktemp(form)
        prepare(folders[form], form)
    return folders


@pytest.fixture(params=FORMATS)
def folder(request, prepared):
    return str(prepared[request.param])


def stored(folder, split):
    """Pictures and labels as TensorFlow Datasets itself reads them, in the order it wrote them."""
    builder = tfds.builder_from_directory(f"{folder}/beasts/1.0.0")
    if "array_record" in folder:
        rows = list(builder.as_data_source(split=split))
    else:
        rows = list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))
    return np.stack([row["picture"] for row in rows]), [int(row["beast"]) for row in rows]


@pytest.mark.parametrize("split", ["test", "train", "test[3:7]", "train[2:]+test[:50%]"])
def test_images_and_labels_of_a_split(folder, split):
    data = Tfds(source="beasts", data_dir=folder, split=split)
    data.check()
    images = data.read(SPEC)
    pixels, classes = stored(folder, split)
    assert isinstance(images.x, Pixels)
    np.testing.assert_array_equal(np.asarray(images.x), pixels.astype(np.float32) / 255)
    assert images.label_names == [CLASSES[c] for c in classes]
    assert images.labels == [SPEC.class_names.index(CLASSES[c]) for c in classes]
    assert images.names == data.available() and len(set(images.names)) == len(images)
    assert len(set(images.sha256)) == len(images)


def test_names_do_not_depend_on_the_slice(folder):
    whole = Tfds(source="beasts", data_dir=folder)
    part = Tfds(source="beasts", data_dir=folder, split="test[3:7]")
    assert part.available() == whole.available()[3:7]
    assert whole.available()[0] == "beasts-test-00000-of-00001_00"
    again = whole.named(part.available()).read(SPEC)
    assert again.sha256 == part.read(SPEC).sha256
    np.testing.assert_array_equal(np.asarray(again.x), np.asarray(part.read(SPEC).x))


def test_only_what_is_asked_for_is_read(folder, monkeypatch):
    from sanity.data.tfds import _Part

    data, read, record = Tfds(source="beasts", data_dir=folder, labels=None), [], _Part.record
    images = data.read(SPEC)
    monkeypatch.setattr(_Part, "record", lambda part, row: read.append(row) or record(part, row))
    some = images.take([9, 2])
    assert read == [9, 2] and some.labels == [None, None]
    shard = Tfds(source="beasts", data_dir=folder, limit=6, shard=1, shards=2).read(SPEC)
    assert shard.names == data.available()[1:6:2]


def test_a_run_is_what_it_is_made_of(folder):
    asked = [
        "model=efficientnet_lite0",
        "data=tfds",
        "data.source=beasts",
        f"data.data_dir={folder}",
    ]
    job = compose(asked)
    direct = [*asked[:2], f"data.source={folder}/beasts/1.0.0"]
    assert compose(direct).data.available() == job.data.available()
    assert job.run_id == compose(direct).run_id
    assert job.run_id != compose([*asked, "data.split=train"]).run_id


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "beast"}, "data.source=beast is no data set prepared in"),
        ({"split": "validation"}, r"data.split=validation is no split .* there are: t\w+"),
        ({"split": "test[:x]"}, "data.split=test\\[:x\\] is no split"),
        ({"images": "photo"}, "data.images=photo must name a feature of images .*: picture"),
        ({"labels": "size"}, "data.labels=size must name a feature of class labels .*: beast"),
        ({"names": ["nobody"]}, "data.names: there is no image nobody"),
    ],
)
def test_mistakes(prepared, given, said):
    data = Tfds(**{"source": "beasts", "data_dir": str(prepared["tfrecord"]), **given})
    with pytest.raises(ConfigError, match=said):
        data.check()


def test_a_class_that_the_model_has_not(prepared):
    data = Tfds(source="beasts", data_dir=str(prepared["tfrecord"]))
    spec = ImageSpec((8, 6, 3), class_names=["dog", "cat"], n_classes=2)
    with pytest.raises(ConfigError, match="data.labels=beast: the class 'owl' is not among"):
        data.read(spec)


def test_a_damaged_file(prepared, tmp_path):
    import shutil

    shutil.copytree(prepared["tfrecord"], tmp_path / "copy")
    (file,) = (tmp_path / "copy").rglob("beasts-test*")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="is damaged: it does not hold 12 records"):
        Tfds(source="beasts", data_dir=str(tmp_path / "copy")).read(SPEC)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError, match=r"pip install saliency-sanity\[tfds\]"):
        Tfds(source="mnist").check()
