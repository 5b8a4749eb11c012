"""From a composed configuration to a checked job, before TensorFlow is imported."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sanity.analysis.objective import check_objective, objective
from sanity.analysis.thresholds import Thresholds, primary_metric
from sanity.checked import as_wanted, instantiate, make, with_current_targets, with_wanted_types
from sanity.config.chosen import choose, demanded_of, listed, refuse_bare, refuse_idle
from sanity.config.given import ONE, SEVERAL, Overrides, check, words
from sanity.config.hydra_api import given_overrides, uninterpolated
from sanity.config.options import (
    choose_in_preset,
    conf_folder,
    look_in,
    options,
    own_hydra,
    with_open_keys,
)
from sanity.config.sentences import sentence
from sanity.config.settings import Masks, Runtime, Settings
from sanity.config.shares import take_share
from sanity.config.variants import with_variants
from sanity.contents import by_content
from sanity.data import Dataset, as_dataset
from sanity.errors import ConfigError, shown
from sanity.methods import Method, as_method
from sanity.metrics import MaskMetric, as_metric, check_sizes
from sanity.models import Model, as_model
from sanity.randomization import Layers, Scheme, as_layers, as_scheme
from sanity.results.columns import RESULTS_FORMAT, counts

log = logging.getLogger(__name__)


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
        demanded: The methods that were named there for this job: one that the model refuses is a
            mistake, where another is left out.
        demanded_metrics: Likewise the metrics.
    """

    settings: Settings
    model: Model
    data: Dataset
    layers: Layers
    randomization: Scheme
    methods: dict[str, Method]
    metrics: dict[str, MaskMetric]
    config: dict[str, Any]
    choices: dict[str, Any]
    overrides: list[str]
    demanded: frozenset[str] = frozenset()
    demanded_metrics: frozenset[str] = frozenset()

    @property
    def run_id(self) -> str:
        """A readable slug and a hash of all that determines the results."""
        text = json.dumps([RESULTS_FORMAT, self.content], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        names = [
            str(self.choices.get(group, group)) for group in ("model", "data", "randomization")
        ]
        return "-".join([*names, f"seed{self.settings.seed}", digest])

    @cached_property
    def content(self) -> dict[str, Any]:
        """The configuration as far as it makes a run, with digests of content where paths stood.

        Raises:
            ConfigError: A file cannot be read.
        """
        found = {key: value for key, value in self.config.items() if counts(key).identity}
        for group in ONE:
            found[group] = by_content(found[group], getattr(self, group))
        for group, made in (("method", self.methods), ("metric", self.metrics)):
            found[group] = {name: by_content(found[group][name], made[name]) for name in made}
        return found

    def objectives(self) -> tuple[float, ...]:
        """The numbers that `objective` names, of the completed run (ConfigError: it has none)."""
        early = self.settings.verdict.early
        return tuple(objective(self.folder, name, early) for name in self.settings.wanted)

    @property
    def primary(self) -> str | None:
        """The metric that decides; None if none can.

        Raises:
            ConfigError: The one asked for cannot.
        """
        return primary_metric(self.metrics, self.settings.verdict.primary)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.settings.output) / self.settings.name / self.run_id


def resolve(
    config: DictConfig,
    choices: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    sweep: bool = False,
    scored: bool = True,
) -> Job:
    """Checks a composed configuration and makes what it names.

    Args:
        config: As Hydra composed it, without Hydra's own node.
        choices: The option chosen in each group.
        overrides: What was overridden.
        sweep: Whether it is one job of several, which are not all meant for all methods.
        scored: Whether it is to be computed: else masks may be too small for its metrics.

    Raises:
        ConfigError: A key, a type or a value is wrong.
    """
    _say_twice(overrides)
    config = with_variants(config, SEVERAL)
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{missing[0]} must be given: {missing[0]}=…")
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]  # of a dict, a dict
    _refuse_unpacked(plain.pop("experiment", None), choices or {})
    plain = with_current_targets(plain)
    settings = _settings(plain)
    for group in SEVERAL:
        refuse_bare(group, plain.get(group), overrides)
        chosen = choose(group, plain.get(group))
        plain[group] = {k: with_wanted_types(v, f"{group}.{k}") for k, v in chosen.items()}
        if not sweep:
            refuse_idle(group, plain[group], overrides)
    for group in ONE:
        if not isinstance(plain.get(group), dict):
            if isinstance(given := plain.get(group), str) and given in options(group):
                raise ConfigError(
                    f"{group}={given} is set as a value: {choose_in_preset(group, given)}"
                )
            given = shown(given)
            raise ConfigError(f"{group}={given} must be one of: {listed(group)}")
        plain[group] = with_wanted_types(plain[group], group)
    plain["data"] = take_share(plain["data"])
    job = Job(
        settings=settings,
        model=as_model(instantiate(plain["model"], "model"), "model._target_"),
        data=as_dataset(instantiate(plain["data"], "data"), "data._target_"),
        layers=as_layers(instantiate(plain["layers"], "layers"), "layers._target_"),
        randomization=as_scheme(
            instantiate(plain["randomization"], "randomization"), "randomization._target_"
        ),
        methods={
            name: as_method(instantiate(node, f"method.{name}"), f"method.{name}._target_")
            for name, node in plain["method"].items()
        },
        metrics={
            name: as_metric(instantiate(node, f"metric.{name}"), f"metric.{name}._target_")
            for name, node in plain["metric"].items()
        },
        config=plain,
        choices={**(choices or {}), **{group: list(plain[group]) for group in SEVERAL}},
        overrides=list(overrides),
        demanded=frozenset() if sweep else demanded_of("method", plain, overrides),
        demanded_metrics=frozenset() if sweep else demanded_of("metric", plain, overrides),
    )
    _check_together(job)
    if scored and (shape := job.model.declared().input_shape):
        check_sizes(job.metrics, shape, job.demanded_metrics)
    return job


def compose(
    overrides: Overrides = (),
    config_dir: str | os.PathLike[str] | None = None,
    *,
    sweep: bool = False,
    scored: bool = True,
) -> Job:
    """The checked job for some overrides, without a command line.

    Args:
        overrides: As on the command line, `["seed=1", "method=[gradient]"]`, or by key,
            `{"seed": 1, "method": ["gradient"]}`.
        config_dir: A folder of YAMLs of one's own, as of `--config-dir`.
        sweep: See `resolve`.
        scored: See there.

    Raises:
        ConfigError: A key, a type or a value is wrong.
    """
    import hydra

    given = with_open_keys(words(overrides))
    check(given, sweep=False)
    with look_in(config_dir, given), own_hydra(config_dir):
        try:
            config = hydra.compose("config", given, return_hydra_config=True)
            return composed(config, given, sweep=sweep, scored=scored)
        except Exception as error:
            text = sentence(error)
            if text is None or isinstance(error, ConfigError):
                raise
            raise ConfigError(text) from error


def composed(
    config: DictConfig,
    overrides: Sequence[str] = (),
    *,
    sweep: bool = False,
    scored: bool = True,
) -> Job:
    """The checked job of a configuration that was composed with Hydra's own node.

    Args:
        config: As `hydra.compose("config", …, return_hydra_config=True)` gives it.
        overrides: What was overridden.
        sweep: See `resolve`.
        scored: See there.

    Raises:
        ConfigError: A key, a type or a value is wrong, or Hydra's own node is missing.
    """
    if "hydra" not in config:
        raise ConfigError(
            "the configuration must be composed with return_hydra_config=True: without Hydra's own "
            "node it does not say which options were chosen"
        )
    refuse_own_folders(config.hydra)
    choices = dict(config.hydra.runtime.choices)
    overrides = overrides or given_overrides(config.hydra)
    _say_sweep(choices.get("experiment"), config.hydra.sweeper.get("params"), overrides)
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return resolve(ours, choices, overrides, sweep=sweep, scored=scored)


def refuse_own_folders(hydra: DictConfig) -> None:
    """Refuses another folder of Hydra's than ours: a run's is made of what it is (ConfigError).

    Args:
        hydra: Hydra's own node.
    """
    ours = _our_hydra()
    for key in ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir", "job.chdir"):
        node, _, name = key.rpartition(".")
        here = hydra if not node else hydra[node]
        found = uninterpolated(here, name)
        wanted = ours[node] if node else ours
        if found != wanted[name]:
            raise ConfigError(
                f"hydra.{key}={found} is not taken, as a run's folder is OUTPUT/NAME/RUN_ID, whose "
                "id is made from what is computed: output=FOLDER and name=NAME say where"
            )


@cache
def _our_hydra() -> dict[str, Any]:
    """Hydra's own node as config.yaml has it."""
    ours: Any = OmegaConf.to_container(OmegaConf.load(conf_folder() / "config.yaml"))
    found: dict[str, Any] = ours["hydra"]
    return found


def _refuse_unpacked(node: Any, choices: Mapping[str, Any]) -> None:
    """Refuses a preset whose keys would all stand below `experiment`, where nobody reads them."""
    if isinstance(node, dict) and node:
        raise ConfigError(
            f"experiment={choices.get('experiment', '…')} sets experiment.{next(iter(node))}, "
            "which is no key: the first line of its YAML must be # @package _global_"
        )


def _say_twice(overrides: Sequence[str]) -> None:
    """Says which override another one takes the place of: the last of two counts."""
    last: dict[str, str] = {}
    for text in overrides:
        key = text.partition("=")[0]
        if last.get(key, text) != text:
            log.warning("%s counts, not %s, which stands before it", text, last[key])
        last[key] = text


def _say_sweep(
    preset: str | None, params: Mapping[str, Any] | None, overrides: Sequence[str]
) -> None:
    """Says that a preset is a sweep, of which this is one job."""
    given = [override.lstrip("+").partition("=")[0] for override in overrides]
    left = [f"{key}={value}" for key, value in (params or {}).items() if key not in given]
    if left:
        log.warning(
            "experiment=%s is a sweep over %s, and this is one job, with the values that are set: "
            "the command line (python -m sanity experiment=%s) runs them all",
            preset,
            " and ".join(left),
            preset,
        )


def _settings(plain: dict[str, Any]) -> Settings:
    """The keys outside the groups, which are put into the configuration as they are wanted."""
    nested: dict[str, Any] = {"masks": Masks, "verdict": Thresholds, "runtime": Runtime}
    outside = {k: v for k, v in plain.items() if k not in ONE + SEVERAL}
    parts = {key: outside.pop(key) for key in nested if isinstance(outside.get(key), dict)}
    outside = as_wanted(Settings, outside)
    parts = {key: as_wanted(nested[key], part) for key, part in parts.items()}
    plain |= outside | parts
    made = {key: make(nested[key], part, key) for key, part in parts.items()}
    return make(Settings, {**outside, **made}, "")


def check_deciding(job: Job) -> None:
    """Refuses a metric that decides, or an objective, which the job does not have (ConfigError)."""
    job.primary  # noqa: B018 - refuses one that cannot decide
    for wanted in job.settings.wanted:
        check_objective(wanted, job.methods, job.metrics)


def _check_together(job: Job) -> None:
    """What can be known about a job before its model is loaded."""
    declared, target = job.model.declared(), job.settings.target
    name = job.config["model"]["_target_"].rpartition(".")[2]
    job.randomization.check_model(job.model, name, declared.n_classes)
    job.randomization.check_target(target)
    if declared.blocks:
        job.layers.select(declared.blocks)
    classes = declared.n_classes
    if classes and isinstance(target, int) and target >= classes:
        raise ConfigError(f"target={target} must be a class from 0 to {classes - 1}, or its name")
    check_deciding(job)
    for key, metric in job.metrics.items():
        metric.check_settings(f"metric.{key}")
        metric.check_regions(job.data.has_regions, type(job.data).__name__)
    job.data.check()
