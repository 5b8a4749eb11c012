"""The plan: every gradient that some method needs, computed once, in full batches."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from sanity.methods.base import GradientMethod
from sanity.methods.points import Point
from sanity.methods.subject import Subject
from sanity.network.rows import LEAST_ROWS

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

_SMALLEST = 2.0**-100  # a largest value, below which 24 bits of smaller ones are lost in float32


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

    @property
    def fewest(self) -> int:
        """Distinct gradients of an image by the rule that has the fewest; 1 without any."""
        return min(map(len, self.points.values()), default=1)

    def prepare(
        self, subjects: Sequence[Subject], targets: np.ndarray, batch_size: int
    ) -> "Gradients":
        """Gets the gradients of some images ready, for all stages."""
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
    """The plan's inputs for a group of images, in full batches; explains the group in any state.

    All batches of a rule are of one size: the smallest that needs no more batches than
    `batch_size` would, the last one padded.
    """

    def __init__(
        self, plan: Plan, subjects: Sequence[Subject], targets: np.ndarray, batch_size: int
    ):
        self._methods = plan.methods
        self._weights = {name: method.points() for name, method in plan.methods.items()}
        self._subjects = list(subjects)
        self._targets = targets  # where no state gives others
        self._batches: list[_Batch] = []
        for rule, points in plan.points.items():
            owners = [(i, point) for i in range(len(self._subjects)) for point in points]
            size = math.ceil(len(owners) / math.ceil(len(owners) / batch_size))
            size = max(LEAST_ROWS, size)
            for start in range(0, len(owners), size):
                chunk = owners[start : start + size]
                padded = chunk + chunk[-1:] * (size - len(chunk))
                self._batches.append(_Batch(rule, padded, len(chunk)))

    def explain(self, classifier: "Classifier") -> dict[str, np.ndarray]:
        """The masks (n, H, W, C) float32 of each method, with the weights in place."""
        (masks,) = self.compute(classifier, [lambda: self._targets])
        return self.complete(classifier, masks, self._targets)

    def compute(
        self,
        classifier: "Classifier",
        states: Sequence[Callable[[], np.ndarray]],
        done: Callable[[int], None] = lambda gradients: None,
    ) -> list[dict[str, np.ndarray]]:
        """The masks in each of several states of the weights, not yet completed.

        A batch is taken through all states in turn, so that what a state has in common with the
        one before need not be computed again.

        Args:
            classifier: The network.
            states: Each puts its weights in place and gives the class explained of each image.
            done: Told after each batch how many gradients it was.
        """
        sums = [_Sums(self._methods, self._weights, self._subjects) for _ in states]
        # Inputs and sums are made on one core while the network is busy.
        with ThreadPoolExecutor(1) as beside:
            pending: Future[None] | None = None
            ready: Future[tuple[np.ndarray, np.ndarray | None]] | None = None
            for batch, following in zip_longest(self._batches, self._batches[1:]):
                inputs, references = ready.result() if ready else self._inputs(batch)
                ready = beside.submit(self._inputs, following) if following else None
                gradients = classifier.batch_gradient(inputs, batch.rule, references)
                images = [owner for owner, _ in batch.owners]
                for enter, total in zip(states, sums, strict=True):
                    found = gradients(enter()[images])
                    if pending:
                        pending.result()
                    pending = beside.submit(total.add, batch, found)
                    done(batch.count)
                del gradients  # and with it a batch's activations
            if pending:
                pending.result()
        return [total.masks() for total in sums]

    def complete(
        self, classifier: "Classifier", masks: Mapping[str, np.ndarray], targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The masks of a state, once its weights are in place again."""
        return {
            name: method.complete(masks[name], classifier, self._subjects, targets)
            for name, method in self._methods.items()
        }

    def _inputs(self, batch: _Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """A batch's inputs and, for rules that compare, its references."""
        owners = [(self._subjects[i], point) for i, point in batch.owners]
        inputs = np.stack([point.at(subject) for subject, point in owners])
        references = [point.reference(subject) for subject, point in owners]
        compared = [reference for reference in references if reference is not None]
        return inputs, np.stack(compared) if compared else None


class _Sums:
    """The methods' running sums in one state of the weights."""

    def __init__(
        self,
        methods: Mapping[str, GradientMethod],
        weights: Mapping[str, Mapping[Point, float]],
        subjects: Sequence[Subject],
    ):
        self._methods = methods
        self._weights = weights
        self._subjects = subjects
        self._masks: dict[str, list[np.ndarray]] = {name: [] for name in methods}
        self._totals: dict[str, np.ndarray] = {}
        self._missing: dict[str, int] = {}
        self._scaled: set[str] = set()

    def add(self, batch: _Batch, gradients: np.ndarray) -> None:
        """Adds a batch's terms in double precision; batches come in the plan's order."""
        for (owner, point), row in zip(batch.owners[: batch.count], gradients, strict=False):
            subject, gradient = self._subjects[owner], row.astype(np.float64)
            for name, method in self._methods.items():
                weight = self._weights[name].get(point)
                if weight is None or method.rule != batch.rule:
                    continue
                term = weight * method.term(gradient, point, subject)
                if name in self._totals:
                    self._totals[name] += term
                else:
                    self._totals[name], self._missing[name] = term, len(self._weights[name])
                self._missing[name] -= 1
                if not self._missing[name]:  # owners stand image by image: so do the masks
                    mask, power = in_float32(method.finish(self._totals.pop(name), subject))
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
        return {name: np.stack(self._masks.pop(name)) for name in self._methods}


def in_float32(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """A mask in single precision, and the exponent of the power of two that it was multiplied by.

    That is 0 unless float32 cannot hold the mask: squares of gradients below 1e-23 or above 1e19
    would become 0 or infinite. Then its largest value comes to lie in [1, 2). Metrics that bring
    masks to one scale, as all do by default, do not see it.
    """
    with np.errstate(over="ignore"):
        single = mask.astype(np.float32)
    largest = np.abs(mask).max()
    if not np.isfinite(largest) or _SMALLEST <= largest <= np.finfo(np.float32).max:
        return single, 0
    if np.array_equal(single, mask):
        return single, 0
    power = 1 - int(np.frexp(largest)[1])
    return np.ldexp(mask, power).astype(np.float32), power
