"""`runtime.batch_size=auto`: how many images go through the network at once, found by trying."""

import logging
from pathlib import Path
from time import perf_counter

import numpy as np

from sanity.experiment.prepare import Experiment
from sanity.experiment.room import peak_memory
from sanity.network.tensorflow import is_out_of_memory

log = logging.getLogger(__name__)

_LEAST = 2
_MOST = 1024
_WORTH = 0.97  # of a gradient's time: what saves less only takes memory
_RESERVE = 2  # times what a batch has grown by must be free before one twice as large is tried


def settle_batch_size(experiment: Experiment, known: int | None = None) -> int:
    """Puts the batch size that is asked for into the network, and returns it.

    `auto` is the largest that fits and still makes gradients faster: sizes are doubled from 24
    on as long as memory holds, there are so many gradients to compute, and each takes less
    time; halved where not even 24 fit. No result depends on it but by rounding, on a
    graphics card, whose kernels differ by it.

    Args:
        experiment: The job.
        known: What an earlier try of the same run has settled on.
    """
    classifier, asked = experiment.classifier, experiment.job.settings.runtime.batch_size
    if asked != "auto":
        classifier.batch_size = asked
    elif known is not None:
        classifier.batch_size = known
    else:
        classifier.batch_size = _find(experiment)
        log.info("runtime.batch_size=auto: %d", classifier.batch_size)
    return classifier.batch_size


def _find(experiment: Experiment) -> int:
    points = experiment.plan.points
    size = experiment.job.settings.runtime.first_batch_size
    if not points:
        return size
    rule = max(points, key=lambda rule: len(points[rule]))
    most = min(_MOST, max(_LEAST, len(points[rule]) * experiment.at_once))
    size = min(size, most)
    best = _seconds(experiment, rule, size)
    while best is None and size > _LEAST:
        size = max(_LEAST, size // 2)
        best = _seconds(experiment, rule, size)
        if best is not None:
            return size
    before = 0
    while best is not None and 2 * size <= most:
        taken = peak_memory() or 0
        if (free := free_memory()) is not None and _RESERVE * (taken - before) > free:
            break
        before = taken
        found = _seconds(experiment, rule, 2 * size)
        if found is None or found > _WORTH * best:
            break
        size, best = 2 * size, found
    return size


def _seconds(experiment: Experiment, rule: str, size: int) -> float | None:
    """A gradient's time in a batch of a size, the lesser of two; None where memory runs out."""
    from sanity.network.passes.backprop_rules import rule as rule_of

    classifier, images = experiment.classifier, experiment.images
    some = images.take(range(min(size, len(images)))).x
    x, targets = some[np.resize(np.arange(len(some)), size)], np.zeros(size, np.int32)
    times = []
    try:
        for _ in range(3):  # the first one traces the graph, or makes room
            start = perf_counter()
            gradients = classifier.batch_gradient(
                x, rule, x if rule_of(rule).needs_baseline else None
            )
            if classifier.on_card:
                gradients.wait(targets)
            else:
                gradients(targets)
            times.append((perf_counter() - start) / size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    return min(times[1:])


def free_memory() -> int | None:
    """Bytes of the machine's memory that are free for this process; None if that is unknown."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    free = [int(lines["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in lines else []
    limit, used = (Path("/sys/fs/cgroup", f"memory.{name}") for name in ("max", "current"))
    if limit.exists() and used.exists() and (most := limit.read_text().strip()) != "max":
        free.append(int(most) - int(used.read_text()))
    return min(free, default=None)
