"""The files of runs: written unit by unit, and read by whoever wants to know."""

from sanity.results.folder import RunFolder
from sanity.results.listing import find_runs, runs
from sanity.results.load import load_images, load_masks, load_predictions, load_runs
from sanity.results.masks import masks_nbytes

__all__ = [
    "RunFolder",
    "find_runs",
    "load_images",
    "load_masks",
    "load_predictions",
    "load_runs",
    "masks_nbytes",
    "runs",
]
