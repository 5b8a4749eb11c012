"""The gradients of one batch, in any state of the weights."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.network.passes.segments import Chain, Walk
from sanity.network.precision import Precision, computing_in
from sanity.network.rows import LEAST_ROWS, fill
from sanity.network.weights import Weights

# The halves of a batch go through the network side by side: what one has to do in Python, or on one
# core, the other uses.
_beside = ThreadPoolExecutor(1)


class BatchGradient:
    """Gives the gradients of one batch, of the targets and under the weights at its call.

    Called again after weights have changed, it computes anew what depends on them only.

    Args:
        chain: The network under a backprop rule.
        images: (n, H, W, C).
        baselines: Likewise, of a rule that needs them.
        weights: Those in place.
        n_classes: How many logits there are.
        precision: Of the products.
        halved: Whether it goes through the network in two halves side by side, for a processor.
    """

    def __init__(
        self,
        chain: Chain,
        images: np.ndarray,
        baselines: np.ndarray | None,
        weights: Weights,
        n_classes: int,
        *,
        precision: Precision,
        halved: bool,
    ):
        self._weights, self._n_classes, self._precision = weights, n_classes, precision
        self._count, self._compared = len(images), baselines is not None
        images, baselines = fill(images), None if baselines is None else fill(baselines)
        self._rows = len(images)
        middle = self._rows // 2 if halved and self._rows >= 2 * LEAST_ROWS else self._rows
        self._parts = [p for p in (slice(middle), slice(middle, None)) if len(images[p])]
        self._walks = [
            Walk(
                chain, images[p] if baselines is None else np.concatenate([images[p], baselines[p]])
            )
            for p in self._parts
        ]

    def __call__(self, targets: np.ndarray) -> np.ndarray:
        """(n, H, W, C), as an array."""
        found = self._each(targets, lambda tensor: tensor.numpy())
        gradients: np.ndarray = np.concatenate(found)[: self._count]
        return gradients

    def tensor(self, targets: np.ndarray) -> Any:
        """(n, H, W, C), left on the device; nothing waits for it to be computed."""
        return tf.concat(self._each(targets, lambda tensor: tensor), 0)[: self._count]

    def wait(self, targets: np.ndarray) -> None:
        """Computes them and fetches nothing, for who measures."""
        self.tensor(targets)
        tf.test.experimental.sync_devices()

    def _each(self, targets: np.ndarray, wanted: Callable[[Any], Any]) -> Sequence[Any]:
        """What is wanted of the gradient of each part."""
        targets = np.resize(targets, self._rows)  # of copies as well

        def compute(walk: Walk, targets: np.ndarray) -> Any:
            none = np.full(len(targets) if self._compared else 0, -1)  # at baselines' logits: 0
            top = tf.one_hot(np.concatenate([targets, none]), self._n_classes)
            return wanted(walk.gradient(self._weights.changed, top)[: len(targets)])

        with computing_in(self._precision):
            first, *rest = zip(self._walks, [targets[p] for p in self._parts], strict=True)
            beside = [_beside.submit(compute, *pair) for pair in rest]
            return [compute(*first), *(part.result() for part in beside)]
