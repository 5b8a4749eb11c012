"""Options for jobs that are to be quick, or to fail; their YAMLs are in `tests/conf`."""

import json
import os
import signal
import time
from pathlib import Path

from hydra.experimental.callback import Callback

from sanity.checked import checked
from sanity.methods import Gradient

CONF = Path(__file__).parent / "conf"
# A job of a second or so, for `compose` and for the command line, and its methods.
ANY = [
    f"hydra.searchpath=[file://{CONF}]",
    "model=small",
    "metric=[ssim,spearman]",
    "data.limit=4",
    "masks.keep=1",
    "runtime.progress=none",
    "figures=none",  # with the page, four fifths of the time of such a job
    "report=false",
]
PICTURES = ["figures=grids", "report=true"]
QUICK = [*ANY, "method=[gradient,smoothgrad]", "method.smoothgrad.samples=3"]


def run_interrupted(overrides, units):
    """Starts a job that is interrupted once it has written so many units."""
    import pytest  # not for the commands that take their options from here

    import sanity
    from sanity.results.folder import RunFolder

    write, left = RunFolder.write_unit, iter(range(units))

    def interrupted(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(*args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "write_unit", interrupted)
        sanity.run(overrides=overrides)


@checked
class Small:
    blocks: list[str]
    path: str | None = None  # of a file that it might have been read from

    def load(self):
        from tests.networks import small_classifier

        return small_classifier(blocks=self.blocks)


@checked
class Broken:
    """A method with a fault."""

    def masks(self, classifier, images, targets, seed):
        raise ZeroDivisionError("by nought\nand more")


@checked
class Killed:
    """A method that the machine has no memory for."""

    def masks(self, classifier, images, targets, seed):
        os.kill(os.getpid(), signal.SIGKILL)


@checked
class KilledOnce:
    """A method at whose third call for a randomized network, of all processes', memory runs out.

    The file that the environment names gets a line for each call.
    """

    def masks(self, classifier, images, targets, seed):
        path = Path(os.environ["KILLED_ONCE"])
        with path.open("a") as file:
            file.write("randomized\n" if classifier.weights.changed else "trained\n")
            file.flush()
            end = file.tell()
        said = path.read_text()[:end].splitlines()
        if said[-1] == "randomized" and said.count("randomized") == 3:
            time.sleep(2)  # till the first two are stored
            os.kill(os.getpid(), signal.SIGKILL)
        return images.x


@checked
class Input(Gradient):
    """No control, though one of this package has its name."""


class Spy(Callback):
    """A callback of Hydra's, as users have, that writes down what it hears."""

    def on_multirun_start(self, config, **kwargs):
        self._write(event="multirun_start")

    def on_multirun_end(self, config, **kwargs):
        self._write(event="multirun_end")

    def on_job_end(self, config, job_return, **kwargs):
        found = job_return._return_value
        told = {"error": str(found)}
        if job_return.status.name == "COMPLETED":
            told = {"folder": str(found.folder), "rows": len(found.scores)}
        self._write(event="job_end", status=job_return.status.name, **told)

    def _write(self, **told):
        with open("seen.jsonl", "a") as file:
            file.write(json.dumps(told) + "\n")
