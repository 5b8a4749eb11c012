"""Gradients a second on this device, by network, precision and what adds them up.

Each network has two processes of its own, one for TF32; all get ready at once, then they measure
one after the other. A row is printed as soon as it is there. What is left when the time is over is
left out, and what a network cannot do ends its rows alone.

    floor             the plain graph's gradients, left on the device, in the best batch
    floor, fetched    the same, each gradient copied to the host
    sums on device    a cascade by Gradient, SmoothGrad and Integrated Gradients, as a run on a card
    sums on host      the same as a run on a processor
    PAIR's loop       one gradient after the other
    floor, XLA        the floor compiled, without op determinism: XLA refuses some gradients with it

    ./scripts/bench gpu [--out FILE] [--seconds 240] [--models NAME,…] [--batches 32,64,128,256]
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import bench  # noqa: E402

from sanity.config.job import compose  # noqa: E402
from sanity.errors import ConfigError  # noqa: E402
from sanity.experiment.explaining import explain, gradient_plan  # noqa: E402
from sanity.experiment.prepare import Experiment, prepare  # noqa: E402
from sanity.network.devices import device_name  # noqa: E402
from sanity.network.precision import Precision, check_precision, computing_in  # noqa: E402

MODELS = ("EfficientNet-Lite0", "Inception v3, Keras", "ResNet50, Keras")
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "without TF32": ("float32", "bfloat16"),
    "TF32": ("tf32",),  # in a process of its own, see `check_precision`
}
IMAGES = 12
JOB = [
    *(f"data.limit={IMAGES}", "metric=[spearman]"),
    "method=[gradient,smoothgrad,integrated_gradients]",
]
BLOCKS = 3  # randomized, from the output
REPEATS = 3
Row = dict[str, Any]


class Network:
    """A network of the benchmark, ready to be measured.

    Args:
        experiment: A job with it.
        batches: The sizes that are tried.
        kept: A file for the masks in float32.
    """

    def __init__(self, experiment: Experiment, batches: Sequence[int], kept: Path):
        self.classifier = experiment.classifier
        self._experiment, self._batches = experiment, batches
        self._methods = gradient_plan(experiment.job.methods).methods
        self._stages = experiment.stages[: BLOCKS + 1]
        self._images = experiment.images
        self.classifier.trained  # noqa: B018 - read once, before weights change
        for stage in self._stages:
            stage.make_weights()
        few = self._images.take(range(len(self._images))).x
        self._x = few[np.resize(np.arange(len(few)), max(len(few), *batches))]
        self._targets = np.zeros(len(self._x), np.int32)
        self._kept = kept

    def rows(self, precision: Precision) -> Iterator[Row]:
        """What is measured in a precision, without XLA."""
        self.classifier.precision = precision
        best = yield from self._floor(precision)
        self.classifier.batch_size = best
        for name, on_card in (("sums on device", True), ("sums on host", False)):
            yield {"what": name, "batch": best, **self._cascade(on_card)}
        if precision != "bfloat16":
            with computing_in(precision):
                yield {"what": "PAIR's loop", "batch": 1, "rate": 1 / self._loop()}

    def compiled(self, precision: Precision) -> Row:
        """The floor compiled by XLA, in the largest batch but one."""
        from tensorflow.python.framework.config import disable_op_determinism

        disable_op_determinism()
        self.classifier.precision = precision
        size = sorted(self._batches)[-2:][0]
        with computing_in(precision):
            rate = self._rate(self._plain(compiled=True), size)
        return {"what": "floor, XLA", "batch": size, "rate": rate}

    def _floor(self, precision: Precision) -> Generator[Row, None, int]:
        function, rates = self._plain(), {}
        with computing_in(precision):
            for size in self._batches:
                try:
                    rates[size] = self._rate(function, size)
                except Exception as error:  # memory, most likely: larger ones fit no more
                    yield {"what": f"floor, batches of {size}", "why": _first_line(error)}
                    break
            if not rates:
                raise ConfigError("no batch fits")
            best = max(rates, key=lambda size: rates[size])
            each = {str(size): round(rate, 1) for size, rate in rates.items()}
            yield {"what": "floor", "batch": best, "rate": rates[best], "by batch": each}
            fetched = self._rate(lambda x, t: function(x, t).numpy(), best)
        yield {"what": "floor, fetched", "batch": best, "rate": fetched}
        return best

    def _plain(self, *, compiled: bool = False) -> Callable[[Any, Any], Any]:
        """The plain graph's gradients, as a function of images and classes."""
        import tensorflow as tf

        network = self.classifier
        graph = network._computed(network.graph)

        def gradient(images: Any, targets: Any) -> Any:
            (logits,) = graph.build(images, [network.logits_tensor])
            (found,) = tf.gradients(logits, images, tf.one_hot(targets, network.n_classes))
            return found

        specs = [network.network.images, tf.TensorSpec([None], tf.int32)]
        if compiled:
            made: Callable[[Any, Any], Any] = tf.function(
                gradient, input_signature=specs, jit_compile=True, autograph=False
            )
            return made
        from sanity.network.graph import trace_graph

        return trace_graph(gradient, specs)  # type: ignore[no-any-return]

    def _rate(self, function: Callable[[Any, Any], Any], size: int) -> float:
        """Gradients a second in batches of a size, the inputs being on the device."""
        import tensorflow as tf

        x, targets = tf.constant(self._x[:size]), tf.constant(self._targets[:size])

        def compute() -> None:
            function(x, targets)
            tf.test.experimental.sync_devices()

        compute()
        return size / min(bench.seconds(compute) for _ in range(REPEATS))

    def _cascade(self, on_card: bool) -> Row:
        """Gradients a second of all methods at all stages, twice, and whether masks are equal."""
        first, _ = self._explain(on_card)
        masks, took = self._explain(on_card)
        count = self._experiment.plan.distinct * len(self._images) * len(self._stages)
        same = all(np.array_equal(first[key], masks[key], equal_nan=True) for key in masks)
        found: Row = {"rate": count / took, "gradients": count, "same to the bit": same}
        if self.classifier.precision == "float32":
            np.savez(self._kept, **masks)  # type: ignore[arg-type]
        elif self._kept.exists():
            with np.load(self._kept) as others:
                found["rank correlation with float32"] = _alike(masks, others)
        return found

    def _explain(self, on_card: bool) -> tuple[dict[str, np.ndarray], float]:
        before, masks = self.classifier.on_card, defaultdict(list)
        self.classifier.on_card = on_card
        try:
            start = time.perf_counter()
            targets = self._targets[: len(self._images)]
            for part in explain(
                self.classifier, self._images, targets, self._methods, self._stages
            ):
                for name, found in part.masks.items():
                    masks[f"{name} {part.stage.index}"].append(found)
            took = time.perf_counter() - start
            return {key: np.concatenate(found) for key, found in masks.items()}, took
        finally:
            self.classifier.on_card = before

    def _loop(self) -> float:
        return bench.pairs_loop(self._experiment)


def _alike(masks: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean rank correlation with other masks over images and stages, by method."""
    from scipy.stats import spearmanr

    found: dict[str, list[float]] = {}
    for key in masks.keys() & others.keys():
        for a, b in zip(masks[key], others[key], strict=True):
            found.setdefault(key.split()[0], []).append(spearmanr(a.ravel(), b.ravel())[0])
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def _first_line(error: BaseException) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


def measure(name: str, kind: str, batches: Sequence[int], kept: Path) -> Iterator[Row]:
    """A network's rows of some precisions; the first, empty one comes when all is ready."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        overrides = [o for o in bench.overrides_of(name, folder) if o not in bench.POINTS]
        network = Network(prepare(compose([*overrides, *JOB])), batches, kept)
        yield {}
        for jit in (False, True):
            for precision in PRECISIONS[kind]:
                about = {"model": name, "precision": precision, "device": device_name()}
                try:
                    check_precision(precision)
                    found = [network.compiled(precision)] if jit else network.rows(precision)
                    for row in found:
                        yield {**about, **row}
                except Exception as error:
                    what = "floor, XLA" if jit else "all else"
                    yield {**about, "what": what, "why": _first_line(error)}
        for card in tf.config.list_logical_devices("GPU")[:1]:
            peak = tf.config.experimental.get_memory_info(card.name)["peak"] / 1e9
            yield {"model": name, "what": "peak memory of the device, GB", "rate": peak}


def line(row: Row) -> str:
    """A row as it is printed."""
    head = f"{row['model']:20s} {row.get('precision', ''):9s} {row['what']:22s}"
    if "why" in row:
        return f"{head} {row['why']}"
    more = [f"batch {row['batch']}"] if "batch" in row else []
    more += [
        f"{key} {row[key]}"
        for key in ("same to the bit", "rank correlation with float32", "by batch")
        if key in row
    ]
    return f"{head}{row['rate']:10.1f}  {'; '.join(more)}"


def start(name: str, kind: str, batches: str, kept: Path) -> "subprocess.Popen[bytes]":
    """A network's process, which gets ready and waits for a line."""
    command = [sys.executable, __file__, "--measure", name, kind, str(kept), "--batches", batches]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet)


def lines_of(process: "subprocess.Popen[bytes]", until: Callable[[], float]) -> Iterator[bytes]:
    """What a process prints, as long as there is time."""
    assert process.stdout is not None
    stream, waiting = process.stdout.fileno(), b""
    while select.select([stream], [], [], max(0.0, until() - time.monotonic()))[0]:
        if not (found := os.read(stream, 2**16)):
            return
        *whole, waiting = (waiting + found).split(b"\n")
        yield from whole
    yield b'{"why": "out of time"}'


def end_of(process: "subprocess.Popen[bytes]") -> int:
    """Ends a process, unless it has ended by itself, and returns how it did."""
    if process.poll() is None:
        time.sleep(0.2)  # it may just have printed its last line
        process.kill()
    with process:  # closes what is open
        return process.wait()


def table(names: Sequence[str], batches: str, seconds: float, out: Path | None) -> None:
    """Prints every network's rows, and writes them to a file."""
    end = time.monotonic() + seconds
    wanted = [(name, kind) for name in names for kind in PRECISIONS]
    until = dict.fromkeys(wanted, end)
    with tempfile.TemporaryDirectory() as kept:
        processes = {
            (name, kind): start(name, kind, batches, Path(kept, f"{names.index(name)}.npz"))
            for name, kind in wanted
        }
        printed = {key: lines_of(processes[key], partial(until.__getitem__, key)) for key in wanted}
        try:
            first = {key: next(lines, b"{}") for key, lines in printed.items()}  # when it is ready
            for left, (key, process) in zip(
                range(len(wanted), 0, -1), processes.items(), strict=True
            ):
                now = time.monotonic()
                until[key] = now + (end - now) / left
                set_off(process)
                for said in chain([first[key]], printed[key]):
                    if said == b"{}":
                        continue
                    row = {"model": key[0], "what": f"the rest {key[1]}", **json.loads(said)}
                    print(line(row), flush=True)
                    if out is not None:
                        with out.open("a") as file:
                            file.write(json.dumps(row) + "\n")
                if (code := end_of(process)) > 0:
                    print(f"{key[0]}, {key[1]}: its process ended with {code}", flush=True)
        finally:
            for process in processes.values():
                end_of(process)


def set_off(process: "subprocess.Popen[bytes]") -> None:
    """Has a process measure, unless it has ended already."""
    assert process.stdin is not None
    try:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    except OSError:
        pass  # how it ended is said afterwards


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a file of JSON lines to add the rows to")
    parser.add_argument("--seconds", type=float, default=240, help="in which to be through")
    parser.add_argument("--models", default=";".join(MODELS), help="separated by ;")
    parser.add_argument("--batches", default="32,64,128,256", help="sizes to try")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.measure is None:
        table(asked.models.split(";"), asked.batches, asked.seconds, asked.out)
        return
    sizes = [int(size) for size in asked.batches.split(",")]
    name, kind, kept = asked.measure
    for row in measure(name, kind, sizes, Path(kept)):
        print(json.dumps(row), flush=True)
        if not row and not sys.stdin.readline():
            return  # who started it has ended


if __name__ == "__main__":
    main()
