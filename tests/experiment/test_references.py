from types import SimpleNamespace

import numpy as np
import pytest

from sanity.data import Digits, Images, ImageSpec
from sanity.experiment.references import allowed, choose_references
from sanity.experiment.run import run as run_job
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
