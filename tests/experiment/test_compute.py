"""The loop over units: resuming, and what a run says of its methods."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import sanity
from sanity.analysis.thresholds import Thresholds
from sanity.data.folder import _Files
from sanity.errors import ConfigError
from sanity.experiment.compute import _verdicts
from sanity.files import read_json
from sanity.metrics import Ssim
from sanity.randomization import Randomization
from sanity.results import load_predictions, load_runs
from sanity.results.tables import PREDICTIONS
from tests.analysis.test_verdicts import constant, scores_of
from tests.pieces import QUICK, run_interrupted


@pytest.mark.parametrize("later", [1, 3])
def test_a_run_resumes_though_groups_would_be_of_another_size(tmp_path, monkeypatch, later):
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 2)
    overrides = [*QUICK, f"output={tmp_path / 'one'}", "originals=false"]
    run_interrupted(overrides, units=2)
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", later)
    resumed = load_runs(first := sanity.run(overrides=overrides))
    whole = load_runs(
        second := sanity.run(overrides=[*overrides[:-2], f"output={tmp_path / 'two'}"])
    )
    keys = ["image", "method", "stage", "metric"]
    columns = [*keys, "value", "null"]
    assert not resumed.duplicated(keys).any()
    one, two = (found[columns].sort_values(keys, ignore_index=True) for found in (resumed, whole))
    assert one.equals(two)
    one, two = (load_predictions(run, columns=list(PREDICTIONS)) for run in (first, second))
    share = one.pop("between_share"), two.pop("between_share")
    assert one.equals(two)
    np.testing.assert_allclose(*share, rtol=1e-9)  # from the images of a group at a time
    assert np.isfinite(share[0]).all()


@pytest.mark.parametrize(
    ("units", "said"), [(0, "an earlier try finished none of its parts"), (2, "2 of 3 parts are")]
)
def test_a_run_says_what_it_goes_on_from(tmp_path, caplog, units, said):
    overrides = [*QUICK, f"output={tmp_path}", "layers.last=2"]
    run_interrupted(overrides, units)
    assert "going on" not in caplog.text
    sanity.run(overrides=overrides)
    assert f"going on: {said}" in caplog.text


def test_nothing_waits_for_the_last_image(tmp_path, monkeypatch):
    """What comes before one that cannot be read is computed and kept."""
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 1)
    overrides = [*QUICK, "layers.last=1", f"output={tmp_path / 'one'}", "masks.keep=none"]
    read = _Files.read

    def broken(files, indices):
        ahead = threading.current_thread() is not threading.main_thread()
        if ahead and 3 in indices:  # neither for nulls nor to see how long it takes
            raise ConfigError("the last one cannot be read")
        return read(files, indices)

    monkeypatch.setattr("sanity.data.ahead._PIECE", 1)
    monkeypatch.setattr(_Files, "read", broken)
    with pytest.raises(ConfigError, match="last one cannot") as raised:
        sanity.run(overrides=overrides)
    parts = list((tmp_path / "one").glob("*/*/parts/g000000-000001-s*.parquet"))
    assert parts, raised.getrepr(style="short")


def test_a_method_is_no_control_for_its_name(tmp_path):
    """Neither the key nor the class decides, but what the class says of itself."""
    run = sanity.run(
        overrides=[
            *QUICK[:-2],
            "method=[edge_detector]",
            "+method.input={_target_: tests.pieces.Input}",
            "+method.mine={_target_: sanity.methods.Constant}",
            f"output={tmp_path}",
            "data.limit=1",
            "layers.last=1",
        ]
    )
    assert read_json(run / "run.json")["controls"] == ["edge_detector", "mine"]


def test_fresh_draws_are_made_once(small, monkeypatch):
    drawn = []
    scheme = Randomization(draws="fresh", initializer=lambda random, variable: draw(variable))

    def draw(variable):
        drawn.append(variable.name)
        return variable.trained + 1

    stages = scheme.stages(small, ["top", "middle"], seed=0)
    first = [stage.make_weights() for stage in stages]
    count = len(drawn)
    again = [stage.make_weights() for stage in stages]
    assert count and len(drawn) == count
    assert all(
        one[name] is two[name] for one, two in zip(first, again, strict=True) for name in one
    )


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ({}, "insensitive"),
        ({"survives": {"parameters": 9, "of": 10, "variables": {"k": 9}}}, "invalid"),
        ({"begins_at_output": False}, "none"),
        ({"order": "independent"}, "none"),
        ({"thresholds": Thresholds(threshold=0.99)}, "sensitive"),
    ],
)
def test_verdicts_are_judged_by_all_that_is_known_of_the_randomization(known, verdict):
    scores = scores_of(constant(0.9), constant(0.1, spread=0))
    by = {"order": "cascading", "begins_at_output": True, "survives": None}
    by = SimpleNamespace(**{**by, "thresholds": Thresholds(), **known})
    work = SimpleNamespace(methods={}, metrics={"ssim": Ssim()}, judged_by=by)
    found, facts = _verdicts(work, scores, None, None)
    assert found["verdict"].tolist() == [verdict] == [row["verdict"] for row in facts["verdicts"]]
