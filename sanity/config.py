"""From a composed configuration to a checked job, before TensorFlow is imported."""

import difflib
import hashlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, Field, ValidationError

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.hydra_errors import sentence
from sanity.options import conf_folder, options

RESULTS_FORMAT = 3  # raise it when the meaning of stored numbers changes
_ONE = ("model", "data", "layers", "randomization")
_SEVERAL = ("method", "metric")
# What says where and how a job runs, but not what comes out.
_NOT_IDENTITY = (
    *("name", "output", "runtime", "dry_run", "force", "figures", "verdict", "originals"),
)


@checked
class Masks:
    """Which images' masks are stored.

    Attributes:
        keep: All, none, or the first so many images.
    """

    keep: Literal["all", "none"] | Annotated[int, Field(ge=0)] = "all"

    def count(self, images: int) -> int:
        """For how many of a number of images masks are stored."""
        if self.keep == "all":
            return images
        return 0 if self.keep == "none" else min(images, self.keep)


@checked
class Thresholds:
    """What verdicts are made by, see `sanity.verdict`; nothing here changes a score."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    images: Annotated[int, Field(ge=2)] = 6
    dead: Annotated[float, Field(ge=0, le=1)] = 0.05


@checked
class Runtime:
    """How a job runs; nothing here changes a result."""

    batch_size: Annotated[int, Field(ge=2)] = 24
    threads: Annotated[int, Field(ge=1)] | None = None
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError("must be a plain name: letters, digits, _, -, + and . (not first)")
    return name


@checked
class Settings:
    """The keys outside the groups; `conf/config.yaml` says what each is."""

    name: Annotated[str, AfterValidator(_folder_name)] = "default"
    seed: Annotated[int, Field(ge=0)] = 0
    target: Annotated[int, Field(ge=0)] | str = "predicted"
    precision: Literal["float32", "bfloat16"] = "float32"
    null_model: Literal["other_image", "shuffled"] = "other_image"
    masks: Masks = Masks()
    figures: Literal["grids", "stages"] = "grids"
    output: str = "outputs"
    originals: bool = True
    dry_run: bool = False
    force: bool = False
    verdict: Thresholds = Thresholds()
    runtime: Runtime = Runtime()


@dataclass(frozen=True)
class Job:
    """Everything one run needs, checked.

    Attributes:
        settings: The keys outside the groups.
        model: Loads the classifier.
        data: Loads the images.
        layers: Chooses the blocks.
        randomization: Makes the stages.
        methods: Methods by name.
        metrics: Metrics by name.
        config: The resolved configuration.
        choices: The option chosen in each group.
        overrides: What was overridden on the command line.
    """

    settings: Settings
    model: Any
    data: Any
    layers: Any
    randomization: Any
    methods: dict[str, Any]
    metrics: dict[str, Any]
    config: dict[str, Any]
    choices: dict[str, Any]
    overrides: list[str]

    @property
    def run_id(self) -> str:
        """A readable slug and a hash of all that determines the results."""
        identity = {k: v for k, v in self.config.items() if k not in _NOT_IDENTITY}
        text = json.dumps([RESULTS_FORMAT, identity], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        names = [
            str(self.choices.get(group, group)) for group in ("model", "data", "randomization")
        ]
        return "-".join([*names, f"seed{self.settings.seed}", digest])

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.settings.output) / self.settings.name / self.run_id


def resolve(
    config: DictConfig, choices: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
) -> Job:
    """Checks a composed configuration and makes what it names.

    Args:
        config: As Hydra composed it, without Hydra's own node.
        choices: The option chosen in each group.
        overrides: What was overridden.

    Raises:
        ConfigError: A key, a type or a value is wrong.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{missing[0]} must be given: {missing[0]}=…")
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    plain.pop("experiment", None)
    settings = _settings({k: v for k, v in plain.items() if k not in _ONE + _SEVERAL})
    for group in _SEVERAL:
        plain[group] = _chosen(group, plain.get(group))
    for group in _ONE:
        if not isinstance(plain.get(group), dict):
            raise ConfigError(f"{group}={plain.get(group)} must be one of: {_listed(group)}")
    job = Job(
        settings=settings,
        **{group: instantiate(plain[group], group) for group in _ONE},
        methods={k: instantiate(v, f"method.{k}") for k, v in plain["method"].items()},
        metrics={k: instantiate(v, f"metric.{k}") for k, v in plain["metric"].items()},
        config=plain,
        choices={**(choices or {}), **{group: list(plain[group]) for group in _SEVERAL}},
        overrides=list(overrides),
    )
    _check_together(job)
    return job


def compose(overrides: Sequence[str] = ()) -> Job:
    """The checked job for some overrides, without a command line.

    Args:
        overrides: As on the command line: `["seed=1", "method=[gradient]"]`.

    Raises:
        ConfigError: A key, a type or a value is wrong.
    """
    import hydra
    from omegaconf import open_dict

    try:
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = hydra.compose("config", list(overrides), return_hydra_config=True)
            choices = OmegaConf.to_container(config.hydra.runtime.choices)
            with open_dict(config):
                del config["hydra"]
            return resolve(config, choices, overrides)  # type: ignore[arg-type]
    except Exception as error:
        text = sentence(error)
        if text is None or isinstance(error, ConfigError):
            raise
        raise ConfigError(text) from error


def instantiate(node: Mapping[str, Any], key: str) -> Any:
    """Makes the object that a node's `_target_` names, from the node's other keys.

    Args:
        node: The target and its fields; fields with a `_target_` of their own are made first.
        key: Path of the node, for messages.

    Raises:
        ConfigError: There is no such class, or it refuses a field.
    """
    values = dict(node)
    target = values.pop("_target_", None)
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{key}._target_={target} must be the dotted name of a class")
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}._target_={target} cannot be imported: {error}") from error
    for field, value in values.items():
        if isinstance(value, dict) and "_target_" in value:
            values[field] = instantiate(value, f"{key}.{field}")
    return make(cls, values, key)


def make(cls: Any, values: Mapping[str, Any], key: str) -> Any:
    """`cls(**values)`, whose complaints become one sentence about `key`.

    Raises:
        ConfigError: A field is unknown, missing, or has a wrong type or value.
    """
    prefix = f"{key}." if key else ""
    if is_dataclass(cls):
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {prefix}{near[0]}?" if near else ""
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


def _settings(values: dict[str, Any]) -> Settings:
    nested = {"masks": Masks, "verdict": Thresholds, "runtime": Runtime}
    for key, cls in nested.items():
        if isinstance(values.get(key), dict):
            values[key] = make(cls, values[key], key)
    return make(Settings, values, "")


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


def _chosen(group: str, nodes: Any) -> dict[str, Any]:
    """The options of a list group, without what a preset left for those that are not chosen."""
    if not isinstance(nodes, dict):
        raise ConfigError(f"{group}={nodes} must name at least one of: {_listed(group)}")
    known = options(group)
    chosen = {}
    for name, node in nodes.items():
        if isinstance(node, dict) and "_target_" in node:
            chosen[name] = node
        elif node is not None and not isinstance(node, dict):
            raise ConfigError(f"{group}.{name}={node} must be a set of keys, or {name}.KEY=…")
        elif name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {group}.{near[0]}?" if near else ""
            raise ConfigError(f"{group}.{name} is no {group}{hint} (there are: {_listed(group)})")
    if not chosen:
        raise ConfigError(f"{group}=[] must name at least one of: {_listed(group)}")
    return chosen


def _listed(group: str) -> str:
    return ", ".join(options(group))


def _check_together(job: Job) -> None:
    """What can be known about a job before its model is loaded."""
    from sanity.metrics import check_sizes

    if hasattr(job.randomization, "check_model"):
        job.randomization.check_model(job.model)
    if hasattr(job.randomization, "check_target"):
        job.randomization.check_target(job.settings.target)
    if getattr(job.model, "blocks", None):
        job.layers.select(job.model.blocks)
    classes = getattr(job.model, "n_classes", None)
    target = job.settings.target
    if classes and isinstance(target, int) and target >= classes:
        raise ConfigError(f"target={target} must be a class from 0 to {classes - 1}, or its name")
    for metric in job.metrics.values():
        if hasattr(metric, "check_data"):
            metric.check_data(job.data)
    if shape := getattr(job.model, "input_shape", None):
        check_sizes(job.metrics, shape)
    if hasattr(job.data, "check"):
        job.data.check()
