"""Variants: named copies of an option, with parameters of their own.

`method.few.like=smoothgrad method.few.samples=5` is SmoothGrad again, under the name `few`: a
method of its own beside `smoothgrad`.
"""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sanity.config import hydra_api
from sanity.config.options import LIKE, conf_folder, options
from sanity.errors import ConfigError, did_you_mean


def with_variants(config: DictConfig, groups: Sequence[str]) -> DictConfig:
    """A composed configuration in which variants have all keys of the option that they name.

    These are as the option's YAML has them, whatever is overridden of the option itself.

    Args:
        config: As Hydra composed it; left as it is.
        groups: Those whose options go by name.

    Returns:
        A copy, or the same configuration where it has no variants.

    Raises:
        ConfigError: There is no such option, or a variant is called like one.
    """
    found = [(group, name) for group in groups for name in _variants(config, group)]
    if not found:
        return config
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for group, name in found:
        nodes = config[group]
        own = dict(hydra_api.uninterpolated(nodes, name).items_ex(resolve=False))
        option = _option(group, str(name), own.pop(LIKE))
        if "_target_" in own:
            raise ConfigError(f"{group}.{name} has {LIKE} and _target_, which both say what it is")
        nodes[name] = OmegaConf.merge(option, own)
    return config


def _variants(config: DictConfig, group: str) -> list[Any]:
    """The names of a group's variants."""
    nodes = config[group] if group in config else None
    if not isinstance(nodes, DictConfig):
        return []
    found = {name: hydra_api.uninterpolated(nodes, str(name)) for name in nodes}
    return [name for name, node in found.items() if isinstance(node, DictConfig) and LIKE in node]


def _option(group: str, name: str, option: Any) -> Any:
    """An option's node, as its YAML has it."""
    key, known = f"{group}.{name}.{LIKE}", options(group)
    if option not in known:
        raise ConfigError(
            f"{key}={option} is no {group}{did_you_mean(str(option), known, f'{key}=')} "
            f"(there are: {', '.join(known)})"
        )
    if name in known:
        raise ConfigError(
            f"{key}={option}: {name} is an option itself; a variant needs another name, such as "
            f"{group}.{option}_2.{LIKE}={option}"
        )
    if (loader := hydra_api.config_loader()) is None:
        return OmegaConf.load(conf_folder() / group / f"{option}.yaml")[option]
    return hydra_api.option(loader, group, option)
