"""Hydra's and OmegaConf's exceptions as one sentence in this project's words."""

import fnmatch
import re
import traceback
from collections.abc import Sequence

import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import (
    GrammarParseError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from sanity.config.given import several
from sanity.config.hydra_api import raw_value, root
from sanity.config.options import choose_in_preset, folders, options
from sanity.errors import ConfigError, did_you_mean, fault_outside, how_to_install, near

_OPTION = re.compile(r"Could not (?:find|load) '([^']+)/([^/']+)'")
_OPTIONS = re.compile(r"Available options in '[^']+':\n((?:\t.+\n?)+)")
_PLUGIN = re.compile(r"Unknown plugin class ?: 'hydra_plugins\.hydra_([a-z]+)_launcher\.")
_KEY = re.compile(r"Could not override '([^']+)'")
_THERE = re.compile(r"Could not append to config\. An item is already at '([^']+)'")
_GONE = re.compile(r"Could not delete (?:from config\. )?'([^']+)'")
_SEVERAL = re.compile(
    r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)' requires --multirun"
)
_VARIABLE = re.compile(r"Environment variable '([^']+)' not found")
_NO_KEY = re.compile(r"Interpolation key '([^']+)' not found")
_UNMERGED = re.compile(r"In '([^']+)': \w+ raised while composing config:")
_REFUSED = re.compile(r"Error merging override (.+)")
_TO_MISSING = re.compile(r"Missing mandatory value: ([\w.]+)")
_SWEEP = re.compile(r"does not support sweep type : (\w+)")
_NOISE = ("full_key:", "object_type=", "reference_type=", "Config search path", "provider=", "See ")
_PLUGINS = {"optuna": "optuna"}  # sweepers that plugins bring, and the extra that has them


def sentence(error: BaseException) -> str | None:
    """What to tell the user; None if the error is no user's mistake but a fault of the program."""
    if isinstance(error, ConfigError):
        return str(error)
    if (outside := fault_outside(error) or _unread(error)) is not None:
        return outside
    if not isinstance(error, HydraException | OmegaConfBaseException) and not _from_hydra(error):
        return None
    if isinstance(error.__cause__, ConfigError):  # of what Hydra makes: a sweeper, a callback
        return str(error.__cause__)
    text = str(error)
    if match := _OPTION.search(text):
        group, option = match.groups()
        listed = _OPTIONS.search(text)  # with those of a user's own folders
        return _unknown_option(group, option, listed[1].split() if listed else options(group))
    if match := _PLUGIN.search(text):
        return (
            f"hydra/launcher needs the plugin hydra-{match[1]}-launcher, which is not installed; "
            f"sanity's extra [{match[1]}] brings it"
        )
    if match := _KEY.search(text):
        return _unknown_key(match[1])
    if match := _THERE.search(text):
        return f"+{match[1]} would add what is there already: {match[1]}=… changes it"
    if match := _SEVERAL.search(text):
        return several(match[1] or match[2])
    if match := _GONE.search(text):
        return f"~{match[1]} removes nothing: it is not there, or null (see sanity --cfg job)"
    if isinstance(error, InterpolationResolutionError):
        return _unresolved(error)
    if match := _VARIABLE.search(text):  # where Hydra composes
        return f"${{oc.env:{match[1]}}}: the environment has no variable {match[1]}"
    if match := _SWEEP.search(text):
        kind = match[1].lower().removesuffix("_sweep")
        return (
            f"{kind}(…) is for hydra/sweeper=optuna: a sweep over all values takes KEY=V1,V2, "
            "range(…) or glob(…)"
        )
    if match := _UNMERGED.search(text):
        return (
            f"{match[1]}.yaml sets a list or one value where there are keys: {choose_in_preset()}"
        )
    if match := _REFUSED.search(text):
        if error.__cause__ is None or isinstance(error.__cause__, GrammarParseError):
            return f"{match[1]} cannot be read as KEY=VALUE"
        return f"{match[1]} is not taken: {str(error.__cause__).splitlines()[0]}"
    lines = (line.strip() for line in text.splitlines())
    text = " ".join(line for line in lines if line and not line.startswith(_NOISE))
    cause = error.__cause__
    return f"{text} ({sentence(cause)})" if isinstance(cause, OmegaConfBaseException) else text


def _unread(error: BaseException) -> str | None:
    """What to say of a YAML that cannot be read; None of all other errors."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"{mark.name}, line {mark.line + 1}, is no YAML: {error.problem}"
    if isinstance(error, yaml.YAMLError) or (
        isinstance(error, UnicodeDecodeError) and _within(error, "load_config")
    ):
        said = str(error).splitlines()[0]
        return f"a YAML of the configuration cannot be read: {said}; it must be text in UTF-8"
    return None


def _unresolved(error: InterpolationResolutionError) -> str:
    """What to say of a value that is taken from elsewhere, `${…}`, and cannot be."""
    text = str(error)
    given = "a value"  # where Hydra prints a configuration it does not say of which key
    if error.full_key:
        given = f"{error.full_key}={raw_value(error.child_node)}"
    if match := _VARIABLE.search(text):
        return f"{given}: the environment has no variable {match[1]}"
    if match := _NO_KEY.search(text):
        there = error.parent_node
        known = [] if there is None else _paths(OmegaConf.to_container(root(there)))
        hint = did_you_mean(match[1], known)
        return f"{given}: {match[1]} is no key{hint} (sanity --cfg job shows them)"
    if match := _TO_MISSING.search(text):
        return f"{given}: {match[1]} must be given: {match[1]}=…"
    if "Recursive" in text:
        return f"{given} leads back to itself"
    return f"{given} leads to nothing (${{KEY}} is a key's value, ${{oc.env:NAME}} a variable's)"


def _within(error: BaseException, function: str) -> bool:
    """Whether it was raised below a function of that name."""
    return any(f.f_code.co_name == function for f, _ in traceback.walk_tb(error.__traceback__))


def _from_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised it: some of a user's mistakes end in its assertions."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # One that comes from another process has no traceback.
    names = [frame.f_globals.get("__name__", "") for frame in frames[-1:]]
    return any(name.split(".")[0] in ("hydra", "omegaconf") for name in names)


def _unknown_option(group: str, option: str, known: Sequence[str]) -> str:
    if group == "hydra/sweeper" and option in _PLUGINS:
        return f"{group}={option} needs a plugin: {how_to_install(_PLUGINS[option])} brings it"
    if not known:
        return f"{group}={option}: there is no group of this name (sanity --help shows them)"
    if matched := fnmatch.filter(known, option) if any(c in option for c in "*?") else []:
        hint = f"; did you mean {group}=[{','.join(matched)}]?"
    else:
        hint = did_you_mean(option, known, f"{group}=")
    if hint:  # which stands before a list that may be long
        return f"{group}={option} is unknown{hint} (all: {', '.join(known)})"
    return f"{group}={option} is none of {', '.join(known)}"


def _unknown_key(key: str) -> str:
    found: dict[str, None] = {}
    for folder in folders():
        for path in sorted(folder.glob("**/*.yaml"), key=lambda path: len(path.parts)):
            group = path.parent.relative_to(folder).as_posix()
            try:
                nodes = OmegaConf.to_container(OmegaConf.load(path))
            except (yaml.YAMLError, UnicodeDecodeError, OSError):
                continue  # it is not what was asked about
            if group != "." and not group.startswith("experiment"):
                found[group] = None
                found |= dict.fromkeys(f"{group}.{name}" for name in _paths(nodes))
            else:
                found |= dict.fromkeys(_paths(nodes))
    known = [name for name in found if "/" not in name]
    if key in known:
        return f"{key} belongs to an option that is not chosen (sanity --cfg job shows what is)"
    typed = [name for name in known if not name.endswith("_target_")]
    alike = [name for name in typed if name.count(".") == key.count(".")]
    hint = did_you_mean(key, alike if near(key, alike) else typed)
    return f"{key} is no key of the configuration{hint} (sanity --cfg job shows them)"


def _paths(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    paths = []
    for key, value in node.items():
        paths += [f"{prefix}{key}", *_paths(value, f"{prefix}{key}.")]
    return paths
