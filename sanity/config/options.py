"""Where the YAML files are, and which options each group has."""

from collections.abc import Sequence
from pathlib import Path

LIKE = "like"  # the key of a variant that names its option, see `config.variants`
_OPEN = ("model.inputs.",)  # keys that take any name below them


def conf_folder() -> Path:
    """The folder of YAML files: inside an installed package, beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def options(group: str) -> list[str]:
    """The names of a group's options, a user's own configuration folders among them."""
    from hydra.core.global_hydra import GlobalHydra

    hydra = GlobalHydra.instance()
    if hydra.is_initialized():
        return sorted(hydra.config_loader().get_group_options(group))
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


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
        f"++{text}" if key.startswith(ours) else text
        for text, key in zip(overrides, keys, strict=True)
    ]
