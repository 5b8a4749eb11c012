"""What is looked at of scores of one's own metrics."""

import numpy as np
import pytest

from sanity.errors import ConfigError
from sanity.metrics.base import as_metric
from sanity.metrics.own import check_apart


class Distance:
    """A distance, with something that depends on how many masks there are."""

    def __init__(self, each):
        self.each = each

    def features(self, masks):
        return masks

    def compare(self, a, b):
        return np.abs(b - a).mean((1, 2)) + self.each * len(a)


@pytest.mark.parametrize(("each", "refused"), [(1e-9, False), (0.1, True)])
def test_distances_of_masks_that_did_not_change_are_rounding(each, refused):
    """As those of float32 are, which BLAS adds up in another order for other numbers of rows."""
    masks = np.random.default_rng(0).standard_normal((3, 8, 8))
    metric = as_metric(Distance(each), "metric.mine")
    scores = metric.compare(masks, masks)
    if not refused:
        check_apart("mine", metric, masks, masks, None, scores)
        return
    with pytest.raises(ConfigError, match="another score of an image by itself"):
        check_apart("mine", metric, masks, masks, None, scores)
