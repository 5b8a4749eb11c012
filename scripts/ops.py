"""Which operations a gradient's time goes to, and how near each is to what the machine can do.

Half a batch goes through the network alone, forward and backward through all segments, as a run
sends each half. What multiplies is held against a product of large matrices, all else against
adding 1 to a large array, both measured here. Times are of TensorFlow's own profiler.

    ./scripts/bench ops [KEY=VALUE ...]
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sanity.config.job import compose  # noqa: E402
from sanity.experiment.prepare import prepare  # noqa: E402
from sanity.network.devices import processor_name  # noqa: E402
from sanity.network.passes.segments import Chain, Walk  # noqa: E402

REPEATS = 5
SHOWN = 0.05  # of the time
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
BACKWARD = ("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput")


@dataclass
class Work:
    """What operations of one kind do, summed.

    Attributes:
        seconds: How long they take.
        products: Multiplications and additions.
        bytes: What they read and write, each tensor once.
    """

    seconds: float = 0.0
    products: float = 0.0
    bytes: float = 0.0


def size(tensor: Any, rows: int) -> int:
    """Entries of a tensor; of a batch of so many rows, where the shape leaves that open."""
    shape = tensor.shape
    if shape.rank is None:
        return 0
    return int(np.prod([rows if length is None else length for length in shape], dtype=int))


def multiplies(op: Any, of: str) -> Any:
    """The operation that multiplies, of those that are computed together under the last one's name.

    Args:
        op: The last one.
        of: The type that TensorFlow gave them.
    """
    if op.type in (*CONVOLUTIONS, *BACKWARD, "MatMul"):
        return op
    if "Fused" not in of or op.type not in ("BiasAdd", "Relu", "Relu6", "AddV2", "Add"):
        return None
    found = (multiplies(tensor.op, of) for tensor in op.inputs)
    return next((one for one in found if one is not None), None)


def products(op: Any, rows: int) -> float:
    """Multiplications and additions of a convolution or a product."""
    if op.type in CONVOLUTIONS:
        kernel, result = op.inputs[1].shape, op.outputs[0]
    elif op.type in BACKWARD:
        kernel, result = op.inputs[1].shape, op.inputs[2]
    else:
        return 2.0 * size(op.inputs[0], rows) * size(op.outputs[0], rows) / rows
    taps = int(kernel[0] * kernel[1]) * (1 if "Depthwise" in op.type else int(kernel[2]))
    return 2.0 * size(result, rows) * taps


def kind_of(op: Any) -> str:
    """What an operation is called in the table."""
    way = ", backward" if op.type in BACKWARD else ""
    if "Depthwise" in op.type:
        return f"depthwise convolutions{way}"
    if op.type in (*CONVOLUTIONS, *BACKWARD):
        height, width = op.inputs[1].shape[:2]
        return f"convolutions {height}×{width}{way}"
    return str(op.type)


def operations(chain: Chain) -> dict[str, Any]:
    """Those of all functions, by name."""
    functions: list[Any] = [*(segment.forward for segment in chain.segments), chain.backward]
    return {op.name: op for function in functions for op in function.graph.get_operations()}


def events(folder: str) -> Iterator[tuple[str, str, float]]:
    """The name, type and seconds of all that a profile has."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    (file,) = Path(folder).rglob("*.xplane.pb")
    space.ParseFromString(file.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, colon, type_ = plane.event_metadata[event.metadata_id].name.rpartition(":")
                # What TensorFlow does itself is called Class::Function, or Function: what for.
                if colon and not name.endswith(":") and not type_.startswith(" "):
                    yield name, type_, event.duration_ps / 1e12


def profile(compute: Callable[[], object]) -> list[tuple[str, str, float]]:
    """What TensorFlow did meanwhile."""
    import tensorflow as tf

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder, options)
        compute()
        tf.profiler.experimental.stop()
        return list(events(folder))


def best(compute: Callable[[], object]) -> float:
    """The least seconds of some calls."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        compute()
        times.append(time.perf_counter() - start)
    return min(times)


def roofs() -> tuple[float, float]:
    """Multiplications and additions a second, and bytes a second, of this machine at its best."""
    import tensorflow as tf

    a = tf.random.stateless_normal((4096, 1024), (0, 0))
    b = tf.random.stateless_normal((1024, 1024), (0, 1))
    large = tf.zeros(64 * 2**20)
    product = best(lambda: tf.matmul(a, b).numpy())
    return 2 * 4096 * 1024 * 1024 / product, 2 * 4 * 64 * 2**20 / best(
        lambda: (large + 1)[0].numpy()
    )


def measure(overrides: list[str]) -> tuple[dict[str, Work], float, int]:
    """The work by kind, all seconds, and the rows of the half batch that they are for."""
    experiment = prepare(compose([*overrides, "runtime.progress=none", "runtime.log_level=error"]))
    classifier = experiment.classifier
    chain, rows = classifier._chain("plain"), classifier.batch_size // 2
    some = experiment.images.take(range(min(rows, len(experiment.images)))).x
    x = some[np.resize(np.arange(len(some)), rows)]
    top = np.eye(classifier.n_classes, dtype=np.float32)[classifier.logits(x).argmax(axis=1)]
    import tensorflow as tf

    upper = tf.constant(top)

    def compute() -> None:
        for _ in range(REPEATS):
            Walk(chain, x).gradient({}, upper).numpy()

    compute()
    known, work = operations(chain), defaultdict[str, Work](Work)
    for name, type_, seconds in profile(compute):
        if (op := known.get(name)) is None:
            found = work[type_]
        else:
            inner = multiplies(op, type_)
            found = work[kind_of(inner or op)]
            found.products += products(inner, rows) if inner is not None else 0.0
            found.bytes += 4 * sum(size(t, rows) for t in (*(inner or op).inputs, *op.outputs))
        found.seconds += seconds
    return work, sum(one.seconds for one in work.values()), rows * REPEATS


def main() -> None:
    """Prints the kinds above 5 % of the time."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return
    work, whole, gradients = measure(arguments)
    speed, bandwidth = roofs()
    print(f"{processor_name()}; {whole / gradients * 1e3:.1f} ms a gradient, operations alone")
    print(
        f"roofs: {speed / 1e9:.0f} · 10⁹ operations a second, {bandwidth / 1e9:.1f} GB a second\n"
    )
    print(f"{'':38}{'share':>7}{'10⁹/s':>8}{'of roof':>9}{'GB/s':>7}{'of roof':>9}")
    for kind, one in sorted(work.items(), key=lambda item: -item[1].seconds):
        if one.seconds < SHOWN * whole:
            continue
        flops, moved = one.products / one.seconds, one.bytes / one.seconds
        print(
            f"{kind:38}{one.seconds / whole:7.1%}{flops / 1e9:8.0f}{flops / speed:9.0%}"
            f"{moved / 1e9:7.1f}{moved / bandwidth:9.0%}"
        )


if __name__ == "__main__":
    main()
