"""What is said before a run: what it costs, and which methods do not fit the model."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from sanity import methods
from sanity.config.job import compose
from sanity.experiment.announce import announce
from sanity.experiment.prepare import Experiment
from sanity.methods import Cost, as_method
from sanity.randomization.weights import Randomization


class Perturbing:
    def masks(self, classifier, images, targets, seed):
        raise AssertionError("nothing is computed yet")

    def cost(self, classifier, images):
        return Cost(forward=100 * classifier.input_shape[0])


def announced(small, images, chosen, caplog):
    job = compose(["method=[gradient]", "metric=[ssim]"])
    job = replace(job, methods={name: as_method(one, name) for name, one in chosen.items()})
    stages = Randomization().stages(small, ["top", "middle"], 0)
    with caplog.at_level(logging.INFO):
        announce(Experiment(job, small, images, np.zeros(len(images), np.int32), stages))
    found = [re.search(r"  (\S.*?) +(\d+) +(\d+)$", message) for message in caplog.messages]
    rows = {m[1]: (int(m[2]), int(m[3])) for m in found if m}
    return rows, caplog.messages


def test_gradients_and_forward_passes_are_counted(small, noise_images, caplog):
    chosen = {
        "gradient": methods.Gradient(),
        "smoothgrad": methods.SmoothGrad(samples=6),
        "vargrad": methods.VarGrad(samples=6),
        "deeplift": methods.DeepLiftRescale(),
        "guided_grad_cam": methods.GuidedGradCam(),
        "grad_cam": methods.GradCam(),
        "edge_detector": methods.EdgeDetector(),
        "mine": Perturbing(),
    }
    rows, messages = announced(small, noise_images, chosen, caplog)
    assert rows == {
        "gradient": (1, 0),
        "smoothgrad": (6, 0),
        "vargrad": (6, 0),
        "deeplift": (1, 0),
        "guided_grad_cam": (2, 0),
        "grad_cam": (1, 0),
        "edge_detector": (0, 0),
        "mine": (0, 1600),
        "together": (17, 1600),
        "shared ones once": (11, 1600),
        "in all": (11 * 5 * 3, 1600 * 5 * 3),
    }
    assert messages[0].startswith("small explains 5 images at 3 stages by 8 methods")
    assert re.search(r"\d+ ms a gradient, \d+ ms a forward pass: about \d", messages[-1])


@pytest.mark.parametrize("method", [methods.DeepLiftRescale(), methods.GradCam(), Perturbing()])
def test_one_method_of_any_kind_is_timed(small, noise_images, caplog, method):
    rows, messages = announced(small, noise_images, {"one": method}, caplog)
    assert rows["one"] == rows["together"] == rows["shared ones once"]
    assert "about" in messages[-1]


def test_each_kind_of_batch_is_timed_once(small, noise_images, caplog, monkeypatch):
    chosen = {"gradient": methods.Gradient(), "mine": Perturbing()}
    _, first = announced(small, noise_images, chosen, caplog)
    caplog.clear()
    with monkeypatch.context() as patched:
        patched.setattr(small, "gradients", None)
        patched.setattr(small, "logits", None)
        _, second = announced(small, noise_images, chosen, caplog)
    assert first[-1] == second[-1] and "ms a gradient" in first[-1]
    patterns = []
    monkeypatch.setattr(small, "gradients", lambda x, *rest: patterns.append((len(x), rest[1])))
    announced(small, noise_images.take(range(3)), {"gradient": methods.Gradient()}, caplog)
    announced(small, noise_images, {"guided_backprop": methods.GuidedBackprop()}, caplog)
    assert patterns == [(2, "plain"), (3, "plain"), (2, "guided_backprop"), (5, "guided_backprop")]


def test_controls_cost_nothing(small, noise_images, caplog):
    rows, messages = announced(small, noise_images, {"one": methods.RandomMask()}, caplog)
    assert rows["in all"] == (0, 0)
    assert "about" not in messages[-1]
