"""`model=torch` with a real PyTorch, which this Python has or one that SANITY_TEST_TORCH names."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import sanity
from sanity.errors import ConfigError
from sanity.models import Torch
from tests.float64 import near
from tests.models.test_onnx import gradient_error

PYTHON = os.environ.get("SANITY_TEST_TORCH") or (
    sys.executable if importlib.util.find_spec("torch") else None
)
pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="no PyTorch here, and SANITY_TEST_TORCH names no Python that has it"
)

# A net whose own names begin as those of training programs do, and with outputs that have names;
# it keeps what it has computed of a parameter, and has a table that is none.
NETS = """
from collections import namedtuple
import torch
from torch import nn

Outputs = namedtuple("Outputs", "logits beside")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8), nn.GELU(), nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
        )
        self.biases, self.kept = nn.Parameter(torch.zeros(5)), None
        self.register_buffer("mixed", torch.eye(10))

    def forward(self, images):
        if self.kept is None:
            self.kept = self.biases[torch.arange(10) % 5]
        logits = self.model(images) @ self.mixed + self.kept
        return Outputs(logits, {"doubled": 2 * logits, "loss": None})


def make():
    return Net()


def data_parallel():
    return nn.DataParallel(Net().double())


class Sorted(nn.Module):
    def forward(self, images):
        return torch.linalg.eigvals(images)


def without_export():
    return Sorted()
"""

# What PyTorch says, in double precision, of drawn weights, kept in several ways.
SAYS = """
import numpy as np, torch, nets
torch.manual_seed(1)
net = nets.make()
for name, value in net.state_dict().items():
    if value.is_floating_point():
        value.copy_(torch.rand_like(value) * (1 if "var" in name else 0.4) + 0.1)
state = net.state_dict()
torch.save(state, "net.pt")
torch.save({"state_dict": {"module." + k: v for k, v in state.items()}}, "trained.pt")
torch.save({"weight": state, "code": nets.Net}, "code.pt")
x = torch.rand(2, 3, 8, 8)
images = x.double().requires_grad_()
logits = net.double().eval()(images).logits
(gradient,) = torch.autograd.grad(logits[[0, 1], [0, 1]].sum(), images)
found = {"x": x, "logits": logits.detach(), "gradient": gradient}
np.savez("said.npz", **{k: v.numpy() for k, v in found.items()})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the module, checkpoints, and what PyTorch says of them."""
    path = tmp_path_factory.mktemp("torch")
    (path / "nets.py").write_text(NETS)
    subprocess.run([PYTHON, "-c", SAYS], cwd=path, check=True)
    return path


@pytest.fixture(autouse=True)
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SANITY_CACHE", str(folder / "cache"))


def net(function="make", **keys):
    return Torch(module=f"nets:{function}", input_shape=[8, 8, 3], python=PYTHON, **keys)


@pytest.mark.parametrize(
    ("function", "checkpoint"),
    [("make", "net.pt"), ("make", "trained.pt"), ("data_parallel", "net.pt")],
)
def test_it_gives_what_pytorch_does(function, checkpoint, folder):
    classifier = net(function, checkpoint=checkpoint, output="logits").load()
    with np.load(folder / "said.npz") as file:
        said = dict(file)
    x = said["x"].transpose(0, 2, 3, 1)
    near(classifier.logits(x), said["logits"], 1e-5)
    gradient = classifier.gradients(x, np.arange(2))
    assert gradient_error(gradient, said["gradient"].transpose(0, 2, 3, 1)) < 1e-5
    assert {p.name for p in classifier.parameters.values() if p.block} == {
        *(f"model/{layer}/{end}" for layer in (1, 3, 4, 9) for end in ("weight", "bias")),
        *("model/0/weight", "model/1/running_mean", "model/1/running_var", "biases"),
    }


def test_from_module_to_verdict(folder):
    keys = ["model=torch", "model.module=nets:make", "model.input_shape=[8,8,3]"]
    keys += [f"model.python={PYTHON}", "model.checkpoint=net.pt", "model.output=logits"]
    few = ["method=[gradient,random_mask]", "metric=[spearman]", "data=digits", "data.limit=2"]
    some = ["layers.last=1", "figures=none", "runtime.progress=none", f"output={folder}/out"]
    run = sanity.run(overrides=[*keys, *few, *some])
    scores = sanity.load_runs(str(run.path))
    assert len(scores) == 2 * 2 * 2 and scores["value"].notna().all()
    assert set(run.verdicts["method"]) == {"gradient", "random_mask"}


@pytest.mark.parametrize(
    ("function", "keys", "match"),
    [
        ("make", {"checkpoint": "code.pt"}, "model.checkpoint=code.pt holds no weights alone"),
        ("makes", {}, "nets has no function makes"),
        ("Outputs", {}, "model.module=nets:Outputs fails when it is run: TypeError"),
        ("without_export", {}, "nets:without_export cannot be exported to ONNX"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(function, keys, match):
    with pytest.raises(ConfigError, match=match) as refused:
        net(function, **keys).load()
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
