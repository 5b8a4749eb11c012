"""What is said of a network while groups of images go through its stages."""

import logging
import re

import numpy as np
import pytest
from scipy.special import softmax

from sanity.data import Images
from sanity.experiment.explaining import Entered, explain
from sanity.experiment.predictions import Asked, StagePredictions, predictions
from sanity.methods import Gradient
from sanity.randomization.stage import Stage
from sanity.randomization.weights import Randomization
from tests.analysis.test_health import network


@pytest.mark.parametrize(
    ("classes", "group", "warned", "which"),
    [
        ([0, 0, 0], range(3), False, r"\d of images 1–3 still"),
        ([0, 0, 1], range(3), True, r"\d of images 1–3 still"),
        ([0, 0, 0, 0, 0, 0], range(6), True, r"\d of 6 still"),
        ([0], range(2, 3), False, r"image 3 (still|no longer)"),
    ],
)
def test_some_images_of_one_class_do_not_make_a_network_dead(classes, group, warned, which, caplog):
    names = [f"image{i}" for i in range(6)]
    x = np.random.default_rng(2).random((6, 4, 4, 3), np.float32)
    images = Images(x, names, [None] * 6, [None] * 6, names)
    stages = [Stage(index, "", (), lambda: {}) for index in range(2)]
    asked = Asked(network(1e-3, 30), images, None, stages, dead=0.05)
    targets = np.array(classes)
    with caplog.at_level(logging.INFO, "sanity"):
        for stage in stages:
            some = images.take(group)
            StagePredictions(asked, None).at(Entered(group, stage, some, targets, targets, None))
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["dead network" in line for line in said] == [False, True] * warned
    lines = [record.console for record in caplog.records if hasattr(record, "console")]
    said = re.compile(rf"  {which} the class explained, probability ")
    assert len(lines) == 2 and all(map(said.search, lines))


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_row_is_what_the_network_says_of_an_image(outputs):
    classifier = network(1.0, outputs)
    x = np.random.default_rng(3).random((4, 4, 4, 3), np.float32)
    images = Images(x, list("abcd"), [None] * 4, [None] * 4, [""] * 4)
    targets = np.arange(4) % outputs
    found = predictions(classifier, images, targets, Stage(2, "top", (), lambda: {}))
    logits, rows = classifier.logits(x).astype(np.float64), np.arange(4)
    assert found["predicted"].tolist() == logits.argmax(axis=1).tolist()
    assert found["target"].tolist() == targets.tolist()
    np.testing.assert_allclose(found["target_logit"], logits[rows, targets])
    spread = logits.std(axis=1) if outputs > 1 else np.abs(logits[:, 0])
    np.testing.assert_allclose(found["logit_std"], spread)
    if outputs > 1:
        shares = softmax(logits, axis=1)
        np.testing.assert_allclose(found["probability"], shares.max(axis=1), rtol=1e-6)
        np.testing.assert_allclose(found["target_probability"], shares[rows, targets], rtol=1e-6)


def test_where_no_class_is_asked_for_the_trained_network_says_it_at_all_stages(small, noise_images):
    """And its logits are told at its own stage alone: others have others."""
    told = []
    stages = Randomization().stages(small, ["top", "middle"], 0)
    method = {"gradient": Gradient()}
    trained = small.logits(noise_images.x)
    for part in explain(small, noise_images, None, method, stages, entered=told.append):
        assert part.targets.tolist() == trained.argmax(axis=1).tolist()
    assert [group.stage.index for group in told] == [0, 1, 2]
    np.testing.assert_allclose(told[0].logits, trained, rtol=1e-5, atol=1e-6)
    assert told[1].logits is None and told[2].logits is None
