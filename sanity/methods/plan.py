"""The plan: every gradient that some method needs, computed once, in full batches."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sanity.methods.gradients import GradientMethod
from sanity.methods.points import Point
from sanity.methods.subject import Subject

if TYPE_CHECKING:
    from sanity.classifier import Classifier

_KEPT = 256 * 2**20  # bytes


@dataclass(frozen=True)
class Plan:
    """Which gradients a set of methods needs of each image.

    Attributes:
        methods: Gradient methods by name.
    """

    methods: Mapping[str, GradientMethod]

    @cached_property
    def asked(self) -> dict[str, int]:
        """Gradients that each method needs of an image."""
        return {name: len(method.points()) for name, method in self.methods.items()}

    @cached_property
    def points(self) -> dict[str, list[Point]]:
        """The distinct points by backprop rule.

        Sorted, so that a method's sum runs in the same order whichever methods share its points.
        """
        union: dict[str, set[Point]] = {}
        for method in self.methods.values():
            union.setdefault(method.rule, set()).update(method.points())
        return {rule: sorted(points, key=repr) for rule, points in union.items()}

    @property
    def distinct(self) -> int:
        """Gradients that remain of an image when shared ones are computed once."""
        return sum(map(len, self.points.values()))

    def prepare(
        self, subjects: Sequence[Subject], targets: np.ndarray, batch_size: int
    ) -> "Gradients":
        """Makes the inputs of some images, once for all stages."""
        return Gradients(self, subjects, np.asarray(targets, np.int32), batch_size)


@dataclass(frozen=True)
class _Batch:
    """Which points of which images go through the network together; the last ones may be padding.

    Attributes:
        rule: The backprop rule.
        owners: Position of the image and point, for each row.
        count: Rows that are no padding.
    """

    rule: str
    owners: list[tuple[int, Point]]
    count: int


class Gradients:
    """The plan's inputs for a group of images, in full batches; explains the group at any stage.

    All batches of a rule are of one size: the smallest that needs no more batches than
    `batch_size` would, the last one padded. Inputs are kept between stages if they are not too
    many, else made again.
    """

    def __init__(
        self, plan: Plan, subjects: Sequence[Subject], targets: np.ndarray, batch_size: int
    ):
        self._methods = plan.methods
        self._weights = {name: method.points() for name, method in plan.methods.items()}
        self._subjects = list(subjects)
        self._targets = targets
        self._batches: list[_Batch] = []
        for rule, points in plan.points.items():
            owners = [(i, point) for i in range(len(self._subjects)) for point in points]
            size = max(2, math.ceil(len(owners) / math.ceil(len(owners) / batch_size)))
            for start in range(0, len(owners), size):
                chunk = owners[start : start + size]
                padded = chunk + chunk[-1:] * (size - len(chunk))
                self._batches.append(_Batch(rule, padded, len(chunk)))
        rows = sum(len(batch.owners) for batch in self._batches)
        self._keep = sum(subject.image.nbytes for subject in self._subjects[:1]) * rows <= _KEPT
        self._kept: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}

    def explain(
        self, classifier: "Classifier", done: Callable[[int], None] = lambda gradients: None
    ) -> dict[str, np.ndarray]:
        """The masks (n, H, W, C) float32 of each method, with the weights in place.

        Args:
            classifier: The network.
            done: Told after each batch how many gradients it was.
        """
        masks: dict[str, list[np.ndarray]] = {name: [] for name in self._methods}
        totals: dict[str, np.ndarray] = {}
        missing: dict[str, int] = {}
        for number, batch in enumerate(self._batches):
            inputs, references = self._inputs(number)
            targets = self._targets[[owner for owner, _ in batch.owners]]
            found = classifier.gradients(inputs, targets, batch.rule, references)
            for (owner, point), row in zip(batch.owners[: batch.count], found, strict=False):
                subject, gradient = self._subjects[owner], row.astype(np.float64)
                for name, method in self._methods.items():
                    weight = self._weights[name].get(point)
                    if weight is None or method.rule != batch.rule:
                        continue
                    term = weight * method.term(gradient, point, subject)
                    if name in totals:
                        totals[name] += term
                    else:
                        totals[name], missing[name] = term, len(self._weights[name])
                    missing[name] -= 1
                    if not missing[name]:  # owners stand image by image: so do the masks
                        mask = method.finish(totals.pop(name), subject)
                        masks[name].append(np.asarray(mask, np.float32))
            done(batch.count)
        return {
            name: method.complete(np.stack(masks[name]), classifier, self._subjects, self._targets)
            for name, method in self._methods.items()
        }

    def _inputs(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A batch's inputs and, for rules that compare, its references."""
        if number in self._kept:
            return self._kept[number]
        owners = [(self._subjects[i], point) for i, point in self._batches[number].owners]
        inputs = np.stack([point.at(subject) for subject, point in owners])
        compared = [point.reference(s) for s, point in owners if hasattr(point, "reference")]
        made = inputs, np.stack(compared) if compared else None
        if self._keep:
            self._kept[number] = made
        return made
