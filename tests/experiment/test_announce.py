"""What is said before a run: what it costs, and which methods do not fit the model."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from sanity import methods
from sanity.config.job import compose
from sanity.data.images import Images
from sanity.experiment.announce import announce, warn_of_images
from sanity.experiment.prepare import Experiment
from sanity.methods import Cost, as_method
from sanity.randomization.weights import Randomization


class Perturbing:
    def masks(self, classifier, images, targets, seed):
        raise AssertionError("nothing is computed yet")

    def cost(self, classifier, images):
        return Cost(forward=100 * classifier.input_shape[0])


def announced(small, images, chosen, caplog, *overrides):
    job = compose(["method=[gradient]", "metric=[ssim]", *(overrides or ["dry_run=true"])])
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
        "4 images more as trained, for nulls": (11 * 4, 1600 * 4),
        "in all": (11 * (5 * 3 + 4), 1600 * (5 * 3 + 4)),
    }
    said = r"  (\d+) gradients of [\d.]+ ms, (\d[\d,]*) forward passes of [\d.]+ ms: about \d"
    counts = re.match(said, messages[-1])
    # the four images that nulls are made with are explained as trained besides
    assert counts and counts[1] == str(11 * (5 * 3 + 4))
    assert counts[2] == f"{1600 * (5 * 3 + 4):,}"


@pytest.mark.parametrize("method", [methods.DeepLiftRescale(), methods.GradCam(), Perturbing()])
def test_one_method_of_any_kind_is_timed(small, noise_images, caplog, method):
    rows, messages = announced(small, noise_images, {"one": method}, caplog)
    assert rows["one"] == rows["together"] == rows["shared ones once"]
    assert "about" in messages[-1]


def test_each_kind_of_batch_is_timed_once(small, noise_images, caplog, monkeypatch):
    chosen = {"gradient": methods.Gradient(), "mine": Perturbing()}
    shuffled = "null_model=shuffled"  # without other images, whose classes are asked for
    announced(small, noise_images, chosen, caplog, shuffled)
    caplog.clear()
    with monkeypatch.context() as patched:
        patched.setattr(small, "batch_gradient", None)
        patched.setattr(small, "logits", None)
        _, second = announced(small, noise_images, chosen, caplog, shuffled)
    assert "gradients of" in second[-1]
    patterns = []

    def batch(x, rule, baselines):
        patterns.append((len(x), rule))
        return lambda targets: None

    monkeypatch.setattr(small, "batch_gradient", batch)
    announced(
        small, noise_images.take(range(3)), {"gradient": methods.Gradient()}, caplog, shuffled
    )
    announced(small, noise_images, {"guided_backprop": methods.GuidedBackprop()}, caplog, shuffled)
    assert patterns == [(2, "plain"), (3, "plain"), (2, "guided_backprop"), (5, "guided_backprop")]


@pytest.mark.parametrize(
    ("layers", "segments", "share"),
    [
        ([0], [1, 1, 1], (1 + 1 / 3) / 2),
        ([0], [6, 3, 1], (1 + 1 / 10) / 2),
        ([-1], [1, 1, 1], 1),
        ([0, 1], [1, 1, 1], (1 + 1 / 3 + 2 / 3) / 3),
        ([0, 1], [6, 3, 1], (1 + 1 / 10 + 4 / 10) / 3),
    ],
)
def test_a_stage_is_counted_as_what_it_computes_anew(
    small, noise_images, monkeypatch, layers, segments, share
):
    """All of the way back, and forward what lies above the block: of three blocks top, middle, …"""
    # of tracing, of a batch, of its way back alone, of a mask's scores
    times = iter([9.0, 3.0, 2.0, 0.0])
    monkeypatch.setattr("sanity.experiment.forecast._timed", lambda compute: next(times))
    monkeypatch.setattr("sanity.experiment.forecast._measured", {})
    monkeypatch.setattr(small, "segment_seconds", lambda images, rule: segments)
    job = compose(["method=[gradient]", "metric=[ssim]"])
    stages = Randomization().stages(small, [small.blocks[k] for k in layers], 0)
    targets = np.zeros(len(noise_images), np.int32)
    found = announce(Experiment(job, small, noise_images, targets, stages))
    assert found.gradient == pytest.approx((2 + share) / len(noise_images))


def test_it_says_what_is_asked_and_of_what(small, noise_images, caplog):
    chosen = {
        "gradient": methods.Gradient(),
        **{f"guided_backprop_{k}": methods.GuidedBackprop() for k in range(5)},
        "edge_detector": methods.EdgeDetector(),
    }
    rows, messages = announced(small, noise_images, chosen, caplog, "dry_run=false")
    assert not rows
    assert messages[0] == (
        "Which of these maps change when small loses what it has learned, block by"
    )
    text = " ".join(" ".join(messages).split())
    assert "block by block from top to middle? 6 methods: gradient, guided_backprop_0" in text
    assert "1 control: edge_detector 5 images at 3 stages, compared by ssim (decides)" in text
    assert max(map(len, messages)) <= 78


@pytest.mark.parametrize(
    ("randomization", "asked"),
    [
        ("cascading_bottom_up", "loses what it has learned, block by block from stem to top"),
        ("independent", "loses what it has learned, in one block at a time from top to stem"),
        ("full", "loses all that it has learned"),
        ("other_class", "is asked otherwise: other class"),
    ],
)
def test_the_question_is_the_randomizations(small, noise_images, caplog, randomization, asked):
    job = compose(["method=[edge_detector]", "metric=[ssim]", f"randomization={randomization}"])
    stages = job.randomization.stages(small, small.blocks, 0)
    targets = np.zeros(len(noise_images), np.int32)
    with caplog.at_level(logging.INFO):
        announce(Experiment(job, small, noise_images, targets, stages))
    said = " ".join(caplog.messages)
    assert f"Which of these maps change when small {asked}?" in said


@pytest.mark.parametrize(("limit", "said"), [(5, "6 images or more can decide"), (6, None)])
def test_too_few_images_are_said_beforehand(small, noise_images, caplog, limit, said):
    chosen = {f"gradient_{k}": methods.Gradient() for k in range(5)}
    _, messages = announced(small, noise_images, chosen, caplog, f"data.limit={limit}")
    assert any(said in line for line in messages) if said else "decide;" not in caplog.text


def test_controls_cost_nothing(small, noise_images, caplog):
    rows, messages = announced(small, noise_images, {"one": methods.RandomMask()}, caplog)
    assert rows["in all"] == (0, 0)
    assert "about" not in messages[-1]


@pytest.mark.parametrize(("labels", "said"), [([0, 6], False), ([0, 7], True), ([None, 8], True)])
def test_labels_that_the_model_does_not_have_are_named(small, noise_images, labels, said, caplog):
    images = replace(noise_images.take(range(2)), labels=labels)
    _, messages = announced(small, images, {"one": methods.RandomMask()}, caplog)
    wanted = f"labelled up to class {labels[1]}, and the model has 7 classes"
    assert any(wanted in message for message in messages) == said


def test_copies_and_images_that_are_nearly_black_are_said(caplog):
    caplog.set_level(logging.WARNING)
    x = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)
    names = ["a", "b", "c"]
    images = Images(x, names, [None] * 3, [None] * 3, ["1", "2", "3"])
    warn_of_images(images)
    assert not caplog.messages
    warn_of_images(replace(images, x=x * 4095 / 65535, sha256=["1", "2", "1"]))
    copies, black = caplog.messages
    assert copies.startswith("1 of 3 images are copies (c of a): each counts as an image more")
    assert black.startswith("the images are nearly black: of the first 3 the greatest value is 0.0")
