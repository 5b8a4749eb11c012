"""What becomes of a sweep's jobs."""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sanity.config.sentences import sentence
from sanity.files import read_json

# How each state is counted at the end; `experiment.execute` returns all but the last.
STATES = {
    "finished": "finished",
    "already": "were there already",
    "shown": "only shown",
    "failed": "failed",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        state: One of `STATES`.
        reason: Why it failed, in one line.
        mistake: Whether that is the user's to mend.
    """

    state: str
    reason: str = ""
    mistake: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """The outcome of a job that ended in an exception."""
        said = sentence(error)
        if said is not None:
            return cls("failed", said, mistake=True)
        first = (str(error).strip().splitlines() or [""])[0]
        return cls("failed", f"{type(error).__name__}: {first}".removesuffix(": "))


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
        return Outcome("finished")
    if info.get("status") == "failed" and info.get("error"):
        return Outcome("failed", str(info["error"]).splitlines()[0])
    return Outcome("failed", f"the launcher lost it: {Outcome.of(error).reason}")


def report(jobs: Sequence[tuple[Sequence[str], Outcome]]) -> None:
    """Prints how many jobs ended how, and why any failed.

    Args:
        jobs: The overrides of each and what became of it.

    Raises:
        SweepFailed: Any failed.
    """
    counts = Counter(outcome.state for _, outcome in jobs)
    parts = [f"{counts[state]} {text}" for state, text in STATES.items() if counts[state]]
    print(f"sweep of {len(jobs)} jobs: {', '.join(parts)}", flush=True)
    shared = set.intersection(*(set(overrides) for overrides, _ in jobs)) if jobs else set()
    failed = [(overrides, outcome) for overrides, outcome in jobs if outcome.state == "failed"]
    for overrides, outcome in failed:
        own = [text for text in overrides if text not in shared] or list(overrides)
        print(f"  failed: {' '.join(own)}: {outcome.reason}", file=sys.stderr)
    if failed:
        raise SweepFailed(2 if all(outcome.mistake for _, outcome in failed) else 1)


def threads(launcher: Mapping[str, Any]) -> int | None:
    """The threads of a job that shares its machine with others; None if it has it for itself.

    Args:
        launcher: Hydra's configuration of the launcher.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    if "n_jobs" in launcher:  # joblib
        jobs = int(launcher["n_jobs"])
        return max(1, cores // (jobs if jobs > 0 else max(1, cores + 1 + jobs)))
    if launcher.get("cpus_per_task"):  # submitit
        return int(launcher["cpus_per_task"])
    if "ray" in launcher:
        return max(1, int(launcher["ray"]["remote"].get("num_cpus", 1)))  # Ray's own default
    return None
