"""What stands between a network's logits and its images that is no linear map."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Function:
    """A function of each entry by itself, y = f(x), whatever ops compute it.

    Attributes:
        x: The tensor that it is of.
        y: The op that gives its values.
        ops: All ops within, that one among them.
    """

    x: str
    y: str
    ops: frozenset[str]


@dataclass(frozen=True)
class Product:
    """Two tensors that both depend on the images, multiplied entry by entry.

    Attributes:
        op: Its name.
        gate: Which operand, 0 or 1, only opens and closes the other, its values in [0, 1]; None if
            neither does, or both.
        normalizes: Whether an operand is divided by something of the image, such as its spread.
    """

    op: str
    gate: int | None
    normalizes: bool


@dataclass(frozen=True)
class Norm:
    """A division by a statistic of the image itself, as layer normalization's.

    Attributes:
        op: Its name.
        spread: Which operand of a product or quotient the statistic, or its inverse, is; None where
            a single op takes the statistics and divides by them.
    """

    op: str
    spread: int | None


@dataclass
class Course:
    """What relevance passes on its way from the logits to the images.

    Attributes:
        functions: The nonlinearities.
        products: Of two tensors that both depend on the images.
        maxima: Names of the ops that choose the largest (or least) of several entries.
        others: The ops that are neither these nor linear.
        norms: Divisions by a statistic of the image; among `products` and `others` where softmaxes
            are not looked for.
    """

    functions: list[Function] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    maxima: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
