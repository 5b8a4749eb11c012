"""What is said of a network while groups of images go through its stages."""

import logging
import re

import numpy as np
import pytest

from sanity.data import Images
from sanity.experiment.explaining import Entered
from sanity.experiment.predictions import Asked, StagePredictions
from sanity.randomization.stage import Stage
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
