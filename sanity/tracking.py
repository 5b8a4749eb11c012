"""Callbacks of Hydra's that log finished runs to experiment trackers, MLflow and Weights & Biases.

`hydra/callbacks=mlflow`, `hydra/callbacks=wandb`, or both in brackets; `conf/hydra/callbacks/`
lists what each can be told. A tracker gets a run's configuration as `load_runs` has it, every
method's mean similarity by each metric at every stage (`METHOD.METRIC`, the stage as step), its
verdicts, the page; of a job that failed, why.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sanity.config.hydra_api import outcome
from sanity.errors import ConfigError, how_to_install
from sanity.files import read_json


class MLflow(Callback):
    """Logs each job as a run of MLflow's.

    Args:
        tracking_uri: Where to, a folder (`file:mlruns`) or a server; None for MLflow's own choice.
        experiment: Its experiment.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "sanity"):
        self.tracking_uri, self.experiment = tracking_uri, experiment
        _import("mlflow")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Logs what became of the job."""
        mlflow = _import("mlflow")
        if self.tracking_uri is not None:
            mlflow.set_tracking_uri(self.tracking_uri)
        if (reason := failure(job_return)) is not None:
            mlflow.set_experiment(self.experiment)
            mlflow.start_run(tags={"error": reason[:5000]})
            mlflow.log_params({"overrides": " ".join(job_return.overrides or [])[:500]})
            mlflow.end_run("FAILED")
        elif (run := job_return.return_value.folder) is not None:
            info = _info(run)
            mlflow.set_experiment(self.experiment)
            tags = {"folder": str(run), **verdicts(info)}
            with mlflow.start_run(run_name=run.name, tags=tags):
                mlflow.log_params({k: str(v)[:500] for k, v in info["columns"].items()})
                for stage, values in curves(job_return.return_value.scores).items():
                    mlflow.log_metrics(values, step=stage)
                if (page := run / "report.html").exists():
                    mlflow.log_artifact(str(page))


class WandB(Callback):
    """Logs each job as a run of Weights & Biases'.

    Args:
        project: Its project.
        mode: `online`, `offline` (uploaded later by `wandb sync`) or `disabled`; None for
            `WANDB_MODE`.
        dir: The folder for its files; None for the working directory.
    """

    def __init__(
        self, project: str = "sanity", mode: str | None = None, dir: str | None = None
    ) -> None:
        self.project, self.mode, self.dir = project, mode, dir
        _import("wandb")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Logs what became of the job."""
        wandb = _import("wandb")
        reason = failure(job_return)
        folder = None if reason is not None else job_return.return_value.folder
        if reason is None and folder is None:
            return
        info = {"columns": {}} if folder is None else _info(folder)
        run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=self.dir,
            name=None if folder is None else folder.name,
            config={"overrides": list(job_return.overrides or []), **info["columns"]},
            reinit="finish_previous",
        )
        if folder is None:
            run.summary["error"] = reason
        else:
            for stage, values in curves(job_return.return_value.scores).items():
                run.log(values, step=stage)
            run.summary.update({"folder": str(folder), **verdicts(info)})
        run.finish(exit_code=0 if reason is None else 1)


def failure(job_return: JobReturn) -> str | None:
    """Why a job failed; None if it did not."""
    if job_return.status == JobStatus.COMPLETED:
        return None
    error = outcome(job_return)
    return str(error) or type(error).__name__


def curves(scores: Any) -> dict[int, dict[str, float]]:
    """Mean similarities over images by stage, then by `METHOD.METRIC`; NaNs are left out."""
    means = scores.groupby(["stage", "method", "metric"], observed=True)["value"].mean().dropna()
    found: dict[int, dict[str, float]] = {}
    for (stage, method, metric), value in means.items():
        found.setdefault(int(stage), {})[f"{method}.{metric}"] = float(value)
    return found


def verdicts(info: Mapping[str, Any]) -> dict[str, str]:
    """Each method's verdict by the metric that decides, as `verdict.METHOD`."""
    return {
        f"verdict.{row['method']}": str(row["verdict"])
        for row in info.get("verdicts", [])
        if row.get("primary")
    }


def _info(run: Path) -> dict[str, Any]:
    return {"columns": {}} | (read_json(run / "run.json") or {})


def _import(tracker: str) -> Any:
    from importlib import import_module

    try:
        return import_module(tracker)
    except ImportError as error:
        raise ConfigError(
            f"hydra/callbacks={tracker} needs {tracker}: {how_to_install(tracker)}"
        ) from error
