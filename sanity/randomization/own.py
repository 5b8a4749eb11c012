"""Stages as a scheme gives them, and what is not taken of those of one's own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.checked import own_code, read_only
from sanity.contents import is_own
from sanity.errors import ConfigError
from sanity.randomization.base import Scheme
from sanity.randomization.stage import Stage

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


def stages_of(
    scheme: Scheme, classifier: "Classifier", layers: Sequence[str], seed: int
) -> list[Stage]:
    """A scheme's stages; of one's own their draws are looked at whenever they are made.

    Args:
        scheme: The randomization.
        classifier: The network.
        layers: The blocks chosen, from output to input.
        seed: Of whatever is drawn.

    Raises:
        ConfigError: They are no sequence of states that begins with the trained one; or a draw is
            not of its variable, or another one when it is asked for again.
    """
    with classifier.weights.restored(), own_code("randomization"):
        stages = scheme.stages(classifier, layers, seed)
    if not is_own(scheme):
        return stages
    if not isinstance(stages, Sequence) or not all(isinstance(stage, Stage) for stage in stages):
        raise _refused(f"stages() must give a list of Stage, not {type(stages).__name__}")
    _check_order(stages)
    for stage in stages[1:]:
        _check_stage(stage, classifier)
    if twice := {s.layer for s in stages if [t.layer for t in stages].count(s.layer) > 1}:
        raise _refused(f"two stages are called {', '.join(sorted(twice))}: each needs its own name")
    kept: dict[str, np.ndarray] = {}
    stages = [replace(s, index=int(s.index), draw=_sound_draw(s, classifier, kept)) for s in stages]
    asked: set[str] = set()
    for stage in stages:
        trained = (np.array_equal(stage.draw(n), classifier.trained[n]) for n in stage.variables)
        if stage.variables and all(trained):
            raise _refused(f"the stage {stage.layer} changes nothing: it draws the trained values")
        new = [name for name in stage.variables if name not in asked]
        asked.update(new)
        for name in new or stage.variables[:1]:
            if not np.array_equal(stage.draw(name), stage.draw(name)):
                raise _refused(
                    f"the stage {stage.layer} gives other values of {name} when it is asked again: "
                    "draw them from sanity.randomness.generator('mine', seed, name)"
                )
    return stages


def _check_order(stages: Sequence[Stage]) -> None:
    """Refuses stages that do not count from the trained one on (ConfigError)."""
    indices = [int(stage.index) for stage in stages]
    if len(stages) < 2 or indices != list(range(len(stages))):
        raise _refused(
            f"stages must be numbered 0, 1, 2, …, 0 being the network as trained, not {indices}"
        )
    if len(stages[0].variables) or stages[0].classes:
        raise _refused("stage 0 is the network as trained, and must have no variables or classes")


def _check_stage(stage: Stage, classifier: "Classifier") -> None:
    """Refuses a stage without a name, or that changes nothing that there is (ConfigError)."""
    if not isinstance(stage.layer, str) or stage.layer in ("", "trained"):
        raise _refused(f"stage {stage.index} must have a name of its own, not {stage.layer!r}")
    unknown = [name for name in stage.variables if name not in classifier.parameters]
    if isinstance(stage.variables, str) or unknown:
        given = stage.variables if isinstance(stage.variables, str) else unknown[0]
        raise _refused(
            f"variables of the stage {stage.layer} must be a tuple of names of variables, and "
            f"{given!r} is none: sanity-inspect shows them"
        )
    if not stage.variables and stage.classes is None:
        raise _refused(f"the stage {stage.layer} changes nothing: it has no variables or classes")


def _sound_draw(
    stage: Stage, classifier: "Classifier", kept: dict[str, np.ndarray]
) -> Callable[[str], np.ndarray]:
    """A stage's draw, checked, in its variable's type.

    What equals the last draw of a variable is the same array: then what stages have in common need
    not be computed again.
    """

    def draw(name: str) -> np.ndarray:
        with own_code("randomization"):
            given = stage.draw(name)
        found = _values(given, name, classifier.trained[name])
        if name not in kept or not np.array_equal(kept[name], found):
            kept[name] = read_only(found)
        return kept[name]

    return draw


def _values(given: Any, name: str, trained: np.ndarray) -> np.ndarray:
    """A draw as its variable takes it, a copy (ConfigError: it cannot be taken)."""
    values = np.asarray(given)
    if values.shape != trained.shape or values.dtype.kind not in "fiub":
        what = type(given).__name__ if values.dtype.kind not in "fiub" else f"{values.shape}"
        raise _refused(f"the draw of {name} gives {what}, but it must be of {trained.shape}")
    with np.errstate(over="ignore"):
        found = np.array(values, trained.dtype)
    if not np.isfinite(found.astype(np.float32)).all():
        raise _refused(f"the draw of {name} has values that are not finite in {trained.dtype}")
    return found


def _refused(what: str) -> ConfigError:
    return ConfigError(f"randomization: {what}")
