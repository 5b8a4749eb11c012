"""The plan: every gradient that some method needs, computed once, in full batches."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sanity.methods.gradients import GradientMethod
from sanity.methods.points import Point, Subject

if TYPE_CHECKING:
    from sanity.classifier import Classifier


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
    rule: str
    inputs: np.ndarray
    targets: np.ndarray
    owners: list[tuple[int, Point]]


class Gradients:
    """The plan's inputs for a group of images, in full batches; explains the group at any stage.

    All batches of a rule are of one size: the smallest that needs no more batches than
    `batch_size` would, the last one padded.
    """

    def __init__(
        self, plan: Plan, subjects: Sequence[Subject], targets: np.ndarray, batch_size: int
    ):
        self._methods = plan.methods
        self._weights = {name: method.points() for name, method in plan.methods.items()}
        self._subjects = list(subjects)
        self._batches: list[_Batch] = []
        for rule, points in plan.points.items():
            owners = [(i, point) for i in range(len(self._subjects)) for point in points]
            size = max(2, math.ceil(len(owners) / math.ceil(len(owners) / batch_size)))
            for start in range(0, len(owners), size):
                chunk = owners[start : start + size]
                padded = chunk + chunk[-1:] * (size - len(chunk))
                inputs = np.stack([point.at(self._subjects[i]) for i, point in padded])
                self._batches.append(_Batch(rule, inputs, targets[[i for i, _ in padded]], chunk))

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
        for batch in self._batches:
            gradients = classifier.gradients(batch.inputs, batch.targets, batch.rule)
            for (owner, point), gradient in zip(batch.owners, gradients, strict=False):
                subject = self._subjects[owner]
                for name, method in self._methods.items():
                    weight = self._weights[name].get(point)
                    if weight is None or method.rule != batch.rule:
                        continue
                    term = weight * np.asarray(method.term(gradient, point, subject), np.float64)
                    if name in totals:
                        totals[name] += term
                    else:
                        totals[name], missing[name] = term, len(self._weights[name])
                    missing[name] -= 1
                    if not missing[name]:  # owners stand image by image: so do the masks
                        mask = method.finish(totals.pop(name), subject)
                        masks[name].append(np.asarray(mask, np.float32))
            done(len(batch.owners))
        return {name: np.stack(parts) for name, parts in masks.items()}
