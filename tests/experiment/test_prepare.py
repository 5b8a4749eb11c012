"""Methods and metrics that a model does not fit: left out, or a mistake where asked for."""

import pytest

import sanity
from sanity.config import compose
from sanity.errors import ConfigError
from sanity.experiment.prepare import prepare
from sanity.files import read_json
from tests.pieces import ANY


def test_a_method_that_nobody_named_is_left_out(monkeypatch, caplog):
    chosen = compose([*ANY, "experiment=with_grad_cam"])
    assert "grad_cam" in chosen.methods and not chosen.demanded
    experiment = prepare(chosen)
    assert "grad_cam" not in experiment.job.methods and "gradient" in experiment.job.methods
    assert "layer=x is not there" in experiment.left_out["grad_cam"]
    assert "method.grad_cam is left out: layer=x is not there" in caplog.text


def test_one_that_was_named_is_refused_with_the_way_out():
    chosen = compose([*ANY, "method=[gradient,grad_cam]", "method.grad_cam.layer=x"])
    assert chosen.demanded == {"gradient", "grad_cam"}
    with pytest.raises(ConfigError) as refusal:
        prepare(chosen)
    said = str(refusal.value)
    assert said.startswith("method.grad_cam: layer=x is not there")
    assert said.endswith("; 'method=[gradient]' leaves it out")


def test_where_none_is_left_it_is_refused():
    chosen = compose([*ANY, "method=[grad_cam]", "method.grad_cam.layer=x"])
    with pytest.raises(ConfigError, match=r"^method\.grad_cam: layer=x is not there"):
        prepare(chosen)


UNNAMED = [word for word in ANY if not word.startswith("metric")]


def test_a_metric_that_nobody_named_is_left_out_of_small_masks(tmp_path, caplog):
    overrides = [*UNNAMED, "method=[gradient]", "layers.last=1", f"output={tmp_path}"]
    assert "hog" in compose(overrides).metrics
    run = sanity.run(overrides=overrides)
    scores = sanity.load_runs(run)
    assert set(scores["metric"]) == {"ssim", "spearman", "spearman_abs"}
    said = read_json(run / "run.json")["left_out"]["metric.hog"]
    assert "needs masks of at least 48×48 pixels" in said and f"left out: {said}" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("metric=[ssim,hog]", r"at least 48×48 .*; 'metric=\[ssim\]' leaves it out$"),
        (
            "metric=[hog]",
            r"at least 48×48 pixels, .* \d+×\d+; metric=\[spearman\] takes any by default$",
        ),
        ("verdict.primary=hog", "primary=hog must be a metric of the run that can give verdicts"),
        ("objective=early.gradient.hog", r"objective=early\.gradient\.hog"),
    ],
)
def test_a_metric_that_was_named_must_fit(wanted, said):
    with pytest.raises(ConfigError, match=said):
        prepare(compose([*UNNAMED, "method=[gradient]", wanted]))
