"""The experiment: a job from its model to its run folder; plain Python, usable without Hydra."""

import logging
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from sanity.article import printed
from sanity.classifiers import loaded
from sanity.config import Job, compose
from sanity.data import Images
from sanity.data import targets as explained_classes
from sanity.effort import Effort, Times
from sanity.errors import ConfigError
from sanity.explain import explain, gradient_plan, groups
from sanity.methods import Cost, Plan, own_cost
from sanity.metrics import check_sizes
from sanity.originals import originals
from sanity.predictions import class_name, complaint, predictions
from sanity.progress import duration, progress, shown
from sanity.randomization import predicted as predicted_classes
from sanity.randomization import randomized
from sanity.reference import calibrate
from sanity.report.run import IMAGES, finish
from sanity.report.summary import missing, summary
from sanity.results import RunFolder, masks_nbytes
from sanity.runtime import start_tensorflow
from sanity.scoring import Scorer
from sanity.verdict import is_control, records, table, verdicts

if TYPE_CHECKING:
    import pandas as pd

    from sanity.classifier import Classifier
    from sanity.randomization import Stage

log = logging.getLogger(__name__)

_CALIBRATED = 20  # images whose masks metrics are calibrated with, at the most
# What one gradient or forward pass has taken in this process, so that a sweep measures it once.
_seconds: "WeakKeyDictionary[Classifier, dict[tuple, float]]" = WeakKeyDictionary()
_VERSIONS = ("sanity", "tensorflow", "tensorflow-hub", "keras", "saliency", "numpy", "scikit-image")


def run(
    job: Job | None = None, *, overrides: Sequence[str] = (), hydra: dict[str, Any] | None = None
) -> Path:
    """Runs a job, or what is left of it, and returns its folder.

    Args:
        job: A checked job; without one, the configuration is composed from `overrides`.
        overrides: As on the command line: `["seed=1", "data.limit=1"]`.
        hydra: Hydra's own configuration, kept beside the results.

    Raises:
        ConfigError: Something asked for cannot be done.
    """
    job = job or compose(overrides)
    execute(job, hydra)
    return job.folder.absolute()


def execute(job: Job, hydra: dict[str, Any] | None = None) -> str:
    """Runs a job as `run` does, and says what it did: a state of `sanity.sweep.STATES`."""
    logging.getLogger("sanity").setLevel(job.settings.runtime.log_level.upper())
    with shown(job.settings.runtime.progress):
        return _execute(job, hydra)


def _execute(job: Job, hydra: dict[str, Any] | None) -> str:
    settings = job.settings
    if settings.dry_run:
        announce(prepare(job))
        return "shown"
    with RunFolder.open(
        job.folder, job.config, job.overrides, hydra, force=settings.force
    ) as folder:
        if folder.status == "completed":
            log.info("%s is there already; force=true computes it again", folder.path)
            if not (folder.path / "report.html").exists():  # it was killed before its last step
                finish(folder.path)
            return "already"
        experiment = prepare(job)
        folder.start(_facts(experiment))
        with _log_file(folder.log_path):
            _compute(experiment, folder, announce(experiment))
    return "finished"


@dataclass(frozen=True)
class Experiment:
    """A job whose model and images are loaded.

    Attributes:
        job: What was asked for.
        classifier: The network.
        images: What is explained.
        targets: (n,), the class explained of each image at stage 0.
        stages: The states of the weights.
    """

    job: Job
    classifier: "Classifier"
    images: Images
    targets: np.ndarray
    stages: list["Stage"]

    @cached_property
    def plan(self) -> Plan:
        """The gradients that the methods share."""
        return gradient_plan(self.job.methods)

    @cached_property
    def cost(self) -> Cost:
        """What an image asks for at a stage, shared gradients once."""
        total = Cost(gradients=self.plan.distinct)
        for method in self.job.methods.values():
            total += own_cost(method, self.classifier, self.images)
        return total

    @property
    def begins_at_output(self) -> bool:
        """Whether the first randomized stage takes the network's last kernel."""
        return not set(self.classifier.last_kernels).isdisjoint(
            n for stage in self.stages[1:2] for n in stage.new
        )

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
    classifier = loaded(job)
    classifier.batch_size = settings.runtime.batch_size
    classifier.precision = settings.precision
    layers = job.layers.select(classifier.blocks)
    stages = job.randomization.stages(classifier, layers, settings.seed)
    for name, method in job.methods.items():
        _check(name, method, classifier)
    check_sizes(job.metrics, classifier.input_shape)
    shape, names, classes = classifier.input_shape, classifier.class_names, classifier.n_classes
    images = job.data.load(shape, classifier.class_offset, names, classes)
    predicted = classifier.logits(images.x).argmax(axis=1)
    targets = explained_classes(
        settings.target, predicted, images, classes, names, classifier.class_offset
    )
    if settings.target == "predicted_each_stage":
        stages = [replace(stage, classes=predicted_classes) for stage in stages]
    return Experiment(job, classifier, images, targets, stages)


def _check(name: str, method: Any, classifier: "Classifier") -> None:
    """Lets a method refuse a model that it does not fit, and says which method it was."""
    try:
        if hasattr(method, "check"):
            method.check(classifier)
    except ConfigError as error:
        raise ConfigError(f"method.{name}: {error}") from error


def announce(experiment: Experiment) -> Times:
    """Says how much will be computed, and about how long that takes; returns what a pass takes."""
    job, plan, n_images = experiment.job, experiment.plan, len(experiment.images)
    log.info(
        "%s explains %d images at %d stages by %d methods, scored by %d metrics",
        experiment.classifier.name,
        n_images,
        len(experiment.stages),
        len(job.methods),
        len(job.metrics),
    )
    for stage, facts in zip(experiment.stages, experiment.facts, strict=True):
        if facts:
            log.info("  %s: %s", stage.layer or "as trained", _said(facts))
    row = "  %-37s %9s %14s"
    log.info(row, "an image and stage", "gradients", "forward passes")
    asked = Cost()
    for name, method in job.methods.items():
        cost = own_cost(method, experiment.classifier, experiment.images)
        cost += Cost(gradients=plan.asked.get(name, 0))
        asked += cost
        log.info(row, name, cost.gradients, cost.forward)
    log.info(row, "together", asked.gradients, asked.forward)
    log.info(row, "shared ones once", experiment.cost.gradients, experiment.cost.forward)
    a_stage = experiment.cost * n_images
    total = a_stage * len(experiment.stages)
    log.info(row, "in all", total.gradients, total.forward)
    times = Times(
        _seconds_a_gradient(experiment, a_stage.gradients),
        _seconds_a_forward_pass(experiment, a_stage.forward),
    )
    each = [f"{times.gradient * 1e3:.0f} ms a gradient"] if total.gradients else []
    each += [f"{times.forward * 1e3:.0f} ms a forward pass"] if total.forward else []
    if each:
        log.info("  %s: about %s", ", ".join(each), duration(times.seconds(total)))
    return times


def _said(facts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{value} {name}"
        for name, value in facts.items()
    )


def _seconds_a_gradient(experiment: Experiment, count: int) -> float:
    """The time of one of so many gradients, in a batch of the rule with the most points."""
    classifier, points = experiment.classifier, experiment.plan.points
    rule = max(points, key=lambda rule: len(points[rule]), default="plain")
    compared = rule in points and hasattr(points[rule][0], "reference")

    def compute(inputs: np.ndarray, targets: np.ndarray) -> None:
        classifier.gradients(inputs, targets, rule, inputs if compared else None)

    return _seconds_each(experiment, count, rule, compute)


def _seconds_a_forward_pass(experiment: Experiment, count: int) -> float:
    """The time of one of so many forward passes."""

    def compute(inputs: np.ndarray, targets: np.ndarray) -> None:
        experiment.classifier.logits(inputs)

    return _seconds_each(experiment, count, "forward", compute)


def _seconds_each(
    experiment: Experiment,
    count: int,
    what: str,
    compute: Callable[[np.ndarray, np.ndarray], None],
) -> float:
    """The time of one of so many images in a batch, measured once for each size of it."""
    if not count:
        return 0.0
    size = min(max(count, 2), experiment.classifier.batch_size)
    known = _seconds.setdefault(experiment.classifier, {})
    if (what, size) in known:
        return known[what, size]
    which = np.resize(np.arange(len(experiment.images)), size)
    x, targets = experiment.images.x[which], experiment.targets[which]
    compute(x[:2], targets[:2])  # traces the graph
    start = time.perf_counter()
    compute(x, targets)
    known[what, size] = (time.perf_counter() - start) / size
    return known[what, size]


def _compute(experiment: Experiment, folder: RunFolder, times: Times) -> None:
    """Computes the units that are not there yet: a group of images at a stage each."""
    job, images, stages = experiment.job, experiment.images, experiment.stages
    told = _Predictions(experiment, folder)
    kept = job.settings.masks.count(len(images))
    shapes = folder.mask_shapes() if kept else None  # known where an earlier try came so far
    if shapes:
        _lay_out_masks(experiment, folder, kept, shapes)
    done = folder.done() if shapes or not kept else set()
    size = images.x[0].nbytes * len(job.methods)
    ranges = groups(len(images), size, len(stages), experiment.plan.fewest)
    unfinished = {g for g in ranges if any(_unit(g, stage) not in done for stage in stages)}

    def wanted(group: range, stage: "Stage") -> bool:
        # A group's original masks are needed again by any stage that is left.
        return group in unfinished and (stage.index == 0 or _unit(group, stage) not in done)

    left = sum(len(group) for group in ranges for stage in stages if wanted(group, stage))
    if len(ranges) > 1:  # for the null, the original of the image before a group's first
        left += sum(
            k == 0 or ranges[k - 1] not in unfinished
            for k, group in enumerate(ranges)
            if group in unfinished
        )
    if done:
        log.info("going on: %d of %d parts are there", len(done), len(ranges) * len(stages))
    scorer = Scorer(job.metrics, images, job.settings.null_model)
    effort = Effort(experiment.cost * left, times)
    with progress(effort.passes, "explaining", effort.unit) as tick:
        for explained in explain(
            experiment.classifier,
            images,
            experiment.targets,
            job.methods,
            stages,
            job.settings.seed,
            wanted=wanted,
            done=effort.done(tick),
            entered=told.at,
            originals=originals(job, experiment.classifier, images, experiment.targets),
        ):
            if not shapes:
                shapes = {name: masks.shape[1:] for name, masks in explained.masks.items()}
                _lay_out_masks(experiment, folder, kept, shapes)
            scores = scorer.score(explained)
            unit = _unit(explained.group, explained.stage)
            if unit not in done:
                where = slice(explained.group.start, explained.group.stop)
                for method, masks in explained.masks.items():
                    folder.write_masks(method, where, explained.stage.index, masks)
                folder.write_unit(unit, scores)
    predicted = told.all()
    scores = folder.scores()
    found, facts = _verdicts(experiment, folder, scores, predicted)
    folder.complete(facts)
    finish(folder.path)
    first = next(iter(job.metrics))
    shown = found[found["metric"] == first]
    for line in [*summary(scores, first).splitlines(), *table(shown).splitlines()]:
        log.info("%s", line)
    if said := missing(scores):
        log.info("%s", said)
    log.info("run.json has the verdicts by all metrics; sanity-compare shows them")
    log.info("results are in %s", folder.path)


def _verdicts(
    experiment: Experiment, folder: RunFolder, scores: "pd.DataFrame", predicted: "pd.DataFrame"
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """The verdicts, and what run.json records: them, and how the metrics are calibrated.

    Metrics are calibrated with stored masks; where none are stored, not at all.
    """
    job, some = experiment.job, slice(0, min(folder.kept, _CALIBRATED))
    targets = {name: node["_target_"] for name, node in job.config["method"].items()}
    controls = [name for name in job.methods if is_control(name, targets[name])]
    calibration = None
    if some.stop:
        masks = {m: folder.read_masks(m, some, 0) for m in job.methods if m not in controls}
        names = experiment.images.names[some]
        calibration = calibrate(masks, names, job.metrics, job.settings.verdict)
    found = verdicts(
        scores,
        predicted,
        {name: getattr(metric, "identity", None) for name, metric in job.metrics.items()},
        job.config["randomization"].get("order"),
        begins_at_output=experiment.begins_at_output,
        thresholds=job.settings.verdict,
        calibration=calibration,
        controls=controls,
    )
    facts = {"verdicts": found} | ({} if calibration is None else {"calibration": calibration})
    return found, {name: records(frame) for name, frame in facts.items()}


def _unit(group: range, stage: "Stage") -> str:
    return f"g{group.start:06d}-s{stage.index:04d}"


def _lay_out_masks(
    experiment: Experiment, folder: RunFolder, kept: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    layers = [stage.layer for stage in experiment.stages]
    folder.create_masks(experiment.images.names[:kept], layers, shapes)
    some = min(kept, IMAGES)
    folder.write_images(experiment.images.names[:some], experiment.images.x[:some])
    size = masks_nbytes(kept, len(layers), shapes)
    of = "image" if kept == 1 else "images"
    log.info("masks of %d %s take up to %.0f MB", kept, of, size / 1e6)


class _Predictions:
    """The network's predictions at every stage; a line is logged for each.

    They are made stage by stage as the first batch goes through them: the weights of all stages
    take a while to make, and the first gradient need not wait for that.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder):
        self._experiment, self._folder = experiment, folder
        self._frames: dict[int, pd.DataFrame] = {}

    def at(self, stage: "Stage") -> None:
        """Makes those of a stage, whose weights are in place."""
        experiment = self._experiment
        classifier = experiment.classifier
        frame = predictions(classifier, experiment.images, experiment.targets, stage)
        log.info("%s", _stage_line(stage, frame, classifier))
        if experiment.job.settings.figures == "stages":
            for line in printed(stage, frame, classifier.class_names):
                log.info("%s", line)
        if said := complaint(frame, experiment.job.settings.verdict.dead):
            log.warning("stage %2d  %s; its masks say nothing", stage.index, said)
        self._frames[stage.index] = frame
        if len(self._frames) == len(experiment.stages):
            self._folder.write_predictions(self._joined())

    def all(self) -> "pd.DataFrame":
        """Those of all stages, which are stored by then; the trained weights are back in place."""
        classifier = self._experiment.classifier
        with classifier.restored():
            for stage in self._experiment.stages:
                if stage.index not in self._frames:  # where an earlier try had come so far
                    classifier.set_weights(stage.weights(), stage.index)
                    self.at(stage)
        return self._joined()

    def _joined(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.concat([self._frames[k] for k in sorted(self._frames)], ignore_index=True)


def _stage_line(stage: "Stage", frame: "pd.DataFrame", classifier: "Classifier") -> str:
    changed = len(stage.new or stage.variables)
    verb = "learned anew" if stage.facts else "randomized"
    what = f"{stage.layer}: {changed} variables {verb}" if changed else stage.change
    shown = _counted(frame["predicted"], classifier)
    if stage.classes and not changed and stage.index:  # the network says what it said
        what += f": explained {_counted(frame['target'], classifier)}"
    probability = frame["target_probability"].mean()
    share = frame["between_share"].iloc[0]
    apart = "" if np.isnan(share) else f"; logits differ between images: {share:.2f}"
    return (
        f"stage {stage.index:2d}  {what}; predicted {shown}; "
        f"target's probability {probability:.2g}{apart}"
    )


def _counted(classes: "pd.Series", classifier: "Classifier") -> str:
    """The first three classes, with how many images each has if that is more than one."""
    said = Counter(classes)
    labels = [
        f"{k} {class_name(classifier, k)}" + (f" (x{n})" if n > 1 else "") for k, n in said.items()
    ]
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _facts(experiment: Experiment) -> dict[str, Any]:
    """What run.json records besides the configuration."""
    classifier, images = experiment.classifier, experiment.images
    return {
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in _VERSIONS},
        "machine": platform.platform(),
        "batch_size": classifier.batch_size,
        "counts": {
            "images": len(images),
            "stages": len(experiment.stages),
            "methods": len(experiment.job.methods),
            "metrics": len(experiment.job.metrics),
            "gradients": experiment.plan.distinct * len(images) * len(experiment.stages),
        },
        "layers": [stage.layer for stage in experiment.stages],
        "changes": [stage.change for stage in experiment.stages],
        "blocks": randomized(classifier.blocks, classifier.parameters, experiment.stages),
        "stages": experiment.facts,
        "begins_at_output": experiment.begins_at_output,
        "depths": [stage.depth for stage in experiment.stages],
        "sha256": {
            "model": classifier.sha256,
            "images": dict(zip(images.names, images.sha256, strict=True)),
        },
    }


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Everything that is logged goes to the run's log as well."""
    root = logging.getLogger()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
