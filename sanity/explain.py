"""Masks: every method on every image at every stage, image group by image group."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.data import Images
from sanity.methods import GradientMethod, Gradients, Plan, Subject

if TYPE_CHECKING:
    from sanity.classifier import Classifier
    from sanity.randomization import Stage

_GROUP_BYTES = 256 * 2**20
_GROUP_IMAGES = 32
_COPIES = 12  # of a mask: original and randomized, each with what metrics keep of it


@dataclass(frozen=True)
class Explained:
    """The masks of a group of images at one stage.

    Attributes:
        group: Positions of the images.
        stage: The state of the weights.
        masks: (n, H, W[, C]) float32 by method.
        before: At stage 0, the original mask (1, H, W[, C]) of the image before the group's first
            (before the very first: of the last), by method; empty where the group is all images.
    """

    group: range
    stage: "Stage"
    masks: dict[str, np.ndarray]
    before: dict[str, np.ndarray] = field(default_factory=dict)


def explain(
    classifier: "Classifier",
    images: Images,
    targets: np.ndarray,
    methods: Mapping[str, Any],
    stages: Sequence["Stage"],
    seed: int = 0,
    *,
    wanted: Callable[[range, "Stage"], bool] = lambda group, stage: True,
    done: Callable[[int], None] = lambda gradients: None,
) -> Iterator[Explained]:
    """Explains images at all stages, group by group; the trained weights are back at the end.

    Images are taken in groups, and a group through all stages, so that inputs are made once and
    memory does not grow with the number of images.

    Args:
        classifier: The network.
        images: What is explained.
        targets: (n,), the class explained of each.
        methods: By name; gradient methods share their gradients.
        stages: See `Randomization.stages`.
        seed: Of noise and random masks.
        wanted: Whether a group is needed at a stage; else it is passed over.
        done: Told how many gradients have been computed.
    """
    explainer = _Explainer(classifier, images, targets, methods, seed, done)
    with classifier.restored():
        for group in groups(len(images), images.x[0].nbytes, explainer.plan.distinct, len(methods)):
            inputs = None  # made when a stage of this group is wanted, and kept for the others
            before = (group.start - 1) % len(images)
            for stage in stages:
                if not wanted(group, stage):
                    continue
                inputs = inputs or explainer.prepare(group)
                classifier.set_weights(stage.weights(), stage.index)
                masks = explainer.masks(group, inputs)
                extra = {}
                if stage.index == 0 and before not in group:
                    one = range(before, before + 1)
                    extra = explainer.masks(one, explainer.prepare(one))
                yield Explained(group, stage, masks, extra)


@dataclass(frozen=True)
class _Explainer:
    classifier: "Classifier"
    images: Images
    targets: np.ndarray
    methods: Mapping[str, Any]
    seed: int
    done: Callable[[int], None]

    @cached_property
    def plan(self) -> Plan:
        return gradient_plan(self.methods)

    def prepare(self, group: range) -> Gradients:
        """The gradients' inputs of some images."""
        some = self.images.take(group)
        subjects = [Subject(x, n, self.seed) for x, n in zip(some.x, some.names, strict=True)]
        return self.plan.prepare(subjects, self.targets[group], self.classifier.batch_size)

    def masks(self, group: range, inputs: Gradients) -> dict[str, np.ndarray]:
        """The masks of some images by all methods, with the weights in place."""
        found = inputs.explain(self.classifier, self.done)
        some, targets = self.images.take(group), self.targets[group]
        for name, method in self.methods.items():
            if name not in found:
                found[name] = method.masks(self.classifier, some, targets, self.seed)
        return {name: found[name] for name in self.methods}


def gradient_plan(methods: Mapping[str, Any]) -> Plan:
    """The plan of those methods that are made of gradients."""
    return Plan({name: m for name, m in methods.items() if isinstance(m, GradientMethod)})


def groups(n_images: int, image_bytes: int, points: int, methods: int) -> list[range]:
    """Ranges of images that go through the stages together, for bounded memory."""
    an_image = image_bytes * (points + _COPIES * methods)
    size = max(1, min(_GROUP_IMAGES, _GROUP_BYTES // an_image, n_images))
    return [range(start, min(start + size, n_images)) for start in range(0, n_images, size)]
