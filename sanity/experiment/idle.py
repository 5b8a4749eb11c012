"""Settings that were given and change nothing in a job: said before it begins."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sanity.analysis.verdicts import CASCADE
from sanity.contents import is_own

if TYPE_CHECKING:
    from sanity.experiment.prepare import Experiment


def idle_settings(experiment: "Experiment") -> list[str]:
    """The overrides that change nothing here, each with the reason.

    What a part of the job consists of says of itself which of its settings change nothing beside
    the others; here it is asked, and what was not given by name is left out, as defaults are.
    """
    given: dict[str, str] = {}
    for override in experiment.job.overrides:
        text = override.lstrip("+")
        key, equals, _ = text.partition("=")
        if equals and not text.startswith("~"):
            given[key] = text
    found = dict(_idle(experiment))
    return [
        f"{text} ({why})"
        for key, text in given.items()
        for path, why in found.items()
        if key == path or key.startswith(f"{path}.")
    ]


def _idle(experiment: "Experiment") -> Iterator[tuple[str, str]]:
    """Paths of settings that change nothing, whether they were given or not, and why."""
    job = experiment.job
    scheme, metrics = job.randomization, job.metrics.values()
    parts: dict[str, Mapping[str, str]] = {
        "data": _said(job.data, experiment.classifier.input_shape),
        "randomization": _said(scheme, experiment.classifier, experiment.layers),
        **{f"method.{name}": _said(method) for name, method in job.methods.items()},
        **{f"metric.{name}": _said(metric) for name, metric in job.metrics.items()},
    }
    inside = {f"{part}.{name}": why for part, found in parts.items() for name, why in found.items()}
    yield from inside.items()
    if not scheme.of_layers:
        yield "layers", "this randomization chooses no layers"
    taken = _paths(job.config["method"], "coordinates", "method")
    if not any(path not in inside for path in taken):
        yield "coordinates", "no method chosen takes them"
    if not any(method.depends_on_seed() for method in job.methods.values()):
        yield "noise_seed", "no method chosen draws"
    if all(metric.needs_regions for metric in metrics):
        yield from dict.fromkeys(("null_model", "null_images"), "the nulls are regions").items()
    elif experiment.others is None:
        yield "null_images", "the nulls are made without other images"
    if scheme.cascade() != CASCADE:
        for key in ("threshold", "early", "images"):
            yield f"verdict.{key}", f"verdicts are for randomization.order={CASCADE} alone"


def _said(part: Any, *beside: Any) -> Mapping[str, str]:
    """What a part says of itself; nothing if only the class says it that one's own derives from."""
    module = getattr(type(part).idle, "__module__", "sanity.")  # a field called idle has none
    if is_own(part) and module.startswith("sanity."):
        return {}
    found: Mapping[str, str] = part.idle(*beside)
    return found


def _paths(node: Any, name: str, path: str) -> Iterator[str]:
    """The paths of all keys of a name below a configuration's node."""
    if isinstance(node, Mapping):
        for key, inner in node.items():
            if key == name:
                yield f"{path}.{key}"
            yield from _paths(inner, name, f"{path}.{key}")
