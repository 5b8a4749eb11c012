"""An ONNX model as a function of its inputs, its weights as live variables."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.importing import spatial
from sanity.models.importing.arrangement import find_arrangement, shape_of
from sanity.models.importing.elementwise import DTYPES
from sanity.models.importing.graph import DOMAINS, Run, check_operators, constants_of, run_nodes
from sanity.models.importing.sequences import cut_instead
from sanity.models.importing.told import named_of, told_of
from sanity.models.importing.values import Sizes, Value, first, last
from sanity.models.importing.weights import Named, Weight, find_weights, without_tables
from sanity.models.inputs import Input
from sanity.models.kinds import DETAILS
from sanity.models.module import Entry
from sanity.network.anatomy.parameters import selects

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

log = logging.getLogger(__name__)

_COUNTS = (2, 3)  # of images, by which one sees which sizes follow from their number
_TOLERANCE = 1e-4  # of the greatest output, between a number of images and another


def entry(
    model: "ModelProto", asked: Sequence[int] | None, key: str, own: Named | None = None
) -> Entry:
    """A model as a function of its inputs by name, its weights as variables.

    Inputs that the graph takes for maps are given with channels last.

    Args:
        model: With all weights; sequences in it are written otherwise.
        asked: `model.input_shape`, for what the model leaves open.
        key: What messages call it: `model.path=…`.
        own: What the network that it was exported from calls its own; None for what the file says.

    Raises:
        ConfigError: An operator is not converted.
    """
    graph = model.graph
    opset = max((one.version for one in model.opset_import if one.domain in DOMAINS), default=1)
    try:
        constants = constants_of(graph)
    except (ValueError, TypeError) as error:
        log.debug("%s", error)
        raise ConfigError(
            f"{key} has weights that cannot be read: copy it, and the files beside it, anew "
            f"({DETAILS})"
        ) from error
    cut_instead(graph, constants)
    check_operators(graph, key)
    taken = [one for one in graph.input if one.name not in constants]
    own = named_of(told_of(model), constants) if own is None else own
    weights = find_weights(model, constants, [one.name for one in taken], key, own)
    if own is not None:
        weights = without_tables(weights, own, key)
    variables = {name: _variable(weight) for name, weight in weights.items()}
    known = {name: Value(value) for name, value in constants.items() if name not in weights}
    arranged = [_arranged(graph, _input(one, key), asked) for one in taken]

    def build(values: dict[str, Any], run: Run) -> dict[str, Any]:
        live = {name: _live(variables[name], weight) for name, weight in weights.items()}
        given = {one.name: Value(values[one.name], last=turned) for one, turned in arranged}
        every = {**known, **live, **given}
        run_nodes(graph.node, every, run)
        return {one.name: _output(every[one.name]) for one in graph.output}

    def trace(specs: dict[str, Any], run: Run) -> Any:
        return tf.function(
            lambda values: build(values, run), autograph=False
        ).get_concrete_function(specs)

    specs = {one.name: tf.TensorSpec(one.shape, one.dtype) for one, _ in arranged}
    run = Run(key, opset)
    traced, specs = _of_one_image(specs, trace, run) or (None, specs)
    if traced is None:
        traced = trace(specs, replace(run, sizes=_sizes(specs, trace, run)))
    inputs = [replace(one, shape=_shape(specs[one.name])) for one, _ in arranged]

    def function(values: dict[str, Any]) -> Any:
        given = [tf.convert_to_tensor(values[name]) for name in sorted(specs)]
        return traced(*given)  # as TensorFlow orders a dict

    function.alive = variables  # type: ignore[attr-defined]
    named = {weight.name: variables[name] for name, weight in weights.items()}
    return Entry(function, inputs, named, "graph")


def _shape(spec: Any) -> tuple[int | None, ...] | None:
    return None if spec.shape.rank is None else tuple(spec.shape)


def _arranged(graph: "GraphProto", one: Input, asked: Sequence[int] | None) -> tuple[Input, bool]:
    """What an input takes, with channels last, and whether the graph has them first."""
    if one.shape is None or len(one.shape) != 4:
        return one, False
    count, *sizes = one.shape
    turned = find_arrangement(graph, one.name, one.shape) == "first"
    if turned:
        sizes = [*sizes[1:], sizes[0]]
    if asked is not None:  # contradictions are told where both are compared
        sizes = [size or given for size, given in zip(sizes, asked, strict=True)]
    return replace(one, shape=(count, *sizes)), turned


def _output(value: Value) -> Any:
    return last(value) if value.last else first(value)


def _variable(weight: Weight) -> Any:
    value = weight.value
    if weight.groups:
        value = spatial.turned_kernel(value, weight.groups)
    with tf.init_scope(), tf.name_scope(""):
        return tf.Variable(value, name=weight.name, trainable=not selects(value))


def _live(variable: Any, weight: Weight) -> Value:
    """A weight's value as the graph takes it."""
    if not weight.groups:
        return Value(tf.convert_to_tensor(variable))
    depthwise = spatial.is_depthwise(weight.groups, weight.value.shape)
    return Value(tf.convert_to_tensor(variable), kernel="depthwise" if depthwise else "full")


def _input(value: Any, key: str) -> Input:
    """What an input takes."""
    kind = value.type.tensor_type
    if kind.elem_type not in DTYPES:
        raise ConfigError(f"{key} takes no images: its input {value.name} has another type")
    return Input(value.name, shape_of(value), DTYPES[kind.elem_type])


def _sizes(
    specs: Mapping[str, Any], trace: Callable[[dict[str, Any], Run], Any], run: Run
) -> dict[str, Sizes]:
    """The sizes of values that do not follow from the number of images, by name.

    Exporters compute sizes from that number where it is open, and TensorFlow then knows none of
    them. They are seen from graphs of two numbers: what is equal there is known.

    Args:
        specs: What the inputs take.
        trace: Builds the graph of inputs.
        run: What is the same for all operators.
    """
    opened = {name for name, spec in specs.items() if spec.shape.rank and spec.shape[0] is None}
    if not opened:
        return {}
    found = []
    for count in _COUNTS:
        counted = {
            name: tf.TensorSpec([count, *spec.shape[1:]], spec.dtype) if name in opened else spec
            for name, spec in specs.items()
        }
        one = replace(run, found={})
        try:
            trace(counted, one)
        except ConfigError:  # said where it is traced as it is
            return {}
        found.append(one.found)
    return {
        name: [a if a == b else None for a, b in zip(sizes, found[1][name], strict=True)]
        for name, sizes in found[0].items()
        if len(sizes) == len(found[1].get(name, ()))
    }


def _of_one_image(
    specs: dict[str, Any], trace: Callable[[dict[str, Any], Run], Any], run: Run
) -> tuple[Any, dict[str, Any]] | None:
    """The graph of a model that takes one image at a time, made for any number, and its inputs.

    None where the model is none, or where the number of images is a part of the network.

    Args:
        specs: What the inputs take.
        trace: Builds the graph of inputs.
        run: What is the same for all operators.
    """
    name, spec = next(iter(specs.items()))
    if len(specs) != 1 or spec.shape.rank is None or spec.shape[:1] != [1] or None in spec.shape:
        return None
    single = replace(run, found={})
    own = trace(specs, single)
    opened = {name: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)}
    try:
        traced = trace(opened, replace(run, sizes=single.found, opened=True))
        noise = np.random.Generator(np.random.PCG64(0)).random((3, *spec.shape[1:]))
        images = tf.cast(noise if spec.dtype.is_floating else 255 * noise, spec.dtype)
        whole, parts = traced(images), [own(images[k : k + 1]) for k in range(len(noise))]
    except (ConfigError, tf.errors.OpError, ValueError) as error:
        log.debug("%s", error)
        return None
    for key, found in whole.items():
        expected = np.concatenate([part[key] for part in parts])
        limit = _TOLERANCE * np.abs(expected).max()
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=limit):
            return None
    log.info("%s takes one image at a time: opened, with equal outputs", run.key)
    return traced, opened
