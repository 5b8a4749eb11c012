"""Metrics of one's own, and what is not taken of their scores."""

import numpy as np

from sanity.checked import own_code
from sanity.errors import ConfigError
from sanity.metrics.base import MaskMetric, one_number_each

_SAME = 1e-5  # of the greatest score: more than the rounding of two equal computations
_BESIDE = 1e-3  # and than that of batches of other sizes, of a network's features say


def check_apart(
    name: str,
    metric: MaskMetric,
    a: np.ndarray,
    b: np.ndarray,
    regions: np.ndarray | None,
    scores: np.ndarray,
) -> None:
    """Refuses a metric whose score of an image depends on more than its two masks.

    The last image and the first one are scored by themselves, the last one first and twice: so a
    score shows that depends on the masks beside, or on those before.

    Args:
        name: The metric's.
        metric: It, as it was before it was asked for any score.
        a: The original masks (n, H, W[, C]).
        b: Those compared with them.
        regions: (n, H, W), where they should look; None if unknown.
        scores: (n,), what it gave of them together.

    Raises:
        ConfigError: A score, or a null, is another one when it is asked for again, or by itself.
    """

    def score(place: int, beside: int | None = None) -> tuple[float, float]:
        one, other = (slice(k, k + 1) for k in (place, place if beside is None else beside))
        own = metric.of(None if regions is None else regions[one])
        with own_code(f"metric.{name}"):
            features = own.features(np.array(a[one])), own.features(np.array(b[other]))
            found = own.compare(*features), own.null(*features)
        value, null = (one_number_each(each, 1, f"metric.{name}")[0] for each in found)
        return float(value), float(null)

    places = [len(scores) - 1, 0][: len(scores)]
    alone = [score(place) for place in places]
    again = score(places[0])
    # Distances of masks that hardly changed are rounding: those of two images say what is much.
    sizes = np.abs([*scores, *score(places[-1], places[0])])
    size = max(sizes[np.isfinite(sizes)].max(initial=0), np.finfo(float).tiny)
    if not np.allclose(alone[0], again, rtol=0, atol=_SAME * size, equal_nan=True):
        raise ConfigError(
            f"metric.{name} gives other scores of the same masks when it is asked again: it must "
            "keep nothing from call to call, and draw from a generator of a fixed seed that it "
            "makes for each mask"
        )
    together = scores[places]
    values = [value for value, _ in alone]
    if not np.allclose(values, together, rtol=0, atol=_BESIDE * size, equal_nan=True):
        raise ConfigError(
            f"metric.{name} gives another score of an image by itself than among others "
            f"({values[0]:g}, not {together[0]:g}): it may depend on the image's two masks alone, "
            "and nothing may be kept from call to call"
        )
