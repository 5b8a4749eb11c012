"""Classifiers of this process, so that a sweep loads and traces a model once for many jobs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.models.base import Model

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

_KEPT = 2  # a sweep over models goes through them one by one
_classifiers: dict[str, "Classifier"] = {}  # the one used last comes last


def load_kept(model: Model, node: Mapping[str, Any], *, dry: bool = False) -> "Classifier":
    """A model's classifier with its trained weights, from an earlier job with the same model.

    A model whose files have changed since is loaded again. In a dry run, one that would have to be
    trained first keeps its first weights, and no other job gets it.

    Args:
        model: Loads it.
        node: Its configuration, which tells it from others.
        dry: Whether it is only looked at.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    untrained = dry and model.retrainable
    key = json.dumps([node, list(files(node)), untrained], sort_keys=True, default=str)
    classifier = _classifiers.pop(key, None)
    if classifier is None:
        classifier = model.load_untrained() if untrained else model.load()
    classifier.weights.put({})
    _classifiers[key] = classifier
    while len(_classifiers) > _KEPT:
        del _classifiers[next(iter(_classifiers))]
    return classifier


# Keys whose value may be a file's bare name.
_PATHS = ("path", "handle", "references", "architecture")


def files(value: Any, key: str = "") -> Iterator[tuple[str, int, int]]:
    """Path, size and time of all files that the values of a configuration lead to."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from files(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from files(item, key)
    elif isinstance(value, str) and ("/" in value or key in _PATHS):
        path = Path(value).expanduser()
        for file in [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]:
            if file.is_file():
                stat = file.stat()
                yield str(file), stat.st_size, stat.st_mtime_ns
