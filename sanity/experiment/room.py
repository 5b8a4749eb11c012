"""The memory and the disk that a job takes, and what to do where they do not suffice."""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sanity.errors import ConfigError
from sanity.experiment.explaining import held
from sanity.experiment.prepare import Experiment
from sanity.network.determinism import is_without_order
from sanity.network.rows import LEAST_ROWS
from sanity.network.tensorflow import is_out_of_memory

log = logging.getLogger(__name__)


@dataclass
class Batches:
    """How large batches are.

    Attributes:
        size: Images in one.
    """

    size: int


@contextmanager
def smaller_batch_proposed(batch_size: int) -> Iterator[Batches]:
    """Turns the end of memory into a sentence that proposes a smaller batch (ConfigError).

    And an op that a card computes otherwise each time into one that proposes the processor.

    Args:
        batch_size: As long as what is given says nothing else.
    """
    batches = Batches(batch_size)
    try:
        yield batches
    except Exception as error:
        if is_without_order(error):
            raise ConfigError(
                "this network has an operation that TensorFlow computes otherwise each time on a "
                "graphics card, so that no result would come again: with CUDA_VISIBLE_DEVICES=-1 "
                "in the environment it is computed on the processor"
            ) from error
        if not is_out_of_memory(error):
            raise
        batch_size = batches.size
        if batch_size > LEAST_ROWS:  # fewer are filled up with copies
            out = (
                f"the same command with runtime.batch_size={max(LEAST_ROWS, batch_size // 2)} goes "
                "on from what is finished, with the same results"
            )
        else:
            out = (
                f"a smaller one takes no less, as no fewer than {LEAST_ROWS} images go through the "
                "network together; fewer methods in a job, or smaller images, do"
            )
        raise ConfigError(f"memory ran out with runtime.batch_size={batch_size}: {out}") from error


def say_room(experiment: Experiment) -> int:
    """Logs what disk and memory a job takes, as far as that is known before it runs.

    Returns the bytes of its masks.

    The memory is the most that this process has taken so far, with model, images and, where a pass
    has been timed, a whole batch, and what is held of masks at a time.
    """
    settings, n_stages = experiment.job.settings, len(experiment.stages)
    kept = settings.masks.count(len(experiment.images))
    disk = kept * n_stages * experiment.mask_bytes
    where = _existing(Path(settings.output))
    free = shutil.disk_usage(where).free
    log.info("  on disk: masks of up to %.0f MB; %.0f MB are free", disk / 1e6, free / 1e6)
    if disk > free:
        log.warning("the masks may not fit on the disk: masks.keep=N stores those of N images")
    masks = held(experiment.at_once, n_stages) * experiment.mask_bytes
    if (taken := peak_memory()) is not None:
        said = "in memory: about %.1f GB with runtime.batch_size=%d, masks among them"
        log.info(f"  {said}", (taken + masks) / 1e9, experiment.classifier.batch_size)
    return disk


def peak_memory() -> int | None:
    """The most memory in bytes that this process has had; None where that cannot be told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _existing(path: Path) -> Path:
    """The path, or the first folder above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
