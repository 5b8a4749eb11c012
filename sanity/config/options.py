"""Where the YAML files are, and which options each group has."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import RLock

from sanity.errors import ConfigError

LIKE = "like"  # the key of a variant that names its option, see `config.variants`
_OPEN = ("model.inputs.",)  # keys that take any name below them
_TURN = RLock()  # Hydra's set-up is one for all threads
_own: ContextVar[tuple[Path, ...]] = ContextVar("own", default=())


def conf_folder() -> Path:
    """The folder of YAML files: inside an installed package, beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def options(group: str) -> list[str]:
    """The names of a group's options, a user's own configuration folders among them."""
    from sanity.config.hydra_api import config_loader, group_options

    if (loader := config_loader()) is not None:
        return sorted(group_options(loader, group))
    return sorted({path.stem for folder in folders() for path in (folder / group).glob("*.yaml")})


def folders() -> list[Path]:
    """Where YAML files are looked for: folders of a user's own that were named, and ours."""
    return [*_own.get(), conf_folder()]


@contextmanager
def look_in(config_dir: str | os.PathLike[str] | None, overrides: Sequence[str]) -> Iterator[None]:
    """Has `folders` know those that a command line names.

    Args:
        config_dir: Of `--config-dir`.
        overrides: Which may have `hydra.searchpath=[…]`.

    Raises:
        ConfigError: A folder among those is not there.
    """
    named = [] if config_dir is None else [os.fspath(config_dir)]
    for text in overrides:
        key, _, value = text.partition("=")
        if key.lstrip("+") == "hydra.searchpath":
            found = [path.strip(" '\"").removeprefix("file://") for path in _items(value)]
            for path in found:
                if not path.startswith("pkg:") and "${" not in path and not os.path.isdir(path):
                    raise ConfigError(f"hydra.searchpath={path}: there is no such folder")
            named += found
    token = _own.set(tuple(Path(path) for path in named if not path.startswith("pkg:")))
    try:
        yield
    finally:
        _own.reset(token)


@contextmanager
def own_hydra(config_dir: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Hydra set up with our YAML files, whatever it is set up for outside: another app, a notebook.

    Args:
        config_dir: A folder of YAMLs of one's own, as of `--config-dir`.

    Raises:
        ConfigError: There is no such folder.
    """
    from sanity.config.hydra_api import set_up

    first = None if config_dir is None else str(existing_folder(config_dir))
    with _TURN, set_up(str(conf_folder()), first):
        yield


def existing_folder(config_dir: str | os.PathLike[str]) -> Path:
    """The folder that `--config-dir` names, absolute.

    Raises:
        ConfigError: There is none.
    """
    path = Path(config_dir).expanduser().absolute()
    if not path.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
    return path


def choose_in_preset(group: str = "method", option: str = "[gradient]") -> str:
    """How a YAML of a preset chooses an option, for messages."""
    return f"a preset chooses options by a line below defaults:, - override /{group}: {option}"


def _items(value: str) -> list[str]:
    return value.strip("[]").split(",")


def with_open_keys(overrides: Sequence[str]) -> list[str]:
    """Overrides in which names that no YAML lists are marked for Hydra as to be added.

    Args:
        overrides: As on the command line, `model.inputs.age=0.5` for instance, or
            `method.few.like=smoothgrad` and with it `method.few.samples=5`.
    """
    keys = [text.partition("=")[0] for text in overrides]
    variants = [key.lstrip("+").removesuffix(LIKE) for key in keys if key.endswith(f".{LIKE}")]
    ours = (*_OPEN, *(key for key in variants if key.count(".") == 2))
    return [
        f"++{text}" if f"{key}.".startswith(ours) else text
        for text, key in zip(overrides, keys, strict=True)
    ]
