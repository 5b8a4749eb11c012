"""The plan: every gradient that some method needs, computed once, in full batches."""

import math
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from sanity.methods.base import GradientMethod
from sanity.methods.fetching import Fetching
from sanity.methods.masks import sound_points
from sanity.methods.points import Point
from sanity.methods.subject import Subject
from sanity.methods.sums import Asked, Batch, Part, Sums, terms
from sanity.network.rows import LEAST_ROWS

if TYPE_CHECKING:
    from sanity.network.batch_gradient import BatchGradient
    from sanity.network.classifier import Classifier


@dataclass(frozen=True)
class Plan:
    """Which gradients a set of methods needs of each image.

    Attributes:
        methods: Gradient methods by name.
    """

    methods: Mapping[str, GradientMethod]

    @cached_property
    def weights(self) -> dict[str, Mapping[Point, float]]:
        """The points that each method needs, each with its weight in the sum."""
        return {name: sound_points(name, method) for name, method in self.methods.items()}

    @property
    def asked(self) -> dict[str, int]:
        """Gradients that each method needs of an image."""
        return {name: len(points) for name, points in self.weights.items()}

    @cached_property
    def points(self) -> dict[str, list[Point]]:
        """The distinct points by backprop rule.

        Sorted, so that a method's sum runs in the same order whichever methods share its points.
        """
        union: dict[str, set[Point]] = {}
        for name, method in self.methods.items():
            union.setdefault(method.rule, set()).update(self.weights[name])
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


class Gradients:
    """The plan's inputs for a group of images, in full batches; explains the group in any state.

    All batches of a rule are of one size: the smallest that needs no more batches than
    `batch_size` would, the last one padded.
    """

    def __init__(
        self, plan: Plan, subjects: Sequence[Subject], targets: np.ndarray, batch_size: int
    ):
        self._methods = plan.methods
        self._weights = plan.weights
        self._subjects = list(subjects)
        self._targets = targets  # where no state gives others
        self._batches: list[Batch] = []
        for rule, points in plan.points.items():
            owners = [(i, point) for i in range(len(self._subjects)) for point in points]
            size = math.ceil(len(owners) / math.ceil(len(owners) / batch_size))
            size = max(LEAST_ROWS, size)
            for start in range(0, len(owners), size):
                chunk = owners[start : start + size]
                padded = chunk + chunk[-1:] * (size - len(chunk))
                self._batches.append(Batch(rule, padded, len(chunk)))

    def explain(self, classifier: "Classifier") -> dict[str, np.ndarray]:
        """The masks (n, H, W, C) float32 of each method, with the weights in place."""
        ((targets, masks),) = self.compute(classifier, [lambda: self._targets])
        return self.complete(classifier, masks, targets)

    def compute(
        self,
        classifier: "Classifier",
        states: Sequence[Callable[[], np.ndarray]],
        done: Callable[[int], None] = lambda gradients: None,
    ) -> Generator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Each state's classes and masks, these not yet completed; with its weights in place.

        A batch is taken through all states in turn, so that what a state has in common with the
        one before need not be computed again; a state's masks are there once the last batch has
        passed it.

        Args:
            classifier: The network.
            states: Each puts its weights in place and gives the class explained of each image.
            done: Told after each batch how many gradients it was.
        """
        asked, on_card = Asked(self._methods, self._weights, self._subjects), classifier.on_card
        sums = [Sums(asked) for _ in states]
        # Inputs and sums are made on one core while the network is busy, or on all while a card is.
        with ExitStack() as threads:
            beside = threads.enter_context(ThreadPoolExecutor(1))
            ahead = threads.enter_context(ThreadPoolExecutor(1)) if on_card else beside
            many = threads.enter_context(ThreadPoolExecutor(os.cpu_count())) if on_card else None
            get_ready = partial(_Ready.of, asked, many=many)
            pending: Future[None] | None = None
            coming: Future[_Ready] | None = None
            for batch, following in zip_longest(self._batches, self._batches[1:]):
                ready = coming.result() if coming else get_ready(batch)
                coming = ahead.submit(get_ready, following) if following else None
                gradients = classifier.batch_gradient(ready.inputs, batch.rule, ready.references)
                images = [owner for owner, _ in batch.owners]
                for enter, total in zip(states, sums, strict=True):
                    targets = enter()
                    parts = ready.parts(gradients, targets[images])
                    if pending:
                        pending.result()
                    pending = beside.submit(total.add, parts)
                    done(batch.count)
                    if not following:
                        pending.result()
                        yield targets, total.masks()
                del gradients, ready  # and with it a batch's activations
        if not self._batches:
            for enter in states:
                yield enter(), {}

    def complete(
        self, classifier: "Classifier", masks: Mapping[str, np.ndarray], targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The masks of a state, with its weights in place."""
        return {
            name: method.complete(masks[name], classifier, self._subjects, targets)
            for name, method in self._methods.items()
        }


@dataclass(frozen=True)
class _Ready:
    """A batch with all that does not depend on the weights.

    Attributes:
        asked: For what it is computed.
        batch: What its rows are.
        inputs: (n, H, W, C).
        references: Likewise, for rules that compare.
        fetching: What is fetched of it from a graphics card; None for all, from a processor.
    """

    asked: Asked
    batch: Batch
    inputs: np.ndarray
    references: np.ndarray | None
    fetching: Fetching | None

    @classmethod
    def of(cls, asked: Asked, batch: Batch, many: ThreadPoolExecutor | None) -> "_Ready":
        """Makes a batch's inputs: on many threads for a graphics card."""
        owners = [(asked.subjects[owner], point) for owner, point in batch.owners]
        first = owners[0][1].at(owners[0][0])
        inputs = np.empty((len(owners), *first.shape), first.dtype)

        def make(row: int) -> None:
            subject, point = owners[row]
            inputs[row] = point.at(subject)

        each = many.map if many else map
        list(each(make, range(len(owners))))
        references = [point.reference(subject) for subject, point in owners]
        compared = [reference for reference in references if reference is not None]
        fetching = Fetching(asked, batch) if many else None
        return cls(asked, batch, inputs, np.stack(compared) if compared else None, fetching)

    def parts(
        self, gradients: "BatchGradient", targets: np.ndarray
    ) -> Callable[[], Iterable[Part]]:
        """What the gradients, under the weights in place, add to the sums."""
        if self.fetching is not None:
            return self.fetching(gradients.tensor(targets))
        found = gradients(targets)[: self.batch.count]
        return lambda: terms(self.asked, self.batch, enumerate(found))
