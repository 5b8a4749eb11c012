"""A run is what it was made from: the same content by another path, and changed content."""

import hashlib
import importlib
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from sanity import contents
from sanity.config.job import compose
from sanity.contents import by_content, hash_files, paths_among
from sanity.models import Hub
from tests.pieces import CONF

OLD = 10**9  # seconds since 1970: long ago


def write_images(folder, count=3, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw = np.random.default_rng([seed, number]).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(draw).save(folder / f"{number}.png")
    return folder


def run_id(*overrides):
    options = [f"hydra.searchpath=[file://{CONF}]", "model=small", "method=[gradient]"]
    return compose([*options, "metric=[pearson]", *overrides]).run_id


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "imgs")


def of_folder(folder, *overrides):
    return run_id("data=folder", f"data.path={folder}", "data.limit=null", *overrides)


def test_the_same_images_by_another_path_are_the_same_run(images, tmp_path):
    assert of_folder(write_images(tmp_path / "elsewhere" / "pictures")) == of_folder(images)


@pytest.mark.parametrize("change", ["replaced", "added", "removed", "renamed", "in a subfolder"])
def test_other_images_are_another_run(images, change):
    before = of_folder(images)
    first = images / "0.png"
    if change == "replaced":
        other = write_images(images.parent / "other", 1, seed=1) / "0.png"
        first.write_bytes(other.read_bytes())
    elif change == "added":
        (images / "3.png").write_bytes(first.read_bytes())
    elif change == "removed":
        first.unlink()
    else:
        (images / "cats").mkdir()
        first.rename(images / ("cat.png" if change == "renamed" else "cats/0.png"))
    assert of_folder(images) != before


def test_images_that_are_not_chosen_do_not_count(images):
    before = of_folder(images, "data.limit=2")
    (images / "3.png").write_bytes((images / "0.png").read_bytes())
    assert of_folder(images, "data.limit=2") == before


def test_from_another_folder_where_other_pictures_lie(images, tmp_path, monkeypatch):
    other = write_images(tmp_path / "there" / "imgs", seed=1)
    monkeypatch.chdir(images.parent)
    here = of_folder("imgs")
    monkeypatch.chdir(other.parent)
    assert of_folder("imgs") != here


@pytest.mark.parametrize("labels", ["table", "folders"])
def test_labels_count(images, labels):
    table = images.parent / "labels.csv"
    table.write_text("file,label\n0.png,1\n1.png,2\n2.png,3\n")
    if labels == "folders":
        for name in ("a", "b"):
            (images / name).mkdir()
        for number, name in enumerate("aab"):
            (images / f"{number}.png").rename(images / name / f"{number}.png")
    chosen = [f"data.labels={table if labels == 'table' else 'folders'}", "data.limit=2"]
    before = of_folder(images, *chosen)
    if labels == "table":
        table.write_text("file,label\n0.png,2\n1.png,2\n2.png,3\n")
    else:  # a class more, so that other numbers may be meant
        (images / "0").mkdir()
        (images / "b" / "2.png").rename(images / "0" / "2.png")
    assert of_folder(images, *chosen) != before


@pytest.mark.parametrize("kind", ["keras", "saved_model", "hub", "class_names"])
def test_a_model_retrained_in_place_is_another_run(tmp_path, kind):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    file = folder / "variables" / "variables.data"
    file.write_bytes(b"weights")

    def of(path):
        models = {
            "keras": ["model=keras", f"model.path={path / 'variables' / 'variables.data'}"],
            "saved_model": ["model=saved_model", f"model.path={path}"],
            "hub": ["model=hub", f"model.handle={path}", "model.input_shape=[8, 8, 3]"],
            "class_names": [
                *("model=saved_model", "model.path=nowhere"),
                f"model.class_names={path / 'variables' / 'variables.data'}",
            ],
        }
        return compose([*models[kind], "method=[gradient]", "metric=[pearson]"]).run_id

    if kind == "hub":
        made = Hub(handle=str(folder))

        def of(path):
            return json.dumps(by_content({"handle": str(path)}, Hub(handle=str(path))))

        assert made.sources()["handle"] == folder
    before = of(folder)
    copy = tmp_path / "copy"
    (copy / "variables").mkdir(parents=True)
    (copy / "saved_model.pb").write_bytes(b"graph")
    (copy / "variables" / "variables.data").write_bytes(b"weights")
    assert of(copy) == before
    file.write_bytes(b"others.")
    assert of(folder) != before


MINE = """
from sanity.checked import checked
from sanity.methods import {base}


@checked
class Mine({base}):
    path: str | None = None
    factor: float = {factor}
"""


@pytest.mark.parametrize("group", ["method", "metric"])
def test_a_class_of_ones_own_that_was_edited_is_another_run(tmp_path, monkeypatch, group):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / f"module_of_my_{group}.py"
    package, base = {"method": ("methods", "Gradient"), "metric": ("metrics", "Pearson")}[group]
    text = MINE.replace("sanity.methods", f"sanity.{package}").replace("{base}", base)
    mine = f"+{group}.mine={{_target_: {file.stem}.Mine}}"
    file.write_text(text.format(factor=1.0))
    before = run_id(mine)
    assert before == run_id(mine) != run_id()
    file.write_text(text.format(factor=12.0))
    importlib.reload(sys.modules[file.stem])
    assert run_id(mine) != before


@pytest.mark.parametrize("edited", ["helpers.py", "deep/__init__.py", "deep/more.py"])
def test_what_a_class_of_ones_own_imports_counts(tmp_path, monkeypatch, edited):
    """However it is imported, and what that imports; not what nobody imports."""
    place, package = (
        tmp_path / "place",
        f"own_package_with_{edited.split('.')[0].replace('/', '_')}",
    )
    inside = place / package
    (inside / "deep").mkdir(parents=True)
    monkeypatch.syspath_prepend(place)
    text = MINE.replace("{base}", "Gradient").format(factor=1.0)
    files = {
        "methods.py": f"import numpy, os\nfrom {package}.helpers import a\n{text}",
        "helpers.py": "from .deep import more\na = 1\n",
        "deep/__init__.py": "",
        "deep/more.py": "from .. import helpers\n",
        "alone.py": "",
    }
    for name, text in files.items():
        (inside / name).write_text(text)

    def found():
        contents._code.cache_clear()
        return run_id(f"+method.mine={{_target_: {package}.methods.Mine}}")

    before = found()
    (inside / "alone.py").write_text("b = 2\n")
    assert found() == before
    (inside / edited).write_text(files[edited] + "b = 2\n")
    assert found() != before


def test_paths_among_the_fields_of_ones_own_class_lead_to_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module_with_path.py").write_text(
        MINE.replace("{base}", "Gradient").format(factor=1.0)
    )
    weights = [tmp_path / name for name in ("a.bin", "b.bin", "c.bin")]
    for file, content in zip(weights, (b"1", b"1", b"2"), strict=True):
        file.write_bytes(content)
    a, b, c = (
        run_id(f"+method.mine={{_target_: module_with_path.Mine, path: {file}}}")
        for file in weights
    )
    assert a == b != c


def test_a_bare_word_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "names.txt"):
        (tmp_path / name).write_text("x")
    values = {"a": "imagenet", "b": "names.txt", "c": "missing/file", "d": 3}
    assert list(paths_among(values)) == ["b"]


def test_references_of_a_method_count(images):
    chosen = ["method=[expected_gradients]", f"method.expected_gradients.references={images}"]
    before = run_id(*chosen)
    (images / "0.png").write_bytes((images / "1.png").read_bytes())
    assert run_id(*chosen) != before


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of its own, and which files were read for it."""
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
    read = []
    digest = hashlib.file_digest

    def noted(file, name):
        read.append(os.path.basename(file.name))
        return digest(file, name)

    monkeypatch.setattr(contents.hashlib, "file_digest", noted)
    return read


def test_unchanged_files_are_read_once(images, index, tmp_path):
    files = sorted(images.iterdir())
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert hash_files(files) == hashes
    # Threads read them, in any order, each once.
    assert sorted(index) == ["0.png", "1.png", "2.png"]
    # Changed less than two seconds ago, they may change again within one tick of their clock.
    assert not (tmp_path / "cache" / "digests.json").exists()
    index.clear()
    contents._SETTLED, settled = -(10**12), contents._SETTLED
    try:
        hash_files(files)
        index.clear()
        assert hash_files(files) == hashes and not index
        contents._index.cache_clear()  # as another process
        assert hash_files(files) == hashes and not index
        files[1].write_bytes(b"other")
        os.utime(files[1], (OLD, OLD))
        assert hash_files(files)[1] == hashlib.sha256(b"other").hexdigest()
        assert index == ["1.png"]
    finally:
        contents._SETTLED = settled


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}'])
def test_a_damaged_index_is_made_anew(images, index, tmp_path, text):
    path = tmp_path / "cache" / "digests.json"
    path.parent.mkdir()
    files = sorted(images.iterdir())
    path.write_text(text.replace('"a"', json.dumps(str(files[0]))))
    assert hash_files(files) == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
