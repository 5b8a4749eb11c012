"""Which constants of an ONNX graph are weights."""

import numpy as np
import pytest
from onnx import StringStringEntryProto, TensorProto, helper, numpy_helper

from sanity.models.importing.graph import constants_of
from sanity.models.importing.weights import Named, Weight, find_weights, without_tables

DRAW = np.random.default_rng(0)


def number(value, rank=0):
    return np.full([1] * rank, value, np.float32)


def model_of(nodes, constants, producer="pytorch", newer=False):
    """A convolution of one filter, then these nodes in a row: op and names of its constants."""
    every = {"0.weight": DRAW.normal(size=(1, 3, 3, 3)).astype(np.float32), **constants}
    protos, last = [helper.make_node("Conv", ["images", "0.weight"], ["y"])], "y"
    for k, (op, *names) in enumerate(nodes):
        protos.append(helper.make_node(op, [last, *names], [f"y{k}"]))
        last = f"y{k}"
    if newer:
        said = StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value="['', '0', 'conv']")
        protos[0].metadata_props.append(said)
    graph = helper.make_graph(
        protos,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, 3, 8, 8])],
        [helper.make_tensor_value_info(last, TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(value, name) for name, value in every.items()],
    )
    return helper.make_model(graph, producer_name=producer)


def found(model, own=None):
    weights = find_weights(model, constants_of(model.graph), ["images"], "model.path=a.onnx", own)
    return {name for name in weights if name != "0.weight"}


@pytest.mark.parametrize("producer", ["pytorch", "tf2onnx"])
@pytest.mark.parametrize("name", ["1.weight", "onnx::PRelu_7"])
def test_a_slope_of_one_number_is_a_weight(producer, name):
    assert found(model_of([("PRelu", name)], {name: number(0.25, 3)}, producer)) == {name}


def test_a_norm_of_one_channel_has_weights():
    names = [f"1.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    model = model_of([("BatchNormalization", *names)], {name: number(0.5, 1) for name in names})
    assert found(model) == {*names}


@pytest.mark.parametrize(
    ("producer", "newer", "weights", "said"),
    [
        ("pytorch", False, {"block.alpha", "scale"}, False),
        ("pytorch", True, {"block.alpha"}, True),
        ("tf2onnx", False, set(), False),
    ],
    ids=["older exporter", "newer exporter", "another"],
)
def test_a_number_is_a_weight_where_pytorch_names_it(producer, newer, weights, said, caplog):
    """What has no name of its own is of a formula: 0.5 of GELU, sizes, epsilons."""
    caplog.set_level("INFO", logger="sanity")
    names = ["block.alpha", "scale", "/Constant_output_0", "val_3"]
    constants = {name: number(1.3, rank) for rank, name in enumerate(names)}
    assert found(model_of([("Mul", name) for name in names], constants, producer, newer)) == weights
    assert ("a single number was learned, so taken" in caplog.text) == said
    assert ("randomized: scale (1.3)" in caplog.text) == said


@pytest.mark.parametrize("producer", ["pytorch", "tf2onnx", "onnxruntime.transformers"])
def test_of_a_number_that_no_formula_has_it_is_said_that_nothing_tells(producer, caplog):
    constants = {"onnx::Mul_5": number(0.7312847), "val_6": number(0.5), "/gelu": number(2**-0.5)}
    assert not found(model_of([("Mul", name) for name in constants], constants, producer))
    assert "model.path=a.onnx: nothing tells whether a single number was learned" in caplog.text
    assert "randomized: onnx::Mul_5 (0.731285)\n" in caplog.text


def test_a_number_that_was_a_variable_of_tensorflow_is_a_weight(caplog):
    """As converters call it."""
    names = ["net/gain/mul/ReadVariableOp:0", "net/gelu/mul/x:0", "shift/read"]
    constants = {name: number(0.5) for name in names}
    model = model_of([("Mul", name) for name in names], constants, "tf2onnx")
    assert found(model) == {names[0], names[2]} and not caplog.text


def test_a_number_is_a_weight_where_the_network_says_so(caplog):
    """Where it is exported here, nothing is left to be told."""
    constants = {"scale": number(0.7312847), "val_3": number(0.3312847)}
    model = model_of([("Mul", name) for name in constants], constants, newer=True)
    assert found(model, Named(["scale"], [], [])) == {"scale"} and not caplog.text


def test_what_is_computed_with_a_number_makes_it_no_weight():
    """An epsilon on a kernel's way to its product."""
    model = model_of([("MatMul", "kernel")], {"eps": number(1e-12)})
    kernel = numpy_helper.from_array(DRAW.normal(size=(6, 5)).astype(np.float32), "raw")
    model.graph.initializer.append(kernel)
    model.graph.node.insert(0, helper.make_node("Max", ["raw", "eps"], ["kernel"]))
    model.producer_name = ""
    assert found(model) == {"raw"}


@pytest.mark.parametrize("name", ["attn_mask", "onnx::Add_3"])
def test_coordinates_and_masks_are_no_weights(name, caplog):
    """Whatever they are called; of blank numbers, those that have no name."""
    caplog.set_level("INFO", logger="sanity")
    places = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).astype(np.float32)
    mask = np.where(DRAW.random((4, 4)) < 0.5, 0, -100).astype(np.float32)
    for value in (places, mask):
        assert found(model_of([("Add", name)], {name: value})) == set()
    assert f"coordinates, masks and the like: {name}" in caplog.text
    blank = found(model_of([("Add", name)], {name: np.zeros((4, 4), np.float32)}))
    assert blank == ({name} if name == "attn_mask" else set())


NAMED = Named(["fc.weight"], ["norm.mean"], ["coordinates"])


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["fc.weight", "norm.mean", "coordinates", "onnx::Add_3"], ["fc.weight", "norm.mean"]),
        # Perhaps a parameter's values, computed before the export.
        (["norm.mean", "coordinates", "onnx::Add_3"], ["norm.mean", "onnx::Add_3"]),
    ],
    ids=["all by name", "not all"],
)
def test_what_a_network_does_not_learn_is_no_weight(names, kept, caplog):
    found = {name: Weight(name.replace(".", "/"), np.zeros(2), 0) for name in names}
    with caplog.at_level("INFO"):
        assert [*without_tables(found, NAMED, "model.module=nets:make")] == kept
    assert "model.module=nets:make: not randomized, as no parameters of the network" in caplog.text
    assert "coordinates" in caplog.text and "norm/mean" not in caplog.text
