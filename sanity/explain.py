"""Masks: every method on every image at every stage, image group by image group."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.data import Images
from sanity.methods import GradientMethod, Plan, Subject

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
    """

    group: range
    stage: "Stage"
    masks: dict[str, np.ndarray]


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
    plan = gradient_plan(methods)
    others = {name: method for name, method in methods.items() if name not in plan.methods}
    with classifier.restored():
        for group in groups(len(images), images.x[0].nbytes, plan.distinct, len(methods)):
            some = images.take(group)
            inputs = None
            for stage in stages:
                if not wanted(group, stage):
                    continue
                if inputs is None:  # not before a stage of this group is wanted
                    subjects = [
                        Subject(x, name, seed) for x, name in zip(some.x, some.names, strict=True)
                    ]
                    inputs = plan.prepare(subjects, targets[group], classifier.batch_size)
                classifier.set_weights(stage.weights(), stage.index)
                masks = inputs.explain(classifier, done)
                for name, method in others.items():
                    masks[name] = method.masks(classifier, some, targets[group], seed)
                yield Explained(group, stage, {name: masks[name] for name in methods})


def gradient_plan(methods: Mapping[str, Any]) -> Plan:
    """The plan of those methods that are made of gradients."""
    return Plan({name: m for name, m in methods.items() if isinstance(m, GradientMethod)})


def groups(n_images: int, image_bytes: int, points: int, methods: int) -> list[range]:
    """Ranges of images that go through the stages together, for bounded memory."""
    an_image = image_bytes * (points + _COPIES * methods)
    size = max(1, min(_GROUP_IMAGES, _GROUP_BYTES // an_image, n_images))
    return [range(start, min(start + size, n_images)) for start in range(0, n_images, size)]
