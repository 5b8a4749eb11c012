"""What a job costs against its distinct gradients, everything measured in one process.

The floor is distinct gradients × the time of one in a full batch of the bare graph.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from sanity.config import compose
from sanity.experiment import prepare, run
from sanity.explain import explain, gradient_plan


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(overrides: list[str]) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        job = compose([*overrides, f"output={folder}", "runtime.progress=none"])
        experiment = prepare(job)
        classifier, images, targets = experiment.classifier, experiment.images, experiment.targets
        methods = gradient_plan(job.methods).methods
        count = experiment.plan.distinct * len(images) * len(experiment.stages)
        batch = classifier.batch_size
        which = np.resize(np.arange(len(images)), batch)
        inputs, classes = images.x[which], targets[which].astype(np.int32)

        def bare() -> None:
            classifier.gradients(inputs, classes)

        def phase() -> None:
            for _ in explain(classifier, images, targets, methods, experiment.stages):
                pass

        for rule in experiment.plan.points:  # traced before anything is timed
            classifier.gradients(inputs, classes, rule)
        times = [seconds(bare) for _ in range(5)]
        gradients = seconds(phase)
        times += [seconds(bare) for _ in range(5)]
        whole = seconds(lambda: run(job)) - seconds(lambda: prepare(job))
        times += [seconds(bare) for _ in range(5)]
        one = float(np.median(times)) / batch
    floor = count * one
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    each = f"{one * 1e3:.1f} ms each in batches of {batch}"
    print(f"{classifier.name}: {count} distinct gradients, {each}")
    print(f"{'':34s}{'seconds':>9s}{'of the floor':>14s}")
    for name, took in [
        ("floor: the bare graph's gradients", floor),
        ("gradient phase", gradients),
        ("whole run after start-up", whole),
    ]:
        print(f"{name:34s}{took:9.1f}{took / floor:14.2f}")
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main(sys.argv[1:])
