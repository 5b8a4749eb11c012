"""TF1 graphs with TF1's first kind of variables, which TensorFlow 2 loads but cannot run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

_REFERENCES = ("VariableV2", "Variable")


def has_reference_variables(function: Any) -> bool:
    """Whether a signature reads variables that TensorFlow 2 did not restore."""
    return any(op.type in _REFERENCES for op in function.graph.get_operations())


def with_live_variables(
    folder: Path, function: Any
) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], dict[str, Any]]:
    """A signature on variables of today's kind, with their values from the checkpoint.

    Args:
        folder: Of the module.
        function: The signature, as TensorFlow loaded it.

    Returns:
        A function from the inputs by name to the outputs by name, and the variables by name.
    """
    import tensorflow as tf

    graph_def = function.graph.as_graph_def()
    checkpoint = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    stored = checkpoint.get_variable_to_shape_map()
    with tf.name_scope(""):
        variables = {
            node.name: tf.Variable(checkpoint.get_tensor(node.name), name=node.name)
            for node in graph_def.node
            if node.op in _REFERENCES and node.name in stored
        }
    keys = list(function.structured_outputs)
    tensors = [function.structured_outputs[key].name for key in keys]

    # TensorFlow gives a signature's inputs in the order of their names.
    feeds = zip(sorted(function.structured_input_signature[1]), function.inputs, strict=True)
    placeholders = {name: tensor.name for name, tensor in feeds}

    def classify(inputs: dict[str, Any]) -> dict[str, Any]:
        values = {f"{name}:0": variable.value() for name, variable in variables.items()}
        outputs = tf.graph_util.import_graph_def(
            graph_def,
            input_map={**{placeholders[k]: v for k, v in inputs.items()}, **values},
            return_elements=tensors,
            name="net",
        )
        for key, tensor in zip(keys, outputs, strict=True):
            tensor.set_shape(function.structured_outputs[key].shape)
        return dict(zip(keys, outputs, strict=True))

    return classify, variables
