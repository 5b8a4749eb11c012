"""What will be computed, and about how long it takes."""

import itertools
import logging
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from sanity.data import Images
from sanity.experiment.effort import Times
from sanity.experiment.prepare import Experiment
from sanity.methods import Cost
from sanity.metrics import MaskMetric
from sanity.progress import duration, short
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier
    from sanity.randomization.stage import Stage

log = logging.getLogger(__name__)
WIDTH = 78  # of what is printed, columns

# What one gradient or forward pass has taken in this process, so that a sweep measures it once.
_seconds: "WeakKeyDictionary[Classifier, dict[tuple[str, int], tuple[float, float]]]" = (
    WeakKeyDictionary()
)


def announce(experiment: Experiment) -> Times:
    """Says what is asked, what will be computed, and about how long that takes.

    Returns what a pass takes.
    """
    job, classifier = experiment.job, experiment.classifier
    if (seen := classifier.network.seen) is not None and seen.complaint:
        log.warning("%s: %s: see model.range", classifier.name, seen.complaint)
    for line in _question(experiment):
        log.info("%s", line)
    for stage, facts in zip(experiment.stages, experiment.facts, strict=True):
        if facts:
            log.info("  %s: %s", stage.layer or "as trained", _said(facts))
    if said := experiment.survival:
        log.warning("%s", said)
    if job.settings.dry_run:
        _show_costs(experiment)
    units = len(experiment.images) * len(experiment.stages)
    total = experiment.cost * (units + experiment.beside)
    times = Times(
        _seconds_a_gradient(experiment, experiment.cost.gradients * len(experiment.images)),
        _seconds_a_forward_pass(experiment, experiment.cost.forward * len(experiment.images)),
    )
    scoring = _seconds_a_mask(job.metrics, experiment.images, job.settings.null_images)
    seconds = times.seconds(total) + scoring * units * len(job.methods)
    passes = [f"{total.gradients:,} gradients of {short(times.gradient * 1e3)} ms"]
    passes = passes if total.gradients else []
    passes += [f"{total.forward:,} forward passes of {short(times.forward * 1e3)} ms"] * bool(
        total.forward
    )
    if passes:
        log.info("  %s: about %s", ", ".join(passes), duration(seconds))
    return times


def _question(experiment: Experiment) -> list[str]:
    """What a run asks, of which methods, on how much, in lines."""
    job, stages, images = experiment.job, experiment.stages, experiment.images
    controls = [name for name, method in job.methods.items() if method.control]
    methods = [name for name in job.methods if name not in controls]
    name = experiment.classifier.name
    metrics = [f"{m} (decides)" if m == job.primary else m for m in job.metrics]
    least = experiment.least
    too_few = f"{least} images or more can decide; fewer say where a verdict leans" if least else ""
    paragraphs = [
        f"Which of these maps change when {name} {_loss(stages, job.randomization.cascade())}?",
        f"{_counted(methods, 'method')}: {', '.join(methods)}" if methods else "",
        f"{_counted(controls, 'control')}: {', '.join(controls)}" if controls else "",
        f"{_counted(images, 'image')} at {_counted(stages, 'stage')}, compared by "
        f"{', '.join(metrics)}",
        too_few,
    ]
    return [
        line
        for number, text in enumerate(paragraphs)
        for line in textwrap.wrap(
            text,
            WIDTH,
            initial_indent="  " * (number > 0),
            subsequent_indent="    " if number else "",
            break_on_hyphens=False,
        )
    ]


def _loss(stages: Sequence["Stage"], order: str | None) -> str:
    """What befalls the network, in words."""
    changed = stages[1:] or stages[:1]
    first, last = changed[0], changed[-1]
    if not last.index:
        return "is as it was trained"
    if last.facts:
        return f"learns {last.layer} instead"
    if not last.variables:
        return f"is asked otherwise: {last.layer}"
    if last is first:
        what = "all that it has learned"
        return f"loses {what}" if last.layer == "all" else f"loses {what} in {last.layer}"
    blocks = "in one block at a time" if order == "independent" else "block by block"
    return f"loses what it has learned, {blocks} from {first.layer} to {last.layer}"


def _counted(things: Sized, what: str) -> str:
    return f"{len(things)} {what}{'s' * (len(things) != 1)}"


def _show_costs(experiment: Experiment) -> None:
    """A table of what each method asks for."""
    job, plan, images = experiment.job, experiment.plan, experiment.images
    row = "  %-37s %9s %14s"
    log.info(row, "an image and stage", "gradients", "forward passes")
    asked = Cost()
    for name, method in job.methods.items():
        cost = method.cost(experiment.classifier, images)
        cost += Cost(gradients=plan.asked.get(name, 0))
        asked += cost
        log.info(row, name, cost.gradients, cost.forward)
    log.info(row, "together", asked.gradients, asked.forward)
    log.info(row, "shared ones once", experiment.cost.gradients, experiment.cost.forward)
    total = experiment.cost * (len(images) * len(experiment.stages))
    log.info(row, "in all", total.gradients, total.forward)


def _said(facts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{value} {name}"
        for name, value in facts.items()
    )


def _seconds_a_gradient(experiment: Experiment, count: int) -> float:
    """The time of one of so many gradients, in a batch of the rule with the most points.

    A stage computes anew only what has changed since the one before (see `network.passes.segments`)
    on the way forward, and all of the way back: the mean over the stages.
    """
    from sanity.network.passes.backprop_rules import rule as rule_of

    classifier, points = experiment.classifier, experiment.plan.points
    rule = max(points, key=lambda rule: len(points[rule]), default="plain")
    compared = rule_of(rule).needs_baseline

    def start(inputs: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
        gradients = classifier.batch_gradient(inputs, rule, inputs if compared else None)
        return lambda: gradients(targets)

    whole, back = _seconds_each(experiment, count, rule, start)
    if not count:
        return 0.0
    shares = [1.0]
    for before, stage in itertools.pairwise(experiment.stages):
        changed = set(before.variables) ^ set(stage.variables) | set(stage.new)
        shares.append(classifier.share_anew(changed, rule))
    return back + max(0.0, whole - back) * sum(shares) / len(shares)


def _seconds_a_forward_pass(experiment: Experiment, count: int) -> float:
    """The time of one of so many forward passes."""

    def start(inputs: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
        return lambda: experiment.classifier.logits(inputs)

    return _seconds_each(experiment, count, "forward", start)[0]


def _seconds_each(
    experiment: Experiment,
    count: int,
    what: str,
    start: Callable[[np.ndarray, np.ndarray], Callable[[], object]],
) -> tuple[float, float]:
    """The time of one of so many images in a batch, measured once for each size of it.

    Args:
        experiment: The job.
        count: How many there will be.
        what: Is measured.
        start: Takes a batch and gives what computes it.

    Returns:
        That of the first computation of a batch, and of the same once more.
    """
    if not count:
        return 0.0, 0.0
    size = min(max(count, 2), experiment.classifier.batch_size)
    known = _seconds.setdefault(experiment.classifier, {})
    if (what, size) in known:
        return known[what, size]
    some = experiment.images.take(range(min(size, len(experiment.images)))).x
    x, targets = some[np.resize(np.arange(len(some)), size)], np.zeros(size, np.int64)
    start(x[:2], targets[:2])()  # traces the graph
    compute = start(x, targets)
    first, again = _timed(compute), _timed(compute)
    known[what, size] = first / size, again / size
    return known[what, size]


def _seconds_a_mask(metrics: Mapping[str, MaskMetric], images: Images, nulls: int) -> float:
    """The time of a mask's scores and nulls by all metrics."""
    mask = generator("timed mask").standard_normal((1, *images.x.shape[1:]), np.float32)

    def scored() -> None:
        for metric in metrics.values():
            if not metric.needs_regions:
                features = metric.features(mask)
                for _ in range(1 + nulls):
                    metric.compare(features, features)

    return _timed(scored)


def _timed(compute: Callable[[], object]) -> float:
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start
