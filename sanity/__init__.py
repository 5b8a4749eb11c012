"""Sanity checks for saliency maps.

Everything the command line does can be done from here; names are imported when first used, so that
`import sanity` is quick.
"""

import importlib
from typing import Any

_HOMES = {
    "ConfigError": "sanity.errors",
    "explain": "sanity.experiment",
    "load_images": "sanity.results",
    "load_masks": "sanity.results",
    "load_predictions": "sanity.results",
    "load_runs": "sanity.results",
    "run": "sanity.experiment",
}

__all__ = [
    "ConfigError",
    "explain",
    "load_images",
    "load_masks",
    "load_predictions",
    "load_runs",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sanity' has no attribute {name!r}")
