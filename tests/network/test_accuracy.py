"""What folding and the segments cost in accuracy, on the embedded model at every stage."""

import numpy as np
import pytest

from sanity.config import compose
from sanity.randomization.weights import Randomization
from tests.float64 import near, twin
from tests.network.passes.test_segments import whole_gradient


def errors(masks, truth):
    """The median of each image: a rounding that flips a ReLU changes all of its gradient."""
    return np.median(np.abs(masks - truth), axis=(1, 2, 3))


@pytest.mark.slow
def test_as_near_to_float64_as_the_plain_graph(lite0, samples):
    """Equal in double precision; in float32 as near to it as the plain graph, and mean scores too.

    As near is, for most images, what is at most three times as far as the plain graph's gradient of
    any image, or of any that differs in its last digit.
    """
    x = samples.x[:3]
    jittered = x + 1e-7 * np.random.default_rng(0).standard_normal(x.shape, np.float32)
    targets = lite0.logits(x).argmax(1).astype(np.int32)
    metrics = compose(["metric=[ssim,spearman,spearman_abs,hog]"]).metrics.values()
    stages = Randomization().stages(lite0, lite0.blocks, 0)
    exact = twin(lite0)
    fast, exactly = lite0.batch_gradient(x), exact.batch_gradient(x)
    originals: list = []
    with lite0.weights.restored():
        for stage in [stages[i] for i in (0, 10, 19)]:
            lite0.weights.put(stage.make_weights())
            truth = whole_gradient(exact, x, targets)
            near(exactly(targets), truth)
            found = [fast(targets), whole_gradient(lite0, x, targets)]
            ours, plain = (errors(masks, truth) for masks in found)
            moved = errors(whole_gradient(lite0, jittered, targets), truth)
            assert np.median(ours) <= 3 * max(*plain, *moved)
            features = [[metric.features(masks) for metric in metrics] for masks in found]
            originals = originals or features
            ours, plain = (
                [np.mean(m.compare(o, f)) for m, o, f in zip(metrics, *pair, strict=True)]
                for pair in zip(originals, features, strict=True)
            )
            np.testing.assert_allclose(ours, plain, rtol=0, atol=0.01)
