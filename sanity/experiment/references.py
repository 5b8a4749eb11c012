"""The other images whose masks nulls are made with.

They are chosen by their names from the images of all shards, so that a null depends neither on the
order of images nor on how they are divided among jobs: every shard explains the same few.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sanity.data import Dataset, Images, ImageSpec
from sanity.files import replace_file
from sanity.metrics.scoring import References
from sanity.results.tables import damage

FILE = "references.npz"
_CANDIDATES = 4  # times as many are looked at, for their classes to differ


@dataclass(frozen=True)
class Others:
    """The images that nulls are made with, before they are explained.

    Attributes:
        images: K of them.
        targets: (K,), the class explained of each.
    """

    images: Images
    targets: np.ndarray

    def allow(self, images: Images, targets: np.ndarray) -> np.ndarray:
        """Which of them each of n images is held against, (n, K) bool, see `allowed`."""
        return allowed(images, targets, self.images, self.targets)


def choose_references(data: Dataset, images: Images, spec: ImageSpec, count: int) -> Images:
    """So many images to make nulls with, in an order that their names give.

    Those of one class come after those of others, as far as labels are known.

    Args:
        data: Where they come from: from the images of all shards, where it tells their names.
        images: Those of this job, from which they come elsewhere.
        spec: What the model wants.
        count: How many, at the most.
    """
    names = data.names_of_all()
    if names is None:
        return images.take(choose(images.names, images.labels, count))
    first = sorted(names, key=_key)[: _CANDIDATES * count]
    candidates = data.named(first).open(spec)
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


def complete_references(run: Path, allowed: np.ndarray) -> None:
    """Writes, to those that are stored, which of them each image is held against."""
    stored = read_references(run)
    if stored is not None:
        write_references(run, replace(stored, allowed=allowed))


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
