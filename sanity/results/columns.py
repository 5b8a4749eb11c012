"""The one table of configuration keys: which make a run, a column of its results, a scheme."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sanity.results.tables import PREDICTIONS, SCORES


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


RESULTS_FORMAT = 5  # raise it when the meaning of stored numbers changes
RUN_COLUMNS = ("run", "path", "status")


@dataclass(frozen=True)
class Counts:
    """What a key of the configuration counts for.

    Attributes:
        identity: Another value makes another run.
        column: It is a column of the results.
        scheme: Runs that differ in it are not averaged.
        shown: A page names it among that in which runs differ.
    """

    identity: bool = True
    column: bool = True
    scheme: bool = True
    shown: bool = True


# Where and how a job runs.
_HOW = Counts(identity=False, column=False, scheme=False, shown=False)
_LABEL = Counts(identity=False, scheme=False, shown=False)
_DRAW = Counts(scheme=False)  # draws, and parts of the images, which belong together
# Every key that does not count for all; what stands below one counts as it does.
KEYS: Mapping[str, Counts] = {
    "data.shard": _DRAW,
    "dry_run": _HOW,
    "figures": _LABEL,
    "force": _HOW,
    "hydra": _HOW,
    "masks.keep": Counts(scheme=False, shown=False),
    "name": _LABEL,
    "objective": _HOW,
    "originals": _HOW,
    "output": _HOW,
    "report": _HOW,
    "runtime": _HOW,
    "seed": _DRAW,
    "source": _LABEL,
    "verdict": _HOW,
    **dict.fromkeys(RUN_COLUMNS, _LABEL),
}
# The shard of data that a model or a method takes as well: `${data}`.
_COPIED = Counts(scheme=False, shown=False)


def counts(key: str) -> Counts:
    """What a key counts for, given as it is overridden: `runtime.batch_size`."""
    if key not in KEYS and key.endswith(".shard"):
        return _COPIED
    while key not in KEYS and "." in key:
        key = key.rpartition(".")[0]
    return KEYS.get(key, Counts())


def owner(key: str) -> tuple[str, str] | None:
    """The list group and the entry that a key belongs to: `method.smoothgrad.samples`.

    It says nothing of runs that do not have this entry, nor of rows of other entries.
    """
    group, _, rest = key.partition(".")
    return (group, rest.partition(".")[0]) if rest and group in ("method", "metric") else None


def config_columns(config: Mapping[str, Any], hydra: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns that a run's configuration adds to its rows: choices and values.

    Choices (`model`, `randomization`, …) come under their group's name, values under their dotted
    key (`method.smoothgrad.samples`), `target` as `target_rule`, lists as they are overridden
    (`"[logits,head]"`). Left out are `_target_`s and what does not belong to a result, see `KEYS`.

    Args:
        config: The resolved configuration.
        hydra: Hydra's own configuration, with or without its top key `hydra`.
    """
    own = (hydra or {}).get("hydra", hydra or {})
    choices = own.get("runtime", {}).get("choices", {})
    values = {
        key: _as_overridden(value) if isinstance(value, list) else value
        for key, value in flatten(config).items()
        if (value is None or isinstance(value, (str, bool, int, float, list)))
        and not key.rpartition(".")[2].startswith("_")
        and counts(key).column
    }
    taken = {*SCORES, *PREDICTIONS, *RUN_COLUMNS}
    chosen = {
        group: option
        for group, option in choices.items()
        if isinstance(option, str) and "/" not in group and group not in taken
    }
    if "target" in values:
        values["target"] = str(values["target"])  # a class may be a number; one kind is easier
    return chosen | {f"{k}_rule" if k in taken else k: v for k, v in values.items()}


def _as_overridden(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_as_overridden, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
