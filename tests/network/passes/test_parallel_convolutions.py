"""Joined gradients of parallel convolutions against each one's own, added up."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.network.flatten import flatten
from sanity.network.graph import tensor_of, trace_graph
from sanity.network.passes.parallel_convolutions import join_gradients
from tests.float64 import in_float64, near

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((3, 9, 8, 4)).astype(np.float32)
SPEC = tf.TensorSpec([None, 9, 8, 4], tf.float32)


def conv(size, channels, strides=1):
    kernel = tf.Variable(DRAW.standard_normal((size, size, 4, channels)).astype(np.float32))
    return lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, strides, "SAME"))


def pooled(x):
    return tf.nn.avg_pool2d(x, 3, 1, "SAME")


def twice(convolution):
    return lambda x: convolution(tf.tanh(x))


# What reads the images side by side, and how many convolutions' gradients are left.
BRANCHES = {
    "of one size": ([conv(1, 5), conv(1, 3), conv(1, 7)], 1),
    "and something else": ([conv(1, 5), pooled, conv(1, 3)], 1),
    "of two sizes": ([conv(1, 5), conv(3, 6), conv(1, 3)], 2),
    "two of each": ([conv(1, 5), conv(3, 6), conv(1, 3), conv(3, 2)], 2),
    "by other steps": ([conv(1, 5), conv(1, 3, strides=2)], 2),
    "of something else": ([conv(1, 5), twice(conv(1, 3)), pooled], 2),
    "alone": ([conv(1, 5)], 1),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_parallel_convolutions_are_joined_and_others_are_not(name):
    branches, left = BRANCHES[name]

    @tf.function(input_signature=[SPEC], autograph=False)
    def gradient(x):
        total = sum(tf.reduce_sum(branch(x) ** 2) for branch in branches)
        return {"gradient": tf.gradients(total, x)[0]}

    graph = flatten(gradient.get_concrete_function())
    output = graph.outputs["gradient"]
    kernels = [n.input[1] for n in graph.nodes.values() if n.op == "Conv2DBackpropInput"]
    specs = graph.specs([*map(tensor_of, kernels)], SPEC)
    new = join_gradients(graph, {name: spec.shape for name, spec in specs.items()})
    new = new.between([new.input], [output])
    assert new.op_counts()["Conv2DBackpropInput"] == left
    exact = (in_float64(g.between([g.input], [output]), SPEC) for g in (new, graph))
    found, expected = (
        trace_graph(lambda x, g=g: g.build(x, [output])[0], [SPEC])(tf.constant(X)) for g in exact
    )
    near(found, expected)
    assert np.abs(expected).max() > 1
