"""What a finished run says of itself."""

from pathlib import Path
from typing import Any

from sanity.errors import ConfigError


def configuration(run: Path) -> dict[str, Any]:
    """A run's configuration.

    Raises:
        ConfigError: It is not there or damaged.
    """
    import yaml

    path = run / ".hydra" / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read, so {run} cannot be compared") from error
    return content if isinstance(content, dict) else {}


def begins_at_output(info: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether a cascade begins with the network's last block, as far as a run says.

    Of a run made before this was recorded: unless the model's configuration lists blocks of which
    its first one is another.
    """
    if "begins_at_output" in info:
        return info["begins_at_output"]
    blocks, layers = (config.get("model") or {}).get("blocks") or [], info.get("layers", [])
    return not (layers[1:] and layers[1] in blocks[1:])


def metric_nodes(run: Path, info: dict[str, Any]) -> dict[str, Any]:
    """A run's metrics with their settings, those added by rescoring among them."""
    return {**(configuration(run).get("metric") or {}), **info.get("rescored", {})}
