"""`runtime.batch_size=auto`: found by trying, recorded, and of no consequence for results."""

from dataclasses import replace

import numpy as np
import pytest

import sanity
from sanity.config.job import compose
from sanity.experiment import batch_size
from sanity.experiment.batch_size import free_memory, settle_batch_size
from sanity.experiment.prepare import Experiment
from sanity.files import read_json
from sanity.randomization.weights import Randomization
from sanity.results import load_masks
from tests.pieces import QUICK, run_interrupted


@pytest.fixture
def experiment(small, noise_images, monkeypatch):
    job = compose(["method=[smoothgrad]", "metric=[ssim]", "runtime.batch_size=auto"])
    stages = Randomization().stages(small, ["top"], 0)
    monkeypatch.setattr(small, "batch_size", 24)  # as it was before, afterwards
    monkeypatch.setattr(batch_size, "free_memory", lambda: 2**50)
    return Experiment(job, small, noise_images, np.zeros(5, np.int32), stages)


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ({24: 1.0, 48: 0.9, 96: 0.8, 192: 0.1}, 96),  # five images have 125 gradients
        ({24: 1.0, 48: 0.99}, 24),
        ({24: 1.0, 48: 0.8, 96: 0.79}, 48),
        ({24: 1.0, 48: 0.8, 96: None}, 48),
        ({24: None, 12: None, 6: 1.0}, 6),
        ({24: None, 12: None, 6: None, 3: None, 2: None}, 2),
    ],
)
def test_the_largest_that_fits_and_helps(experiment, monkeypatch, seconds, found):
    monkeypatch.setattr(batch_size, "_seconds", lambda experiment, rule, size: seconds[size])
    assert settle_batch_size(experiment) == experiment.classifier.batch_size == found


def test_memory_is_left_to_others(experiment, monkeypatch):
    """A batch of 48 took 3 GB more: one of 96 is not tried with 5 GB left."""
    taken, free = iter([2e9, 5e9]), iter([9e9, 5e9])
    monkeypatch.setattr(batch_size, "peak_memory", lambda: next(taken))
    monkeypatch.setattr(batch_size, "free_memory", lambda: next(free))
    monkeypatch.setattr(batch_size, "_seconds", lambda experiment, rule, size: 1 / size)
    assert settle_batch_size(experiment) == 48


def test_what_was_settled_or_asked_for_is_kept(experiment, monkeypatch):
    monkeypatch.setattr(batch_size, "_seconds", None)
    assert settle_batch_size(experiment, 96) == 96
    asked = compose(["method=[smoothgrad]", "runtime.batch_size=8"])
    assert settle_batch_size(replace(experiment, job=asked), 96) == 8


def test_a_batch_is_really_tried(experiment):
    (rule,) = experiment.plan.points
    found = batch_size._seconds(experiment, rule, 7)
    assert found is not None and found > 0
    free = free_memory()
    assert free is None or free > 0


def test_memory_that_ends_is_no_failure(experiment, monkeypatch):
    def crowded(x, rule, baselines):
        raise MemoryError

    monkeypatch.setattr(experiment.classifier, "batch_gradient", crowded)
    assert batch_size._seconds(experiment, "plain", 7) is None


def test_results_do_not_depend_on_what_is_found(tmp_path, monkeypatch):
    """The run is the same, to the bit, and goes on with the size that it began with."""
    monkeypatch.chdir(tmp_path)
    found = []

    def find(experiment):
        found.append(len(found))
        return 5

    monkeypatch.setattr(batch_size, "_find", find)
    auto = [*QUICK, "runtime.batch_size=auto", "output=auto"]
    run_interrupted(auto, units=3)
    first = sanity.run(overrides=auto)
    second = sanity.run(overrides=[*QUICK, "output=fixed"])
    assert found == [0]
    assert first.path.name == second.path.name
    assert read_json(first.path / "run.json")["batch_size"] == 5
    assert read_json(second.path / "run.json")["batch_size"] == 16
    for name, masks in load_masks(first.path).items():
        assert masks.values.tobytes() == load_masks(second.path)[name].values.tobytes()
    assert (first.path / "scores.parquet").read_bytes() == (
        second.path / "scores.parquet"
    ).read_bytes()
