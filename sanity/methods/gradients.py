"""Methods made of gradients: where they need them, and what they make of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from sanity.checked import checked
from sanity.data import Folder, ImageNetSamples
from sanity.data.base import as_dataset
from sanity.errors import ConfigError
from sanity.methods.base import GradientMethod
from sanity.methods.baselines import (
    Baseline,
    BaselineKey,
    baseline_image,
    baseline_key,
    check_baseline,
    idle_coordinates,
)
from sanity.methods.coordinates import Coordinates, image_in
from sanity.methods.points import (
    AtBaseline,
    FromReference,
    OnPath,
    Original,
    Point,
    References,
    noisy,
    on_path,
)
from sanity.methods.subject import Subject

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

Quadrature = Literal["endpoints", "midpoint", "trapezoid", "gauss_legendre"]
Samples = Annotated[int, Field(ge=1)]
Noise = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@checked
class Gradient(GradientMethod):
    """The gradient of the logit with respect to the image (Simonyan et al. 2014)."""

    draws: ClassVar[bool] = False

    def points(self) -> Mapping[Point, float]:
        """The image."""
        return {Original(): 1.0}


@checked
class GradientXInput(Gradient):
    """Gradient times image, elementwise (Shrikumar et al. 2016).

    Attributes:
        coordinates: What black and white are where the product is taken, see
            `methods.coordinates`.
    """

    draws: ClassVar[bool] = False

    coordinates: Coordinates = Field(default_factory=lambda: [0.0, 1.0])

    def scale(self, subject: Subject) -> np.ndarray | None:
        """The image."""
        return image_in(self.coordinates, subject.image)


@checked
class SmoothGrad(GradientMethod):
    """Mean gradient over noisy copies of the image (Smilkov et al. 2017, equation 1).

    Attributes:
        samples: Number of copies.
        noise: Standard deviation of the noise, as a share of the image's range max − min.
    """

    samples: Samples = 25
    noise: Noise = 0.15

    def points(self) -> Mapping[Point, float]:
        """The noisy copies."""
        return _mean(noisy(self.noise, sample) for sample in range(self.samples))

    def idle(self) -> dict[str, str]:
        """Copies that are not noisy."""
        return _idle_samples(self.noise)


@checked
class SmoothGradSquared(SmoothGrad):
    """Mean square of the gradient over noisy copies (Hooker et al. 2019; PAIR's `magnitude`)."""

    powers: ClassVar[tuple[int, ...]] = (2,)


@checked
class VarGrad(SmoothGrad):
    """Variance of the gradient over noisy copies (Adebayo et al. 2018), divided by their number."""

    powers: ClassVar[tuple[int, ...]] = (1, 2)

    samples: Annotated[int, Field(ge=2)] = 25

    def finish(self, total: np.ndarray, subject: Subject) -> np.ndarray:
        """Mean square − squared mean."""
        mean, square = total
        variance: np.ndarray = np.maximum(square - mean**2, 0)
        return variance


@checked
class IntegratedGradients(GradientMethod):
    """Mean gradient on the way from a baseline, times the way (Sundararajan et al. 2017, eq. 1).

    Attributes:
        steps: Number of points on the path.
        quadrature: Where they lie and what they weigh, see `quadrature`.
        baseline: Where the path starts.
        multiplier: Whether the mean gradient is multiplied by (image − baseline).
        coordinates: Of which the baseline "zero" is the 0, see `methods.coordinates`.
    """

    draws: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=2)] = 25
    quadrature: Quadrature = "endpoints"
    baseline: Baseline = "black"
    multiplier: bool = True
    coordinates: Coordinates = Field(default_factory=lambda: [0.0, 1.0])

    @property
    def start(self) -> BaselineKey:
        """The baseline's key."""
        return baseline_key(self.baseline, self.coordinates)

    def points(self) -> Mapping[Point, float]:
        """The points on the path."""
        return {
            on_path(self.start, alpha): weight
            for alpha, weight in quadrature(self.quadrature, self.steps)
        }

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
        """Refuses a baseline that does not fit the model's images (ConfigError)."""
        check_baseline(self.baseline, classifier.input_shape)


@checked
class IntegratedGradientsSmoothGrad(IntegratedGradients):
    """Mean of Integrated Gradients over noisy copies of the image (Adebayo et al. 2018).

    Attributes:
        samples: Number of copies; each asks for `steps` gradients.
        noise: Standard deviation of the noise, as a share of the image's range max − min.
    """

    samples: Samples = 25
    noise: Noise = 0.15

    def points(self) -> Mapping[Point, float]:
        """The points on the paths to all copies; they start at one point."""
        weights: dict[Point, float] = {}
        for sample in range(self.samples):
            end = noisy(self.noise, sample)
            for alpha, weight in quadrature(self.quadrature, self.steps):
                point = on_path(self.start, alpha, end)
                weights[point] = weights.get(point, 0) + weight / self.samples
        return weights

    def factor(self, point: Point, subject: Subject) -> np.ndarray | None:
        """Noisy copy − baseline; at the common start, with the mean of all copies."""
        if not self.multiplier:
            return None
        if isinstance(point, AtBaseline):
            copies = (noisy(self.noise, sample).at(subject) for sample in range(self.samples))
            end = sum(copy.astype(np.float64) for copy in copies) / self.samples
        else:
            end = (point.end if isinstance(point, OnPath) else point).at(subject)
        way: np.ndarray = end - baseline_image(self.start, subject)
        return way

    def scale(self, subject: Subject) -> np.ndarray | None:
        """None: the multiplier is in the terms."""
        return None

    def idle(self) -> dict[str, str]:
        """As of Integrated Gradients, and copies that are not noisy."""
        return {**super().idle(), **_idle_samples(self.noise)}


@checked
class ExpectedGradients(GradientMethod):
    """Integrated Gradients in expectation over baselines (Erion et al. 2021, equation 2).

    Each sample draws a reference image, with replacement, and a place on the path from it to the
    image. The references are all images of a data spec, and a draw is keyed by the explained
    image, so that a mask does not depend on what else is explained, nor on sharding.

    Attributes:
        samples: Number of draws.
        references: `samples`, the embedded images; the path of a folder; or any data spec.
        multiplier: Whether gradients are multiplied by (image − reference).
    """

    samples: Samples = 25
    references: Any = Field(default="samples", validate_default=True)
    multiplier: bool = True

    @field_validator("references")
    @classmethod
    def _is_data(cls, value: Any) -> Any:
        if isinstance(value, str):
            return ImageNetSamples() if value == "samples" else Folder(path=value)
        try:
            return as_dataset(value, "references")
        except ConfigError as error:
            wanted = "must be samples, a folder, or have the _target_ of a data option"
            raise ValueError(wanted) from error

    def points(self) -> Mapping[Point, float]:
        """A point for each draw."""
        references = References(self.references)
        return _mean(FromReference(references, sample) for sample in range(self.samples))

    def factor(self, point: Point, subject: Subject) -> np.ndarray | None:
        """Image − reference."""
        if not self.multiplier:
            return None
        assert isinstance(point, FromReference)
        way: np.ndarray = subject.image - point.start(subject)
        return way

    def check(self, classifier: "Classifier") -> None:
        """Loads the references (ConfigError)."""
        References(self.references).images(classifier.input_shape)


def quadrature(name: Quadrature, steps: int) -> list[tuple[float, float]]:
    """Positions in [0, 1] and weights of a rule that integrates over [0, 1].

    "endpoints" has `steps` evenly spaced points, both ends among them, of equal weight: the rule
    of PAIR's `saliency`; its error falls as 1/steps. "trapezoid" halves the ends' weight,
    "midpoint" takes the centres of `steps` intervals, "gauss_legendre" is exact for polynomials
    up to the degree 2·steps − 1.
    """
    if name == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        alphas, weights = (nodes + 1) / 2, weights / 2
    elif name == "midpoint":
        alphas, weights = (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    else:
        alphas, weights = np.linspace(0, 1, steps), np.full(steps, 1 / steps)
        if name == "trapezoid":
            weights = np.full(steps, 1 / (steps - 1))
            weights[[0, -1]] /= 2
    return list(zip(alphas.tolist(), weights.tolist(), strict=True))


def difference(subject: Subject, baseline: BaselineKey) -> np.ndarray:
    """Image − baseline."""
    way: np.ndarray = subject.image - baseline_image(baseline, subject)
    return way


def _idle_samples(noise: float) -> dict[str, str]:
    return {} if noise else {"samples": "with noise=0 all copies are the image"}


def _mean(points: Any) -> dict[Point, float]:
    """Equal weights that sum to 1; a point that comes again weighs more."""
    points = list(points)
    weights: dict[Point, float] = {}
    for point in points:
        weights[point] = weights.get(point, 0) + 1 / len(points)
    return weights
