"""Each operator of ONNX gives what the reference of the package `onnx` computes."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sanity.errors import ConfigError
from sanity.models.importing.entry import entry

DRAW = np.random.default_rng(0)
MAP = DRAW.normal(size=(4, 4, 7, 6)).astype(np.float32)
TOKENS = DRAW.normal(size=(2, 5, 8)).astype(np.float32)


def f(*shape):
    return DRAW.normal(size=shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


def model_of(nodes, x, opset=18, n_outputs=1):
    """A graph of nodes in a row; each takes what the one before gives, and constants."""
    protos, constants, last = [], [], "x"
    for k, (op, given, attributes) in enumerate(nodes):
        names = [last]
        for j, value in enumerate(given):
            names.append("" if value is None else f"c{k}_{j}")
            if value is not None:
                constants.append(numpy_helper.from_array(np.asarray(value), names[-1]))
        last = f"y{k}"
        outputs = [last, *[f"z{j}" for j in range(1, n_outputs) if k == len(nodes) - 1]]
        protos.append(helper.make_node(op, names, outputs, name=f"/part/{op}_{k}", **attributes))
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        protos,
        "g",
        [helper.make_tensor_value_info("x", kind, [None, *x.shape[1:]])],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def check(model, x, rtol=1e-4):
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    found = entry(model, None, "model.path=net.onnx")
    (given,) = found.inputs
    turned = given.shape is not None and len(given.shape) == 4 and given.shape[1:] != x.shape[1:]
    outputs = found.function({"x": np.moveaxis(x, 1, -1) if turned else x})
    for value, wanted in zip(outputs.values(), expected, strict=True):
        value = np.asarray(value)
        if value.shape != wanted.shape:
            value = np.moveaxis(value, -1, 1)
        np.testing.assert_allclose(value, wanted, rtol=rtol, atol=1e-5)


KERNEL = f(6, 4, 3, 3)
ROW = [  # operators, inputs beside the first, attributes
    ("Conv", [KERNEL], {}),
    ("Conv", [KERNEL, f(6)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [KERNEL], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [KERNEL], {"auto_pad": "SAME_UPPER"}),
    ("Conv", [f(6, 2, 3, 3)], {"group": 2, "dilations": [2, 1], "pads": [1, 1, 1, 1]}),
    ("Conv", [f(4, 1, 3, 3), f(4)], {"group": 4, "pads": [1, 1, 1, 1]}),
    ("Conv", [f(8, 1, 3, 3)], {"group": 4, "strides": [2, 2], "pads": [1, 1, 0, 0]}),
    ("Conv", [f(4, 1, 3, 3)], {"group": 4, "strides": [2, 1]}),
    ("Conv", [f(4, 1, 3, 3)], {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ("ConvTranspose", [f(4, 3, 3, 2), f(3)], {"strides": [2, 1], "pads": [1, 0, 0, 1]}),
    ("ConvTranspose", [f(4, 3, 3, 3)], {"strides": [2, 2], "output_padding": [1, 1]}),
    ("BatchNormalization", [f(4), f(4), f(4), np.abs(f(4)) + 1], {"epsilon": 1e-3}),
    ("BatchNormalization", [f(4), f(4), f(4), np.abs(f(4)) + 1], {"training_mode": 1}),
    ("InstanceNormalization", [f(4), f(4)], {}),
    ("LRN", [], {"size": 3, "alpha": 0.1, "beta": 0.6, "bias": 1.5}),
    ("MaxPool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("MaxPool", [], {"kernel_shape": [2, 2], "dilations": [2, 1]}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("GlobalAveragePool", [], {}),
    ("GlobalMaxPool", [], {}),
    ("Resize", [None, np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest"}),
    ("Resize", [None, np.array([1, 1, 2, 1.5], np.float32)], {"mode": "linear"}),
    (
        "Resize",
        [None, None, i(4, 4, 5, 9)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    (
        "Resize",
        [None, np.array([1, 1, 2, 3], np.float32)],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
    ),
    ("Resize", [None, np.array([1, 1, 2, 2], np.float32)], {"mode": "cubic"}),
    ("Pad", [i(0, 0, 1, 2, 0, 0, 0, 1), np.float32(3)], {}),
    ("Pad", [i(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    ("Pad", [i(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "edge"}),
    ("DepthToSpace", [], {"blocksize": 2}),
    ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
    ("PRelu", [f(4, 1, 1)], {}),
    ("Clip", [np.float32(-0.5), np.float32(0.7)], {}),
    ("Clip", [np.float32(0), np.float32(6)], {}),
    ("Softmax", [], {"axis": 1}),
    ("Add", [f(4, 1, 1)], {}),
    ("Mul", [f(1, 4, 7, 1)], {}),
    ("ReduceMean", [i(2, 3)], {"keepdims": 0}),
    ("ReduceMax", [i(1)], {"keepdims": 0}),
    ("ReduceL2", [i(1)], {}),
    ("ReduceSum", [], {"noop_with_empty_axes": 1}),
    ("Split", [i(1, 3)], {"axis": 1}),
    ("Slice", [i(1, -2), i(2**62, -(2**62)), i(1, 2), i(1, -1)], {}),
    ("Gather", [i(2, 0, 1)], {"axis": 1}),
    ("Gather", [np.array(-1)], {"axis": 1}),
    ("Flatten", [], {"axis": 2}),
    ("Flatten", [], {}),
    ("Reshape", [i(0, 2, -1)], {}),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    ("Expand", [i(2, 1, 4, 7, 6)], {}),
    ("Tile", [i(1, 2, 1, 1)], {}),
    *[
        (op, [], {})
        for op in "Relu Elu Selu Celu LeakyRelu HardSigmoid HardSwish Sigmoid Softplus Softsign "
        "Tanh Erf Exp Abs Neg Mish Shrink ThresholdedRelu Asinh".split()
    ],
    ("Pow", [np.float32(2)], {}),
]


@pytest.mark.parametrize("node", ROW, ids=lambda node: node[0])
def test_of_maps_behind_a_convolution(node):
    first = ("Conv", [f(4, 4, 1, 1)], {})
    check(model_of([first, node], MAP, n_outputs=2 if node[0] == "Split" else 1), MAP)


OF_TOKENS = [
    ("LayerNormalization", [f(8), f(8)], {"axis": -1, "epsilon": 1e-3}, 18),
    ("Gelu", [], {"approximate": "tanh"}, 20),
    ("Gelu", [], {}, 20),
    ("MatMul", [f(8, 3)], {}, 18),
    ("Einsum", [f(8, 3)], {"equation": "btc,cd->btd"}, 18),
    ("Softmax", [], {}, 13),
    ("LogSoftmax", [], {"axis": 1}, 13),
    ("ReduceMean", [], {"axes": [1], "keepdims": 0}, 13),
    ("Unsqueeze", [i(1, -1)], {}, 18),
    ("Squeeze", [], {}, 18),
    ("CumSum", [np.array(1)], {"reverse": 1}, 18),
    ("LpNormalization", [], {"axis": -1}, 18),
    ("Trilu", [], {"upper": 0}, 18),
    ("ArgMax", [], {"axis": 1}, 18),
    ("TopK", [i(2)], {}, 18),
    ("TopK", [i(3)], {"axis": 1, "largest": 0}, 18),
    ("CastLike", [f(1)], {}, 18),
    ("Where", [f(2, 5, 8), f(2, 5, 8)], {}, 18),
    ("GatherElements", [DRAW.integers(-5, 5, (2, 2, 8))], {"axis": 1}, 18),
    ("Mod", [f(1)], {"fmod": 1}, 18),
]


@pytest.mark.parametrize("node", OF_TOKENS, ids=lambda node: node[0])
def test_of_tokens(node):
    x = TOKENS > 0 if node[0] == "Where" else TOKENS
    op, given, attributes, opset = node
    check(
        model_of([(op, given, attributes)], x, opset=opset, n_outputs=2 if op == "TopK" else 1), x
    )


def test_softmax_up_to_opset_12_is_over_all_axes_behind():
    (given,) = (
        entry(model_of([("Softmax", [], {"axis": 1})], TOKENS, 11), None, "")
        .function({"x": TOKENS})
        .values()
    )
    np.testing.assert_allclose(np.sum(given, (1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(
        np.log(given[0, 0, 0] / given[0, 4, 7]), TOKENS[0, 0, 0] - TOKENS[0, 4, 7], rtol=1e-4
    )


@pytest.mark.parametrize("before", [(), (1,), (1, 1)])
@pytest.mark.parametrize("sizes", [(2, 1, 16, 8), (3, 4, 5, 8), (2, 1, 1, 16, 8)])
def test_a_matrix_behind_more_axes_than_tokens_have(sizes, before):
    """Some kernels of TensorFlow's compute it wrongly, and write where they must not."""
    x = f(*sizes)
    check(model_of([("MatMul", [f(*before, 8, 8)], {}), ("MatMul", [f(8, 3)], {})], x), x)


def test_gemm():
    x = f(3, 8)
    check(model_of([("Gemm", [f(8, 5), f(5)], {"alpha": 0.5, "beta": 2.0})], x), x)
    check(model_of([("Gemm", [f(5, 8)], {"transB": 1})], x), x)


def test_group_norm():
    node = ("GroupNormalization", [f(4), f(4)], {"num_groups": 2})
    check(model_of([("Conv", [f(4, 4, 1, 1)], {}), node], MAP, opset=21), MAP)


@pytest.mark.parametrize(
    "node, said",
    [
        (("NonMaxSuppression", [], {}), "that are not converted: NonMaxSuppression"),
        (
            ("MaxPool", [], {"kernel_shape": [2, 2]}),
            "the operator MaxPool at /part/MaxPool_1",
        ),
        (("Resize", [None, np.ones(4, np.float32) * 2], {"mode": "cubit"}), "its mode is cubit"),
        (("Reshape", [i(3, 5)], {}), "the operator Reshape at /part/Reshape_1"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_not_converted_is_named(node, said):
    count = 2 if node[0] == "MaxPool" else 1
    model = model_of([("Conv", [f(4, 4, 1, 1)], {}), node], MAP, n_outputs=count)
    with pytest.raises(ConfigError, match=said) as refused:
        entry(model, None, "model.path=net.onnx")
    assert "\n" not in str(refused.value)


def test_a_map_is_made_as_large_as_the_images_whose_number_is_open():
    x = MAP[:2]
    nodes = [
        helper.make_node("Shape", ["x"], ["whole"]),
        helper.make_node("Slice", ["whole", "two", "four"], ["places"]),
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]),
        helper.make_node("Shape", ["y"], ["own"]),
        helper.make_node("Slice", ["own", "none", "two"], ["others"]),
        helper.make_node("Concat", ["others", "places"], ["wanted"], axis=0),
        helper.make_node("Resize", ["y", "", "", "wanted"], ["z"], mode="nearest"),
    ]
    numbers = {"none": i(0), "two": i(2), "four": i(4)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, *x.shape[1:]])],
        [helper.make_tensor_value_info("z", TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    check(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), x)


def test_what_an_exporter_scales_by_to_write_a_group_norm_is_no_weight():
    conv = ("Conv", [f(4, 4, 1, 1)], {})
    ones = ("InstanceNormalization", [np.ones(4, np.float32), np.zeros(4, np.float32)], {})
    model = model_of([conv, ones, ("Mul", [f(4, 1, 1)], {})], MAP)
    for node in model.graph.node:
        node.input[:] = [f"onnx::{name}" if name.startswith("c") else name for name in node.input]
    for one in model.graph.initializer:
        one.name = f"onnx::{one.name}"
    assert len(entry(model, None, "model.path=net.onnx").variables) == 2
