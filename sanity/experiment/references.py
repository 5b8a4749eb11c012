"""The other images whose masks nulls are made with.

They are chosen by their names from the images of all shards, so that a null depends neither on the
order of images nor on how they are divided among jobs: every shard explains the same few.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sanity.data import Images, ImageSpec
from sanity.experiment.explaining import explain
from sanity.experiment.originals import originals
from sanity.experiment.prepare import Experiment, explained_targets
from sanity.files import replace_file
from sanity.metrics.scoring import References
from sanity.results.tables import damage

if TYPE_CHECKING:
    from sanity.methods import Cost

FILE = "references.npz"
_CANDIDATES = 4  # times as many are looked at, for their classes to differ


def make_references(experiment: Experiment, done: "Callable[[Cost], None]") -> References | None:
    """The masks that a job's nulls are made with; None where they are made without other images.

    Args:
        experiment: The job.
        done: Told what has been computed, each time that something has.
    """
    job, images = experiment.job, experiment.images
    if job.settings.null_model != "other_image":
        return None
    others = choose_references(experiment)
    if len(others) == 1 and others.names == images.names:
        return None
    targets = explained_targets(job, experiment.classifier, others)
    (found,) = explain(
        experiment.classifier,
        others,
        targets,
        job.methods,
        experiment.stages[:1],
        job.settings.seed,
        done=done,
        originals=originals(job, experiment.classifier, others, targets),
        groups=[range(len(others))],
    )
    return References(
        others.names, found.masks, allowed(images, experiment.targets, others, targets)
    )


def choose_references(experiment: Experiment) -> Images:
    """The images of which `null_images` asks for so many, in an order that their names give.

    Those of one class come after those of others, as far as labels are known.
    """
    job, count = experiment.job, experiment.job.settings.null_images
    names = job.data.names_of_all()
    if names is None:
        loaded = experiment.images
        return loaded.take(choose(loaded.names, loaded.labels, count))
    first = sorted(names, key=_key)[: _CANDIDATES * count]
    candidates = job.data.named(first).load(ImageSpec.of(experiment.classifier))
    return candidates.take(choose(candidates.names, candidates.labels, count))


def choose(names: Sequence[str], classes: Sequence[int | None], count: int) -> list[int]:
    """Positions of so many images, in an order that their names give; each class in turn.

    Args:
        names: Of the images.
        classes: Of each, None where it is not known.
        count: How many.
    """
    order = sorted(range(len(names)), key=lambda i: _key(names[i]))[: _CANDIDATES * count]
    seen: dict[int | None, int] = {}
    ranks = []
    for place, image in enumerate(order):
        of = classes[image]
        ranks.append((seen.get(of, 0) if of is not None else 0, place))
        seen[of] = seen.get(of, 0) + 1
    return [order[place] for _, place in sorted(ranks)[:count]]


def allowed(
    images: Images, targets: np.ndarray, others: Images, other_targets: np.ndarray
) -> np.ndarray:
    """Which others each image is held against, (n, K) bool: those of another class.

    The classes are the labels where both are known, else those explained. An image for which all
    are of its own class is held against all, itself excepted.
    """
    foreign = np.array(
        [
            [
                label != other if None not in (label, other) else mine != target
                for other, target in zip(others.labels, other_targets, strict=True)
            ]
            for label, mine in zip(images.labels, targets, strict=True)
        ]
    )
    return hold_apart(images.names, others.names, foreign)


def hold_apart(names: Sequence[str], others: Sequence[str], foreign: np.ndarray) -> np.ndarray:
    """Which others each image is held against, (n, K) bool: foreign ones, if there are any.

    Args:
        names: Of the n images.
        others: Of the K others.
        foreign: (n, K) bool, whether they are of different classes.
    """
    different = np.array(names)[:, None] != np.array(others)[None]
    both = different & foreign
    return np.where(both.any(axis=1, keepdims=True), both, different)


def write_references(run: Path, references: References) -> None:
    """Stores them beside a run's masks, for scores by other metrics later."""
    arrays = {f"mask.{method}": masks for method, masks in references.masks.items()}
    buffer = io.BytesIO()
    # mypy takes one of the arrays for the keyword `allow_pickle`, a name that no method has.
    np.savez(buffer, names=np.array(references.names), allowed=references.allowed, **arrays)  # type: ignore[arg-type]
    replace_file(run / FILE, buffer.getvalue())


def read_references(run: Path) -> References | None:
    """Those of a run; None where it has stored none.

    Raises:
        ConfigError: The file is damaged.
    """
    path = run / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            masks = {k.removeprefix("mask."): file[k] for k in file.files if k.startswith("mask.")}
            return References(file["names"].tolist(), masks, file["allowed"])
    except Exception as error:  # zip's, NumPy's and the operating system's
        raise damage(path) from error


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
