"""What a finished run says of itself."""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sanity.errors import ConfigError
from sanity.files import now, replace_file, writing
from sanity.results.columns import flatten

log = logging.getLogger(__name__)

_DIGEST = re.compile("[0-9a-f]{64}")
SWEEP = "SANITY_SWEEP"  # the variable that tells a job how many there are, and over what
# What a run writes and `force=true` removes; the log stays, as it tells what happened.
OWNED = (
    "run.json",
    "parts",
    "scores.parquet",
    "predictions.parquet",
    "masks.zarr",
    "images.npz",
    "references.npz",
    "figures",
    "report.html",
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    ".hydra/hydra.yaml",
)


def write_config(
    run: Path,
    config: Mapping[str, Any],
    overrides: list[str],
    hydra: Mapping[str, Any] | None,
) -> None:
    """Writes a run's `.hydra/` as Hydra users expect it.

    Args:
        run: Its folder, which is made.
        config: The resolved configuration.
        overrides: Of the command line.
        hydra: Hydra's own configuration, with or without its top key.
    """
    from omegaconf import OmegaConf

    own = dict(hydra or {})
    with writing(run):
        (run / ".hydra").mkdir(parents=True, exist_ok=True)
    contents: dict[str, Any] = {
        "config": config,
        "overrides": overrides,
        "hydra": own if "hydra" in own else {"hydra": own},
    }
    for name, content in contents.items():
        text = OmegaConf.to_yaml(OmegaConf.create(content))
        replace_file(run / ".hydra" / f"{name}.yaml", text.encode())


def refuse_other_files(run: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Compares hashes of files that a run began with and those it would go on with.

    Raises:
        ConfigError: They differ.
    """
    old, new = flatten(before), flatten(after)
    for name in [*old, *new]:
        unknown = name in new and old.get(name) == ""  # as of a data set without hashes, once
        if old.get(name) != new.get(name) and not unknown:
            what = "changed" if name in old and name in new else "appeared or vanished"
            raise ConfigError(
                f"{name} has {what} since the run {run} began, whose results would not belong "
                f"together: force=true computes it anew"
            )


def note_resumption(run: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that is gone on with was made with until now, and when that ended.

    Args:
        run: Its folder.
        info: What its run.json says.
    """
    made_with = {key: info[key] for key in ("versions", "machine", "device") if key in info}
    return {"at": now(), "stopped": last_sign(run), "before": made_with}


def last_sign(run: Path) -> str:
    """When a run's process last wrote what it had computed: UTC, to the second."""
    files = [run / "run.json", run / "predictions.parquet", *(run / "parts").glob("*")]
    times = [now()]
    with suppress(OSError):
        latest = max(file.stat().st_mtime for file in files if file.exists())
        times.append(datetime.fromtimestamp(latest, UTC).isoformat(timespec="seconds"))
    return min(times)


def seconds_of(info: Mapping[str, Any]) -> float:
    """How long a run was computed, NaN where it has not ended or does not say.

    From its start to its end, without the time between a try's last sign and the next one's start.
    """
    try:
        spans = [(info["started"], info["finished"])]
        pauses = [
            (one["stopped"], one["at"]) for one in info.get("resumed", []) if "stopped" in one
        ]
        lengths = [_between(*span) for span in (*spans, *pauses)]
    except (KeyError, TypeError, ValueError):
        return float("nan")
    return max(lengths[0] - sum(lengths[1:]), 0.0)


def _between(start: str, end: str) -> float:
    """Seconds between two times."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def warn_of_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Logs with which other versions of packages a run goes on."""
    old, new = flatten(before), flatten(after)
    changed = [
        f"{name} {new[name]} instead of {old[name]}"
        for name in old
        if name in new and old[name] != new[name]
    ]
    if changed:
        log.warning("The run goes on with %s.", ", ".join(changed))


def configuration(run: Path) -> dict[str, Any]:
    """A run's configuration.

    Raises:
        ConfigError: It is not there or damaged.
    """
    content = _of_hydra(run, "config")
    return content if isinstance(content, dict) else {}


def overrides_of(run: Path) -> list[str]:
    """What was overridden for a run.

    Raises:
        ConfigError: See `configuration`.
    """
    content = _of_hydra(run, "overrides")
    return [str(override) for override in content] if isinstance(content, list) else []


def hydra_of(run: Path) -> dict[str, Any]:
    """Hydra's own configuration of a run, as far as there is one.

    Raises:
        ConfigError: See `configuration`.
    """
    content = _of_hydra(run, "hydra")
    return content.get("hydra") or {} if isinstance(content, dict) else {}


def swept(run: Path) -> list[str]:
    """The keys in which the jobs differ of the sweep that a run was started by.

    Raises:
        ConfigError: See `configuration`.
    """
    told = ((hydra_of(run).get("job") or {}).get("env_set") or {}).get(SWEEP) or ""
    return str(told).split()[1:]


def _of_hydra(run: Path, name: str) -> Any:
    """One of the files that `write_config` writes."""
    import yaml

    path = run / ".hydra" / f"{name}.yaml"
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read, the record of the run {run}") from error


def model_file(config: Mapping[str, Any]) -> str | None:
    """What a model of one's own is called: its file or folder, or what stands for one.

    Args:
        config: A run's configuration.

    Returns:
        The last part of a path, an application's or a function's name; None of embedded models.
    """
    node = config.get("model") or {}
    for key in ("path", "checkpoint", "module", "application"):
        if isinstance(value := node.get(key), str) and value:
            return Path(value).name or None
    return None


def begins_at_output(info: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether a cascade begins with the network's last block, as far as a run says.

    Of a run made before this was recorded: unless the model's configuration lists blocks of which
    its first one is another.
    """
    if "begins_at_output" in info:
        return bool(info["begins_at_output"])
    blocks, layers = (config.get("model") or {}).get("blocks") or [], info.get("layers", [])
    return not (layers[1:] and layers[1] in blocks[1:])


def blends(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run found of whether metrics discriminate, see `analysis.discrimination`."""
    return _rows(info, "discrimination", ("method", "metric", "mostly_own", "mostly_other"))


def verdict_rows(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A run's verdicts, see `analysis.verdicts.verdicts`."""
    return _rows(info, "verdicts", ("method", "metric", "verdict", "evidence"))


def blocks(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A network's blocks with their parameters and, by stage, how many of them are random."""
    return _rows(info, "blocks", ("name", "parameters", "randomized"))


def _rows(info: Mapping[str, Any], name: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table in run.json that are whole; others are damaged, and none."""
    found = info.get(name)
    rows = found if isinstance(found, list) else []
    return [row for row in rows if isinstance(row, dict) and set(keys) <= set(row)]


# The controls of runs that did not record them yet: this package's classes of that time.
_CONTROLS = tuple(
    f"sanity.methods.{module}{name}"
    for module in ("", "controls.")
    for name in ("RandomMask", "EdgeDetector", "Input", "Constant")
)


def controls(info: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """The methods of a run that never looked at the network."""
    if "controls" in info:
        return list(info["controls"])
    nodes = config.get("method") or {}
    return [name for name, node in nodes.items() if (node or {}).get("_target_") in _CONTROLS]


def order_of(info: dict[str, Any], config: dict[str, Any]) -> str | None:
    """The order in which a run's blocks are randomized, None if there is none."""
    if "order" in info:
        return info["order"] and str(info["order"])
    order = (config.get("randomization") or {}).get("order")
    return None if order is None else str(order)


def metric_nodes(run: Path, info: dict[str, Any]) -> dict[str, Any]:
    """A run's metrics with their settings, those added by rescoring among them."""
    return {**(configuration(run).get("metric") or {}), **info.get("rescored", {})}


def digests(info: Mapping[str, Any]) -> dict[str, str]:
    """What stands for a path's content in what run.json says of a run, by the path's key."""
    content = info.get("content")
    flat = flatten(content) if isinstance(content, Mapping) else {}
    return {key: v for key, v in flat.items() if isinstance(v, str) and _DIGEST.fullmatch(v)}
