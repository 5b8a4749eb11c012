"""What runs cost against the floor: distinct gradients × a plain one's time in a full batch.

Everything that is compared is measured in one process; ratios are what travels.

    ./scripts/bench                the default job, then all models
    ./scripts/bench job [KEY=VALUE ...]
    ./scripts/bench models [NAME ...]
    ./scripts/bench growth         time and memory of jobs that grow
    ./scripts/bench peers [NAME ...] [KEY=VALUE ...]    other packages, in environments of their own
    ./scripts/bench batches [KEY=VALUE ...]    a gradient's time by batch size and threads
    ./scripts/bench scale [--images 10,1000,20000] [--model efficientnet_lite0] [KEY=VALUE ...]
                                   few and many images: time, memory, the first gradient's delay
    ./scripts/bench seeds [--seeds 5] [--output FOLDER] [KEY=VALUE ...]
                                   several seeds in one sweep against as many single runs
    ./scripts/bench gpu [--out FILE] [--seconds 240]    gradients a second, by network and precision
    ./scripts/bench ops [KEY=VALUE ...]        a gradient's time by operation, against the machine's
    ./scripts/bench transfers [KEY=VALUE ...]  what crosses to a graphics card and back
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sanity.network.tensorflow import import_tensorflow  # noqa: E402

import_tensorflow()  # before what imports it, and has it say so

from sanity.config.job import compose  # noqa: E402
from sanity.errors import ConfigError  # noqa: E402
from sanity.experiment.explaining import explain, gradient_plan  # noqa: E402
from sanity.experiment.prepare import Experiment, prepare  # noqa: E402
from sanity.experiment.run import run  # noqa: E402
from sanity.metrics.scoring import References, Scorer  # noqa: E402
from sanity.network.devices import processor_name  # noqa: E402
from sanity.network.precision import Precision, check_precision  # noqa: E402

QUIET = ["runtime.progress=none", "runtime.log_level=warning"]
KERAS = ["model=keras_application", "model.weights=null"]
# The first convolution of each block of Inception v3, since Keras names no blocks.
FIRSTS = [85, 76, 70, 60, 50, 40, 30, 26, 19, 12, 5, 4, 3, 2, 1]
NAMES = ["predictions", *(f"conv2d_{number}" for number in FIRSTS), "conv2d"]
MODELS = {
    "EfficientNet-Lite0": [],
    "Inception v3, TF1 Hub format": ["model=inception_v3", "model.handle={inception}"],
    "Inception v3, Keras": [
        *KERAS,
        "model.application=InceptionV3",
        f"layers.names=[{','.join(NAMES)}]",
    ],
    "ResNet50, Keras": [*KERAS, "model.application=ResNet50"],
    "CNN": ["model=cnn", "data=animal_mnist", "model.stop_at=0.2"],
}
# 24 distinct gradients: a full batch.
POINTS = [
    "data.limit=1",
    "metric=[spearman]",
    "method=[gradient,smoothgrad,integrated_gradients]",
    "method.smoothgrad.samples=12",
    "method.integrated_gradients.steps=12",
]
GROWING = [
    "data.limit=2",
    "method=[smoothgrad]",
    "method.smoothgrad.samples=12",
    "layers.names=[logits,head,block15,block14,block13,block12]",
]
GROWTH = {
    "images × 10": ["data.limit=20"],
    "samples × 10": ["method.smoothgrad.samples=120"],
    "stages × 3": ["layers.names=null"],
    "methods × 3": [
        "method=[smoothgrad,guided_backprop,integrated_gradients]",
        "method.integrated_gradients.steps=24",
    ],
}


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def full_batch(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """A job's images and targets, again and again, as many as a batch takes."""
    size = experiment.classifier.batch_size
    some = experiment.images.take(range(min(size, len(experiment.images)))).x
    x = some[np.resize(np.arange(len(some)), size)]
    return x, experiment.classifier.logits(x).argmax(axis=1)


class Floor:
    """The plain graph's gradient in a full batch, timed again and again between other things."""

    def __init__(self, experiment: Experiment):
        import tensorflow as tf

        network = experiment.classifier
        self.batch = network.batch_size
        x, targets = full_batch(experiment)

        def gradient(images: Any, targets: Any) -> Any:
            (logits,) = network.graph.build(images, [network.logits_tensor])
            return tf.gradients(tf.gather(logits, targets, batch_dims=1), images)[0]

        specs = [network.network.images, tf.TensorSpec([None], tf.int32)]
        traced = tf.function(gradient, input_signature=specs)

        def compute() -> None:
            traced(x, targets.astype(np.int32)).numpy()

        self._compute = compute
        self._compute()
        self._times: list[float] = []

    def measure(self, times: int = 3) -> None:
        """Measures a few more."""
        self._times += [seconds(self._compute) for _ in range(times)]

    @property
    def one(self) -> float:
        """Seconds a gradient: the median."""
        return float(np.median(self._times)) / self.batch


def distinct(experiment: Experiment) -> int:
    """Gradients of a job."""
    return experiment.plan.distinct * len(experiment.images) * len(experiment.stages)


def phase(experiment: Experiment) -> None:
    """All gradients of a job, as a run computes them."""
    methods = gradient_plan(experiment.job.methods).methods
    parts = (experiment.classifier, experiment.images, experiment.targets, methods)
    for _ in explain(*parts, experiment.stages):
        pass


def scoring(experiment: Experiment) -> float:
    """Seconds that all scores of a job take, of masks that are there."""
    job = experiment.job
    parts = (experiment.classifier, experiment.images, experiment.targets, job.methods)
    references = None
    if (others := experiment.others) is not None:
        theirs = (experiment.classifier, others.images, others.targets, job.methods)
        (found,) = explain(*theirs, experiment.stages[:1], groups=[range(len(others.images))])
        allowed = np.ones((len(experiment.images), len(others.images)), bool)
        references = References(others.images.names, found.masks, allowed)
    names, null = experiment.images.names, job.settings.null_model
    scorer, took = Scorer(job.metrics, names, null, references=references), 0.0
    for one in explain(*parts, experiment.stages):
        stage = one.stage
        score = partial(scorer.score, one.group, stage.index, stage.layer, one.masks, one.targets)
        took += seconds(score)
    return took


def use(experiment: Experiment, *, fold: bool, cut: bool, precision: Precision = "float32") -> None:
    """Has the classifier compute gradients with or without each improvement."""
    network = experiment.classifier
    network.precision = precision
    network._chains.clear()
    for name in ("_ends", "_folded"):
        vars(network).pop(name, None)  # to be found anew, if it is wanted
    if not cut:
        network._ends = [network.logits_tensor]
    if not fold:
        network._folded = network.graph
    x, targets = (part[[0, 0]] for part in full_batch(experiment))
    for rule in experiment.plan.points:  # traced before anything is timed
        network.gradients(x, targets, rule)


def pairs_loop(experiment: Experiment, count: int = 8) -> float:
    """Seconds a gradient of PAIR's SmoothGrad, once it is traced."""
    smooth = pairs_smoothgrad(experiment)
    return seconds(lambda: smooth(count)) / count


def pairs_smoothgrad(experiment: Experiment) -> Callable[[int], np.ndarray]:
    """PAIR's SmoothGrad of so many samples: one image at a time, a tape over the model."""
    import saliency.core as saliency
    import tensorflow as tf

    network = experiment.classifier
    function = tf.function(network._alive[0], autograph=False)  # as `hub.load` gives it
    x, targets = (part[0] for part in full_batch(experiment))
    target = int(targets)

    def call(
        images: np.ndarray, call_model_args: object = None, expected_keys: object = None
    ) -> dict[str, np.ndarray]:
        x = tf.convert_to_tensor(images, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            found = function(x)
            found = found if isinstance(found, dict) else {network.ending.output: found}
            output = found[network.ending.output][:, target]
        return {saliency.INPUT_OUTPUT_GRADIENTS: tape.gradient(output, x).numpy()}

    call(x[None])
    method = saliency.GradientSaliency()

    def smooth(count: int) -> np.ndarray:
        mask: np.ndarray = method.GetSmoothedMask(x, call, nsamples=count)
        return mask

    return smooth


def row(name: str, took: float | None, floor: float) -> None:
    """A line of a table, of what can be computed here or not (None)."""
    numbers = f"{'–':>9s}{'–':>10s}" if took is None else f"{took:9.1f}{took / floor:10.2f}"
    print(f"  {name:42s}{numbers}", flush=True)


def computes(precision: Precision) -> bool:
    """Whether this processor does."""
    try:
        check_precision(precision)
    except ConfigError:
        return False
    return True


def job(overrides: list[str]) -> None:
    """One job: its gradient phase and the whole run after start-up."""
    with tempfile.TemporaryDirectory() as folder:
        asked = compose([*overrides, *QUIET, f"output={folder}"])
        experiment = prepare(asked)
        use(experiment, fold=True, cut=True)
        floor = Floor(experiment)
        floor.measure()
        weights = seconds(lambda: [stage.make_weights() for stage in experiment.stages])
        floor.measure()
        gradients = seconds(lambda: phase(experiment))
        floor.measure()
        metrics = scoring(experiment)
        floor.measure()
        whole = seconds(lambda: run(asked)) - seconds(lambda: prepare(asked))
        floor.measure()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    count = distinct(experiment)
    print(f"{experiment.classifier.name}, {' '.join(overrides) or 'the default job'}")
    print(f"  {processor_name()}, {os.cpu_count()} cores")
    print(f"  {count} distinct gradients, {floor.one * 1e3:.1f} ms each of the plain graph")
    print(f"  {'':42s}{'seconds':>9s}{'of floor':>10s}")
    total = count * floor.one
    row("floor", total, total)
    row("weights and moving statistics", weights, total)
    row("gradient phase", gradients, total)
    row("scores and nulls, all methods", metrics, total)
    row("whole run after start-up", whole, total)
    print(f"  peak memory {peak:.2f} GB\n", flush=True)


def models(names: list[str]) -> None:
    """Each model's cascade with and without each improvement, and its independent stages."""
    for name in names:
        subprocess.run([sys.executable, __file__, "model", name], check=True)


def model(name: str) -> None:
    """One model's lines."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = list(overrides_of(name, folder))
        experiment = prepare(compose(overrides))
        experiment.classifier.trained  # noqa: B018 - read once, before weights change
        for stage in experiment.stages:
            stage.make_weights()
        floor = Floor(experiment)
        times: dict[str, float | None] = {}
        variants: list[tuple[str, bool, bool, Precision]] = [
            ("plain graph, one piece", False, False, "float32"),
            ("batch norm folded", True, False, "float32"),
            ("only what a stage has changed", False, True, "float32"),
            ("both, in bfloat16", True, True, "bfloat16"),
            ("both: what a run does", True, True, "float32"),
        ]
        for said, fold, cut, precision in variants:
            if not computes(precision):
                times[said] = None
                continue
            use(experiment, fold=fold, cut=cut, precision=precision)
            floor.measure()
            times[said] = seconds(lambda: phase(experiment))
            floor.measure()
        independent = prepare(compose([*overrides, "randomization=independent"]))
        for stage in independent.stages:
            stage.make_weights()
        times["both, independent stages"] = seconds(lambda: phase(independent))
        floor.measure()
        loop = pairs_loop(experiment)
        floor.measure()
    count = distinct(experiment)
    total = count * floor.one
    print(f"{name}: {len(experiment.stages)} stages of a cascade, {count} distinct gradients")
    print(f"  {floor.one * 1e3:.1f} ms each in batches of {floor.batch}")
    print(f"  {'':42s}{'seconds':>9s}{'of floor':>10s}")
    row("floor", total, total)
    for said, took in times.items():
        row(said, took, total)
    row("PAIR's loop, gradient by gradient", loop * count, total)
    print(flush=True)


def overrides_of(name: str, folder: str) -> Iterator[str]:
    """What makes a job of a model."""
    yield from (*POINTS, *QUIET, f"output={folder}")
    for override in MODELS[name]:
        if "{inception}" in override:
            from tests.inception_v3 import build

            override = override.format(inception=build(Path(folder) / "inception", 1, 1001))
        yield override


def growth() -> None:
    """Time and peak memory of jobs that grow, each in a process of its own."""
    print(f"{'':20s}{'gradients':>10s}{'ms each':>10s}{'peak GB':>10s}")
    for name, more in {"one batch a stage": [], **GROWTH}.items():
        command = [sys.executable, __file__, "grown", name, *GROWING, *more]
        subprocess.run(command, check=True)


def grown(name: str, overrides: list[str]) -> None:
    """One line of `growth`."""
    with tempfile.TemporaryDirectory() as folder:
        asked = compose([*overrides, *QUIET, "metric=[spearman]", f"output={folder}"])
        experiment = prepare(asked)
        x, targets = full_batch(experiment)
        for rule in experiment.plan.points:
            experiment.classifier.gradients(x, targets, rule)
        for stage in experiment.stages:
            stage.make_weights()
        took = seconds(lambda: phase(experiment))
        run(asked)
    count = distinct(experiment)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:20s}{count:10d}{took / count * 1e3:10.1f}{peak:10.2f}", flush=True)


def batches(overrides: list[str]) -> None:
    """A gradient's time by batch size, for each number of threads."""
    for threads in sorted({1, os.cpu_count() or 1}):
        command = [sys.executable, __file__, "batch", str(threads), *overrides]
        subprocess.run(command, check=True)


def batch(threads: str, overrides: list[str]) -> None:
    """The lines of one number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [*overrides, *QUIET, "data.limit=1", f"output={folder}"]
        experiment = prepare(compose([*asked, f"runtime.threads={threads}"]))
        network = experiment.classifier
        x, targets = (part[:1] for part in full_batch(experiment))
        times: dict[int, list[float]] = {}
        for _ in range(5):
            for size in (2, 4, 8, 16, 32, 64):
                inputs, classes = np.repeat(x, size, 0), np.repeat(targets, size)
                network.batch_size = size
                if size not in times:
                    network.gradients(inputs, classes)
                took = seconds(partial(network.gradients, inputs, classes))
                times.setdefault(size, []).append(took / size)
    full = np.median(times[32])
    for size, each in times.items():
        relative = np.median(each) / full
        print(
            f"{threads} threads, batches of {size:2d}: {relative:5.2f} of those of 32", flush=True
        )
    print(f"{threads} threads, batches of 32: {full * 1e3:.1f} ms a gradient\n", flush=True)


def main(arguments: list[str]) -> None:
    """Runs what is asked for."""
    command, rest = (arguments or [""])[0], arguments[1:]
    if command in ("-h", "--help"):
        print(__doc__)
    elif command == "job":
        job(rest)
    elif command == "models":
        models(rest or list(MODELS))
    elif command == "model":
        model(rest[0])
    elif command == "growth":
        growth()
    elif command == "batches":
        batches(rest)
    elif command == "batch":
        batch(rest[0], rest[1:])
    elif command in ("gpu", "scale", "seeds", "ops", "transfers"):
        script = Path(__file__).with_name(f"{command}.py")
        try:
            sys.exit(subprocess.run([sys.executable, str(script), *rest]).returncode)
        except KeyboardInterrupt:
            sys.exit(130)  # it has said what there is
    elif command == "peers":
        import peers

        peers.main(rest)
    elif command == "grown":
        grown(rest[0], rest[1:])
    elif not command:
        job([])
        models(list(MODELS))
        growth()
    else:
        known = "job, models, growth, batches, gpu, scale, seeds, ops, transfers, peers"
        sys.exit(f"{command} is none of {known}")


if __name__ == "__main__":
    main(sys.argv[1:])
