"""Metrics: the similarity of two masks, one number an image.

A metric of one's own derives from `Metric` and says only what its `parts` are and what their
`similarity` is: it is prepared, checked and NaN where it must be without further ado;
`MeanSquaredError` is an example. What all metrics answer is in `MaskMetric`.
"""

from sanity.metrics.base import Features, MaskMetric, Metric, as_metric, check_sizes, reasons, score
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
    "MaskMetric",
    "MeanSquaredError",
    "Metric",
    "MutualInformation",
    "Pearson",
    "Preparation",
    "RegionShare",
    "Spearman",
    "Ssim",
    "TopK",
    "as_metric",
    "check_sizes",
    "reasons",
    "score",
]
