"""What the host is given of a batch of gradients that lies on a graphics card: as little as may be.

Sums are taken there in double precision, one for each method and image; a gradient is fetched only
for methods that make something else of it, or where it is less than a sum.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sanity.methods.sums import Asked, Batch, Part, terms

_DOUBLE = 2  # a sum in double precision, in units of a gradient


@dataclass(frozen=True)
class _Sum:
    """A sum over some rows of a batch: a method's for an image.

    Attributes:
        method: Its name.
        owner: Position of the image.
        rows: Positions of the rows.
        weights: Of each.
    """

    method: str
    owner: int
    rows: Sequence[int]
    weights: Sequence[float]


@dataclass(frozen=True)
class _Kind:
    """Sums that are taken together.

    Attributes:
        power: Of the gradients.
        factors: (n, H, W, C), what they are multiplied by, on the device; None for 1.
        sums: Which.
    """

    power: int
    factors: Any
    sums: Sequence[_Sum]


class Fetching:
    """Gives what a batch adds to methods' sums, in any state of the weights.

    Args:
        asked: For what.
        batch: What its rows are.
    """

    def __init__(self, asked: Asked, batch: Batch):
        self._asked, self._batch = asked, batch
        rows: set[int] = set()
        sums: dict[str, list[_Sum]] = {}
        for name, method in asked.methods.items():
            if method.rule != batch.rule:
                continue
            powers = method.card_powers
            for owner, own in _rows_by_owner(batch, asked.weights[name]).items():
                if powers is None or len(own) <= _DOUBLE * len(powers):
                    rows.update(own)
                else:
                    weights = [asked.weights[name][batch.owners[row][1]] for row in own]
                    sums.setdefault(name, []).append(_Sum(name, owner, own, weights))
        self._rows = sorted(rows)
        self._summed = {(name, one.owner): one for name, found in sums.items() for one in found}
        self._kinds = self._kinds_of(sums)

    def __call__(self, gradients: Any) -> Callable[[], Iterator[Part]]:
        """Has a batch of gradients (n, H, W, C), a tensor, added up; waits for nothing.

        What it returns fetches, and gives the parts image by image.
        """
        import tensorflow as tf

        from sanity.network.sums import weighted_sums

        totals = [
            weighted_sums(
                gradients,
                [(one.rows, one.weights) for one in kind.sums],
                power=kind.power,
                factors=kind.factors,
            )
            for kind in self._kinds
        ]
        chosen = tf.gather(gradients, self._rows) if self._rows else None
        return lambda: self._parts(chosen, totals)

    # Inside

    def _kinds_of(self, sums: Mapping[str, Sequence[_Sum]]) -> list[_Kind]:
        """Sums by power; those of a method with factors by themselves."""
        together: dict[int, list[_Sum]] = {}
        kinds: list[_Kind] = []
        for name, found in sums.items():
            factors = self._factors(name, found)
            for power in self._asked.methods[name].card_powers or ():
                if factors is None:
                    together.setdefault(power, []).extend(found)
                else:
                    kinds.append(_Kind(power, factors, found))
        return [*kinds, *(_Kind(power, None, found) for power, found in together.items())]

    def _factors(self, name: str, sums: Sequence[_Sum]) -> Any:
        """A method's factors of the rows of its sums, on the device; None where it has none."""
        import tensorflow as tf

        method, found = self._asked.methods[name], {}
        for one in sums:
            for row in one.rows:
                owner, point = self._batch.owners[row]
                factor = method.factor(point, self._asked.subjects[owner])
                if factor is not None:
                    found[row] = factor
        if not found:
            return None
        shape, kind = next(iter(found.values())).shape, np.result_type(*found.values())
        factors = np.ones((len(self._batch.owners), *shape), kind)
        for row, factor in found.items():
            factors[row] = factor
        return tf.constant(factors)

    def _parts(self, chosen: Any, totals: Sequence[Any]) -> Iterator[Part]:
        gradients = {} if chosen is None else dict(zip(self._rows, chosen.numpy(), strict=True))
        values: dict[tuple[str, int], list[np.ndarray]] = {}
        for kind, found in zip(self._kinds, totals, strict=True):
            for one, value in zip(kind.sums, found.numpy(), strict=True):
                values.setdefault((one.method, one.owner), []).append(value)
        for owner in dict.fromkeys(owner for owner, _ in self._batch.owners):
            rows = [(row, g) for row, g in gradients.items() if self._batch.owners[row][0] == owner]
            yield from terms(self._asked, self._batch, rows, self._summed)
            for name in self._asked.methods:
                if powers := values.get((name, owner)):
                    value = np.stack(powers) if len(powers) > 1 else powers[0]
                    yield Part(name, owner, len(self._summed[name, owner].rows), value)


def _rows_by_owner(batch: Batch, points: Mapping[Any, float]) -> dict[int, list[int]]:
    """Positions of the rows that are some points, for each image; no padding."""
    found: dict[int, list[int]] = {}
    for row, (owner, point) in enumerate(batch.owners[: batch.count]):
        if point in points:
            found.setdefault(owner, []).append(row)
    return found
