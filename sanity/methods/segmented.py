"""Methods that switch segments of an image on and off: Shapley values, LIME, Kernel SHAP.

They see the network as a function from images to logits, in full batches. What they draw is keyed
by (seed, image), so that every stage sees the same perturbations.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data import Images
from sanity.errors import ConfigError, how_to_install
from sanity.methods.base import Method
from sanity.methods.baselines import (
    Baseline,
    baseline_image,
    baseline_key,
    check_baseline,
    idle_coordinates,
)
from sanity.methods.coordinates import Coordinates
from sanity.methods.cost import Cost
from sanity.methods.segments import Game, Segmentation, segment, segment_means
from sanity.methods.subject import Subject
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

_PER_SEGMENT = 4  # coalitions of Kernel SHAP


@checked
class Segmented(Method):
    """What methods share that switch segments of an image on and off.

    A pixel's value is that of its segment.

    Attributes:
        segmentation: `slic`, superpixels, or `grid`, rectangles.
        segments: About how many.
        compactness: Of superpixels: the higher, the squarer.
        baseline: What is seen where a segment is off: as for Integrated Gradients, or the segment's
            mean colour.
        coordinates: Of which the baseline "zero" is the 0, see `methods.coordinates`.
    """

    segmentation: Segmentation = "slic"
    segments: Annotated[int, Field(ge=2)] = 50
    compactness: Annotated[float, Field(gt=0)] = 10.0
    baseline: Baseline | Literal["segment_mean"] = "black"
    coordinates: Coordinates = Field(default_factory=lambda: [0.0, 1.0])

    def depends_on_seed(self) -> bool:
        """Also where its baseline is drawn."""
        return self.draws or self.baseline == "uniform"

    def idle(self) -> dict[str, str]:
        """Coordinates, unless their zero is the baseline; what shapes superpixels, of a grid."""
        found = idle_coordinates(self.baseline)
        if self.segmentation == "grid":
            found["compactness"] = "it is taken with segmentation=slic alone"
        return found

    def check(self, classifier: "Classifier") -> None:
        """Refuses a baseline that does not fit the model's images (ConfigError)."""
        if self.baseline != "segment_mean":
            check_baseline(self.baseline, classifier.input_shape)

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W)."""
        found = []
        for image, name, target in zip(images.x, images.names, targets, strict=True):
            game = self.game(classifier, Subject(image, name, seed), int(target))
            with np.errstate(invalid="ignore"):  # infinite logits
                found.append(self.values(game, seed, name)[game.segments])
        return np.stack(found).astype(np.float32)

    def game(self, classifier: "Classifier", subject: Subject, target: int) -> Game:
        """An image as a game of its segments."""
        image = subject.image
        segments = segment(image, self.segmentation, self.segments, self.compactness)
        if self.baseline == "segment_mean":
            absent = segment_means(image, segments)
        else:
            absent = baseline_image(baseline_key(self.baseline, self.coordinates), subject)
        return Game(classifier, image, absent, segments, target)

    def values(self, game: Game, seed: int, name: str) -> np.ndarray:
        """The attribution (players,) of each segment; NaN where logits are not finite."""
        raise NotImplementedError


@checked
class ShapleySampling(Segmented):
    """Shapley values of segments, estimated over random orders of entering.

    φᵢ = mean over orders π of f(Pᵢ(π) ∪ {i}) − f(Pᵢ(π)), with Pᵢ(π) the segments that enter
    before i (Castro et al. 2009, equation 3; Štrumbelj & Kononenko 2010, algorithm 1). Of each
    order, and so in all, the segments' values sum to f(image) − f(baseline).

    Attributes:
        samples: Number of orders.
    """

    samples: Annotated[int, Field(ge=1)] = 25

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage, about: superpixels come in other numbers."""
        return Cost(forward=self.samples * (self.segments - 1) + 2)

    def values(self, game: Game, seed: int, name: str) -> np.ndarray:
        """The mean marginal contribution of each segment, float64."""
        n = game.players
        draws = generator("shapley_sampling", seed, name).random((self.samples, n))
        orders = draws.argsort(1)
        places = orders.argsort(1)
        partial = places[:, None, :] < np.arange(1, n)[:, None]  # (samples, n - 1, n)
        ends = np.repeat([[False], [True]], n, axis=1)
        worth = game.worth(np.concatenate([ends, partial.reshape(-1, n)]))
        paths = np.empty((self.samples, n + 1))
        paths[:, 0], paths[:, n] = worth[:2]
        paths[:, 1:n] = worth[2:].reshape(self.samples, n - 1)
        values: np.ndarray = np.take_along_axis(np.diff(paths), places, 1).mean(0)
        return values


@checked
class Lime(Segmented):
    """Weights of a linear model of the logit in the segments, fitted near the image.

    Ribeiro et al. 2016, by the package `lime` and with its defaults: each segment is on with
    probability 1/2, samples are weighted by √exp(−d² / w²), d the cosine distance to all on, and a
    ridge regression with penalty 1 is fitted. The logit is explained, where `lime` itself is
    mostly given probabilities.

    Attributes:
        samples: Number of perturbed images, the image itself the first.
        kernel_width: w.
    """

    baseline: Baseline | Literal["segment_mean"] = "segment_mean"
    samples: Annotated[int, Field(ge=2)] = 1000
    kernel_width: Annotated[float, Field(gt=0)] = 0.25

    def __post_init__(self) -> None:
        _require("lime")

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        return Cost(forward=self.samples)

    def values(self, game: Game, seed: int, name: str) -> np.ndarray:
        """The weight of each segment."""
        from lime.lime_image import LimeImageExplainer

        class Explainer(LimeImageExplainer):  # type: ignore[misc]  # lime has no types
            """The package's, with images made in full batches, and without a progress bar."""

            def data_labels(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
                draws = self.random_state.randint(0, 2, samples * game.players)
                coalitions = draws.reshape(samples, game.players)
                coalitions[0] = 1
                worth = game.worth(coalitions)
                if not np.isfinite(worth).all():
                    raise _NotFinite
                return coalitions, worth[:, None]

        samples = self.samples
        explainer = Explainer(self.kernel_width, random_state=_integer("lime", seed, name))
        try:
            explanation = explainer.explain_instance(
                game.image,
                None,
                labels=(0,),  # of the one column of logits that we give it
                top_labels=None,
                hide_color=0,  # unused: the game knows what is seen
                num_samples=samples,
                segmentation_fn=lambda image: game.segments,
            )
        except _NotFinite:
            return np.full(game.players, np.nan)
        found = np.zeros(game.players)
        for player, weight in explanation.local_exp[0]:
            found[player] = weight
        return found


@checked
class KernelShap(Segmented):
    """Shapley values of segments by weighted regression.

    Lundberg & Lee 2017, theorem 2, by `shap.KernelExplainer`, without its selection of features.
    They sum to f(image) − f(baseline); where `samples` admits every coalition they are exact.

    Attributes:
        samples: Number of coalitions.
    """

    samples: Annotated[int, Field(ge=2)] = 1000

    def __post_init__(self) -> None:
        _require("shap")

    def check(self, classifier: "Classifier") -> None:
        """Refuses coalitions too few to tell all segments' values (ConfigError).

        `shap` draws each with its complement, which tell the same: twice as many as segments are
        just enough where no draw comes twice.
        """
        super().check(classifier)
        least = min(_PER_SEGMENT * self.segments, _all_coalitions(self.segments))
        if self.samples < least:
            raise ConfigError(
                f"method.kernel_shap.samples={self.samples} coalitions are too few for the values "
                f"of segments={self.segments}: at least {least} are needed, or fewer segments"
            )

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        return Cost(forward=min(self.samples, _all_coalitions(self.segments)) + 2)

    def values(self, game: Game, seed: int, name: str) -> np.ndarray:
        """The Shapley value of each segment."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shap's own, on being imported
            from shap import KernelExplainer

        def worth(coalitions: np.ndarray) -> np.ndarray:
            logits = game.worth(coalitions)
            if not np.isfinite(logits).all():
                raise _NotFinite
            if len(coalitions) > 1:
                self._check_drawn(coalitions, name)
            return logits

        everyone, nobody = np.ones((1, game.players)), np.zeros((1, game.players))
        with _numpy_seeded(_integer("kernel_shap", seed, name)):
            try:
                explainer = KernelExplainer(worth, nobody)
                found = explainer.shap_values(
                    everyone, nsamples=self.samples, l1_reg=False, silent=True
                )
            except _NotFinite:
                return np.full(game.players, np.nan)
        return np.asarray(found, np.float64).reshape(game.players)

    def _check_drawn(self, coalitions: np.ndarray, name: str) -> None:
        """Refuses coalitions that leave the regression open: `shap` then gives any numbers."""
        players = coalitions.shape[1]
        if np.linalg.matrix_rank(coalitions[:, :-1] - coalitions[:, -1:]) < players - 1:
            raise ConfigError(
                f"method.kernel_shap.samples={self.samples} coalitions do not tell the values of "
                f"the {players} segments of {name}: at least {_PER_SEGMENT * players} do"
            )


def _all_coalitions(players: int) -> int:
    """How many there are, but for nobody and everyone; no more than can be counted."""
    return int(2 ** min(players, 30)) - 2


class _NotFinite(Exception):
    """Logits that no regression can be fitted to."""


def _require(package: str) -> None:
    if find_spec(package) is None:
        method = {"lime": "lime", "shap": "kernel_shap"}[package]
        raise ConfigError(
            f"method.{method} needs the package {package}, which is not installed: "
            f"pip install {package} (both lime and shap: {how_to_install('perturbation')})"
        )


def _integer(*key: str | int) -> int:
    """A keyed seed for packages that want a number."""
    return int(generator(*key).integers(2**32))


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator and puts its state back at the end.

    `shap` draws from the global generator and cannot be given another; nothing else here uses it,
    and whoever does finds it as it was.
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
