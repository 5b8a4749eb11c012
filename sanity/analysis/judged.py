"""Judging: the word on each method by each metric, from its early similarity.

docs/verdicts.md says what each word means.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sanity.analysis import intervals
from sanity.analysis.intervals import LEVEL, Estimate
from sanity.analysis.thresholds import Thresholds
from sanity.metrics.base import Described

if TYPE_CHECKING:
    import pandas as pd

INSENSITIVE, SENSITIVE = "insensitive", "sensitive"
DEPENDS, ALIKE = "depends_on_metric", "same_for_every_image"
INCONCLUSIVE, INVALID, NONE = "inconclusive", "invalid", "none"


@dataclass
class Judged:
    """A method by a metric: what is measured, then what is said of it.

    Attributes:
        method: Its name.
        name: Of the metric.
        metric: What is known of it; None if nothing is.
        values: (images, seeds), mean scores over the early stages, finite; None where there are no
            early stages or no scale.
        nulls: Likewise.
        all: How many images all draws have, also those without a score.
        reason: Why some have none.
        early: The early similarity.
        p: Of it being the threshold.
        tests: How many p-values `p` is corrected for; 0: it is not.
        verdict: The word.
        said: Why, beside the numbers.
        leans: Of an inconclusive one the word that more images like these would make it.
        enough: How many images like these a verdict takes; None if no number does.
        final: final_score, unrelated and final, see `verdicts`; NaN where unknown.
    """

    method: str
    name: str
    metric: Described | None
    values: np.ndarray | None
    nulls: np.ndarray | None
    all: int
    reason: str
    early: Estimate
    p: float = math.nan
    tests: int = 0
    verdict: str = NONE
    said: list[str] = field(default_factory=list)
    leans: str = ""
    enough: int | None = None
    final: dict[str, float] = field(default_factory=dict)

    @property
    def identity(self) -> float | None:
        """What the metric gives a mask with itself."""
        return self.metric.identity if self.metric else None

    @property
    def speaks_for(self) -> str:
        """What of a mask the metric compares: magnitude, sign or structure."""
        return (self.metric.speaks_for if self.metric else None) or ""

    @property
    def score(self) -> float:
        """The mean score."""
        return float(self.values.mean()) if self.values is not None else math.nan

    @property
    def null(self) -> float:
        """The mean null."""
        return float(self.nulls.mean()) if self.nulls is not None else math.nan


def add_p_values(judged: Sequence[Judged], primary: str | None, thresholds: Thresholds) -> None:
    """P-values of the early similarities being the threshold, those of the primary corrected."""
    for one in judged:
        assert one.values is not None and one.nulls is not None and one.identity is not None
        one.p = intervals.p_value(
            one.values - one.nulls, one.identity - one.nulls, thresholds.threshold
        )
    first = [one for one in judged if one.name == primary]
    for one, p in zip(first, intervals.holm([one.p for one in first]), strict=True):
        one.p, one.tests = float(p), len(first)


def decide(
    one: Judged, blends: "pd.DataFrame | None", thresholds: Thresholds
) -> tuple[str, list[str]]:
    """The verdict on an early similarity, and what has to be said for it beside the numbers.

    Where nothing but the number of images withholds it, it `leans`.
    """
    early = one.early
    verdict = INSENSITIVE if early.mean > thresholds.threshold else SENSITIVE
    withheld = None if blends is None else _cannot_tell(verdict, blends, thresholds.threshold)
    said = _undecided(one, thresholds) or withheld
    if said is None:
        return verdict, []
    if withheld is None:
        one.leans = verdict
    return INCONCLUSIVE, [said]


def _undecided(one: Judged, thresholds: Thresholds) -> str | None:
    """Why there are too few images to decide; None if there are enough."""
    early = one.early
    if early.images < thresholds.images:
        count = "1 image is" if early.images == 1 else f"{early.images} images are"
        return f"{count} fewer than {thresholds.images}"
    if one.p <= 1 - LEVEL:
        return None
    if early.low <= thresholds.threshold <= early.high:
        return f"the interval holds {thresholds.threshold:g}"
    return f"the p-value, corrected for {one.tests} methods, is {one.p:.2g}"


def _cannot_tell(verdict: str, blends: "pd.DataFrame", threshold: float) -> str | None:
    """Why a metric does not discriminate enough for a verdict; None if it does."""
    kept, lost = float(blends["mostly_own"].iloc[0]), float(blends["mostly_other"].iloc[0])
    if verdict == SENSITIVE and not kept > threshold:
        return (
            "low, but by this metric so are masks with a quarter of another's tiles"
            f" ({kept:z.2f}): it is too strict to say sensitive"
        )
    if verdict == INSENSITIVE and not lost < threshold:
        return (
            "high, but by this metric so are masks with three quarters of another's tiles"
            f" ({lost:z.2f}): it is too lenient to say insensitive"
        )
    return None


def count_enough(judged: Sequence[Judged], primary: str | None, thresholds: Thresholds) -> None:
    """How many images like these would decide what is not decided yet.

    By Holm's step-down a method is decided only once those before it are; their order is taken to
    stay as it is.
    """
    family = [one for one in judged if one.name == primary]
    order = sorted(family, key=lambda one: _rank(one, thresholds.threshold))
    enough: int | None = thresholds.images
    for rank, one in enumerate(order):
        found = _images_to_decide(one, thresholds, len(order) - rank)
        enough = None if found is None or enough is None else max(enough, found)
        one.enough = enough
    for one in judged:
        if one.name != primary:
            one.enough = _images_to_decide(one, thresholds, 1)
        if one.enough is None:
            one.leans = ""


def least_images(tests: int, thresholds: Thresholds) -> int:
    """The least number of images that can decide on one of so many methods, however alike."""
    level, unrelated = 1 - (1 - LEVEL) / tests, np.zeros(1)
    found = intervals.images_to_exclude(unrelated, np.ones(1), thresholds.threshold, level)
    return max(found or 0, thresholds.images)


def _rank(one: Judged, threshold: float) -> tuple[float, float]:
    """What Holm orders by: the p-value; of one image, which has none, how far it is."""
    assert one.values is not None and one.nulls is not None and one.identity is not None
    p = intervals.p_value(one.values - one.nulls, one.identity - one.nulls, threshold)
    return (1.0 if math.isnan(p) else p), -abs(one.early.mean - threshold)


def _images_to_decide(one: Judged, thresholds: Thresholds, tests: int) -> int | None:
    """How many images like these would decide, corrected for so many tests."""
    assert one.values is not None and one.nulls is not None and one.identity is not None
    found = intervals.images_to_exclude(
        one.values - one.nulls,
        one.identity - one.nulls,
        thresholds.threshold,
        1 - (1 - LEVEL) / tests,
    )
    return None if found is None else max(found, thresholds.images)


def mark_contradictions(judged: Sequence[Judged], primary: str | None) -> None:
    """Where another metric decides the opposite of the primary one, that is the result.

    What leans is held against what the others decide or lean to with as many images.
    """
    opposite = {INSENSITIVE: SENSITIVE, SENSITIVE: INSENSITIVE}
    for first in [one for one in judged if one.name == primary]:
        others = [one for one in judged if one.method == first.method and one is not first]
        if first.verdict in opposite:
            against = [one for one in others if one.verdict == opposite[first.verdict]]
            if against:
                by = ", ".join(map(_by, against))
                first.said.insert(
                    0, f"{first.verdict} by {_by(first)}, {against[0].verdict} by {by}"
                )
                first.verdict = DEPENDS
        elif first.leans in opposite and any(
            opposite[first.leans] in (one.verdict, one.leans)
            and (one.enough or 0) <= (first.enough or 0)
            for one in others
        ):
            first.leans = DEPENDS


def _by(one: Judged) -> str:
    return f"{one.name} ({one.speaks_for})" if one.speaks_for else one.name
