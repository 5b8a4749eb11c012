"""Quantus' randomization test (MPRT) on PyTorch, for `peers.py`: Gradient at its first stages.

python peer_quantus.py GIVEN.npz SAVED_MODEL prints a line of JSON. MPRT randomizes every single
layer in turn, some hundred: it is ended when it asks for the stage after the last one timed.
"""

import contextlib
import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

STAGES = 20  # the one as trained among them


class _EnoughError(Exception):
    """All stages that are timed are done."""


def main(given: Path) -> None:
    """Measures a cascade; its explanations are counted as they are asked for."""
    import quantus
    import torch
    from captum.attr import Saliency
    from peer_captum import network

    warnings.simplefilter("ignore")
    arrays = np.load(given)
    x, target = arrays["images"].transpose(0, 3, 1, 2).copy(), arrays["targets"]
    counted: list[int] = []

    def explain(model: Any, inputs: Any, targets: Any, **others: Any) -> np.ndarray:
        if len(counted) == STAGES:
            raise _EnoughError
        inputs, targets = torch.tensor(inputs).float(), torch.tensor(targets)
        counted.append(len(inputs))
        found: np.ndarray = Saliency(model).attribute(inputs, targets, abs=False).detach().numpy()
        return found

    test = quantus.MPRT(
        disable_warnings=True, display_progressbar=False, return_last_correlation=True
    )
    model = network()
    maps = explain(model, x, target)
    counted.clear()
    given_to_test = {"model": model, "x_batch": x, "y_batch": target, "a_batch": maps}
    start, cpu = time.perf_counter(), time.process_time()
    with contextlib.suppress(_EnoughError):
        test(**given_to_test, explain_func=explain, device="cpu")
    seconds = (time.perf_counter() - start) / sum(counted)
    cpu = (time.process_time() - cpu) / sum(counted)
    name = f"Quantus {version('quantus')}, PyTorch {torch.__version__}"
    print(json.dumps({"name": name, "seconds": seconds, "cpu": cpu, "gradients": 1}))


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main(Path(sys.argv[1]))
