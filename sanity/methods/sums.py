"""Methods' running sums over the terms of gradients, batch by batch."""

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sanity.checked import own_code
from sanity.errors import ConfigError
from sanity.methods.base import GradientMethod
from sanity.methods.masks import in_float32, sound_mask
from sanity.methods.points import Point
from sanity.methods.subject import Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Which points of which images go through the network together; the last ones may be padding.

    Attributes:
        rule: The backprop rule.
        owners: Position of the image and point, for each row.
        count: Rows that are no padding.
    """

    rule: str
    owners: list[tuple[int, Point]]
    count: int


@dataclass(frozen=True)
class Asked:
    """What is asked of some images.

    Attributes:
        methods: By name.
        weights: Of each method's points.
        subjects: The images.
    """

    methods: Mapping[str, GradientMethod]
    weights: Mapping[str, Mapping[Point, float]]
    subjects: Sequence[Subject]


@dataclass(frozen=True)
class Part:
    """What some points add to a method's sum for an image.

    Attributes:
        method: Its name.
        owner: Position of the image.
        points: How many points.
        value: In double precision.
    """

    method: str
    owner: int
    points: int
    value: np.ndarray


def terms(
    asked: Asked,
    batch: Batch,
    gradients: Iterable[tuple[int, np.ndarray]],
    others: Container[tuple[str, int]] = (),
) -> Iterator[Part]:
    """The terms of some rows of a batch, in their order.

    Args:
        asked: For what.
        batch: Says what the rows are.
        gradients: Rows with their positions.
        others: Methods and images to which these rows add nothing.
    """
    for position, row in gradients:
        owner, point = batch.owners[position]
        subject, gradient = asked.subjects[owner], row.astype(np.float64)
        gradient.flags.writeable = False  # all methods see it
        for name, method in asked.methods.items():
            weight = asked.weights[name].get(point)
            if weight is None or method.rule != batch.rule or (name, owner) in others:
                continue
            with own_code(f"method.{name}"):
                term = np.asarray(method.term(gradient, point, subject))
            if term.dtype.kind not in "fiub":
                raise ConfigError(f"method.{name}: term() must give an array of real numbers")
            yield Part(name, owner, 1, weight * term)


class Sums:
    """The methods' running sums in one state of the weights."""

    def __init__(self, asked: Asked):
        self._asked = asked
        self._masks: dict[str, list[np.ndarray]] = {name: [] for name in asked.methods}
        self._totals: dict[str, np.ndarray] = {}
        self._missing: dict[str, int] = {}
        self._scaled: set[str] = set()

    def add(self, parts: Callable[[], Iterable[Part]]) -> None:
        """Adds a batch's parts; those of a method come image by image, in the plan's order."""
        for part in parts():
            name = part.method
            if name not in self._totals:
                self._totals[name] = part.value
                self._missing[name] = len(self._asked.weights[name])
            elif self._totals[name].shape == part.value.shape:
                self._totals[name] += part.value
            else:
                raise ConfigError(
                    f"method.{name}: term() gives arrays of several shapes, as "
                    f"{self._totals[name].shape} and {part.value.shape}, which cannot be added up"
                )
            self._missing[name] -= part.points
            if not self._missing[name]:
                self._finish(name, self._asked.subjects[part.owner])

    def _finish(self, name: str, subject: Subject) -> None:
        method = self._asked.methods[name]
        with own_code(f"method.{name}"):
            whole = method.finish(self._totals.pop(name), subject)
        mask, power = in_float32(sound_mask(whole, name, subject.image.shape))
        self._masks[name].append(mask)
        if power and name not in self._scaled:
            self._scaled.add(name)
            log.warning(
                "%s: the mask of %s has values that float32 does not hold; such masks "
                "are kept times a power of two, this one 2^%d",
                name,
                subject.name,
                power,
            )

    def masks(self) -> dict[str, np.ndarray]:
        """(n, H, W, C) float32 by method, when all batches have been added; can be had once."""
        return {name: np.stack(self._masks.pop(name)) for name in self._asked.methods}
