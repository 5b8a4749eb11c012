"""What will be computed, and about how long it takes."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from sanity.analysis.health import outlives, survival
from sanity.experiment.effort import Times
from sanity.experiment.prepare import Experiment
from sanity.methods import Cost
from sanity.network.passes.backprop_rules import rule as rule_of
from sanity.progress import duration

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)


# What one gradient or forward pass has taken in this process, so that a sweep measures it once.
_seconds: "WeakKeyDictionary[Classifier, dict[tuple[Any, ...], float]]" = WeakKeyDictionary()


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
    if (seen := experiment.classifier.network.seen) is not None and seen.complaint:
        log.warning("%s: %s: see model.range", experiment.classifier.name, seen.complaint)
    for stage, facts in zip(experiment.stages, experiment.facts, strict=True):
        if facts:
            log.info("  %s: %s", stage.layer or "as trained", _said(facts))
    if said := survival(experiment.survives):
        none = "; no verdict is given" if outlives(experiment.survives) else ""
        log.warning("%s%s", said, none)
    row = "  %-37s %9s %14s"
    log.info(row, "an image and stage", "gradients", "forward passes")
    asked = Cost()
    for name, method in job.methods.items():
        cost = method.cost(experiment.classifier, experiment.images)
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
    compared = rule_of(rule).needs_baseline

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
