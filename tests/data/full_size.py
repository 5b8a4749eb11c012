"""Networks of torchvision at full size, by `model=torch` and `model=onnx`, against PyTorch.

    python -m tests.data.full_size PYTHON [NETWORK ...]

PYTHON is an interpreter with PyTorch, see `full_size_torch.py`. Weights are random, references are
in double precision. It prints the table of docs/parity.md: the greatest difference of logits in
single precision, by the largest absolute logit; of gradients in single precision, and of them and
Guided Backprop in double precision, the norm of the difference by that of the gradient, the median
over three images. So too with a third, two thirds and all of the parameters drawn anew by hand.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sanity.models import Onnx, Torch
from tests.command import ROOT
from tests.float64 import twin
from tests.models.test_onnx import STAGES, gradient_error, ours

NETWORKS = ("resnet18", "mobilenet_v3_large", "efficientnet_b0", "vit_b_16")
DOUBLE = ("gradient", "Guided Backprop", "drawn: logits", "drawn: gradient")
COLUMNS = ("network", "by", "randomized", "logits", "gradient, single", *DOUBLE)


def main(python, *names):
    """Compares the networks named, or all."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            command = [python, "-m", "tests.data.full_size_torch", name, scratch]
            subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
            keys = {"checkpoint": str(folder / "weights.pt"), "python": python}
            module = f"tests.data.full_size_torch:{name}"
            for by, model in {
                "torch": Torch(module=module, input_shape=[224, 224, 3], **keys),
                "onnx": Onnx(path=str(folder / "net.onnx")),
            }.items():
                cells = compare(model.load(), folder)
                print(f"| {name} | `model={by}` | {' | '.join(cells)} |", flush=True)


def compare(classifier, folder):
    """The cells of a line."""
    double = twin(classifier)
    with np.load(folder / "reference.npz") as file:
        expected = dict(file)
    with np.load(folder / "drawn.npz") as file:
        drawn = {str(key): file[str(key)] for key in expected["names"]}
    x, targets = expected["x"], np.arange(len(expected["x"]))
    parameters = classifier.parameters
    cells = [f"{sum(bool(p.block) for p in parameters.values())} of {len(parameters)}"]
    cells.append(far(classifier.logits(x), expected["logits"]))
    cells.append(apart(classifier.gradients(x, targets), expected["gradient"]))
    cells.append(apart(double.gradients(x, targets), expected["gradient"]))
    guided = ""
    if "guided" in expected:
        guided = apart(double.gradients(x, targets, "guided_backprop"), expected["guided"])
    logits, gradients = [], []
    for stage, share in enumerate(STAGES):
        names = [*drawn][-round(share * len(drawn)) :]
        own = {key: key.replace(".", "/") for key in names}
        with classifier.weights.restored():
            classifier.weights.put({own[k]: ours(drawn[k], parameters[own[k]].shape) for k in own})
            logits.append(far(classifier.logits(x), expected[f"logits{stage}"]))
            gradients.append(apart(double.gradients(x, targets), expected[f"gradient{stage}"]))
    return [*cells, guided, ", ".join(logits), ", ".join(gradients)]


def far(found, expected):
    """The greatest difference by the largest absolute value."""
    return f"{np.abs(found - expected).max() / np.abs(expected).max():.1e}"


def apart(found, expected):
    """The median over images of the norm of the difference by the norm expected."""
    return f"{gradient_error(found, expected):.1e}"


if __name__ == "__main__":
    main(*sys.argv[1:])
