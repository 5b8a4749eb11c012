"""Several seeds in one sweep against as many single runs, and what seeds could share beyond that.

    ./scripts/bench seeds [--seeds 5] [--output FOLDER] [KEY=VALUE ...]

The sweep, the single runs and the measurement are processes of their own. What each took is kept in
FOLDER: started again with it, only what is missing is done. Scores must be equal to the bit.

In a cascade from the output all that different seeds have in common is the network as trained: its
gradients, which a sweep computes once (`originals`), and its forward pass of each batch, which each
seed makes anew. The last lines say what share of a sweep's gradients these forward passes are, and
what is left when one walk through the stages of all seeds makes them once.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sanity.config.job import compose  # noqa: E402
from sanity.files import read_json, write_json  # noqa: E402
from sanity.network.devices import processor_name  # noqa: E402
from sanity.results.load import load_runs  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd

    from sanity.experiment.prepare import Experiment

# 24 distinct gradients an image: a full batch.
JOB = [
    *("method=[gradient,smoothgrad]", "method.smoothgrad.samples=23", "metric=[ssim,spearman]"),
    *("data.limit=2", "masks.keep=none", "figures=none", "report=false"),
    *("runtime.progress=none", "runtime.log_level=error"),
]
_KEYS = ["seed", "image", "method", "stage", "metric"]
_MEASURED = ("floor", "sweep", "trained", "shared")
_TIMES = 5  # that the floor is timed before, between and after the rest


@dataclass(frozen=True)
class Took:
    """What something took.

    Attributes:
        seconds: On the clock.
        cpu: Of all cores.
    """

    seconds: float
    cpu: float

    def __add__(self, other: "Took") -> "Took":
        return Took(self.seconds + other.seconds, self.cpu + other.cpu)

    def __mul__(self, factor: float) -> "Took":
        return Took(self.seconds * factor, self.cpu * factor)


NOTHING = Took(0.0, 0.0)


@dataclass(frozen=True)
class Gradients:
    """What the gradients of one full batch take, at all stages of all seeds.

    Attributes:
        all: How many all seeds' jobs have, those as trained counted for each.
        count: How many there are in this batch at these stages.
        floor: As many of the plain graph's.
        sweep: As a sweep computes them: the first seed's as trained too.
        trained: Of these, the forward passes as trained that later seeds make anew.
        shared: With those made once, in one walk through all seeds' stages.
    """

    all: int
    count: int
    floor: Took
    sweep: Took
    trained: Took
    shared: Took


def timed(compute: Callable[[], object]) -> Took:
    """What a call in this process takes."""
    start, cpu = time.perf_counter(), time.process_time()
    compute()
    return Took(time.perf_counter() - start, time.process_time() - cpu)


def timed_run(words: Sequence[str]) -> Took:
    """What a run of the command line takes."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start, cpu = time.perf_counter(), used()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "sanity", *words]
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return Took(time.perf_counter() - start, used() - cpu)


def measure(overrides: Sequence[str], seeds: int) -> Gradients:
    """Measures the gradients of a full batch, walked through the stages of all seeds.

    Weights are put in place between the computations that are timed.
    """
    from bench import Floor, full_batch

    from sanity.experiment.prepare import prepare

    experiments = [prepare(compose([*overrides, f"seed={seed}"])) for seed in range(seeds)]
    classifier = experiments[0].classifier
    x, targets = full_batch(experiments[0])
    classifier.gradients(x, targets)  # traced before anything is timed
    floor = Floor(experiments[0])
    floors, walks = [], []
    for share in (False, True):
        floors += [timed(lambda: floor.measure(1)) for _ in range(_TIMES)]
        walks.append(_walk(experiments, x, targets, share=share))
    floors += [timed(lambda: floor.measure(1)) for _ in range(_TIMES)]
    (sweep, trained), (shared, _) = walks
    classifier.weights.put({})
    stages = sum(len(experiment.stages) for experiment in experiments)
    images, distinct = len(experiments[0].images), experiments[0].plan.distinct
    one = Took(*np.median([(took.seconds, took.cpu) for took in floors], axis=0).tolist())
    everything = stages * images * distinct
    return Gradients(everything, stages * len(x), one * stages, sweep, trained, shared)


def _walk(
    experiments: Sequence["Experiment"], x: np.ndarray, targets: np.ndarray, *, share: bool
) -> tuple[Took, Took]:
    """What the gradients of a batch take at all seeds' stages, and later seeds' trained passes.

    The latter is what a seed's first gradient takes more than the same once more, with the weights
    as trained; without sharing only.
    """
    from sanity.network import batch_gradient as calls

    classifier = experiments[0].classifier
    whole, trained = NOTHING, NOTHING
    walk = vars(calls)["Walk"]
    vars(calls)["Walk"] = _sharing(walk) if share else walk
    try:
        gradients = classifier.batch_gradient(x)
        for number, experiment in enumerate(experiments):
            first, *stages = experiment.stages
            if number and not share:
                gradients = classifier.batch_gradient(x)
                classifier.weights.put({})
                made, again = (timed(partial(gradients, targets)) for _ in range(2))
                trained += made + again * -1.0
                whole += made + again * -1.0
            for stage in stages if number else [first, *stages]:
                classifier.weights.put(stage.make_weights())
                whole += timed(partial(gradients, targets))
    finally:
        vars(calls)["Walk"] = walk
    return whole, trained


def _sharing(walk: Any) -> Any:
    """A walk that keeps the segments' passes as trained, and goes on from them where it can."""

    def reach(steps: Sequence[Any], values: Mapping[str, np.ndarray]) -> int:
        held = [step.holds(values) for step in steps]
        return held.index(False) if False in held else len(held)

    class Sharing(walk):  # type: ignore[misc]  # known only where TensorFlow is
        def __init__(self, *given: Any):
            super().__init__(*given)
            self._steps: list[Any] = []
            self._trained: list[Any] = []

        def forward(self, values: Mapping[str, np.ndarray]) -> Any:
            if reach(self._trained, values) > reach(self._steps, values):
                self._steps = list(self._trained)
            found = super().forward(values)
            self._trained = self._trained or list(self._steps)  # stage 0 comes first
            return found

    return Sharing


def same_scores(sweep: Path, single: Path) -> int:
    """How many scores there are, if all are equal to the bit (SystemExit)."""
    a, b = (_scores(folder) for folder in (sweep, single))
    if len(a) != len(b) or not a.index.equals(b.index):
        sys.exit(f"the sweep has {len(a)} scores, or of other things, than single runs: {len(b)}")
    differs = a.to_numpy().view(np.int64) != b.to_numpy().view(np.int64)
    if differs.any():
        sys.exit(f"{differs.sum()} of {len(a)} scores differ: {a.index[differs][0]} first")
    return len(a)


def _scores(folder: Path) -> "pd.Series[float]":
    scores: pd.Series[float] = load_runs(folder).set_index(_KEYS)["value"].sort_index()
    return scores


def line(name: str, took: Took, floor: Took) -> str:
    """A line of the table."""
    numbers = f"{took.seconds:9.1f}{took.cpu:9.1f}"
    of_floor = f"{took.seconds / floor.seconds:12.2f}{took.cpu / floor.cpu:9.2f}"
    return f"  {name:56s}{numbers}{of_floor}"


def main() -> None:
    """Runs what is asked for and has not been done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--output", type=Path, help="what is kept; default: nothing")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the jobs")
    asked = parser.parse_intermixed_args()
    overrides = [*JOB, *asked.overrides]
    if asked.measure:
        print(json.dumps(asdict(measure(overrides, asked.seeds))))
    elif asked.output:
        table(asked.output, overrides, asked.seeds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            table(Path(folder), overrides, asked.seeds)


def table(folder: Path, overrides: Sequence[str], seeds: int) -> None:
    """Does what has not been done, and prints all of it."""
    job = [*overrides, "originals=true"]  # as trained, a sweep's seeds are explained once
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{' '.join(overrides)}\n  {processor_name()}, {cores} cores", flush=True)

    def run(words: Sequence[str], output: Path) -> Took:
        asked = [*words, *job, f"output={output}"]
        return Took(**_once(output, asked, lambda: asdict(timed_run(asked))))

    sweep = run(["-m", f"seed={','.join(map(str, range(seeds)))}"], folder / "sweep")
    print(f"  {seeds} seeds in one sweep: {_said(sweep)}", flush=True)
    single = NOTHING
    for seed in range(seeds):
        single += run([f"seed={seed}"], folder / "single" / str(seed))
        print(f"  single runs, {seed + 1} of {seeds}: {_said(single)}", flush=True)
    count = same_scores(folder / "sweep", folder / "single")
    print(f"  all {count} scores are equal to the bit")
    words = ["--measure", "--seeds", str(seeds), *job, f"output={folder / 'none'}"]
    command = [sys.executable, __file__, *words]
    found = _once(
        folder / "gradients",
        words,
        lambda: json.loads(subprocess.check_output(command).splitlines()[-1]),
    )
    floor, took, trained, shared = (Took(**found[name]) for name in _MEASURED)
    whole = floor * (found["all"] / found["count"])
    print(f"  {'':56s}{'s':>9s}{'CPU s':>9s}{'of floor, s':>12s}{'CPU s':>9s}")
    print(line(f"one sweep of {seeds} seeds, start-up and scores among it", sweep, whole))
    print(line(f"{seeds} single runs", single, whole))
    print(f"  {found['count']} gradients, a full batch at all stages of all seeds:")
    print(line("floor: as many of the plain graph", floor, floor))
    print(line("as a sweep computes them", took, floor))
    print(line("of it later seeds' forward passes as trained", trained, floor))
    print(line("if these cost nothing", took + trained * -1.0, floor))
    print(line("one walk that makes them once, measured", shared, floor), flush=True)


def _once(folder: Path, asked: Sequence[str], compute: Callable[[], Any]) -> Any:
    """What was found before in a folder by the same command; else it is computed, all anew."""
    path = folder / "took.json"
    known = read_json(path) or {}
    if known.get("asked") != list(asked):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was gone on with, times are wrong
        folder.mkdir(parents=True)
        known = {"asked": list(asked), "found": compute()}
        write_json(path, known)
    return known["found"]


def _said(took: Took) -> str:
    return f"{took.seconds:.1f} s, {took.cpu:.1f} CPU s"


if __name__ == "__main__":
    main()
