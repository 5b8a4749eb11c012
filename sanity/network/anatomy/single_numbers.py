"""Whether a single number is of a formula, or may have been learned."""

import logging
import math
import re
from collections.abc import Mapping

import numpy as np

from sanity.errors import name_some

log = logging.getLogger(__name__)

_EXACT = 2e-7  # of a number: how far off what a formula gives may be in float32
_DIGITS = 4  # of a decimal number that somebody wrote
_SHOWN = 5  # names in a message
# Logarithms, SELU's two numbers and their product, GELU's.
_KNOWN = (math.log(2), math.log(10), 1.0507009873, 1.6732632423, 1.7580993408, 0.044715)
_LARGEST = 12  # of the numbers below a fraction's line
_MOST = 1e5  # of a learned number, and of a whole one that float32 tells from others by its root
# What freezing, and who converts what is frozen, leaves of the read of a variable.
_READ = re.compile(r"(/ReadVariableOp(_\d+)?(/resource)?|/read)(:0)?$")


def was_variable(name: str) -> bool:
    """Whether a constant, or what passes it on, is called as TensorFlow calls a variable's read."""
    return bool(_READ.search(name))


def may_be_learned(value: np.ndarray) -> bool:
    """Whether a single number looks as if it was learned.

    Formulas have short numbers, fractions, their roots, and few others: 0.5, 1/√2, √(2/π), 1/√64.
    Numbers in less than float32 tell nothing, as all of them are short.
    """
    number = abs(float(value.ravel()[0]))
    if not 0 < number < _MOST or value.dtype.itemsize < 4:
        return False
    fractions = [number * below for below in range(1, _LARGEST + 1)]
    if any(_near(number, known) or _near(1 / number, known) for known in _KNOWN):
        return False
    for power in (1, -1, 2, -2, -4):
        one, error = number**power, abs(power) * _EXACT
        written = [one, one * math.pi, one / math.pi] if abs(power) < 3 else []
        whole = [*fractions, one] if power == 1 else [one]
        if any(_near(each, float(f"{each:.{_DIGITS}g}"), error) for each in written) or any(
            each < _MOST and _near(each, round(each), error) for each in whole
        ):
            return False
    return True


def say_untold(model: str, numbers: Mapping[str, np.ndarray]) -> None:
    """Says once which single numbers are taken for constants though they may be learned.

    Args:
        model: What messages call it.
        numbers: By name.
    """
    if numbers:
        named = [f"{name} ({float(value.ravel()[0]):.6g})" for name, value in numbers.items()]
        log.warning(
            "%s: nothing tells whether %s learned, so taken for constant and never randomized: %s",
            model,
            "a single number was" if len(named) == 1 else f"{len(named)} single numbers were",
            name_some(named, _SHOWN),
        )


def _near(number: float, other: float, error: float = _EXACT) -> bool:
    return abs(number - other) <= error * number
