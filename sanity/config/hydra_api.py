"""All of Hydra and OmegaConf that is not public there, or differs between their versions.

Another version of either is tried by reading this file: nothing else imports `hydra._internal` or
touches a name of theirs that begins with an underscore, but for the plugin that extends Hydra's
basic sweeper: that has to be imported by a plugin, since Hydra makes its classes anew for them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import hydra
import hydra.utils
from hydra._internal.utils import get_args_parser as get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import Container, OmegaConf

# Hydra 1.4 has only one behaviour, which is 1.3's for what is used here, and warns of the argument.
_UNCHECKED = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
_BEHAVIOUR = {"version_base": "1.3"} if _UNCHECKED is None else {}
# It also wants to be told what configurations may call: what users choose (launchers, callbacks
# of their own) is for them to say, and what we make of `_target_` is checked in `sanity.checked`.
_TRUST = {} if _UNCHECKED is None else {"execution_whitelist": _UNCHECKED}


def command(conf: str, name: str) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Decorates the function that a command line configures.

    Args:
        conf: The folder of YAMLs.
        name: That of the YAML which is composed.
    """
    return hydra.main(config_path=conf, config_name=name, **_BEHAVIOUR, **_TRUST)


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Has `${name:…}` mean what a function says, once for each text."""
    # Hydra 1.4's OmegaConf has another name for the same, which was that of something else before.
    old: Any = OmegaConf.register_new_resolver
    register: Any = old if _UNCHECKED is None else OmegaConf.register_resolver
    register(name, resolver, use_cache=True, replace=True)


def config_loader() -> Any:
    """The loader of the configuration folders that Hydra is set up with; None if it isn't."""
    there = GlobalHydra.instance()
    return there.config_loader() if there.is_initialized() else None


@contextmanager
def set_up(conf: str, first: str | None = None) -> Iterator[None]:
    """Hydra set up with a folder of YAMLs, whatever it is set up for outside.

    Args:
        conf: The folder.
        first: Another, which is looked through before it.
    """
    instances: dict[Any, Any] = Singleton._instances
    state = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
    outside = {cls: instances.pop(cls) for cls in state if cls in instances}
    try:
        with hydra.initialize_config_dir(conf, **_BEHAVIOUR):
            if first is not None:
                loader = config_loader()
                path = loader.get_search_path()
                path.prepend("command-line", f"file://{first}", SearchPathQuery(provider="schema"))
                loader.repository.initialize_sources(path)
            yield
    finally:
        for cls in state:
            instances.pop(cls, None)
        instances |= outside


def group_options(loader: Any, group: str) -> list[str]:
    """The names of a group's options."""
    # Without overrides, the loader's own method asks a deep copy of all that Hydra knows.
    names: list[str] = loader.repository.get_group_options(group, ObjectType.CONFIG)
    return names


def option(loader: Any, group: str, name: str) -> Any:
    """An option's node, as its YAML has it."""
    loaded: Any = loader.load_configuration(f"{group}/{name}", [], RunMode.RUN)
    OmegaConf.set_struct(loaded, False)
    return loaded[group][name]


def completions(loader: Any, line: str) -> list[str]:
    """What a command line may go on with, by Hydra's own completion."""
    return list(DefaultCompletionPlugin(loader)._query("config", line))


def parse(text: str) -> Override:
    """An override as Hydra's grammar has it.

    Raises:
        hydra.errors.HydraException: It has no such thing.
    """
    return OverridesParser.create().parse_override(text)


def outcome(job: JobReturn) -> Any:
    """What a job returned, or the exception that it failed with."""
    return job._return_value


def completed(job: JobReturn, value: Any) -> JobReturn:
    """A job as if it had returned the value."""
    return replace(job, status=JobStatus.COMPLETED, _return_value=value)


def finished(overrides: list[str], value: Any) -> JobReturn:
    """That of a job of which only the value is known."""
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=value)


def root(node: Container) -> Any:
    """The configuration that a node is part of."""
    return node._get_root()


def given_overrides(own: Any) -> list[str]:
    """The overrides that Hydra's own node records, as they were typed: `seed=${noise_seed}`."""
    found: list[str] = OmegaConf.to_container(own.overrides.task)  # type: ignore[assignment]  # of a list
    return found


def raw_value(node: Any) -> Any:
    """What a node holds, an interpolation as it is written."""
    return node if node is None or isinstance(node, Container) else node._value()


def uninterpolated(node: Container, key: str) -> Any:
    """What stands under a key: an interpolation as it is written, not what it leads to."""
    return raw_value(node._get_node(key))
