"""One number of a run, by name: what a sweeper that searches wants of a job."""

import math
from collections.abc import Iterable
from pathlib import Path

from sanity.analysis.verdicts import early_stages
from sanity.errors import ConfigError, did_you_mean
from sanity.results.load import load_runs

KINDS = ("early", "final", "mean")  # over which randomized stages: the first of them, the last, all


def check_objective(name: str, methods: Iterable[str], metrics: Iterable[str]) -> None:
    """Whether a job has a number of a name.

    Args:
        name: `KIND.METHOD.METRIC`: `early.gradient.ssim`.
        methods: The job's.
        metrics: And its metrics.

    Raises:
        ConfigError: It has none.
    """
    known = [f"{kind}.{m}.{n}" for kind in KINDS for m in methods for n in metrics]
    if name not in known:
        hint = did_you_mean(name, known) or f", e.g. {known[0]}"
        raise ConfigError(
            f"objective={name} must be {'|'.join(KINDS)}.METHOD.METRIC, of this job's{hint}"
        )


def objective(run: Path, name: str, early: int) -> float:
    """The mean similarity over images and over the stages that a name says.

    Args:
        run: The folder of a completed run.
        name: See `check_objective`.
        early: What share of the stages is early, see `Thresholds`.

    Raises:
        ConfigError: No score of these is a number.
    """
    kind, _, rest = name.partition(".")
    scores = load_runs(run)
    of = scores["method"].astype(str) + "." + scores["metric"].astype(str)
    scores = scores[(of == rest) & (scores["stage"] > 0)]
    last = int(scores["stage"].max()) if len(scores) else 0
    stages = {"early": early_stages(last, early), "final": [last], "mean": range(1, last + 1)}
    value = float(scores.loc[scores["stage"].isin(stages[kind]), "value"].mean())
    if math.isnan(value):
        raise ConfigError(f"objective={name} is no number in {run}: no score of these stages is")
    return value
