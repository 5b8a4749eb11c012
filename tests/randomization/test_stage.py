"""What is said of stages: the classes explained, and how much of a network is random."""

import numpy as np
import pytest

from sanity.errors import ConfigError
from sanity.network.anatomy.parameters import Parameter
from sanity.randomization.stage import Stage, randomized, sound_classes


@pytest.mark.parametrize("given", [[0, 6, 3], np.array([6, 6, 0], np.uint8), (2, 2, 2)])
def test_a_class_for_each_image_is_taken_as_it_is(given):
    found = sound_classes(given, 3, 7, "mine")
    assert found.tolist() == list(given) and not found.flags.writeable


@pytest.mark.parametrize(
    "given",
    [[0, 7, 1], [-1, 0, 1], [0, 1], [[0, 1, 2]], [0.0, 1.0, 2.0], [True, False, True], None],
)
def test_what_is_no_class_for_each_image_is_refused(given):
    said = r"^mine must give a class from 0 to 6 for each of 3 images, of the shape \(3,\), not "
    with pytest.raises(ConfigError, match=said):
        sound_classes(given, 3, 7, "mine")


def test_no_images_have_no_classes():
    assert sound_classes(np.empty(0, int), 0, 7, "mine").shape == (0,)


def parameter(name, block, *shape, reaches=True):
    return Parameter(name, shape, "kernel", block, 1, 1, 0, reaches=reaches)


def test_how_much_of_each_block_is_random_at_each_stage():
    """Re-estimated statistics are not counted, nor what the output does not depend on."""
    parameters = [
        parameter("top/k", "top", 4, 3),
        parameter("stem/k", "stem", 5),
        parameter("stem/mean", "stem", 2),
        parameter("stem/unused", "stem", 100, reaches=False),
        parameter("outside", "", 7),
    ]
    statistics = ("stem/mean",)
    stages = [
        Stage(0, "", (), None),
        Stage(1, "top", ("top/k", *statistics), None, new=("top/k",)),
        Stage(2, "stem", ("top/k", "stem/k", *statistics), None, new=("stem/k",)),
        Stage(3, "independent", ("stem/k", *statistics), None, new=("stem/k",)),
        Stage(4, "of one's own", ("outside",), None),
    ]
    blocks = ["top", "stem", "empty"]
    found = randomized(blocks, {p.name: p for p in parameters}, stages)
    assert found == [
        {"name": "top", "parameters": 12, "randomized": [0, 12, 12, 0, 0]},
        {"name": "stem", "parameters": 7, "randomized": [0, 0, 5, 5, 0]},
        {"name": "empty", "parameters": 0, "randomized": [0] * 5},
        {"name": "", "parameters": 7, "randomized": [0, 0, 0, 0, 7]},
    ]
    inside = {p.name: p for p in parameters[:3]}
    assert [row["name"] for row in randomized(blocks, inside, stages)] == blocks


def test_what_a_stage_is_called():
    changed = Stage(2, "top", ("a", "b"), None)
    assert (changed.change, changed.n_randomized) == ("top randomized", 2)
    assert repr(changed) == "Stage(2, 'top randomized', 2 variables)"
    assert Stage(0, "", (), None).change == "as trained"
    assert Stage(1, "other class", (), None).change == "other class"
    assert Stage(1, "permuted labels", ("a",), None, facts={"a": 1}).change == "permuted labels"
