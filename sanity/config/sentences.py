"""Hydra's and OmegaConf's exceptions as one sentence in this project's words."""

import re
import traceback

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sanity.config.options import conf_folder, options
from sanity.errors import ConfigError, did_you_mean

_OPTION = re.compile(r"Could not (?:find|load) '([^']+)/([^/']+)'")
_PLUGIN = re.compile(r"Unknown plugin class ?: 'hydra_plugins\.hydra_([a-z]+)_launcher\.")
_KEY = re.compile(r"Could not override '([^']+)'")
_NOISE = ("full_key:", "object_type=", "reference_type=", "Config search path", "provider=", "See ")


def sentence(error: BaseException) -> str | None:
    """What to tell the user; None if the error is no user's mistake but a fault of the program."""
    if isinstance(error, ConfigError):
        return str(error)
    if not isinstance(error, HydraException | OmegaConfBaseException) and not _from_hydra(error):
        return None
    text = str(error)
    if match := _OPTION.search(text):
        group, option = match.groups()
        return _unknown_option(group, option)
    if match := _PLUGIN.search(text):
        return (
            f"hydra/launcher needs the plugin hydra-{match[1]}-launcher, which is not installed; "
            f"sanity's extra [{match[1]}] brings it"
        )
    if match := _KEY.search(text):
        return _unknown_key(match[1])
    lines = (line.strip() for line in text.splitlines())
    text = " ".join(line for line in lines if line and not line.startswith(_NOISE))
    cause = error.__cause__
    return f"{text} ({sentence(cause)})" if isinstance(cause, OmegaConfBaseException) else text


def _from_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised it: some of a user's mistakes end in its assertions."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # One that comes from another process has no traceback.
    names = [frame.f_globals.get("__name__", "") for frame in frames[-1:]]
    return any(name.split(".")[0] in ("hydra", "omegaconf") for name in names)


def _unknown_option(group: str, option: str) -> str:
    known = options(group)
    if not known:
        return f"{group}={option}: there is no group of this name (sanity --help shows them)"
    return f"{group}={option} is none of {', '.join(known)}"


def _unknown_key(key: str) -> str:
    known = []
    for path in conf_folder().glob("**/*.yaml"):
        group = "" if path.parent == conf_folder() else f"{path.parent.name}."
        known += [group + name for name in _paths(OmegaConf.to_container(OmegaConf.load(path)))]
    if key in known:
        return f"{key} belongs to an option that is not chosen (sanity --cfg job shows what is)"
    hint = did_you_mean(key, known)
    return f"{key} is no key of the configuration{hint} (sanity --cfg job shows them)"


def _paths(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    paths = []
    for key, value in node.items():
        paths += [f"{prefix}{key}", *_paths(value, f"{prefix}{key}.")]
    return paths
