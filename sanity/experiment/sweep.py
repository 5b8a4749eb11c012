"""Several jobs from Python: every combination of the values given, each in its own run folder."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import verdict_tables
from sanity.analysis.wording import records
from sanity.config.given import Overrides, words
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.experiment.result import Result, answer_html
from sanity.experiment.run import in_place_of_hydra, run
from sanity.progress import show_log
from sanity.results.listing import runs
from sanity.results.load import load_predictions, load_runs

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_LISTS = ("method", "metric")  # groups of which a job has several


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        overrides: In which it differs from the others, as on the command line.
        result: Its run folder.
        error: Why it failed, in one line; "" if it did not.
    """

    overrides: tuple[str, ...]
    result: Result
    error: str = ""


class Sweep(Sequence[Result]):
    """The runs of a sweep, in order; a notebook shows the verdicts over seeds.

    Attributes:
        jobs: What became of each.
    """

    def __init__(self, jobs: Sequence[Outcome]):
        self.jobs = list(jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: Any) -> Any:
        found = [job.result for job in self.jobs][index]
        return found

    def __iter__(self) -> Iterator[Result]:
        return (job.result for job in self.jobs)

    @property
    def failed(self) -> list[Outcome]:
        """The jobs that failed."""
        return [job for job in self.jobs if job.error]

    @property
    def scores(self) -> "pd.DataFrame":
        """Of all completed runs, with the columns in which they differ, see `sanity.load_runs`."""
        return load_runs(self._paths(), status="completed", varying=True)

    @property
    def predictions(self) -> "pd.DataFrame":
        """Of all completed runs, see `sanity.load_predictions`."""
        return load_predictions(self._paths(), status="completed", varying=True)

    @property
    def runs(self) -> "pd.DataFrame":
        """A row a run, see `sanity.runs`."""
        return runs(self._paths())

    @property
    def verdicts(self) -> "pd.DataFrame":
        """A row a scheme, method and metric, seeds together; the rows that are `primary` decide.

        Raises:
            ConfigError: No run is completed.
        """
        import pandas as pd

        paths = self._paths()
        found = verdict_tables(paths, load_schemes(paths))
        parts = [table.assign(scheme=scheme) for scheme, table in found.items()]
        return pd.concat(parts, ignore_index=True)

    def __repr__(self) -> str:
        return f"Sweep({self._said()})"

    def _said(self) -> str:
        plural = "" if len(self) == 1 else "s"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{len(self)} job{plural}{failed}"

    def _repr_html_(self) -> str:
        from html import escape

        lines = [self._said(), *(f"{' '.join(job.overrides)}: {job.error}" for job in self.failed)]
        parts = [f"<p>{'<br>'.join(map(escape, lines))}</p>"]
        if any(result.status == "completed" for result in self):
            rows = records(self.verdicts)
            for scheme in dict.fromkeys(row["scheme"] for row in rows):
                parts.append(answer_html([r for r in rows if r["scheme"] == scheme], scheme))
        return "\n".join(parts)

    def _paths(self) -> list[str]:
        """The folders that there are; a job may have failed before it had one."""
        found = [str(result) for result in self if result.status != "new"]
        if not found:
            raise ConfigError("this sweep has no run folders: its jobs failed, or were a dry run")
        return list(dict.fromkeys(found))


def sweep(overrides: Overrides = (), **values: Any) -> Sweep:
    """Runs every combination of values: `sanity.sweep(seed=[0, 1], model=["cnn", "mlp"])`.

    All jobs are checked before the first begins. One that fails later does not end the sweep. The
    same call again does what is left.

    Args:
        overrides: What all jobs have in common, as on the command line; or keys with their values,
            of which those with dots can stand here alone: `{"layers.last": [1, 2]}`.
        values: Keys and what they take: a value, or several in a list, tuple or range. Of `method`
            and `metric`, which are lists themselves, a list of names is one value, and a list of
            lists several.

    Raises:
        ConfigError: What is asked for is wrong.
    """
    given = {**(overrides if isinstance(overrides, Mapping) else {}), **values}
    shared = [] if isinstance(overrides, Mapping) else words(overrides)
    several = {key: _several(key, value) for key, value in given.items()}
    for key, found in several.items():
        if not found:
            raise ConfigError(f"{key}=[] names no value: a sweep has a job for each")
    fixed = words({key: found[0] for key, found in several.items() if len(found) == 1})
    swept = {key: found for key, found in several.items() if len(found) > 1}
    combinations = [words(dict(zip(swept, job, strict=True))) for job in product(*swept.values())]
    jobs = [compose([*shared, *fixed, *own], sweep=len(combinations) > 1) for own in combinations]
    outcomes = []
    with show_log():
        for number, (job, own) in enumerate(zip(jobs, combinations, strict=True), 1):
            log.info("job %d of %d  %s", number, len(jobs), " ".join(own))
            error = ""
            try:
                run(job, hydra=in_place_of_hydra(job, f"{len(jobs)} {' '.join(swept)}"))
            except Exception as failure:
                if len(jobs) == 1:
                    raise
                error = _reason(failure)
                log.error("failed: %s", error)
            outcomes.append(Outcome(tuple(own), Result(job.folder.absolute()), error))
    return Sweep(outcomes)


def _several(key: str, value: Any) -> list[Any]:
    """The values that a key takes in turn."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if not isinstance(value, (list, tuple, range)):
        return [[value] if key in _LISTS and isinstance(value, str) else value]
    if key in _LISTS and not any(isinstance(item, (list, tuple)) for item in value):
        return [list(value)]
    return list(value)


def _reason(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, ConfigError):
        return str(error)
    return f"{type(error).__name__}: {first}".removesuffix(": ")
