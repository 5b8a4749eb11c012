"""A job's model and images, loaded and checked."""

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.health import outlives, survival
from sanity.analysis.judged import least_images
from sanity.analysis.verdicts import CASCADE
from sanity.config.job import Job, check_deciding
from sanity.data import Folder, Images, ImageSpec
from sanity.data import targets as explained_classes
from sanity.errors import ConfigError
from sanity.experiment.explaining import count_at_once, gradient_plan, mask_bytes
from sanity.experiment.references import Others, choose_references
from sanity.methods import Cost, Plan
from sanity.metrics import check_sizes
from sanity.models.kept import load_kept
from sanity.network.tensorflow import start_tensorflow
from sanity.randomization.own import stages_of
from sanity.randomization.stage import predicted as predicted_classes
from sanity.randomization.stage import randomized

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier
    from sanity.randomization.stage import Stage


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """A job whose model and images are loaded.

    Attributes:
        job: What was asked for.
        classifier: The network.
        images: What is explained.
        targets: (n,), the class explained of each image at stage 0; None if it is the one that the
            network predicts.
        stages: The states of the weights.
        layers: The blocks chosen, from output to input.
        left_out: Methods, and metrics as `metric.NAME`, that do not fit the model and that nobody
            asked for by name, and why.
    """

    job: Job
    classifier: "Classifier"
    images: Images
    targets: np.ndarray | None
    stages: list["Stage"]
    layers: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def plan(self) -> Plan:
        """The gradients that the methods share."""
        return gradient_plan(self.job.methods)

    @cached_property
    def cost(self) -> Cost:
        """What an image asks for at a stage, shared gradients once."""
        total = Cost(gradients=self.plan.distinct)
        for method in self.job.methods.values():
            total += method.cost(self.classifier, self.images)
        return total

    @property
    def least(self) -> int | None:
        """How many images can decide, where there are fewer in all shards; None elsewhere."""
        job, names = self.job, self.job.data.names_of_all()
        methods = [method for method in job.methods.values() if not method.control]
        if job.randomization.cascade() != CASCADE or job.primary is None or not methods:
            return None
        least = least_images(len(methods), job.settings.verdict)
        return least if len(self.images if names is None else names) < least else None

    @cached_property
    def others(self) -> Others | None:
        """The images that nulls are made with; None where they are made without other images."""
        job, images = self.job, self.images
        if job.settings.null_model != "other_image":
            return None
        spec = ImageSpec.of(self.classifier)
        chosen = choose_references(job.data, images, spec, job.settings.null_images)
        if len(chosen) == 1 and chosen.names == images.names:
            return None
        targets = explained_targets(job, self.classifier, chosen)
        if targets is None:
            targets = self.classifier.logits(chosen.x).argmax(axis=1)
        return Others(chosen, targets)

    @property
    def beside(self) -> int:
        """How many images are explained once more, as trained: those that nulls are made with."""
        return 0 if self.others is None else len(self.others.images)

    @property
    def nulls(self) -> int:
        """How many masks a null is the mean over."""
        return self.beside or 1

    @property
    def mask_bytes(self) -> int:
        """Bytes of an image's masks at one stage, if all have channels."""
        return mask_bytes(self.images, self.job.methods)

    @property
    def at_once(self) -> int:
        """How many images go through the stages together."""
        n_images, n_stages = len(self.images), len(self.stages)
        return count_at_once(
            n_images,
            self.mask_bytes,
            n_stages,
            self.plan.fewest,
            on_card=self.classifier.on_card,
        )

    @property
    def begins_at_output(self) -> bool:
        """Whether the first randomized stage takes the network's last kernel."""
        return not set(self.classifier.network.last_kernels).isdisjoint(
            n for stage in self.stages[1:2] for n in stage.new
        )

    @cached_property
    def survives(self) -> dict[str, Any] | None:
        """How many learned parameters survive, of how many, and which; None if all may.

        Constants that the images are multiplied by count: whatever they learned, it stays.
        """
        survivors = self.job.randomization.survivors(self.classifier, self.layers)
        if survivors is None:
            return None
        parameters = self.classifier.parameters
        constants = self.classifier.network.constant_kernels
        fixed = sum(constants.values())
        return {
            "parameters": sum(parameters[name].size for name in survivors) + fixed,
            "of": sum(p.size for p in parameters.values() if p.learned) + fixed,
            "variables": [*survivors, *constants],
        }

    @property
    def survival(self) -> str | None:
        """What stays as trained though it should not, and what follows; None if nothing does."""
        said = survival(self.survives)
        return f"{said}; no verdict is given" if said and outlives(self.survives) else said

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """How large each block is and what of it is random by stage, see `randomized`."""
        return randomized(self.classifier.blocks, self.classifier.parameters, self.stages)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What is known of each stage's network, e.g. its accuracies where it was trained here."""
        trained = self.classifier.facts
        return [dict(stage.facts if stage.index else trained) for stage in self.stages]


def prepare(job: Job) -> Experiment:
    """Loads a job's model and images, and checks what could not be checked before.

    Raises:
        ConfigError: Something asked for does not fit the model.
    """
    settings = job.settings
    start_tensorflow(settings.runtime.threads)
    from sanity.network.precision import check_precision

    check_precision(settings.precision)
    classifier = load_kept(job.model, job.config["model"], dry=settings.dry_run)
    classifier.batch_size = settings.runtime.first_batch_size
    classifier.precision = settings.precision
    layers = job.layers.select(classifier.blocks)
    stages = stages_of(job.randomization, classifier, layers, settings.seed)
    left_out = _refused(job, classifier)
    methods = {name: method for name, method in job.methods.items() if name not in left_out}
    small = check_sizes(job.metrics, classifier.input_shape, job.demanded_metrics)
    for why in small.values():
        log.warning("left out: %s", why)
    metrics = {name: metric for name, metric in job.metrics.items() if name not in small}
    job = replace(job, methods=methods, metrics=metrics)
    check_deciding(job)
    left_out |= {f"metric.{name}": why for name, why in small.items()}
    _check_number(job, classifier)
    images = job.data.open(ImageSpec.of(classifier))
    targets = explained_targets(job, classifier, images)
    if settings.target == "predicted_each_stage":
        stages = [replace(stage, classes=predicted_classes) for stage in stages]
    return Experiment(job, classifier, images, targets, stages, layers, left_out)


def explained_targets(job: Job, classifier: "Classifier", images: Images) -> np.ndarray | None:
    """The class explained of each image at stage 0, (n,); None if it is the one predicted.

    Raises:
        ConfigError: See `sanity.data.targets`.
    """
    if job.settings.target in ("predicted", "predicted_each_stage"):
        return None
    return explained_classes(
        job.settings.target,
        None,
        images,
        classifier.n_classes,
        classifier.class_names,
        classifier.class_offset,
    )


def _check_number(job: Job, classifier: "Classifier") -> None:
    """Refuses labels for a model that gives a number (ConfigError)."""
    if classifier.ending.link != "none" or classifier.n_classes > 1:
        return
    labelled = isinstance(job.data, Folder) and job.data.labels is not None
    if job.settings.target == "label" or labelled:
        key = "target=label" if job.settings.target == "label" else "data.labels"
        raise ConfigError(
            f"{key} is for classes, and {classifier.name} gives one number without a sigmoid, a "
            "regression: if it is the logit of two classes, say model.activation=sigmoid"
        )


def _refused(job: Job, classifier: "Classifier") -> dict[str, str]:
    """The methods that the model does not fit, and why.

    Raises:
        ConfigError: One of them was asked for by name, or none is left.
    """
    refused: dict[str, str] = {}
    for name, method in job.methods.items():
        try:
            method.check(classifier)
        except ConfigError as error:
            refused[name] = str(error)
    kept = [name for name in job.methods if name not in refused]
    for name, why in refused.items():
        if name in job.demanded or not kept:
            instead = f"; 'method=[{','.join(kept)}]' leaves it out" if kept else ""
            raise ConfigError(f"method.{name}: {why.rstrip('.')}{instead}")
        log.warning("method.%s is left out: %s", name, why)
    return refused
