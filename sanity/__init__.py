"""Sanity checks for saliency maps.

Everything the command line does can be done from here; names are imported when first used, so that
`import sanity` is quick.
"""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"  # the only place that says it

if TYPE_CHECKING:
    from sanity.analysis.pairs import pairwise_tests, rank_methods
    from sanity.errors import ConfigError
    from sanity.experiment.explaining import explain
    from sanity.experiment.run import run
    from sanity.experiment.sweep import sweep
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
    "sweep": "sanity.experiment.sweep",
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
    "sweep",
]


def _adopt_conf() -> None:
    """Lets `sanity.conf` be found where it lies beside the package, as in a clone."""
    file = Path(__file__).parents[1] / "conf" / "__init__.py"
    if Path(__file__).with_name("conf").exists() or not file.exists():
        return
    spec = spec_from_file_location("sanity.conf", file)
    if spec is not None:
        sys.modules.setdefault("sanity.conf", module_from_spec(spec))


_adopt_conf()


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a name that there is not is an error to type checkers

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sanity' has no attribute {name!r}")
        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found
