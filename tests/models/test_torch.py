"""Networks that another Python exports; what stands in for it here does what it is told to."""

import json
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanity.config.stored import _refuse_foreign
from sanity.errors import ConfigError
from sanity.models import Torch
from sanity.models.importing.export import GOLDEN, misfits
from sanity.models.torch import code_around

INTERPRETER = """#!{python}
import json, pathlib, sys
task = json.loads(sys.argv[2])
with open({calls!r}, "a") as file:
    print(json.dumps(task), file=file)
said = pathlib.Path({said!r})
if said.exists():
    print("something of a library", said.read_text(), sep=chr(10))
    sys.exit(3)
pathlib.Path(task["out"]).write_bytes(pathlib.Path({net!r}).read_bytes())
pathlib.Path(task["said"]).write_text(pathlib.Path({gives!r}).read_text())
print("{{}}")
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """An interpreter whose export is a network of one layer, or what the file `said` says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").touch()
    (tmp_path / "nets" / "small.py").write_text("def make(): ...")
    weights = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc.weight"], ["output"], transB=1),
        ],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 2, 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "fc.weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "net").write_bytes(model.SerializeToString())
    images = np.mod(np.arange(24) * GOLDEN, 1).astype(np.float32).reshape(2, 12)
    output = {"shape": [2, 3], "values": (images @ weights.T).ravel().tolist()}
    weights_of = {"parameters": ["fc.weight"], "measured": [], "tables": []}
    gives = {"weights": weights_of, "outputs": {"output": output}}
    (tmp_path / "gives").write_text(json.dumps(gives))
    names = {name: str(tmp_path / name) for name in ("net", "gives", "said", "calls")}
    path = tmp_path / "python"
    path.write_text(INTERPRETER.format(python=sys.executable, **names))
    path.chmod(0o755)
    return path


def net(python, **keys):
    return Torch(module="nets.small:make", input_shape=[2, 2, 3], python=str(python), **keys)


def test_it_is_exported_once_for_each_content(python, tmp_path):
    first, second = net(python).load(), net(python).load()
    assert list(first.parameters) == ["fc/weight"]
    assert first.weights.sha256 == second.weights.sha256
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    (tmp_path / "nets" / "small.py").write_text("def make(): ...  # otherwise")
    (tmp_path / "net.pt").write_bytes(b"1")
    net(python, checkpoint="net.pt").load()
    task = json.loads((tmp_path / "calls").read_text().splitlines()[1])
    assert task["shape"] == [3, 2, 2] and task["checkpoint"] == str(tmp_path / "net.pt")
    assert (task["module"], task["function"]) == ("nets.small", "make")


def test_what_is_not_computed_as_pytorch_does_is_refused(python, tmp_path):
    """Of two images what the network gives there is kept beside its ONNX file."""
    gives = json.loads((tmp_path / "gives").read_text())
    gives["outputs"]["output"]["values"][4] *= 1.01
    (tmp_path / "gives").write_text(json.dumps(gives))
    with pytest.raises(
        ConfigError, match="small:make is not computed here as PyTorch does: its out"
    ):
        net(python).load()


@pytest.mark.parametrize(
    "said, match",
    [
        ("torch", "needs PyTorch, which .*python does not have: model.python=PATH"),
        ("module", "model.module=nets.small:make fails when it is run: WHY"),
        ("function", "nets.small has no function make"),
        ("network", "must return a torch.nn.Module, not WHY"),
        ("no state dict", "model.checkpoint=net.pt holds no weights alone"),
        ("checkpoint", "model.checkpoint=net.pt does not fit .*: WHY"),
        ("export", r"cannot be exported to ONNX with images of model.input_shape=\[2, 2, 3\]: WHY"),
        (None, "cannot be exported: its process ended early"),
    ],
)
def test_what_stands_in_the_way_is_one_sentence(said, match, python, tmp_path):
    told = "{" if said is None else json.dumps({"what": said, "why": "WHY"})
    (tmp_path / "said").write_text(told)
    (tmp_path / "net.pt").write_bytes(b"1")
    with pytest.raises(ConfigError, match=match) as refused:
        net(python, checkpoint="net.pt").load()
    assert "\n" not in str(refused.value)
    assert [*(tmp_path / "cache" / "exported").glob("*.tmp")] == []


def test_what_is_not_there(python):
    with pytest.raises(ConfigError, match="model.checkpoint=net.pt is no file"):
        net(python, checkpoint="net.pt").load()
    with pytest.raises(ConfigError, match="model.python=nowhere cannot be run"):
        net("nowhere").load()


def test_the_code_of_a_package_counts(python):
    assert sorted(code_around("nets.small:make")) == [
        "function",
        "nets/__init__.py",
        "nets/small.py",
    ]
    assert [*code_around("no.such:make")] == ["function"]


def test_a_record_that_names_code_is_not_run_again_without_trust():
    with pytest.raises(ConfigError, match="model.module=nets.small:make"):
        _refuse_foreign({"model": {"_target_": "sanity.models.Torch", "module": "nets.small:make"}})


def test_a_state_dict_that_does_not_fit():
    own = {name: np.zeros(2) for name in "abcd"}
    assert misfits(own, own) == ""
    assert misfits(own, {}) == "it lacks a, b, c and 1 more"
    assert misfits(own, {**own, "e": own["a"]}) == "it has besides e"
    assert misfits(own, {**own, "b": np.zeros(3)}) == "it has other shapes of b"
