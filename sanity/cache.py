"""Where converted and downloaded models are kept."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """The user's cache folder for `sanity`, or `SANITY_CACHE` where that is set."""
    return Path(os.environ.get("SANITY_CACHE") or user_cache_path("sanity"))
