"""What will be computed, and about how long it takes."""

import logging
import textwrap
from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.data.images import Images
from sanity.errors import name_some
from sanity.experiment.effort import Times
from sanity.experiment.forecast import Forecast, measure_times, seconds_a_mask
from sanity.experiment.idle import idle_settings
from sanity.experiment.prepare import Experiment
from sanity.methods import Cost
from sanity.network.devices import device_name
from sanity.progress import duration, short
from sanity.results.listing import TRAINED
from sanity.results.recorded import model_file

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier
    from sanity.randomization.stage import Stage

log = logging.getLogger(__name__)
WIDTH = 78  # of what is printed, columns
_LOOKED_AT, _DARK = 4, 0.08  # images that are looked at, and the greatest value of 12 bits of 16
_SHOWN = 0.5  # seconds below which a part of a forecast is not worth a word


def announce(experiment: Experiment) -> Times:
    """Says what is asked, what will be computed, and about how long that takes.

    Returns what a pass takes.
    """
    job, classifier = experiment.job, experiment.classifier
    if (seen := classifier.network.seen) is not None and seen.complaint:
        log.warning("%s: %s: see model.range", classifier.name, seen.complaint)
    if said := _foreign(experiment.images, classifier):
        log.warning("%s", said)
    warn_of_images(experiment.images)
    if idle := idle_settings(experiment):
        log.warning("without effect here: %s", "; ".join(idle))
    for line in _question(experiment):
        log.info("%s", line)
    for stage, facts in zip(experiment.stages, experiment.facts, strict=True):
        if facts:
            log.info("  %s: %s", stage.layer or TRAINED, _said(facts))
    if said := experiment.survival:
        log.warning("%s", said)
    if job.settings.dry_run:
        _show_costs(experiment)
    units = len(experiment.images) * len(experiment.stages)
    total = experiment.cost * (units + experiment.beside)
    times = measure_times(experiment)
    passes = [f"{total.gradients:,} gradients of {short(times.gradient * 1e3)} ms"]
    passes = passes if total.gradients else []
    passes += [f"{total.forward:,} forward passes of {short(times.forward * 1e3)} ms"] * bool(
        total.forward
    )
    if passes:
        scoring = seconds_a_mask(job.metrics, experiment.images, experiment.nulls)
        seconds = times.seconds(total) + scoring * units * len(job.methods)
        log.info("  %s: about %s", ", ".join(passes), duration(max(seconds, 1)))
    return times


def _foreign(images: Images, classifier: "Classifier") -> str | None:
    """What is said of labels that are no classes of the model's; None if there are none.

    So it is of the default images beside a network of another task.
    """
    known = [label for label in images.labels if label is not None]
    classes = classifier.n_classes - classifier.class_offset
    if not known or max(known) < classes or classifier.ending.link == "none":
        return None
    return (
        f"the images are labelled up to class {max(known)}, and the model has {classes} classes, "
        "from 0: images of another task? data=folder data.path=FOLDER takes your own"
    )


def warn_of_images(images: Images) -> None:
    """Says where images are copies of others, or nearly black."""
    first: dict[str, str] = {}
    hashed = zip(images.names, images.sha256, strict=True)
    pairs = [(name, first.setdefault(one, name)) for name, one in hashed if one]
    copies = [f"{name} of {other}" for name, other in pairs if name != other]
    if copies:
        log.warning(
            "%d of %d images are copies (%s): each counts as an image more in intervals and "
            "verdicts, and tells no more",
            len(copies),
            len(images),
            name_some(copies, 3),
        )
    some = images.take(range(min(_LOOKED_AT, len(images)))).x
    if np.isfinite(some).all() and 0 < some.max() < _DARK:
        log.warning(
            "the images are nearly black: of the first %d the greatest value is %.2g, where white "
            "is 1: pixels of 12 bits in files of 16, or another data.range, look like that",
            len(some),
            some.max(),
        )


def announce_forecast(found: Forecast, devices: int | None) -> None:
    """Says what a job takes in all, and what it would take on several devices.

    Args:
        found: What it takes.
        devices: How many to reckon with; None for this one alone.
    """
    parts = {name: seconds for name, seconds in found.parts().items() if seconds >= _SHOWN}
    most = sorted(parts, key=lambda name: -parts[name])
    of = [f"{name} {duration(parts[name])}" for name in most]
    lines = [f"time: about {duration(found.seconds())}{': ' * bool(of)}{', '.join(of)}"]
    if devices is not None:
        used = min(devices, found.images)
        few = "" if used == devices else f" (of {devices}: there are no more images)"
        lines.append(
            f"on {used} devices like this one{few}, {device_name()}, with data.shards={used}: "
            f"about {duration(found.seconds(used))}"
        )
    for line in lines:
        for part in textwrap.wrap(
            line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        ):
            log.info("%s", part)


def _question(experiment: Experiment) -> list[str]:
    """What a run asks, of which methods, on how much, in lines."""
    job, stages, images = experiment.job, experiment.stages, experiment.images
    controls = [name for name, method in job.methods.items() if method.control]
    methods = [name for name in job.methods if name not in controls]
    own = model_file(job.config)
    name = f"the network {own}" if own else experiment.classifier.name
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
    if beside := experiment.beside:
        nulls = experiment.cost * beside
        said = f"{beside} image{'s' * (beside > 1)} more as trained, for nulls"
        log.info(row, said, nulls.gradients, nulls.forward)
    total = experiment.cost * (len(images) * len(experiment.stages) + beside)
    log.info(row, "in all", total.gradients, total.forward)


def _said(facts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{value} {name}"
        for name, value in facts.items()
    )
