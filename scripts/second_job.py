"""Times the start of a sweep's second job, whose network an earlier job in the process has loaded.

    python scripts/second_job.py data.limit=1    any overrides, and --profile for what takes long

Prints the time of either job from its start to its first gradient and to its end.
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from typing import Any
from unittest.mock import patch

import sanity
from sanity.network.classifier import Classifier


def main() -> None:
    """Runs two jobs that differ in their seed, and times them."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--profile", action="store_true", help="of what takes long")
    asked = parser.parse_intermixed_args()
    compute, calls, profile = Classifier.batch_gradient, [], cProfile.Profile()

    def timed(*args: Any, **kwargs: Any) -> Any:
        calls.append(time.perf_counter())
        if len(calls) == 1:
            profile.disable()
        return compute(*args, **kwargs)

    with (
        patch.object(Classifier, "batch_gradient", timed),
        tempfile.TemporaryDirectory() as folder,
    ):
        for seed in (0, 1):
            calls.clear()
            start = time.perf_counter()
            if asked.profile and seed == 1:
                profile.enable()
            sanity.run(overrides=[f"output={folder}", f"seed={seed}", *asked.overrides])
            end = time.perf_counter()
            print(
                f"job {seed + 1}: {calls[0] - start:.2f} s to its first gradient, "
                f"{end - start:.2f} s to its end"
            )
    if asked.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


if __name__ == "__main__":
    main()
