"""Classifiers of this process, so that a sweep loads and traces a model once for many jobs."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sanity.contents import by_content
from sanity.errors import ConfigError
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
    key = json.dumps([by_content(node, model), untrained], sort_keys=True, default=str)
    classifier = _classifiers.pop(key, None)
    if classifier is None:
        classifier = model.load_untrained() if untrained else model.load()
        if not hasattr(classifier, "parameters") or not hasattr(classifier, "batch_gradient"):
            raise ConfigError(
                f"model={type(model.origin()).__name__} must load a Classifier, not "
                f"{type(classifier).__name__}: sanity.network.classifier.Classifier makes one of a "
                "function, and model=keras or model=saved_model of a file"
            )
    classifier.weights.put({})
    _classifiers[key] = classifier
    while len(_classifiers) > _KEPT:
        del _classifiers[next(iter(_classifiers))]
    return classifier
