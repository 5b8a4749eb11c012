"""Occlusion: how much the logit falls when a window is covered."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from sanity.checked import checked
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.methods.base import Method
from sanity.methods.cost import Cost

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


@checked
class Occlusion(Method):
    """How much the logit falls when a window is covered, summed over the windows at each pixel.

    With f the logit and x∖w the image with window w set to `value`, a pixel gets
    Σ over the windows w that hold it of f(x) − f(x∖w): Zeiler & Fergus 2014 as defined by PAIR's
    `saliency`, which stride 1 equals. A larger stride takes every stride-th of PAIR's windows, the
    first in the upper left corner; pixels beyond the last window get 0.

    Attributes:
        size: Side of the square window, pixels.
        value: What covers it, in the image's range [0, 1].
        stride: Pixels from window to window.
    """

    draws: ClassVar[bool] = False

    size: Annotated[int, Field(ge=1)] = 15
    value: Annotated[float, Field(ge=0, le=1)] = 0.0
    stride: Annotated[int, Field(ge=1)] = 8

    def check(self, classifier: "Classifier") -> None:
        """Raises a ConfigError if the window does not fit into the image."""
        most = min(classifier.input_shape[:2])
        if self.size > most:
            raise ConfigError(
                f"size={self.size} must be at most {most}, the shorter side of the images of "
                f"{classifier.name}"
            )

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What an image costs at a stage."""
        rows, columns = self._corners(classifier.input_shape)
        return Cost(forward=len(rows) * len(columns) + 1)

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W), positive where covering lowers the logit."""
        self.check(classifier)
        whole = classifier.logits(images.x)
        return np.stack(
            [
                self._mask(classifier, image, int(target), logits[target])
                for image, target, logits in zip(images.x, targets, whole, strict=True)
            ]
        )

    def _corners(self, shape: tuple[int, ...]) -> tuple[range, range]:
        rows, columns = (range(0, side - self.size + 1, self.stride) for side in shape[:2])
        return rows, columns

    def _mask(
        self, classifier: "Classifier", image: np.ndarray, target: int, whole: np.floating
    ) -> np.ndarray:
        rows, columns = self._corners(image.shape)
        windows = [np.s_[r : r + self.size, c : c + self.size] for r in rows for c in columns]
        # One batch is filled with the image once; then only windows are covered and uncovered.
        size = min(classifier.batch_size, len(windows))
        batch = np.repeat(image[None], size, axis=0)
        logits = []
        for start in range(0, len(windows), size):
            covered = windows[start : start + size]
            for canvas, window in zip(batch, covered, strict=False):
                canvas[window] = self.value
            logits.append(classifier.logits(batch[: len(covered)])[:, target])
            for canvas, window in zip(batch, covered, strict=False):
                canvas[window] = image[window]
        with np.errstate(invalid="ignore"):  # infinite logits
            falls = np.float64(whole) - np.concatenate(logits).astype(np.float64)
        falls = falls.reshape(len(rows), len(columns))
        return _spread(falls, rows, columns, self.size, image.shape).astype(np.float32)


def _spread(
    values: np.ndarray, rows: range, columns: range, size: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Adds each window's value to its pixels, first along rows, then along columns.

    Sums of slices, not differences of cumulative sums: nothing cancels, and what is not finite
    stays in its window.
    """
    height, width = shape[:2]
    tall = np.zeros((height, len(columns)))
    last = rows[-1] + 1
    for offset in range(size):
        tall[offset : offset + last : rows.step] += values
    mask = np.zeros((height, width))
    last = columns[-1] + 1
    for offset in range(size):
        mask[:, offset : offset + last : columns.step] += tall
    return mask
