"""Times the start of a sweep's second job, whose network an earlier job in the process has loaded.

    python scripts/second_job.py data.limit=1    any overrides, and --profile for what takes long

Prints the time of either job from its start to its first gradient and to its end.
"""

import cProfile
import pstats
import sys
import tempfile
import time

import sanity
from sanity.network.classifier import Classifier


def main() -> None:
    """Runs two jobs that differ in their seed, and times them."""
    overrides = [word for word in sys.argv[1:] if word != "--profile"]
    compute, calls = Classifier.batch_gradient, []

    def timed(*args, **kwargs):
        calls.append(time.perf_counter())
        if len(calls) == 1:
            profile.disable()
        return compute(*args, **kwargs)

    Classifier.batch_gradient = timed
    with tempfile.TemporaryDirectory() as folder:
        for seed in (0, 1):
            calls.clear()
            profile = cProfile.Profile()
            start = time.perf_counter()
            if "--profile" in sys.argv and seed == 1:
                profile.enable()
            sanity.run(overrides=[f"output={folder}", f"seed={seed}", *overrides])
            end = time.perf_counter()
            print(
                f"job {seed + 1}: {calls[0] - start:.2f} s to its first gradient, "
                f"{end - start:.2f} s to its end"
            )
    if "--profile" in sys.argv:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


if __name__ == "__main__":
    main()
