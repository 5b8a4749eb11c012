import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sanity.contents import digest_of
from sanity.data import Folder, ImageSpec, Parquet
from sanity.errors import ConfigError

SPEC = ImageSpec((12, 16, 3), n_classes=3)
NAMED = ImageSpec((12, 16, 3), 1, ["background", "cat", "great dane", "zebra, horse"], 4)


def encoded(seed, size=(20, 17)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(path, rows, names=None, **columns):
    """As `Dataset.to_parquet` of Hugging Face; row groups of two."""
    images = [{"bytes": encoded(i), "path": f"{i}.png"} for i in rows]
    table = pa.table({"image": images, "label": [i % 3 for i in rows], **columns})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        said = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": said})
    pq.write_table(table, path, row_group_size=2)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train-0.parquet", range(5))
    write(tmp_path / "train-1.parquet", range(5, 8))
    (tmp_path / "README.md").write_text("no data")
    return tmp_path


def test_images_are_those_of_the_files(folder, tmp_path_factory):
    images = Parquet(path=str(folder), labels="label").load(SPEC)
    assert images.names == [
        *(f"train-0_{i}" for i in range(5)),
        *(f"train-1_{i}" for i in range(3)),
    ]
    assert images.labels == [0, 1, 2, 0, 1, 2, 0, 1]
    loose = tmp_path_factory.mktemp("loose")
    for i in range(8):
        (loose / f"{i}.png").write_bytes(encoded(i))
    same = Folder(path=str(loose)).load(SPEC)
    np.testing.assert_array_equal(images.x, same.x)
    assert images.sha256 == same.sha256


def test_chosen_rows_alone_are_read(folder, monkeypatch):
    read = []
    batches = pq.ParquetFile.iter_batches

    def counted(self, size, groups, columns):
        read.append((groups, columns))
        return batches(self, size, groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    names = ["train-1_1", "train-0_4"]
    data = Parquet(path=str(folder), names=names)
    data.check()
    assert not read
    images = data.load(SPEC)
    assert images.names == names and images.labels == [None, None]
    assert sorted(read) == [([0], ["image"]), ([2], ["image"])]  # each once
    whole = Parquet(path=str(folder)).load(SPEC)
    np.testing.assert_array_equal(images.x, whole.x[[6, 4]])
    shard = Parquet(path=str(folder), limit=5, shard=1, shards=2).load(SPEC)
    assert shard.names == ["train-0_1", "train-0_3"]


@pytest.mark.parametrize(
    ("names", "spec", "numbers", "called"),
    [
        (["zebra", "cat", "great_dane"], NAMED, [2, 0, 1], ["zebra, horse", "cat", "great dane"]),
        (["x", "y", "z"], NAMED, [0, 1, 2], ["cat", "great dane", "zebra, horse"]),
        (["x", "y", "z"], SPEC, [0, 1, 2], ["x", "y", "z"]),
        (None, NAMED, [0, 1, 2], ["cat", "great dane", "zebra, horse"]),
    ],
    ids=["by name", "by number", "names of the data", "no names"],
)
def test_classes_by_what_they_are_called(tmp_path, names, spec, numbers, called):
    write(tmp_path / "a.parquet", range(3), names)
    images = Parquet(path=str(tmp_path / "a.parquet"), labels="label").load(spec)
    assert (images.labels, images.label_names) == (numbers, called)


def test_labels_may_be_unknown_or_names(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, range(3), split=[-1, None, 2], kind=["zebra", None, "cat"])
    assert Parquet(path=str(path), labels="split").load(SPEC).labels == [None, None, 2]
    assert Parquet(path=str(path), labels="kind").load(NAMED).labels == [2, None, 0]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), "category", pa.int8()], ids=str)
def test_labels_of_any_kind_of_text(tmp_path, kind):
    """As pandas writes it, from 3 on with wide offsets, and its categories."""
    whole = kind == pa.int8()
    labels = pa.array([1, 0, None] if whole else ["great dane", "cat", None])
    labels = labels.dictionary_encode() if kind == "category" else labels.cast(kind)
    pq.write_table(
        pa.table({"image": [encoded(i) for i in range(3)], "label": labels}), tmp_path / "x.parquet"
    )
    data = Parquet(path=str(tmp_path / "x.parquet"), labels="label")
    data.check()
    assert data.load(NAMED).labels == [1, 0, None]


def test_other_content_is_another_source(folder):
    def digest():
        return digest_of(Parquet(path=str(folder)).sources()["path"])

    before = digest()
    write(folder / "train-1.parquet", range(6, 9))
    assert digest() != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "nowhere"}, "data.path=nowhere must be a .parquet file or a folder with some"),
        ({"path": "text.parquet"}, "text.parquet is no Parquet file, or it is damaged"),
        (
            {"images": "label"},
            "label is no column of .* with encoded images .*: image, label, thumb",
        ),
        ({}, "data.images must name the column of images in .*: image, thumb"),
        (
            {"images": "image", "labels": "clas"},
            "data.labels=clas is no column of .*: image, label",
        ),
        (
            {"images": "image", "labels": "thumb"},
            "data.labels=thumb must be class numbers or names",
        ),
        (
            {"images": "image", "names": ["b"]},
            "data.names: there is no image b; there are a_0, a_1",
        ),
        ({"path": "mixed", "images": "image"}, "b.parquet has other columns than a.parquet"),
    ],
)
def test_mistakes_are_told_before_the_model(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed").mkdir()
    for file in ("a.parquet", "mixed/a.parquet"):
        write(file, range(2), thumb=[b"x", b"y"])
    write("mixed/b.parquet", range(2))
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(ConfigError, match=message):
        Parquet(**{"path": "a.parquet"} | changes).check()


def test_what_only_reading_tells(tmp_path):
    path = tmp_path / "a.parquet"
    images = [{"bytes": None, "path": "0.png"}, {"bytes": b"nonsense", "path": None}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), path)
    for names, message in ((["a_0"], "a_0 has no image in its row"), (["a_1"], "a_1 is no image")):
        with pytest.raises(ConfigError, match=message):
            Parquet(path=str(path), names=names).load(SPEC)
    write(path, range(2), ["cat", "unicorn"])
    with pytest.raises(ConfigError, match="the class 'unicorn' is not among the model's 3"):
        Parquet(path=str(path), labels="label").load(NAMED)
