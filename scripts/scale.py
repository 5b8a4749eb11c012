"""What jobs of few and many images take: time, memory, and how soon the first gradient is there.

Each is a job of two stages by Gradient that stores no masks and draws nothing, in a process of its
own, over JPEG images that are made for it and indexed beforehand. Memory should not grow, and time
in proportion. A job shows how far it is, and its line is printed when it is through: what is there
when Ctrl-C ends the rest is whole.

    ./scripts/bench scale [--images 10,1000,20000] [--model efficientnet_lite0] [KEY=VALUE ...]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sanity.config.job import compose  # noqa: E402
from sanity.experiment import run as running  # noqa: E402
from sanity.network.devices import processor_name  # noqa: E402
from sanity.network.tensorflow import start_tensorflow  # noqa: E402

SIZE = (320, 240)  # of the images, pixels
PHOTOGRAPH = (10, 8)  # of what they show, which is made larger
JOB = [
    *("method=[gradient]", "metric=[ssim,spearman]", "layers.last=1", "masks.keep=none"),
    *("figures=none", "report=false", "originals=false"),
    *("runtime.progress=bar", "runtime.log_level=error"),  # the bar goes to stderr
]
# Networks that are trained here learn something else than the images explained.
TRAINED = {
    "cnn": ["model.data={_target_: sanity.data.AnimalMnist}", "model.stop_at=0.5"],
    "mlp": ["model.data={_target_: sanity.data.AnimalMnist}", "model.stop_at=0.5"],
}


def make_images(folder: Path, count: int) -> None:
    """Makes so many JPEG files of smooth random colours, no two alike."""
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (*PHOTOGRAPH[::-1], 3), np.uint8)
        picture = Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC)
        picture.save(folder / f"made_{number:06d}.jpg", quality=85)


def processor() -> str:
    """The processor's name, and how many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor_name()}, {cores} cores"


def measure(overrides: list[str]) -> dict[str, float]:
    """Seconds of a job after start-up and to its first gradient, and its greatest memory in GB.

    Start-up ends when the model is loaded and traced, the images' names are known and all that is
    to come has been said.
    """
    asked = compose(overrides)
    start_tensorflow(asked.settings.runtime.threads)
    import tensorflow as tf

    from sanity.network.batch_gradient import BatchGradient

    at: dict[str, float] = {}
    announce, each = vars(running)["announce"], BatchGradient._each

    def announced(experiment: Any) -> Any:
        times = announce(experiment)
        at["ready"] = time.perf_counter()
        return times

    def timed(self: BatchGradient, *given: Any) -> Any:
        found = each(self, *given)
        if "ready" in at and "first" not in at:
            tf.test.experimental.sync_devices()  # a graphics card is only told what to do
            at["first"] = time.perf_counter()
        return found

    vars(running)["announce"] = announced
    setattr(BatchGradient, "_each", timed)  # noqa: B010 - mypy takes no method for another
    try:
        running.run(asked)
        ended = time.perf_counter()
    finally:
        vars(running)["announce"] = announce
        setattr(BatchGradient, "_each", each)  # noqa: B010
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": ended - at["ready"],
        "first": at["first"] - at["ready"],
        "peak": peak * unit / 1e9,
    }


def table(counts: list[int], model: str, overrides: list[str]) -> None:
    """A line for each number of images."""
    print(f"{model}, 2 stages, Gradient, masks.keep=none; {processor()}")
    columns = ("indexed, s", "first gradient, s", "after start-up, s", "an image, ms", "peak, GB")
    print(f"{'images':>8s}" + "".join(f"{name:>19s}" for name in columns), flush=True)
    with tempfile.TemporaryDirectory() as top:
        for count in counts:
            folder = Path(top) / str(count)
            print(f"making {count:,} images", file=sys.stderr, flush=True)
            make_images(folder, count)
            asked = [f"model={model}", *TRAINED.get(model, []), "data=folder", *JOB, *overrides]
            asked += [f"data.path={folder}", f"output={top}/outputs"]
            time.sleep(2.5)  # an image that has just been made is not taken for one that is known
            start = time.perf_counter()
            compose(asked)
            indexed = time.perf_counter() - start
            command = [sys.executable, __file__, "--measure", *asked]
            found = json.loads(subprocess.check_output(command).splitlines()[-1])
            each = found["seconds"] / count * 1e3
            values = (indexed, found["first"], found["seconds"], each, found["peak"])
            print(f"{count:8d}" + "".join(f"{value:19.2f}" for value in values), flush=True)


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", default="10,1000,20000", help="how many, in turn")
    parser.add_argument("--model", default="efficientnet_lite0", help="an option of model")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the jobs")
    asked = parser.parse_intermixed_args()
    try:
        if asked.measure:
            print(json.dumps(measure(asked.overrides)))
        else:
            counts = [int(count) for count in asked.images.split(",")]
            table(counts, asked.model, asked.overrides)
    except KeyboardInterrupt:
        sys.exit(130 if asked.measure else "stopped: the lines above are whole, this job has none")


if __name__ == "__main__":
    main()
