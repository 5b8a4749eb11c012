"""Methods of transformers, against their authors' definitions; `tests/data/attention_reference.py`.

The same two networks are written by hand and with Keras' layers.
"""

from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sanity import methods
from sanity.config.job import compose
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.models.transformer import Transformer
from sanity.network.classifier import Classifier
from sanity.network.passes.backprop_rules import rule

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "attention.npz"))
X, TARGETS = REFERENCE["images"], REFERENCE["targets"]
SIZE, PATCH, WIDTH, HEADS, DEPTH, UNITS, CLASSES = 12, 4, 8, 2, 3, 12, 4
TOKENS = {
    "attention_rollout": methods.AttentionRollout(),
    "attention_relevance": methods.AttentionRelevance(),
    "grad_cam_tokens": methods.GradCamTokens(),
}
FORMS = ["class by hand", "class by Keras", "mean by Keras"]


class Sequence(layers.Layer):
    """Tokens from a map, with positions, and with a class token in front if it is given."""

    def __init__(self, position, token=None):
        super().__init__()
        self.position = self.add_weight(shape=position.shape, name="position")
        self.position.assign(position)
        self.token = None if token is None else self.add_weight(shape=token.shape, name="token")
        if token is not None:
            self.token.assign(token)

    def call(self, x):
        x = keras.ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))
        if self.token is not None:
            token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
            x = keras.ops.concatenate([token, x], axis=1)
        return x + self.position


def of_keras(w):
    """The network of Keras' layers, with weights by name."""

    def given(layer, name):
        made.append((layer, [w[f"{name}/kernel"], w[f"{name}/bias"]]))
        return layer

    def norm(name):
        layer = layers.LayerNormalization(epsilon=1e-6)
        made.append((layer, [w[f"{name}/scale"], w[f"{name}/offset"]]))
        return layer

    made = []
    images = keras.Input((SIZE, SIZE, 3))
    x = given(layers.Conv2D(WIDTH, PATCH, PATCH), "embedding")(images)
    x = Sequence(w["embedding/position"], w.get("embedding/class_token"))(x)
    for block in (f"block{i + 1}" for i in range(DEPTH)):
        y = norm(f"{block}/attention/norm")(x)
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        x = x + attention(y, y)
        split = []
        for part in ("query", "key", "value"):
            kernel, bias = (w[f"{block}/attention/{part}/{end}"] for end in ("kernel", "bias"))
            split += [kernel.reshape(WIDTH, HEADS, -1), bias.reshape(HEADS, -1)]
        kernel, bias = (w[f"{block}/attention/output/{end}"] for end in ("kernel", "bias"))
        made.append((attention, [*split, kernel.reshape(HEADS, -1, WIDTH), bias]))
        y = norm(f"{block}/mlp/norm")(x)
        y = given(layers.Dense(UNITS, activation="gelu"), f"{block}/mlp/dense1")(y)
        x = x + given(layers.Dense(WIDTH), f"{block}/mlp/dense2")(y)
    x = norm("logits/norm")(x)
    x = x[:, 0] if "embedding/class_token" in w else layers.GlobalAveragePooling1D()(x)
    model = keras.Model(images, given(layers.Dense(CLASSES), "logits")(x))
    for layer, values in made:
        layer.set_weights(values)
    return model


@cache
def network(form):
    token, _, by = form.split()
    prefix = f"{token}/weights/"
    w = {k.removeprefix(prefix): v for k, v in REFERENCE.items() if k.startswith(prefix)}
    if by == "Keras":
        model = of_keras(w)
        return Classifier(lambda x: model(x, training=False), X.shape[1:], name=form)
    layout = Transformer((SIZE, SIZE, 3), PATCH, WIDTH, HEADS, DEPTH, UNITS, CLASSES)
    variables = {name: tf.Variable(value, name=name) for name, value in w.items()}
    return Classifier(layout.network(variables), X.shape[1:], blocks=layout.blocks, name=form)


def reference(form, name):
    return REFERENCE[f"{form.split()[0]}/{name}"]


def close(mine, theirs, tolerance=1e-5):
    scale = np.abs(theirs).max()
    assert scale > 1e-3
    np.testing.assert_allclose(mine / scale, theirs / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TOKENS)
def test_values_of_tokens(form, name):
    classifier = network(form)
    close(classifier.logits(X), reference(form, "logits"))
    _, grid = classifier.network.attention
    assert (grid.rows, grid.columns, grid.first) == (3, 3, int(form.startswith("class")))
    values = TOKENS[name].values(classifier, X, TARGETS)[:, grid.patches]
    close(values.reshape(3, -1), reference(form, name).reshape(3, -1))


@pytest.mark.parametrize("form", FORMS)
def test_relevance(form):
    classifier = network(form)
    found = classifier.gradients(X, TARGETS, "attn_lrp:1e-09") * X
    close(found, reference(form, "attn_lrp"), 1e-4)


def test_relevance_is_conserved():
    """What the image gets, and what all that is given keeps, is the logit.

    Biases, tokens and positions keep theirs; a softmax s of z the constant part of its Taylor
    expansion: what arrives, s · g, less what goes on, z · Jᵀg.
    """
    classifier = network("class by hand")
    graph = rule("attn_lrp:1e-09").applied(classifier.graph, classifier.logits_tensor, "")
    softmaxes = [layer.weights for layer in classifier.network.attention[0]]
    scores = [graph.nodes[name.split(":")[0]].input[0] + ":0" for name in softmaxes]
    kept = [
        f"{reader.name}:0"
        for name, parameter in classifier.parameters.items()
        for reader in graph.consumers[classifier.placeholders[name]]
        if parameter.kind in ("bias", "offset", "token", "position")
    ]

    @tf.function
    def relevances(x):
        logits, *given = graph.build(x, [classifier.logits_tensor, *kept, *softmaxes, *scores])
        gradients = tf.gradients(logits[0, TARGETS[0]], [x, *given])
        by_value = [tf.reduce_sum(g * v) for g, v in zip(gradients, [x, *given], strict=True)]
        return logits[0, TARGETS[0]], by_value

    logit, found = relevances(tf.constant(X[:1]))
    n = len(softmaxes)
    whole = sum(map(float, found[:-n])) - sum(map(float, found[-n:]))
    assert whole == pytest.approx(float(logit), rel=1e-3)


@pytest.mark.parametrize("name", [*TOKENS, "attn_lrp"])
def test_a_network_without_attention_is_refused(name, small):
    method = compose([f"method=[{name}]"]).methods[name]
    with pytest.raises(ConfigError, match="^small has no attention"):
        method.check(small)


def attending(form):
    """A network of attention that cannot be followed, or is written in another way."""
    draw = np.random.default_rng(0)
    w = {k: tf.Variable(draw.standard_normal((6, 6)), dtype=tf.float32) for k in "qkvo"}
    # Small, or rounding of large exponents would be seen.
    patches = tf.Variable(0.1 * draw.standard_normal((4, 4, 3, 6)), dtype=tf.float32)
    wanted = tf.Variable(draw.standard_normal((2, 6)), dtype=tf.float32)

    def softmax(x):
        if form == "guarded":  # as PyTorch's newer exporter has it
            x = tf.nn.softmax(x)
            return tf.where(tf.math.is_nan(x), 0.0, x)
        if form != "written out":
            return tf.nn.softmax(x)
        x = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
        return x / tf.reduce_sum(x, -1, keepdims=True)

    def mixed(x):
        n, t, order = tf.shape(x)[0], x.shape[1], [0, 2, 1, 3]
        if form == "heads among images":
            q, k, v = (
                tf.reshape(tf.transpose(tf.reshape(x @ w[i], [n, t, 2, 3]), order), [-1, t, 3])
                for i in "qkv"
            )
            y = softmax(q @ tf.transpose(k, [0, 2, 1])) @ v
            y = tf.reshape(tf.transpose(tf.reshape(y, [-1, 2, t, 3]), order), [-1, t, 6])
            return y @ w["o"]
        q = wanted if form == "learned queries" else x @ w["q"]
        return softmax(tf.linalg.matmul(q, x @ w["k"], transpose_b=True)) @ (x @ w["v"])

    @tf.function
    def logits(images):
        x = tf.nn.conv2d(images, patches, 4, "VALID")
        if form == "windows":  # of two by two
            parts = tf.transpose(tf.reshape(x, [-1, 2, 2, 2, 2, 6]), [0, 1, 3, 2, 4, 5])
            x = mixed(tf.reshape(parts, [-1, 4, 6]))
            x = tf.reshape(x, [-1, 16, 6])
        else:
            x = tf.reshape(x, [-1, 16, 6])
            x = mixed(x) + mixed(x) if form == "side by side" else mixed(x)
        if form == "merged":
            x = mixed(tf.reshape(x, [-1, 4, 24]) @ tf.tile(w["o"], [4, 1]))
        return tf.reduce_mean(tf.nn.gelu(x), 1)

    return Classifier(logits, (16, 16, 3), name=form)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("windows", "attention of windows is within windows of 4 of the image's 16 tokens"),
        ("side by side", "attention of side by side stands side by side, "),
        ("merged", "attention of merged is of 4 and 16 tokens in different layers"),
        ("learned queries", "attention of learned queries has 2 queries for 16 tokens"),
    ],
)
def test_attention_that_cannot_be_followed_is_refused(form, message):
    with pytest.raises(ConfigError, match=message):
        methods.AttentionRollout().check(attending(form))


@pytest.mark.parametrize("form", ["written out", "guarded", "heads among images"])
def test_attention_is_found_however_it_is_written(form):
    classifier = attending(form)
    plain = attending("plain") if form != "heads among images" else None
    x = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    images = Images(x, ["a", "b", "c"], [None] * 3, [None] * 3, [""] * 3)
    rules = [] if form == "guarded" else [methods.AttnLRP()]  # it has none for a choice
    for method in (*TOKENS.values(), *rules):
        method.check(classifier)
        masks = method.masks(classifier, images, TARGETS, 0)
        if plain:
            close(masks, method.masks(plain, images, TARGETS, 0))
        alone = method.masks(classifier, images.take([1]), TARGETS[1:2], 0)
        close(masks[1:2], alone)
    (layer,), _ = classifier.network.attention
    (weights,) = classifier.read(x, [layer.weights], (-1, 16, 16))
    assert weights.shape == (3, 1 if plain else 2, 16, 16)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
