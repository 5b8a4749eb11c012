"""Randomization: the sequence of weight states through which a network loses what it learned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.classifier import Classifier
    from sanity.parameters import Parameter

Order = Literal["cascading"]
_CUT = 2.0  # standard deviations at which a truncated normal ends
# Standard deviation of a standard normal truncated at two: what a draw is divided by, so that its
# variance after truncation is the one asked for (as TensorFlow's VarianceScaling does).
_TRUNCATED_STD = 0.8796256610342398


@dataclass(frozen=True)
class Stage:
    """One state of the weights.

    Attributes:
        index: 0 is the network as trained.
        layer: The block randomized at this stage; `""` at stage 0.
        variables: Names of all variables that differ from the trained ones.
        draw: Gives the value of such a variable.
        facts: What else is known of it, for run.json and the log.
    """

    index: int
    layer: str
    variables: tuple[str, ...]
    draw: Callable[[str], np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_randomized(self) -> int:
        """How many variables differ from the trained ones."""
        return len(self.variables)

    def weights(self) -> dict[str, np.ndarray]:
        """What `Classifier.set_weights` puts in place."""
        return {name: self.draw(name) for name in self.variables}


@checked
class Randomization:
    """Randomizes blocks in some order.

    Attributes:
        order: `cascading` randomizes block after block from the output on and keeps those before
            randomized (Adebayo et al. 2018, section 3).
        kernels: What becomes of kernels; see `INITIALIZERS`.
        biases: What becomes of biases, batch norm's offset not among them.
    """

    order: Order = "cascading"
    kernels: Literal["truncated_normal", "keep"] = "truncated_normal"
    biases: Literal["zeros", "keep"] = "zeros"

    def stages(self, classifier: "Classifier", layers: Sequence[str], seed: int) -> list[Stage]:
        """The stages, the trained network first.

        Draws are nested: a variable is drawn once a seed, and keyed by (seed, its name) alone.

        Args:
            classifier: Whose weights are randomized.
            layers: Blocks, from output to input.
            seed: Of the draws.

        Raises:
            ConfigError: A block holds nothing to randomize.
        """
        policies = {"kernel": self.kernels, "bias": self.biases}
        parameters = classifier.parameters

        @cache
        def draw(name: str) -> np.ndarray:
            parameter = parameters[name]
            initializer = INITIALIZERS[policies[parameter.kind]]
            values = initializer(generator("weights", seed, name), parameter)
            return values.astype(classifier.trained[name].dtype)

        stages = [Stage(0, "", (), draw)]
        randomized: tuple[str, ...] = ()
        for index, layer in enumerate(layers, start=1):
            chosen = tuple(
                name
                for name, parameter in parameters.items()
                if parameter.block == layer and policies.get(parameter.kind, "keep") != "keep"
            )
            if not chosen:
                raise ConfigError(
                    f"The block {layer} of {classifier.name} has nothing to randomize"
                )
            randomized += chosen
            stages.append(Stage(index, layer, randomized, draw))
        return stages


def truncated_normal(random: np.random.Generator, parameter: "Parameter") -> np.ndarray:
    """Draws whose variance after truncation at two standard deviations is 2/fan_in.

    He et al. 2015, equation 10; truncated as `tf.keras.initializers.HeNormal`.
    """
    from scipy.special import ndtr, ndtri

    uniform = random.uniform(ndtr(-_CUT), ndtr(_CUT), parameter.shape)
    return ndtri(uniform) * (np.sqrt(2 / parameter.fan_in) / _TRUNCATED_STD)


def zeros(random: np.random.Generator, parameter: "Parameter") -> np.ndarray:
    """Zeros."""
    return np.zeros(parameter.shape)


Initializer = Callable[[np.random.Generator, "Parameter"], np.ndarray]
INITIALIZERS: Mapping[str, Initializer] = {"truncated_normal": truncated_normal, "zeros": zeros}
