"""Overrides as they are given: as words, a list or a dict; and what is said where none can be read.

Hydra's grammar takes less than a shell or a path does. Whoever meets its end is told which override
it is and how to quote it.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import Container, OmegaConf

from sanity.config.hydra_api import parse
from sanity.config.options import options
from sanity.errors import ConfigError, did_you_mean

Overrides = str | Sequence[str] | Mapping[str, Any]

ONE = ("model", "data", "layers", "randomization")  # groups of which one option is chosen
SEVERAL = ("method", "metric")  # and those of which several are
# Text that is text to Hydra without quotes, where letters are ASCII's.
_PLAIN = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[\w./-]*", re.ASCII)
_WORDS = ("null", "true", "false", "nan", "inf")  # and what would not be
_CLOSES = {"[": "]", "{": "}", "(": ")"}


def words(given: Overrides) -> list[str]:
    """Overrides as on the command line.

    Args:
        given: One, several, or keys with their values: `{"seed": 1, "method": ["gradient"]}`; what
            stands below a key may be nested or have dots.

    Raises:
        ConfigError: A value cannot be written as an override.
    """
    if isinstance(given, Container):
        given = OmegaConf.to_container(given)  # type: ignore[assignment]  # whose keys are text
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        return [f"{key}={_written(value, key)}" for key, value in _flat(given)]
    if not isinstance(given, Iterable):
        raise ConfigError(
            f"{given!r} gives no overrides: text such as 'seed=1', a list, or a dict is wanted"
        )
    return [str(text) for text in given]


def check(overrides: Sequence[str], *, sweep: bool) -> None:
    """Reads overrides as Hydra will.

    Args:
        overrides: As on the command line.
        sweep: Whether several values make several jobs.

    Raises:
        ConfigError: One cannot be read, or has several values where there is one job.
    """
    for number, text in enumerate(overrides):
        override = _parse(text)
        if override is None:
            raise ConfigError(_unreadable(text, overrides[:number], overrides[number + 1 :]))
        key, value = override.key_or_group, override.value()
        if not key:
            raise ConfigError(f"{text} names no key: KEY=VALUE is wanted")
        if isinstance(value, list) and any(isinstance(item, Glob) for item in value):
            raise ConfigError(
                f"{text}: a list takes names; in a sweep, a glob by itself takes what it matches, "
                f"a job each: -m {shlex.quote(f'{key}=glob({_pattern(value)})')}"
            )
        if override.is_sweep_override() and not sweep:
            raise ConfigError(several(text))
        if (known := options(key)) and not override.is_delete():
            _check_options(text, key, value, known)


def _check_options(text: str, key: str, value: Any, known: Sequence[str]) -> None:
    """Refuses what names no option of a group, whichever there are (ConfigError)."""
    if isinstance(value, Mapping):
        raise ConfigError(
            f"{text} must be one of: {', '.join(known)}; {key}.KEY=VALUE sets a key of it"
        )
    names = value if isinstance(value, list) else [value]
    if any(isinstance(name, int | float | bool | list | None) or name == "" for name in names):
        raise ConfigError(f"{text} must be one of: {', '.join(known)}")
    if key in ONE and len(names) != 1:
        listed = ",".join(map(str, names))
        raise ConfigError(f"{text} must be one option; a sweep, -m {key}={listed}, takes each")


def several(text: str) -> str:
    """What to say of an override that has several values where there is one job."""
    key, _, given = text.partition("=")
    listed = _parse(f"{key}=[{given}]") is not None and "(" not in given
    as_list = f"; in brackets they are a list: '{key}=[{given}]'" if listed else ""
    return f"{text} has several values, of which -m makes a job each{as_list}"


def quote(text: str) -> str:
    """Text in Hydra's quotes, if it needs any."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    mark = "'" if '"' in text and "'" not in text else '"'
    # Backslashes count only before a mark, and then two for each.
    inside = re.sub(rf"(\\*){mark}", lambda found: f"{found[1] * 2}\\{mark}", text)
    last = inside[len(inside.rstrip("\\")) :]
    return f"{mark}{inside}{last}{mark}"


def _flat(given: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _written(value: Any, key: str) -> str:
    if hasattr(value, "item") and not isinstance(value, Mapping):  # NumPy's
        value = value.item()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PathLike):
        return quote(str(fspath(value)))
    if isinstance(value, Mapping):  # an empty one
        return "{}"
    if isinstance(value, Sequence | set | frozenset | range):
        return f"[{','.join(_written(item, key) for item in value)}]"
    raise ConfigError(f"{key}={value!r} must be text, a number, true or false, null or a list")


def _parse(text: str) -> Override | None:
    """The override, None if Hydra's grammar does not have it."""
    try:
        return parse(text)
    except HydraException:
        return None


def _pattern(items: Sequence[Any]) -> str:
    patterns = [p for item in items if isinstance(item, Glob) for p in item.include]
    return patterns[0] if len(patterns) == 1 else f"[{','.join(patterns)}]"


def _unreadable(text: str, before: Sequence[str], after: Sequence[str]) -> str:
    """What to say of an override that cannot be read."""
    key, equals, value = text.partition("=")
    if not equals:
        return _no_pair(text, before, after)
    if not re.fullmatch(r"[+~]{0,2}[\w.$/:@-]+", key):
        return f"{text} names no key that there can be: KEY=VALUE is wanted"
    if (whole := _closed(text, after)) is not None:
        if whole == text:
            return f"{text}: {_open(value)} is never closed"
        return f"{text}: blanks end a word, so write {_for_shells(whole)}"
    for proposed in (_with_quoted_items(value), quote(value)):
        if proposed is not None and _parse(f"{key}={proposed}") is not None:
            return (
                f"{text} cannot be read as it is; in quotes, the inner for Hydra and the outer for "
                f"the shell, it can: {_for_shells(f'{key}={proposed}')}"
            )
    return f"{text} cannot be read as KEY=VALUE"


def _no_pair(text: str, before: Sequence[str], after: Sequence[str]) -> str:
    if not text:
        return "'' is no KEY=VALUE: an empty word stands among the overrides"
    if (meant := _apart(text, after)) and _parse(meant) is not None:
        return f"{text} is no KEY=VALUE; did you mean {meant}?"
    if before and "=" in before[-1]:
        key, _, value = before[-1].partition("=")
        whole = _for_shells(f"{key}={quote(f'{value} {text}'.strip())}")
        return f"{text} is no KEY=VALUE; if it goes on with the word before, write {whole}"
    hint = did_you_mean(text, ["--multirun", "--help", "--cfg", "--version"])
    return f"{text} is no KEY=VALUE{hint}"


def _apart(text: str, after: Sequence[str]) -> str | None:
    """A pair of which blanks stand around the sign, or whose sign is a colon or a blank."""
    if re.fullmatch(r"[\w./@]+:[^/].*", text):
        return text.replace(":", "=", 1)
    if not re.fullmatch(r"[\w./@]+", text) or not after or after[0].startswith("-"):
        return None
    first, *rest = after
    if first == "=" and rest:
        return f"{text}={rest[0]}"
    return f"{text}{first}" if first.startswith("=") else f"{text}={first}" * ("=" not in first)


def _for_shells(text: str) -> str:
    """Quoted for a shell; always, since zsh takes brackets for patterns."""
    quoted = shlex.quote(text)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def _open(value: str) -> str | None:
    """The bracket or quote that a value leaves open; None if there is none."""
    stack: list[str] = []
    for char in value:
        if stack and stack[-1] in "\"'":
            if char == stack[-1]:
                stack.pop()
        elif char in _CLOSES or char in "\"'":
            stack.append(char)
        elif stack and char == _CLOSES[stack[-1]]:
            stack.pop()
    return stack[-1] if stack else None


def _closed(text: str, after: Sequence[str]) -> str | None:
    """The override with those of the following words that close what it opens; None if closed."""
    if _open(text.partition("=")[2]) is None:
        return None
    for count in range(1, len(after) + 1):
        whole = "".join([text, *after[:count]])
        if _open(whole.partition("=")[2]) is None and _parse(whole) is not None:
            return whole
    return text


def _with_quoted_items(value: str) -> str | None:
    """A list whose items are quoted where they need it; None if it is no list."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    items = [item.strip() for item in value[1:-1].split(",")]
    return f"[{','.join(quote(item) for item in items if item)}]"
