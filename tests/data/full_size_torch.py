"""PyTorch's side of `full_size.py`: torchvision's networks, and what PyTorch says of them.

Run by that, in the environment of `onnx_reference.py` with onnxscript besides:
    python -m tests.data.full_size_torch NETWORK FOLDER
It writes into the folder the network's weights (`weights.pt`), an export of PyTorch's newer
exporter (`net.onnx`), weights that are drawn (`drawn.npz`), and numbers (`reference.npz`), computed
in double precision, channels last.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from captum.attr import GuidedBackprop
from torchvision import models

from tests.data.onnx_reference import STAGES, draw, explained, put

IMAGES = 3


def resnet18():
    """ResNet-18, each ReLU with an output of its own, as Captum's hooks want it."""
    network = models.resnet18()
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    return network


def mobilenet_v3_large():
    """MobileNetV3-Large."""
    return models.mobilenet_v3_large()


def efficientnet_b0():
    """EfficientNet-B0."""
    return models.efficientnet_b0()


def vit_b_16():
    """ViT-B/16."""
    return models.vit_b_16()


def see(network, x):
    """Gives batch norms the statistics of images, so that none of the layers is dead."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.tensor(x))
    network.eval()


def export(network, shape, path):
    """An ONNX file of the newer exporter, its batch norms not folded."""
    torch.onnx.export(
        network,
        (torch.rand(2, *shape),),
        path,
        dynamo=True,
        optimize=False,
        verbose=False,
        input_names=["images"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )


def main(name, folder):
    """Writes all files, and prints PyTorch's version."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    network = globals()[name]()
    floats = [key for key, value in network.state_dict().items() if value.is_floating_point()]
    put(network, floats)
    for key in floats:  # other values than those drawn later
        network.state_dict()[key].mul_(0.9)
    x = np.random.default_rng(0).random((IMAGES, 3, 224, 224), np.float32)
    see(network, x)
    torch.save(network.state_dict(), folder / "weights.pt")
    export(network, x.shape[1:], folder / "net.onnx")
    network.double()
    found = {"x": x.transpose(0, 2, 3, 1), "names": np.array(floats)}
    found["logits"], found["gradient"] = explained(network, x)
    if any(isinstance(module, torch.nn.ReLU) for module in network.modules()):
        images = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        guided = GuidedBackprop(network).attribute(images, target=[*range(IMAGES)])
        found["guided"] = guided.detach().numpy().transpose(0, 2, 3, 1)
    for k, share in enumerate(STAGES):
        put(network, floats[-round(share * len(floats)) :])
        found[f"logits{k}"], found[f"gradient{k}"] = explained(network, x)
    np.savez(folder / "reference.npz", **found)
    shapes = {key: tuple(network.state_dict()[key].shape) for key in floats}
    np.savez(folder / "drawn.npz", **{k: draw(k, s).astype(np.float32) for k, s in shapes.items()})
    print(torch.__version__)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
