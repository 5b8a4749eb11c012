"""The job of a run again, from what its folder records."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sanity.checked import current_target
from sanity.config.given import ONE, SEVERAL, check
from sanity.config.hydra_api import parse, root, uninterpolated
from sanity.config.job import Job, resolve
from sanity.config.options import conf_folder, own_hydra, with_open_keys
from sanity.errors import ConfigError, did_you_mean
from sanity.results.columns import flatten
from sanity.results.recorded import configuration

_LINK = re.compile(r"\$\{([\w.]+)\}")


def stored_job(
    run: Path, overrides: Sequence[str] = (), *, trust: bool = False
) -> tuple[Job, dict[str, Any]]:
    """The job that a run's folder records, perhaps with other values.

    Args:
        run: The folder.
        overrides: What is to be different, as on the command line.
        trust: Whether classes that are not sanity's may be made, which runs their code.

    Returns:
        The job, and Hydra's configuration to keep beside its results.

    Raises:
        ConfigError: There is no such record, or something in it or in the overrides will not do.
    """
    record = configuration(run)
    if not record:
        raise ConfigError(f"{run} holds no run: it has no configuration in .hydra/config.yaml")
    if "model" not in record and isinstance(source := record.get("source"), dict):
        raise ConfigError(
            f"{run} has scores of masks made elsewhere, in {source.get('file')}: sanity-score "
            "scores them again"
        )
    hydra = _yaml(run / ".hydra" / "hydra.yaml")
    own = hydra.get("hydra", hydra) if isinstance(hydra, dict) else {}
    choices = dict((own.get("runtime") or {}).get("choices") or {})
    if not trust:
        _refuse_foreign(record)
    config: DictConfig = OmegaConf.create(_linked(record, choices))
    OmegaConf.set_struct(config, True)
    given = with_open_keys(overrides)
    check(given, sweep=False)
    for text in given:
        _change(config, choices, text)
    before = _yaml(run / ".hydra" / "overrides.yaml")
    replaced = set(map(_key, given))
    options = replaced & {*ONE, *SEVERAL}  # with which all that is said of others goes
    kept = [
        text
        for text in map(str, before if isinstance(before, list) else [])
        if _key(text) not in replaced and _key(text).partition(".")[0] not in options
    ]
    names = {group: name for group, name in choices.items() if isinstance(name, str)}
    job = resolve(config, names, [*kept, *given])
    runtime = {**(own.get("runtime") or {}), "choices": names}
    return job, {**own, "runtime": runtime}


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _refuse_foreign(record: Mapping[str, Any]) -> None:
    """Refuses a record that names code which is not this package's (ConfigError)."""
    foreign = [t for t in _targets(record) if not str(current_target(t)).startswith("sanity.")]
    model = record.get("model")
    model = model if isinstance(model, dict) else {}
    foreign += [f"model.{k}={model[k]}" for k in ("trust", "module") if model.get(k)]
    if foreign:
        raise ConfigError(
            f"the run names code that is not sanity's ({', '.join(map(str, foreign))}), which may "
            "do anything: --trust runs it"
        )


def _targets(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield value
            yield from _targets(value)
    elif isinstance(node, list):
        for item in node:
            yield from _targets(item)


def _linked(record: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The record, in which what an option takes from elsewhere (`${seed}`) follows that again."""
    linked = dict(record)
    flat = flatten(record)
    for group in ONE:
        path = conf_folder() / group / f"{choices.get(group)}.yaml"
        option = _yaml(path) if path.exists() else None
        node = linked.get(group)
        if not isinstance(option, dict) or not isinstance(node, dict):
            continue
        linked[group] = dict(node)
        for key, value in option.items():
            link = _LINK.fullmatch(value) if isinstance(value, str) else None
            if link and key in node and _at(record, link[1], flat) == node[key]:
                linked[group][key] = value
    return linked


def _at(record: Mapping[str, Any], key: str, flat: Mapping[str, Any]) -> Any:
    return flat[key] if key in flat else record.get(key)


def _change(config: DictConfig, choices: dict[str, Any], text: str) -> None:
    """Makes one override of a configuration (ConfigError)."""
    override = parse(text)
    key, value = override.key_or_group, override.value()
    if override.is_delete() or key == "experiment" or key.startswith("hydra"):
        raise ConfigError(f"{text} is for sanity itself: here, KEY=VALUE changes a run's own keys")
    if key in ONE:
        config[key] = _option(text, key)
        choices[key] = value
        return
    if key in SEVERAL:
        names = [str(name) for name in (value if isinstance(value, list) else [value])]
        there = dict(config[key].items_ex(resolve=False))
        config[key] = {
            name: there[name] if name in there else _option(f"{key}=[{name}]", key)[name]
            for name in names
        }
        return
    added = override.is_add() or override.is_force_add()
    try:
        OmegaConf.update(config, key, value, force_add=added)
    except OmegaConfBaseException as error:
        known = flatten(OmegaConf.to_container(config))  # type: ignore[arg-type]  # whose keys are text
        hint = did_you_mean(key, known)
        raise ConfigError(f"{key} is no key of the run's configuration{hint}") from error


def _option(text: str, group: str) -> Any:
    """An option's node as its YAML has it."""
    import hydra

    from sanity.config.sentences import sentence

    with own_hydra():
        try:
            node = hydra.compose("config", [text])[group]
        except Exception as error:
            if (said := sentence(error)) is None:
                raise
            raise ConfigError(said) from error
    whole: Any = OmegaConf.create(OmegaConf.to_container(root(node)))
    return uninterpolated(whole, group)
