"""What a randomization may ask of a network that is trained here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
        weights: By name.
        facts: Epochs, accuracies in [0, 1]; for run.json and the log.
    """

    weights: dict[str, np.ndarray]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Training:
    """What a network trained here learned from, and how to train it again.

    Attributes:
        labels: (n,) int64 of the training images.
        fit: Trains the same network, from the same first weights, on other labels (n,); the
            second argument is what messages and facts call them.
    """

    labels: np.ndarray
    fit: Callable[[np.ndarray, str], Fitted]
