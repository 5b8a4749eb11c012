"""What the bar counts: all passes of all methods, weighed by the time they take."""

from contextlib import contextmanager

import numpy as np
import pytest

import sanity
from sanity import methods
from sanity.experiment.effort import Effort, Times
from sanity.experiment.explaining import explain
from sanity.methods import Cost
from sanity.randomization.weights import Randomization
from tests.pieces import ANY, run_interrupted

TARGETS = np.array([0, 3, 6, 2, 2])


def test_steps_are_in_proportion_to_time_and_end_at_the_number_of_passes():
    effort = Effort(Cost(gradients=300, forward=1000), Times(gradient=0.03, forward=0.01))
    assert (effort.passes, effort.unit) == (1300, "pass")
    ticks = []
    done = effort.done(ticks.append)
    done(Cost(gradients=300))  # 9 of 19 seconds
    assert sum(ticks) == int(1300 * 9 / 19)
    for _ in range(1000):
        done(Cost(forward=1))
    assert sum(ticks) == 1300
    assert all(isinstance(tick, int) and tick > 0 for tick in ticks)


@pytest.mark.parametrize(
    ("cost", "unit"), [(Cost(gradients=7), "gradient"), (Cost(forward=7), "forward pass")]
)
def test_passes_of_one_kind_are_counted_one_by_one(cost, unit):
    effort = Effort(cost, Times(*(0.3 if n else 0.0 for n in (cost.gradients, cost.forward))))
    assert (effort.passes, effort.unit) == (7, unit)
    ticks = []
    done = effort.done(ticks.append)
    for _ in range(7):
        done(Cost(bool(cost.gradients), bool(cost.forward)))
    assert ticks == [1] * 7


def test_nothing_to_do():
    effort = Effort(Cost(), Times(0.0, 0.0))
    assert effort.passes == 0
    effort.done(pytest.fail)(Cost())


def test_explain_tells_all_it_has_computed(small, noise_images, monkeypatch):
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 2)
    chosen = {
        "smoothgrad": methods.SmoothGrad(samples=3),
        "guided_grad_cam": methods.GuidedGradCam(),
        "grad_cam": methods.GradCam(),
        "occlusion": methods.Occlusion(size=4, stride=2),
        "edge_detector": methods.EdgeDetector(),
    }
    stages = Randomization().stages(small, ["top", "middle"], 0)
    told = []
    list(explain(small, noise_images, TARGETS, chosen, stages, done=told.append))
    gradients, forward = sum(t.gradients for t in told), sum(t.forward for t in told)
    units = 5 * 3
    assert (gradients, forward) == ((3 + 1 + 1 + 1) * units, 50 * units)
    assert max(t.forward for t in told) == 50  # image by image


@pytest.mark.parametrize(
    ("chosen", "unit"),
    [
        (["method=[occlusion]", "method.occlusion.size=4"], "forward pass"),
        (["method=[gradient,occlusion,grad_cam]", "method.occlusion.size=4"], "pass"),
    ],
)
def test_the_bar_ends_at_its_end(tmp_path, monkeypatch, chosen, unit):
    bars = []

    @contextmanager
    def bar(total, what, unit):
        bars.append((total, unit, []))
        yield bars[-1][2].append

    monkeypatch.setattr("sanity.experiment.compute.progress", bar)
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 1)
    monkeypatch.chdir(tmp_path)
    overrides = [*ANY, *chosen, "metric=[pearson]", "layers.last=1", "masks.keep=none"]
    run_interrupted(overrides, units=3)
    sanity.run(overrides=overrides)
    (broken, going_on) = bars
    assert broken[1] == going_on[1] == unit
    assert sum(broken[2]) < broken[0]
    assert sum(going_on[2]) == going_on[0] < broken[0]
    assert len(going_on[2]) >= 5  # images at stages are left
