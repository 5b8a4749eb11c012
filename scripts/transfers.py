"""What a graphics card would be handed and asked for, counted where nothing has to be copied.

The gradients of a job are computed twice on the processor: with sums on the host, as there, and as
on a card, where sums are taken on the device. What would cross is counted, by what it is.

    ./scripts/bench transfers [KEY=VALUE ...]
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench import QUIET, distinct, phase  # noqa: E402

from sanity.config.job import compose  # noqa: E402
from sanity.experiment.prepare import Experiment, prepare  # noqa: E402
from sanity.methods.fetching import Fetching  # noqa: E402
from sanity.network import weights  # noqa: E402
from sanity.network.passes.segments import Walk  # noqa: E402

KINDS = {
    "fetched": "gradients, or their sums, fetched",
    "inputs": "inputs handed over, for all stages",
    "factors": "what methods multiply gradients by",
    "weights": "weights put in place, and the trained ones back",
}


@dataclass
class Crossed:
    """What has crossed.

    Attributes:
        times: How often, by kind.
        bytes: How much.
    """

    times: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, kind: str, array: Any) -> None:
        """Counts an array, or a tensor."""
        self.times[kind] += 1
        self.bytes[kind] += int(np.prod(array.shape)) * np.dtype(str(array.dtype.name)).itemsize


@contextmanager
def counting(shape: tuple[int, ...]) -> Iterator[Crossed]:
    """Counts what crosses inside.

    Args:
        shape: Of a gradient; other tensors that are fetched are none.
    """
    import tensorflow as tf

    found, tensor = Crossed(), type(tf.constant(0.0))
    start, factors, assign, numpy = (
        Walk.__init__,
        Fetching._factors,
        vars(weights)["_assign"],
        tensor.numpy,
    )

    def walked(self: Walk, chain: Any, inputs: np.ndarray) -> None:
        found.add("inputs", inputs)
        start(self, chain, inputs)

    def multiplied(self: Fetching, *given: Any) -> Any:
        if (made := factors(self, *given)) is not None:
            found.add("factors", made)
        return made

    def assigned(variable: Any, value: np.ndarray) -> None:
        found.add("weights", value)
        assign(variable, value)

    def fetched(self: Any) -> np.ndarray:
        if tuple(self.shape[1:]) == shape:
            found.add("fetched", self)
        array: np.ndarray = numpy(self)
        return array

    with ExitStack() as patches:
        replaced: list[tuple[Any, str, Callable[..., Any]]] = [
            (Walk, "__init__", walked),
            (Fetching, "_factors", multiplied),
            (weights, "_assign", assigned),
            (tensor, "numpy", fetched),
        ]
        for owner, name, function in replaced:
            patches.enter_context(patch.object(owner, name, function))
        yield found


def count(experiment: Experiment, *, on_card: bool) -> Crossed:
    """What crosses for a job's gradients, with sums on the host or on the device."""
    network = experiment.classifier
    network.on_card = on_card
    with counting(network.input_shape) as found:
        phase(experiment)
    return found


def main() -> None:
    """Runs what is asked for."""
    words = sys.argv[1:]
    if words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare(compose([*words, *QUIET, f"output={folder}"]))
        experiment.classifier.trained  # noqa: B018 - read once, before weights change
        gradients, size = distinct(experiment), experiment.classifier.batch_size
        print(
            f"{experiment.classifier.name}, {gradients} gradients at {len(experiment.stages)} "
            f"stages, at most {size} in a batch"
        )
        for name, on_card in (("sums on the host", False), ("sums on the device", True)):
            found = count(experiment, on_card=on_card)
            print(f"{name:52s}{'times':>8s}{'MB':>10s}{'MB a gradient':>16s}")
            for kind, said in KINDS.items():
                times, megabytes = found.times[kind], found.bytes[kind] / 1e6
                print(f"  {said:50s}{times:8d}{megabytes:10.1f}{megabytes / gradients:16.3f}")


if __name__ == "__main__":
    main()
