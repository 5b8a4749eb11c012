"""Metrics: the similarity of two masks, one number an image.

A metric of one's own is a `@checked` dataclass with
- `identity`: the value of a mask with itself, None if there is none (then there is no verdict);
- `features(masks)`: what is computed once for each mask, here `Features`, which can be indexed by
  image, so that a null (an image's mask with another image's) costs no second computation;
- `compare(a, b)`: from the features of n masks each, (n,) float64, NaN where there is no score.

Derived from `Metric`, it is prepared, checked and NaN where it must be without further ado, and
says only what its `parts` are and what their `similarity` is; `MeanSquaredError` is an example.

A metric that needs to know the images has instead `of(images)`, the metric of masks of these, and
may have there `null(a, b)`, what its score is by chance; `RegionShare` is an example.
"""

from sanity.metrics.base import Features, Metric, check_sizes, reasons, score
from sanity.metrics.directions import Cosine, Directional, Hog, Pearson, Spearman, TopK
from sanity.metrics.preparation import Preparation
from sanity.metrics.regions import RegionShare
from sanity.metrics.values import Emprt, MeanSquaredError, MutualInformation, Ssim

__all__ = [
    "Cosine",
    "Directional",
    "Emprt",
    "Features",
    "Hog",
    "MeanSquaredError",
    "Metric",
    "MutualInformation",
    "Pearson",
    "Preparation",
    "RegionShare",
    "Spearman",
    "Ssim",
    "TopK",
    "check_sizes",
    "reasons",
    "score",
]
