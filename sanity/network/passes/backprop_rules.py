"""Backprop rules: what takes the place of an op's own gradient in the backward pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from sanity.errors import ConfigError
from sanity.network.anatomy.course import Course, Function
from sanity.network.anatomy.loops import LOOPS, functions_in_loops
from sanity.network.anatomy.nonlinearities import MAXIMA, Nonlinearities
from sanity.network.anatomy.rectifying import find_rectified
from sanity.network.custom_gradients import KIND
from sanity.network.graph import FlatGraph, dtype_of, tensor_of
from sanity.network.passes.rescale import MAX, MAX_POOL, PRODUCT, SLOPE, register

_NORMALIZATION = "division by a statistic of the image itself, as in layer and group normalization"
_WAY_OUT = "leave the method out, or take integrated_gradients, which needs no such rule"


@dataclass(frozen=True)
class Rule:
    """A backprop rule: this one is the gradient itself.

    Attributes:
        name: What methods ask for it by, see `rule`.
        needs_baseline: Whether it compares activations with those at a baseline. The network then
            sees the images and, below them in the same batch, their baselines.
    """

    name: str
    needs_baseline: bool = False

    def applied(self, graph: FlatGraph, output: str, model: str) -> FlatGraph:
        """The same network, with this rule in place of the gradient of some of its ops.

        Args:
            graph: The network.
            output: Its logits.
            model: What messages call it.

        Raises:
            ConfigError: The rule changes nothing here, or is not defined for some of the ops.
        """
        return graph

    def remark(self, graph: FlatGraph, output: str, model: str) -> str:
        """What is to be said of this rule on a network beside that it is defined; or `""`."""
        return ""


@dataclass(frozen=True)
class RectifierRule(Rule):
    """A rule for ReLU and ReLU6 where they are a layer's activation function by themselves.

    Attributes:
        gradients: The registered gradient that replaces that of each op type.
        written_out: That of an op with the inputs (y, x), for a ReLU y of x that is made of other
            ops.
    """

    gradients: Mapping[str, str] = field(default_factory=dict)
    written_out: str = ""

    def applied(self, graph: FlatGraph, output: str, model: str) -> FlatGraph:
        """See `Rule.applied`."""
        found = Nonlinearities(graph, output).rectifiers
        if looped := self._looped(graph, output):
            raise ConfigError(
                f"The backprop rule {self.name} changes the gradient of "
                f"{' and '.join(sorted(looped))}, which {model} runs in a loop (a recurrent "
                "layer), where it cannot be changed: leave out the methods of this rule"
            )
        if not found:
            other = any(graph.nodes[name].op in self.gradients for name in graph.path(output))
            parts = " but as parts of other functions, such as PReLU or a gate" if other else ""
            raise ConfigError(
                f"The backprop rule {self.name} changes the gradient of "
                f"{' and '.join(self.gradients)}, but {model} has no such op{parts}, so the masks "
                "would be those of the plain gradient"
            )
        kinds = {name: graph.nodes[name].op for name in found}
        ops = {name: self.gradients[op] for name, op in kinds.items() if op in self.gradients}
        new = _overridden(graph, ops)
        nodes = {node.name: node for node in new.graph_def.node}
        for name in kinds.keys() - ops.keys():
            x, kind = find_rectified(graph, graph.nodes[name]), graph.nodes[name].attr["T"].type
            assert x is not None
            _insert(new.graph_def, nodes[name], x, [kind, kind], self.written_out)
        return new

    def remark(self, graph: FlatGraph, output: str, model: str) -> str:
        """See `Rule.remark`."""
        found = Nonlinearities(graph, output)
        if not found.flat:
            return ""
        kinds = sorted({found.describe(function) for function in found.flat})
        relus = len(found.rectifiers)
        return (
            f"{self.name} changes the gradient of {relus} ReLU{'s' * (relus != 1)} of {model}, and "
            f"not that of other activation functions that cut values off ({', '.join(kinds)}): its "
            "masks are a mixture with the plain gradient"
        )

    def _looped(self, graph: FlatGraph, output: str) -> set[str]:
        """Types of the ops by which loops on the way rectify."""
        return {
            node.op
            for body in functions_in_loops(graph, graph.gradient_path(output))
            for node in body.nodes.values()
            if dtype_of(node).is_floating
            and (node.op in self.gradients or find_rectified(body, node) is not None)
        }


@dataclass(frozen=True)
class PropagationRule(Rule):
    """A rule that hands relevance on through every nonlinearity.

    Attributes:
        function: The registered gradient of functions of one entry: of an op with the inputs (y, x)
            that gives both on.
        maxima: That of the types of ops that choose an entry; others keep their own.
        product: That of a product of two tensors that both depend on the images; `""` lets a gate
            pass everything to what it gates, and has no rule for other products.
        own: Types of ops that choose an entry whose own gradient is the rule.
    """

    function: str = ""
    maxima: Mapping[str, str] = field(default_factory=dict)
    product: str = ""
    own: frozenset[str] = frozenset()

    def applied(self, graph: FlatGraph, output: str, model: str) -> FlatGraph:
        """See `Rule.applied`."""
        course = Nonlinearities(graph, output).course(through_gates=bool(self.product))
        self._check(graph, course, model)
        kinds = {name: graph.nodes[name].op for name in course.maxima}
        overrides = {name: self.maxima[op] for name, op in kinds.items() if op in self.maxima}
        if self.product:
            overrides |= {product.op: self.product for product in course.products}
        new = _overridden(graph, overrides)
        for node in new.graph_def.node:  # relevance follows what is computed, not custom gradients
            if node.op == "IdentityN":
                node.attr.pop(KIND, None)
        nodes = {node.name: node for node in new.graph_def.node}
        if not self.product:
            for product in course.products:
                _stop(new.graph_def, nodes[product.op], product.gate)
        self._insert_functions(graph, new.graph_def, course)
        return replace(graph, graph_def=new.graph_def)

    def _insert_functions(self, graph: FlatGraph, graph_def: GraphDef, course: Course) -> None:
        nodes = {node.name: node for node in graph_def.node}
        for function in course.functions:
            types = [graph.nodes[function.y].attr["T"].type, _type_of(graph, function)]
            _insert(graph_def, nodes[function.y], function.x, types, self.function)

    def _check(self, graph: FlatGraph, course: Course, model: str) -> None:
        chosen = any(graph.nodes[name].op in self.maxima for name in course.maxima)
        if not (course.functions or course.products or course.others or chosen):
            kinds = ", ".join(["activation functions", *self.maxima])
            raise ConfigError(
                f"The backprop rule {self.name} changes the gradient of {kinds}, but {model} has "
                "no such op, so the masks would be those of the plain gradient"
            )
        for product in course.products:
            node = graph.nodes[product.op]
            if product.normalizes:
                raise self._refusal(node, _NORMALIZATION, model)
            if product.gate is None and not self.product:
                raise self._refusal(node, "products of two maps of which neither is a gate", model)
        undefined = [
            name for name in course.maxima if graph.nodes[name].op not in {*self.maxima, *self.own}
        ]
        for name in (*course.others, *undefined):
            raise self._refusal(graph.nodes[name], _said(graph.nodes[name].op), model)

    def _refusal(self, node: NodeDef, what: str, model: str) -> ConfigError:
        return ConfigError(
            f"The backprop rule {self.name} is not defined for {what}: {model} has the op "
            f"{node.name} ({node.op}); {_WAY_OUT}"
        )


@dataclass(frozen=True)
class AttentionRule(PropagationRule):
    """A rule that hands relevance on through softmax, products and norms as well.

    In terms of gradients (relevance by value): a softmax has its own, the linear part of its Taylor
    expansion; a product of two tensors of the image gives each half of its own; by what a norm
    divides is a constant.
    """

    def applied(self, graph: FlatGraph, output: str, model: str) -> FlatGraph:
        """See `Rule.applied`."""
        course = Nonlinearities(graph, output).course(through_gates=True, attention=True)
        for name in course.others:
            raise self._refusal(graph.nodes[name], _said(graph.nodes[name].op), model)
        fused = {norm.op: "SanityFixedNorm" for norm in course.norms if norm.spread is None}
        new = _overridden(graph, fused)
        nodes = {node.name: node for node in new.graph_def.node}
        for node in nodes.values():  # relevance follows what is computed, not custom gradients
            if node.op == "IdentityN":
                node.attr.pop(KIND, None)
        for norm in course.norms:
            if norm.spread is not None:
                _stop(new.graph_def, nodes[norm.op], norm.spread)
        for product in course.products:
            _halve(new.graph_def, nodes[product.op])
        self._insert_functions(graph, new.graph_def, course)
        return replace(graph, graph_def=new.graph_def)


def _said(op: str) -> str:
    """What an op without a rule is, in words."""
    if op.startswith(("Softmax", "MatMul", "BatchMatMul", "Einsum")):
        return "attention (softmax, products of matrices that both depend on the image)"
    if op.startswith("FusedBatchNorm") or op in ("RealDiv", "Div", "DivNoNan"):
        return _NORMALIZATION
    if op in LOOPS or op.startswith("TensorList"):
        return "what runs in a loop (a recurrent layer)"
    return f"{op} ops"


def rule(name: str) -> Rule:
    """The rule of a name: one of `RULES`, `"epsilon_lrp:EPSILON"` or `"attn_lrp:EPSILON"`.

    Raises:
        ConfigError: There is none.
    """
    base, _, parameter = name.partition(":")
    if base in _OF_EPSILON:
        return _OF_EPSILON[base](float(parameter))
    if name not in RULES:
        known = ", ".join([*RULES, *(f"{base}:EPSILON" for base in _OF_EPSILON)])
        raise ConfigError(f"rule={name} is no backprop rule: there are {known}")
    return RULES[name]


# Editing the graph


def _overridden(graph: FlatGraph, gradients: Mapping[str, str]) -> FlatGraph:
    """A copy whose ops of these names have these registered gradients."""
    new = GraphDef()
    new.CopyFrom(graph.graph_def)
    for node in new.node:
        if node.name in gradients:
            node.attr[KIND].s = gradients[node.name].encode()
    return replace(graph, graph_def=new)


def _stop(graph_def: GraphDef, product: NodeDef, gate: int | None) -> None:
    """Lets nothing pass from a product to its gate."""
    assert gate is not None
    stop = graph_def.node.add(name=f"{product.name}/gate", op="StopGradient")
    stop.input.append(product.input[gate])
    stop.attr["T"].CopyFrom(product.attr["T"])
    product.input[gate] = stop.name


def _halve(graph_def: GraphDef, product: NodeDef) -> None:
    """Has half of the gradient that arrives at a product go through it; it keeps its name."""
    inner, name = NodeDef(), product.name
    inner.CopyFrom(product)
    inner.name = f"{name}/product"
    kind = product.attr["Tout" if "Tout" in product.attr else "T"].type
    product.Clear()
    product.name, product.op = name, "IdentityN"
    product.input.append(inner.name)
    product.attr["T"].list.type.append(kind)
    product.attr[KIND].s = b"SanityHalve"
    graph_def.node.append(inner)


def _type_of(graph: FlatGraph, function: Function) -> int:
    """The type of a function's argument, from an op that reads it."""
    for node in map(graph.nodes.__getitem__, function.ops):
        if node.op != "IdentityN" and function.x in map(tensor_of, node.input):
            return int(node.attr["SrcT" if "SrcT" in node.attr else "T"].type)
    return int(graph.nodes[function.y].attr["T"].type)


def _insert(graph_def: GraphDef, y: NodeDef, x: str, types: list[int], gradient: str) -> None:
    """Has what read y read an op of (y, x) that gives y on, and has the registered gradient.

    It takes y's name, which the tensor keeps; nothing goes back through y itself.
    """
    inner, name = NodeDef(), y.name
    inner.CopyFrom(y)
    inner.name = f"{name}/function"
    y.Clear()
    y.name, y.op = name, "IdentityN"
    y.input.extend([inner.name, x])
    y.attr["T"].list.type.extend(types)
    y.attr[KIND].s = gradient.encode()
    graph_def.node.append(inner)


# Registered gradients


@register("SanityGuidedRelu")
def _guided_relu(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ReluGrad(gradients=tf.nn.relu(gradient), features=op.outputs[0])


@register("SanityGuidedRelu6")
def _guided_relu6(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.Relu6Grad(gradients=tf.nn.relu(gradient), features=op.outputs[0])


@register("SanityDeconvnet")
def _deconvnet(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(gradient)


@register("SanityGuidedWrittenOut")
def _guided(op: tf.Operation, gradient: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, None]:
    return tf.nn.relu(gradient), None  # what goes through y, y lets through


@register("SanityDeconvnetWrittenOut")
def _deconvolved(op: tf.Operation, gradient: tf.Tensor, _: tf.Tensor) -> tuple[None, tf.Tensor]:
    return None, tf.nn.relu(gradient)


@register("SanityHalve")
def _half(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return gradient / 2


@register("SanityFixedNorm")
def _fixed_norm(op: tf.Operation, gradient: tf.Tensor, *_: tf.Tensor) -> tuple[Any, ...]:
    """Of a norm by the image's own moments: its mean follows the image, its spread is given."""
    x, scale = op.inputs[0], op.inputs[1]
    first = op.get_attr("data_format").startswith(b"NC")
    axes = [0, 2, 3] if first else [0, 1, 2]
    _, variance = tf.nn.moments(x, axes, keepdims=True)
    given = gradient * tf.reshape(scale, [-1, 1, 1] if first else [-1])
    given *= tf.math.rsqrt(variance + op.get_attr("epsilon"))
    return (given - tf.reduce_mean(given, axes, keepdims=True), *(None,) * (len(op.inputs) - 1))


@cache
def attn_lrp(epsilon: float) -> Rule:
    """AttnLRP (Achtibat et al. 2024), in terms of gradients: relevance divided by value.

    Softmax by proposition 3.1, products by 3.3, norms by 3.4; nonlinearities and linear layers as
    by ε-LRP (equation 8 and 9 there). A gate is a product as any other.
    """
    slope = epsilon_lrp(epsilon)
    assert isinstance(slope, PropagationRule)
    return AttentionRule(f"attn_lrp:{epsilon!r}", function=slope.function, own=MAXIMA)


@cache
def epsilon_lrp(epsilon: float) -> Rule:
    """ε-LRP: output by input in place of a nonlinearity's slope (Ancona et al. 2018, prop. 1).

    The rule of linear layers, shares z / (Σz + ε sign Σz), comes about by itself: their inputs
    cancel against the outputs of the nonlinearity below, and the image's are multiplied at the
    end. Bias takes its share and passes nothing on. A gate is a factor like a weight: all relevance
    goes to what it gates (Arras et al. 2017, "signal-take-all").
    """

    def slope(op: tf.Operation, gradient: tf.Tensor, _: tf.Tensor) -> tuple[None, tf.Tensor]:
        y, x = op.inputs
        stabilizer = tf.cast(epsilon, x.dtype)
        return None, gradient * y / (x + tf.where(x >= 0, stabilizer, -stabilizer))

    name = f"SanityEpsilonLrp{epsilon!r}"
    tf.RegisterGradient(name)(slope)
    return PropagationRule(f"epsilon_lrp:{epsilon!r}", function=name, own=MAXIMA)


PLAIN = Rule("plain")
# Springenberg et al. 2015, figure 1c: backwards through a ReLU goes only what is positive, and
# only where the ReLU let something through.
GUIDED = RectifierRule(
    "guided_backprop",
    gradients={"Relu": "SanityGuidedRelu", "Relu6": "SanityGuidedRelu6"},
    written_out="SanityGuidedWrittenOut",
)
# Zeiler & Fergus 2014: only what is positive, wherever the ReLU let something through.
DECONVNET = RectifierRule(
    "deconvnet",
    gradients={"Relu": "SanityDeconvnet", "Relu6": "SanityDeconvnet"},
    written_out="SanityDeconvnetWrittenOut",
)
# Shrikumar et al. 2017, equation 10.
RESCALE = PropagationRule(
    "deeplift_rescale",
    needs_baseline=True,
    function=SLOPE,
    maxima={"MaxPool": MAX_POOL, "Max": MAX, "Min": MAX},
    product=PRODUCT,
)

_OF_EPSILON = {"epsilon_lrp": epsilon_lrp, "attn_lrp": attn_lrp}
RULES: dict[str, Rule] = {rule.name: rule for rule in (PLAIN, GUIDED, DECONVNET, RESCALE)}
