"""Backprop rules: what takes the place of an op's own gradient on the way back to the input."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class Rule:
    """A backprop rule.

    Attributes:
        overrides: The registered gradient that replaces that of each op type.
        needs_baseline: Whether it compares activations with those at a baseline. The network then
            sees the images and, below them in the same batch, their baselines.
    """

    name: str
    overrides: dict[str, str] = field(default_factory=dict)
    needs_baseline: bool = False


# The elementwise activation functions that TensorFlow has as ops of one input.
NONLINEARITIES = (
    "Relu",
    "Relu6",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Softplus",
    "Softsign",
    "Sigmoid",
    "Tanh",
)
# Smaller differences say nothing about a slope in float32: it is taken as a derivative instead,
# that in the middle, which for a smooth function differs from the chord's by the square only.
_SMALL = 1e-5
_SMALL_IF_SMOOTH = {"Sigmoid": 1e-2, "Softplus": 1e-2, "Tanh": 1e-2}


def rule(name: str) -> Rule:
    """The rule of a name: one of `RULES`, or `"epsilon_lrp:EPSILON"`.

    Raises:
        KeyError: There is none.
    """
    base, _, parameter = name.partition(":")
    return epsilon_lrp(float(parameter)) if base == "epsilon_lrp" else RULES[name]


@tf.RegisterGradient("SanityGuidedRelu")
def _guided_relu(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ReluGrad(gradients=tf.nn.relu(gradient), features=op.outputs[0])


@tf.RegisterGradient("SanityGuidedRelu6")
def _guided_relu6(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.Relu6Grad(gradients=tf.nn.relu(gradient), features=op.outputs[0])


@tf.RegisterGradient("SanityDeconvnet")
def _deconvnet(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(gradient)


@tf.RegisterGradient("SanityRescale")
def _rescale(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    """Slope of the chord from baseline to image; where both coincide, that of the tangent."""
    x, baseline = tf.split(op.inputs[0], 2)
    y, y_baseline = tf.split(op.outputs[0], 2)
    upper, _ = tf.split(gradient, 2)
    middle = (x + baseline) / 2
    small = _SMALL_IF_SMOOTH.get(op.type, _SMALL)
    (tangent,) = tf.gradients(_again(op, middle), middle, upper)
    return _for_images(_divided(upper * (y - y_baseline), x - baseline, tangent, small))


@tf.RegisterGradient("SanityRescaleMaxPool")
def _rescale_max_pool(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    """The difference of two maxima, given to the inputs that make them, as `shap` and Captum do.

    Of the way from the baseline's maximum to the image's, the part up to the larger of both goes
    to what is the maximum in the image, the rest to what is the maximum in the baseline.
    """
    x, baseline = tf.split(op.inputs[0], 2)
    y, y_baseline = tf.split(op.outputs[0], 2)
    upper, _ = tf.split(gradient, 2)
    larger = tf.maximum(y, y_baseline)

    def back(inputs: Any, outputs: Any, upper: Any) -> Any:
        return tf.raw_ops.MaxPoolGrad(
            orig_input=inputs,
            orig_output=outputs,
            grad=upper,
            ksize=op.get_attr("ksize"),
            strides=op.get_attr("strides"),
            padding=op.get_attr("padding"),
            explicit_paddings=op.get_attr("explicit_paddings"),
            data_format=op.get_attr("data_format"),
        )

    given = back(x, y, upper * (larger - y_baseline))
    given += back(baseline, y_baseline, upper * (y - larger))
    return _for_images(_divided(given, x - baseline, back(x, y, upper)))


def _divided(contribution: Any, difference: Any, otherwise: Any, small: float = _SMALL) -> Any:
    usable = tf.abs(difference) > small
    return tf.where(usable, contribution / tf.where(usable, difference, 1), otherwise)


def _for_images(gradient: Any) -> Any:
    """What goes back to images and baselines: to the baselines nothing."""
    return tf.concat([gradient, tf.zeros_like(gradient)], 0)


def _again(op: tf.Operation, x: Any) -> Any:
    """The same nonlinearity of another input."""
    arguments = {op.op_def.input_arg[0].name: x}
    if op.type == "LeakyRelu":
        arguments["alpha"] = op.get_attr("alpha")
    return getattr(tf.raw_ops, op.type)(**arguments)


@cache
def epsilon_lrp(epsilon: float) -> Rule:
    """ε-LRP: output by input in place of a nonlinearity's slope (Ancona et al. 2018, prop. 1).

    The rule of linear layers, shares z / (Σz + ε sign Σz), comes about by itself: their inputs
    cancel against the outputs of the nonlinearity below, and the image's are multiplied at the
    end. Bias takes its share and passes nothing on.
    """

    def slope(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
        x = op.inputs[0]
        return gradient * op.outputs[0] / (x + tf.where(x >= 0, epsilon, -epsilon))

    name = f"SanityEpsilonLrp{epsilon!r}"
    tf.RegisterGradient(name)(slope)
    return Rule(f"epsilon_lrp:{epsilon!r}", dict.fromkeys(NONLINEARITIES, name))


PLAIN = Rule("plain")
# Springenberg et al. 2015, figure 1c: backwards through a ReLU goes only what is positive, and
# only where the ReLU let something through.
GUIDED = Rule("guided_backprop", {"Relu": "SanityGuidedRelu", "Relu6": "SanityGuidedRelu6"})
# Zeiler & Fergus 2014: only what is positive, wherever the ReLU let something through.
DECONVNET = Rule("deconvnet", {"Relu": "SanityDeconvnet", "Relu6": "SanityDeconvnet"})
# Shrikumar et al. 2017, equation 10.
RESCALE = Rule(
    "deeplift_rescale",
    {**dict.fromkeys(NONLINEARITIES, "SanityRescale"), "MaxPool": "SanityRescaleMaxPool"},
    needs_baseline=True,
)

RULES = {rule.name: rule for rule in (PLAIN, GUIDED, DECONVNET, RESCALE)}
