"""Hydra's basic sweeper, which goes on past failed jobs and says at the end what became of each.

It stands in this package because Hydra admits plugins from nowhere else.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from sanity.config.hydra_api import completed, finished, outcome


class SanitySweeper(BasicSweeper):
    """Runs every combination with any launcher, whatever becomes of single jobs."""

    def setup(self, **context: Any) -> None:
        """Wraps the launcher that was chosen."""
        super().setup(**context)
        assert self.launcher is not None and self.config is not None
        self.launcher = _Steady(self, self.launcher, self.config, context["hydra_context"])

    def sweep(self, arguments: list[str]) -> Any:
        """Runs all jobs and prints their outcomes."""
        from sanity.app import Ends
        from sanity.sweeping import report

        batches = super().sweep(arguments)
        jobs = [job for batch in batches for job in batch]
        code = report([(_own(job.overrides or []), job.return_value) for job in jobs])
        assert self.hydra_context is not None
        # Those of `hydra/callbacks=…` come before ours, and would not hear of the end after it.
        self.hydra_context.callbacks.callbacks.sort(key=lambda one: not isinstance(one, Ends))
        for callback in self.hydra_context.callbacks.callbacks:
            if isinstance(callback, Ends):
                callback.code = code
        return batches

    def jobs(self) -> list[list[str]]:
        """The overrides of each job, of all batches."""
        return [_own(list(job)) for batch in self.overrides or [] for job in batch]


def _own(overrides: Sequence[str]) -> list[str]:
    """Those that are not Hydra's."""
    own: list[str] = filter_overrides(overrides)
    return own


class _Steady(Launcher):
    """A launcher whose breakdown, a worker out of memory say, fails its jobs but not the sweep."""

    def __init__(
        self, sweeper: SanitySweeper, launcher: Launcher, config: DictConfig, context: Any
    ):
        self._sweeper, self._launcher = sweeper, launcher
        self._config, self._context = config, context

    def setup(self, **context: Any) -> None:
        """Done by the launcher itself."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from sanity.sweeping import SWEEP, Outcome, describe

        self._refuse_swept_sweeps(job_overrides)
        sweep = f"hydra.job.env_set.{SWEEP}='{describe(self._sweeper.jobs())}'"
        jobs = [[*overrides, sweep] for overrides in job_overrides]
        try:
            done = self._launcher.launch(jobs, initial_job_idx=initial_job_idx)
        except Exception as error:
            return [self._look(list(overrides), error) for overrides in job_overrides]
        return [
            job if job.status == JobStatus.COMPLETED else completed(job, Outcome.of(outcome(job)))
            for job in done
        ]

    def _refuse_swept_sweeps(self, job_overrides: Sequence[Sequence[str]]) -> None:
        """Refuses a sweep over presets that are sweeps: theirs would be dropped (ConfigError)."""
        from sanity.errors import ConfigError

        own = self._config.hydra.sweeper.get("params") or {}
        seen = set()
        for overrides in job_overrides:
            preset = next((text for text in overrides if text.startswith("experiment=")), None)
            if preset is None or preset in seen:
                continue
            seen.add(preset)
            config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
            given = {text.lstrip("+").partition("=")[0] for text in overrides}
            params = config.hydra.sweeper.get("params") or {}
            lost = [f"{k}={v}" for k, v in params.items() if k not in own and k not in given]
            if lost:
                raise ConfigError(
                    f"{preset} is a sweep of its own, over {' and '.join(lost)}, which a sweep "
                    f"over presets would drop: run {preset} by itself, or add these values here"
                )

    def _look(self, overrides: list[str], error: Exception) -> JobReturn:
        """What the run folder of a job says that the launcher returned nothing of."""
        from sanity.config.job import resolve
        from sanity.sweeping import Outcome, lost

        config = self._context.config_loader.load_sweep_config(self._config, overrides)
        choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
        try:
            became = lost(resolve(config, choices, overrides, sweep=True).folder, error)
        except Exception as refusal:
            became = Outcome.of(refusal)
        return finished(overrides, became)
