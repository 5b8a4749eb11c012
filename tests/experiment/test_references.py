from types import SimpleNamespace

import numpy as np
import pytest

from sanity.data import Digits, Images, ImageSpec
from sanity.experiment.references import (
    allowed,
    choose,
    choose_references,
    complete_references,
    read_references,
    write_references,
)
from sanity.experiment.run import run as run_job
from sanity.metrics.scoring import References
from sanity.results.load import load_runs


def images_of(labels, names=None):
    n = len(labels)
    names = names or [f"image_{i}" for i in range(n)]
    x = np.zeros((n, 2, 2, 3), np.float32)
    return Images(x, names, list(labels), [None] * n, [""] * n)


def chosen(data, count, images=None):
    classifier = SimpleNamespace(
        input_shape=(8, 8, 1), class_offset=0, class_names=None, n_classes=10
    )
    return choose_references(data, images, ImageSpec.of(classifier), count)


def test_shards_and_orders_share_their_references():
    whole = chosen(Digits(limit=40), 4)
    assert len(set(whole.labels)) == 4  # of different classes, as far as there are such
    for shard in range(3):
        assert chosen(Digits(limit=40, shard=shard, shards=3), 4).names == whole.names
    names = Digits(limit=40).names_of_all()
    assert chosen(Digits(names=names[::-1]), 4).names == whole.names
    assert len(chosen(Digits(limit=2), 4)) == 2


def test_a_data_set_that_only_reads_gives_its_own_images():
    data = SimpleNamespace(names_of_all=lambda: None)
    images = images_of([None] * 6)
    found = chosen(data, 2, images)
    assert chosen(data, 2, images.take([5, 3, 1, 0, 2, 4])).names == found.names
    assert len(found) == 2


def test_other_classes_are_allowed_where_there_are_any():
    images, targets = images_of([0, 1, None, 1]), np.array([7, 8, 9, 8])
    others, other_targets = images_of([0, 1], ["a", "image_1"]), np.array([7, 9])
    found = allowed(images, targets, others, other_targets)
    assert found.tolist() == [
        [False, True],  # another label
        [True, False],  # itself
        [True, False],  # of no label: the class explained
        [True, False],
    ]
    same = allowed(images_of([1]), targets[:1], others.take([1]), other_targets[1:])
    assert same.tolist() == [[True]]  # none of another class: all others


def test_each_class_has_its_turn():
    classes = [0] * 9 + [1] * 3 + [2]
    names = [f"image_{i}" for i in range(len(classes))]
    for count, expected in ((3, [1, 1, 1]), (5, [2, 2, 1]), (7, [3, 3, 1])):
        found = choose(names, classes, count)
        assert [[classes[i] for i in found].count(k) for k in range(3)] == expected
    without = choose(names, [None] * 13, 5)  # of no class that is known: as their names give
    assert without == choose(names, range(13), 5)


def test_what_is_stored_is_read_again(tmp_path):
    assert read_references(tmp_path) is None
    masks = {"names": np.ones((2, 3, 3)), "other": np.zeros((2, 3, 3, 3))}
    write_references(tmp_path, References(["a", "b"], masks, np.ones((4, 2), bool)))
    complete_references(tmp_path, np.eye(4, 2, dtype=bool))
    found = read_references(tmp_path)
    assert found.names == ["a", "b"] and found.masks.keys() == masks.keys()
    assert found.allowed.tolist() == np.eye(4, 2, dtype=bool).tolist()
    for method, own in masks.items():
        np.testing.assert_array_equal(found.masks[method], own)


@pytest.mark.slow
def test_nulls_are_the_same_in_any_order_and_shard(tmp_path):
    """To the bit."""
    common = [
        *("model=mlp", "model.units=[32]", "model.epochs=1", "model.stop_at=0.2"),
        "model.learning_rate=0.01",
        *("data=digits", "method=[gradient]", "figures=none", "report=false"),
        *(
            "metric=[ssim]",
            "metric.ssim.sigma=0.5",
            f"output={tmp_path}",
            "originals=false",
            "layers.last=1",
        ),
    ]
    names = Digits(limit=6).names_of_all()
    keys = ["image", "stage"]

    def nulls(*overrides):
        scores = load_runs([run_job(overrides=[*common, *one]) for one in overrides])
        scores = scores.astype({"image": str}).sort_values(keys).set_index(keys)
        return scores[["value", "null"]]

    backwards = nulls([f"data.names=[{','.join(names[::-1])}]"])
    assert backwards["null"].notna().all()
    shards = nulls(*(["data.limit=6", f"data.shard={k}", "data.shards=2"] for k in (0, 1)))
    np.testing.assert_array_equal(backwards, shards)
