"""Hydra's basic sweeper, which goes on past failed jobs and says at the end what became of each.

It stands in this package because Hydra admits plugins from nowhere else.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from sanity.config.hydra_api import completed, finished, outcome

_AT_ONCE = 2  # jobs, where nothing says otherwise and a launcher would start all of them


class SanitySweeper(BasicSweeper):
    """Runs every combination with any launcher, whatever becomes of single jobs.

    Attributes:
        retries: How often jobs that failed by no mistake of the user's are started again.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        retries: int = 0,
    ):
        _check_settings(max_batch_size, params, retries)
        super().__init__(max_batch_size, params)
        self.retries = retries

    def setup(self, **context: Any) -> None:
        """Wraps the launcher that was chosen."""
        super().setup(**context)
        assert self.launcher is not None and self.config is not None
        self.launcher = _Steady(self, self.launcher, self.config, context["hydra_context"])
        self.max_batch_size = self.places_at_once()

    def sweep(self, arguments: list[str]) -> Any:
        """Runs all jobs and prints their outcomes."""
        from sanity.app import Ends
        from sanity.sweeping import report

        self._refuse_empty(arguments)
        batches = super().sweep([*arguments, *self._shards(arguments)])
        jobs = [job for batch in batches for job in batch]
        code = report([(_own(job.overrides or []), job.return_value) for job in jobs])
        assert self.hydra_context is not None
        # Those of `hydra/callbacks=…` come before ours, and would not hear of the end after it.
        self.hydra_context.callbacks.callbacks.sort(key=lambda one: not isinstance(one, Ends))
        for callback in self.hydra_context.callbacks.callbacks:
            if isinstance(callback, Ends):
                callback.code = code
        return batches

    def _refuse_empty(self, arguments: Sequence[str]) -> None:
        """Refuses a sweep over nothing, as over a range or a pattern without values."""
        from sanity.errors import ConfigError

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        for override in parser.parse_overrides([*self._parse_config(), *arguments]):
            if override.is_discrete_sweep() and not list(override.sweep_iterator()):
                raise ConfigError(
                    f"{override.input_line} has no values: a sweep over it has no job"
                )

    def places_at_once(self) -> int | None:
        """How many jobs are handed to the launcher at a time; None for all."""
        assert self.config is not None
        if self.max_batch_size is None and _starts_all(self.config.hydra.launcher):
            return _AT_ONCE
        return self.max_batch_size

    def _shards(self, arguments: list[str]) -> list[str]:
        """What `data.shards=auto` means to the launcher, as arguments; none where it is not said.

        Jobs that run one after the other in this process are left to find out their own share.
        """
        from sanity.config.shares import AUTO, count_places, refuse_own_shard
        from sanity.sweeping import at_once, is_shared

        assert self.config is not None and self.hydra_context is not None
        launcher = self.config.hydra.launcher
        if not is_shared(launcher):
            return []
        loader = self.hydra_context.config_loader
        given = OverridesParser.create(config_loader=loader).parse_overrides(
            [*self._parse_config(), *arguments]
        )
        config = loader.load_sweep_config(self.config, self.split_arguments(given, None)[0][0])
        if config.data.get("shards") != AUTO:
            return []
        refuse_own_shard(config.data.get("shard"))
        side_by_side = self.max_batch_size or at_once(launcher)
        places = count_places(launcher, side_by_side, config.runtime.gpus_per_job)
        print(f"data.shards=auto: {places} shard{'s' * (places != 1)}", flush=True)
        return [f"data.shards={places}", f"data.shard={','.join(map(str, range(places)))}"]

    def jobs(self) -> list[list[str]]:
        """The overrides of each job, of all batches."""
        return [_own(list(job)) for batch in self.overrides or [] for job in batch]


def _check_settings(max_batch_size: Any, params: Any, retries: Any) -> None:
    """Refuses what a preset or a command line says wrongly of the sweep (ConfigError)."""
    from sanity.config.given import check
    from sanity.errors import ConfigError, shown

    at_least = {"max_batch_size": (max_batch_size, 1), "retries": (retries, 0)}
    for key, (value, least) in at_least.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not whole and (key, value) != ("max_batch_size", None):
            raise ConfigError(
                f"hydra.sweeper.{key}={shown(value)} must be a whole number, at least {least}"
            )
    if params is not None and not isinstance(params, Mapping | DictConfig):
        raise ConfigError(
            f"hydra.sweeper.params={shown(params)} must be keys with what each takes in turn: "
            "'{seed: \"0,1\"}'"
        )
    check([f"{key}={value}" for key, value in (params or {}).items()], sweep=True)


def _own(overrides: Sequence[str]) -> list[str]:
    """Those that are not Hydra's."""
    own: list[str] = filter_overrides(overrides)
    return own


def _starts_all(launcher: DictConfig) -> bool:
    """Whether a launcher starts all jobs that it gets at once, on this machine."""
    return str(launcher._target_).endswith("submitit_launcher.LocalLauncher")


def _may_succeed(outcome: Any) -> bool:
    """Whether another try is worth while: a job failed, by no mistake in what was asked for."""
    return bool(outcome.state == "failed" and not outcome.mistake)


@dataclass(frozen=True)
class _Lost:
    """A job whose process returned nothing."""

    error: Exception


@contextmanager
def _all_waited_for() -> Iterator[None]:
    """Has submitit's launcher wait for all jobs, though one of them returns nothing."""
    if "submitit" not in sys.modules and find_spec("submitit") is None:
        yield
        return
    from submitit import Job

    results = Job.results

    def found(job: Any) -> list[Any]:
        try:
            return list(results(job))
        except Exception as error:
            return [_Lost(error)]

    Job.results = found
    try:
        yield
    finally:
        Job.results = results


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
        """Runs jobs; those that failed by no mistake are started again, and go on where they were.

        The last time each by itself: a worker that dies takes others with it.
        """
        from sanity.sweeping import is_shared

        self._refuse_swept_sweeps(job_overrides)
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        jobs = dict(zip(numbers, job_overrides, strict=True))
        if not initial_job_idx and (logs := self._config.hydra.launcher.get("submitit_folder")):
            print(f"what each job says is in {Path(logs).parent}", flush=True)
        done = self._launch(jobs)
        left = self._sweeper.retries if is_shared(self._config.hydra.launcher) else 0
        while left and (again := [n for n in numbers if _may_succeed(done[n].return_value)]):
            left -= 1
            print(f"starting again: {', '.join(f'job {n + 1}' for n in again)}", flush=True)
            for some in [again] if left else [[n] for n in again]:
                done |= self._launch({n: jobs[n] for n in some})
        return [done[n] for n in numbers]

    def _launch(self, jobs: Mapping[int, Sequence[str]]) -> dict[int, JobReturn]:
        """Runs some jobs once, given and returned by number."""
        from sanity.results.recorded import SWEEP
        from sanity.sweeping import NUMBER, Outcome, describe

        sweep = f"hydra.job.env_set.{SWEEP}='{describe(self._sweeper.jobs())}'"
        asked = [
            [*overrides, sweep, f"hydra.job.env_set.{NUMBER}='{number}'"]
            for number, overrides in jobs.items()
        ]
        try:
            with _all_waited_for():
                found = self._launcher.launch(asked, initial_job_idx=min(jobs))
        except Exception as error:
            return {n: self._look(list(overrides), error) for n, overrides in jobs.items()}
        done = {}
        for (number, overrides), job in zip(jobs.items(), found, strict=True):
            if isinstance(job, _Lost):
                done[number] = self._look(list(overrides), job.error)
            elif job.status == JobStatus.COMPLETED:
                done[number] = job
            else:
                done[number] = completed(job, Outcome.of(outcome(job)))
        return done

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
