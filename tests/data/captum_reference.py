"""Makes captum.npz: a small network, and what Captum, shap and PyTorch say of it.

Run once, outside the project's environment:
    pip install torch==2.13.0 captum==0.9.0 shap==0.51.0
    python tests/data/captum_reference.py
Everything is computed in double precision and stored in single: images and masks channels last,
kernels as TensorFlow wants them.
"""

from pathlib import Path

import numpy as np
import shap
import torch
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import nn

SIZE, TARGETS, EPSILON = 12, [2, 0, 3], 0.05
ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "elu": nn.ELU,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}


def network(weights, activation, pool):
    """Two convolutions, with or without max pooling between them, and a dense layer."""
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        activation(),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        nn.Conv2d(5, 4, 3, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(4 * (SIZE // (2 if pool else 1)) ** 2, 4),
    ).double()
    kernels = [weights["kernel1"], weights["kernel2"]]
    for layer, kernel, bias in zip((model[0], model[3]), kernels, ("bias1", "bias2"), strict=True):
        layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        layer.bias.data = torch.tensor(weights[bias])
    dense = weights["pooled_dense" if pool else "dense"]
    side = SIZE // (2 if pool else 1)
    # Flattening is channels first here, last in TensorFlow.
    dense = dense.reshape(side, side, 4, 4).transpose(3, 2, 0, 1).reshape(4, -1)
    model[6].weight.data = torch.tensor(dense.copy())
    model[6].bias.data = torch.tensor(weights["dense_bias"])
    return model


def last(tensor):
    """Channels last, as NumPy."""
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def grad_cam_plus_plus(model, x, target):
    """The map of one image by the paper's derivatives of exp(logit), by automatic differentiation.

    Equation 10: weights from the second and third derivative with respect to each activation;
    the positive part of the first one (equation 5).
    """
    a = model[:5](x[None]).detach()[0]
    shape = a.shape

    def score(flat):
        logit = model[5:](flat.reshape(1, *shape))[0, target]
        return torch.exp(logit - offset)

    flat = a.reshape(-1).clone()
    offset = model[5:](a[None])[0, target].detach()
    first = torch.func.grad(score)(flat)
    second, third = torch.zeros_like(flat), torch.zeros_like(flat)
    for i in range(len(flat)):
        unit = torch.zeros_like(flat)
        unit[i] = 1

        def along(step, unit=unit):
            return score(flat + step * unit)

        zero = torch.zeros((), dtype=torch.double)
        d2 = torch.func.grad(torch.func.grad(along))
        second[i], third[i] = d2(zero), torch.func.grad(d2)(zero)
    first, second, third = (d.reshape(shape) for d in (first, second, third))
    denominator = 2 * second + a.sum((1, 2), keepdim=True) * third
    alphas = torch.where(first != 0, second / denominator, torch.zeros_like(second))
    weights = (alphas * torch.relu(first)).sum((1, 2))
    return torch.relu((weights[:, None, None] * a).sum(0))


def shap_deeplift(model, x, b):
    """DeepLIFT of `shap`, each image against its own baseline."""
    found = []
    for one, baseline, target in zip(x, b, TARGETS, strict=True):
        values = shap.DeepExplainer(model, baseline[None]).shap_values(
            one[None], check_additivity=False
        )
        found.append(values[0][..., target].transpose(1, 2, 0))
    return np.stack(found)


def main():
    """Writes the file."""
    draw = np.random.default_rng(0)
    weights = {
        "kernel1": 0.4 * draw.standard_normal((3, 3, 3, 5)),
        "bias1": 0.2 * draw.standard_normal(5),
        "kernel2": 0.3 * draw.standard_normal((3, 3, 5, 4)),
        "bias2": 0.2 * draw.standard_normal(4),
        "dense": 0.1 * draw.standard_normal((SIZE * SIZE * 4, 4)),
        "pooled_dense": 0.1 * draw.standard_normal((SIZE * SIZE, 4)),
        "dense_bias": 0.1 * draw.standard_normal(4),
    }
    # What the other side has as float32 is the same number here.
    weights = {k: v.astype(np.float32).astype(np.float64) for k, v in weights.items()}
    images = draw.random((3, SIZE, SIZE, 3), np.float32).astype(np.float64)
    baseline = draw.random((3, SIZE, SIZE, 3), np.float32).astype(np.float64)
    noise = (0.1 * draw.standard_normal((6, SIZE, SIZE, 3))).astype(np.float32).astype(np.float64)
    x = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    b = torch.tensor(baseline.transpose(0, 3, 1, 2).copy())
    t = torch.tensor(TARGETS)
    out = {f"weights/{k}": v for k, v in weights.items()}
    out |= {"images": images, "baseline": baseline, "noise": noise, "targets": np.array(TARGETS)}
    out["epsilon"] = np.array(EPSILON)

    for name, activation in ACTIVATIONS.items():
        for pool in (False, True):
            model = network(weights, activation, pool)
            key = f"{name}{'_pool' if pool else ''}"
            out[f"{key}/logits"] = model(x).detach().numpy()
            out[f"{key}/gradient"] = last(Saliency(model).attribute(x, t, abs=False))
            if name == "relu6":
                continue  # neither Captum nor shap has its rule
            if pool:
                # Captum 0.9.0 gives max pooling wrong shares: they do not sum to the difference.
                out[f"{key}/deeplift"] = shap_deeplift(model, x, b)
                continue
            for multiplied in (True, False):
                lift = DeepLift(model, multiply_by_inputs=multiplied)
                found = lift.attribute(x, b, target=t)
                out[f"{key}/deeplift{'' if multiplied else '_local'}"] = last(found)

    model = network(weights, nn.ReLU, False)
    out["gradient_x_input"] = last(InputXGradient(model).attribute(x, target=t))
    out["guided_backprop"] = last(GuidedBackprop(model).attribute(x, target=t))
    out["deconvnet"] = last(Deconvolution(model).attribute(x, target=t))
    out["guided_grad_cam"] = last(GuidedGradCam(model, model[4]).attribute(x, target=t))
    out["grad_cam"] = LayerGradCam(model, model[4]).attribute(x, t, relu_attributions=True)
    out["grad_cam"] = last(out["grad_cam"])[..., 0]
    maps = [grad_cam_plus_plus(model, one, target) for one, target in zip(x, TARGETS, strict=True)]
    out["grad_cam_plus_plus"] = torch.stack(maps).detach().numpy()
    for name, method in [("gauss_legendre", "gausslegendre"), ("midpoint", "riemann_middle")]:
        ig = IntegratedGradients(model)
        found = ig.attribute(x, b, target=t, n_steps=7, method=method)
        out[f"integrated_gradients_{name}"] = last(found)
    ig = IntegratedGradients(model, multiply_by_inputs=False)
    out["integrated_gradients_local"] = last(
        ig.attribute(x, b, target=t, n_steps=7, method="gausslegendre")
    )

    def given(mean, std):
        """The stored noise, in the order in which NoiseTunnel repeats images."""
        copies = torch.tensor(noise.transpose(0, 3, 1, 2).copy())
        return copies.reshape(std.shape)

    torch.normal, normal = given, torch.normal
    for kind in ("smoothgrad", "smoothgrad_sq", "vargrad"):
        tunnel = NoiseTunnel(Saliency(model))
        options = {"nt_type": kind, "nt_samples": len(noise), "stdevs": 0.1}
        found = [
            tunnel.attribute(one[None], target=i, abs=False, **options)
            for one, i in zip(x, TARGETS, strict=True)
        ]
        out[kind] = np.concatenate([last(one) for one in found])
        tunnel = NoiseTunnel(IntegratedGradients(model))
        found = [
            tunnel.attribute(
                one[None], baselines=0.25, target=i, n_steps=5, method="gausslegendre", **options
            )
            for one, i in zip(x, TARGETS, strict=True)
        ]
        out[f"integrated_gradients_{kind}"] = np.concatenate([last(one) for one in found])
    torch.normal = normal

    for key, pool, name in [
        ("lrp", False, "relu"),
        ("lrp_pool", True, "relu"),
        ("lrp_tanh", False, "tanh"),
    ]:
        model = network(weights, ACTIVATIONS[name], pool)
        model = nn.Sequential(*[m for m in model if not isinstance(m, nn.Identity)])
        for layer in model:
            if not isinstance(layer, ACTIVATIONS[name]):
                # What only hands values on needs no stabiliser.
                linear = isinstance(layer, nn.Conv2d | nn.Linear)
                layer.rule = EpsilonRule(EPSILON if linear else 1e-12)
        out[key] = last(LRP(model).attribute(x, target=t))

    single = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in out.items()}
    np.savez_compressed(Path(__file__).with_name("captum.npz"), **single)


if __name__ == "__main__":
    main()
