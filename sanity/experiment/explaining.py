"""Masks: every method on every image at every stage, image group by image group."""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from sanity.checked import read_only
from sanity.contents import is_own, untouched
from sanity.data import Images
from sanity.data.ahead import read_ahead
from sanity.methods import Cost, GradientMethod, Method, Plan, Subject
from sanity.methods.masks import sound_masks
from sanity.methods.own import check_apart
from sanity.randomization.stage import explained_classes, sound_classes
from sanity.results.units import cut_groups

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier
    from sanity.randomization.stage import Stage
    from sanity.results.originals import Originals

_BYTES = 640 * 2**20  # of masks and sums, at the most
_GROUP_IMAGES = 32
_ENOUGH = 96  # gradients by one rule, to fill batches: more images need not be held at once
_CARD = 8  # times as much of all three for a graphics card, whose batches are larger
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


@dataclass(frozen=True)
class Entered:
    """A group of images at a stage, whose weights have just been put in place for it.

    Attributes:
        group: Positions of the images.
        stage: The state of the weights.
        images: The images.
        targets: (n,), the class of each that stage 0 explains.
        classes: (n,), the class of each that this stage explains.
        logits: (n, classes), where they are known.
    """

    group: range
    stage: "Stage"
    images: Images
    targets: np.ndarray
    classes: np.ndarray
    logits: np.ndarray | None


def explain(
    classifier: "Classifier",
    images: Images,
    targets: np.ndarray | None,
    methods: Mapping[str, Method],
    stages: Sequence["Stage"],
    seed: int = 0,
    *,
    wanted: Callable[[range, "Stage"], bool] = lambda group, stage: True,
    done: Callable[[Cost], None] = lambda cost: None,
    entered: Callable[[Entered], None] = lambda entered: None,
    originals: Callable[[Images, np.ndarray], "Originals"] | None = None,
    groups: Sequence[range] | None = None,
) -> Generator[Explained]:
    """Explains images at all stages, group by group; the trained weights are back at the end.

    Images are taken in groups, and each batch of a group through the stages in turn: inputs are
    made once, what a stage has in common with the one before is not computed again, and memory
    does not grow with the number of images or stages.

    Args:
        classifier: The network.
        images: What is explained.
        targets: (n,), the class explained of each, unless a stage explains others; None for the
            one that the network as trained predicts.
        methods: By name; gradient methods share their gradients.
        stages: See `Scheme.stages`.
        seed: Of noise and random masks.
        wanted: Whether a group is needed at a stage; else it is passed over.
        done: Told what has been computed, each time that something has.
        entered: Called once for each group at each stage, when the weights are in place.
        originals: Gives what is kept of some images' masks at stage 0, of the images and the
            classes explained; those found there are not computed again.
        groups: Positions of the images that go through the stages together; by default as many as
            memory allows.
    """
    if targets is not None:
        targets = sound_classes(targets, len(images), classifier.n_classes, "targets")
    own = {name: untouched(method) for name, method in methods.items() if _has_own(method)}
    explainer = _Explainer(classifier, methods, seed, done, entered, own)
    with classifier.weights.restored():
        size = mask_bytes(images, methods)
        if groups is None:
            fewest, on_card = explainer.plan.fewest, classifier.on_card
            at_once = count_at_once(len(images), size, len(stages), fewest, on_card=on_card)
            groups = cut_groups(len(images), at_once)
        asked = [(group, [stage for stage in stages if wanted(group, stage)]) for group in groups]
        asked = [(group, left) for group, left in asked if left]
        with read_ahead(images, [group for group, _ in asked]) as read:
            for (group, left), some in zip(asked, read, strict=True):
                part = _Part.of(classifier, group, some, targets)
                kept = originals(part.images, part.targets) if originals else None
                room = _BYTES * (_CARD if classifier.on_card else 1) // size
                at_once = max(1, (room - _COPIES * len(group)) // (len(group) + _SUM))
                for start in range(0, len(left), at_once):
                    yield from explainer.explain(part, left[start : start + at_once], kept)


@dataclass(frozen=True)
class _Part:
    """A group of images, and the class explained of each.

    Attributes:
        logits: Of the network as trained, where the classes are what it predicts.
    """

    group: range
    images: Images
    targets: np.ndarray
    logits: np.ndarray | None = None

    @classmethod
    def of(
        cls, classifier: "Classifier", group: range, images: Images, targets: np.ndarray | None
    ) -> "_Part":
        """Some of the images, at these positions among those that `targets` are of; read-only."""
        images = replace(images, x=read_only(images.x))
        if targets is not None:
            return cls(group, images, read_only(targets[group]))
        classifier.weights.put({})
        logits = classifier.logits(images.x)
        return cls(group, images, read_only(logits.argmax(axis=1)), logits)


@dataclass(frozen=True)
class _Explainer:
    """Explains groups of images.

    Attributes:
        own: Methods of one's own whose masks were not looked at yet, as they were before.
    """

    classifier: "Classifier"
    methods: Mapping[str, Method]
    seed: int
    done: Callable[[Cost], None]
    entered: Callable[[Entered], None]
    own: dict[str, Method]

    @cached_property
    def plan(self) -> Plan:
        return gradient_plan(self.methods)

    def explain(
        self, part: _Part, stages: Sequence["Stage"], kept: "Originals | None"
    ) -> Iterator[Explained]:
        """The masks of some images at some stages."""
        some, here = part.images, part.targets
        subjects = [Subject(x, n, self.seed) for x, n in zip(some.x, some.names, strict=True)]
        gradients = self.plan.prepare(subjects, here, self.classifier.batch_size)
        states = [self._state(stage, part) for stage in stages]
        first = self._kept(kept, len(some), stages[0])  # stage 0, if among them, is the first
        whole = all(name in first for name in self.plan.methods)
        computed: Iterable[tuple[np.ndarray, dict[str, np.ndarray]]] = gradients.compute(
            self.classifier,
            states[1:] if whole else states,
            lambda count: self.done(Cost(gradients=count)),
        )
        if whole:
            self.done(Cost(gradients=self.plan.distinct * len(some)))
            computed = chain([(states[0](), {})], computed)
        for stage, (targets, sums) in zip(stages, computed, strict=True):
            found = dict(first) if stage is stages[0] else {}
            if sums:
                found |= self._sound(gradients.complete(self.classifier, sums, targets), some)
            for name, method in self.methods.items():
                if name not in found:
                    found[name] = self._by_itself(name, some, targets, stage.index)
                else:
                    self.done(method.cost(self.classifier, some) * len(some))
            if stage.index == 0:
                self._check_own(found.keys() - first.keys(), some, targets, found)
            if kept and stage.index == 0:
                for name, masks in found.items():
                    if name not in first:
                        kept.put(name, range(len(some)), masks)
            yield Explained(
                part.group, stage, {name: found[name] for name in self.methods}, targets
            )

    def _kept(
        self, kept: "Originals | None", n_images: int, stage: "Stage"
    ) -> dict[str, np.ndarray]:
        """Masks of stage 0 that need not be computed."""
        if stage.index or kept is None:
            return {}
        found = {name: kept.get(name, range(n_images)) for name in self.methods}
        return {name: masks for name, masks in found.items() if masks is not None}

    def _state(self, stage: "Stage", part: _Part) -> Callable[[], np.ndarray]:
        """What puts a stage's weights in place and gives the classes explained."""

        @cache
        def classes() -> np.ndarray:
            found = explained_classes(stage, self.classifier, part.images, part.targets)
            logits = None if stage.variables else part.logits
            self.entered(Entered(part.group, stage, part.images, part.targets, found, logits))
            return found

        def enter() -> np.ndarray:
            self.classifier.weights.put(stage.make_weights())
            return classes()

        return enter

    def _by_itself(self, name: str, images: Images, targets: np.ndarray, stage: int) -> np.ndarray:
        """The masks of a method that leaves nothing to the plan.

        Image by image if each fills batches of its own, so that `done` is told often enough.
        """
        method = self.methods[name]
        cost = method.cost(self.classifier, images)
        fills = cost.gradients + cost.forward >= self.classifier.batch_size
        size = 1 if fills else len(images)
        found = []
        for start in range(0, len(images), size):
            some = range(start, start + size)
            part = images.take(some)  # a copy, to which it may write, as of the classes
            masks = method.masks(self.classifier, part, targets[some], self.seed, stage)
            found.append(sound_masks(masks, name, size, images.x.shape[1:]))
            self.done(cost * size)
        return np.concatenate(found)

    def _check_own(
        self,
        names: Collection[str],
        images: Images,
        targets: np.ndarray,
        masks: Mapping[str, np.ndarray],
    ) -> None:
        """Looks at the masks of methods of one's own, once each, with stage 0 in place."""
        for name in [name for name in self.own if name in names]:
            method = self.own.pop(name)
            check_apart(name, method, self.classifier, images, targets, self.seed, masks[name])

    def _sound(self, masks: Mapping[str, np.ndarray], images: Images) -> dict[str, np.ndarray]:
        shape = images.x.shape[1:]
        return {name: sound_masks(own, name, len(images), shape) for name, own in masks.items()}


def _has_own(method: Method) -> bool:
    """Whether a method is of a class of one's own, or averages the masks of one that is."""
    inner = [value for value in vars(method).values() if isinstance(value, Method)]
    return is_own(method) or any(map(_has_own, inner))


def gradient_plan(methods: Mapping[str, Method]) -> Plan:
    """The plan of those methods that are made of gradients, and not of a `masks` of their own."""
    return Plan(
        {
            name: method
            for name, method in methods.items()
            if isinstance(method, GradientMethod) and type(method).masks is GradientMethod.masks
        }
    )


def count_at_once(
    n_images: int, size: int, n_stages: int, fewest: int = 1, *, on_card: bool = False
) -> int:
    """How many images go through the stages together, for bounded memory.

    What is held at a time: for each image and stage a mask of each method; for each stage the
    running sums of one image; and for each image what metrics keep while masks are scored.

    Args:
        n_images: How many there are.
        size: Bytes of an image's masks at one stage.
        n_stages: How many stages.
        fewest: Gradients of an image by the rule that has the fewest, see `Plan.fewest`.
        on_card: Whether the gradients are computed on a graphics card.
    """
    more = _CARD if on_card else 1
    fit = (more * _BYTES // size - _SUM * n_stages) // (n_stages + _COPIES)
    return max(1, min(more * _GROUP_IMAGES, math.ceil(more * _ENOUGH / fewest), fit, n_images))


def held(at_once: int, n_stages: int) -> int:
    """How much is held where so many images go through so many stages, in an image's masks."""
    return at_once * (n_stages + _COPIES) + _SUM * n_stages


def mask_bytes(images: Images, methods: Mapping[str, Method]) -> int:
    """Bytes of an image's masks by all methods at one stage, if all have channels."""
    size: int = math.prod(images.x.shape[1:])
    return 4 * size * max(1, len(methods))
