"""The options of the groups `method` and `metric`: which a job has, and which were asked for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sanity.config.options import LIKE, options
from sanity.errors import ConfigError, did_you_mean, shown
from sanity.results.masks import TAKEN


def choose(group: str, nodes: Any) -> dict[str, Any]:
    """The options of a list group, without what a preset left for those that are not chosen.

    Args:
        group: `method` or `metric`.
        nodes: What the configuration has of it, by name.

    Raises:
        ConfigError: One is none, or there are none.
    """
    if not isinstance(nodes, dict):
        given = "[]" if nodes is None else shown(nodes)
        raise ConfigError(f"{group}={given} must name at least one of: {listed(group)}")
    chosen = {}
    for name, node in nodes.items():
        if not re.fullmatch(r"\w[\w.+-]*", str(name)):  # it becomes a folder's and a column's
            raise ConfigError(f"{group}.{name} must have a plain name: letters, digits, _, -, +, .")
        if group == "method" and name in TAKEN:
            raise ConfigError(
                f"method.{name} must have another name: stored masks have {', '.join(TAKEN)} too"
            )
        if _makes(node):
            chosen[name] = node
        elif node is not None and not isinstance(node, dict):
            raise ConfigError(f"{group}.{name}={node} must be a set of keys, or {name}.KEY=…")
        elif name not in (known := options(group)):
            hint = did_you_mean(name, known, f"{group}.")
            raise ConfigError(f"{group}.{name} is no {group}{hint} (there are: {listed(group)})")
    if not chosen:
        raise ConfigError(f"{group}=[] must name at least one of: {listed(group)}")
    return chosen


def refuse_idle(group: str, chosen: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuses overrides of options that are not chosen: they would change nothing (ConfigError).

    In a sweep they may be meant for other jobs, which choose others.
    """
    for override in overrides:
        parts = override.lstrip("+").partition("=")[0].split(".")
        if parts[0] == group and len(parts) > 2 and parts[1] not in chosen:
            raise ConfigError(
                f"{override} changes nothing, as {parts[1]} is not chosen: {group}="
                f"[{','.join([*chosen, parts[1]])}] would choose it as well"
            )


def refuse_bare(group: str, nodes: Any, overrides: Sequence[str]) -> None:
    """Refuses an option that an override chooses and whose YAML makes nothing (ConfigError)."""
    there = nodes if isinstance(nodes, dict) else {}
    given = [text for text in overrides if text.partition("=")[0].lstrip("+") == group]
    for text in given[-1:]:  # which counts
        value = text.partition("=")[2]
        names = [name.strip(" \"'") for name in value.strip("[]").split(",")]
        known = options(group)
        strange = set(there) - set(names) - set(known)  # what the YAML of one calls it
        bare = [n for n in names if n in known and not _makes(there.get(n))]
        if bare and not strange:
            raise ConfigError(
                f"{text}: {group}/{bare[0]}.yaml makes nothing: the key {bare[0]}, and below it "
                "the _target_ of a class, are wanted"
            )


def demanded_of(group: str, plain: Mapping[str, Any], overrides: Sequence[str]) -> frozenset[str]:
    """The methods or metrics that overrides name: all of a list, or one that is added."""
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    if group in keys:
        return frozenset(plain[group])
    return frozenset(
        name
        for name in plain[group]
        if not {f"{group}.{name}", f"{group}.{name}.{LIKE}"}.isdisjoint(keys)
    )


def _makes(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def listed(group: str) -> str:
    """A group's options, for messages."""
    return ", ".join(options(group))
