"""Randomized weights: the sequence of states through which a network loses what it learned."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import field_validator

from sanity.checked import checked
from sanity.data import as_dataset
from sanity.errors import ConfigError, did_you_mean
from sanity.randomization.base import Scheme
from sanity.randomization.initializers import (
    IDENTITY,
    INITIALIZERS,
    Reinitialize,
    TruncatedNormal,
    Variable,
    Zeros,
)
from sanity.randomization.moving_statistics import Calibration
from sanity.randomization.stage import Stage
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.anatomy.parameters import Parameter
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)


_NAMED = 3  # variables that a line names
_ROOM = 2**30  # bytes of fresh draws that are kept; what is beyond is drawn again
Order = Literal["cascading", "cascading_bottom_up", "independent", "full", "random_order"]
Policy = Literal["draw", "identity", "keep"]
# The option that says what becomes of each kind of variable; a kind without one is kept.
_KEYS = {
    "bias": "biases",
    "scale": "batch_norm",
    "offset": "batch_norm",
    "moving_mean": "moving_statistics",
    "moving_variance": "moving_statistics",
    "slope": "slopes",
    "token": "tokens",
    "position": "positions",
}
_WHAT = {
    "biases": "biases",
    "batch_norm": "scales or offsets",
    "moving_statistics": "moving statistics",
    "slopes": "slopes of PReLU",
    "tokens": "tokens",
    "positions": "embeddings of places",
}


@checked
class Randomization(Scheme):
    """Randomizes blocks in some order.

    Attributes:
        order: `cascading` randomizes block after block from the output on and keeps those before
            randomized (Adebayo et al. 2018, section 3); `cascading_bottom_up` from the input on
            (Binder et al. 2023); `random_order` in an order drawn by the seed; `independent` one
            block at a time; `full` all at once, in one stage.
        draws: `nested` draws a variable once a seed; `fresh` anew at each stage.
        initializer: What is drawn: a name in `sanity.randomization.INITIALIZERS`, or a callable
            (in a YAML: its `_target_` and fields).
        kernels: `all` of a block are drawn, the `first` one in the graph, or all kept.
        biases: Drawn, set to 0 (`identity`) or kept.
        batch_norm: Scale and offset, of layer norm and of layers as well: drawn, set to 1 and 0, or
            kept.
        moving_statistics: Moving mean and variance: drawn, set to 0 and 1, kept, or re-estimated:
            in all batch norms behind a randomized variable they become the moments of what is
            normalised, over the images of `calibration`.
        slopes: Of PReLU's negative part: drawn, set to 0, which makes it a ReLU, or kept.
        tokens: What stands beside the images' features, as a class token: drawn, set to 0 or kept.
        positions: Embeddings of places, added to features: drawn, set to 0 or kept.
        calibration: `samples`, the 20 embedded images, or a data spec, of which the first 20.
    """

    order: Order = "cascading"
    draws: Literal["nested", "fresh"] = "nested"
    initializer: Any = TruncatedNormal()
    kernels: Literal["all", "first", "keep"] = "all"
    biases: Policy = "identity"
    batch_norm: Policy = "identity"
    moving_statistics: Policy | Literal["reestimate"] = "reestimate"
    slopes: Policy = "identity"
    tokens: Policy = "draw"
    positions: Policy = "draw"
    calibration: Any = "samples"

    @field_validator("initializer")
    @classmethod
    def _known_initializer(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in INITIALIZERS:
                hint = did_you_mean(value, INITIALIZERS)
                raise ValueError(f"is none of {', '.join(INITIALIZERS)}{hint}")
            return INITIALIZERS[value]()
        if not callable(value) or isinstance(value, type):
            raise ValueError(f"must name one of {', '.join(INITIALIZERS)} or have a _target_")
        return value

    @field_validator("calibration")
    @classmethod
    def _known_calibration(cls, value: Any) -> Any:
        if value == "samples":
            return value
        if isinstance(value, str | int | float | bool | list | None):
            raise ValueError("must be samples, or a data option's node such as '${data}'")
        return as_dataset(value, "randomization.calibration")

    def stages(self, classifier: "Classifier", layers: Sequence[str], seed: int) -> list[Stage]:
        """The stages, the trained network first.

        A draw is keyed by (seed, the variable's name), and by the stage if it is fresh.

        Args:
            classifier: Whose weights are randomized.
            layers: Blocks, from output to input.
            seed: Of the draws and of a random order.

        Raises:
            ConfigError: A block holds nothing to randomize, or a draw makes no sense there.
        """
        blocks = {layer: self._chosen(classifier, layer) for layer in layers}
        draws = _draws(self, classifier, seed)
        calibration = None
        if self.moving_statistics == "reestimate" and classifier.batch_norms:
            calibration = Calibration(classifier, self.calibration)
        stages = [Stage(0, "", (), draws(0))]
        for index, (layer, new, changed) in enumerate(self._steps(blocks, seed), start=1):
            draw = draws(index)
            depth = min(classifier.parameters[name].depth for name in new)
            variables = changed
            if calibration:
                variables, draw = _recalibrated(calibration, changed, draw)
            stages.append(Stage(index, layer, variables, draw, new=new, depth=depth))
        self._announce(classifier, stages)
        for stage in stages:  # what cannot be is found out before anything is computed
            for name in stage.variables if self.moving_statistics == "draw" else ():
                if classifier.parameters[name].kind == "moving_variance":
                    stage.draw(name)
        return stages

    def cascade(self) -> str | None:
        """Its order."""
        return self.order

    def policy(self, kind: str) -> str:
        """What becomes of a kind of variable: draw, identity, keep or reestimate."""
        if kind == "kernel":
            return "keep" if self.kernels == "keep" else "draw"
        key = _KEYS.get(kind)
        return "keep" if key is None else getattr(self, key)

    def taken(self, classifier: "Classifier", layer: str) -> tuple[str, ...]:
        """The variables of a block that are drawn or reset, from input to output."""
        chosen, kernels = [], 0
        for name, parameter in classifier.parameters.items():
            if parameter.block != layer or self.policy(parameter.kind) not in ("draw", "identity"):
                continue
            kernels += parameter.kind == "kernel"
            if parameter.kind != "kernel" or self.kernels == "all" or kernels == 1:
                chosen.append(name)
        return tuple(chosen)

    def survivors(self, classifier: "Classifier", layers: Sequence[str]) -> list[str] | None:
        """The learned parameters in no block, or of a kind that no option is about.

        What the options keep is kept on purpose: it is not among them.
        """
        if self.order == "independent" or {*layers} != {*classifier.blocks}:
            return None
        taken = {name for layer in layers for name in self.taken(classifier, layer)}
        return [
            name
            for name, parameter in classifier.parameters.items()
            if parameter.learned and name not in taken and not self._keeps(parameter.kind)
        ]

    def idle(self, classifier: "Classifier", layers: Sequence[str]) -> dict[str, str]:
        """Options about variables that the blocks do not have, or about draws without any.

        Args:
            classifier: The network.
            layers: The blocks chosen.
        """
        chosen = [p for p in classifier.parameters.values() if p.block in layers]
        kinds = {parameter.kind for parameter in chosen}
        there = {_KEYS.get(kind) for kind in kinds}
        found = {
            key: f"the blocks chosen have no {what}"
            for key, what in _WHAT.items()
            if key not in there
        }
        if classifier.batch_norms:  # statistics are re-estimated in all blocks
            found.pop("moving_statistics", None)
        if self.moving_statistics != "reestimate" or not classifier.batch_norms:
            found["calibration"] = "no moving statistics are re-estimated"
        kernels = Counter(p.block for p in chosen if p.kind == "kernel")
        if self.kernels == "first" and max(kernels.values(), default=0) < 2:
            found["kernels"] = "no block chosen has a second kernel"
        if not any(self.policy(kind) == "draw" for kind in kinds):
            found |= dict.fromkeys(("initializer", "draws"), "nothing is drawn")
        elif isinstance(self.initializer, Zeros):
            found["draws"] = "zeros are the same at every stage"
        return found

    def _keeps(self, kind: str) -> bool:
        """Whether the options say that variables of a kind stay as trained, or may."""
        if kind == "kernel":
            return self.kernels != "all"
        return kind in _KEYS and self.policy(kind) == "keep"

    def _chosen(self, classifier: "Classifier", layer: str) -> tuple[str, ...]:
        """The variables of a block that are drawn or reset, some of which there must be."""
        chosen = self.taken(classifier, layer)
        if not chosen:
            raise ConfigError(
                f"The block {layer} of {classifier.name} has nothing to randomize with "
                f"randomization.kernels={self.kernels} "
                + " ".join(f"{key}={getattr(self, key)}" for key in dict.fromkeys(_KEYS.values()))
            )
        return chosen

    def _steps(
        self, blocks: dict[str, tuple[str, ...]], seed: int
    ) -> Iterable[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Of each stage: the block, its variables, and all variables that are changed."""
        layers = list(blocks)
        if self.order == "full":
            together = tuple(name for chosen in blocks.values() for name in chosen)
            yield "all", together, together
            return
        if self.order == "cascading_bottom_up":
            layers.reverse()
        elif self.order == "random_order":
            generator("order", seed).shuffle(layers)
        changed: tuple[str, ...] = ()
        for layer in layers:
            changed = (() if self.order == "independent" else changed) + blocks[layer]
            yield layer, blocks[layer], changed

    def _announce(self, classifier: "Classifier", stages: Sequence[Stage]) -> None:
        """Says what is not to be seen in the configuration."""
        drawn = {name for stage in stages for name in stage.new}
        if self.order == "random_order":
            log.info("order: %s", ", ".join(stage.layer for stage in stages[1:]))
        unsure = [p for p in map(classifier.parameters.get, classifier.network.uncertain) if p]
        reset = [p for p in unsure if p.name in drawn and self.policy(p.kind) == "identity"]
        if reset:
            log.warning(
                "not drawn but set to what does nothing, though they may be filters: %s; %s draws "
                "such ones",
                ", ".join(f"{p.name} ({p.kind}, to {IDENTITY[p.kind]:.0f})" for p in reset[:_NAMED])
                + ", …" * (len(reset) > _NAMED),
                " ".join(f"randomization.{k}=draw" for k in sorted({_KEYS[p.kind] for p in reset})),
            )
        if isinstance(self.initializer, Reinitialize):
            kinds = [classifier.parameters[n].kind for n in drawn - classifier.initializers.keys()]
            inferred = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(kinds).items()))
            log.info(
                "reinitialize: %d variables as their layers do, %d by what they are%s",
                len(drawn) - len(kinds),
                len(kinds),
                f" ({inferred}; kernels by a truncated normal of variance 2/fan_in)"
                if inferred
                else "",
            )


def _draws(
    randomization: Randomization, classifier: "Classifier", seed: int
) -> Callable[[int], Callable[[str], np.ndarray]]:
    """The draw of each stage, made once: fresh ones up to a bound of memory."""
    initializer = randomization.initializer
    own = not type(initializer).__module__.startswith("sanity.")
    looked_at: set[str] = set()

    def draw(name: str, *stage: int) -> Any:
        random = generator("weights", seed, name, *stage)
        variable = _variable(classifier, classifier.parameters[name])
        try:
            return initializer(random, variable)
        except TypeError as error:
            log.debug("an initializer failed", exc_info=True)
            raise ConfigError(
                f"randomization.initializer={initializer} must be callable as "
                f"(random, variable) -> values, and fails for {name}"
            ) from error

    def values(name: str, *stage: int) -> np.ndarray:
        parameter = classifier.parameters[name]
        if randomization.policy(parameter.kind) == "identity":
            drawn = np.full(parameter.shape, IDENTITY[parameter.kind])
        else:
            drawn = draw(name, *stage)
            if own and name not in looked_at:
                looked_at.add(name)
                drawn = np.array(drawn)  # which it may give again and again
                again = draw(name, *stage)
                if not np.array_equal(drawn, again, equal_nan=drawn.dtype.kind == "f"):
                    raise ConfigError(
                        f"randomization.initializer={initializer} gives other values of {name} "
                        "when it is asked again: it must keep nothing, and draw from the "
                        "generator that it is given"
                    )
        return _sound(randomization, parameter, drawn, classifier.trained[name].dtype)

    nested = cache(values)
    room = _ROOM
    fresh: dict[tuple[int, str], np.ndarray] = {}

    def draw_fresh(stage: int, name: str) -> np.ndarray:
        nonlocal room
        if (stage, name) in fresh:
            return fresh[stage, name]
        drawn = values(name, stage)
        if drawn.nbytes <= room:  # each batch of images asks for all stages' draws again
            room -= drawn.nbytes
            fresh[stage, name] = drawn
        return drawn

    def of(stage: int) -> Callable[[str], np.ndarray]:
        return nested if randomization.draws == "nested" else partial(draw_fresh, stage)

    return of


def _variable(classifier: "Classifier", parameter: "Parameter") -> Variable:
    length = parameter.size
    return Variable(
        parameter.name,
        parameter.shape,
        parameter.kind,
        parameter.fan_in or length,
        parameter.fan_out or length,
        classifier.trained[parameter.name],
        classifier.initializers.get(parameter.name),
    )


def _sound(
    randomization: Randomization, parameter: "Parameter", drawn: Any, dtype: np.dtype
) -> np.ndarray:
    """A draw in its variable's type; refuses what no network can compute with."""
    what = f"randomization.initializer={randomization.initializer} gives {parameter.name}"
    values = np.asarray(drawn)
    if values.shape != parameter.shape:
        raise ConfigError(f"{what} the shape {values.shape}, but it must be {parameter.shape}")
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > _greatest(dtype):
        raise ConfigError(f"{what} values that are not finite in {dtype}")
    if parameter.kind == "moving_variance" and values.min(initial=0) < 0:
        raise ConfigError(
            f"{what} a negative variance ({values.min():.3g}), which has no square root: with "
            "this initializer randomization.moving_statistics must be identity, keep or reestimate"
        )
    return values.astype(dtype)


def _greatest(dtype: np.dtype) -> float:
    """The greatest value of a type, bfloat16 among them."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]  # without types


def _recalibrated(
    calibration: Calibration, changed: tuple[str, ...], draw: Callable[[str], np.ndarray]
) -> tuple[tuple[str, ...], Callable[[str], np.ndarray]]:
    """A stage's variables and draw, with the moving statistics that fit them."""
    behind = calibration.after(changed)

    @cache
    def statistics() -> dict[str, np.ndarray]:
        return calibration.statistics({name: draw(name) for name in changed}, behind)

    wanted = set(behind)
    return (*changed, *behind), lambda name: statistics()[name] if name in wanted else draw(name)
