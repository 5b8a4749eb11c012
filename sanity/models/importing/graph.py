"""The operators of an ONNX graph, one after the other, in TensorFlow."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.importing import algebra, elementwise, norms, resizing, shapes, spatial
from sanity.models.importing.values import Node, Operator, Sizes, Unsupported, Value, first
from sanity.models.importing.weights import as_path
from sanity.models.kinds import DETAILS

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto

log = logging.getLogger(__name__)

OPERATORS: dict[str, Operator] = {
    **elementwise.OPERATORS,
    **spatial.OPERATORS,
    **resizing.OPERATORS,
    **norms.OPERATORS,
    **algebra.OPERATORS,
    **shapes.OPERATORS,
}
DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Run:
    """What is the same for all operators while a graph is built.

    Attributes:
        key: What messages call the model: `model.path=…`.
        opset: The version of the operators.
        sizes: Of values by name, along ONNX's axes, as far as they are known beforehand.
        opened: Whether `sizes` are of one image, in a graph that is to take any number.
        found: Sizes of what the operators gave, by name.
    """

    key: str
    opset: int
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    opened: bool = False
    found: dict[str, Sizes] = field(default_factory=dict)


def check_operators(graph: "GraphProto", key: str) -> None:
    """Makes sure that all operators are known, before anything is built."""
    unknown: dict[str, str] = {}
    for node in graph.node:
        if node.op_type not in OPERATORS and node.op_type not in ("Constant", "If"):
            unknown.setdefault(node.op_type, node.name or node.output[0])
        elif node.domain not in DOMAINS and node.op_type != "Gelu":
            unknown.setdefault(f"{node.domain}.{node.op_type}", node.name or node.output[0])
    if unknown:
        shown = ", ".join(f"{op} (at {where})" for op, where in unknown.items())
        raise ConfigError(
            f"{key} has operators that are not converted: {shown}; export the network without "
            "them, or convert it to a SavedModel by other means, then model=saved_model"
        )


def constants_of(graph: "GraphProto") -> dict[str, np.ndarray]:
    """Initializers, and what nodes without inputs give."""
    from onnx import numpy_helper

    found = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute:
            found[node.output[0]] = np.asarray(_attribute(node.attribute[0]))
    return found


def _attribute(entry: "AttributeProto") -> Any:
    """An attribute's value; of floating point single precision, as it is stored."""
    from onnx import AttributeProto, helper, numpy_helper

    if entry.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(entry.t)
    value = helper.get_attribute_value(entry)
    if entry.type == AttributeProto.FLOATS:
        return np.asarray(value, np.float32) if entry.name.startswith("value") else [*value]
    if entry.type == AttributeProto.INTS:
        return np.asarray(value, np.int64) if entry.name.startswith("value") else [*value]
    if entry.name.startswith("value_"):
        return np.asarray(value, {"value_float": np.float32, "value_int": np.int64}[entry.name])
    return value


def run_nodes(nodes: Sequence["NodeProto"], known: dict[str, Value], run: Run) -> None:
    """Adds the values that nodes give to those that are known."""
    for proto in nodes:
        if proto.op_type == "Constant":
            if proto.output[0] not in known:
                known[proto.output[0]] = Value(np.asarray(_attribute(proto.attribute[0])))
            continue
        attributes = {entry.name: _attribute(entry) for entry in proto.attribute}
        where = proto.name or (proto.output[0] if proto.output else proto.op_type)
        outputs = [name for name in proto.output if name]
        sizes = run.sizes.get(proto.output[0])
        node = Node(proto.op_type, where, attributes, len(outputs), run.opset, sizes, run.opened)
        inputs = [known[name] if name else None for name in proto.input]
        while inputs and inputs[-1] is None:
            inputs.pop()
        try:
            if node.op == "If":
                results = _branch(node, known, proto.input[0], run)
            else:
                results = _apply(node, inputs)
        except Unsupported as error:
            raise ConfigError(
                f"{run.key}: the operator {node.op} at {where} is not converted: {error}"
            ) from error
        except (tf.errors.OpError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            log.debug("%s", error)
            raise ConfigError(
                f"{run.key}: the operator {node.op} at {where} cannot be converted ({DETAILS})"
            ) from error
        inner = max((v.inner for v in inputs if v is not None), default=1)
        for name, value in zip(outputs, results, strict=False):
            known[name] = value if node.op == "Reshape" else replace(value, inner=inner)
            run.found[name] = value.sizes


def _branch(node: Node, known: Mapping[str, Value], condition: str, run: Run) -> list[Value]:
    """The branch that a known condition takes."""
    given = known[condition]
    if not given.known:
        raise Unsupported("its condition depends on the image")
    graph = node.get("then_branch" if bool(np.ravel(given.data)[0]) else "else_branch")
    inner = {**known, **{name: Value(value) for name, value in constants_of(graph).items()}}
    run_nodes(graph.node, inner, run)
    return [inner[one.name] for one in graph.output]


def _apply(node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """What an operator gives; of what is known, arrays."""
    given = [value for value in inputs if value is not None]
    partly = any(isinstance(v.data, np.ndarray) and v.data.dtype == object for v in given)
    arrays = all(isinstance(value.data, np.ndarray) for value in given)
    if partly and arrays and node.op in shapes.OF_SHAPES:
        arguments = [None if value is None else value.data for value in inputs]
        with suppress(Unsupported):  # then as tensors
            return [Value(shapes.as_shape(shapes.OF_SHAPES[node.op](node, *arguments)))]
    operator = OPERATORS[node.op]
    if arrays and not partly:
        with tf.init_scope():
            return [_as_array(value) for value in _listed(operator(node, *inputs))]
    with tf.name_scope(as_path(node.name) or node.op):
        return _listed(operator(node, *inputs))


def _listed(result: Any) -> list[Value]:
    return [*result] if isinstance(result, list | tuple) else [result]


def _as_array(value: Value) -> Value:
    known = isinstance(value.data, np.ndarray | np.generic)
    return Value(np.asarray(value.data if known else first(value)))
