"""Callbacks that log to trackers, into stores on this machine; each where its package is there."""

import json
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from hydra.core.utils import JobReturn, JobStatus

from sanity.errors import ConfigError
from sanity.sweeping import JobFailed, Outcome
from sanity.tracking import MLflow, WandB, curves, failure, verdicts

SCORES = pd.DataFrame(
    {
        "stage": [0, 0, 1, 1, 1],
        "method": "gradient",
        "metric": ["ssim", "ssim", "ssim", "ssim", "hog"],
        "value": [1.0, 1.0, 0.2, 0.4, float("nan")],
    }
)
VERDICTS = [
    {"method": "gradient", "metric": "ssim", "primary": True, "verdict": "sensitive"},
    {"method": "gradient", "metric": "hog", "primary": False, "verdict": "none"},
]


@pytest.fixture
def ended(tmp_path):
    """A job that finished and one that failed, as Hydra hands them to callbacks."""
    run = tmp_path / "small-seed0"
    run.mkdir()
    info = {"columns": {"model": "small", "seed": 0}, "verdicts": VERDICTS}
    (run / "run.json").write_text(json.dumps(info))
    (run / "report.html").write_text("<!doctype html>")
    found = SimpleNamespace(folder=run, scores=SCORES)
    well = JobReturn(overrides=["seed=0"], status=JobStatus.COMPLETED, _return_value=found)
    failed = JobFailed(Outcome("failed", "OSError: full"))
    badly = JobReturn(overrides=["seed=1"], status=JobStatus.FAILED, _return_value=failed)
    return well, badly


def test_what_a_tracker_gets(ended):
    assert curves(SCORES) == {0: {"gradient.ssim": 1.0}, 1: {"gradient.ssim": pytest.approx(0.3)}}
    assert verdicts({"verdicts": VERDICTS}) == {"verdict.gradient": "sensitive"}
    assert [failure(one) for one in ended] == [None, "OSError: full"]


@pytest.mark.parametrize(("name", "callback"), [("mlflow", MLflow), ("wandb", WandB)])
def test_a_missing_package_is_a_sentence(monkeypatch, name, callback):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"pip install 'saliency-sanity\\[{name}\\]'"):
        callback()


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_curves_verdicts_and_page(ended, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it keeps what it is given
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    callback = MLflow(f"sqlite:///{tmp_path}/runs.db", "checks")
    for one in ended:
        callback.on_job_end(None, one)
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "checks"]
    bad, well = client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])
    assert (well.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert bad.data.tags["error"] == "OSError: full"
    assert well.data.params == {"model": "small", "seed": "0"}
    assert well.data.tags["verdict.gradient"] == "sensitive"
    history = client.get_metric_history(well.info.run_id, "gradient.ssim")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, pytest.approx(0.3))]


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_offline_runs(ended, tmp_path):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    callback = WandB("checks", mode="offline", dir=str(tmp_path))
    for one in ended:
        callback.on_job_end(None, one)
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2
