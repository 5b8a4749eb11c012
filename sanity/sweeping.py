"""What becomes of a sweep's jobs, and what is said of them while they run and at the end."""

import logging
import os
import secrets
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sanity.config.sentences import sentence
from sanity.errors import ConfigError, shown
from sanity.files import read_json
from sanity.progress import ForConsole, duration

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# How each state is counted at the end; `experiment.execute` returns all but the last.
STATES = {
    "finished": "finished",
    "already": "there already",
    "shown": "only shown",
    "failed": "failed",
}
NUMBER = "SANITY_JOB"  # the one that tells it its number, which a launcher counts anew for a retry
_took: list[float] = []  # seconds of each job that this process has computed


@dataclass(frozen=True)
class Outcome:
    """What became of a job: what Hydra's callbacks and sweepers get as its return value.

    As a number it is the job's `objective`, as a sequence all of several.

    Attributes:
        state: One of `STATES`.
        reason: Why it failed, in one line.
        mistake: Whether that is the user's to mend.
        folder: The run's, None where there is none.
        objectives: The numbers that `objective` asked for.
        seconds: How long it would take, of one that is only shown.
        shared: The same where `devices` share its images.
        devices: On how many to reckon, None for this one alone.
        disk: And what its masks would take, bytes.
        page: Whether it has a part in the sweep's page.
    """

    state: str
    reason: str = ""
    mistake: bool = False
    folder: Path | None = None
    objectives: tuple[float, ...] = ()
    seconds: float = 0.0
    shared: float = 0.0
    devices: int | None = None
    disk: int = 0
    page: bool = True

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """The outcome of a job that ended in an exception."""
        if isinstance(error, JobFailed) and isinstance(error.outcome, cls):
            return error.outcome
        said = sentence(error)
        if said is not None:
            return cls("failed", said, mistake=True)
        first = (str(error).strip().splitlines() or [""])[0]
        return cls("failed", f"{type(error).__name__}: {first}".removesuffix(": "))

    @property
    def scores(self) -> "pd.DataFrame":
        """The run's scores, as `sanity.load_runs` gives them (ConfigError: there are none)."""
        from sanity.results import load_runs

        if self.folder is None:
            raise ConfigError("this job has no run folder, and so no scores")
        return load_runs(self.folder)

    def __float__(self) -> float:
        (number,) = self.objectives
        return number

    def __iter__(self) -> Iterator[float]:
        return iter(self.objectives)


class JobFailed(Exception):
    """A job of a sweep failed; of its error only what was said goes from process to process."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return self.outcome.reason


class SweepFailed(Exception):
    """Some jobs of a sweep failed.

    Attributes:
        code: The exit code: 2 if all failed by a user's mistake, else 1.
    """

    def __init__(self, code: int):
        super().__init__("some jobs failed")
        self.code = code


def lost(folder: Path, error: Exception) -> Outcome:
    """The outcome of a job of which only its folder can tell, as its launcher broke down."""
    info = read_json(folder / "run.json") or {}
    if info.get("status") == "completed":
        return Outcome("finished", folder=folder)
    if info.get("status") == "failed" and info.get("error"):
        return Outcome("failed", str(info["error"]).splitlines()[0], folder=folder)
    return Outcome("failed", f"the launcher lost it: {Outcome.of(error).reason}")


def report(jobs: Sequence[tuple[Sequence[str], Outcome]]) -> int | None:
    """Writes the sweep's page, prints how many jobs ended how, and why any failed.

    Failures go to standard output, and to standard error where that is something else.

    Args:
        jobs: The overrides of each and what became of it.

    Returns:
        The exit code if any failed: 2 if all did by a user's mistake, else 1.
    """
    from sanity.report.console import from_here

    outcomes = [outcome for _, outcome in jobs]
    counts = Counter(outcome.state for outcome in outcomes)
    shared = set.intersection(*(set(overrides) for overrides, _ in jobs)) if jobs else set()
    failed = [(overrides, outcome) for overrides, outcome in jobs if outcome.state == "failed"]
    for overrides, outcome in failed:
        own = [text for text in overrides if text not in shared] or list(overrides)
        line = f"  failed: {' '.join(own)}: {outcome.reason}"
        print(line)
        if not _same_file():
            print(line, file=sys.stderr)
    for page in write_pages(outcomes):
        print(f"{from_here(page)} shows the runs of this sweep")
    for folder in dict.fromkeys(run.parent for run, _ in _with_results(outcomes)):
        named = shlex.quote(from_here(folder))
        print(f"sanity-compare {named} prints its verdicts, seeds together")
    if counts["shown"]:
        print(_in_all([outcome for outcome in outcomes if outcome.state == "shown"]))
    parts = [f"{counts[state]} {text}" for state, text in STATES.items() if counts[state]]
    print(f"sweep of {len(jobs)} jobs: {', '.join(parts)}", flush=True)
    if not failed:
        return None
    return 2 if all(outcome.mistake for _, outcome in failed) else 1


def _in_all(shown: Sequence[Outcome]) -> str:
    """What jobs that were only shown take together, one after the other and on several devices."""
    seconds, disk = sum(o.seconds for o in shown), sum(o.disk for o in shown)
    said = f"in all: about {duration(seconds)}, masks of up to {disk / 1e6:.0f} MB"
    devices = max((o.devices or 1 for o in shown), default=1)
    if devices == 1:
        return said
    whole, shared = _longest([o.seconds for o in shown], devices), sum(o.shared for o in shown)
    return (
        f"{said}; on {devices} devices about {duration(whole)} with a job on each at a time, "
        f"{duration(shared)} if they share each job's images (data.shards)"
    )


def _longest(seconds: Sequence[float], devices: int) -> float:
    """When the last of so many devices is through, each taking the longest job that is left."""
    busy = [0.0] * devices
    for job in sorted(seconds, reverse=True):
        busy[busy.index(min(busy))] += job
    return max(busy)


def write_pages(outcomes: Sequence[Outcome]) -> list[Path]:
    """Writes OUTPUT/NAME/index.html with a sweep's completed runs, for each NAME there is.

    Its verdicts are those of all seeds and shards together.
    """
    runs: dict[Path, list[Path]] = {}
    for run, on_page in _with_results(outcomes):
        if on_page:
            runs.setdefault(run.parent, []).append(run)
    if not runs:
        return []
    from sanity.analysis.schemes import load_schemes
    from sanity.analysis.verdict_tables import verdict_tables
    from sanity.report.page.write import write

    pages = []
    for folder, found in runs.items():
        page = folder / "index.html"
        try:
            paths = list(dict.fromkeys(found))
            scores = load_schemes(paths)
            pages.append(write(page, scores, verdict_tables(paths, scores)))
        except Exception as error:
            log.warning("%s could not be written: %s", page, Outcome.of(error).reason)
            log.debug("because of this", exc_info=True)
    return pages


def _with_results(outcomes: Sequence[Outcome]) -> list[tuple[Path, bool]]:
    """The folders of runs that have results, and whether they have a part in the sweep's page."""
    return [
        (one.folder, one.page)
        for one in outcomes
        if one.folder is not None and one.state != "failed"
    ]


def _same_file() -> bool:
    """Whether standard output and standard error end in the same place, a terminal say."""
    try:
        out, err = (os.fstat(stream.fileno()) for stream in (sys.stdout, sys.stderr))
    except (OSError, ValueError, AttributeError):
        return False
    return os.path.samestat(out, err)


def record_folder(output: str) -> str:
    """The folder of a sweep's own record, below its jobs' output: another for each sweep."""
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(3)}"
    return str(Path(output).expanduser() / ".hydra" / name)


def describe(jobs: Sequence[Sequence[str]]) -> str:
    """How many jobs there are, and in which keys they differ, for the variable `SWEEP`."""
    shared = set.intersection(*(set(overrides) for overrides in jobs)) if jobs else set()
    keys = dict.fromkeys(
        text.partition("=")[0] for overrides in jobs for text in overrides if text not in shared
    )
    return " ".join([str(len(jobs)), *keys])


def introduce(
    number: int, sweep: str, overrides: Sequence[str], launcher: Mapping[str, Any]
) -> None:
    """Logs which job of a sweep begins, and how long the rest takes as far as that is known.

    Args:
        number: Of the job, from 0.
        sweep: What `describe` said of the sweep.
        overrides: The job's.
        launcher: Hydra's configuration of the launcher.
    """
    count, *keys = sweep.split(" ")
    if not count:
        return
    own = [text for text in overrides if text.partition("=")[0] in keys]
    left = ""
    if _took:
        seconds = sum(_took) / len(_took) * (int(count) - number) / at_once(launcher)
        left = f", {duration(seconds)} left"
    log.info("job %d of %s%s: %s", number + 1, count, left, " ".join(own or overrides))


def took(seconds: float) -> None:
    """Remembers how long a job was computed."""
    _took.append(seconds)


def tag(number: int) -> None:
    """Marks every line that is logged from here as of a job, where several run at once."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setFormatter(_Tagged(number))


class _Tagged(ForConsole):
    """Begins each line with a job's number, as it is counted from 1."""

    def __init__(self, number: int):
        super().__init__("%(message)s")
        self._mark = f"[{number + 1}] "

    def format(self, record: logging.LogRecord) -> str:
        """The message, with the job's number before each of its lines."""
        return "\n".join(self._mark + line for line in super().format(record).splitlines())


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def _whole(value: Any, key: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ConfigError(f"hydra.launcher.{key}={shown(value)} must be a whole number") from None


def at_once(launcher: Mapping[str, Any]) -> int:
    """How many jobs a launcher runs at once on this machine, as far as its configuration says."""
    if "n_jobs" in launcher:  # joblib
        jobs = _whole(launcher["n_jobs"], "n_jobs")
        if not jobs:
            raise ConfigError("hydra.launcher.n_jobs=0 runs no job: 2 at once, or -1, one a core")
        return jobs if jobs > 0 else max(1, _cores() + 1 + jobs)
    if "ray" in launcher:
        total = launcher["ray"].get("init", {}).get("num_cpus") or _cores()
        return max(1, _whole(total, "ray.init.num_cpus") // (threads(launcher) or 1))
    return 1


def threads(launcher: Mapping[str, Any]) -> int | None:
    """The threads of a job that shares its machine with others; None if it has it for itself.

    Args:
        launcher: Hydra's configuration of the launcher.
    """
    if "n_jobs" in launcher:  # joblib
        return max(1, _cores() // at_once(launcher))
    if launcher.get("cpus_per_task"):  # submitit
        return _whole(launcher["cpus_per_task"], "cpus_per_task")
    if "ray" in launcher:
        asked = launcher["ray"]["remote"].get("num_cpus", 1)  # Ray's own default
        return max(1, _whole(asked, "ray.remote.num_cpus"))
    return None


def is_shared(launcher: Mapping[str, Any]) -> bool:
    """Whether a launcher may run several jobs at once."""
    return threads(launcher) is not None
