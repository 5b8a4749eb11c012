"""Activation functions and gates, told by what their ops compute."""

import pytest
import tensorflow as tf
from keras import activations

from sanity.network.anatomy.nonlinearities import Nonlinearities
from sanity.network.flatten import flatten
from tests.network.passes.test_backprop_rules import (
    ACTIVATIONS,
    attended,
    clipped_excited,
    excited,
    glu,
    hard_excited,
    network,
    prelu,
)


def of(function):
    images = tf.TensorSpec([None, 4, 4, 6], tf.float32, name="images")
    graph = flatten(
        tf.function(lambda images: {"y": function(images)}).get_concrete_function(images)
    )
    return Nonlinearities(graph, graph.outputs["y"])


@pytest.mark.parametrize(
    "activation", [f for f in ACTIVATIONS if f not in (glu, prelu)], ids=lambda f: f.__name__
)
def test_an_activation_function_is_one(activation):
    found = of(lambda x: 3 * activation(2 * x))
    course = found.course(through_gates=True)
    (function,) = course.functions
    graph = found.graph
    assert [graph.nodes[n].op for n in graph.nodes if f"{n}:0" == function.x] == ["Mul"]
    assert not (course.products or course.maxima or course.others)


def test_functions_in_a_row_are_apart():
    found = of(lambda x: tf.nn.silu(tf.tanh(tf.nn.silu(x)) + 1))
    kinds = [found.describe(f) for f in found.course(through_gates=True).functions]
    assert kinds == ["Mul·Sigmoid", "Tanh", "Mul·Sigmoid"]


RECTIFIERS = {
    "relu": (lambda x: tf.nn.relu(x + 3), 1),
    "relu6": (lambda x: 2 * tf.nn.relu6(x), 1),
    "clipped": (lambda x: tf.minimum(tf.nn.relu(x), 5), 1),
    "squared": (lambda x: tf.nn.relu(x) ** 2, 1),
    "both signs": (lambda x: tf.concat([tf.nn.relu(x), tf.nn.relu(-x)], -1), 2),
    "prelu": (prelu, 0),
    "hard swish": (activations.hard_silu, 0),
    "rescaled first": (lambda x: (x / 6) * tf.nn.relu6(x + 3), 0),
    "beside": (lambda x: tf.nn.relu(activations.hard_silu(x)), 1),
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_relu_that_is_one(name):
    function, count = RECTIFIERS[name]
    assert len(of(function).rectifiers) == count


@pytest.mark.parametrize(
    ("gate", "relus"), [(excited, 4), (hard_excited, 4), (clipped_excited, 4), (attended, 4)]
)
def test_gates(gate, relus):
    """Told from what they gate, whose ReLUs and their own bottleneck's are ReLUs."""
    classifier = network(gate=gate)
    found = Nonlinearities(classifier.graph, classifier.logits_tensor)
    assert len(found.rectifiers) == relus
    course = found.course(through_gates=False)
    assert len(course.products) == (2 if gate is attended else 1)
    assert all(product.gate is not None for product in course.products)
    assert len(course.functions) == 3
    assert len(found.course(through_gates=True).functions) > 4


def test_a_gate_of_what_is_squashed_itself():
    """Of two factors in [0, 1], the one computed from the other is the gate; else neither is."""

    def inside(x):
        x = tf.sigmoid(x)
        return x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True))

    (product,) = of(inside).course(through_gates=False).products
    assert product.gate == 1
    (product,) = (
        of(lambda x: tf.sigmoid(x) * tf.sigmoid(tf.reverse(x, [1])))
        .course(through_gates=False)
        .products
    )
    assert product.gate is None
