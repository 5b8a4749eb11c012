"""The dataclass behind every `_target_`, which checks its own fields, and what makes one."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from sanity.errors import ConfigError, did_you_mean

T = TypeVar("T")

_decorate = dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True),
)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def checked(cls: type) -> Any:
    """Makes a frozen, keyword-only dataclass that refuses wrong types, ranges and unknown fields.

    Raises (when an instance is made):
        pydantic.ValidationError: `make` turns it into a sentence that names the key.
    """
    return _decorate(cls)


# Where classes that a stored run or a user's YAML may name by an earlier module are now.
_MOVED = {
    "sanity.initializers": "sanity.randomization",
    "sanity.labels": "sanity.randomization",
    "sanity.layers": "sanity.randomization",
    "sanity.methods.pair": "sanity.methods",
    "sanity.methods.perturbation": "sanity.methods",
    "sanity.other_class": "sanity.randomization",
}


def current_target(target: Any) -> Any:
    """A `_target_` as it reads today; earlier names of this package's classes still serve."""
    if not isinstance(target, str):
        return target
    module, _, name = target.rpartition(".")
    return f"{_MOVED[module]}.{name}" if module in _MOVED else target


def with_current_targets(node: Any) -> Any:
    """A configuration in which every `_target_` reads as it does today."""
    if isinstance(node, dict):
        return {
            key: current_target(value) if key == "_target_" else with_current_targets(value)
            for key, value in node.items()
        }
    return [with_current_targets(item) for item in node] if isinstance(node, list) else node


def instantiate(node: Mapping[str, Any], key: str) -> Any:
    """Makes the object that a node's `_target_` names, from the node's other keys.

    Args:
        node: The target and its fields; fields with a `_target_` of their own are made first.
        key: Path of the node, for messages.

    Raises:
        ConfigError: There is no such class, or it refuses a field.
    """
    values = dict(node)
    target = current_target(values.pop("_target_", None))
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{key}._target_={target} must be the dotted name of a class")
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}._target_={target} cannot be imported: {error}") from error
    if not callable(cls):
        raise ConfigError(f"{key}._target_={target} must be the dotted name of a class")
    for field, value in values.items():
        if isinstance(value, dict) and "_target_" in value:
            values[field] = instantiate(value, f"{key}.{field}")
    return make(cls, values, key)


def make(cls: Callable[..., T], values: Mapping[str, Any], key: str) -> T:
    """`cls(**values)`, whose complaints become one sentence about `key`.

    Raises:
        ConfigError: A field is unknown, missing, or has a wrong type or value, or the class lacks
            something that its base class leaves to it.
    """
    prefix = f"{key}." if key else ""
    _check_complete(cls, key)
    if is_dataclass(cls):
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                hint = did_you_mean(name, known, prefix)
                allowed = ", ".join(known) or "none"
                raise ConfigError(
                    f"{prefix}{name}={values[name]} is no key here{hint} (keys: {allowed})"
                )
    try:
        return cls(**values)
    except ValidationError as error:
        raise ConfigError(_sentence(error, prefix)) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key or 'the configuration'} is not accepted: {error}") from error


def _check_complete(cls: Any, key: str) -> None:
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        base = next(b for b in cls.__mro__ if missing[0] in vars(b))
        raise ConfigError(
            f"{key or 'the configuration'}: the class {cls.__module__}.{cls.__qualname__} lacks "
            f"{', '.join(missing)}, which {base.__module__}.{base.__qualname__} leaves to it: see "
            "there what is wanted"
        )


def _sentence(error: ValidationError, prefix: str) -> str:
    first = error.errors()[0]
    if first["type"].startswith("missing"):
        return f"{prefix}{first['loc'][0]} must be given"
    if not first["loc"]:  # a complaint of the whole, about fields that do not fit together
        said = first["msg"].removeprefix("Value error, ")
        return f"{prefix.removesuffix('.') or 'the configuration'} is not accepted: {said}"
    path = [str(part) for part in first["loc"]]
    # A choice of types adds the name of each type it tried to the path.
    while len(path) > 1 and not path[-1].isidentifier():
        path.pop()
    problems = dict.fromkeys(
        e["msg"].removeprefix("Input ").removeprefix("Value error, ")
        for e in error.errors()
        if e["loc"][:1] == first["loc"][:1]
    )
    names = ".".join(path[:1] if len(problems) > 1 else path)
    return f"{prefix}{names}={first['input']} {' or '.join(problems)}"
