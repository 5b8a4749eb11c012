"""Conversions of ONNX models, held against ONNX Runtime when they are loaded."""

import logging
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from sanity.errors import ConfigError
from sanity.models import Onnx, compared
from sanity.models.importing import graph, runtime
from tests.kernels import computes
from tests.models.importing.test_operators import f, model_of

NODES = [
    ("Conv", [f(4, 3, 3, 3)], {}),
    ("Relu", [], {}),
    ("GlobalAveragePool", [], {}),
    ("Flatten", [], {}),
    ("Gemm", [f(4, 5)], {}),
]
LAST = [("Transpose", [], {"perm": [0, 3, 1, 2]}), *NODES]


def saved(folder, nodes=NODES, sizes=(None, 3, 8, 8), dtype=np.float32):
    nodes = [(op, [value.astype(dtype) for value in values], how) for op, values, how in nodes]
    model = model_of(nodes, np.zeros((2, 3, 8, 8), dtype))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, sizes))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", kind, None))
    model.graph.node[-1].output[0] = "y"
    model.ir_version = 10
    path = folder / "net.onnx"
    onnx.save(model, str(path))
    return str(path)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ({}, None),
        ({"sizes": (4, 3, 8, 8)}, None),
        ({"sizes": (1, 3, 8, 8)}, None),
        ({"sizes": ("n", 3, "h", "w")}, [8, 9, 3]),
        ({"sizes": (None, 3, 3, 3)}, None),
        ({"nodes": LAST, "sizes": (None, 8, 8, 3)}, None),
        ({"nodes": LAST, "sizes": (1, 8, "w", 3)}, [8, 7, 3]),
        pytest.param(
            {"dtype": np.float16},
            None,
            marks=pytest.mark.skipif(not computes("float16"), reason="this processor has none"),
        ),
    ],
)
def test_a_model_gives_what_onnx_runtime_does(told, asked, tmp_path, monkeypatch, caplog):
    held = []
    check = runtime.check_outputs

    def seen(expected, entry, feeds, *how):
        held.append((expected["y"].shape[1:], feeds["x"].shape[-1]))
        check(expected, entry, feeds, *how)

    monkeypatch.setattr(runtime, "check_outputs", seen)
    with caplog.at_level(logging.INFO):
        Onnx(path=saved(tmp_path, **told), input_shape=asked).load()
    assert held == [((5,), 3)]
    assert "ONNX Runtime" not in caplog.text


def test_another_result_is_refused(tmp_path, monkeypatch):
    wrong = {**graph.OPERATORS, "Relu": graph.OPERATORS["Sigmoid"]}
    monkeypatch.setattr(graph, "OPERATORS", wrong)
    with pytest.raises(ConfigError, match="as ONNX Runtime does: its output y differs; have"):
        Onnx(path=saved(tmp_path)).load()


def test_what_this_machine_cannot_compute_is_a_sentence(tmp_path, monkeypatch):
    import tensorflow as tf

    def fail(*how):
        raise tf.errors.AbortedError(None, None, "could not create a primitive")

    monkeypatch.setattr(compared, "_outputs", fail)
    with pytest.raises(ConfigError, match="net.onnx cannot be computed on this machine"):
        Onnx(path=saved(tmp_path)).load()


@pytest.mark.parametrize("there", [False, True])
def test_what_is_not_compared_is_said(there, tmp_path, monkeypatch, caplog):
    if there:
        import onnxruntime

        def fail(*how, **options):
            raise onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented("no kernel of that")

        monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    else:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.INFO):
        Onnx(path=saved(tmp_path)).load()
    why = "does not run it" if there else "is not installed: pip install"
    assert f"net.onnx is not compared with ONNX Runtime, which {why}" in caplog.text
