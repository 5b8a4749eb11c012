"""Methods that change the backward pass: other backprop rules at the image itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.methods.base import GradientMethod
from sanity.methods.baselines import (
    Baseline,
    BaselineKey,
    baseline_key,
    check_baseline,
    idle_coordinates,
)
from sanity.methods.coordinates import Coordinates, image_in
from sanity.methods.gradients import Gradient, difference
from sanity.methods.points import Against, Point
from sanity.methods.subject import Subject

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class GuidedBackprop(Gradient):
    """Gradient whose ReLUs also stop what is negative (Springenberg et al. 2015)."""

    draws: ClassVar[bool] = False

    @property
    def rule(self) -> str:
        """Guided Backprop's."""
        return "guided_backprop"


@checked
class Deconvnet(Gradient):
    """Gradient whose ReLUs stop what is negative, and only that (Zeiler & Fergus 2014)."""

    draws: ClassVar[bool] = False

    @property
    def rule(self) -> str:
        """Deconvnet's."""
        return "deconvnet"


@checked
class DeepLiftRescale(GradientMethod):
    """DeepLIFT with the Rescale rule (Shrikumar et al. 2017; as a gradient: Ancona et al. 2018).

    Sums to f(image) − f(baseline). Networks with ops that it is not defined for, such as attention
    and layer normalization, are refused.

    Attributes:
        baseline: What the image is compared with.
        multiplier: Whether the multipliers are multiplied by (image − baseline).
        coordinates: Of which the baseline "zero" is the 0, see `methods.coordinates`.
    """

    draws: ClassVar[bool] = False

    baseline: Baseline = "black"
    multiplier: bool = True
    coordinates: Coordinates = Field(default_factory=lambda: [0.0, 1.0])

    @property
    def rule(self) -> str:
        """DeepLIFT-Rescale's."""
        return "deeplift_rescale"

    @property
    def start(self) -> BaselineKey:
        """The baseline's key."""
        return baseline_key(self.baseline, self.coordinates)

    def points(self) -> Mapping[Point, float]:
        """The image against the baseline."""
        return {Against(self.start): 1.0}

    def scale(self, subject: Subject) -> np.ndarray | None:
        """Image − baseline."""
        return difference(subject, self.start) if self.multiplier else None

    def depends_on_seed(self) -> bool:
        """Also where its baseline is drawn."""
        return self.draws or self.baseline == "uniform"

    def idle(self) -> dict[str, str]:
        """Coordinates, unless their zero is the baseline."""
        return idle_coordinates(self.baseline)

    def check(self, classifier: "Classifier") -> None:
        """Refuses a model that the rule is not defined for, a baseline that does not fit."""
        classifier.network.check_rule(self.rule)
        check_baseline(self.baseline, classifier.input_shape)


@checked
class EpsilonLRP(Gradient):
    """ε-LRP (Bach et al. 2015) as a gradient (Ancona et al. 2018, proposition 1), times the image.

    Attributes:
        epsilon: Added to the size of a nonlinearity's input, by which its output is divided.
        multiplier: Whether the modified gradient is multiplied by the image.
        coordinates: What black and white are where it is, see `methods.coordinates`.
    """

    draws: ClassVar[bool] = False

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    multiplier: bool = True
    coordinates: Coordinates = Field(default_factory=lambda: [0.0, 1.0])

    @property
    def rule(self) -> str:
        """ε-LRP's, for this ε."""
        return f"epsilon_lrp:{self.epsilon!r}"

    def scale(self, subject: Subject) -> np.ndarray | None:
        """The image."""
        return image_in(self.coordinates, subject.image) if self.multiplier else None

    def idle(self) -> dict[str, str]:
        """Coordinates of an image that nothing is multiplied by."""
        only = "they are taken with multiplier=true alone"
        return {} if self.multiplier else {"coordinates": only}
