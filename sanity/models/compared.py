"""Whether a converted model gives what its own program does."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sanity.errors import ConfigError

_ALLOWED = 1e-3  # of an output's greatest value


def check_outputs(
    expected: Mapping[str, np.ndarray], found: Mapping[str, Any], key: str, program: str
) -> None:
    """Makes sure that a model gives here what it gives in the program that it is from.

    Args:
        expected: Outputs of some images there, by name.
        found: Those here; of more than two axes with channels first or last.
        key: What messages call the model.
        program: Where it is from.

    Raises:
        ConfigError: An output differs by more than rounding.
    """
    for name, own in expected.items():
        values = np.asarray(found[name])
        turned = [np.moveaxis(values, -1, 1)] if values.ndim > 2 else []
        if not any(_agree(own, each) for each in [values, *turned]):
            raise ConfigError(
                f"{key} is not computed here as {program} does: its output {name} differs; export "
                "it as a SavedModel where it was made, then model=saved_model model.path=FOLDER"
            )


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    limit = _ALLOWED * max(np.abs(a[np.isfinite(a)]).max(initial=0), 1e-6)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=limit, equal_nan=True)
