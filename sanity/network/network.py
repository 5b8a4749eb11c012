"""Network: what is known of a flat graph, which no weights change."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.anatomy.attention import (
    Attention,
    TokenGrid,
    find_attention,
    find_mixing,
)
from sanity.network.anatomy.batch_norm import BatchNorm, find
from sanity.network.anatomy.blocks import find_blocks
from sanity.network.anatomy.feature_maps import choose_map, feature_maps
from sanity.network.anatomy.logits import Activation, Ending, choose_logits, vectors
from sanity.network.anatomy.parameters import Declared, Parameter, describe, meeting, selects
from sanity.network.anatomy.preprocessing import Seen, read_seen
from sanity.network.anatomy.reduction import Reduce
from sanity.network.anatomy.vector_axes import check_along, turn_outputs
from sanity.network.anatomy.ways import PRODUCTS
from sanity.network.faithful import faithful, no_gradient
from sanity.network.graph import FlatGraph, op_of, tensor_of
from sanity.network.passes.backprop_rules import rule as rule_of
from sanity.network.promoting import promote_constants

log = logging.getLogger(__name__)

_BYTES = 2  # of a whole number that stands for a weight, at the most
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D", "Einsum")


@dataclass(frozen=True)
class Network:
    """A flat graph from images in [0, 1] to logits, and what it is made of.

    Attributes:
        name: What messages call it.
        images: What it takes, (n, H, W, C) float32.
        graph: The graph.
        logits: Name of the tensor that is explained.
        ending: How the explained output ends.
        n_classes: How many logits there are.
        output_shapes: Shape (None if unknown) and type of each of the function's outputs.
        parameters: By name, from input to output.
        placeholders: The placeholder of each parameter.
        blocks: Their names, from output to input.
    """

    name: str
    images: tf.TensorSpec
    graph: FlatGraph
    logits: str
    ending: Ending
    n_classes: int
    output_shapes: Mapping[str, tuple[list[int | None] | None, str]]
    parameters: Mapping[str, Parameter]
    placeholders: Mapping[str, str]
    blocks: Sequence[str]

    @cached_property
    def path(self) -> list[str]:
        """The nodes through which the logits depend on the images, from input to output."""
        return self.graph.path(self.logits)

    @cached_property
    def explained(self) -> FlatGraph:
        """The part of the graph that computes the logits."""
        return self.graph.between([self.graph.input], [self.logits])

    @cached_property
    def last_kernels(self) -> list[str]:
        """The kernels nearest to the logits, by name; several if they stand side by side."""
        kernels = [p for p in self.parameters.values() if p.kind == "kernel" and p.reaches]
        deepest = max((p.depth for p in kernels), default=0)
        return [p.name for p in kernels if p.depth == deepest]

    @cached_property
    def last_features(self) -> list[str]:
        """The tensors that the last kernels multiply; none where that is done in a loop."""
        found = []
        for name in self.last_kernels:
            op = meeting(self.explained, self.placeholders[name])
            node = self.explained.nodes[op] if op else None
            if node is None or node.op not in _PRODUCTS:
                return []
            found += [tensor_of(i) for i in node.input if op_of(i) in self.explained.depths]
        return list(dict.fromkeys(found))

    @cached_property
    def seen(self) -> Seen | None:
        """What the first layer sees of black and white; None where the model scales nothing."""
        learned = [self.placeholders[p.name] for p in self.parameters.values() if p.trainable]
        return read_seen(self.graph, self.images, learned)

    @cached_property
    def constant_kernels(self) -> dict[str, int]:
        """Sizes of what products multiply the images' values by and no variable has a part in.

        No randomization reaches them, by the name of their tensor.
        """
        graph = self.explained
        varied = graph.behind(self.placeholders.values())
        found = [
            tensor_of(source)
            for node in graph.nodes.values()
            if node.op in PRODUCTS and node.name in graph.valued
            for source in node.input
            if not {op_of(source)} & (graph.valued | varied)
        ]
        specs = graph.specs(found, self.images)
        return {
            name: int(spec.shape.num_elements() or 0)
            for name, spec in specs.items()
            if spec.dtype.is_floating and spec.shape.is_fully_defined() and spec.shape.rank
        }

    @cached_property
    def uncertain(self) -> list[str]:
        """Parameters that may do more than their kind says.

        Scales along several axes, as filters of frequencies are, and biases out of which a kernel
        is computed, as the angles and widths of learned Gabor filters are.
        """
        graph = self.explained
        found = []
        for p in self.parameters.values():
            along = sum(length > 1 for length in p.shape)
            met = meeting(graph, self.placeholders[p.name]) if p.reaches else None
            computes = met is not None and graph.nodes[met].op in PRODUCTS
            if (p.kind == "scale" and along > 1) or (p.kind == "bias" and computes):
                found.append(p.name)
        return found

    @cached_property
    def batch_norms(self) -> list[BatchNorm]:
        """The batch norms with moving statistics, from input to output."""
        return find(self.explained, self.placeholders, self.parameters, self.images)

    @cached_property
    def spatial_tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape (h, w, channels) of the maps between image and logits, in this order."""
        return feature_maps(self.graph, self.path, self.images)

    @cached_property
    def has_attention(self) -> bool:
        """Whether softmaxes of the image weigh values of it, as in a transformer."""
        return bool(find_mixing(self.graph, self.logits))

    @cached_property
    def attention(self) -> tuple[list[Attention], TokenGrid]:
        """The layers of self-attention from input to output, and where their tokens stand.

        Raises:
            ConfigError: There is none that can be followed through the layers.
        """
        maps = self.spatial_tensors
        return find_attention(self.graph, self.logits, self.images, maps, self.name)

    def spatial_tensor(self, name: str | None = None) -> str:
        """The tensor of a layer: the last map before the logits, or the one of this name.

        Args:
            name: Of a tensor (`"a/b:0"`, or `"a/b"`) or of one of the model's outputs.

        Raises:
            ConfigError: There is no such map between image and logits.
        """
        return choose_map(self.spatial_tensors, name, self.graph, self.name)

    def check_layer(self, name: str | None = None) -> None:
        """Makes sure that there is a gradient at a layer, see `spatial_tensor`.

        Says where the last map is not all that the logits see of the images.

        Raises:
            ConfigError: There is no such map, or no gradient.
        """
        self.check_gradient(self.spatial_tensor(name))
        if name is None and self._beside_last_map:
            log.warning("%s", self._beside_last_map)

    @cached_property
    def _beside_last_map(self) -> str:
        last = self.spatial_tensor()
        if not self.graph.leads_past(self.logits, last):
            return ""
        above = self.graph.before(last)
        others = [m for m in self.spatial_tensors if last != m and op_of(m) not in above]
        others = [m for m in others if op_of(last) not in self.graph.before(m)]
        beside = f", as through {op_of(others[-1])}" if others else ""
        return (
            f"Grad-CAM explains {op_of(last)}, the last map, but the logits of {self.name} see the "
            f"images past it too{beside}: layer=NAME explains another"
        )

    def check_rule(self, rule: str) -> None:
        """Makes sure that there is a gradient, and that a backprop rule is defined for it.

        Says what else it leaves as it is, once a rule.

        Raises:
            ConfigError: There is none; the rule is not defined for some of the ops on the way, or
                changes nothing of it, see `Rule.applied`.
        """
        self.check_gradient()
        rule_of(rule).applied(self.graph, self.logits, self.name)
        if rule not in self._remarked:
            self._remarked.add(rule)
            if remark := rule_of(rule).remark(self.graph, self.logits, self.name):
                log.warning("%s", remark)

    @cached_property
    def _remarked(self) -> set[str]:
        """The backprop rules of which has been said what there is to say."""
        return set()

    def check_gradient(self, tensor: str | None = None) -> list[str]:
        """The nodes through which a gradient leads from the logits to a tensor, or the images.

        Raises:
            ConfigError: None leads there, or through a custom gradient that could not be kept.
        """
        path = self.graph.gradient_path(self.logits, tensor)
        if message := no_gradient(self.graph, self.logits, tensor, path, self.name):
            raise ConfigError(message)
        return path


def read_network(
    function: Callable[[Any], Any],
    input_shape: tuple[int, int, int],
    name: str,
    output: str | None = None,
    activation: Activation | None = None,
    blocks: Sequence[str] | None = None,
    variables: Mapping[str, Any] | None = None,
    reduce: Reduce | None = None,
) -> tuple[Network, dict[str, Any], Any]:
    """The network of a function, its variables by name, and what keeps them alive.

    Args:
        function: From images (n, H, W, C), float32 in [0, 1], to a tensor or a dict of tensors.
        input_shape: (H, W, C).
        name: What messages call it.
        output: Which of the function's outputs is explained; None where there is but one.
        activation: What makes probabilities of an output that ends in logits, see `Ending.link`.
        blocks: Names of the blocks, from output to input; None finds them, see `anatomy.blocks`.
        variables: Variables by name, where their own names say too little, or TensorFlow does not
            know which ones the function uses.
        reduce: What makes one vector of an output that has them at many places: mean, max, or one.

    Raises:
        ConfigError: The output is no vector of logits, or there are several to choose from.
    """
    images = tf.TensorSpec([None, *input_shape], tf.float32, name="images")
    whole = tf.function(lambda images: as_dict(function(images)))
    concrete = whole.get_concrete_function(images)
    outputs = vectors(concrete, output)
    turned = turn_outputs(faithful(concrete, list(outputs)), images)
    outputs = {k: one.turned() if k in turned.first else one for k, one in outputs.items()}
    outputs = {k: one.spread() if k in turned.single else one for k, one in outputs.items()}
    output_shapes = {
        key: (_shape(tensor, key in turned.first), tensor.dtype.name)
        for key, tensor in concrete.structured_outputs.items()
    }
    flat, promoted = promote_constants(turned.graph, name)
    graph, logits, ending = choose_logits(flat, outputs, output, name, activation, reduce)
    if ending.taken_off:
        check_along(flat, outputs[ending.output], ending.output, name)
    if ending.output in turned.unclear and (places := outputs[ending.output].places):
        log.warning(
            "nothing tells along which axis %s of %s has its classes: the last one is taken, %d "
            "classes at each of %d places; if it is the other way round, export the network with "
            "classes last, or with its softmax, or take another model.output",
            ending.output,
            name,
            ending.n_classes,
            *places,
        )
    found, names = _name_variables(graph, concrete, {**(variables or {}), **promoted})
    sources = {placeholder: _source(own, found[own]) for placeholder, own in names.items()}
    parameters = describe(graph, sources, blocks or (), images, logits)
    if blocks is None:
        explained = graph.between([graph.input], [logits])
        blocks, member = find_blocks(explained, names, parameters)
        parameters = {own: replace(p, block=member.get(own, "")) for own, p in parameters.items()}
    network = Network(
        name=name,
        images=images,
        graph=graph,
        logits=logits,
        ending=ending,
        n_classes=ending.n_classes,
        output_shapes=output_shapes,
        parameters=parameters,
        placeholders={own: placeholder for placeholder, own in names.items()},
        blocks=list(blocks),
    )
    return network, found, (function, concrete)


def _name_variables(
    graph: FlatGraph, concrete: Any, variables: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The variables that the graph reads, by name, and the name behind each placeholder."""
    named = [(v.name.split(":")[0], v) for v in concrete.graph.variables]
    by_handle = {
        id(variable.handle): (own, variable) for own, variable in [*named, *variables.items()]
    }
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for placeholder, captured in graph.captures.items():
        if id(captured) in by_handle:
            own, variable = by_handle[id(captured)]
            names[placeholder] = _unique(own, found)
            found[names[placeholder]] = variable
    return found, names


def _source(name: str, variable: Any) -> Declared:
    kind, trainable = variable.dtype, bool(getattr(variable, "trainable", True))
    fixed = not (trainable and kind.is_floating)
    # What is no number of a few bits is an index or a switch.
    weighs = kind.is_floating or (kind.is_integer and kind.size <= _BYTES)
    chooses = not weighs or (fixed and selects(variable.numpy()))
    return Declared(name, tuple(variable.shape), kind.is_floating, trainable, chooses)


def _shape(tensor: Any, turned: bool) -> list[int | None] | None:
    """A tensor's, with the second axis moved to the end where it is turned."""
    if tensor.shape.rank is None:
        return None
    shape = list(tensor.shape)
    return [shape[0], *shape[2:], shape[1]] if turned else shape


def as_dict(outputs: Any) -> dict[str, Any]:
    """A function's outputs by name."""
    if isinstance(outputs, dict):
        return outputs
    if isinstance(outputs, list | tuple):
        return {f"output_{index}": tensor for index, tensor in enumerate(outputs)}
    return {"output": outputs}


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    return next(new for i in range(1, len(taken) + 2) if (new := f"{name}_{i}") not in taken)
