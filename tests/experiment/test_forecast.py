"""How long a job will take, as it is said before it runs."""

import numpy as np
import pytest

import sanity
from sanity.config.job import compose
from sanity.experiment.announce import announce_forecast
from sanity.experiment.effort import Times
from sanity.experiment.forecast import Forecast, forecast
from sanity.experiment.prepare import Experiment
from sanity.network.passes.segments import time_segments
from sanity.randomization.weights import Randomization
from tests.pieces import ANY

FOUND = Forecast(20, {"passes": 10.0, "pictures": 1.0}, {"pictures": 5.0, "weights": 7.0})


@pytest.mark.parametrize(
    ("devices", "seconds"), [(1, 20 * 11 + 12), (8, 3 * 11 + 12), (20, 11 + 12), (30, 11 + 12)]
)
def test_devices_share_images_and_nothing_else(devices, seconds):
    assert FOUND.seconds(devices) == seconds
    assert sum(FOUND.parts(devices).values()) == seconds


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (None, "time: about 3 min 52 s: passes 3 min 20 s, pictures 25 s, weights 7 s"),
        (8, "on 8 devices like this one, "),
        (30, "on 20 devices like this one (of 30: there are no more images), "),
    ],
)
def test_parts_and_devices_are_said(caplog, devices, said):
    with caplog.at_level("INFO"):
        announce_forecast(FOUND, devices)
    assert said in " ".join(" ".join(caplog.messages).split())
    assert ("devices" in caplog.text) == (devices is not None)
    assert max(map(len, caplog.messages)) <= 78


def test_all_of_a_job_is_counted(small, noise_images, monkeypatch):
    """Of 5 images at 3 stages: passes, predictions, scores, pictures, weights of both stages."""
    job = compose(["method=[gradient,guided_backprop]", "metric=[ssim]", "masks.keep=2"])
    stages = Randomization().stages(small, ["top", "middle"], 0)
    experiment = Experiment(job, small, noise_images, np.zeros(5, np.int32), stages)
    monkeypatch.setattr("sanity.experiment.forecast._timed", lambda compute: 1.0)
    monkeypatch.setattr("sanity.experiment.forecast._measured", {})
    found = forecast(experiment, Times(gradient=2.0, forward=0.5))
    parts = found.parts()
    assert parts.pop("figures and page") == pytest.approx(3 + 0.0075 * 2 * 2 * 2 * 3 * 2)
    beside = experiment.beside
    assert parts == {
        "gradients and forward passes": (2 * 2 + 0.5) * 3 * 5 + 2 * 2 * beside,
        "scores": 2 * 3 * 5,
        "weights of the stages": 2,
    }


def test_a_longer_segment_takes_longer(small):
    chain = small._chain("plain")
    found = time_segments(chain, np.zeros((2, *small.input_shape), np.float32))
    assert len(found) == len(chain.segments) and min(found) > 0


def test_devices_are_for_dry_runs():
    with pytest.raises(sanity.ConfigError, match=r"runtime\.gpus=8 is what dry_run=true"):
        compose([*ANY, "runtime.gpus=8"])
    job = compose([*ANY, "runtime.gpus=8", "dry_run=true"])
    assert job.run_id == compose([*ANY]).run_id
