"""Makes attention.npz: attention rollout, relevance, Grad-CAM and AttnLRP of two transformers.

One has a class token, one takes the mean of its tokens. AttnLRP is made of the authors' own
functions, package `lxt`; the others are the papers' equations, with PyTorch's gradients. Run once,
outside the project's environment:
    pip install torch==2.14.1 lxt==2.1 tabulate
    python tests/data/attention_reference.py
Everything is computed in double precision and stored in single; kernels as TensorFlow wants them.
"""

from pathlib import Path

import numpy as np
import torch
from lxt.explicit import functional as lrp
from lxt.explicit.rules import IdentityRule
from torch import nn

SIZE, CHANNELS, PATCH, WIDTH, HEADS, DEPTH, UNITS, CLASSES = 12, 3, 4, 8, 2, 3, 12, 4
TARGETS, TINY, NORM = [2, 0, 3], 1e-12, 1e-6
TOKENS = (SIZE // PATCH) ** 2


def shapes(token):
    """The shape of each weight, by the name that it has in the project's transformer."""
    found = {
        "embedding/kernel": (PATCH, PATCH, CHANNELS, WIDTH),
        "embedding/bias": (WIDTH,),
        "embedding/class_token": (1, 1, WIDTH),
        "embedding/position": (1, TOKENS + token, WIDTH),
        "logits/norm/scale": (WIDTH,),
        "logits/norm/offset": (WIDTH,),
        "logits/kernel": (WIDTH, CLASSES),
        "logits/bias": (CLASSES,),
    }
    for block in (f"block{i + 1}" for i in range(DEPTH)):
        for part in ("attention", "mlp"):
            found[f"{block}/{part}/norm/scale"] = found[f"{block}/{part}/norm/offset"] = (WIDTH,)
        for part in ("query", "key", "value", "output"):
            found[f"{block}/attention/{part}/kernel"] = (WIDTH, WIDTH)
            found[f"{block}/attention/{part}/bias"] = (WIDTH,)
        found[f"{block}/mlp/dense1/kernel"] = (WIDTH, UNITS)
        found[f"{block}/mlp/dense1/bias"] = (UNITS,)
        found[f"{block}/mlp/dense2/kernel"] = (UNITS, WIDTH)
        found[f"{block}/mlp/dense2/bias"] = (WIDTH,)
    return found


class Network(nn.Module):
    """The network; `ops` computes products, sums, softmax, norms and means, plainly or by LRP.

    Attributes:
        attention: Of the last call, by layer, (n, heads, tokens, tokens).
        tokens: What the last layer's values are made of.
    """

    def __init__(self, weights, token, ops):
        super().__init__()
        self.w = {k: torch.tensor(v) for k, v in weights.items()}
        self.token, self.ops = token, ops

    def dense(self, x, name):
        return self.ops.linear(x, self.w[f"{name}/kernel"].T, self.w[f"{name}/bias"])

    def norm(self, x, name):
        return self.ops.norm(x, self.w[f"{name}/scale"], self.w[f"{name}/offset"])

    def mixed(self, x, name):
        """Attention."""

        def split(part):
            return self.dense(x, f"{name}/{part}").unflatten(-1, (HEADS, -1)).transpose(1, 2)

        query, key, value = map(split, ("query", "key", "value"))
        scores = self.ops.matmul(query, key.transpose(-1, -2))
        weights = self.ops.softmax(scores, (WIDTH // HEADS) ** 0.5)
        self.attention.append(weights)
        both = self.ops.matmul(weights, value).transpose(1, 2).flatten(2)
        return self.dense(both, f"{name}/output")

    def forward(self, images):
        n, side = len(images), SIZE // PATCH
        self.attention = []
        x = images.reshape(n, side, PATCH, side, PATCH, CHANNELS).transpose(2, 3)
        kernel = self.w["embedding/kernel"].reshape(-1, WIDTH)
        x = self.ops.linear(x.reshape(n, TOKENS, -1), kernel.T, self.w["embedding/bias"])
        if self.token:
            x = torch.cat([self.w["embedding/class_token"].expand(n, -1, -1), x], 1)
        x = self.ops.add(x, self.w["embedding/position"].expand(n, -1, -1))
        for block in (f"block{i + 1}" for i in range(DEPTH)):
            self.tokens = self.norm(x, f"{block}/attention/norm")
            x = self.ops.add(x, self.mixed(self.tokens, f"{block}/attention"))
            y = self.ops.gelu(self.dense(self.norm(x, f"{block}/mlp/norm"), f"{block}/mlp/dense1"))
            x = self.ops.add(x, self.dense(y, f"{block}/mlp/dense2"))
        x = self.norm(x, "logits/norm")
        return self.dense(x[:, 0] if self.token else self.ops.mean(x), "logits")


class Plain:
    """The operations as they are."""

    linear, matmul, gelu = nn.functional.linear, torch.matmul, nn.functional.gelu

    @staticmethod
    def add(a, b):
        return a + b

    @staticmethod
    def softmax(x, temperature):
        return torch.softmax(x / temperature, -1)

    @staticmethod
    def norm(x, scale, offset):
        return nn.functional.layer_norm(x, x.shape[-1:], scale, offset, NORM)

    @staticmethod
    def mean(x):
        return x.mean(1)


class Relevance(Plain):
    """The same, whose gradients are relevance by AttnLRP: the authors' functions."""

    @staticmethod
    def linear(x, weight, bias):
        return lrp.linear_epsilon(x, weight, bias, TINY)

    @staticmethod
    def matmul(a, b):
        return lrp.matmul(a, b, False, TINY)

    @staticmethod
    def gelu(x):
        return IdentityRule(nn.GELU())(x)

    @staticmethod
    def add(a, b):
        return lrp.add2(a, b, False, TINY)

    @staticmethod
    def softmax(x, temperature):
        return lrp.softmax(x, -1, None, temperature)

    @staticmethod
    def norm(x, scale, offset):
        return lrp.layer_norm_grad_fn.apply(x, scale, offset, NORM, TINY)

    @staticmethod
    def mean(x):  # over its second axis; the package's own wants another order
        return lrp.linear_epsilon(
            x.transpose(1, 2), torch.full((1, x.shape[1]), 1 / x.shape[1]).double(), None, TINY
        )[..., 0]


def explained(network, x):
    """The explained logits' sum: its gradients are those of each."""
    return network(x)[range(len(TARGETS)), TARGETS].sum()


def read(relevance, token):
    """Of a matrix tokens × tokens, what the tokens that the logits read have of each patch."""
    return relevance[:, 0, 1:] if token else relevance.mean(1)


def rollout(layers):
    """Abnar & Zuidema 2020, equation 1."""
    joint = torch.eye(layers[0].shape[-1]).double()
    for weights in layers:
        joint = (0.5 * weights.mean(1) + 0.5 * torch.eye(weights.shape[-1]).double()) @ joint
    return joint


def gradient_weighted(layers, gradients):
    """Chefer et al. 2021, equations 5 and 6, from R = I on."""
    relevance = torch.eye(layers[0].shape[-1]).double().expand(len(TARGETS), -1, -1)
    for weights, gradient in zip(layers, gradients, strict=True):
        relevance = relevance + (gradient * weights).clamp(min=0).mean(1) @ relevance
    return relevance


def main():
    """Writes the file."""
    draw = np.random.default_rng(0)
    out = {"images": draw.random((len(TARGETS), SIZE, SIZE, CHANNELS), np.float32)}
    out["targets"] = np.array(TARGETS)
    for form, token in (("class", True), ("mean", False)):
        weights = {}
        for name, shape in shapes(token).items():
            if token or not name.endswith("class_token"):
                spread = 1.2 / np.sqrt(np.prod(shape[:-1])) if name.endswith("kernel") else 0.3
                value = (name.endswith("scale") + spread * draw.standard_normal(shape)).astype("f")
                out[f"{form}/weights/{name}"], weights[name] = value, value.astype(np.float64)
        x = torch.tensor(out["images"].astype(np.float64), requires_grad=True)
        network = Network(weights, token, Plain)
        logit = explained(network, x)
        layers = network.attention
        gradients = torch.autograd.grad(logit, [*layers, network.tokens])
        *gradients, at_tokens = gradients
        patches = slice(1, None) if token else slice(None)
        channels = at_tokens[:, patches].mean(1, keepdim=True)
        cam = (network.tokens[:, patches] * channels).sum(-1).clamp(min=0)
        by_rules = Network(weights, token, Relevance)
        logits = by_rules(x)[range(len(TARGETS)), TARGETS]
        (relevance,) = torch.autograd.grad(logits, x, logits.detach())  # the logit, handed down
        found = {
            "logits": network(x),
            "attention_rollout": read(rollout(layers), token),
            "attention_relevance": read(gradient_weighted(layers, gradients), token),
            "grad_cam_tokens": cam,
            "attn_lrp": relevance,
        }
        assert torch.allclose(by_rules(x), found["logits"])
        out |= {f"{form}/{k}": v.detach().numpy().astype(np.float32) for k, v in found.items()}
        print(form, out[f"{form}/logits"][range(3), TARGETS], relevance.sum((1, 2, 3)))
    np.savez_compressed(Path(__file__).with_name("attention.npz"), **out)


if __name__ == "__main__":
    main()
