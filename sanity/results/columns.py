"""The one table of configuration keys: which make a run, a column of its results, a scheme."""

import json
from collections.abc import Mapping
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


RESULTS_FORMAT = 4  # raise it when the meaning of stored numbers changes
# What says where and how a job runs, but not what comes out.
NOT_IDENTITY = (
    *("name", "output", "runtime", "dry_run", "force", "figures", "verdict", "originals"),
)
_NO_COLUMNS = ("runtime", "output", "originals", "force", "dry_run", "verdict", "hydra")
RUN_COLUMNS = ("run", "path", "status")


def config_columns(config: Mapping[str, Any], hydra: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns that a run's configuration adds to its rows: choices and values.

    Choices (`model`, `randomization`, …) come under their group's name, values under their dotted
    key (`method.smoothgrad.samples`), `target` as `target_rule`, lists as they are overridden
    (`"[logits,head]"`). Left out are `_target_`s, and what does not belong to a result: `runtime`,
    `output`, `originals`, `force`, `dry_run`, `verdict`.

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
        and key.partition(".")[0] not in _NO_COLUMNS
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
