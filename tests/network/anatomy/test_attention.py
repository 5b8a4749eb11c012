"""Attention in models of Keras' layers; others: `tests/methods/test_attention.py`."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from tests.network.anatomy import test_keras_models as models


def classifier_of(form):
    model = models.disturbed(form)
    variables = {variable.path: variable.value for variable in model.variables}
    return Classifier(
        lambda x: model(x, training=False), models.INPUT, name="it", variables=variables
    )


@pytest.mark.parametrize(
    ("form", "depth", "read"),
    [(models.tokens, 1, [0]), (models.vit, 2, [0]), (models.deit, 1, [0, 1])],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tokens_are_found_in_the_image(form, depth, read):
    classifier = classifier_of(form)
    layers, grid = classifier.network.attention
    assert [layer.count for layer in layers] == [16 + len(read)] * depth
    assert (grid.rows, grid.columns, grid.first) == (4, 4, len(read))
    assert np.flatnonzero(classifier.read_tokens).tolist() == read
    kinds = [p.kind for p in classifier.parameters.values()]
    assert kinds.count("token") == kinds.count("position") == len(read)


def test_windows_are_refused():
    network = classifier_of(models.swin).network
    assert network.has_attention
    with pytest.raises(ConfigError, match="it is within windows of 16 of the image's 64 tokens"):
        network.attention  # noqa: B018


def transformer(arrange, shared=1):
    """One layer of attention over 16 patches and, as `arrange` puts them, other tokens.

    Args:
        arrange: From patches, a class token and three registers (n, ., 8) to tokens.
        shared: How many heads of queries share one of keys and values.
    """
    draw = np.random.default_rng(0)

    def variable(*shape):
        return tf.Variable((0.4 * draw.standard_normal(shape)).astype(np.float32))

    patch, head, cls, registers = (
        variable(4, 4, 3, 8),
        variable(8, 5),
        variable(1, 1, 8),
        variable(1, 3, 8),
    )
    query, key, value = variable(8, 8), variable(8, 8 // shared), variable(8, 8 // shared)

    def split(x, heads):
        return tf.transpose(tf.reshape(x, [-1, x.shape[1], heads, 8 // 2 // shared]), [0, 2, 1, 3])

    def network(x):
        count = tf.shape(x)[0]
        x = tf.reshape(tf.nn.conv2d(x, patch, 4, "VALID"), [-1, 16, 8])
        x = arrange(x, tf.repeat(cls, count, 0), tf.repeat(registers, count, 0))
        q = split(x @ query, 2 * shared)
        k, v = (tf.repeat(split(x @ one, 2), shared, 1) for one in (key, value))
        mixed = tf.nn.softmax(q @ tf.transpose(k, [0, 1, 3, 2])) @ v
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, x.shape[1], 8])
        return (x + mixed)[:, 0] @ head

    return Classifier(network, (16, 16, 3), name="it")


@pytest.mark.parametrize(
    ("arrange", "first"),
    [
        (lambda x, cls, registers: tf.concat([cls, registers, x], 1), 4),
        (lambda x, cls, registers: tf.concat([cls, x, registers], 1), 1),
        (lambda x, cls, registers: tf.concat([tf.concat([cls, x], 1), registers], 1), 1),
        (lambda x, cls, registers: tf.concat([x, registers], 1), 0),
    ],
    ids=["before", "around", "around, one by one", "behind"],
)
def test_tokens_of_no_patch_stand_anywhere(arrange, first):
    _, grid = transformer(arrange).network.attention
    assert (grid.rows, grid.columns, grid.first) == (4, 4, first)


def test_tokens_between_patches_are_refused():
    with pytest.raises(ConfigError, match="patches among the 17 tokens of it do not stand in a"):
        transformer(lambda x, cls, _: tf.concat([x[:, :5], cls, x[:, 5:]], 1)).network.attention  # noqa: B018


def test_heads_that_share_keys_and_values():
    (layer,), grid = transformer(
        lambda x, cls, _: tf.concat([cls, x], 1), shared=2
    ).network.attention
    assert (layer.count, grid.first) == (17, 1)
