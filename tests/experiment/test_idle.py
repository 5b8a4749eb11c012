"""Settings that were given and change nothing are said, and change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from sanity.config.job import compose
from sanity.data import Digits
from sanity.experiment.idle import idle_settings
from sanity.experiment.prepare import Experiment
from sanity.metrics import Cosine

JOB = ["model=mlp", "data=digits", "metric=[spearman]"]


class Logarithms(Cosine):
    """A metric of one's own that a scale changes."""

    def vectors(self, masks):
        return np.log1p(np.abs(super().vectors(masks)))


class Told(Logarithms):
    """One that says for itself what is idle."""

    def idle(self):
        return {"scale": "so it says"}


class Field(Cosine):
    """One that has a parameter of that name."""

    idle = 0.5


def idle(small, images, *overrides, layers=("top", "middle")):
    job = compose([*JOB, *overrides])
    stages = job.randomization.stages(small, layers, 0) if job.randomization.of_layers else []
    targets = np.zeros(len(images), np.int32)
    return idle_settings(Experiment(job, small, images, targets, stages, list(layers)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["method=[gradient]", "coordinates=[-1,1]"], {"coordinates": "no method chosen takes"}),
        (["method=[lime]", "coordinates=[-1,1]"], {"coordinates": "no method chosen takes them"}),
        (["method=[lime]", "coordinates=[-1,1]", "method.lime.baseline=zero"], {}),
        (["method=[gradient_x_input,lime]", "coordinates=[-1,1]"], {}),
        (["method=[denoised_gradient_x_input]", "coordinates=[-1,1]"], {}),
        (
            ["method=[lime]", "method.lime.segmentation=grid", "method.lime.compactness=3.0"],
            {"method.lime.compactness": "it is taken with segmentation=slic alone"},
        ),
        (["method=[lime]", "method.lime.compactness=3.0"], {}),
        (["method=[gradient]", "noise_seed=3"], {"noise_seed": "no method chosen draws"}),
        (["method=[gradient,random_mask]", "noise_seed=3"], {}),
        (["method=[gradient]", "null_images=2"], {}),
        (
            ["method=[gradient]", "null_model=shuffled", "null_images=2"],
            {"null_images": "the nulls are made without other images"},
        ),
        (
            ["method=[gradient]", "randomization.slopes=draw", "randomization.biases=draw"],
            {"randomization.slopes": "the blocks chosen have no slopes of PReLU"},
        ),
        (
            ["randomization.moving_statistics=keep", "randomization.calibration='${data}'"],
            {"randomization.calibration": "no moving statistics are re-estimated"},
        ),
        (
            ["randomization.draws=fresh", "randomization.initializer=zeros"],
            {"randomization.draws": "zeros are the same at every stage"},
        ),
        (
            ["randomization.draws=fresh", "randomization.kernels=first"],
            {"randomization.kernels": "no block chosen has a second kernel"},
        ),
        (
            ["randomization=other_class", "layers.last=1", "verdict.early=2"],
            {
                "layers.last": "this randomization chooses no layers",
                "verdict.early": "verdicts are for randomization.order=cascading alone",
            },
        ),
        (["data.limit=2", "data.names=[digit_0033]"], {"data.limit": "data.names says which"}),
        (["data.resample=nearest"], {}),
        (
            ["metric.spearman.scale=min_max", "metric.spearman.sign=abs"],
            {"metric.spearman.scale": "without clip the metric is blind to it"},
        ),
        (["metric.spearman.scale=min_max", "metric.spearman.clip=[0,0.5]"], {}),
        (
            ["metric=[spearman_abs]", "metric.spearman_abs.sign=abs"],
            {"metric.spearman_abs.sign": "channels=sum_abs takes absolute values already"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_without_effect(small, noise_images, given, said):
    found = idle(small, noise_images, *given)
    assert len(found) == len(said)
    for line, (key, why) in zip(found, said.items(), strict=True):
        assert line.startswith(f"{key}=") and f"({why}" in line


@pytest.mark.parametrize(("side", "idle"), [(8, True), (16, False)])
def test_images_that_have_the_models_size_are_not_resized(side, idle):
    assert ("resample" in Digits().idle((side, side, 3))) == idle


def test_kinds_that_other_blocks_have(small, noise_images):
    """It is the blocks chosen that count, but for what is re-estimated everywhere."""
    given = ["randomization.batch_norm=draw", "randomization.moving_statistics=identity"]
    assert not idle(small, noise_images, *given, layers=["stem"])
    (line,) = idle(small, noise_images, *given, layers=["top"])
    assert line.startswith("randomization.batch_norm=draw (the blocks chosen have no scales")


@pytest.mark.parametrize(
    ("class_", "idle"), [(Cosine, True), (Logarithms, False), (Told, True), (Field, False)]
)
def test_what_ones_own_class_derives_from_says_nothing_of_it(small, noise_images, class_, idle):
    job = compose(["model=mlp", "data=digits", "metric=[cosine]", "metric.cosine.scale=max_abs"])
    job = replace(job, metrics={"cosine": class_(scale="max_abs")})
    found = idle_settings(Experiment(job, small, noise_images, np.zeros(3, np.int32), [], []))
    assert [line.split("=")[0] for line in found] == ["metric.cosine.scale"] * idle


@pytest.mark.parametrize(
    ("name", "given", "field", "value"),
    [
        ("shapley_sampling", {"segmentation": "grid"}, "compactness", 0.1),
        ("integrated_gradients", {"steps": 3}, "coordinates", [-1.0, 1.0]),
        ("integrated_gradients_smoothgrad", {"steps": 3, "noise": 0.0}, "samples", 2),
        ("deeplift_rescale", {"baseline": "mean"}, "coordinates", [-1.0, 1.0]),
        ("epsilon_lrp_local", {}, "coordinates", [-1.0, 1.0]),
        ("smoothgrad", {"noise": 0.0}, "samples", 3),
        ("guided_ig", {"steps": 4, "max_distance": 0.0}, "fraction", 0.7),
    ],
)
def test_what_is_idle_changes_nothing(small, noise_images, name, given, field, value):
    overrides = [f"method.{name}.{key}={setting}" for key, setting in given.items()]
    method = compose([*JOB, f"method=[{name}]", *overrides]).methods[name]
    assert field in method.idle()
    images, targets = noise_images.take(range(1)), np.array([1])
    plain, other = (
        one.masks(small, images, targets, 0) for one in (method, replace(method, **{field: value}))
    )
    np.testing.assert_allclose(plain, other, rtol=1e-5, atol=1e-6 * np.abs(plain).max())
