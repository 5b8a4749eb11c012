"""How few images may go through a network together."""

import numpy as np

# Kernels for fewer images round differently: for one image with AVX-512, for up to three with AVX2.
# From here to 24 a result does not depend on how many there are with AVX-512 (of more, halves of 16
# rows and more are multiplied with large matrices otherwise: 6e-7), and hardly with AVX2,
# where it may differ by some millionths for other numbers as well: matrix products take six rows at
# a time there, and round otherwise where one to three are left.
LEAST_ROWS = 4


def fill(rows: np.ndarray) -> np.ndarray:
    """The rows of a batch, with copies up to `LEAST_ROWS`."""
    return np.resize(rows, (LEAST_ROWS, *rows.shape[1:])) if len(rows) < LEAST_ROWS else rows
