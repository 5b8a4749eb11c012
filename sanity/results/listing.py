"""Run folders below a path, and what each says of itself: `sanity.runs`."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import ConfigError
from sanity.files import FolderLock, read_json, size_of
from sanity.results.recorded import seconds_of
from sanity.results.tables import UNITS, damage

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
TRAINED = "trained"  # what stage 0's layer is called
_SHOWN = 12  # values that a message names
_ABOUT = ("run", "status", "error", "traceback", "started", "seconds", "bytes", "overrides", "path")


@dataclass
class Run:
    """What run.json says of a run.

    Attributes:
        folder: Where it lies.
        status: `completed`, `failed`, `interrupted` or `running`; see `status_of`.
        values: The columns of its configuration, and `RUN_COLUMNS`.
        metrics: What it recorded of each metric, by name.
        controls: Its methods that never look at the network.
        info: All of it, where asked for.
    """

    folder: Path
    status: str
    values: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict, repr=False)
    controls: list[str] = field(default_factory=list, repr=False)
    info: dict[str, Any] = field(default_factory=dict, repr=False)


def runs(
    path: Paths, *, status: str | Collection[str] | None = None, **filters: Any
) -> "pd.DataFrame":
    """The runs below a path, a row each, those that failed or were interrupted as well.

    Columns are `run`, `status`, `error` and `traceback` (of one that failed), `started`, `seconds`
    (that it was computed, without the time between two tries), `bytes` (on the disk), `overrides`
    (as they were given), `path`, then the columns of `load_runs` that come from the configuration.

    Args:
        path: A folder or several, each a run or above runs.
        status: Only runs with this status, or one of these.
        filters: A column of the configuration and the value, or the values, a run shall have.

    Raises:
        ConfigError: There is no run, a filter that no run has, or a damaged file.
    """
    import pandas as pd

    found = [read_run(folder, whole=True) for folder in find_runs(path)]
    known = dict.fromkeys(key for run in found for key in run.values)
    for name in filters:
        if name not in known:
            raise ConfigError(f"{name} is no column of these runs (columns: {', '.join(known)})")
    wanted = {name: several(value) for name, value in filters.items()}
    if status is not None:
        wanted["status"] = several(status)
    say_unmatched(found, wanted)
    chosen = [
        run
        for run in found
        if all(among(run.values.get(name), values) for name, values in wanted.items())
    ]
    rows = [{**_about(run), **run.values} for run in chosen]
    keys = dict.fromkeys([*_ABOUT, *(key for row in rows for key in row)])
    table = pd.DataFrame(rows, columns=list(keys))
    table.attrs.update(describe(chosen, table.columns))
    return table


def describe(found: Sequence[Run], columns: Iterable[str]) -> dict[str, Any]:
    """What `attrs` says of a table: the units of its columns, its metrics, and which are controls.

    Args:
        found: The runs that it is of.
        columns: Its columns.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for run in found:
        for name, values in run.metrics.items():
            if isinstance(values, dict):
                known = metrics.setdefault(name, dict(values))
                for key, value in values.items():  # runs may have other settings of one name
                    known[key] = value if known.get(key) == value else None
    return {
        "units": {name: UNITS[name] for name in columns if name in UNITS},
        "metrics": metrics,
        "controls": list(dict.fromkeys(name for run in found for name in run.controls)),
    }


def find_runs(path: Paths) -> list[Path]:
    """The run folders below a path or several, sorted.

    Raises:
        ConfigError: A path does not exist, or there is no run below any.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    tops = [Path(one).expanduser() for one in paths]
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()  # links may lead to the same folder, or in circles

    def visit(folder: str | Path) -> None:
        with os.scandir(folder) as entries:
            folders = []
            for entry in entries:
                if entry.name == "run.json":
                    found.append(Path(folder))
                    return
                if not entry.name.startswith(".") and entry.is_dir():
                    folders.append(entry)
        for entry in folders:
            enter(entry.path, entry.stat())

    def enter(folder: str | Path, stat: os.stat_result) -> None:
        if (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            visit(folder)

    for top in tops:
        try:
            if top.is_file():
                raise ConfigError(f"{top} is a file: a run's folder is wanted, or one above runs")
            enter(top, top.stat())
        except OSError as error:
            raise ConfigError(f"Cannot read {error.filename}: {error.strerror or error}") from error
    if not found:
        raise ConfigError(f"There is no run below {', '.join(map(str, tops))}")
    return sorted(found)


def read_run(folder: Path, *, whole: bool = False) -> Run:
    """What a run says of itself.

    Args:
        folder: The run's.
        whole: Whether to keep all of it.

    Raises:
        ConfigError: Its run.json is damaged.
    """
    info = read_json(folder / "run.json")
    if info is None:
        raise damage(folder / "run.json")
    status = status_of(folder, info)
    own = {"run": info.get("run", folder.name), "path": str(folder.absolute()), "status": status}
    columns = info.get("columns")
    values = {**(columns if isinstance(columns, dict) else {}), **own}
    metrics, controls = info.get("metrics"), info.get("controls")
    return Run(
        folder,
        status,
        values,
        metrics if isinstance(metrics, dict) else {},
        controls if isinstance(controls, list) else [],
        info if whole else {},
    )


def status_of(folder: Path, info: Mapping[str, Any]) -> str:
    """A run's status; of one that was killed `interrupted`, though its run.json says `running`.

    That can be told where it ran on this machine. Elsewhere it stays `running`, and the log says
    that this is what the run said last.

    Args:
        folder: The run's.
        info: What its run.json says.
    """
    status = str(info.get("status"))
    if status != "running":
        return status
    held = FolderLock(folder).is_held()
    if held is None:
        _say_untold(folder)
    return "interrupted" if held is False else status


@cache
def _say_untold(folder: Path) -> None:
    """Once a folder."""
    log.warning(
        "%s: it may have been killed: run.json says running, and whether it still does cannot be "
        "told from here, as it ran on another machine or was moved",
        folder,
    )


def once(found: Sequence[Run], *, say: bool = True) -> list[Run]:
    """Each run once, by its id: of several folders a completed one, else the first.

    Args:
        found: Runs.
        say: Whether to log which folders are passed over.
    """
    chosen: dict[str, Run] = {}
    for run in found:
        other = chosen.get(name := str(run.values["run"]))
        if other is None or (run.status == "completed" != other.status):
            chosen[name] = run
    kept = {run.folder for run in chosen.values()}
    if say and len(kept) < len(found):
        twice = [run for run in found if run.folder not in kept]
        first = twice[0]
        log.warning(
            "%d of %d folders hold a run that lies in another one as well, and are left out: it "
            "counts once (%s, as %s)",
            len(twice),
            len(found),
            first.folder,
            chosen[str(first.values["run"])].folder,
        )
    return [run for run in found if run.folder in kept]


def say_unmatched(found: Sequence[Run], wanted: Mapping[str, Sequence[Any]]) -> None:
    """Logs which values of filters no run has, and which there are."""
    for name, values in wanted.items():
        there = Counter(
            value if isinstance(value, (str, bool, int, float)) else str(value)
            for run in found
            if (value := run.values.get(name)) is not None
        )
        say_missing(name, values, there)


def say_missing(name: str, values: Sequence[Any], there: Iterable[Any]) -> None:
    """Logs which values of a filter match nothing of what there is."""
    there = list(there)
    gone = [value for value in values if not any(among(one, [value]) for one in there)]
    if gone and there:
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        log.warning(
            "%s=%s matches nothing; there is %s%s",
            name,
            ", ".join(map(repr, gone)),
            ", ".join(map(repr, there[:_SHOWN])),
            more,
        )


def several(value: Any) -> list[Any]:
    """The values a filter allows."""
    if isinstance(value, (list, tuple, set, frozenset, range, np.ndarray)):
        return list(value)
    return [value]


def among(value: Any, wanted: list[Any]) -> bool:
    """Whether a value is one of those wanted; text is never a number."""
    return any(value == w and isinstance(value, str) == isinstance(w, str) for w in wanted)


def _about(run: Run) -> dict[str, Any]:
    """What is known of a run beside its configuration."""
    info = run.info
    return {
        "run": run.values["run"],
        "status": run.status,
        "error": info.get("error"),
        "traceback": info.get("traceback"),
        "started": info.get("started"),
        "seconds": seconds_of(info),
        "bytes": size_of(run.folder),
        "overrides": _overrides(run.folder),
        "path": str(run.folder.absolute()),
    }


def _overrides(folder: Path) -> str:
    """As on the command line."""
    import yaml

    try:
        content = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return ""
    return " ".join(map(str, content)) if isinstance(content, list) else ""
