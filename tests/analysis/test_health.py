"""Networks that say nothing any more, with any number of outputs."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from sanity.analysis.health import SAME, SEVERAL, complaint, death, early_complaint, unsound
from sanity.data import Images
from sanity.experiment.predictions import predictions
from sanity.network.classifier import Classifier
from sanity.randomization.stage import Stage


def network(apart, outputs, ending=tf.identity):
    """Features that differ between images by a share, and a random last kernel."""
    draw = np.random.default_rng(1)
    kernel = tf.Variable(draw.normal(size=(48, 20)).astype(np.float32))
    dense = tf.Variable(draw.normal(size=(20, outputs)).astype(np.float32))
    common = draw.normal(size=20).astype(np.float32)

    def function(x):
        different = tf.reshape(x - 0.5, [-1, 48]) @ kernel
        return ending((common + apart * different) @ dense)

    return Classifier(function, (4, 4, 3))


def said_of(classifier, dead=0.05, stage=1):
    x = np.random.default_rng(2).random((6, 4, 4, 3), np.float32)
    names = [f"image{i}" for i in range(6)]
    images = Images(x, names, [None] * 6, [None] * 6, names)
    frame = predictions(classifier, images, np.zeros(6, int), Stage(stage, "", (), lambda: {}))
    return complaint(frame, dead), frame


@pytest.mark.parametrize("outputs", [1, 2, 4, 30])
@pytest.mark.parametrize("ending", [tf.identity, tf.sigmoid])
def test_a_dead_network_is_noticed_for_any_number_of_outputs(outputs, ending):
    said, frame = said_of(network(1e-3, outputs, ending))
    assert said is not None and said.startswith("dead network")
    said, frame = said_of(network(1.0, outputs, ending))
    assert said is None
    assert 0.3 < frame["between_share"].iloc[0] <= 1


def test_a_trained_network_is_not_called_dead_but_its_images_alike():
    said, _ = said_of(network(1e-3, 4), stage=0)
    assert said is not None and said.startswith(f"{SAME}: ") and "dead" not in said
    assert said_of(network(1.0, 4), stage=0)[0] is None


def test_a_share_is_shown_as_below_its_bound():
    assert "dead network: 0.04996 of" in str(death(0.049961, 0.05))
    assert "dead network: 0.021 of" in str(death(0.0212, 0.05)) and death(0.05, 0.05) is None


def test_one_output_has_not_vanished():
    assert unsound(said_of(network(1.0, 1))[1]) is None
    said, _ = said_of(network(1.0, 1, lambda z: 1e-9 * z))
    assert said.startswith("the network has vanished")
    said, _ = said_of(network(1.0, 1, lambda z: 1e8 * z))
    assert said.startswith("the network has exploded")


def table(spread, share=0.5):
    stages = np.repeat(np.arange(len(spread)), 3)
    values = np.repeat(np.array(spread, float), 3)
    return pd.DataFrame(
        {"stage": stages, "logit_std": values, "target_logit": values, "between_share": share}
    )


def test_early_stages_that_have_exploded_give_no_verdict():
    stages = range(1, 4)
    assert early_complaint(table([1, 1, 1e9, 1]), stages, 0.05) is None
    said = early_complaint(table([1, 1, 1e9, 1e9]), stages, 0.05)
    assert said == "the network has exploded at 2 of 3 early stages"
    assert early_complaint(table([1, 1, 1, 1], 0.01), stages, 0.05).startswith("dead network")
    assert early_complaint(None, stages, 0.05) is None


def test_logits_are_judged_by_their_size_as_well_and_by_whether_they_are_numbers():
    found = table([1])
    assert unsound(found) is None
    assert unsound(found.assign(target_logit=[0, -1e9, 0])).startswith("the network has exploded")
    assert unsound(found.assign(logit_std=[1, np.nan, np.inf])) == (
        "the logits of 2 of 3 images are not finite"
    )


def test_stages_of_which_no_share_is_known_do_not_hide_the_others():
    found = table([1, 1, 1, 1], 0.01)
    found.loc[found["stage"] == 1, "between_share"] = np.nan
    said = early_complaint(found, range(1, 4), 0.05)
    assert said is not None and said.startswith("dead network: 0.01 of")


@pytest.mark.parametrize(("trained", "advised"), [(0.01, True), (0.5, False)])
def test_images_that_the_trained_network_does_not_tell_apart_are_said_to_be(trained, advised):
    found = table([1, 1, 1, 1], 0.02)
    found.loc[found["stage"] == 0, "between_share"] = trained
    said = early_complaint(found, range(1, 4), 0.05)
    assert said.startswith("dead network: 0.02 of its")
    assert said.endswith(f", and {trained:.2g} as trained: {SEVERAL}") == advised
    assert early_complaint(found, range(1, 4), 0.015) is None  # the early stages decide


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_death_does_not_depend_on_the_order_of_shards(order):
    shares = {"a": 0.01, "b": 0.03}
    frames = [
        pd.DataFrame({"path": name, "seed": 0, "stage": [1, 1], "between_share": shares[name]})
        for name in order
    ]
    said = early_complaint(pd.concat(frames), range(1, 2), 0.015)
    assert said is None  # 0.02 in the middle
