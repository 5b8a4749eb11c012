"""Classifiers of this process, so that a sweep loads and traces a model once for many jobs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanity.config.job import Job
    from sanity.network.classifier import Classifier

_KEPT = 2  # a sweep over models goes through them one by one
_classifiers: dict[str, "Classifier"] = {}  # the one used last comes last


def loaded(job: "Job") -> "Classifier":
    """The classifier of a job with its trained weights, from an earlier job with the same model.

    A model whose files have changed since is loaded again. In a dry run, one that would have to be
    trained first keeps its first weights, and no other job gets it.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    node = job.config["model"]
    dry = job.settings.dry_run and getattr(job.model, "retrainable", False)
    key = json.dumps([node, list(files(node)), dry], sort_keys=True, default=str)
    classifier = _classifiers.pop(key, None)
    if classifier is None:
        classifier = job.model.load(train=False) if dry else job.model.load()
    classifier.set_weights({})
    _classifiers[key] = classifier
    while len(_classifiers) > _KEPT:
        del _classifiers[next(iter(_classifiers))]
    return classifier


# Keys whose value may be a file's bare name.
_PATHS = ("path", "handle", "references", "architecture")


def files(value: Any, key: str = "") -> Iterator[tuple[str, int, int]]:
    """Path, size and time of all files that the values of a configuration lead to."""
    if isinstance(value, dict):
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
