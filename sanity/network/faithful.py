"""The flat graph of a function, with its gradient compared with the function's own."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.network.channels_last import put_channels_last
from sanity.network.flatten import flatten
from sanity.network.graph import FlatGraph, is_padded_depthwise, trace_graph
from sanity.network.grouped import make_differentiable
from sanity.network.products import has_stacks, refuse_in_loops, stack_rightly

log = logging.getLogger(__name__)

_NOISE = 1e-6  # of the images, to see how much a gradient moves by rounding alone
_ALLOWED = 1e-3  # of the gradient's norm


def faithful(function: Any, outputs: Sequence[str]) -> FlatGraph:
    """The flat graph of a ConcreteFunction, see `flatten`, whose gradient is the function's own.

    Without a custom gradient in it, both are made by TensorFlow of the same ops. Otherwise they are
    compared on two noise images; a gradient that differs, or cannot be had, is recorded in
    `custom.lost` of the graph.

    Args:
        function: Of images, with a dict of outputs.
        outputs: The names of those that matter.
    """
    graph = _differentiable(function)
    if not graph.custom.kept and not graph.custom.dropped:
        return graph
    if has_stacks(graph) or any(map(is_padded_depthwise, graph.graph_def.node)):
        log.warning(
            "custom gradients are not compared with the model's own: it has ops at which "
            "TensorFlow ends the process on some machines"
        )
        return graph
    try:
        own, moved = _own(function, outputs, 0.0), _own(function, outputs, _NOISE)
    except Exception as error:  # of the model's own code
        said = str(error).strip().split("\n")[0][:200]
        log.warning(
            "custom gradients cannot be compared with the model's own: it gives none: %s", said
        )
        return graph
    allowed = max(_ALLOWED * _norm(own), 10 * _norm(moved - own))
    if (found := _norm(_flat(graph, outputs, function) - own)) > allowed and graph.custom.dropped:
        graph = _differentiable(function, drop=False)
        found = _norm(_flat(graph, outputs, function) - own)
    share = found / _norm(own) if own.any() else float(found > 0)
    if not found <= allowed:
        names = [*graph.custom.kept, *graph.custom.dropped]
        why = f"with it the gradient differs from the model's own by {100 * share:.2g} %"
        custom = replace(graph.custom, lost={**dict.fromkeys(names, why), **graph.custom.lost})
        return replace(graph, custom=custom)
    if graph.custom.kept:
        count = len(graph.custom.kept)
        log.info(
            "%d custom gradient%s kept: with %s the gradient is the model's own to %.0e",
            count,
            " is" if count == 1 else "s are",
            "it" if count == 1 else "them",
            share,
        )
    return graph


def no_gradient(
    graph: FlatGraph, logits: str, tensor: str | None, path: Sequence[str], model: str
) -> str | None:
    """Why no gradient of the logits can be trusted, None if it can.

    Args:
        graph: The network.
        logits: The tensor where gradients begin.
        tensor: Where they end, None for the images.
        path: The nodes on the way, see `FlatGraph.gradient_path`.
        model: What the message calls it.
    """
    others = "methods that need none, as occlusion, rise or lime, can explain it"
    if not path:
        stops = [f"{node.op} ({node.name})" for node in graph.stops(logits, tensor)]
        shown = ", ".join(stops[:3] + [f"{len(stops) - 3} more"] * (len(stops) > 3))
        return (
            f"no gradient leads from the logits of {model} to "
            f"{tensor or 'the images'}: it is 0, or not defined, at {shown}; {others}"
        )
    lost = [name for name in path if name in graph.custom.lost]
    if lost:
        return (
            f"{model} has a custom gradient that cannot be kept, at {lost[0]}: "
            f"{graph.custom.lost[lost[0]]}; {others}"
        )
    return None


def _differentiable(function: Any, drop: bool = True) -> FlatGraph:
    images = function.inputs[0]
    spec = tf.TensorSpec(images.shape, images.dtype)
    graph = put_channels_last(flatten(function, drop), spec)
    refuse_in_loops(graph, spec)
    return stack_rightly(make_differentiable(graph, spec), spec)


def _own(function: Any, outputs: Sequence[str], noise: float) -> np.ndarray:
    """The gradient that the function itself has."""
    images, weights = _images(function, noise), _weights(outputs)
    with tf.GradientTape() as tape:
        tape.watch(images)
        found = function(images)
        total = sum(_weigh(found[key], weight) for key, weight in weights.items())
    gradient = tape.gradient(total, images)
    return np.zeros(images.shape) if gradient is None else gradient.numpy().astype(np.float64)


def _flat(graph: FlatGraph, outputs: Sequence[str], function: Any) -> np.ndarray:
    """The gradient that the flat graph of a function has."""
    images, weights = _images(function, 0.0), _weights(outputs)

    def gradient(images: Any) -> Any:
        found = graph.build(images, [graph.outputs[key] for key in weights])
        pairs = zip(found, weights.values(), strict=True)
        (gradient,) = tf.gradients([_weigh(*pair) for pair in pairs], images)
        return tf.zeros_like(images) if gradient is None else gradient

    spec = tf.TensorSpec(images.shape, images.dtype)
    values: np.ndarray = trace_graph(gradient, [spec])(images).numpy().astype(np.float64)
    return values


def _images(function: Any, noise: float) -> Any:
    random = np.random.Generator(np.random.PCG64(0))
    shape = [2, *function.inputs[0].shape[1:]]
    images = random.random(shape) + noise * random.standard_normal(shape)
    return tf.constant(images, function.inputs[0].dtype)


def _weights(outputs: Sequence[str]) -> dict[str, int]:
    """A seed by output."""
    return {key: number for number, key in enumerate(outputs)}


def _weigh(output: Any, seed: int) -> Any:
    """A sum of an output's values, each with a weight of its own."""
    shape = tf.shape(output)
    weights = tf.random.stateless_uniform(shape, [seed, 0], 0.5, 1.5, output.dtype)
    return tf.reduce_sum(output * weights)


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values))
