"""Segments: an image cut into regions, each switched on or off as a whole."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

Segmentation = Literal["slic", "grid"]


class Recent:
    """What was made last, by key: what is the same at every stage is made once an image.

    Args:
        size: How many values are kept.
    """

    def __init__(self, size: int):
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value kept under a key, made if it is not there."""
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


_RECENT = Recent(512)  # int32 maps: 100 MB at 224 × 224


def fingerprint(image: np.ndarray) -> Hashable:
    """A key that is equal for equal pixels."""
    return image.shape, hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def segment(image: np.ndarray, kind: Segmentation, count: int, compactness: float) -> np.ndarray:
    """An image (H, W, C) cut into about `count` segments: their numbers (H, W), from 0.

    Args:
        image: In [0, 1].
        kind: `slic`, superpixels of like colour (Achanta et al. 2012), or `grid`, rectangles.
        count: How many are asked for; superpixels come in other, mostly lower, numbers.
        compactness: Of superpixels: the higher, the squarer.
    """
    key = fingerprint(image), kind, count, compactness if kind == "slic" else None
    segments: np.ndarray = _RECENT.get(key, lambda: _segment(image, kind, count, compactness))
    return segments


def _segment(image: np.ndarray, kind: Segmentation, count: int, compactness: float) -> np.ndarray:
    if kind == "grid":
        return grid(image.shape[0], image.shape[1], count)
    from skimage.segmentation import slic

    found = slic(image, n_segments=count, compactness=compactness, start_label=0, channel_axis=-1)
    _, numbers = np.unique(found, return_inverse=True)
    return numbers.reshape(found.shape).astype(np.int32)


def grid(height: int, width: int, count: int) -> np.ndarray:
    """About `count` equal rectangles, as square as can be: their numbers (H, W), row by row."""
    rows = min(height, max(1, round(math.sqrt(count * height / width))))
    columns = min(width, max(1, round(count / rows)))
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return (row[:, None] * columns + column).astype(np.int32)


def segment_means(image: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """An image (H, W, C) in which each segment (H, W) has its mean colour throughout."""
    sizes = np.bincount(segments.ravel())
    sums = [np.bincount(segments.ravel(), channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    means: np.ndarray = (np.stack(sums, -1) / sizes[:, None]).astype(image.dtype)[segments]
    return means


class Game:
    """An image as a game of its segments: a coalition's worth is the logit where it is shown.

    Args:
        classifier: The network.
        image: (H, W, C), seen where a segment is on.
        absent: (H, W, C), seen where it is off.
        segments: (H, W), numbers from 0.
        target: The class whose logit is meant.
    """

    def __init__(
        self,
        classifier: "Classifier",
        image: np.ndarray,
        absent: np.ndarray,
        segments: np.ndarray,
        target: int,
    ):
        self.players = int(segments.max()) + 1
        self.image, self.segments, self.absent = image, segments, absent
        self._classifier, self._target = classifier, target

    def worth(self, coalitions: np.ndarray) -> np.ndarray:
        """The logits (m,) float64 of coalitions (m, players), in full batches."""
        size = self._classifier.batch_size
        logits = [
            self._classifier.logits(self.shown(coalitions[start : start + size]))[:, self._target]
            for start in range(0, len(coalitions), size)
        ]
        doubles: np.ndarray = np.concatenate(logits).astype(np.float64)
        return doubles

    def shown(self, coalitions: np.ndarray) -> np.ndarray:
        """The images (m, H, W, C) of coalitions (m, players)."""
        on = np.asarray(coalitions, bool)[:, self.segments, None]
        return np.where(on, self.image, self.absent)
