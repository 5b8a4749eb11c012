"""Moving statistics re-estimated on fixed images, so that a randomized network still sees."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.data import ImageNetSamples, ImageSpec, as_dataset
from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

IMAGES = 20


@dataclass(frozen=True)
class Calibration:
    """Re-estimates the moving statistics of a classifier's batch norms.

    Attributes:
        classifier: The network.
        source: Where the images come from: `samples` (the 20 embedded ones) or a data spec, of
            whose images the first 20 are taken: all of it, whatever the shard of a job.
    """

    classifier: "Classifier"
    source: Any = "samples"

    @cached_property
    def images(self) -> np.ndarray:
        """(n, H, W, C), n at most 20.

        Raises:
            ConfigError: There is only one, or they do not fit the network.
        """
        if self.source == "samples":
            return _samples(*self.classifier.input_shape)
        dataset = as_dataset(self.source, "randomization.calibration").unsharded(IMAGES)
        images = dataset.open(ImageSpec.of(self.classifier))
        if len(images) < 2:
            raise ConfigError(
                "randomization.calibration has one image only, but a variance between images "
                "needs two"
            )
        found: np.ndarray = images.x[:IMAGES]
        return found

    @cached_property
    def _moments(self) -> Callable[[Iterable[str]], dict[str, np.ndarray]]:
        return self.classifier.batch_moments(self.images)

    def after(self, changed: Iterable[str]) -> list[str]:
        """The moving statistics that no longer fit once some variables have changed.

        They are those of the batch norms behind them, from the first one on up to the output.
        """
        from sanity.network.graph import op_of

        network = self.classifier
        reached = network.graph.behind(network.placeholders[name] for name in changed)
        found = []
        for norm in network.batch_norms:
            if op_of(norm.tensor) in reached:
                found += [norm.mean, norm.variance]
        return found

    def statistics(
        self, weights: Mapping[str, np.ndarray], wanted: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Moving statistics that fit the activations under some weights.

        What weights are in place is as before afterwards.

        Args:
            weights: All values other than the trained ones.
            wanted: Names of the statistics, see `after`.
        """
        with self.classifier.weights.holding(weights):
            return self._moments(wanted)


@lru_cache(maxsize=1)  # they are the same in all jobs of a sweep
def _samples(height: int, width: int, channels: int) -> np.ndarray:
    """The embedded images (20, H, W, C) at a size, which cannot be written to."""
    found = np.asarray(ImageNetSamples().open((height, width, channels)).x)
    found.flags.writeable = False
    return found
