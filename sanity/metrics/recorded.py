"""Metrics as a run's files name them: what is recorded of one, and making one anew.

Results may come from anybody. A class that they name is neither imported nor called, unless it is
one of this package's metrics or the caller trusts whoever made them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

from sanity import metrics
from sanity.checked import instantiate, make
from sanity.metrics.base import Aspect, MaskMetric, Range, as_metric


@dataclass(frozen=True)
class Recorded:
    """What reading scores takes to know of their metric.

    Attributes:
        identity: The value of a mask with itself; None if there is none.
        range: The least and the greatest value, None for an end that is not known.
        unrelated: The score of masks that have nothing in common, None where that is not known.
        speaks_for: What of a mask is compared, None where that is not known.
        needs_regions: Whether it needs more than masks.
    """

    identity: float | None
    range: Range = (None, None)
    unrelated: float | None = None
    speaks_for: Aspect | None = None
    needs_regions: bool = False

    @classmethod
    def of(cls, metric: MaskMetric) -> Self:
        """What there is to know of a metric."""
        low, high = metric.range
        return cls(
            metric.identity,
            (low, high),
            metric.unrelated,
            metric.speaks_for,
            metric.needs_regions,
        )

    @property
    def direction(self) -> str | None:
        """Whether `higher` or `lower` values are more similar; None if that cannot be said."""
        if self.identity is None or self.identity not in self.range:
            return None
        return "higher" if self.identity == self.range[1] else "lower"

    def values(self) -> dict[str, Any]:
        """As run.json has it."""
        return {
            "identity": self.identity,
            "range": list(self.range),
            "direction": self.direction,
            "unrelated": self.unrelated,
            "speaks_for": self.speaks_for,
            "needs_regions": self.needs_regions,
        }


def read_recorded(values: Any, node: Any, key: str) -> Recorded | None:
    """What run.json has of a metric.

    Args:
        values: As `Recorded.values`; of runs older than that, or damaged ones, anything else.
        node: The metric's configuration, by which this package's own are known then.
        key: Path of the node, for messages.

    Returns:
        None where nothing is known.

    Raises:
        ConfigError: One of this package's metrics refuses its configuration.
    """
    if isinstance(values, Mapping) and "identity" in values:
        ends = values.get("range")
        ends = ends if isinstance(ends, list) and len(ends) == 2 else [None, None]
        identity, unrelated = values["identity"], values.get("unrelated")
        if all(_is_number(value) for value in (identity, unrelated, *ends)):
            aspect = values.get("speaks_for")
            return Recorded(
                identity,
                (ends[0], ends[1]),
                unrelated,
                aspect if aspect in get_args(Aspect) else None,
                values.get("needs_regions") is True,
            )
    own = remake(node, key)
    return None if own is None else Recorded.of(own)


def own_class(node: Any) -> type[MaskMetric] | None:
    """The class of a metric's configuration, if it is one of this package; imports nothing."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(target, str) or not target.startswith("sanity.metrics."):
        return None
    return _OWN.get(target.rpartition(".")[2])


def remake(node: Any, key: str, *, trust: bool = False) -> MaskMetric | None:
    """The metric of a stored configuration; None if it is none of this package's.

    Args:
        node: Its configuration.
        key: Path of the node, for messages.
        trust: Whether to import and call whatever the configuration names.

    Raises:
        ConfigError: It refuses its configuration.
    """
    if trust and isinstance(node, Mapping):
        return as_metric(instantiate(node, key), key)
    own = own_class(node)
    if own is None:
        return None
    found: MaskMetric = make(own, {k: v for k, v in node.items() if k != "_target_"}, key)
    return found


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


_OWN: dict[str, type[MaskMetric]] = {
    name: cls
    for name in metrics.__all__
    if isinstance(cls := getattr(metrics, name), type)
    and issubclass(cls, MaskMetric)
    and not cls.__abstractmethods__
}
