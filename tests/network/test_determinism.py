import numpy as np
import pytest
import tensorflow as tf

from sanity.network import determinism, graph
from sanity.network.classifier import Classifier

SHAPE = (8, 8, 3)


def enlarged(x):
    return tf.compat.v1.image.resize_nearest_neighbor(x, [16, 16])


def frozen(x):
    values = [tf.constant(v) for v in ([2.0] * 3, [0.1] * 3, [0.5] * 3, [0.3] * 3)]
    return tf.compat.v1.nn.fused_batch_norm(x, *values, is_training=False)[0]


def chosen(x):
    return tf.gather(x, [0, 2, 2, 5], axis=1)


KINDS = {
    "ResizeNearestNeighborGrad": enlarged,
    "FusedBatchNormGradV3": frozen,
    "UnsortedSegmentSum": chosen,
}


@pytest.fixture
def card(monkeypatch):
    """Graphs are made as for a graphics card, as far as a processor can run them."""
    placed = []

    def place(found):
        placed.extend(names := determinism.place_on_processor(found))
        return names

    monkeypatch.setattr(graph, "has_card", lambda: True)
    monkeypatch.setattr(graph, "place_on_processor", place)
    return placed


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_card_refuses_is_computed_on_the_processor(kind, card, monkeypatch):
    """In gradients at the images, and at a tensor within; and the numbers are the same."""
    x = np.random.default_rng(0).random((4, *SHAPE), np.float32)

    def network():
        def function(x):
            x = tf.identity(tf.tanh(x), "inside")
            return tf.reduce_sum(tf.tanh(KINDS[kind](x)) ** 2, [1, 2])

        found = Classifier(function, SHAPE)
        inside = next(f"{name}:0" for name in found.graph.nodes if name.endswith("inside"))
        classes = np.zeros(4, np.int32)
        return found.gradients(x, classes), found.gradients_at(x, classes, [inside])[1][0]

    on_card = network()
    assert card
    monkeypatch.setattr(graph, "has_card", lambda: False)
    for ours, plain in zip(on_card, network(), strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_is(kind):
    with tf.Graph().as_default() as made:
        x = tf.compat.v1.placeholder(tf.float32, (None, *SHAPE))
        tf.gradients(tf.reduce_sum(KINDS[kind](tf.tanh(x)) ** 2), x)
        determinism.place_on_processor(made)
        on_processor = {op.type for op in made.get_operations() if "CPU" in op.device}
    assert on_processor == {kind}


def test_a_processor_is_left_as_it_is():
    determinism.compute_in_order()
    tf.random.normal([2])  # would need a seed
