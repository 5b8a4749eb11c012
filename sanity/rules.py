"""Backprop rules: what takes the place of an op's own gradient on the way back to the input."""

from dataclasses import dataclass, field

import tensorflow as tf


@dataclass(frozen=True)
class Rule:
    """A backprop rule.

    Attributes:
        overrides: The registered gradient that replaces that of each op type.
    """

    name: str
    overrides: dict[str, str] = field(default_factory=dict)


@tf.RegisterGradient("SanityGuidedRelu")
def _guided_relu(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ReluGrad(gradients=tf.nn.relu(gradient), features=op.outputs[0])


@tf.RegisterGradient("SanityGuidedRelu6")
def _guided_relu6(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.Relu6Grad(gradients=tf.nn.relu(gradient), features=op.outputs[0])


PLAIN = Rule("plain")
# Springenberg et al. 2015, figure 1c: backwards through a ReLU goes only what is positive, and
# only where the ReLU let something through.
GUIDED = Rule("guided_backprop", {"Relu": "SanityGuidedRelu", "Relu6": "SanityGuidedRelu6"})

RULES = {rule.name: rule for rule in (PLAIN, GUIDED)}
