"""Pieces of a sequence are what the reference of the package `onnx` takes of it."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanity.errors import ConfigError
from tests.models.importing.test_operators import TOKENS, check


def model_of(split, places, after="SequenceAt", **attributes):
    """Tokens in pieces, of which some are taken."""
    constants = {f"place{k}": np.array(place, np.int64) for k, place in enumerate(places)}
    given = ["x"]
    if split is not None:
        constants["split"] = np.array(split, np.int64)
        given.append("split")
    nodes = [helper.make_node("SplitToSequence", given, ["all"], **attributes)]
    nodes += [helper.make_node(after, ["all", f"place{k}"], [f"y{k}"]) for k in range(len(places))]
    outputs = [
        helper.make_tensor_value_info(f"y{k}", TensorProto.UNDEFINED, None)
        for k in range(len(places))
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, *TOKENS.shape[1:]])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    ("split", "places", "attributes"),
    [
        (4, [0, 1], {"axis": 2}),
        (3, [2, 0], {"axis": -1}),  # the last one is shorter
        ([1, 5, 2], [1, -1, 0], {"axis": 2}),
        ([2, 3], [0, 1], {"axis": 1}),
        (None, [0, 4, -2], {"axis": 1}),
        (None, [0, 4, -2], {"axis": 1, "keepdims": 0}),
        ([2, 3], [1], {"axis": 1, "keepdims": 0}),  # which is for pieces of one alone
    ],
)
def test_pieces_at_known_places(split, places, attributes):
    check(model_of(split, places, **attributes), TOKENS)


def test_other_uses_of_a_sequence_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"not converted: SplitToSequence .*, SequenceErase"):
        check(model_of(4, [1], after="SequenceErase", axis=2), TOKENS)
    with pytest.raises(ConfigError, match="not converted: SplitToSequence"):
        check(model_of(4, [-1], axis=2), TOKENS)  # how many there are follows from the size
