"""Frozen graphs: constants that are weights become live variables."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.models import SavedModel
from sanity.network.classifier import Classifier
from sanity.randomization import Randomization

X = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
DRAW = np.random.default_rng(1)
WEIGHTS = {
    "conv/kernel": DRAW.normal(size=(3, 3, 3, 4)),
    "conv/bias": DRAW.normal(size=4),
    "norm/gamma": DRAW.random(4) + 0.5,
    "norm/beta": DRAW.normal(size=4),
    "norm/mean": DRAW.normal(size=4),
    "norm/variance": DRAW.random(4) + 0.5,
    "dense/kernel": DRAW.normal(size=(5, 4)),  # is transposed on its way
    "dense/bias": DRAW.normal(size=5),
}
KINDS = ["kernel", "bias", "scale", "offset", "moving_mean", "moving_variance", "kernel", "bias"]


def network(x, w):
    x = (tf.convert_to_tensor(x) - [0.4, 0.5, 0.6]) / [
        0.2,
        0.3,
        0.2,
    ]  # preprocessing, which is no weight
    x = tf.nn.bias_add(tf.nn.conv2d(x, w["conv/kernel"], 1, "SAME"), w["conv/bias"])
    norm = [w[f"norm/{end}"] for end in ("gamma", "beta", "mean", "variance")]
    gamma, beta, mean, variance = norm
    x = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, is_training=False
    ).y
    x = tf.reduce_mean(tf.nn.relu(x), [1, 2])
    return x @ tf.transpose(w["dense/kernel"]) + w["dense/bias"]


def frozen(x):
    return network(x, {n: tf.constant(v.astype(np.float32), name=n) for n, v in WEIGHTS.items()})


def saved(path):
    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    serve = tf.function(lambda x: {"logits": frozen(x)}, input_signature=[spec])
    tf.saved_model.save(module, path, signatures=serve)
    return SavedModel(path=str(path)).load()


@pytest.mark.parametrize("form", ["function", "SavedModel"])
def test_all_weights_are_found_and_drawn_anew(form, tmp_path):
    classifier = Classifier(frozen, X.shape[1:]) if form == "function" else saved(tmp_path)
    names = {name: next(w for w in WEIGHTS if name.endswith(w)) for name in classifier.parameters}
    assert sorted(names.values()) == sorted(WEIGHTS)
    kinds = {names[name]: p.kind for name, p in classifier.parameters.items()}
    assert kinds == dict(zip(WEIGHTS, KINDS, strict=True))
    expected = network(X, {n: v.astype(np.float32) for n, v in WEIGHTS.items()})
    np.testing.assert_allclose(classifier.logits(X), expected, rtol=1e-4, atol=1e-5)
    assert [block.split("/")[-1] for block in classifier.blocks] == ["dense", "conv"]
    stage = Randomization(order="full").stages(classifier, classifier.blocks, 0)[1]
    values = {name: np.asarray(value) for name, value in stage.make_weights().items()}
    with classifier.weights.restored():
        classifier.weights.put(values)
        new = {names[n]: v for n, v in classifier.weights.read().items()}
        np.testing.assert_allclose(classifier.logits(X), network(X, new), rtol=1e-4, atol=1e-5)
        assert not np.allclose(classifier.logits(X), expected)


def test_single_numbers_are_weights_where_they_were_learned():
    """A bias, a norm of one channel, and what was a variable; not what is of a formula."""
    draw = np.random.default_rng(2)
    kernel, head = (draw.normal(size=s).astype(np.float32) for s in ((3, 3, 3, 1), (36, 1)))

    def one(value, name, shape=(1,)):
        return tf.constant(value, tf.float32, shape, name=name)

    def function(x):
        x = tf.nn.conv2d(x, tf.constant(kernel, name="conv/kernel"), 1, "VALID")
        x = tf.nn.bias_add(x, one(0.1, "conv/bias"))
        parts = [one(0.5, f"norm/{part}") for part in ("gamma", "beta", "mean", "variance")]
        x, *_ = tf.compat.v1.nn.fused_batch_norm(x, *parts, is_training=False)
        x = x * tf.identity(one(0.7, "gain/resource", ()), name="gain/ReadVariableOp")
        x = 0.5 * x * (1 + tf.tanh(0.8 * x + 1e-3))
        x = tf.reshape(x, [-1, 36]) @ tf.constant(head, name="head/kernel")
        return x + tf.identity(one(0.2, "head/bias"), name="head/bias/read")

    kinds = {n: p.kind for n, p in Classifier(function, (8, 8, 3)).parameters.items()}
    assert kinds == {
        "conv/kernel": "kernel",
        "conv/bias": "bias",
        "norm/gamma": "scale",
        "norm/beta": "offset",
        "norm/mean": "moving_mean",
        "norm/variance": "moving_variance",
        "gain/resource": "scale",
        "head/kernel": "kernel",
        "head/bias": "bias",
    }


def test_of_single_numbers_that_no_formula_has_it_is_said_that_nothing_tells(caplog):
    draw = np.random.default_rng(2)
    kernel = draw.normal(size=(3, 3, 3, 4)).astype(np.float32)

    def function(x):
        x = x * 0.4971833  # preprocessing
        x = tf.nn.conv2d(x, tf.constant(kernel, name="conv/kernel"), 1, "VALID")
        x = x * tf.constant(0.7312847, name="gain") + tf.constant(-0.0312873, name="shift")
        return tf.reduce_mean(tf.nn.gelu(x) / np.float32(np.sqrt(48)), [1, 2])

    classifier = Classifier(function, (8, 8, 3), name="mine")
    assert list(classifier.parameters) == ["conv/kernel"]
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [
        "mine: nothing tells whether 2 single numbers were learned, so taken for constant and never"
        " randomized: gain (0.731285), shift (-0.0312873)"
    ]


def test_constants_beside_variables_stay():
    kernel = tf.Variable(WEIGHTS["conv/kernel"], dtype=tf.float32, name="kernel")

    def function(x):
        w = {n: tf.constant(v.astype(np.float32)) for n, v in WEIGHTS.items()}
        return network(x, {**w, "conv/kernel": kernel})

    assert list(Classifier(function, X.shape[1:]).parameters) == ["kernel"]


def test_a_mask_and_a_selection_stay_as_they_are():
    """Zeros and ones that cut entries off a kernel, or reorder channels, have learned nothing."""
    draw = np.random.default_rng(2)
    kernel, head = (draw.normal(size=s).astype(np.float32) for s in ((3, 3, 3, 4), (4, 5)))
    mask = (draw.random((3, 3, 3, 4)) > 0.5).astype(np.float32)

    def pruned(x):
        x = tf.nn.conv2d(
            x, tf.constant(np.eye(3, dtype=np.float32)[None, None], name="bgr"), 1, "SAME"
        )
        kept = tf.constant(kernel, name="conv/kernel") * tf.constant(mask, name="conv/mask")
        x = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, kept, 1, "SAME")), [1, 2])
        return x @ tf.constant(head, name="head/kernel")

    classifier = Classifier(pruned, X.shape[1:])
    kinds = {name: p.kind for name, p in classifier.parameters.items()}
    drawn = {"conv/kernel": "kernel", "head/kernel": "kernel"}
    assert kinds == {"bgr": "other", "conv/mask": "other", **drawn}
    assert classifier.blocks == ["head", "conv"]
    assert Randomization().survivors(classifier, classifier.blocks) == []


def test_weights_of_eight_bits_are_one_weight_with_their_scales():
    draw = np.random.default_rng(2)
    whole = draw.integers(-99, 99, (3, 3, 3, 4)).astype(np.int8)
    scale, head = draw.random(4).astype(np.float32), draw.normal(size=(4, 5)).astype(np.float32)

    def quantized(x):
        kernel = tf.cast(tf.constant(whole), tf.float32) * tf.constant(scale)
        kernel = tf.identity(kernel, name="conv/kernel")
        x = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), [1, 2])
        return x @ tf.constant(head, name="head/kernel")

    classifier = Classifier(quantized, X.shape[1:])
    assert {name: p.kind for name, p in classifier.parameters.items()} == dict.fromkeys(
        ("conv/kernel", "head/kernel"), "kernel"
    )
    np.testing.assert_allclose(classifier.trained["conv/kernel"], whole * scale, rtol=1e-6)
    np.testing.assert_allclose(classifier.logits(X), quantized(X), rtol=1e-4, atol=1e-3)


def test_coordinates_behind_a_convolution_are_no_weights_and_named(caplog):
    """As a table of them that a frozen graph keeps; what is drawn beside it stays a weight."""
    caplog.set_level("INFO", "sanity")
    draw = np.random.default_rng(3)
    kernel, bias = (draw.normal(size=size).astype(np.float32) for size in ((3, 3, 3, 8), 8))

    def function(x):
        x = tf.nn.conv2d(x, tf.constant(kernel, name="conv/kernel"), 1, "VALID")
        x = x + tf.constant(bias, name="shift")
        row = tf.constant(np.linspace(-1, 1, 8, dtype=np.float32), name="coordinates")
        return tf.reduce_mean(tf.tanh(x) * row, [1, 2])

    classifier = Classifier(function, (8, 8, 3), name="mine")
    assert list(classifier.parameters) == ["conv/kernel", "shift"]
    assert "mine: not randomized, as coordinates, masks and the like: coordinates" in caplog.text
