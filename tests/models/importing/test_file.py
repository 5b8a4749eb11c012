"""What lies beside an ONNX file, and what is no such file."""

import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanity.errors import ConfigError
from sanity.models import Onnx

WEIGHTS = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)


def save(folder, location, name="net.onnx"):
    """A network whose weights lie in another file, as large models are exported."""
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    (folder / location).write_bytes(WEIGHTS.tobytes())
    weights = numpy_helper.from_array(WEIGHTS, "head.weight")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head.weight"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (folder / name).write_bytes(model.SerializeToString())
    return folder / name


def test_weights_beside_the_file_are_read_and_count(tmp_path):
    model = Onnx(path=str(save(tmp_path, "weights/net.bin")))
    classifier = model.load()
    assert {name: p.kind for name, p in classifier.parameters.items()} == {"head/weight": "kernel"}
    x = np.random.default_rng(1).random((2, 2, 2, 3), np.float32)
    expected = np.moveaxis(x, -1, 1).reshape(2, 12) @ WEIGHTS.T
    np.testing.assert_allclose(classifier.logits(x), expected, rtol=1e-5)
    assert sorted(model.sources()["path"]) == ["net.onnx", "weights/net.bin"]


@pytest.mark.parametrize("location", ["../net.bin", "deeper/../../net.bin", "{folder}/net.bin"])
def test_weights_outside_the_folder_are_not_read(location, tmp_path):
    path = save(tmp_path, location.format(folder=tmp_path), "model/net.onnx")
    with pytest.raises(ConfigError, match="keeps weights in .*, outside its folder"):
        Onnx(path=str(path)).load()


def test_a_link_that_leads_outside_is_not_followed(tmp_path):
    path = save(tmp_path / "model", "net.bin")
    (tmp_path / "secret").write_bytes((path.parent / "net.bin").read_bytes())
    (path.parent / "net.bin").unlink()
    (path.parent / "net.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="net.bin, outside its folder"):
        Onnx(path=str(path)).sources()


def test_what_is_missing_or_damaged(tmp_path):
    path = save(tmp_path, "net.bin")
    (tmp_path / "net.bin").write_bytes(b"short")
    with pytest.raises(ConfigError, match="has weights that cannot be read"):
        Onnx(path=str(path)).load()
    (tmp_path / "net.bin").unlink()
    with pytest.raises(ConfigError, match="net.bin, which is not there"):
        Onnx(path=str(path)).load()
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="is a damaged ONNX file"):
        Onnx(path=str(path)).load()
    with pytest.raises(ConfigError, match="it must be an ONNX model"):
        Onnx(path=str(tmp_path / "elsewhere.onnx")).load()


def test_without_the_extra(tmp_path, monkeypatch):
    path = save(tmp_path, "net.bin")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'saliency-sanity\[onnx\]'"):
        Onnx(path=str(path)).load()
