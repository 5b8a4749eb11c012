"""Methods that a model refuses: left out, or a mistake where they were asked for."""

import pytest

from sanity.config import compose
from sanity.errors import ConfigError
from sanity.experiment.prepare import prepare
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
