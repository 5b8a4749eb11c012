"""Sanity checks for saliency maps.

Everything the command line does can be done from here; names are imported when first used, so that
`import sanity` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"  # the only place that says it

if TYPE_CHECKING:
    from sanity.analysis.pairs import pairwise_tests, rank_methods
    from sanity.errors import ConfigError
    from sanity.experiment.explaining import explain
    from sanity.experiment.run import run
    from sanity.results import load_images, load_masks, load_predictions, load_runs, runs

_HOMES = {
    "ConfigError": "sanity.errors",
    "explain": "sanity.experiment.explaining",
    "load_images": "sanity.results",
    "load_masks": "sanity.results",
    "load_predictions": "sanity.results",
    "load_runs": "sanity.results",
    "pairwise_tests": "sanity.analysis.pairs",
    "rank_methods": "sanity.analysis.pairs",
    "run": "sanity.experiment.run",
    "runs": "sanity.results",
}

__all__ = [
    "__version__",
    "ConfigError",
    "explain",
    "load_images",
    "load_masks",
    "load_predictions",
    "load_runs",
    "pairwise_tests",
    "rank_methods",
    "run",
    "runs",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a name that there is not is an error to type checkers

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sanity' has no attribute {name!r}")
        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found
