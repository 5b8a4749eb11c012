"""Masks: every method on every image at every stage, image group by image group."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from sanity.data import Images
from sanity.methods import Cost, GradientMethod, Method, Plan, Subject
from sanity.results.units import cut_groups

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier
    from sanity.randomization.stage import Stage
    from sanity.results.originals import Originals

_BYTES = 640 * 2**20  # of masks and sums, at the most
_GROUP_IMAGES = 32
_ENOUGH = 96  # gradients by one rule, to fill batches: more images need not be held at once
_SUM = 2  # a running sum in double precision, in units of a mask
_COPIES = 12  # of a mask while it is scored: two, each with what metrics keep of it


@dataclass(frozen=True)
class Explained:
    """The masks of a group of images at one stage.

    Attributes:
        group: Positions of the images.
        stage: The state of the weights.
        masks: (n, H, W[, C]) float32 by method.
        targets: (n,), the class explained of each.
    """

    group: range
    stage: "Stage"
    masks: dict[str, np.ndarray]
    targets: np.ndarray

    def __repr__(self) -> str:
        images = f"images {self.group.start} to {self.group.stop - 1}"
        return f"Explained({images}, {self.stage!r}, {', '.join(self.masks)})"


def explain(
    classifier: "Classifier",
    images: Images,
    targets: np.ndarray,
    methods: Mapping[str, Method],
    stages: Sequence["Stage"],
    seed: int = 0,
    *,
    wanted: Callable[[range, "Stage"], bool] = lambda group, stage: True,
    done: Callable[[Cost], None] = lambda cost: None,
    entered: Callable[["Stage"], None] = lambda stage: None,
    originals: "Originals | None" = None,
    groups: Sequence[range] | None = None,
) -> Generator[Explained]:
    """Explains images at all stages, group by group; the trained weights are back at the end.

    Images are taken in groups, and each batch of a group through the stages in turn: inputs are
    made once, what a stage has in common with the one before is not computed again, and memory
    does not grow with the number of images or stages.

    Args:
        classifier: The network.
        images: What is explained.
        targets: (n,), the class explained of each, unless a stage explains others.
        methods: By name; gradient methods share their gradients.
        stages: See `Scheme.stages`.
        seed: Of noise and random masks.
        wanted: Whether a group is needed at a stage; else it is passed over.
        done: Told what has been computed, each time that something has.
        entered: Called when a stage's weights are in place for the first time.
        originals: Masks of stage 0 that are kept; those found there are not computed again.
        groups: Positions of the images that go through the stages together; by default as many as
            memory allows.
    """
    explainer = _Explainer(classifier, images, targets, methods, seed, done, entered, originals)
    with classifier.weights.restored():
        size = mask_bytes(images, methods)
        if groups is None:
            at_once = count_at_once(len(images), size, len(stages), explainer.plan.fewest)
            groups = cut_groups(len(images), at_once)
        for group in groups:
            left = [stage for stage in stages if wanted(group, stage)]
            at_once = max(1, (_BYTES // size - _COPIES * len(group)) // (len(group) + _SUM))
            for start in range(0, len(left), at_once):
                yield from explainer.explain(group, left[start : start + at_once])


@dataclass
class _Explainer:
    classifier: "Classifier"
    images: Images
    targets: np.ndarray
    methods: Mapping[str, Method]
    seed: int
    done: Callable[[Cost], None]
    entered: Callable[["Stage"], None]
    originals: "Originals | None"
    seen: set[int] = field(default_factory=set)  # stages that were entered

    @cached_property
    def plan(self) -> Plan:
        return gradient_plan(self.methods)

    def explain(self, group: range, stages: Sequence["Stage"]) -> Iterator[Explained]:
        """The masks of some images at some stages."""
        for stage, (masks, targets) in zip(stages, self._masks(group, stages), strict=True):
            yield Explained(group, stage, masks, targets)

    def _masks(
        self, group: range, stages: Sequence["Stage"]
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """The masks by method, and the classes explained, at each stage."""
        some, here = self.images.take(group), self.targets[group]
        subjects = [Subject(x, n, self.seed) for x, n in zip(some.x, some.names, strict=True)]
        gradients = self.plan.prepare(subjects, here, self.classifier.batch_size)
        states = [self._state(stage, some, here) for stage in stages]
        first = self._kept(group, stages[0])  # stage 0, if it is among them, is the first
        whole = all(name in first for name in self.plan.methods)
        if whole:
            states[0]()
        computed = gradients.compute(
            self.classifier,
            states[1:] if whole else states,
            lambda count: self.done(Cost(gradients=count)),
        )
        if whole:
            self.done(Cost(gradients=self.plan.distinct * len(group)))
            computed.insert(0, {})
        for stage, enter in zip(stages, states, strict=True):
            targets, sums = enter(), computed.pop(0)
            found = dict(first) if stage is stages[0] else {}
            if sums:
                found |= gradients.complete(self.classifier, sums, targets)
            for name, method in self.methods.items():
                if name not in found:
                    found[name] = self._by_itself(method, some, targets, stage.index)
                else:
                    self.done(method.cost(self.classifier, some) * len(some))
            if self.originals and stage.index == 0:
                for name, masks in found.items():
                    if name not in first:
                        self.originals.put(name, group, masks)
            yield {name: found[name] for name in self.methods}, targets

    def _kept(self, group: range, stage: "Stage") -> dict[str, np.ndarray]:
        """Masks of stage 0 that need not be computed."""
        if stage.index or self.originals is None:
            return {}
        found = {name: self.originals.get(name, group) for name in self.methods}
        return {name: masks for name, masks in found.items() if masks is not None}

    def _state(
        self, stage: "Stage", images: Images, targets: np.ndarray
    ) -> Callable[[], np.ndarray]:
        """What puts a stage's weights in place and gives the classes explained."""

        @cache
        def classes() -> np.ndarray:
            if stage.index not in self.seen:
                self.seen.add(stage.index)
                self.entered(stage)
            return stage.explained(self.classifier, images, targets)

        def enter() -> np.ndarray:
            self.classifier.weights.put(stage.make_weights())
            return classes()

        return enter

    def _by_itself(
        self, method: Method, images: Images, targets: np.ndarray, stage: int
    ) -> np.ndarray:
        """The masks of a method that leaves nothing to the plan.

        Image by image if each fills batches of its own, so that `done` is told often enough.
        """
        cost = method.cost(self.classifier, images)
        fills = cost.gradients + cost.forward >= self.classifier.batch_size
        size = 1 if fills else len(images)
        found = []
        for start in range(0, len(images), size):
            some = range(start, start + size)
            part, chosen = images.take(some), targets[some]
            found.append(method.masks(self.classifier, part, chosen, self.seed, stage))
            self.done(cost * size)
        return np.concatenate(found)


def gradient_plan(methods: Mapping[str, Method]) -> Plan:
    """The plan of those methods that are made of gradients."""
    return Plan({name: m for name, m in methods.items() if isinstance(m, GradientMethod)})


def count_at_once(n_images: int, size: int, n_stages: int, fewest: int = 1) -> int:
    """How many images go through the stages together, for bounded memory.

    What is held at a time: for each image and stage a mask of each method; for each stage the
    running sums of one image; and for each image what metrics keep while masks are scored.

    Args:
        n_images: How many there are.
        size: Bytes of an image's masks at one stage.
        n_stages: How many stages.
        fewest: Gradients of an image by the rule that has the fewest, see `Plan.fewest`.
    """
    fit = (_BYTES // size - _SUM * n_stages) // (n_stages + _COPIES)
    return max(1, min(_GROUP_IMAGES, math.ceil(_ENOUGH / fewest), fit, n_images))


def mask_bytes(images: Images, methods: Mapping[str, Method]) -> int:
    """Bytes of an image's masks by all methods at one stage, if all have channels."""
    return int(images.x[0].nbytes) * max(1, len(methods))
