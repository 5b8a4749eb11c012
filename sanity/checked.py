"""The dataclass behind every `_target_`, which checks its fields; what makes one; arrays for it."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from sanity.errors import ConfigError, did_you_mean, shown

T = TypeVar("T")

_decorate = dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(
        strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    ),
)


def _can_be_a_path(text: str) -> str:
    if "\0" in text or any(len(part.encode()) > _LONGEST for part in text.split("/")):
        raise ValueError("is no name that a file can have")
    return text


_LONGEST = 255  # bytes that file systems allow in a name
# A path, or another name that is looked for among files.
Text = Annotated[str, Field(min_length=1), AfterValidator(_can_be_a_path)]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def checked(cls: type) -> Any:
    """Makes a frozen, keyword-only dataclass that refuses wrong types, ranges and unknown fields.

    Raises (when an instance is made):
        ConfigError: A field is unknown, missing, or has a wrong type or value.
    """
    made: Any = _decorate(cls)
    construct = made.__init__

    @wraps(construct)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:
            construct(self, *args, **values)
        except ValidationError as error:
            raise ConfigError(_of_call(error, type(self))) from error

    made.__init__ = __init__
    return made


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
    cls = class_of(values.pop("_target_", None), key)
    for field, value in values.items():
        if _names_target(value):
            values[field] = instantiate(value, f"{key}.{field}")
    return make(cls, values, key)


def class_of(target: Any, key: str) -> Callable[..., Any]:
    """The class that a `_target_` names.

    Args:
        target: Its dotted name.
        key: Path of the node, for messages.

    Raises:
        ConfigError: There is none.
    """
    target = current_target(target)
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{key}._target_={shown(target)} must be the dotted name of a class")
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}._target_={shown(target)} cannot be imported: {error}") from error
    except Exception as error:  # a user's own module
        why = f"{type(error).__name__} ({shown(error)})"
        raise ConfigError(f"{key}._target_={shown(target)} cannot be imported: {why}") from error
    if not callable(cls):
        raise ConfigError(f"{key}._target_={target} must be the dotted name of a class")
    return cls  # type: ignore[no-any-return]


def with_wanted_types(node: Any, key: str) -> Any:
    """A node in which every field has the type that the class of its `_target_` wants.

    See `as_wanted`.

    Args:
        node: A target and its fields, or whatever else stands in a configuration.
        key: Its path, for messages.

    Raises:
        ConfigError: A target is no class.
    """
    if not _names_target(node):
        return node
    fields = {k: with_wanted_types(value, f"{key}.{k}") for k, value in node.items()}
    plain = {k: v for k, v in fields.items() if k != "_target_" and not _names_target(v)}
    return fields | as_wanted(class_of(node["_target_"], key), plain)


def _names_target(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def as_wanted(cls: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a class, numbers that came as text as the numbers, and text that came as a number.

    So `${oc.env:SLURM_ARRAY_TASK_ID}`, which is text, is a seed, and `2024` a name.

    Args:
        cls: What is to be made of them.
        values: Its fields; those that fit, and those that nothing helps, stay as they are.
    """
    taken = dict(values)
    if not hasattr(cls, "__pydantic_fields__"):
        return taken
    try:
        cls(**taken)
    except ConfigError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        errors = [one for one in error.__cause__.errors() if one["loc"]]
        # What has a wrong value is of a right type, whatever else would be taken there.
        values_wrong = {one["loc"][0] for one in errors if not _is_of_types(one["type"])}
        for one in errors:
            name, read = one["loc"][0], _READ.get(one["type"])
            if name in taken and name not in values_wrong and read is not None:
                taken[str(name)] = _read(taken[str(name)], one["input"], read)
    return taken


def _text(value: Any) -> Any:
    """An integer as text; what was typed of another number, 1e3 or 1.10, can no more be told."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            return value

    return read


def _truth(value: Any) -> Any:
    known = {"true": True, "false": False}
    return known.get(value.lower(), value) if isinstance(value, str) else value


# What pydantic complains of, and what makes of a value the kind that it wants.
_READ: Mapping[str, Callable[[Any], Any]] = {
    "int_type": _number(int),
    "float_type": _number(float),
    "bool_type": _truth,
    "string_type": _text,
}


def _is_of_types(kind: str) -> bool:
    """Whether pydantic complains of a type; a Literal does not say of which."""
    return kind.endswith("_type") or kind in ("literal_error", "none_required")


def _read(value: Any, refused: Any, read: Callable[[Any], Any]) -> Any:
    """A field's value in which what was refused, it or an item of it, is read anew."""
    if isinstance(value, list):
        return [read(item) if item is refused else item for item in value]
    return read(value) if value is refused else value


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
                    f"{prefix}{name}={shown(values[name])} is no key here{hint} (keys: {allowed})"
                )
    try:
        return cls(**values)
    except ConfigError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        raise ConfigError(_sentence(error.__cause__, prefix)) from error.__cause__
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key or 'the configuration'} is not accepted: {error}") from error
    except Exception as error:
        if str(getattr(cls, "__module__", "")).startswith("sanity."):
            raise
        why = f"{type(error).__name__} ({shown(error)}); HYDRA_FULL_ERROR=1 shows where"
        raise ConfigError(f"{key}: making {getattr(cls, '__name__', cls)} fails: {why}") from error


def _check_complete(cls: Any, key: str) -> None:
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        base = next(b for b in cls.__mro__ if missing[0] in vars(b))
        raise ConfigError(
            f"{key or 'the configuration'}: the class {cls.__module__}.{cls.__qualname__} lacks "
            f"{', '.join(missing)}, which {base.__module__}.{base.__qualname__} leaves to it: see "
            "there what is wanted"
        )


def _sentence(error: ValidationError, prefix: str, written: Callable[[Any], str] = shown) -> str:
    """What pydantic refuses, in one sentence.

    Args:
        error: Its complaints.
        prefix: What stands before a field's name: the path of the node, or the class.
        written: How a value is written: as on a command line, or as in Python.
    """
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
        _problem(e) for e in error.errors() if e["loc"][:1] == first["loc"][:1]
    )
    names = ".".join(path[:1] if len(problems) > 1 else path)
    if len(problems) == 1 and first["type"] in ("list_type", "tuple_type"):
        if isinstance(given := first["input"], str | int | float):
            said = written(given)
            listed = f"'{prefix}{names}=[{said}]'" if written is shown else f"[{said}]"
            return f"{prefix}{names}={said} should be a list: {listed}"
    if len(problems) == 1 and first["type"] in ("too_long", "too_short"):
        bounds, given = first.get("ctx", {}), first["input"]
        most = bounds.get("max_length")
        wanted = f"at most {most}" if most else f"at least {bounds.get('min_length')}"
        return f"{prefix}{names}={written(given)} should have {wanted} entries, it has {len(given)}"
    others = [problem.removeprefix("should be ") for problem in list(problems)[1:]]
    return (
        f"{prefix}{names}={written(first['input'])} {' or '.join([next(iter(problems)), *others])}"
    )


def _of_call(error: ValidationError, cls: type) -> str:
    """What is wrong with a call of a class, in one sentence as of Python."""
    known = [field.name for field in fields(cls)]
    for one in error.errors():
        name = str(one["loc"][0]) if one["loc"] else ""
        if one["type"] == "unexpected_positional_argument":
            return f"{cls.__name__} takes its fields by name: {', '.join(known) or 'it has none'}"
        if one["type"] == "unexpected_keyword_argument":
            return (
                f"{cls.__name__}.{name} is no field{did_you_mean(name, known)} "
                f"(fields: {', '.join(known) or 'none'})"
            )
    return _sentence(error, f"{cls.__name__}.", repr)


def _problem(error: ErrorDetails) -> str:
    """What is wrong with a value, in this project's words where pydantic's are of Python."""
    kind = error["type"]
    if kind == "string_too_short":
        return "should not be empty"
    if kind == "dict_type":
        return "should be names with values: {NAME: VALUE}"
    if kind in ("dataclass_type", "dataclass_exact_type"):
        return f"should be a set of keys: {'.'.join(map(str, error['loc']))}.KEY=… changes one"
    return error["msg"].removeprefix("Input ").removeprefix("Value error, ")


@contextmanager
def own_code(name: str) -> Iterator[None]:
    """Around code of one's own that is given arrays which others see as well, read-only.

    Args:
        name: What the code is of, for the message.

    Raises:
        ConfigError: It writes to one of them.
    """
    try:
        yield
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ConfigError(
            f"{name} writes to an array that it is given, which others are given as well: let it "
            "write to a copy (array.copy())"
        ) from error


def read_only(array: Any) -> Any:
    """The same array, to which nothing can be written; what is no array stays as it is."""
    if not isinstance(array, np.ndarray):
        return array
    seen = array.view()
    seen.flags.writeable = False
    return seen
