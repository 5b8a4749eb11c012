"""Where the YAML files are, and which options each group has."""

from pathlib import Path


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
