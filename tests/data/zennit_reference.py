"""Makes zennit.npz: relevance and DeepLIFT of a network with all that networks are made of.

Batch norm, a residual, a gate (squeeze-and-excitation), concatenation, average pooling, and
activation functions that are products of their input. Run once, outside the project's environment:
    pip install torch==2.13.0 captum==0.9.0 zennit==0.5.1
    python tests/data/zennit_reference.py
Everything is computed in double precision and stored in single: images and masks channels last,
kernels as TensorFlow wants them.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from captum.attr import DeepLift
from captum.attr._core import deep_lift
from torch import nn

sys.modules["zennit.torchvision"] = ModuleType("zennit.torchvision")  # needs a package for nothing
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import LayerMapComposite  # noqa: E402
from zennit.layer import Sum  # noqa: E402
from zennit.rules import Epsilon, Norm, Pass  # noqa: E402

SIZE, CHANNELS, TARGETS, EPSILON = 8, 6, [2, 0, 3], 1e-7
ACTIVATIONS = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hard_silu": nn.Hardswish,
    "gelu": nn.GELU,
    "tanh_gelu": lambda: nn.GELU(approximate="tanh"),
}


class MidProduct(torch.autograd.Function):
    """A product whose factors get their shares of its difference to the baseline's.

    Captum runs images and baselines in one batch, one half each.
    """

    @staticmethod
    def forward(context, a, b):
        context.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(context, upper):
        means = [torch.cat([sum(t.chunk(2)) / 2] * 2) for t in context.saved_tensors]
        gate = (upper * means[0]).sum((2, 3), keepdim=True)
        return upper * means[1], gate


class Gate(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, shared):
        super().__init__()
        self.squeeze = nn.Conv2d(CHANNELS, 3, 1, bias=False)
        self.excite = nn.Conv2d(3, CHANNELS, 1, bias=False)
        self.relu, self.sigmoid, self.shared = nn.ReLU(), nn.Sigmoid(), shared

    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True)
        gate = self.sigmoid(self.excite(self.relu(self.squeeze(mean))))
        return MidProduct.apply(x, gate) if self.shared else x * gate


class Network(nn.Module):
    """The network; `shared` makes its product DeepLIFT's."""

    def __init__(self, weights, activation, shared):
        super().__init__()
        self.conv1 = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * CHANNELS, CHANNELS, 3, padding=1)
        self.norm1, self.norm2 = (nn.BatchNorm2d(CHANNELS, eps=1e-3) for _ in range(2))
        self.act1, self.act2, self.act3 = activation(), activation(), activation()
        self.sum, self.gate = Sum(), Gate(shared)
        self.pool, self.mean = nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(CHANNELS, 4)
        layers = {"conv1": self.conv1, "conv2": self.conv2, "conv3": self.conv3}
        layers |= {"squeeze": self.gate.squeeze, "excite": self.gate.excite}
        for name, layer in layers.items():
            kernel = weights[f"{name}/kernel"].transpose(3, 2, 0, 1).copy()
            layer.weight.data = torch.tensor(kernel)
            if layer.bias is not None:
                layer.bias.data = torch.tensor(weights[f"{name}/bias"])
        for name, norm in (("norm1", self.norm1), ("norm2", self.norm2)):
            norm.weight.data = torch.tensor(weights[f"{name}/gamma"])
            norm.bias.data = torch.tensor(weights[f"{name}/beta"])
            norm.running_mean = torch.tensor(weights[f"{name}/moving_mean"])
            norm.running_var = torch.tensor(weights[f"{name}/moving_variance"])
        self.dense.weight.data = torch.tensor(weights["dense/kernel"].T.copy())
        self.dense.bias.data = torch.tensor(weights["dense/bias"])
        self.double().eval()

    def forward(self, x):
        first = self.act1(self.norm1(self.conv1(x)))
        second = self.norm2(self.conv2(first))
        gated = self.gate(self.act2(self.sum(torch.stack([first, second], -1))))
        both = self.pool(torch.cat([gated, first], 1))
        return self.dense(self.mean(self.act3(self.conv3(both))).flatten(1))


def relevance(model, x):
    """Epsilon-LRP by Zennit: activation functions and gates hand it on as it is."""
    functions = (nn.ReLU, nn.SiLU, nn.Mish, nn.Hardswish, nn.GELU)
    rules = [
        (Gate, Pass()),
        (functions, Pass()),
        ((nn.Conv2d, nn.Linear), Epsilon(EPSILON)),
        ((Sum, nn.AvgPool2d, nn.AdaptiveAvgPool2d), Norm(1e-12)),
    ]
    composite = LayerMapComposite(rules)
    chosen = torch.eye(4, dtype=torch.double)[TARGETS]
    with Gradient(model, composite) as attributor:
        output, found = attributor(x, lambda output: output * chosen)
    return found


def merged(model):
    """The network with batch norm in its kernels; Zennit 0.5.1 leaves its epsilon behind."""
    for conv, name in ((model.conv1, "norm1"), (model.conv2, "norm2")):
        norm = getattr(model, name)
        scale = norm.weight.data / torch.sqrt(norm.running_var + norm.eps)
        conv.weight.data *= scale[:, None, None, None]
        conv.bias.data = (conv.bias.data - norm.running_mean) * scale + norm.bias.data
        setattr(model, name, nn.Identity())
    return model


def last(tensor):
    """Channels last, as NumPy."""
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def main():
    """Writes the file."""
    for kind in (nn.SiLU, nn.Mish, nn.Hardswish, nn.GELU):
        deep_lift.SUPPORTED_NON_LINEAR[kind] = deep_lift.nonlinear
    draw = np.random.default_rng(0)
    weights = {}
    for name, size, inputs, outputs in [
        ("conv1", 3, 3, CHANNELS),
        ("conv2", 3, CHANNELS, CHANNELS),
        ("conv3", 3, 2 * CHANNELS, CHANNELS),
        ("squeeze", 1, CHANNELS, 3),
        ("excite", 1, 3, CHANNELS),
    ]:
        kernel = draw.standard_normal((size, size, inputs, outputs))
        weights[f"{name}/kernel"] = 1.4 * kernel / np.sqrt(size**2 * inputs)
        if name.startswith("conv"):
            weights[f"{name}/bias"] = 0.2 * draw.standard_normal(outputs)
    for name in ("norm1", "norm2"):
        weights[f"{name}/gamma"] = 1 + 0.3 * draw.standard_normal(CHANNELS)
        weights[f"{name}/beta"] = 0.3 * draw.standard_normal(CHANNELS)
        weights[f"{name}/moving_mean"] = 0.3 * draw.standard_normal(CHANNELS)
        weights[f"{name}/moving_variance"] = 0.5 + draw.random(CHANNELS)
    weights["dense/kernel"] = draw.standard_normal((CHANNELS, 4))
    weights["dense/bias"] = 0.1 * draw.standard_normal(4)
    # What the other side has as float32 is the same number here.
    weights = {k: v.astype(np.float32).astype(np.float64) for k, v in weights.items()}
    images, baseline = (
        draw.random((3, SIZE, SIZE, 3), np.float32).astype(np.float64) for _ in range(2)
    )
    x, b = (torch.tensor(i.transpose(0, 3, 1, 2).copy()) for i in (images, baseline))
    out = {f"weights/{k}": v for k, v in weights.items()}
    out |= {"images": images, "baseline": baseline, "targets": np.array(TARGETS)}
    out["epsilon"] = np.array(EPSILON)
    for name, activation in ACTIVATIONS.items():
        model = Network(weights, activation, shared=False)
        logits = out[f"{name}/logits"] = model(x).detach().numpy()
        out[f"{name}/lrp"] = last(relevance(merged(model), x))
        model = Network(weights, activation, shared=True)
        found = DeepLift(model).attribute(x, b, target=torch.tensor(TARGETS))
        change = (model(x) - model(b)).detach().numpy()[range(3), TARGETS]
        out[f"{name}/deeplift"] = last(found)
        print(name, logits[range(3), TARGETS], out[f"{name}/lrp"].sum((1, 2, 3)))
        print("   deeplift", change, out[f"{name}/deeplift"].sum((1, 2, 3)))
    single = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in out.items()}
    np.savez_compressed(Path(__file__).with_name("zennit.npz"), **single)


if __name__ == "__main__":
    main()
