"""What every metric has in common: features of masks, and scores from features."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from sanity.checked import checked, own_code, read_only
from sanity.contents import Made
from sanity.errors import ConfigError
from sanity.metrics.preparation import Preparation, Scale

Parts = Mapping[str, np.ndarray]
Aspect = Literal["magnitude", "sign", "structure"]
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Features:
    """What a metric keeps of n masks.

    Attributes:
        parts: Arrays by name, the masks along the first axis; read-only.
        problems: (n,) str, why a mask has no score, "" if it has one; by default all have one.
    """

    parts: Parts
    problems: np.ndarray = field(default_factory=lambda: np.empty(0, object))

    def __post_init__(self) -> None:
        if not len(self.problems):
            n = len(next(iter(self.parts.values())))
            object.__setattr__(self, "problems", np.full(n, "", object))
        # Those of originals are compared with every stage: nothing may be written to them.
        parts = {name: read_only(part) for name, part in self.parts.items()}
        object.__setattr__(self, "parts", parts)

    def __len__(self) -> int:
        return len(self.problems)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Features":
        """The features of some of the masks, in the order of the indices."""
        rows = np.asarray(indices, np.intp)
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        return Features({k: v[rows] for k, v in self.parts.items()}, self.problems[rows])

    def repeat(self, index: int, n: int) -> "Features":
        """Those of one mask n times, without copies."""
        parts = {k: np.broadcast_to(v[index], (n, *v.shape[1:])) for k, v in self.parts.items()}
        return Features(parts, np.broadcast_to(self.problems[index], n))


class Described(Protocol):
    """What reading scores takes to know of a metric: of `MaskMetric`, and what a run recorded."""

    @property
    def identity(self) -> float | None:
        """The value of a mask with itself."""

    @property
    def unrelated(self) -> float | None:
        """The score of masks that have nothing in common."""

    @property
    def speaks_for(self) -> Aspect | None:
        """What of a mask is compared."""


class MaskMetric(Made, ABC):
    """A metric: two masks in, one number an image out.

    Derive from `Metric`, which prepares masks, or from this one, and give `features` and `compare`.
    A metric keeps nothing between calls; the score of an image depends on its two masks alone.

    Attributes:
        identity: The value of a mask with itself; None if there is none: then there is no verdict.
        range: The least and the greatest value there can be; None for an end that there is not, or
            that is not known.
        needs_regions: Whether it needs to know where a mask should look, see `of`.
    """

    identity: ClassVar[float | None] = None
    range: ClassVar[Range] = (None, None)
    needs_regions: ClassVar[bool] = False

    @property
    def unrelated(self) -> float | None:
        """The score of masks that have nothing in common; None where that is not known."""
        return None

    @property
    def speaks_for(self) -> Aspect | None:
        """What of a mask is compared; None where that is not known."""
        return None

    @abstractmethod
    def features(self, masks: np.ndarray) -> Any:
        """What is computed once for each mask (n, H, W[, C]): `Features`, which can be indexed.

        So a null, an image's mask with another image's, costs no second computation.
        """

    @abstractmethod
    def compare(self, a: Any, b: Any) -> np.ndarray:
        """Scores (n,) float64 from the features of n masks each, NaN where there is none.

        Args:
            a: Of the original masks.
            b: Of the masks compared with them.
        """

    def null(self, a: Any, b: Any) -> np.ndarray:
        """What a score is by chance (n,): by default the score with foreign originals `a`."""
        return self.compare(a, b)

    def of(self, regions: np.ndarray | None) -> "MaskMetric":
        """The metric of masks of n images whose regions (n, H, W) bool are known, or not (None).

        Raises:
            ConfigError: It needs them.
        """
        return self

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        """Refuses masks of a shape (H, W[, C]) that it cannot compare (ConfigError).

        Args:
            shape: Of one mask.
            key: The metric's path in the configuration, for the message.
        """

    def check_settings(self, key: str) -> None:
        """Refuses settings that have no effect beside its others (ConfigError).

        Not where it is made, since runs that were made with such ones are read as well.

        Args:
            key: The metric's path in the configuration, for the message.
        """

    def idle(self) -> dict[str, str]:
        """Settings that change no score but its rounding, beside the others, by name: why."""
        return {}

    def check_regions(self, known: bool, data: str) -> None:
        """Refuses data whose regions it needs to know and does not (ConfigError)."""


class _Adapted(MaskMetric):
    """A class of somebody's own with `features`, `compare` and perhaps `identity` and `range`."""

    def __init__(self, own: Any):
        self._own = own
        self.identity = getattr(own, "identity", None)  # type: ignore[misc]  # each its own
        self.range = getattr(own, "range", (None, None))  # type: ignore[misc]  # each its own

    def __repr__(self) -> str:
        return repr(self._own)

    def origin(self) -> Any:
        """The class of one's own."""
        return self._own

    @property
    def unrelated(self) -> float | None:
        """What it says of this, if anything."""
        said: float | None = getattr(self._own, "unrelated", None)
        return said

    def features(self, masks: np.ndarray) -> Any:
        return self._own.features(masks)

    def compare(self, a: Any, b: Any) -> np.ndarray:
        scores: np.ndarray = self._own.compare(a, b)
        return scores

    def check(self, shape: tuple[int, ...], key: str = "metric") -> None:
        if hasattr(self._own, "check"):
            self._own.check(shape, key)


def as_metric(value: Any, key: str) -> MaskMetric:
    """A metric as the contract has it; a class not derived from it has `features` and `compare`.

    Raises:
        ConfigError: It is no metric, or says something of itself that is no number.
    """
    found: MaskMetric = value
    if not isinstance(value, MaskMetric):
        if not all(callable(getattr(value, name, None)) for name in ("features", "compare")):
            raise ConfigError(
                f"{key}={type(value).__name__} is no metric: derive it from sanity.metrics.Metric "
                "and give it parts(masks) and similarity(a, b)"
            )
        found = _Adapted(value)
    _check_numbers(found, f"{key}={type(value).__name__}")
    return found


def _check_numbers(metric: MaskMetric, said: str) -> None:
    """Refuses what a metric says of itself where it cannot be so (ConfigError).

    Args:
        metric: It.
        said: What messages call it.
    """
    for name in ("identity", "unrelated"):
        if not _is_number(value := getattr(metric, name)):
            raise ConfigError(f"{said}: {name}={value!r} must be a number, or None")
    ends: Any = metric.range
    whole = isinstance(ends, (tuple, list)) and len(ends) == 2 and all(map(_is_number, ends))
    if not whole or (None not in ends and not ends[0] < ends[1]):
        raise ConfigError(
            f"{said}: range={ends!r} must be two numbers, the least and the greatest score, None "
            "for an end that is not known"
        )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and math.isfinite(value))


def score(metric: MaskMetric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The metric of masks `a` with masks `b`, each (n, H, W[, C]): (n,) float64."""
    return metric.compare(metric.features(a), metric.features(b))


def all_features(metrics: Mapping[str, MaskMetric], masks: np.ndarray) -> dict[str, Any]:
    """What each metric keeps of masks (n, H, W[, C]), by name.

    Metrics that prepare masks alike share the preparation.
    """
    found: dict[str, Any] = {}
    alike: dict[tuple[Any, ...], dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if isinstance(metric, Metric) and type(metric).features is Metric.features:
            metric.check(masks.shape[1:], type(metric).__name__)
            how = type(metric).prepare, *metric.preparation
            alike.setdefault(how, {})[name] = metric
        else:  # which may write to what it is given
            found[name] = metric.features(np.array(masks))
    for some in alike.values():
        prepared, problems = next(iter(some.values())).prepare(masks)
        for left, (name, metric) in zip(range(len(some))[::-1], some.items(), strict=True):
            own = prepared.copy() if left else prepared  # a metric may write to what it is given
            found[name] = metric.keep(own, problems)
    return found


def one_number_each(scores: Any, n: int, said: str) -> np.ndarray:
    """Scores (n,) float64, as a metric gives them.

    Args:
        scores: What it gave.
        n: Of how many masks.
        said: What gave them, for the message.

    Raises:
        ConfigError: They are not one number for each mask.
    """
    found = np.asarray(scores)
    if found.shape != (n,) or found.dtype.kind not in "fiub":
        raise ConfigError(
            f"{said} gives {_kind(scores, found)} for {n} masks: it must give an array of one "
            f"number for each, of the shape ({n},)"
        )
    return found.astype(np.float64)


def _kind(value: Any, array: np.ndarray) -> str:
    """What a value is, in words."""
    if array.dtype.kind not in "fiub":
        return type(value).__name__ if array.dtype.kind == "O" else f"{array.dtype} {array.shape}"
    return f"the shape {array.shape}" if array.ndim else "one number"


def reasons(*features: Any) -> list[str]:
    """Why each image has no score, by what is wrong with the first of its masks; "" if it has one.

    Args:
        features: What is compared, of n masks each: the originals and the randomized ones.
    """
    problems = [f.problems for f in features if hasattr(f, "problems")]  # of one's own as well
    if not problems:
        return [""] * len(features[0])
    return [next(filter(None, image), "") for image in zip(*problems, strict=True)]


def check_sizes(
    metrics: Mapping[str, MaskMetric],
    shape: Sequence[int],
    demanded: Collection[str] | None = None,
) -> dict[str, str]:
    """Lets metrics refuse masks that are too small for them, before any is computed.

    Args:
        metrics: By name.
        shape: Of a mask or image, (H, W) or (H, W, C).
        demanded: Those that were asked for by name; None: all.

    Returns:
        Why the others do not fit, by name.

    Raises:
        ConfigError: Windows or cells of one of them do not fit, or no metric is left.
    """
    refused: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            metric.check(tuple(shape), f"metric.{name}")
        except ConfigError as error:
            refused[name] = str(error)
    fit = ",".join(name for name in metrics if name not in refused)
    out = f"; 'metric=[{fit}]' leaves it out" if fit else "; metric=[spearman] takes any by default"
    for name, why in refused.items():
        if demanded is None or name in demanded or not fit:
            raise ConfigError(f"{why}{out}")
    return refused


@checked
class Metric(Preparation, MaskMetric):
    """Prepares masks and compares what it keeps of them; NaN where a mask has a problem.

    Attributes:
        blind_to: Scales after which scores are the same, where nothing is clipped.
    """

    blind_to: ClassVar[tuple[Scale, ...]] = ()

    @property
    def speaks_for(self) -> Aspect | None:
        """The magnitude of a mask's values, or also their sign."""
        magnitude = self.sign == "abs" or self.channels in ("sum_abs", "max_abs")
        return "magnitude" if magnitude else "sign"

    def idle(self) -> dict[str, str]:
        """The sign of absolute values, and a scale to which the metric is blind."""
        found = {}
        if self.channels in ("sum_abs", "max_abs"):
            found["sign"] = f"channels={self.channels} takes absolute values already"
        if self.clip is None and self.scale in self.blind_to:
            found["scale"] = "without clip the metric is blind to it"
        return found

    def features(self, masks: np.ndarray) -> Features:
        """What is kept of masks (n, H, W[, C]).

        Raises:
            ConfigError: The masks are too small.
        """
        masks = np.asarray(masks)
        if masks.ndim not in (3, 4):
            raise ValueError(f"masks must be (n, H, W) or (n, H, W, C), not {masks.shape}")
        self.check(masks.shape[1:], type(self).__name__)
        return self.keep(*self.prepare(masks))

    def keep(self, masks: np.ndarray, problems: np.ndarray) -> Features:
        """What is kept of masks that are prepared, and what is wrong with each: see `prepare`."""
        parts = self.parts(masks)
        sizes = {np.shape(part)[:1] for part in parts.values()} if isinstance(parts, Mapping) else 0
        if sizes != {(len(problems),)}:
            raise ConfigError(
                f"{type(self).__name__}.parts must give arrays by name, each with the "
                f"{len(problems)} masks along its first axis"
            )
        return Features(parts, problems)

    def compare(self, a: Features, b: Features) -> np.ndarray:
        """The similarity of each mask of `a` with the one at the same place in `b`, (n,)."""
        if len(a) != len(b):
            raise ValueError(f"{len(a)} masks cannot be compared with {len(b)}")
        values = np.full(len(a), np.nan)
        good = (a.problems == "") & (b.problems == "")
        if not good.all():
            a, b = a.take(np.flatnonzero(good)), b.take(np.flatnonzero(good))
        if good.any():
            said = f"{type(self).__name__}.similarity"
            with own_code(said):
                found = self.similarity(a.parts, b.parts)
            values[good] = one_number_each(found, len(a), said)
        return values

    @property
    def preparation(self) -> tuple[Any, ...]:
        """How masks are prepared; metrics of which it is equal prepare them alike."""
        return tuple(repr(getattr(self, field.name)) for field in fields(Preparation))

    @abstractmethod
    def parts(self, masks: np.ndarray) -> dict[str, np.ndarray]:
        """What is kept of prepared masks (n, C, H, W), arrays (n, …); all zeros is a valid mask."""

    @abstractmethod
    def similarity(self, a: Parts, b: Parts) -> np.ndarray:
        """The scores (n,) from what was kept of n masks each, none of which has a problem."""
