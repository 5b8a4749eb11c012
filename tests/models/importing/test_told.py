"""What PyTorch's newer exporter tells of an ONNX file's constants."""

import numpy as np
import pytest
from onnx import StringStringEntryProto, TensorProto, helper, numpy_helper

from sanity.models.importing.graph import constants_of
from sanity.models.importing.told import named_of, told_of
from sanity.models.importing.weights import find_weights, without_tables

DRAW = np.random.default_rng(0)
LINES = """
# inputs
p_fc_weight: PARAMETER target='fc.weight'
p_scale: PARAMETER target='scale'
p_gain: PARAMETER target='norm.gain'
b_table: BUFFER target='table' persistent=False
b_mean: BUFFER target='mean' persistent=True
c_lifted: CONSTANT_TENSOR target='lifted'
images: USER_INPUT
"""
SPECS = " ".join(
    f"InputSpec(kind=<InputKind.{kind}: 2>, arg=TensorArgument(name='x'), target='{name}'),"
    for name, kind in [("fc.weight", "PARAMETER"), ("scale", "PARAMETER"), ("table", "BUFFER")]
    + [("norm.gain", "PARAMETER"), ("mean", "BUFFER"), ("lifted", "CONSTANT_TENSOR")]
)
CONSTANTS = {
    "fc.weight": (6, 5),
    "scale": (),
    "table": (4, 5),
    "mean": (5,),
    "lifted": (5,),
    "mul": (5,),  # computed of a parameter
    "unsqueeze": (4, 5),  # of a table
    "val_7": (5,),  # nothing is told of it
}


def model(signature):
    nodes, last = [helper.make_node("MatMul", ["images", "fc.weight"], ["y"])], "y"
    for name in [*CONSTANTS][1:]:
        nodes.append(helper.make_node("Add", [last, name], [f"y_{name}"]))
        last = f"y_{name}"
    scopes = StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value="['', 'norm', 'add']")
    for node in nodes:
        node.metadata_props.append(scopes)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, 4, 6])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(DRAW.normal(size=shape).astype(np.float32), name)
            for name, shape in CONSTANTS.items()
        ],
    )
    for name, origins in (("mul", ["norm.gain", "val_1"]), ("unsqueeze", ["table", "val_2"])):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        key = "pkg.onnxscript.optimizer.folded_from"
        value.metadata_props.append(StringStringEntryProto(key=key, value=repr(origins)))
        graph.value_info.append(value)
    if signature:
        key = "pkg.torch.export.ExportedProgram.graph_signature"
        graph.metadata_props.append(StringStringEntryProto(key=key, value=signature))
    return helper.make_model(graph, producer_name="pytorch")


@pytest.mark.parametrize("signature", [LINES, SPECS], ids=["lines", "specs"])
def test_weights_are_what_the_network_learned(signature):
    made = model(signature)
    constants = constants_of(made.graph)
    named = named_of(told_of(made), constants)
    assert named is not None
    found = find_weights(made, constants, ["images"], "model.path=net.onnx", named)
    kept = without_tables(found, named, "model.path=net.onnx")
    assert {*kept} == {"fc.weight", "scale", "mean", "mul", "val_7"}
    assert kept["mul"].name == "norm/bias"  # called after its module


def test_another_exporter_tells_nothing():
    made = model("")
    assert named_of(told_of(made), constants_of(made.graph)) is None
