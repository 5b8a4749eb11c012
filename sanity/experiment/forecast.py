"""How long a job takes, reckoned from one measured batch."""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from sanity.data import Images
from sanity.experiment.effort import Times
from sanity.experiment.prepare import Experiment
from sanity.metrics import MaskMetric
from sanity.randomness import generator
from sanity.report.display import STYLES
from sanity.report.finish import GRIDS, SCREENS

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

# Seconds on one core of a Xeon of 2023 that curves and page take, and one mask in a figure.
_PAGE = 3.0
_PICTURE = 0.0075


@dataclass
class _Measured:
    """What has been measured with a network in this process, so that a sweep does so once.

    Attributes:
        passes: Seconds an image of a batch and of the same once more, by what and batch size.
        segments: Seconds of each segment on the way forward, by rule.
        tracing: Seconds that a rule's graphs took to trace; 0 for one that is counted already.
    """

    passes: dict[tuple[str, int], tuple[float, float]]
    segments: dict[str, list[float]]
    tracing: dict[str, float]


# By precision.
_measured: "WeakKeyDictionary[Classifier, dict[str, _Measured]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Forecast:
    """What a job takes once model and images are loaded, in seconds.

    Attributes:
        images: How many there are.
        each: Of each image, by what for.
        once: Whatever the number of images, by what for.
    """

    images: int
    each: Mapping[str, float]
    once: Mapping[str, float]

    def parts(self, devices: int = 1) -> dict[str, float]:
        """By what for, on the device with the most images of so many that share them."""
        images = math.ceil(self.images / devices)
        found = {name: seconds * images for name, seconds in self.each.items()}
        for name, seconds in self.once.items():
            found[name] = found.get(name, 0.0) + seconds
        return found

    def seconds(self, devices: int = 1) -> float:
        """In all, until the last of so many devices has done its share of the images."""
        return sum(self.parts(devices).values())


def measure_times(experiment: Experiment) -> Times:
    """Measures what a pass takes."""
    cost, count = experiment.cost, len(experiment.images)
    return Times(
        _seconds_a_gradient(experiment, cost.gradients * count),
        _seconds_a_forward_pass(experiment, cost.forward * count),
    )


def forecast(experiment: Experiment, times: Times) -> Forecast:
    """What a job takes; makes the weights of two stages to see how long that takes.

    Args:
        experiment: The job.
        times: What a pass takes.
    """
    job, stages, images = experiment.job, experiment.stages, experiment.images
    passes = times.seconds(experiment.cost)
    predicted = times.forward or _seconds_a_forward_pass(experiment, len(images))
    grids = min(GRIDS, job.settings.masks.count(len(images)))
    drawn = (grids + min(SCREENS, grids)) * len(STYLES) * len(stages) * len(job.methods)
    pictures = _PICTURE * drawn * (job.settings.figures != "none")
    page = _PAGE * (job.settings.report or job.settings.figures != "none")
    return Forecast(
        len(images),
        {
            "gradients and forward passes": (passes + predicted) * len(stages),
            "scores": seconds_a_mask(job.metrics, images, experiment.nulls)
            * len(stages)
            * len(job.methods),
            "figures and page": pictures / len(images),
        },
        {
            "gradients and forward passes": passes * experiment.beside + _tracing(experiment),
            "weights of the stages": _seconds_of_weights(experiment),
            "figures and page": page,
        },
    )


def _seconds_of_weights(experiment: Experiment) -> float:
    """The time to draw all stages' weights, and to re-estimate statistics under them.

    The first one entered pays for tracing, the next is as the others; both from the middle, as
    later ones of a cascade take longer. Nothing is left for networks that were trained here for a
    stage: that is done when the stages are made.
    """
    randomized = [stage for stage in experiment.stages if stage.variables]
    middle = (len(randomized) - 1) // 2
    found = [_timed(stage.make_weights) for stage in randomized[middle : middle + 2]]
    return sum(found) + found[-1] * (len(randomized) - len(found)) if found else 0.0


def _tracing(experiment: Experiment) -> float:
    """The time to trace the graphs of those rules that have not been measured."""
    known = _of(experiment.classifier).tracing
    took = max(known.values(), default=0.0)
    left = [rule for rule in experiment.plan.points if rule not in known]
    known |= dict.fromkeys(left, 0.0)  # another job of a sweep finds them traced
    return took * len(left)


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
    known = _of(classifier).segments
    if rule not in known:
        x = _batch(experiment, count)  # baselines go the same way beside the images
        whole_batch = np.concatenate([x, x]) if compared else x
        known[rule] = classifier.segment_seconds(whole_batch, rule)
    shares = [1.0]
    for before, stage in itertools.pairwise(experiment.stages):
        changed = set(before.variables) ^ set(stage.variables) | set(stage.new)
        shares.append(classifier.share_anew(changed, known[rule], rule))
    return back + max(0.0, whole - back) * sum(shares) / len(shares)


def _seconds_a_forward_pass(experiment: Experiment, count: int) -> float:
    """The time of one of so many forward passes."""

    def start(inputs: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
        return lambda: experiment.classifier.logits(inputs)

    return _seconds_each(experiment, count, "forward", start)[0]


def _batch(experiment: Experiment, count: int) -> np.ndarray:
    """As many images as go through the network at once where there are so many in all."""
    size, images = min(max(count, 2), experiment.classifier.batch_size), experiment.images
    few: np.ndarray = images.take(range(min(size, len(images)))).x
    return few[np.resize(np.arange(len(few)), size)]


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
        start: Takes a batch and classes to explain, and gives what computes it.

    Returns:
        That of the first computation of a batch, and of the same once more.
    """
    if not count:
        return 0.0, 0.0
    known = _of(experiment.classifier)
    size = min(max(count, 2), experiment.classifier.batch_size)
    if (what, size) in known.passes:
        return known.passes[what, size]
    x, targets = _batch(experiment, count), np.zeros(size, np.int32)  # any class takes as long
    tracing = _timed(lambda: start(x[:2], targets[:2])())
    if what != "forward":
        known.tracing.setdefault(what, tracing)
    compute = start(x, targets)
    first, again = _timed(compute), _timed(compute)
    known.passes[what, size] = first / size, again / size
    return known.passes[what, size]


def seconds_a_mask(metrics: Mapping[str, MaskMetric], images: Images, nulls: int) -> float:
    """The time of a mask's scores and nulls by all metrics."""
    shape = (1, *images.x.shape[1:])
    mask = generator("timed mask").standard_normal(shape, np.float32)

    def scored() -> None:
        for metric in metrics.values():
            if not metric.needs_regions:
                features = metric.features(mask)
                for _ in range(1 + nulls):
                    metric.compare(features, features)

    scored()  # the first time libraries are imported and tables made, once and not for each mask
    return _timed(scored)


def _of(classifier: "Classifier") -> _Measured:
    by_precision = _measured.setdefault(classifier, {})
    return by_precision.setdefault(classifier.precision, _Measured({}, {}, {}))


def _timed(compute: Callable[[], object]) -> float:
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start
