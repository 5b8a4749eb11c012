"""Makes onnx/*.npz and onnx/*.onnx: narrow networks of torchvision, and what PyTorch says of them.

Run once, outside the project's environment:
    pip install torch==2.13.0 torchvision==0.28.0 captum==0.9.0 scikit-learn onnx
    python tests/data/onnx_reference.py
Files are written by the exporter of `model=torch`. Numbers are computed in double precision and
stored in single, images and gradients channels last. Of each network: logits, the gradient of each
image's class, Guided Backprop where all its nonlinearities are ReLUs, and logits and gradients with
the last third, the last two thirds and all of its parameters drawn anew.
"""

import importlib.util
import zlib
from pathlib import Path

import numpy as np
import torch
from captum.attr import GuidedBackprop
from sklearn.datasets import load_digits
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock
from torchvision.models.vision_transformer import VisionTransformer

HERE = Path(__file__).parent
EXPORTER = HERE.parents[1] / "sanity" / "models" / "importing" / "export.py"
STAGES = (1 / 3, 2 / 3, 1)


def resnet():
    """ResNet-18's blocks, two of them, after its stem."""
    down = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.MaxPool2d(3, 2, 1),
        BasicBlock(8, 8),
        BasicBlock(8, 16, 2, down),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def mobilenet():
    """MobileNetV3 with ReLU and hard swish, squeeze and excitation."""

    def block(*args):
        return InvertedResidualConfig(*args, 1, 1.0)

    blocks = [block(8, 3, 16, 8, True, "RE", 2), block(8, 5, 24, 8, True, "HS", 1)]
    return MobileNetV3(blocks, 16, num_classes=5)


def efficientnet():
    """EfficientNet's blocks, three of them."""
    blocks = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 5, 2, 8, 8, 2)]
    return EfficientNet(blocks, 0.2, num_classes=5, last_channel=16)


def vit():
    """A vision transformer of two blocks."""
    return VisionTransformer(16, 4, 2, 2, 16, 32, num_classes=5)


def convnext():
    """ConvNeXt's blocks, three of them, with layer scale."""
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 1)], num_classes=5)


class Digits(nn.Module):
    """A residual network for digits of 8×8, trained here."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.layers = nn.Sequential(
            BasicBlock(8, 8),
            BasicBlock(8, 12, 2, nn.Sequential(nn.Conv2d(8, 12, 1, 2), nn.BatchNorm2d(12))),
        )
        self.head = nn.Linear(12, 10)

    def forward(self, images):
        return self.head(self.layers(self.stem(images)).mean((2, 3)))


def train(network):
    """Trains a network on the first 1,400 digits; prints its accuracy on the rest."""
    data = load_digits()
    images = torch.tensor(data.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(data.target)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(15):
        for some in torch.randperm(1400).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[some]), labels[some]).backward()
            optimizer.step()
    network.eval()
    right = network(images[1400:]).argmax(1) == labels[1400:]
    print(f"digits: accuracy {right.float().mean():.3f}")
    return images[1400:1403].numpy()


def draw(name, shape):
    """Values of a parameter by its name, as tests draw them again."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape)
    values = random.normal(size=shape)
    if len(shape) > 1:
        return values * np.sqrt(2 / np.prod(shape[1:]))
    return 0.1 * values + (name.endswith("weight") and len(shape) == 1)


def put(network, names):
    """Draws parameters anew."""
    state = network.state_dict()
    drawn = {name: torch.tensor(draw(name, tuple(state[name].shape))) for name in names}
    network.load_state_dict({**state, **drawn})


def explained(network, x):
    """Logits, and the gradient of each image's class, channels last."""
    images = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    classes = torch.arange(len(x)) % logits.shape[1]
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(x)), classes].sum(), images)
    return logits.detach().numpy(), gradient.numpy().transpose(0, 2, 3, 1)


def single(values):
    """Numbers in single precision; names as they are."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def main():
    """Writes all files."""
    spec = importlib.util.spec_from_file_location("export", EXPORTER)
    export = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(export)
    (HERE / "onnx").mkdir(exist_ok=True)
    for make in (resnet, mobilenet, efficientnet, vit, convnext, Digits):
        name = make.__name__.lower()
        torch.manual_seed(0)
        network = make()
        for module in network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # Captum's hooks want it so
        x = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)
        floats = [k for k, value in network.state_dict().items() if value.is_floating_point()]
        if make is Digits:
            x = train(network)
        else:
            put(network, floats)
            for key in floats:  # other values than those drawn later
                network.state_dict()[key].mul_(0.9)
        network.eval()
        export.write(network, [*x.shape[1:]], str(HERE / "onnx" / f"{name}.onnx"))
        network.double()
        found = {"x": x.transpose(0, 2, 3, 1), "names": np.array(floats)}
        found["logits"], found["gradient"] = explained(network, x)
        if make in (resnet, Digits):
            images = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            guided = GuidedBackprop(network).attribute(images, target=[0, 1, 2])
            found["guided"] = guided.detach().numpy().transpose(0, 2, 3, 1)
        for k, share in enumerate(STAGES):
            put(network, floats[-round(share * len(floats)) :])
            found[f"logits{k}"], found[f"gradient{k}"] = explained(network, x)
        np.savez_compressed(
            HERE / "onnx" / f"{name}.npz", **{k: single(v) for k, v in found.items()}
        )
        print(name, len(floats), "parameters")


if __name__ == "__main__":
    main()
